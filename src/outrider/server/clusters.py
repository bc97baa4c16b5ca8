"""The clusters of a half: in main their control and what the workers are sent, in a worker the clusters that serve."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.config.errors import ConfigError, raise_all
from outrider.config.view import View
from outrider.server import messages
from outrider.server.deferred_clusters import DeferredCluster
from outrider.upstream.builder import build_cluster, build_cluster_info
from outrider.upstream.cluster_manager import ClusterManager, ClusterSource
from outrider.upstream.config.cluster_config import EDS, ClusterDefaults
from outrider.upstream.control.cluster_entry import ClusterEntry
from outrider.upstream.control.manager import ClusterListener, ControlManager
from outrider.upstream.control_link import ControlLink, OutlierReport
from outrider.upstream.hosts_update import HostsUpdate, PlainAddress

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.server.bootstrap import BootstrapSettings
    from outrider.server.channel import Channel
    from outrider.upstream.cluster import Cluster

_log: Final = logging.getLogger("outrider.upstream")

CLUSTER: Final = "envoy.config.cluster.v3.Cluster"

Send = Callable[[str, Any], None]
"""Kind of message, payload: to every worker that has been started."""


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

    def report_hosts(self, cluster: str, added: list[tuple[str, PlainAddress, str]], dropped: list[str]) -> None:
        if self.channel is not None:
            self.channel.send(messages.TO_CONTROL, ("hosts", cluster, (added, dropped)))


def read_defaults(settings: BootstrapSettings) -> ClusterDefaults:
    """What the bootstrap says for all clusters."""
    return ClusterDefaults(settings.upstream_bind, settings.dns_resolver)


class MainClusters(ClusterListener, ClusterSource):
    """Main's clusters: their control half, what the workers hear of them, and those that main itself sends to."""

    def __init__(self, settings: BootstrapSettings, context: FactoryContext) -> None:
        """Static clusters are built by `load`."""
        ClusterListener.__init__(self, self._publish)
        self.settings = settings
        self.context = context
        self.manager = context.cluster_manager
        self.manager.source = self
        self.send: Send | None = None
        self.control = ControlManager(context, read_defaults(settings), self._publish)
        self.control.listener = self
        self.control.outlier_log_path = settings.outlier_log_path
        # A name that comes twice is refused when it is built.
        self._primary = {view.text("name") for view in settings.clusters if view.enum("type") != EDS}

    def load(self) -> None:
        """Build the static clusters. Raises ConfigError(s): those of all clusters together."""
        errors: list[ConfigError] = []
        # First those that a management server can be reached by.
        for view in sorted(self.settings.clusters, key=lambda view: view.enum("type") == EDS):
            try:
                info = self.control.add(view)
                if info.config.custom is not None:
                    # Such clusters check more when the half that serves is made.
                    self.manager.get(info.name)
            except ConfigError as error:
                errors += error.errors
        raise_all(errors)
        local = self.settings.local_cluster_name
        if local and self.control.entry(local) is None:
            raise ConfigError(f"local cluster '{local}' must be defined", "cluster_manager.local_cluster_name")

    def is_primary(self, name: str) -> bool:
        """Whether a management server may be reached by a cluster: it is static, and not itself discovered."""
        # From the configuration: a cluster may take its secrets from one that is built after it.
        return name in self._primary

    # --- what main sends requests with ---

    def has(self, name: str) -> bool:
        return self.control.entry(name) is not None

    def make(self, name: str) -> Cluster | None:
        entry = self.control.entry(name)
        if entry is None:
            return None
        cluster = build_cluster(entry.info, self.context, self.control)
        if entry.control.announced:
            cluster.apply_hosts(entry.control.snapshot())
        return cluster

    def take_discovered(self, view: View, version: str) -> None:
        self.control.add_or_update(view, version)

    def drop_discovered(self, name: str) -> None:
        self.control.remove(name)

    # --- what the workers hear ---

    def _publish(self, update: HostsUpdate) -> None:
        if self.manager.made(update.cluster):
            self.manager.apply_hosts(update)
        if self.send is not None:
            self.send(messages.HOSTS, update.plain())

    def on_cluster_active(self, entry: ClusterEntry) -> None:
        name = entry.info.name
        made = self.manager.made(name)
        if made and entry.added_via_api:
            cluster = build_cluster(entry.info, self.context, self.control)
            cluster.apply_hosts(entry.control.snapshot())
            self.manager.add(cluster)
        if not entry.added_via_api:
            self._publish(entry.control.snapshot())
        elif self.send is not None:
            self.send(messages.CLUSTER, (name, entry.packed, entry.control.snapshot().plain()))

    def on_cluster_removed(self, name: str) -> None:
        if self.manager.made(name):
            self.manager.remove(name)
        if self.send is not None:
            self.send(messages.REMOVE_CLUSTER, name)

    def state(self) -> tuple[list[Any], list[Any]]:
        """For a worker that has just started: CLUSTER payloads of all dynamic clusters, hosts of all static ones."""
        dynamic: list[Any] = []
        hosts: list[Any] = []
        for entry in self.control.active.values():
            snapshot = entry.control.snapshot().plain()
            if entry.added_via_api:
                dynamic.append((entry.info.name, entry.packed, snapshot))
            else:
                hosts.append(snapshot)
        return dynamic, hosts

    def on_worker_message(self, payload: Any) -> None:
        """What a `ChannelLink` has sent."""
        topic, cluster, data = payload
        if topic == "outliers":
            self.control.report_outliers(cluster, data)
        elif topic == "immediate_health_check_fail":
            self.control.immediate_health_check_fail(cluster, data)
        elif topic == "hosts":
            self.control.report_hosts(cluster, data[0], data[1])


