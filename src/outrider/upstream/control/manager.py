"""All clusters of the main process: builds them, keeps their hosts, answers the workers.

Start-up: `add` every static cluster, `start(on_initialized)`; `publish` receives a HostsUpdate for each change, from
the first on. A worker that starts later is given `snapshots()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from outrider.config.view import View
from outrider.network.dns.registry import DnsResolvers
from outrider.upstream.builder import build_cluster_info
from outrider.upstream.cluster_info import ClusterInfo
from outrider.upstream.config.cluster_config import ClusterDefaults
from outrider.upstream.control.cluster_control import ClusterControl
from outrider.upstream.control.update_merger import MergeStats
from outrider.upstream.control_link import ControlLink, OutlierReport
from outrider.upstream.hosts_update import HostsUpdate

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext


class ControlManager(ControlLink):
    """The control half. In the inline form it is itself the link that the worker half reports to."""

    def __init__(
        self, context: FactoryContext, defaults: ClusterDefaults, publish: Callable[[HostsUpdate], None]
    ) -> None:
        self.context = context
        self.defaults = defaults
        self.publish = publish
        self.resolvers = DnsResolvers(context.dispatcher, context.root_scope)
        self.controls: dict[str, ClusterControl] = {}
        # `cluster_manager.outlier_detection.event_log_path`
        self.outlier_log_path: str = ""
        # Worker halves ready and those still warming, as `cluster_manager.*` stats tell.
        scope = context.root_scope.scope("cluster_manager.")
        self._added = scope.counter("cluster_added")
        self._modified = scope.counter("cluster_modified")
        self._removed = scope.counter("cluster_removed")
        self._active = scope.gauge("active_clusters", False)
        self._warming = scope.gauge("warming_clusters", False)
        self._merge_stats = MergeStats(scope)
        self._waiting: set[str] = set()
        self._on_initialized: Callable[[], None] | None = None
        self._started: bool = False

    def add(self, view: View, added_via_api: bool = False) -> ClusterInfo:
        """Build a cluster and its control half. Raises ConfigError, also for a second static cluster of a name."""
        name = view.text("name")
        if not added_via_api and name in self.controls:
            raise view.error(f"cluster manager: duplicate cluster '{name}'", "name")
        info = build_cluster_info(view, self.context, self.defaults, added_via_api)
        self.add_info(info)
        return info

    def add_info(self, info: ClusterInfo) -> None:
        """Take over a cluster whose info has been built already."""
        name = info.name
        resolver = None
        if info.config.dns is not None:
            resolver = self.resolvers.get(info.config.dns.resolver)
        old = self.controls.pop(name, None)
        if old is not None:
            old.stop()
            self._modified.inc()
        else:
            self._added.inc()
        control = ClusterControl(info, self.context, resolver, self.publish, self._merge_stats)
        if control.outliers is not None:
            control.outliers.log_path = self.outlier_log_path
        self.controls[name] = control
        self._active.set(len(self.controls))
        if self._started:
            control.start(self._nothing)

    def remove(self, name: str) -> bool:
        control = self.controls.pop(name, None)
        if control is None:
            return False
        control.stop()
        self._removed.inc()
        self._active.set(len(self.controls))
        return True

    def start(self, on_initialized: Callable[[], None]) -> None:
        """Begin to resolve and to check; `on_initialized` is called once all clusters know their hosts' health."""
        self._started = True
        self._on_initialized = on_initialized
        self._waiting = set(self.controls)
        self._warming.set(0)
        for name, control in list(self.controls.items()):
            control.start(_Arrival(self, name).arrived)
        self._check_initialized()

    def _nothing(self) -> None:
        """A cluster added later has warmed up; nobody waits for it."""

    def on_cluster_initialized(self, name: str) -> None:
        self._waiting.discard(name)
        self._check_initialized()

    def _check_initialized(self) -> None:
        if self._waiting or self._on_initialized is None:
            return
        callback = self._on_initialized
        self._on_initialized = None
        callback()

    def stop(self) -> None:
        for control in self.controls.values():
            control.stop()
        self.resolvers.close()

    def get(self, name: str) -> ClusterControl | None:
        return self.controls.get(name)

    def snapshots(self) -> list[HostsUpdate]:
        """The hosts of all clusters that have any word of them, for a worker that has just started."""
        return [control.snapshot() for control in self.controls.values() if control.resolved]

    def show_circuit_breakers(self) -> None:
        """Bring the gauges of limits shared by several workers up to date, before stats are read."""
        for control in self.controls.values():
            for manager in control.info.resources:
                manager.show()

    # --- what workers report ---

    def report_outliers(self, cluster: str, reports: list[OutlierReport]) -> None:
        control = self.controls.get(cluster)
        if control is not None and control.outliers is not None:
            control.outliers.take(reports)

    def immediate_health_check_fail(self, cluster: str, host_key: str) -> None:
        control = self.controls.get(cluster)
        if control is not None:
            control.immediate_health_check_fail(host_key)


class _Arrival:
    """Tells the manager which cluster is ready."""

    __slots__ = ("manager", "name")

    def __init__(self, manager: ControlManager, name: str) -> None:
        self.manager = manager
        self.name = name

    def arrived(self) -> None:
        self.manager.on_cluster_initialized(self.name)
