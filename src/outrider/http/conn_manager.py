"""envoy.filters.network.http_connection_manager at run time: one per downstream connection.

Owns the codec and the streams of its connection, and decides when the connection ends.
Source: Envoy documentation, "HTTP connection management"; Envoy's `ConnectionManagerImpl`.
"""

from __future__ import annotations

import random
from time import monotonic_ns
from typing import Final

from outrider.data import response_flag
from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import CONTENT_LENGTH
from outrider.data.stream_info import HTTP2, HTTP3, HTTP10, HTTP11
from outrider.event.timer import Timer, TimerOwner
from outrider.http.active_stream import ActiveStream
from outrider.http.codec import (
    RESET_CONNECT_ERROR,
    CodecProtocolError,
    FloodError,
    RequestDecoder,
    ResponseEncoder,
    ServerConnection,
    ServerConnectionCallbacks,
)
from outrider.http.conn_manager_settings import CODEC_AUTO, CODEC_HTTP2, HcmSettings
from outrider.network.connection import STATE_OPEN, Connection
from outrider.network.filter import (
    CLOSE_FLUSH_WRITE,
    CLOSE_FLUSH_WRITE_AND_DELAY,
    CLOSE_NO_FLUSH,
    CONTINUE,
    EVENT_CONNECTED,
    EVENT_LOCAL_CLOSE,
    STOP,
    NetworkFilter,
)
from outrider.overload.settings import CREATING_CODEC
from outrider.overload.state import CONNECTION_IDLE, sheds

_TIMER_IDLE: Final = 0
_TIMER_MAX_DURATION: Final = 1
_TIMER_DRAIN: Final = 2
_NANOS_PER_MS: Final = 1_000_000
_NANOS_PER_SECOND: Final = 1_000_000_000

# Runtime keys of Envoy's rule against rapid resets.
_PREMATURE_COUNT_KEY: Final = "overload.premature_reset_total_stream_count"
_PREMATURE_LIFETIME_KEY: Final = "overload.premature_reset_min_stream_lifetime_seconds"

# The HTTP/2 connection preface begins with this (RFC 9113 section 3.4).
_PREFACE: Final = b"PRI * HTTP/2"


class _CodecCallbacks(ServerConnectionCallbacks):
    """The codec's view of the connection manager."""

    def __init__(self, hcm: HttpConnectionManager) -> None:
        self.hcm = hcm

    def new_stream(self, encoder: ResponseEncoder) -> RequestDecoder:
        return self.hcm.new_stream(encoder)

    def on_go_away(self) -> None:
        """The client opens no more streams; those that run are served."""

    def on_codec_error(self, error: CodecProtocolError) -> None:
        self.hcm.on_codec_error(error)


class _Timers(TimerOwner):
    """Receives the connection manager's timers."""

    def __init__(self, hcm: HttpConnectionManager) -> None:
        self.hcm = hcm

    def on_timer(self, kind: int) -> None:
        self.hcm.on_timer(kind)


