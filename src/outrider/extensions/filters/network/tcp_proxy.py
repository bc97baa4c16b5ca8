"""envoy.filters.network.tcp_proxy: configuration, and the way to the clusters."""

from __future__ import annotations

from random import randrange
from typing import TYPE_CHECKING, Final

from outrider.access_log.access_log import create_access_logs
from outrider.data.filter_state import FilterStateObject
from outrider.extensions.filters.network.tcp_tlvs import TlvSettings, read_tlv_settings
from outrider.extensions.filters.network.tcp_tunnel import TunnelSettings, TunnelStream, read_tunnel
from outrider.network.connection import Connection
from outrider.network.filter import NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory
from outrider.network.shared_options import with_filter_state
from outrider.network.tcp_proxy import TcpProxy
from outrider.network.tcp_proxy_settings import (
    CONNECT_IMMEDIATE,
    CONNECT_ON_DATA,
    CONNECT_ON_TLS_HANDSHAKE,
    FAILED_ATTEMPTS,
    FAILED_CONNECT,
    FAILED_NO_CLUSTER,
    FAILED_NO_HOST,
    FAILED_OVERFLOW,
    FAILED_POOL,
    TcpProxySettings,
    TcpProxyStats,
    UpstreamConnector,
)
from outrider.network.transport_socket import TransportSocketOptions
from outrider.router.config.hash_policy import hash64
from outrider.upstream.cluster_manager import ClusterManager
from outrider.upstream.conn_pool import (
    POOL_LOCAL_CONNECTION_FAILURE,
    POOL_OVERFLOW,
    POOL_TIMEOUT,
    PendingStream,
    TcpPoolCallbacks,
)
from outrider.upstream.host import (
    LOCAL_ORIGIN_CONNECT_FAILED,
    LOCAL_ORIGIN_CONNECT_SUCCESS_FINAL,
    LOCAL_ORIGIN_TIMEOUT,
    Host,
)
from outrider.upstream.load_balancer_context import LoadBalancerContext
from outrider.upstream.on_demand_clusters import ClusterWait, ClusterWaiter, OnDemandClusters, discover_clusters

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.stream_info import StreamInfo
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
# Filter state that overrides the cluster (Envoy's well-known key).
CLUSTER_KEY: Final = "envoy.tcp_proxy.cluster"
# In place of the key of a filter state object to hash.
HASH_SOURCE_IP: Final = "\0source_ip"
# Filter state: "true" has a connection proxied without the configured tunnel.
DISABLE_TUNNELING_KEY: Final = "envoy.tcp_proxy.disable_tunneling"
# `on_demand.timeout` where it is not set.
DEFAULT_ON_DEMAND_TIMEOUT_MS: Final = 60_000


CONNECT_MODES: Final = {
    "IMMEDIATE": CONNECT_IMMEDIATE,
    "ON_DOWNSTREAM_DATA": CONNECT_ON_DATA,
    "ON_DOWNSTREAM_TLS_HANDSHAKE": CONNECT_ON_TLS_HANDSHAKE,
}


class Choice:
    """A cluster with its weight and load balancing criteria."""

    __slots__ = ("name", "weight", "metadata")

    def __init__(self, name: str, weight: int, metadata: dict[str, object] | None) -> None:
        self.name = name
        self.weight = weight
        self.metadata = metadata


