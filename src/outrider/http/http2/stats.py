"""`http2.*` metrics of a server (at the root) or of a cluster."""

from __future__ import annotations

from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope


class Http2Stats:
    """Shared by all HTTP/2 codecs of one owner. `scope` is the root scope, or that of the cluster."""

    __slots__ = (
        "dropped_headers_with_underscores",
        "goaway_sent",
        "header_list_size_too_large",
        "header_overflow",
        "inbound_empty_frames_flood",
        "inbound_priority_frames_flood",
        "inbound_window_update_frames_flood",
        "keepalive_timeout",
        "nghttp2_connections",
        "outbound_control_flood",
        "outbound_control_frames_active",
        "outbound_flood",
        "outbound_frames_active",
        "pending_send_bytes",
        "requests_rejected_with_underscores_in_headers",
        "rx_messaging_error",
        "rx_reset",
        "stream_refused_errors",
        "streams_active",
        "trailers",
        "tx_flush_timeout",
        "tx_reset",
    )

    def __init__(self, scope: Scope, downstream: bool) -> None:
        counter = scope.counter
        self.dropped_headers_with_underscores: Counter = counter("http2.dropped_headers_with_underscores")
        self.goaway_sent: Counter = counter("http2.goaway_sent")
        self.header_list_size_too_large: Counter = counter("http2.header_list_size_too_large")
        self.header_overflow: Counter = counter("http2.header_overflow")
        self.inbound_empty_frames_flood: Counter = counter("http2.inbound_empty_frames_flood")
        self.inbound_priority_frames_flood: Counter = counter("http2.inbound_priority_frames_flood")
        self.inbound_window_update_frames_flood: Counter = counter("http2.inbound_window_update_frames_flood")
        self.keepalive_timeout: Counter = counter("http2.keepalive_timeout")
        self.outbound_control_flood: Counter = counter("http2.outbound_control_flood")
        self.outbound_flood: Counter = counter("http2.outbound_flood")
        self.requests_rejected_with_underscores_in_headers: Counter = counter(
            "http2.requests_rejected_with_underscores_in_headers"
        )
        self.rx_messaging_error: Counter = counter("http2.rx_messaging_error")
        self.rx_reset: Counter = counter("http2.rx_reset")
        self.stream_refused_errors: Counter = counter("http2.stream_refused_errors")
        self.trailers: Counter = counter("http2.trailers")
        self.tx_flush_timeout: Counter = counter("http2.tx_flush_timeout")
        self.tx_reset: Counter = counter("http2.tx_reset")
        self.streams_active: Gauge = scope.gauge("http2.streams_active")
        self.pending_send_bytes: Gauge = scope.gauge("http2.pending_send_bytes")
        upstream_connections: Counter = counter("http2.nghttp2_upstream_connections")
        downstream_connections: Counter = counter("http2.nghttp2_downstream_connections")
        self.nghttp2_connections: Counter = downstream_connections if downstream else upstream_connections
        # Of codecs and situations that do not exist here; they are part of the set that users know.
        for name in (
            "cookies_total_bytes_too_large", "deferred_stream_close",
            "headers_cb_no_stream", "metadata_empty_frames", "oghttp2_downstream_connections",
            "oghttp2_upstream_connections",
        ):  # fmt: skip
            counter(f"http2.{name}")
        self.outbound_frames_active: Gauge = scope.gauge("http2.outbound_frames_active")
        self.outbound_control_frames_active: Gauge = scope.gauge("http2.outbound_control_frames_active")
