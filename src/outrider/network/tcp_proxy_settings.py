"""What a TCP proxy was configured to do, its stats, and its way to the upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.access_log.access_log import AccessLog
from outrider.network.connection import ConnectionStats
from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.network.tcp_proxy import TcpProxy

# Why there is no upstream connection (`on_failed`). The first four are final and have the numbers of Envoy's
# UpstreamFailureReason, which the local close reason shows; after the others another attempt is made, if any is left.
FAILED_ATTEMPTS: Final = 0
FAILED_NO_HOST: Final = 1
FAILED_OVERFLOW: Final = 2
FAILED_NO_CLUSTER: Final = 3
FAILED_CONNECT: Final = 4
FAILED_POOL: Final = 5

# UpstreamConnectMode
CONNECT_IMMEDIATE: Final = 0
CONNECT_ON_DATA: Final = 1
CONNECT_ON_TLS_HANDSHAKE: Final = 2


class TcpProxyStats:
    """`tcp.<stat_prefix>.*`."""

    __slots__ = (
        "cx_total", "cx_no_route", "cx_drain_close", "cx_overload_close", "flow_control_paused", "flow_control_resumed",
        "idle_timeout", "max_duration", "upstream_flush_active", "upstream_flush_total", "early_data", "route_delayed",
        "connection",
    )

    def __init__(self, scope: Scope) -> None:
        counter = scope.counter
        self.cx_total: Counter = counter("downstream_cx_total")
        self.cx_no_route: Counter = counter("downstream_cx_no_route")
        self.cx_drain_close: Counter = counter("downstream_cx_drain_close")
        self.cx_overload_close: Counter = counter("downstream_cx_overload_close")
        self.flow_control_paused: Counter = counter("downstream_flow_control_paused_reading_total")
        self.flow_control_resumed: Counter = counter("downstream_flow_control_resumed_reading_total")
        self.idle_timeout: Counter = counter("idle_timeout")
        self.max_duration: Counter = counter("max_downstream_connection_duration")
        self.upstream_flush_active: Gauge = scope.gauge("upstream_flush_active")
        self.upstream_flush_total: Counter = counter("upstream_flush_total")
        self.early_data: Counter = counter("early_data_received_count_total")
        self.route_delayed: Counter = counter("route_delayed_total")
        self.connection = ConnectionStats(
            counter("downstream_cx_rx_bytes_total"),
            scope.gauge("downstream_cx_rx_bytes_buffered"),
            counter("downstream_cx_tx_bytes_total"),
            scope.gauge("downstream_cx_tx_bytes_buffered"),
        )


@mypyc_attr(allow_interpreted_subclasses=True)
class UpstreamConnector:
    """Finds and opens upstream connections. The cluster manager's side of the filter, given by the factory."""

    def connect(self, proxy: TcpProxy) -> None:
        """Pick cluster and host; `proxy.on_connected` or `proxy.on_failed` follows, perhaps at once.

        Calls `proxy.begin_attempt` as soon as there is a host to try.
        """
        raise NotImplementedError

    def cancel(self, proxy: TcpProxy) -> None:
        """The downstream connection is gone while an upstream one is awaited."""


class TcpProxySettings:
    """What the filter was configured to do; times in milliseconds, 0 = off."""

    def __init__(self, stats: TcpProxyStats, connector: UpstreamConnector) -> None:
        self.stats = stats
        self.connector = connector
        self.access_logs: list[AccessLog] = []
        # When the upstream connection is begun (CONNECT_*).
        self.connect_mode: int = CONNECT_IMMEDIATE
        # Bytes that are taken from the client before there is an upstream; -1: it is not read.
        self.max_early_data: int = -1
        self.idle_timeout_ms: int = 3_600_000
        self.downstream_idle_timeout_ms: int = 0
        self.upstream_idle_timeout_ms: int = 0
        self.max_connect_attempts: int = 1
        # Base and maximum of the back-off between attempts; 0: at once.
        self.backoff_base_ms: int = 0
        self.backoff_max_ms: int = 0
        self.max_duration_ms: int = 0
        self.max_duration_jitter: float = 0.0
        self.log_flush_interval_ms: int = 0
        self.log_on_connected: bool = False
        self.log_on_start: bool = False