class TcpContext(LoadBalancerContext):
    """What the load balancer may know of a proxied connection."""

    def __init__(
        self, proxy: TcpProxy, metadata: dict[str, object] | None, hash_by: str, tlvs: TlvSettings
    ) -> None:
        self.proxy = proxy
        self.tlvs = tlvs
        self.metadata = metadata
        self.hash_by = hash_by

    def compute_hash_key(self) -> int | None:
        info = self.proxy.connection.info
        if self.hash_by == HASH_SOURCE_IP:
            return hash64(info.remote_address.host_bytes)
        if not self.hash_by or info.filter_state is None:
            return None
        value = info.filter_state.get(self.hash_by)
        return hash64((value.serialize() or "").encode()) if isinstance(value, FilterStateObject) else None

    def metadata_match(self) -> dict[str, object] | None:
        return self.metadata

    def downstream_connection(self) -> Connection | None:
        return self.proxy.connection

    def stream_info(self) -> StreamInfo | None:
        return self.proxy.info

    def transport_socket_options(self) -> TransportSocketOptions | None:
        info = self.proxy.connection.info
        named = with_filter_state(info.filter_state, None)
        return self.tlvs.options(self.proxy, named)


class Attempt(TcpPoolCallbacks):
    """One wait for an upstream connection."""

    def __init__(self, proxy: TcpProxy, cluster_name: str) -> None:
        self.proxy = proxy
        self.cluster_name = cluster_name

    def on_pool_ready(self, connection: Connection, host: Host) -> None:
        if host.outlier.active:
            host.outlier.put_result(LOCAL_ORIGIN_CONNECT_SUCCESS_FINAL)
        self.proxy.on_connected(connection, host, host.address, self.cluster_name)

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        kind = FAILED_CONNECT
        if reason == POOL_OVERFLOW or reason == POOL_LOCAL_CONNECTION_FAILURE:
            kind = FAILED_POOL
        elif host.outlier.active:
            host.outlier.put_result(LOCAL_ORIGIN_TIMEOUT if reason == POOL_TIMEOUT else LOCAL_ORIGIN_CONNECT_FAILED)
        self.proxy.on_failed(kind, details, host, host.address)


class OnDemandStats:
    """`tcp.<prefix>.on_demand_cluster_*`"""

    __slots__ = ("attempt", "missing", "success", "timeout")

    def __init__(self, scope: Scope) -> None:
        self.attempt: Counter = scope.counter("on_demand_cluster_attempt")
        self.missing: Counter = scope.counter("on_demand_cluster_missing")
        self.success: Counter = scope.counter("on_demand_cluster_success")
        self.timeout: Counter = scope.counter("on_demand_cluster_timeout")


class ClusterAnswer(ClusterWaiter):
    """One connection's wait for its cluster (`on_demand`)."""

    def __init__(self, connector: ClusterConnector, proxy: TcpProxy, choice: Choice) -> None:
        self.connector = connector
        self.proxy = proxy
        self.choice = choice
        self.wait: ClusterWait | None = None

    def on_cluster_discovery(self, found: bool) -> None:
        proxy = self.proxy
        proxy.pending = None
        stats = self.connector.on_demand_stats
        assert stats is not None
        if found:
            stats.success.inc()
            self.connector.connect_to(proxy, self.choice)
            return
        if self.wait is not None and self.wait.timed_out:
            stats.timeout.inc()
        else:
            stats.missing.inc()
        proxy.on_failed(FAILED_NO_CLUSTER)