class WorkerClusters(ClusterSource):
    """A worker's clusters: static ones without hosts until main sends them, dynamic ones built when first used."""

    def __init__(self, settings: BootstrapSettings, context: FactoryContext) -> None:
        self.link = ChannelLink()
        self.context = context
        self.manager = context.cluster_manager
        self.manager.source = self
        self.defaults = read_defaults(settings)
        self.deferred: dict[str, DeferredCluster] = {}
        self._on_close: dict[str, list[Callable[[], None]]] = {}
        self._local: Cluster | None = None
        local_name = settings.local_cluster_name
        # The local cluster first: the balancers of the others look at its hosts.
        for view in sorted(settings.clusters, key=lambda view: view.text("name") != local_name):
            info = build_cluster_info(view, context, self.defaults)
            cluster = build_cluster(info, context, self.link, self._local)
            self.manager.add(cluster)
            if info.name == local_name:
                self._local = cluster

    # --- ClusterSource ---

    def has(self, name: str) -> bool:
        return name in self.deferred

    def make(self, name: str) -> Cluster | None:
        deferred = self.deferred.pop(name, None)
        return None if deferred is None else self._build(name, deferred)

    # --- what main says ---

    def apply(self, plain: Any) -> None:
        """Hosts from main."""
        deferred = self.deferred.get(plain[0])
        if deferred is not None:
            deferred.apply(plain)
        else:
            self.manager.apply_hosts(HostsUpdate.from_plain(plain))

    def apply_cluster(self, payload: Any) -> None:
        """A new or changed cluster: one that is in use is replaced, ready with its hosts, and drains."""
        name, packed, plain = payload
        deferred = DeferredCluster(packed, plain)
        if not self.manager.made(name):
            self.deferred[name] = deferred
            self.manager.announce(name)
            return
        old = self.manager.get(name)
        before = self._on_close.pop(name, [])
        cluster = self._build(name, deferred)
        if cluster is None or old is None:
            self._on_close[name] = before
            return
        self.manager.add(cluster)
        _let_go(old, before)

    def remove(self, name: str) -> None:
        if self.deferred.pop(name, None) is None:
            old = self.manager.get(name)
            if old is not None:
                self.manager.remove(name)
                _let_go(old, self._on_close.pop(name, []))

    def _build(self, name: str, deferred: DeferredCluster) -> Cluster | None:
        message = api.new(CLUSTER)
        message.ParseFromString(deferred.packed)
        on_close: list[Callable[[], None]] = []
        try:
            info = build_cluster_info(View(message), self.context.owned_by(on_close), self.defaults, True)
            cluster = build_cluster(info, self.context, self.link, self._local)
        except Exception:
            # Main has built it: this is a fault of ours, and what serves must go on.
            _log.exception("cannot build cluster '%s'", name)
            return None
        for update in deferred.updates():
            cluster.apply_hosts(update)
        self._on_close[name] = on_close
        return cluster

    def host_stats(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return host_stats(self.manager)


def host_stats(manager: ClusterManager) -> dict[str, dict[str, tuple[int, ...]]]:
    """cluster -> host key -> numbers, see `HostStats.plain`."""
    return {
        cluster.info.name: {key: host.stats.plain() for key, host in cluster.hosts.items()}
        for cluster in manager.clusters()
    }


def _let_go(old: Cluster, on_close: list[Callable[[], None]]) -> None:
    for callback in on_close:
        callback()
    old.info.scope.close()
