"""Static clusters of a half: in main their infos and control, in a worker the clusters that serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outrider.config.errors import ConfigError, raise_all
from outrider.server import messages
from outrider.upstream.builder import build_cluster, build_cluster_info
from outrider.upstream.config.cluster_config import ClusterDefaults
from outrider.upstream.control.manager import ControlManager
from outrider.upstream.control_link import NO_LINK, ControlLink, OutlierReport
from outrider.upstream.hosts_update import HostsUpdate

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.server.bootstrap import BootstrapSettings
    from outrider.server.channel import Channel
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.cluster_info import ClusterInfo


class ChannelLink(ControlLink):
    """A worker's word to the control half, over the channel."""

    def __init__(self) -> None:
        self.channel: Channel | None = None

    def report_outliers(self, cluster: str, reports: list[OutlierReport]) -> None:
        if self.channel is not None:
            self.channel.send(messages.TO_CONTROL, ("outliers", cluster, reports))

    def immediate_health_check_fail(self, cluster: str, host_key: str) -> None:
        if self.channel is not None:
            self.channel.send(messages.TO_CONTROL, ("immediate_health_check_fail", cluster, host_key))


def read_defaults(settings: BootstrapSettings) -> ClusterDefaults:
    """What the bootstrap says for all clusters."""
    return ClusterDefaults(settings.upstream_bind, settings.dns_resolver)


class MainClusters:
    """Main's clusters: their control half, and what the rest of the configuration checks names against."""

    def __init__(self, settings: BootstrapSettings, context: FactoryContext) -> None:
        """Raises ConfigError(s): those of all clusters together."""
        self.on_update: Callable[[Any], None] | None = None
        self.control = ControlManager(context, read_defaults(settings), self._publish)
        self.control.outlier_log_path = settings.outlier_log_path
        self.infos: dict[str, ClusterInfo] = {}
        errors: list[ConfigError] = []
        for view in settings.clusters:
            try:
                info = self.control.add(view)
            except ConfigError as error:
                errors += error.errors
                continue
            self.infos[info.name] = info
            context.cluster_manager.add(build_cluster(info, context, NO_LINK))
        raise_all(errors)
        local = settings.local_cluster_name
        if local and local not in self.infos:
            raise ConfigError(f"local cluster '{local}' must be defined", "cluster_manager.local_cluster_name")

    def _publish(self, update: HostsUpdate) -> None:
        if self.on_update is not None:
            self.on_update(update.plain())

    def all_hosts(self) -> list[Any]:
        """The hosts of every cluster, for a worker that has just started."""
        return [update.plain() for update in self.control.snapshots()]

    def on_worker_message(self, payload: Any) -> None:
        """What a `ChannelLink` has sent."""
        topic, cluster, data = payload
        if topic == "outliers":
            self.control.report_outliers(cluster, data)
        elif topic == "immediate_health_check_fail":
            self.control.immediate_health_check_fail(cluster, data)


class WorkerClusters:
    """A worker's clusters, without hosts until main sends them."""

    def __init__(self, settings: BootstrapSettings, context: FactoryContext) -> None:
        self.link = ChannelLink()
        self.manager = context.cluster_manager
        defaults = read_defaults(settings)
        infos = [build_cluster_info(view, context, defaults) for view in settings.clusters]
        local: Cluster | None = None
        # The local cluster first: the balancers of the others look at its hosts.
        for info in sorted(infos, key=lambda info: info.name != settings.local_cluster_name):
            cluster = build_cluster(info, context, self.link, local)
            self.manager.add(cluster)
            if info.name == settings.local_cluster_name:
                local = cluster

    def apply(self, plain: Any) -> None:
        """Hosts from main."""
        self.manager.apply_hosts(HostsUpdate.from_plain(plain))

    def host_stats(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """cluster -> host key -> numbers, see `HostStats.plain`."""
        return {
            cluster.info.name: {key: host.stats.plain() for key, host in cluster.hosts.items()}
            for cluster in self.manager.clusters()
        }