class ClusterConnector(UpstreamConnector):
    """Connects by way of the cluster manager."""

    def __init__(
        self,
        clusters: ClusterManager,
        choices: list[Choice],
        hash_by: str,
        tlvs: TlvSettings,
        tunnel: TunnelSettings | None = None,
    ) -> None:
        self.clusters = clusters
        self.choices = choices
        self.total = sum(choice.weight for choice in choices)
        self.hash_by = hash_by
        # Extensions of the PROXY headers that upstreams may be sent.
        self.tlvs = tlvs
        # None: raw connections.
        self.tunnel = tunnel
        # Where unknown clusters are asked for; None: nowhere.
        self.on_demand: OnDemandClusters | None = None
        self.on_demand_stats: OnDemandStats | None = None

    def _choose(self, proxy: TcpProxy) -> Choice:
        state = proxy.connection.info.filter_state
        if state is not None:
            override = state.get(CLUSTER_KEY)
            if isinstance(override, FilterStateObject):
                return Choice(override.serialize() or "", 1, None)
        if len(self.choices) == 1:
            return self.choices[0]
        mark = randrange(self.total)
        for choice in self.choices:
            mark -= choice.weight
            if mark < 0:
                return choice
        return self.choices[-1]

    def connect(self, proxy: TcpProxy) -> None:
        choice = self._choose(proxy)
        proxy.cluster_name = choice.name
        if self.on_demand is not None and self.on_demand_stats is not None and not self.clusters.has(choice.name):
            self.on_demand_stats.attempt.inc()
            answer = ClusterAnswer(self, proxy, choice)
            wait = self.on_demand.request(choice.name, answer)
            if wait.waiter is not None:
                answer.wait = wait
                proxy.pending = wait
            return
        self.connect_to(proxy, choice)

    def connect_to(self, proxy: TcpProxy, choice: Choice) -> None:
        """Connect by a cluster that there is, or fail."""
        cluster = self.clusters.get(choice.name)
        if cluster is None:
            proxy.on_failed(FAILED_NO_CLUSTER)
            return
        if proxy.info is not None:
            proxy.info.cluster = cluster.info
            proxy.info.cluster_name = choice.name
        # A pool without connections would make one in spite of the limit.
        if not cluster.info.resource_manager(0).connections.can_create():
            cluster.info.stats.upstream_cx_overflow.inc()
            proxy.on_failed(FAILED_OVERFLOW)
            return
        if proxy.attempts >= proxy.settings.max_connect_attempts:
            cluster.info.stats.upstream_cx_connect_attempts_exceeded.inc()
            proxy.on_failed(FAILED_ATTEMPTS)
            return
        context = TcpContext(proxy, choice.metadata, self.hash_by, self.tlvs)
        tunnel = self.tunnel
        if tunnel is not None and not _tunneling_disabled(proxy):
            http_pool = cluster.choose_pool(0, context)
            if http_pool is None:
                proxy.on_failed(FAILED_NO_HOST)
                return
            proxy.begin_attempt()
            secure = http_pool.host.transport_socket_factory.implements_secure_transport
            stream = TunnelStream(proxy, tunnel, http_pool, choice.name, secure)
            pending = stream.start()
            if pending is not None:
                proxy.pending = pending
            return
        pool = cluster.choose_tcp_pool(0, context)
        if pool is None:
            proxy.on_failed(FAILED_NO_HOST)
            return
        proxy.begin_attempt()
        proxy.pending = pool.new_connection(Attempt(proxy, choice.name))

    def cancel(self, proxy: TcpProxy) -> None:
        if isinstance(proxy.pending, PendingStream):
            proxy.pending.cancel()
        elif isinstance(proxy.pending, TunnelStream):
            proxy.pending.close()
        elif isinstance(proxy.pending, ClusterWait):
            proxy.pending.cancel()


def _tunneling_disabled(proxy: TcpProxy) -> bool:
    state = proxy.connection.info.filter_state
    value = None if state is None else state.get(DISABLE_TUNNELING_KEY)
    return isinstance(value, FilterStateObject) and value.serialize() == "true"


class TcpProxyFactory(NetworkFilterFactory):
    """Makes the filter of each connection."""

    is_terminal = True

    def __init__(self, settings: TcpProxySettings) -> None:
        self.settings = settings

    def create(self) -> NetworkFilter:
        return TcpProxy(self.settings)


