"""A cluster in a worker: hosts, load balancer, pools (Envoy's thread-local `ClusterEntry`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.data.shared_limit import SharedArena, SharedGauge
from outrider.data.stream_info import HTTP2
from outrider.network.transport_socket import NO_OPTIONS, TransportSocketOptions
from outrider.stats.metrics import Gauge
from outrider.stats.store import sanitize_stats_name
from outrider.upstream.cluster_info import (
    UPSTREAM_AUTO,
    UPSTREAM_HTTP1,
    UPSTREAM_HTTP2,
    UPSTREAM_USE_DOWNSTREAM,
    ClusterInfo,
)
from outrider.upstream.conn_pool import HttpConnPool, TcpConnPool
from outrider.upstream.connector import Connector
from outrider.upstream.control_link import ControlLink
from outrider.upstream.host import DEGRADED, HEALTHY, UNHEALTHY, Host, HostStats, Locality
from outrider.upstream.hosts_update import HostSpec, HostsUpdate
from outrider.upstream.http1_pool import Http1ConnPool
from outrider.upstream.http2_pool import Http2ConnPool
from outrider.upstream.load_balancer.base import RANDOM, LoadBalancer, RandomSource
from outrider.upstream.load_balancer.factory import make_load_balancer
from outrider.upstream.outlier_reporter import OutlierReporter, ReportingMonitor
from outrider.upstream.pool_base import ConnPoolBase, PoolOwner
from outrider.upstream.priority_set import PrioritySet, PrioritySetObserver
from outrider.upstream.resource_manager import UNLIMITED, UNLIMITED_POOLS, Resource
from outrider.upstream.tcp_pool import TcpConnPoolImpl

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.upstream.load_balancer_context import LoadBalancerContext

_STATUS_OF_HEALTH: Final[dict[int, str]] = {UNHEALTHY: "UNHEALTHY", DEGRADED: "DEGRADED", HEALTHY: "HEALTHY"}


class _BalancerFeed(PrioritySetObserver):
    """Passes changes of hosts on to the load balancer."""

    __slots__ = ("balancer",)

    def __init__(self, balancer: LoadBalancer) -> None:
        self.balancer = balancer

    def on_priority_update(self, priority: int, added: list[Host], removed: list[Host]) -> None:
        self.balancer.refresh(priority)


@mypyc_attr(allow_interpreted_subclasses=True)
class Cluster(PoolOwner):
    """One cluster. `choose_pool` is the call on the road."""

    def __init__(
        self,
        info: ClusterInfo,
        connector: Connector,
        runtime: Runtime,
        link: ControlLink,
        random: RandomSource = RANDOM,
        local: Cluster | None = None,
        arena: SharedArena | None = None,
        column: int = 0,
        own_locality: Locality | None = None,
    ) -> None:
        self.info: ClusterInfo = info
        self.connector: Connector = connector
        self.runtime = runtime
        self.link: ControlLink = link
        self.arena = arena
        self.column = column
        self.priorities: PrioritySet = PrioritySet()
        # Where this proxy is (node.locality).
        self.own_locality: Locality | None = own_locality
        self.hosts: dict[str, Host] = {}
        # True when pools differ by more than priority.
        self._keyed: bool = (
            info.per_downstream_connection
            or info.transport_socket_matcher.any_secure()
            or info.transport_socket_matcher.names_client
            or info.protocol_choice == UPSTREAM_USE_DOWNSTREAM
        )
        self._limited_pools: bool = info.config.thresholds[0].max_connection_pools < UNLIMITED_POOLS or (
            info.config.thresholds[1].max_connection_pools < UNLIMITED_POOLS
        )
        for manager in info.resources:
            manager.apply_runtime(runtime)
        self._reporter: OutlierReporter | None = None
        if info.has_outlier_detection:
            self._reporter = OutlierReporter(info.name, link, connector.dispatcher)
        self.load_balancer: LoadBalancer = make_load_balancer(
            info.config.lb_policy, self.priorities, info.stats, info.scope, runtime, random,
            connector.dispatcher.clock, None if local is None else local.priorities,
        )
        feed = _BalancerFeed(self.load_balancer)
        self.priorities.observers.append(feed)
        # The cluster that this proxy belongs to, whose hosts the balancer looks at, too.
        self._local: Cluster | None = local
        self._feed: PrioritySetObserver = feed
        if local is not None:
            local.priorities.observers.append(feed)
        # Hosts have arrived for the first time.
        self.warm: bool = False
        self.draining: bool = False

    # --- the road ---

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        """A host for a request; None when there is none."""
        if context is not None:
            wanted = context.override_host()
            if wanted is not None:
                strict = wanted.startswith("!")
                host = self._override(wanted[1:] if strict else wanted)
                if host is not None or strict:
                    return host
        return self.load_balancer.choose_host(context)

    def _override(self, address: str) -> Host | None:
        host = self.priorities.by_address.get(address)
        if host is None:
            return None
        statuses = self.info.config.override_host_statuses
        if _STATUS_OF_HEALTH[host.health] in statuses or (host.health == HEALTHY and "UNKNOWN" in statuses):
            return host
        return None

    def choose_pool(
        self, priority: int, context: LoadBalancerContext | None, downstream_protocol: int = 1
    ) -> HttpConnPool | None:
        """The pool of the host that the request goes to; None when there is no host, or no further pool is allowed."""
        host = self.choose_host(context)
        if host is None:
            self.info.stats.upstream_cx_none_healthy.inc()
            return None
        if priority == 0 and not self._keyed:
            pool = host.http_pool_default
            if pool is not None:
                return pool
        return self._http_pool(host, priority, context, downstream_protocol)

    def choose_tcp_pool(self, priority: int, context: LoadBalancerContext | None) -> TcpConnPool | None:
        host = self.choose_host(context)
        if host is None:
            self.info.stats.upstream_cx_none_healthy.inc()
            return None
        options = None if context is None else context.transport_socket_options()
        key = self._pool_key(host, priority, context, options)
        pool = host.tcp_pools.get(key)
        if pool is None:
            if not self._may_add_pool(priority):
                return None
            pool = TcpConnPoolImpl(host, priority, self.connector, self, key, options)
            host.tcp_pools[key] = pool
        return pool

    def _http_pool(
        self, host: Host, priority: int, context: LoadBalancerContext | None, downstream_protocol: int
    ) -> HttpConnPool | None:
        options: TransportSocketOptions | None = None
        if self._keyed and context is not None:
            options = context.transport_socket_options()
        choice = self.info.protocol_choice
        if choice == UPSTREAM_USE_DOWNSTREAM:
            choice = UPSTREAM_HTTP2 if downstream_protocol == HTTP2 else UPSTREAM_HTTP1
        if choice != UPSTREAM_HTTP1 and self._keyed:
            options = _with_alpn(options, choice)
        key = self._pool_key(host, priority, context, options)
        if choice != self.info.protocol_choice:
            key = f"{key}|{choice}"
        pool = host.http_pools.get(key)
        if pool is None:
            if not self._may_add_pool(priority):
                return None
            if choice == UPSTREAM_HTTP1:
                pool = Http1ConnPool(host, priority, self.connector, self, key, options)
            else:
                pool = Http2ConnPool(host, priority, self.connector, self, key, options, choice == UPSTREAM_AUTO)
            host.http_pools[key] = pool
            if priority == 0 and not self._keyed:
                host.http_pool_default = pool
        return pool

    def _pool_key(
        self, host: Host, priority: int, context: LoadBalancerContext | None, options: TransportSocketOptions | None
    ) -> str:
        key = f"{priority}|{host.transport_socket_factory.pool_key(options)}"
        if self.info.per_downstream_connection and context is not None:
            connection = context.downstream_connection()
            if connection is not None:
                key = f"{key}|{connection.connection_id}"
        return key

    def _may_add_pool(self, priority: int) -> bool:
        pools = self.info.resource_manager(priority).connection_pools
        if not pools.can_create():
            self.info.stats.upstream_cx_pool_overflow.inc()
            return False
        pools.inc()
        return True

    def on_pool_idle(self, pool: ConnPoolBase) -> None:
        host = pool.host
        # The plain pool of a host costs little and will be wanted again; the others are as many as their keys.
        if pool is host.http_pool_default and not self._limited_pools and not pool.draining:
            return
        if host.http_pools.get(pool.key) is pool:
            del host.http_pools[pool.key]
            if pool is host.http_pool_default:
                host.http_pool_default = None
        elif host.tcp_pools.get(pool.key) is pool:
            del host.tcp_pools[pool.key]
        else:
            return
        self.info.resource_manager(pool.priority).connection_pools.dec()

    # --- hosts ---

    def apply_hosts(self, update: HostsUpdate) -> None:
        """What the control half says the hosts are now."""
        self.info.drop_overload = update.drop_overload
        self.info.drop_category = update.drop_category
        if update.full:
            self._replace_hosts(update)
        else:
            self._update_health(update)
        for key in update.failed_hosts:
            host = self.hosts.get(key)
            if host is not None:
                self._on_host_failed(host)

    def _on_host_failed(self, host: Host) -> None:
        """Idle connections to a host that was just found unhealthy are closed, busy ones when they become idle."""
        for pool in list(host.http_pools.values()):
            pool.drain(False)
        if self.info.close_connections_on_health_failure:
            for tcp_pool in list(host.tcp_pools.values()):
                tcp_pool.close_all()

    def _update_health(self, update: HostsUpdate) -> None:
        changed: set[int] = set()
        for key, flags in update.health_flags.items():
            host = self.hosts.get(key)
            if host is not None and host.health_flags != flags:
                self._set_health(host, flags)
                changed.add(host.priority)
        for priority in sorted(changed):
            self.priorities.refresh_health(priority)

    def _set_health(self, host: Host, flags: int) -> None:
        before = host.health
        host.set_health_flags(flags)
        if before != HEALTHY and host.health == HEALTHY:
            host.last_healthy_ms = self.connector.dispatcher.clock.now_ms()

    def _begin(self) -> None:
        if not self.warm:
            self.warm = True
            # Main builds clusters too, but never serves with them: limits are shown by those who get hosts.
            for manager in self.info.resources:
                manager.begin()

    def _replace_hosts(self, update: HostsUpdate) -> None:
        self._begin()
        count = max([spec.priority for spec in update.hosts], default=0) + 1
        count = max(count, len(self.priorities.sets))
        lists: list[list[Host]] = [[] for _ in range(count)]
        hosts: dict[str, Host] = {}
        added = False
        for spec in update.hosts:
            if spec.key in hosts:
                continue
            host = self.hosts.get(spec.key)
            if host is None:
                host = self._make_host(spec)
                added = True
            self._describe_host(host, spec)
            hosts[spec.key] = host
            lists[spec.priority].append(host)
        gone = [host for key, host in self.hosts.items() if key not in hosts]
        self.hosts = hosts
        for priority in range(count):
            host_set = self.priorities.host_set(priority)
            host_set.overprovisioning_factor = update.overprovisioning_factor
            host_set.weighted_priority_health = update.weighted_priority_health
        for priority, members in enumerate(lists):
            weights = {
                Locality(region, zone, sub_zone): weight
                for (level, region, zone, sub_zone), weight in update.locality_weights.items()
                if level == priority
            }
            self.priorities.update(priority, members, weights, self.own_locality)
        for host in gone:
            self._remove_host(host)
        if (gone or added) and self.info.config.close_connections_on_host_set_change:
            for host in hosts.values():
                for pool in _pools(host):
                    pool.drain(False)

    def _make_host(self, spec: HostSpec) -> Host:
        info = self.info
        host = Host(info, spec.address, info.transport_socket_factory)
        host.key = spec.key
        host.created_ms = host.last_healthy_ms = self.connector.dispatcher.clock.now_ms()
        if info.per_endpoint_stats:
            host.stats = HostStats(info.scope.scope(f"endpoint.{sanitize_stats_name(spec.address.text)}."))
        if info.config.per_host_max_connections < UNLIMITED:
            shared = self.arena is not None and self.arena.columns > 1 and spec.limit_row >= 0
            count = SharedGauge(self.arena, spec.limit_row, self.column) if shared else SharedGauge(None)
            host.connection_limit = Resource(info.config.per_host_max_connections, count, shared, Gauge(""), None)
        if self._reporter is not None:
            host.outlier = ReportingMonitor(spec.key, self._reporter)
        return host

    def _describe_host(self, host: Host, spec: HostSpec) -> None:
        host.addresses = spec.addresses
        if host.address.text != spec.address.text:
            # A logical host has moved: connections that exist go on, new ones go there.
            host.address = spec.address
        host.hostname = spec.hostname
        host.weight = spec.weight
        if host.locality.key != spec.locality:
            host.locality = Locality(*spec.locality)
        host.priority = spec.priority
        host.endpoint_name = spec.endpoint_name
        host.metadata = spec.metadata
        host.locality_metadata = spec.locality_metadata
        own = spec.metadata.get("envoy.lb")
        host.canary = own is not None and own.get("canary") is True
        factory = self.info.transport_socket_matcher.resolve(spec.metadata, spec.locality_metadata, False)
        if factory is not host.transport_socket_factory:
            host.transport_socket_factory = factory
            for pool in _pools(host):
                pool.drain(True)
        self._set_health(host, spec.health_flags)

    def _remove_host(self, host: Host) -> None:
        host.removed = True
        host.http_pool_default = None
        for pool in _pools(host):
            pool.drain(True)

    def on_runtime_changed(self) -> None:
        """Limits and thresholds that the runtime overrides may be others now."""
        for manager in self.info.resources:
            manager.apply_runtime(self.runtime)
        for priority in range(len(self.priorities.sets)):
            self.load_balancer.refresh(priority)

    def immediate_health_check_fail(self, host: Host) -> None:
        """The host asked to be taken out at once (`x-envoy-immediate-health-check-fail`)."""
        self.link.immediate_health_check_fail(self.info.name, host.key)

    # --- the end ---

    def drain(self) -> None:
        """The cluster is replaced or gone: connections close as they become idle."""
        self.draining = True
        local = self._local
        if local is not None and self._feed in local.priorities.observers:
            local.priorities.observers.remove(self._feed)
        for host in self.hosts.values():
            self._remove_host(host)

    def close_all(self) -> None:
        """Close every connection at once (the worker ends)."""
        for host in self.hosts.values():
            for pool in _pools(host):
                pool.close_all()

    def host_stats(self) -> list[tuple[str, tuple[int, ...]]]:
        """For the admin page: each host's key and numbers (see HostStats.plain)."""
        return [(key, host.stats.plain()) for key, host in self.hosts.items()]

    def __repr__(self) -> str:
        return f"<Cluster {self.info.name} {len(self.hosts)} hosts>"


def _with_alpn(options: TransportSocketOptions | None, choice: int) -> TransportSocketOptions:
    """What is offered in the handshake where the configuration names no protocols."""
    if options is None:
        options = NO_OPTIONS
    if options.alpn_fallback:
        return options
    fallback = ("h2",) if choice == UPSTREAM_HTTP2 else ("h2", "http/1.1")
    return TransportSocketOptions(options.server_name, options.verify_sans, options.alpn, fallback)


def _pools(host: Host) -> list[ConnPoolBase]:
    pools: list[ConnPoolBase] = []
    pools.extend(host.http_pools.values())
    pools.extend(host.tcp_pools.values())
    return pools
