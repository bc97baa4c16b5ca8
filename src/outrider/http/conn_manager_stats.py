"""Stats of an HTTP connection manager: `http.<stat_prefix>.*` and its per-listener copy.

Source: Envoy documentation, "HTTP connection manager: statistics".
"""

from __future__ import annotations

from outrider.network.connection import ConnectionStats
from outrider.stats.metrics import UNIT_MILLISECONDS, Counter, Gauge, Histogram
from outrider.stats.store import Scope


class TracingStats:
    """`http.<stat_prefix>.tracing.*`."""

    __slots__ = ("client_enabled", "health_check", "not_traceable", "random_sampling", "service_forced")

    def __init__(self, scope: Scope) -> None:
        self.client_enabled = scope.counter("tracing.client_enabled")
        self.health_check = scope.counter("tracing.health_check")
        self.not_traceable = scope.counter("tracing.not_traceable")
        self.random_sampling = scope.counter("tracing.random_sampling")
        self.service_forced = scope.counter("tracing.service_forced")


class ListenerHttpStats:
    """`listener.<address>.http.<stat_prefix>.*`; index of `by_class` is the status class (1 to 5)."""

    __slots__ = ("completed", "by_class")

    def __init__(self, scope: Scope) -> None:
        self.completed: Counter = scope.counter("downstream_rq_completed")
        self.by_class: list[Counter] = [scope.counter(f"downstream_rq_{digit}xx") for digit in (1, 1, 2, 3, 4, 5)]


