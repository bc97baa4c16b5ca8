"""Metrics of a listener: `listener.<address>.*`. Source: Envoy documentation, "Listener statistics"."""

from __future__ import annotations

from outrider.stats.metrics import UNIT_MILLISECONDS, Counter, Gauge, Histogram
from outrider.stats.store import Scope


class ListenerStats:
    """Bound metrics of one address scope, with the part that is kept per handler (`worker_0`, `main_thread`)."""

    __slots__ = (
        "cx_total", "cx_active", "cx_destroy", "cx_overflow", "cx_overload_reject", "global_cx_overflow",
        "transport_socket_connect_timeout", "pre_cx_active", "pre_cx_timeout", "listener_filter_error",
        "listener_filter_remote_close", "no_filter_chain_match", "cx_length_ms", "accepted_per_event",
        "handler_cx_total", "handler_cx_active",
    )  # fmt: skip

    def __init__(self, scope: Scope, handler: str) -> None:
        self.cx_total: Counter = scope.counter("downstream_cx_total")
        self.cx_active: Gauge = scope.gauge("downstream_cx_active")
        self.cx_destroy: Counter = scope.counter("downstream_cx_destroy")
        self.cx_overflow: Counter = scope.counter("downstream_cx_overflow")
        self.cx_overload_reject: Counter = scope.counter("downstream_cx_overload_reject")
        self.global_cx_overflow: Counter = scope.counter("downstream_global_cx_overflow")
        self.transport_socket_connect_timeout: Counter = scope.counter("downstream_cx_transport_socket_connect_timeout")
        self.pre_cx_active: Gauge = scope.gauge("downstream_pre_cx_active")
        self.pre_cx_timeout: Counter = scope.counter("downstream_pre_cx_timeout")
        self.listener_filter_error: Counter = scope.counter("downstream_listener_filter_error")
        self.listener_filter_remote_close: Counter = scope.counter("downstream_listener_filter_remote_close")
        self.no_filter_chain_match: Counter = scope.counter("no_filter_chain_match")
        self.cx_length_ms: Histogram = scope.histogram("downstream_cx_length_ms", UNIT_MILLISECONDS)
        self.accepted_per_event: Histogram = scope.histogram("connections_accepted_per_socket_event")
        self.handler_cx_total: Counter = scope.counter(f"{handler}.downstream_cx_total")
        self.handler_cx_active: Gauge = scope.gauge(f"{handler}.downstream_cx_active")
