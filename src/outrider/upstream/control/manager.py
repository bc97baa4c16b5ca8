"""All clusters of the main process: builds and replaces them, keeps their hosts, answers the workers.

A cluster that is added or changed warms first: it learns its endpoints, gets its secrets and checks its hosts' health,
while the one of the same name before it serves on. `listener` is told of clusters that serve or are gone, and of their
hosts. Source: Envoy's `ClusterManagerImpl`; documentation, "Cluster warming".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from outrider.config.init_manager import InitManager
from outrider.config.subscription import SubscriptionFactory
from outrider.config.view import View
from outrider.network.dns.registry import DnsResolvers
from outrider.upstream.builder import build_cluster_info
from outrider.upstream.cluster_info import ClusterInfo
from outrider.upstream.config.cluster_config import ClusterDefaults
from outrider.upstream.control.cluster_control import ClusterControl
from outrider.upstream.control.cluster_entry import ClusterEntry
from outrider.upstream.control.initialization import DONE, ClusterInit
from outrider.upstream.control.reported_discovery import ReportedDiscovery
from outrider.upstream.control.update_merger import MergeStats
from outrider.upstream.control_link import ControlLink, OutlierReport
from outrider.upstream.hosts_update import HostsUpdate, PlainAddress
from outrider.upstream.resource_manager import row_names

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext


class ClusterListener:
    """Told by the manager what the workers must know. This one is for workers that have all clusters already."""

    def __init__(self, publish: Callable[[HostsUpdate], None]) -> None:
        self.publish = publish

    def on_cluster_active(self, entry: ClusterEntry) -> None:
        """A cluster serves from now on, perhaps in place of another: its hosts are to be known at once."""
        self.publish(entry.control.snapshot())

    def on_cluster_removed(self, name: str) -> None:
        """It is gone."""


class ControlManager(ControlLink):
    """The control half. In the inline form it is itself the link that the worker half reports to."""

    def __init__(
        self, context: FactoryContext, defaults: ClusterDefaults, publish: Callable[[HostsUpdate], None]
    ) -> None:
        """`publish` gets a HostsUpdate for each change of the hosts of a cluster that serves."""
        self.context = context
        self.defaults = defaults
        self.publish = publish
        # Where endpoints of EDS clusters come from; None in tests.
        self.subscriptions: SubscriptionFactory | None = None
        self.listener = ClusterListener(publish)
        self.resolvers = DnsResolvers(context.dispatcher, context.root_scope)
        self.active: dict[str, ClusterEntry] = {}
        self.warming: dict[str, ClusterEntry] = {}
        # `cluster_manager.outlier_detection.event_log_path`
        self.outlier_log_path: str = ""
        scope = context.root_scope.scope("cluster_manager.")
        self._added = scope.counter("cluster_added")
        self._modified = scope.counter("cluster_modified")
        self._removed = scope.counter("cluster_removed")
        self._active = scope.gauge("active_clusters", False)
        self._warming = scope.gauge("warming_clusters", False)
        self._merge_stats = MergeStats(scope)
        self.init = ClusterInit(self._activate)
        # Told whether clusters warm, once all of the start have initialized.
        self.on_warming: Callable[[bool], None] | None = None

    # --- life of a cluster ---

    def add(self, view: View, added_via_api: bool = False) -> ClusterInfo:
        """Build a static cluster. Raises ConfigError, also for a second one of a name."""
        name = view.text("name")
        if name in self.warming or name in self.active:
            raise view.error(f"cluster manager: duplicate cluster '{name}'", "name")
        # Static clusters are not compared with anything.
        entry = self._build(view, b"", "", added_via_api)
        self._added.inc()
        self._warm(entry)
        return entry.info

    def add_or_update(self, view: View, version_info: str) -> bool:
        """A cluster as CDS gives it. False when nothing changes, or nothing may: static clusters stay as they are.

        Raises ConfigError; what was there before stays then.
        """
        name = view.text("name")
        packed = view.message_bytes()
        active = self.active.get(name)
        warming = self.warming.get(name)
        if (active is not None and active.blocks(packed)) or (warming is not None and warming.blocks(packed)):
            return False
        # As in Envoy, also when it turns out to be refused.
        if active is None and warming is None:
            self._added.inc()
        else:
            self._modified.inc()
        entry = self._build(view, packed, version_info, True)
        if self.context.support is not None:
            try:
                self.context.support.check(view)
            except Exception:
                entry.close()
                raise
        if warming is not None:
            del self.warming[name]
        self._warm(entry)
        if warming is not None:
            # After its successor has joined: the wait for all clusters is not to end in between.
            self.init.remove(warming)
            warming.close()
        return True

    def remove(self, name: str) -> bool:
        """Remove a cluster that came through an API. False when there is none."""
        removed = False
        for entries in (self.active, self.warming):
            entry = entries.get(name)
            if entry is None or not entry.added_via_api:
                continue
            del entries[name]
            removed = True
            self.init.remove(entry)
            entry.close()
            self._retire_host_limits(entry, None)
            if entries is self.active:
                self.listener.on_cluster_removed(name)
        if removed:
            self._removed.inc()
            self._retire_limits(name)
            self._update_gauges()
        return removed

    def _build(self, view: View, packed: bytes, version_info: str, added_via_api: bool) -> ClusterEntry:
        on_close: list[Callable[[], None]] = []
        context = self.context.owned_by(on_close)
        context.init_manager = InitManager(f"Cluster {view.text('name')}")
        try:
            info = build_cluster_info(view, context, self.defaults, added_via_api)
            resolver = None
            if info.config.dns is not None:
                resolver = self.resolvers.get(info.config.dns.resolver)
            control = ClusterControl(
                info, self.context, resolver, self.publish, self._merge_stats, context.init_manager,
                self.subscriptions,
            )  # fmt: skip
        except Exception:
            for callback in on_close:
                callback()
            raise
        control.announced = False
        if control.outliers is not None:
            control.outliers.log_path = self.outlier_log_path
        return ClusterEntry(info, control, packed, version_info, added_via_api, time.time(), on_close)

    def _warm(self, entry: ClusterEntry) -> None:
        self.warming[entry.info.name] = entry
        entry.info.stats.warming_state.set(1)
        self._update_gauges()
        if self.init.state != DONE:
            self.init.add(entry)
        else:
            entry.control.start(_Warmed(self, entry).done)

    def _activate(self, entry: ClusterEntry) -> None:
        """It has warmed: it takes the place of the one before."""
        name = entry.info.name
        if self.warming.get(name) is not entry:
            return
        del self.warming[name]
        old = self.active.get(name)
        self.active[name] = entry
        entry.info.stats.warming_state.set(0)
        self._update_gauges()
        if old is not None:
            old.close()
            self._retire_host_limits(old, entry)
            entry.control.update_gauges()
        entry.control.announced = True
        self.listener.on_cluster_active(entry)

    def _update_gauges(self) -> None:
        self._active.set(len(self.active))
        self._warming.set(len(self.warming))
        if self.on_warming is not None:
            self.on_warming(bool(self.warming) and self.init.state == DONE)

    def _retire_limits(self, name: str) -> None:
        arena = self.context.arena
        if arena is not None and name not in self.active and name not in self.warming:
            for row in row_names(name):
                arena.retire(row)

    def _retire_host_limits(self, entry: ClusterEntry, successor: ClusterEntry | None) -> None:
        arena = self.context.arena
        if arena is None:
            return
        for key, host in entry.control.hosts.items():
            if host.limit_row >= 0 and (successor is None or key not in successor.control.hosts):
                arena.retire(entry.control.limit_name(host))

    # --- the server's side ---

    def start(self, on_initialized: Callable[[], None]) -> None:
        """Begin to resolve and to check; `on_initialized` is called once all clusters know their hosts' health.

        With `init.on_primary_done` set, it is called in between, and has to call `init.start_secondary`.
        """
        self.init.on_all_done = on_initialized
        if self.init.on_primary_done is None:
            self.init.on_primary_done = self.init.start_secondary
        self.init.static_load_complete()

    def stop(self) -> None:
        for entry in [*self.active.values(), *self.warming.values()]:
            entry.control.stop()
        self.resolvers.close()

    def entry(self, name: str) -> ClusterEntry | None:
        """The cluster of that name: the one that serves, else the one that warms."""
        return self.active.get(name) or self.warming.get(name)

    def get(self, name: str) -> ClusterControl | None:
        entry = self.entry(name)
        return None if entry is None else entry.control

    def entries(self) -> list[ClusterEntry]:
        """Every cluster, those that serve first."""
        return [*self.active.values(), *[entry for name, entry in self.warming.items() if name not in self.active]]

    def snapshots(self) -> list[HostsUpdate]:
        """The hosts of all clusters that serve, for a worker that has just started."""
        return [entry.control.snapshot() for entry in self.active.values()]

    def show_circuit_breakers(self) -> None:
        """Bring the gauges of limits shared by several workers up to date, before stats are read."""
        if self.context.arena is None:
            return
        for entry in self.active.values():
            for manager in entry.info.resources:
                manager.show()

    # --- what workers report ---

    def report_outliers(self, cluster: str, reports: list[OutlierReport]) -> None:
        control = self.get(cluster)
        if control is not None and control.outliers is not None:
            control.outliers.take(reports)

    def immediate_health_check_fail(self, cluster: str, host_key: str) -> None:
        control = self.get(cluster)
        if control is not None:
            control.immediate_health_check_fail(host_key)

    def report_hosts(self, cluster: str, added: list[tuple[str, PlainAddress, str]], dropped: list[str]) -> None:
        control = self.get(cluster)
        if control is not None and isinstance(control.discovery, ReportedDiscovery):
            control.discovery.report(added, dropped)


class _Warmed:
    """Tells the manager which cluster has warmed."""

    __slots__ = ("entry", "manager")

    def __init__(self, manager: ControlManager, entry: ClusterEntry) -> None:
        self.manager = manager
        self.entry = entry

    def done(self) -> None:
        self.manager._activate(self.entry)