@NETWORK_FILTERS.register("envoy.filters.network.tcp_proxy", TYPE, "envoy.tcp_proxy")
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    stats = TcpProxyStats(context.root_scope.scope(f"tcp.{config.text('stat_prefix')}."))
    settings = TcpProxySettings(stats, _connector(config, context))
    idle = config.millis("idle_timeout")
    if idle is not None:
        settings.idle_timeout_ms = idle
    settings.downstream_idle_timeout_ms = config.millis("downstream_idle_timeout") or 0
    settings.upstream_idle_timeout_ms = config.millis("upstream_idle_timeout") or 0
    settings.max_connect_attempts = config.integer("max_connect_attempts", 1)
    back_off = config.message("backoff_options")
    if back_off is not None:
        base = back_off.millis("base_interval") or 0
        settings.backoff_base_ms = base
        longest = back_off.millis("max_interval")
        settings.backoff_max_ms = base * 10 if longest is None else longest
        if settings.backoff_max_ms < base:
            raise back_off.error("max_interval must be greater than or equal to base_interval", "max_interval")
    settings.max_duration_ms = config.millis("max_downstream_connection_duration") or 0
    settings.max_duration_jitter = config.number("max_downstream_connection_duration_jitter_percentage") / 100.0
    settings.connect_mode = CONNECT_MODES[config.enum("upstream_connect_mode")]
    if config.has("max_early_data_bytes"):
        settings.max_early_data = config.integer("max_early_data_bytes")
    if settings.connect_mode != CONNECT_IMMEDIATE and settings.max_early_data < 0:
        raise config.error(
            "max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE",
            "upstream_connect_mode",
        )
    settings.access_logs = create_access_logs(config.messages("access_log"), context)
    settings.log_flush_interval_ms = config.millis("access_log_flush_interval") or 0
    settings.log_on_connected = config.flag("flush_access_log_on_connected")
    options = config.message("access_log_options")
    if options is not None:
        if config.has("access_log_flush_interval") or config.has("flush_access_log_on_connected"):
            raise config.error(
                "Only one of access_log_flush_interval or access_log_options.access_log_flush_interval can be"
                " specified.",
                "access_log_options",
            )
        settings.log_flush_interval_ms = options.millis("access_log_flush_interval") or 0
        settings.log_on_connected = options.flag("flush_access_log_on_connected")
        settings.log_on_start = options.flag("flush_access_log_on_start")
    return TcpProxyFactory(settings)


def _connector(config: View, context: FactoryContext) -> ClusterConnector:
    shared = _lb_metadata(config)
    choices: list[Choice] = []
    if config.which("cluster_specifier") == "weighted_clusters":
        weighted = config.message("weighted_clusters")
        assert weighted is not None
        for view in weighted.messages("clusters"):
            own = _lb_metadata(view)
            merged = {**(shared or {}), **(own or {})}
            choices.append(Choice(view.text("name"), view.integer("weight"), merged or None))
    else:
        choices.append(Choice(config.text("cluster"), 1, shared))
    hash_by = ""
    # There is one at most.
    for view in config.messages("hash_policy"):
        state = view.message("filter_state")
        if view.message("source_ip") is not None:
            hash_by = HASH_SOURCE_IP
        elif state is not None:
            hash_by = state.text("key")
    tlvs = read_tlv_settings(config, context)
    tunnel_view = config.message("tunneling_config")
    tunnel = None if tunnel_view is None else read_tunnel(tunnel_view, context)
    connector = ClusterConnector(context.cluster_manager, choices, hash_by, tlvs, tunnel)
    on_demand = config.message("on_demand")
    if on_demand is not None:
        timeout = on_demand.millis("timeout")
        connector.on_demand = discover_clusters(
            on_demand.message("odcds_config"),
            on_demand.text("resources_locator"),
            DEFAULT_ON_DEMAND_TIMEOUT_MS if timeout is None else timeout,
            context,
        )
        connector.on_demand_stats = OnDemandStats(context.root_scope.scope(f"tcp.{config.text('stat_prefix')}."))
    return connector


def _lb_metadata(view: View) -> dict[str, object] | None:
    """The `envoy.lb` criteria of `metadata_match`."""
    metadata = view.message("metadata_match")
    if metadata is None:
        return None
    return metadata.struct_map("filter_metadata").get("envoy.lb")
