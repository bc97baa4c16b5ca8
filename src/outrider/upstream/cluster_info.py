"""What everybody may know of a cluster: its settings, stats and limits, without its hosts (Envoy's `ClusterInfo`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.shared_limit import SharedArena
from outrider.network.connection import ConnectionStats
from outrider.stats.store import Scope, sanitize_stats_name
from outrider.upstream.cluster_stats import ClusterStats, RequestResponseSizeStats, TimeoutBudgetStats, traffic_metrics
from outrider.upstream.code_stats import CodeStats
from outrider.upstream.resource_manager import ResourceManager

if TYPE_CHECKING:
    from outrider.http.http1.settings import Http1Settings
    from outrider.http.http1.stats import Http1Stats
    from outrider.http.http2.settings import Http2Settings
    from outrider.http.http2.stats import Http2Stats
    from outrider.network.transport_socket import TransportSocketFactory
    from outrider.upstream.config.cluster_config import ClusterConfig
    from outrider.upstream.transport_socket_matcher import TransportSocketMatcher

# Upstream protocol choice.
UPSTREAM_HTTP1: Final = 1
UPSTREAM_HTTP2: Final = 2
UPSTREAM_HTTP3: Final = 3
# As the downstream request came.
UPSTREAM_USE_DOWNSTREAM: Final = 4
# As ALPN decides.
UPSTREAM_AUTO: Final = 5

# No limit on requests per connection.
UNLIMITED_REQUESTS: Final = 1 << 62


class ClusterInfo:
    """One cluster, shared by its hosts, pools and requests. Times are in milliseconds, 0 = none."""

    __slots__ = (
        "name",
        "observability_name",
        "scope",
        "stats",
        "config",
        "code_stats",
        "timeout_budget",
        "size_stats",
        "resources",
        "connection_stats",
        "connect_timeout_ms",
        "idle_timeout_ms",
        "max_connection_duration_ms",
        "max_connection_duration_jitter",
        "max_stream_duration_ms",
        "max_requests_per_connection",
        "per_connection_buffer_limit",
        "protocol_choice",
        "http1_settings",
        "http2_settings",
        "max_response_headers_kb",
        "max_response_headers_count",
        "metadata",
        "auto_sni",
        "auto_san_validation",
        "override_auto_sni_header",
        "per_downstream_connection",
        "per_endpoint_stats",
        "transport_socket_matcher",
        "transport_socket_factory",
        "maintenance_key",
        "drop_overload",
        "drop_category",
        "added_via_api",
        "preconnect_ratio",
        "set_local_interface_name",
        "has_outlier_detection",
        "outlier_rates",
        "_http1_stats",
        "_http2_stats",
        "close_connections_on_health_failure",
        "headers_with_underscores_action",
        "tcp_idle_timeout_ms",
    )

    def __init__(
        self,
        config: ClusterConfig,
        scope: Scope,
        transport_socket_matcher: TransportSocketMatcher,
        arena: SharedArena | None = None,
        column: int = 0,
        added_via_api: bool = False,
    ) -> None:
        self.config = config
        self.name: str = config.name
        # `alt_stat_name`, else the name.
        self.observability_name: str = config.observability_name
        # `cluster.<observability name>.`
        self.scope: Scope = scope
        self.stats: ClusterStats = ClusterStats(scope)
        if scope.root().defers:
            scope.root().defer(traffic_metrics(scope))
        self.code_stats: CodeStats = CodeStats(scope)
        self.timeout_budget: TimeoutBudgetStats | None = TimeoutBudgetStats(scope) if config.timeout_budgets else None
        self.size_stats: RequestResponseSizeStats | None = (
            RequestResponseSizeStats(scope) if config.request_response_sizes else None
        )
        # By priority: DEFAULT, HIGH.
        self.resources: list[ResourceManager] = [
            ResourceManager(config.name, priority, config.thresholds[priority], scope, arena, column)
            for priority in (0, 1)
        ]
        stats = self.stats
        self.connection_stats: ConnectionStats = ConnectionStats(
            stats.upstream_cx_rx_bytes_total,
            stats.upstream_cx_rx_bytes_buffered,
            stats.upstream_cx_tx_bytes_total,
            stats.upstream_cx_tx_bytes_buffered,
        )
        self.connect_timeout_ms: int = config.connect_timeout_ms
        # Of an idle pooled connection; 0 = never.
        self.idle_timeout_ms: int = config.idle_timeout_ms
        self.tcp_idle_timeout_ms: int = config.tcp_idle_timeout_ms
        self.max_connection_duration_ms: int = config.max_connection_duration_ms
        self.max_connection_duration_jitter: float = config.max_connection_duration_jitter
        self.max_stream_duration_ms: int = config.max_stream_duration_ms
        self.max_requests_per_connection: int = config.max_requests_per_connection or UNLIMITED_REQUESTS
        # Bytes; 0 = unlimited.
        self.per_connection_buffer_limit: int = config.per_connection_buffer_limit
        self.protocol_choice: int = config.protocol_choice
        self.http1_settings: Http1Settings = config.http1_settings
        self.http2_settings: Http2Settings = config.http2_settings
        self.max_response_headers_kb: int = config.max_response_headers_kb
        self.max_response_headers_count: int = config.max_response_headers_count
        # ALLOW, REJECT_REQUEST or DROP_HEADER.
        self.headers_with_underscores_action: str = config.headers_with_underscores_action
        # `filter_metadata` by namespace.
        self.metadata: dict[str, dict[str, object]] = config.metadata
        self.auto_sni: bool = config.auto_sni
        self.auto_san_validation: bool = config.auto_san_validation
        # Name of the request header that gives the SNI; empty = `:authority`.
        self.override_auto_sni_header: bytes = config.override_auto_sni_header
        self.per_downstream_connection: bool = config.per_downstream_connection
        self.per_endpoint_stats: bool = config.per_endpoint_stats
        self.transport_socket_matcher: TransportSocketMatcher = transport_socket_matcher
        # The cluster's own `transport_socket`, that of hosts that match nothing.
        self.transport_socket_factory: TransportSocketFactory = transport_socket_matcher.default_factory
        # Runtime key; the percentage itself is looked up by the router only when the runtime knows the key.
        self.maintenance_key: str = f"upstream.maintenance_mode.{config.name}"
        # Chance in per cent that a request is dropped (`drop_overloads`), and the category that does it.
        self.drop_overload: float = config.drop_overload
        self.drop_category: str = config.drop_category
        self.added_via_api: bool = added_via_api
        self.preconnect_ratio: float = config.per_upstream_preconnect_ratio
        self.set_local_interface_name: bool = config.set_local_interface_name
        self.has_outlier_detection: bool = config.outlier_detection is not None
        self.close_connections_on_health_failure: bool = config.close_connections_on_health_failure
        # Of outlier detection in the main process, for `/clusters`: average and ejection threshold of the success rate,
        # then the same for local origin; None without outlier detection, -1 = unknown.
        self.outlier_rates: tuple[float, float, float, float] | None = (
            (-1.0, -1.0, -1.0, -1.0) if self.has_outlier_detection else None
        )
        self._http1_stats: Http1Stats | None = None
        self._http2_stats: Http2Stats | None = None

    def resource_manager(self, priority: int) -> ResourceManager:
        """The circuit breakers of a priority (0 DEFAULT, 1 HIGH): `.retries.can_create()`, `.inc()`, `.dec()`."""
        return self.resources[priority]

    def http1_stats(self) -> Http1Stats:
        """`http1.*` codec metrics, made with the first connection as in Envoy."""
        found = self._http1_stats
        if found is None:
            from outrider.http.http1.stats import Http1Stats

            found = Http1Stats(self.scope)
            self._http1_stats = found
        return found

    def http2_stats(self) -> Http2Stats:
        """`http2.*` codec metrics, likewise."""
        found = self._http2_stats
        if found is None:
            from outrider.http.http2.stats import Http2Stats

            found = Http2Stats(self.scope, False)
            self._http2_stats = found
        return found

    @property
    def secure_transport(self) -> bool:
        """Whether the cluster's own transport socket is secure."""
        return self.transport_socket_factory.implements_secure_transport

    def __repr__(self) -> str:
        return f"<ClusterInfo {self.name}>"


def cluster_scope(root: Scope, observability_name: str) -> Scope:
    """`cluster.<name>.`; `:` in the name becomes `_`."""
    return root.scope("cluster." + sanitize_stats_name(observability_name) + ".")