class HttpConnectionManager(NetworkFilter):
    """See the module."""

    def __init__(self, settings: HcmSettings) -> None:
        self.settings = settings
        self.codec: ServerConnection | None = None
        self.protocol: int = HTTP11
        self.streams: list[ActiveStream] = []
        # No further request is served on this connection; it closes when its streams are done.
        self.closing: bool = False
        # The client is being told to go elsewhere; new requests are still served.
        self.draining: bool = False
        self._requests: int = 0
        self._timers: _Timers | None = None
        self._idle_timer: Timer | None = None
        self._idle_due_ms: int = 0
        self._duration_timer: Timer | None = None
        self._drain_timer: Timer | None = None
        self._last_stream_end_ns: int = 0
        self._start_ns: int = 0
        self._pending: bytes = b""
        self._counted: bool = False
        self._closed: bool = False
        # Streams that are over, and those among them that the client reset before there was a response.
        self._ended_requests: int = 0
        self._premature_resets: int = 0

    # --- the connection ---

    def initialize(self, connection: Connection) -> None:
        NetworkFilter.initialize(self, connection)
        connection.add_callbacks(self)
        settings = self.settings
        connection.stats = settings.stats.connection
        connection.delayed_close_timeout_ms = settings.delayed_close_timeout_ms
        self._start_ns = monotonic_ns()
        self._last_stream_end_ns = self._start_ns
        self._timers = _Timers(self)

    def on_new_connection(self) -> int:
        stats = self.settings.stats
        self._counted = True
        stats.cx_total.inc()
        stats.cx_active.inc()
        # The handshake may still be to come.
        if self.connection.transport_socket is not None:
            stats.cx_ssl_total.inc()
            stats.cx_ssl_active.inc()
        settings = self.settings
        timers = self._timers
        assert timers is not None
        dispatcher = self.connection.dispatcher
        if settings.idle_timeout_ms > 0:
            self._idle_timer = dispatcher.timer(timers, _TIMER_IDLE)
            self._arm_idle(settings.overload.timeout(CONNECTION_IDLE, settings.idle_timeout_ms))
        if settings.max_connection_duration_ms > 0:
            self._duration_timer = dispatcher.timer(timers, _TIMER_MAX_DURATION)
            self._duration_timer.arm(settings.max_connection_duration_ms)
        return CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> int:
        codec = self.codec
        if codec is None:
            if self.settings.overload.active and self._shed_connection():
                return STOP
            codec = self._create_codec(data)
            if codec is None:
                return STOP
            data = self._pending
            self._pending = b""
        try:
            codec.dispatch(data)
        except CodecProtocolError as error:
            self.on_codec_error(error)
        if self.closing and self.protocol >= HTTP2:
            # The last bytes of the last response may have waited for the client's window.
            self._close_if_done(False)
        return STOP

    def _shed_connection(self) -> bool:
        point = self.settings.overload.points.get(CREATING_CODEC)
        if point is None or not point.should_shed():
            return False
        self.settings.stats.rq_overload_close.inc()
        self.connection.close(CLOSE_FLUSH_WRITE_AND_DELAY, "onDataSheddingLoad")
        return True

    def _create_codec(self, data: bytes) -> ServerConnection | None:
        """Choose the codec by configuration, ALPN or the first bytes. None: more bytes are needed."""
        self._pending += data
        settings = self.settings
        kind = settings.codec_type
        protocol = HTTP11
        if kind == CODEC_AUTO:
            ssl = self.connection.info.ssl
            if (ssl is not None and ssl.alpn() == "h2") or self._pending.startswith(_PREFACE):
                protocol = HTTP2
        elif kind == CODEC_HTTP2:
            protocol = HTTP2
        codec = settings.codecs.create(self.connection, _CodecCallbacks(self), protocol)
        self.codec = codec
        protocol = codec.protocol
        self.protocol = protocol
        self.connection.info.protocol = protocol
        stats = settings.stats
        if protocol == HTTP2:
            stats.cx_http2_total.inc()
            stats.cx_http2_active.inc()
        elif protocol == HTTP3:
            stats.cx_http3_total.inc()
            stats.cx_http3_active.inc()
        else:
            stats.cx_http1_total.inc()
            stats.cx_http1_active.inc()
        return codec

    def on_codec_error(self, error: CodecProtocolError) -> None:
        """The client broke the protocol: the codec has said so to it as far as possible."""
        stats = self.settings.stats
        if not isinstance(error, FloodError):
            stats.cx_protocol_error.inc()
        if self.streams and self.protocol >= HTTP2:
            stats.cx_destroy_active_rq.inc()
            stats.cx_destroy_local_active_rq.inc()
        details = error.details or "codec_error"
        self._close_streams(response_flag.DOWNSTREAM_PROTOCOL_ERROR, details)
        self.connection.close(CLOSE_FLUSH_WRITE_AND_DELAY, details)

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            return
        if self._closed:
            return
        self._closed = True
        stats = self.settings.stats
        active = len(self.streams) > 0
        if self._counted:
            stats.cx_destroy.inc()
            if event == EVENT_LOCAL_CLOSE:
                stats.cx_destroy_local.inc()
            else:
                stats.cx_destroy_remote.inc()
            if active:
                stats.cx_destroy_active_rq.inc()
                if event == EVENT_LOCAL_CLOSE:
                    stats.cx_destroy_local_active_rq.inc()
                else:
                    stats.cx_destroy_remote_active_rq.inc()
        if active:
            if event == EVENT_LOCAL_CLOSE:
                reason = self.connection.local_close_reason
                details = f"downstream_local_disconnect({reason})" if reason else "downstream_local_disconnect"
                self._close_streams(response_flag.DOWNSTREAM_CONNECTION_TERMINATION, details.replace(" ", "_"))
            else:
                self._close_streams(response_flag.DOWNSTREAM_CONNECTION_TERMINATION, "downstream_remote_disconnect")
        for timer in (self._idle_timer, self._duration_timer, self._drain_timer):
            if timer is not None:
                timer.disarm()
        if self._counted:
            stats.cx_active.dec()
            if self.connection.transport_socket is not None:
                stats.cx_ssl_active.dec()
            if self.codec is not None:
                if self.protocol == HTTP2:
                    stats.cx_http2_active.dec()
                elif self.protocol == HTTP3:
                    stats.cx_http3_active.dec()
                else:
                    stats.cx_http1_active.dec()
            stats.cx_length_ms.record((monotonic_ns() - self._start_ns) // _NANOS_PER_MS)

    def _close_streams(self, flag: int, details: str) -> None:
        for stream in list(self.streams):
            stream.on_connection_closed(flag, details)

    def on_above_write_buffer_high_watermark(self) -> None:
        if self.codec is not None:
            self.codec.on_underlying_connection_above_write_buffer_high_watermark()

    def on_below_write_buffer_low_watermark(self) -> None:
        if self.codec is not None:
            self.codec.on_underlying_connection_below_write_buffer_low_watermark()

    def on_destroy(self) -> None:
        self.codec = None
        self._timers = None
        self._idle_timer = None
        self._duration_timer = None
        self._drain_timer = None

    # --- streams ---

    def new_stream(self, encoder: ResponseEncoder) -> ActiveStream:
        settings = self.settings
        stats = settings.stats
        stats.rq_total.value += 1
        stats.rq_active.inc()
        codec = self.codec
        protocol = HTTP11 if codec is None else codec.protocol
        self.protocol = protocol
        if protocol == HTTP2:
            stats.rq_http2_total.value += 1
        elif protocol == HTTP3:
            stats.rq_http3_total.value += 1
        else:
            stats.rq_http1_total.value += 1
        self._requests += 1
        limit = settings.max_requests_per_connection
        if limit > 0 and self._requests >= limit and not self.closing:
            stats.cx_max_requests_reached.inc()
            if protocol < HTTP2:
                self.closing = True
            else:
                self.start_drain()
        stream = ActiveStream(self, encoder)
        if self.closing:
            stream.saw_connection_close = True
        self.streams.append(stream)
        return stream

    def end_stream(self, stream: ActiveStream) -> None:
        """The response is sent. A request that is not all here yet makes the connection useless (HTTP/1)."""
        request_complete = stream.remote_complete
        # HTTP/1.0 without length: the body ends with the connection.
        skip_delay = stream.saw_connection_close and (request_complete or self._ends_with_connection(stream))
        if not request_complete:
            self._count_reset(stream)
            if self.protocol < HTTP2:
                self.closing = True
            elif stream.encoder is not None:
                stream.encoder.reset_stream(0)
        elif self.protocol >= HTTP2 and stream.encoder is not None:
            stream.encoder.set_flush_timeout(stream.flush_timeout())
        stream.finish()
        self._close_if_done(skip_delay)

    def _ends_with_connection(self, stream: ActiveStream) -> bool:
        headers = stream.response_headers
        return self.protocol == HTTP10 and (headers is None or CONTENT_LENGTH not in headers.single)

    def _count_reset(self, stream: ActiveStream) -> None:
        """The codec's stream ends before its time: Envoy resets it, and learns then whether the codec found a fault."""
        self.settings.stats.rq_rx_reset.inc()
        encoder = stream.encoder
        if encoder is not None and encoder.response_details:
            stream.stream_info.response_flags |= response_flag.DOWNSTREAM_PROTOCOL_ERROR
            stream.stream_info.response_code_details = encoder.response_details

    def abort_stream(self, stream: ActiveStream, reason: int) -> None:
        """Give up a stream in the middle of its response: HTTP/1 can only say so by closing."""
        self._count_reset(stream)
        if self.protocol < HTTP2:
            self.closing = True
        elif stream.encoder is not None:
            # RFC 9113 section 8.5: what goes wrong with the far end of a tunnel has a code of its own.
            stream.encoder.reset_stream(RESET_CONNECT_ERROR if stream.is_upgrade else reason)
        stream.finish()
        self._close_if_done(False)

    def replace_stream(
        self,
        stream: ActiveStream,
        encoder: ResponseEncoder,
        headers: RequestHeaderMap,
        body: bytes,
        filter_state: dict[str, object] | None,
    ) -> None:
        """Let a new stream serve `headers` on the codec stream of `stream` (internal redirects)."""
        stream.stream_info.response_code_details = "internal_redirect"
        stream.finish()
        fresh = self.new_stream(encoder)
        fresh.internally_created = True
        fresh.stream_info.filter_state = filter_state
        # The body comes in a second time, and is counted so.
        fresh.stream_info.bytes_received = stream.stream_info.bytes_received
        # As Envoy counts it: what came for the first stream, and its body once more when it is replayed.
        fresh.stream_info.bytes_received = stream.stream_info.bytes_received
        encoder.set_decoder(fresh)
        fresh.decode_headers(headers, not body)
        if body:
            fresh.decode_data(body, True)

    def on_stream_finished(self, stream: ActiveStream) -> None:
        if stream in self.streams:
            self.streams.remove(stream)
            self.settings.stats.rq_active.dec()
        now = monotonic_ns()
        self._last_stream_end_ns = now
        if self.protocol >= HTTP2:
            self._ended_requests += 1
            info = stream.stream_info
            if info.response_code == 0:
                lifetime_s = (now - info.start_mono_ns) // _NANOS_PER_SECOND
                if lifetime_s <= self._runtime_integer(_PREMATURE_LIFETIME_KEY, 1):
                    self._premature_resets += 1
                    self._check_premature_resets()

    def _runtime_integer(self, key: str, default: int) -> int:
        runtime = self.settings.runtime
        return default if runtime is None else runtime.get_integer(key, default)

    def _check_premature_resets(self) -> None:
        """Close on a client that resets most of its requests before they are answered (CVE-2023-44487)."""
        limit = self._runtime_integer(_PREMATURE_COUNT_KEY, 500)
        # Before the limit: whether the share would be too large even if all the others were good.
        total = max(self._ended_requests, limit)
        if self._premature_resets * 2 < total or self.connection.state != STATE_OPEN:
            return
        self.settings.stats.rq_too_many_premature_resets.inc()
        self.connection.close(CLOSE_NO_FLUSH, "too_many_premature_resets")

    def _close_if_done(self, skip_delay: bool) -> None:
        if self.closing and not self.streams and self.connection.state == STATE_OPEN:
            codec = self.codec
            if codec is None or not codec.wants_to_write():
                self.connection.close(
                    CLOSE_FLUSH_WRITE if skip_delay else CLOSE_FLUSH_WRITE_AND_DELAY, "deferred_close"
                )

    # --- time ---

    def watch_idle(self, stream: ActiveStream) -> None:
        """See that the shared idle timer wakes no later than `stream` may time out."""
        limit = stream.idle_timeout_ms
        timer = self._idle_timer
        if timer is None:
            assert self._timers is not None
            timer = self.connection.dispatcher.timer(self._timers, _TIMER_IDLE)
            self._idle_timer = timer
        due = stream.last_activity_ns // _NANOS_PER_MS + limit
        if not timer.armed or due < self._idle_due_ms:
            self._arm_idle(limit)

    def _arm_idle(self, delay_ms: int) -> None:
        if self._idle_timer is not None:
            self._idle_due_ms = monotonic_ns() // _NANOS_PER_MS + delay_ms
            self._idle_timer.arm(delay_ms)

    def on_timer(self, kind: int) -> None:
        if self._closed:
            return
        if kind == _TIMER_IDLE:
            self._check_idle()
        elif kind == _TIMER_MAX_DURATION:
            self.settings.stats.cx_max_duration_reached.inc()
            if self.protocol < HTTP2 and self.settings.http1_safe_max_connection_duration:
                # Say so with the next response instead of racing with the next request.
                self.settings.stats.cx_http1_soft_drain.inc()
                self.closing = True
            elif self.codec is None:
                self.connection.close(CLOSE_NO_FLUSH, "max_duration_timeout")
            else:
                self.start_drain()
        elif kind == _TIMER_DRAIN:
            self._finish_drain()

    def on_overload_changed(self) -> None:
        if not self._closed:
            self._check_idle()

    def _check_idle(self) -> None:
        """Streams that are silent for too long; the connection when it has none.

        Called when the timer says so, and when overload has changed how long it may be.
        """
        if self.connection.state != STATE_OPEN:
            # It is closing already.
            return
        now = monotonic_ns()
        settings = self.settings
        next_ms = 0
        for stream in list(self.streams):
            left = stream.check_idle(now)
            if left > 0 and (next_ms == 0 or left < next_ms):
                next_ms = left
        if self._closed:
            return
        limit = settings.overload.timeout(CONNECTION_IDLE, settings.idle_timeout_ms)
        if not self.streams and limit > 0:
            left = limit - (now - self._last_stream_end_ns) // _NANOS_PER_MS
            if left <= 0:
                settings.stats.cx_idle_timeout.inc()
                if self.codec is None:
                    self.connection.close(CLOSE_FLUSH_WRITE, "on_idle_timeout")
                else:
                    self.start_drain()
                return
            next_ms = left
        if next_ms > 0:
            self._arm_idle(next_ms)

    def end_keepalive_when_overloaded(self) -> None:
        """`disable_http_keepalive`: this response is the last one, or (HTTP/2) the connection drains."""
        if self.closing or self.draining or not sheds(self.settings.overload.disable_http_keepalive):
            return
        stats = self.settings.stats
        stats.cx_overload_disable_keepalive.inc()
        stats.cx_drain_close.inc()
        if self.protocol < HTTP2:
            self.closing = True
        else:
            self.start_drain()

    def start_drain(self) -> None:
        """Tell the client to go elsewhere; after `drain_timeout` nothing new is taken."""
        if self.draining:
            return
        self.draining = True
        settings = self.settings
        if self.codec is not None:
            self.codec.shutdown_notice()
        timers = self._timers
        assert timers is not None
        delay = settings.drain_timeout_ms
        if settings.drain_timeout_jitter > 0:
            delay += int(delay * settings.drain_timeout_jitter * random.random())
        self._drain_timer = self.connection.dispatcher.timer(timers, _TIMER_DRAIN)
        self._drain_timer.arm(delay)

    def _finish_drain(self) -> None:
        self.closing = True
        if self.codec is not None:
            self.codec.go_away()
        self._close_if_done(False)
