"""The control half of one cluster: its hosts and their health, membership stats, updates for the workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from outrider.config.init_manager import InitManager
from outrider.stats.store import sanitize_stats_name
from outrider.upstream.cluster_info import ClusterInfo
from outrider.upstream.config.cluster_config import STATIC
from outrider.upstream.config.endpoints import EndpointConfig, LoadAssignment
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.discovery import Discovery, StaticDiscovery
from outrider.upstream.control.dns_discovery import LogicalDnsDiscovery, StrictDnsDiscovery
from outrider.upstream.control.eds_discovery import EdsDiscovery
from outrider.upstream.control.health.checkers import HealthChecks
from outrider.upstream.control.outlier_detector import OutlierDetector
from outrider.upstream.control.update_merger import MergeStats, UpdateMerger
from outrider.upstream.host import (
    DEGRADED,
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL,
    FAILED_ACTIVE_HC,
    HEALTHY,
    PENDING_ACTIVE_HC,
    PENDING_DYNAMIC_REMOVAL,
    UNHEALTHY,
    excluded,
)
from outrider.upstream.hosts_update import HostsUpdate
from outrider.upstream.resource_manager import UNLIMITED

if TYPE_CHECKING:
    from outrider.config.subscription import SubscriptionFactory
    from outrider.factory_context import FactoryContext
    from outrider.network.dns.resolver import DnsResolver


class ClusterControl:
    """Owns the hosts. Discovery replaces them, health checks and outlier detection change their flags."""

    def __init__(
        self,
        info: ClusterInfo,
        context: FactoryContext,
        resolver: DnsResolver | None,
        publish: Callable[[HostsUpdate], None],
        merge_stats: MergeStats,
        init_manager: InitManager | None = None,
        subscriptions: SubscriptionFactory | None = None,
    ) -> None:
        """Raises ConfigError when the source of an EDS cluster is wrong."""
        self.info = info
        self.context = context
        self._publish = publish
        # The workers have the cluster: they are told of its hosts.
        self.announced: bool = True
        self.hosts: dict[str, ControlHost] = {}
        # Weights of localities and the policy; what discovery found last (EDS).
        self.assignment: LoadAssignment = info.config.assignment
        # Waits for what the cluster's parts need before it may serve: secrets.
        self.init_manager: InitManager = init_manager if init_manager is not None else InitManager(info.name)
        self._first_result: bool = False
        self._parts_ready: bool = False
        self._checked: bool = not info.config.health_checks
        # Discovery has come to a first result.
        self.resolved: bool = False
        # The first round of health checks is over, too: the cluster may be used.
        self.initialized: bool = False
        self._on_initialized: Callable[[], None] | None = None
        config = info.config
        self._merger = UpdateMerger(self, context.dispatcher, config.update_merge_window_ms, merge_stats)
        self.discovery: Discovery
        if config.discovery == STATIC:
            self.discovery = StaticDiscovery(self)
        elif config.custom is not None:
            self.discovery = config.custom.make_discovery(self)
        elif config.eds_source is not None:
            self.discovery = EdsDiscovery(self, config.eds_source, subscriptions)
        else:
            assert config.dns is not None and resolver is not None
            kind = LogicalDnsDiscovery if config.dns.single_endpoint else StrictDnsDiscovery
            self.discovery = kind(self, resolver, context.dispatcher)
        self.health_checks: HealthChecks | None = None
        if config.health_checks:
            self.health_checks = HealthChecks(self, context)
        self.outliers: OutlierDetector | None = None
        if config.outlier_detection is not None:
            self.outliers = OutlierDetector(self, config.outlier_detection, context)

    def start(self, on_initialized: Callable[[], None]) -> None:
        """Begin; `on_initialized` is called once, possibly at once."""
        self._on_initialized = on_initialized
        if self.outliers is not None:
            self.outliers.start()
        self.discovery.start()
        if not self.info.config.wait_for_warm_on_init:
            self._initialized()

    def stop(self) -> None:
        self._on_initialized = None
        self.init_manager.cancel()
        self.discovery.stop()
        self._merger.stop()
        if self.health_checks is not None:
            self.health_checks.stop()
        if self.outliers is not None:
            self.outliers.stop()

    # --- discovery's side ---

    def set_hosts(self, hosts: list[ControlHost]) -> None:
        """The hosts there are now, each once. Those that vanished are dropped, or kept while checks still pass."""
        stats = self.info.stats
        fresh = {host.key: host for host in hosts}
        keeps: list[ControlHost] = []
        added = [host for host in hosts if host.key not in self.hosts]
        removed: list[ControlHost] = []
        for key, host in self.hosts.items():
            if key in fresh:
                host.clear_flag(PENDING_DYNAMIC_REMOVAL)
            elif self._survives(host):
                host.set_flag(PENDING_DYNAMIC_REMOVAL)
                keeps.append(host)
            else:
                removed.append(host)
        for host in added:
            self._prepare(host)
        self.hosts = fresh | {host.key: host for host in keeps}
        for host in removed:
            self._release(host)
        # Counted by priority, as Envoy updates them one by one.
        stats.membership_change.add(len({host.priority for host in added} | {host.priority for host in removed}))
        self.resolved = True
        if self.outliers is not None:
            self.outliers.on_hosts(added, removed)
        self.publish_hosts()
        if self.health_checks is not None:
            self.health_checks.on_hosts(added, removed)
        self.on_first_result()

    def on_first_result(self) -> None:
        """Discovery has found hosts, or has given up waiting for them (Envoy: pre-init is complete)."""
        if not self._first_result:
            self._first_result = True
            self.init_manager.initialize(self._on_parts_ready)
        self._finish_initialization()

    def _on_parts_ready(self) -> None:
        self._parts_ready = True
        self._finish_initialization()

    def _finish_initialization(self) -> None:
        if self._parts_ready and (self._checked or not self.hosts):
            self._initialized()

    def _survives(self, host: ControlHost) -> bool:
        """A host that passes its active checks stays when discovery no longer names it (eventual consistency)."""
        if self.health_checks is None or self.info.config.ignore_health_on_host_removal or host.hc_disabled:
            return False
        return not host.has_flag(FAILED_ACTIVE_HC) and host.health() != UNHEALTHY

    def _prepare(self, host: ControlHost) -> None:
        info = self.info
        if info.config.health_checks and not host.hc_disabled:
            host.set_flag(FAILED_ACTIVE_HC)
            if info.config.ignore_new_hosts_until_first_hc:
                host.set_flag(PENDING_ACTIVE_HC)
        if info.per_endpoint_stats:
            scope = info.scope.scope(f"endpoint.{sanitize_stats_name(host.address.text)}.")
            host.healthy_gauge = scope.gauge("healthy", False)
        arena = self.context.arena
        if arena is not None and arena.columns > 1 and info.config.per_host_max_connections < UNLIMITED:
            host.limit_row = arena.row(self.limit_name(host))

    def count_matches(self, config: EndpointConfig, hosts: int) -> None:
        """`<match>.total_match_count`: so many hosts of an endpoint have been given a transport socket."""
        for _ in range(hosts):
            self.info.transport_socket_matcher.resolve(config.metadata, config.locality_metadata, True)

    def _release(self, host: ControlHost) -> None:
        if host.limit_row >= 0 and self.context.arena is not None:
            self.context.arena.retire(self.limit_name(host))

    def limit_name(self, host: ControlHost) -> str:
        """Of the shared row that counts the connections of a host."""
        return f"cluster/{self.info.name}/host/{host.key}"

    # --- health's side ---

    def on_first_checks_done(self) -> None:
        """Every host has been checked once."""
        self._checked = True
        self._finish_initialization()

    def on_health_changed(self, host: ControlHost, failed: bool = False) -> None:
        """Flags of a host have changed; `failed` when an active check just failed it."""
        if host.has_flag(PENDING_DYNAMIC_REMOVAL) and host.has_flag(FAILED_ACTIVE_HC):
            # It was only kept because its checks passed.
            self.hosts.pop(host.key, None)
            self._release(host)
            self.info.stats.membership_change.inc()
            if self.outliers is not None:
                self.outliers.on_hosts([], [host])
            if self.health_checks is not None:
                self.health_checks.on_hosts([], [host])
            self.publish_hosts()
            return
        self.update_gauges()
        if failed:
            # Connections are drained at once, whatever happens to the news of the health.
            drain = self._health_update()
            drain.failed_hosts = [host.key]
            self.publish(drain)
        self._merger.on_health_changed(host)

    def _health_update(self) -> HostsUpdate:
        update = HostsUpdate(self.info.name)
        update.full = False
        update.drop_overload = self.assignment.drop_overload
        update.drop_category = self.assignment.drop_category
        return update

    def publish_health(self, hosts: list[ControlHost]) -> None:
        """Tell the workers the flags of some hosts."""
        update = self._health_update()
        update.health_flags = {host.key: host.flags for host in hosts}
        self.publish(update)

    def immediate_health_check_fail(self, key: str) -> None:
        """A response of the host had `x-envoy-immediate-health-check-fail`."""
        host = self.hosts.get(key)
        if host is None or self.health_checks is None:
            return
        if host.set_flag(EXCLUDED_VIA_IMMEDIATE_HC_FAIL):
            self.health_checks.set_unhealthy(host)

    # --- updates ---

    def publish(self, update: HostsUpdate) -> None:
        if self.announced:
            self._publish(update)

    def snapshot(self) -> HostsUpdate:
        """All there is to say, for a worker that has just started."""
        assignment = self.assignment
        update = HostsUpdate(self.info.name)
        update.hosts = [host.spec() for host in self.hosts.values()]
        update.locality_weights = assignment.locality_weights
        update.overprovisioning_factor = assignment.overprovisioning_factor
        update.weighted_priority_health = assignment.weighted_priority_health
        update.drop_overload = assignment.drop_overload
        update.drop_category = assignment.drop_category
        return update

    def publish_hosts(self) -> None:
        self.update_gauges()
        self._merger.on_membership()
        self.publish(self.snapshot())

    def update_gauges(self) -> None:
        stats = self.info.stats
        healthy = degraded = left_out = 0
        for host in self.hosts.values():
            health = host.health()
            if health == HEALTHY:
                healthy += 1
            elif health == DEGRADED:
                degraded += 1
            if excluded(host.flags):
                left_out += 1
            if host.healthy_gauge is not None:
                host.healthy_gauge.set(1 if health == HEALTHY else 0)
        stats.membership_total.set(len(self.hosts))
        stats.membership_healthy.set(healthy)
        stats.membership_degraded.set(degraded)
        stats.membership_excluded.set(left_out)

    def _initialized(self) -> None:
        if not self.initialized:
            self.initialized = True
            callback = self._on_initialized
            self._on_initialized = None
            if callback is not None:
                callback()

    def __repr__(self) -> str:
        return f"<ClusterControl {self.info.name} {len(self.hosts)} hosts>"