class HcmStats:
    """Bound once per connection manager; hot code only adds."""

    __slots__ = (
        "cx_active",
        "cx_delayed_close_timeout",
        "cx_destroy",
        "cx_destroy_active_rq",
        "cx_destroy_local",
        "cx_destroy_local_active_rq",
        "cx_destroy_remote",
        "cx_destroy_remote_active_rq",
        "cx_drain_close",
        "cx_http1_active",
        "cx_http1_soft_drain",
        "cx_http1_total",
        "cx_http2_active",
        "cx_http2_total",
        "cx_http3_active",
        "cx_http3_total",
        "cx_idle_timeout",
        "cx_max_duration_reached",
        "cx_max_requests_reached",
        "cx_overload_disable_keepalive",
        "cx_protocol_error",
        "cx_ssl_active",
        "cx_ssl_total",
        "cx_total",
        "cx_upgrades_active",
        "cx_upgrades_total",
        "flow_control_paused",
        "flow_control_resumed",
        "rq_active",
        "rq_by_class",
        "rq_completed",
        "rq_failed_path_normalization",
        "rq_header_timeout",
        "rq_http1_total",
        "rq_http2_total",
        "rq_http3_total",
        "rq_idle_timeout",
        "rq_max_duration_reached",
        "rq_non_relative_path",
        "rq_overload_close",
        "rq_redirected_with_normalized_path",
        "rq_rejected_via_ip_detection",
        "rq_response_before_rq_complete",
        "rq_rx_reset",
        "rq_timeout",
        "rq_too_large",
        "rq_too_many_premature_resets",
        "rq_total",
        "rq_tx_reset",
        "rq_ws_on_non_ws_route",
        "rs_too_large",
        "cx_length_ms",
        "rq_time",
        "connection",
        "tracing",
        "overload_local_reply",
    )

    def __init__(self, scope: Scope) -> None:
        """`scope` is `http.<stat_prefix>.`."""
        counter = scope.counter
        gauge = scope.gauge
        self.cx_active: Gauge = gauge("downstream_cx_active")
        self.cx_delayed_close_timeout: Counter = counter("downstream_cx_delayed_close_timeout")
        self.cx_destroy: Counter = counter("downstream_cx_destroy")
        self.cx_destroy_active_rq: Counter = counter("downstream_cx_destroy_active_rq")
        self.cx_destroy_local: Counter = counter("downstream_cx_destroy_local")
        self.cx_destroy_local_active_rq: Counter = counter("downstream_cx_destroy_local_active_rq")
        self.cx_destroy_remote: Counter = counter("downstream_cx_destroy_remote")
        self.cx_destroy_remote_active_rq: Counter = counter("downstream_cx_destroy_remote_active_rq")
        self.cx_drain_close: Counter = counter("downstream_cx_drain_close")
        self.cx_http1_active: Gauge = gauge("downstream_cx_http1_active")
        self.cx_http1_soft_drain: Counter = counter("downstream_cx_http1_soft_drain")
        self.cx_http1_total: Counter = counter("downstream_cx_http1_total")
        self.cx_http2_active: Gauge = gauge("downstream_cx_http2_active")
        self.cx_http2_total: Counter = counter("downstream_cx_http2_total")
        self.cx_http3_active: Gauge = gauge("downstream_cx_http3_active")
        self.cx_http3_total: Counter = counter("downstream_cx_http3_total")
        self.cx_idle_timeout: Counter = counter("downstream_cx_idle_timeout")
        self.cx_max_duration_reached: Counter = counter("downstream_cx_max_duration_reached")
        self.cx_max_requests_reached: Counter = counter("downstream_cx_max_requests_reached")
        self.cx_overload_disable_keepalive: Counter = counter("downstream_cx_overload_disable_keepalive")
        self.cx_protocol_error: Counter = counter("downstream_cx_protocol_error")
        self.cx_ssl_active: Gauge = gauge("downstream_cx_ssl_active")
        self.cx_ssl_total: Counter = counter("downstream_cx_ssl_total")
        self.cx_total: Counter = counter("downstream_cx_total")
        self.cx_upgrades_active: Gauge = gauge("downstream_cx_upgrades_active")
        self.cx_upgrades_total: Counter = counter("downstream_cx_upgrades_total")
        self.flow_control_paused: Counter = counter("downstream_flow_control_paused_reading_total")
        self.flow_control_resumed: Counter = counter("downstream_flow_control_resumed_reading_total")
        self.rq_active: Gauge = gauge("downstream_rq_active")
        self.rq_by_class: list[Counter] = [counter(f"downstream_rq_{digit}xx") for digit in (1, 1, 2, 3, 4, 5)]
        self.rq_completed: Counter = counter("downstream_rq_completed")
        self.rq_failed_path_normalization: Counter = counter("downstream_rq_failed_path_normalization")
        self.rq_header_timeout: Counter = counter("downstream_rq_header_timeout")
        self.rq_http1_total: Counter = counter("downstream_rq_http1_total")
        self.rq_http2_total: Counter = counter("downstream_rq_http2_total")
        self.rq_http3_total: Counter = counter("downstream_rq_http3_total")
        self.rq_idle_timeout: Counter = counter("downstream_rq_idle_timeout")
        self.rq_max_duration_reached: Counter = counter("downstream_rq_max_duration_reached")
        self.rq_non_relative_path: Counter = counter("downstream_rq_non_relative_path")
        self.rq_overload_close: Counter = counter("downstream_rq_overload_close")
        self.rq_redirected_with_normalized_path: Counter = counter("downstream_rq_redirected_with_normalized_path")
        self.rq_rejected_via_ip_detection: Counter = counter("downstream_rq_rejected_via_ip_detection")
        self.rq_response_before_rq_complete: Counter = counter("downstream_rq_response_before_rq_complete")
        self.rq_rx_reset: Counter = counter("downstream_rq_rx_reset")
        self.rq_timeout: Counter = counter("downstream_rq_timeout")
        self.rq_too_large: Counter = counter("downstream_rq_too_large")
        self.rq_too_many_premature_resets: Counter = counter("downstream_rq_too_many_premature_resets")
        self.rq_total: Counter = counter("downstream_rq_total")
        self.rq_tx_reset: Counter = counter("downstream_rq_tx_reset")
        self.rq_ws_on_non_ws_route: Counter = counter("downstream_rq_ws_on_non_ws_route")
        self.rs_too_large: Counter = counter("rs_too_large")
        self.overload_local_reply: Counter = counter("rq_overload_local_reply")
        self.cx_length_ms: Histogram = scope.histogram("downstream_cx_length_ms", UNIT_MILLISECONDS)
        self.rq_time: Histogram = scope.histogram("downstream_rq_time", UNIT_MILLISECONDS)
        self.tracing = TracingStats(scope)
        self.connection = ConnectionStats(
            counter("downstream_cx_rx_bytes_total"),
            gauge("downstream_cx_rx_bytes_buffered"),
            counter("downstream_cx_tx_bytes_total"),
            gauge("downstream_cx_tx_bytes_buffered"),
            self.cx_delayed_close_timeout,
        )

