"""Statistics of the UDP proxy: `udp.<stat_prefix>.*` and `cluster.<name>.udp.*`."""

from __future__ import annotations

from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope


class UdpProxyStats:
    """`udp.<stat_prefix>.*`"""

    __slots__ = (
        "sess_active", "sess_total", "sess_no_route", "sess_rx_bytes", "sess_rx_datagrams", "sess_rx_errors",
        "sess_tx_bytes", "sess_tx_datagrams", "sess_tx_errors", "idle_timeout",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.sess_active: Gauge = scope.gauge("downstream_sess_active")
        self.sess_total: Counter = scope.counter("downstream_sess_total")
        self.sess_no_route: Counter = scope.counter("downstream_sess_no_route")
        self.sess_rx_bytes: Counter = scope.counter("downstream_sess_rx_bytes")
        self.sess_rx_datagrams: Counter = scope.counter("downstream_sess_rx_datagrams")
        self.sess_rx_errors: Counter = scope.counter("downstream_sess_rx_errors")
        self.sess_tx_bytes: Counter = scope.counter("downstream_sess_tx_bytes")
        self.sess_tx_datagrams: Counter = scope.counter("downstream_sess_tx_datagrams")
        self.sess_tx_errors: Counter = scope.counter("downstream_sess_tx_errors")
        self.idle_timeout: Counter = scope.counter("idle_timeout")
        scope.counter("session_filter_config_missing")


class UdpUpstreamStats:
    """`cluster.<name>.udp.*`"""

    __slots__ = (
        "sess_rx_datagrams", "sess_rx_datagrams_dropped", "sess_rx_errors", "sess_tx_datagrams", "sess_tx_errors",
        "tunnel_success", "tunnel_failure", "tunnel_buffer_overflow",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.sess_rx_datagrams: Counter = scope.counter("sess_rx_datagrams")
        self.sess_rx_datagrams_dropped: Counter = scope.counter("sess_rx_datagrams_dropped")
        self.sess_rx_errors: Counter = scope.counter("sess_rx_errors")
        self.sess_tx_datagrams: Counter = scope.counter("sess_tx_datagrams")
        self.sess_tx_errors: Counter = scope.counter("sess_tx_errors")
        self.tunnel_success: Counter = scope.counter("sess_tunnel_success")
        self.tunnel_failure: Counter = scope.counter("sess_tunnel_failure")
        self.tunnel_buffer_overflow: Counter = scope.counter("sess_tunnel_buffer_overflow")
