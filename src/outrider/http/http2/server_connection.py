"""The HTTP/2 server codec: requests come out of one downstream connection, side by side, responses go in.

Source: RFC 9113; Envoy's `Http2::ServerConnectionImpl`. An invalid message ends the connection, or with
`override_stream_error_on_invalid_http_message` its stream only.
"""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.stream_info import HTTP2
from outrider.http.codec import (
    RESET_CONNECT_ERROR,
    RESET_LOCAL,
    RESET_PROTOCOL_ERROR,
    RESET_REMOTE,
    RESET_REMOTE_REFUSED_STREAM,
    CodecProtocolError,
    FloodError,
    ServerConnection,
    ServerConnectionCallbacks,
)
from outrider.http.http2 import details
from outrider.http.http2.engine import FAULT_OF_CONNECTION, FAULT_OF_STREAM, Http2Engine
from outrider.http.http2.server_stream import Http2ServerStream
from outrider.http.http2.settings import Http2Settings
from outrider.http.http2.stats import Http2Stats
from outrider.http.http2.upgrade import request_to_http1
from outrider.native.http2_error import (
    CONNECT_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
)
from outrider.native.load_http2 import Http2Session
from outrider.network.connection import STATE_OPEN, Connection

_CONNECT: Final = b"CONNECT"


class Http2ServerConnection(ServerConnection):
    """See the module. `dispatch` raises CodecProtocolError when the connection must be closed."""

    def __init__(
        self,
        connection: Connection,
        callbacks: ServerConnectionCallbacks,
        settings: Http2Settings,
        stats: Http2Stats,
        max_headers_kb: int,
        max_headers_count: int,
        underscores: int,
    ) -> None:
        self.protocol = HTTP2
        self.connection = connection
        self.callbacks = callbacks
        self.settings = settings
        self.stats = stats
        self.streams: dict[int, Http2ServerStream] = {}
        self._underscores: int = underscores
        # The stream whose header block is being received.
        self._opening: Http2ServerStream | None = None
        self.engine = Http2Engine(
            connection, self, True, settings, stats, max_headers_kb, max_headers_count, underscores
        )
        self.session: Http2Session = self.engine.session

    # --- bytes in ---

    def dispatch(self, data: bytes) -> None:
        engine = self.engine
        try:
            engine.feed(data)
        except FloodError as error:
            # A stream that is at fault says so in the log.
            stream = self.streams.get(error.stream_id)
            if stream is not None:
                stream.response_details = details.EMPTY_FRAMES
            raise
        self.flush()
        flood = engine.flood
        if flood is not None:
            engine.flood = None
            raise flood
        if engine.ended_by_library() and self.connection.state == STATE_OPEN:
            raise CodecProtocolError(
                "The user callback function failed", "codec_error:The_user_callback_function_failed"
            )

    def flush(self) -> None:
        """Write what is queued; what that brings about is told to the streams."""
        engine = self.engine
        if engine.dispatching:
            return
        for stream_id in engine.flush():
            stream = self.streams.get(stream_id)
            if stream is not None and not stream.dead:
                stream.decoder.on_below_write_buffer_low_watermark()
        if engine.flood is not None:
            self.connection.dispatcher.post(self._report_flood)

    def _report_flood(self) -> None:
        flood = self.engine.flood
        if flood is not None and self.connection.state == STATE_OPEN:
            self.engine.flood = None
            self.callbacks.on_codec_error(flood)

    def give_back(self, stream: Http2ServerStream) -> None:
        """Return the window of what the stream's reader has taken by now."""
        if stream.unconsumed:
            self.session.consume(stream.stream_id, stream.unconsumed)
            stream.unconsumed = 0

    # --- from the session ---

    def on_stream_opened(self, stream_id: int) -> None:
        if self.connection.state != STATE_OPEN:
            # Closed on account of what came before; the rest of these bytes is of no interest.
            raise CodecProtocolError("The user callback function failed", "codec_error")
        stream = Http2ServerStream(self, stream_id)
        self.streams[stream_id] = stream
        self._opening = stream
        self.engine.on_stream_opened()
        stream.decoder = self.callbacks.new_stream(stream)
        if self.connection.above_high_watermark:
            stream.decoder.on_above_write_buffer_high_watermark()

    def on_request_headers(
        self,
        stream_id: int,
        method: bytes,
        path: bytes,
        authority: bytes,
        scheme: bytes,
        protocol: bytes,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        end_stream: bool,
        size: int,
    ) -> None:
        if self._underscores:
            self.engine.count_dropped()
        stream = self.streams.get(stream_id)
        if stream is None or stream.dead:
            return
        stream.header_bytes_received += size
        stream.wire_bytes_received += size
        headers = RequestHeaderMap(single, multi, None, method, path, authority, scheme, protocol)
        if protocol and method == _CONNECT:
            stream.is_upgrade = True
            request_to_http1(headers)
        stream.remote_complete = end_stream
        stream.decoder.decode_headers(headers, end_stream)

    def on_response_headers(
        self,
        stream_id: int,
        status: int,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        end_stream: bool,
        size: int,
    ) -> None:
        """A client sends no responses; the library refuses them."""

    def on_trailers(
        self, stream_id: int, single: dict[bytes, bytes], multi: dict[bytes, list[bytes]] | None, size: int
    ) -> None:
        stream = self.streams.get(stream_id)
        if stream is None or stream.dead:
            return
        stream.header_bytes_received += size
        stream.wire_bytes_received += size
        stream.remote_complete = True
        self.stats.trailers.inc()
        stream.decoder.decode_trailers(HeaderMap(single, multi))

    def on_data(self, stream_id: int, data: bytes, end_stream: bool, wire: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is None or stream.dead:
            self.session.consume(stream_id, len(data))
            return
        stream.wire_bytes_received += wire
        if stream.read_disables:
            stream.unconsumed += len(data)
        else:
            self.session.consume(stream_id, len(data))
        if end_stream:
            stream.remote_complete = True
        stream.decoder.decode_data(data, end_stream)

    def on_reset(self, stream_id: int, code: int) -> None:
        self.stats.rx_reset.inc()

    def on_stream_closed(self, stream_id: int, code: int) -> None:
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        self.engine.on_stream_closed()
        self.engine.unwatch_flush(stream_id)
        self.give_back(stream)
        if stream.dead:
            return
        stream.dead = True
        if stream.remote_complete and stream.local_complete and code == NO_ERROR:
            return
        if stream.local_complete and stream.remote_complete:
            # The connection manager has done with it; what the client did not want was still being sent.
            return
        if stream.messaging_error:
            reason = RESET_LOCAL
        elif code == REFUSED_STREAM:
            reason = RESET_REMOTE_REFUSED_STREAM
            stream.response_details = details.REMOTE_REFUSE
        else:
            reason = RESET_REMOTE
            if code == CONNECT_ERROR:
                reason = RESET_CONNECT_ERROR
            elif code == PROTOCOL_ERROR:
                reason = RESET_PROTOCOL_ERROR
            if not stream.response_details:
                stream.response_details = details.REMOTE_RESET
        stream.decoder.on_reset_stream(reason, stream.response_details)

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        self.engine.peer_leaves = True
        self.callbacks.on_go_away()

    def on_settings(self) -> None:
        """The library applies them."""

    def on_ping_ack(self, data: bytes) -> None:
        self.engine.on_ping_ack()

    def on_header_overflow(self, too_many: bool) -> None:
        self.engine.count_header_overflow(too_many)
        stream = self._opening
        if stream is not None:
            stream.response_details = details.TOO_MANY_HEADERS if too_many else details.HEADERS_TOO_LARGE

    def on_underscore(self, stream_id: int) -> None:
        self.stats.requests_rejected_with_underscores_in_headers.inc()
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.response_details = details.UNDERSCORE

    def on_invalid_frame(self, stream_id: int, code: int) -> bool:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.response_details = details.of_library_error(code)
        verdict = self.engine.judge(code)
        if verdict == FAULT_OF_STREAM and stream is not None:
            stream.messaging_error = True
        return verdict != FAULT_OF_CONNECTION

    # --- the connection ---

    def shutdown_notice(self) -> None:
        self.engine.goaways += 1
        self.session.shutdown_notice()
        self.flush()

    def go_away(self) -> None:
        self.stats.goaway_sent.inc()
        self.engine.goaways += 1
        self.session.goaway(NO_ERROR)
        self.flush()

    def wants_to_write(self) -> bool:
        return self.session.unsent or bool(self.engine.resets)

    def on_underlying_connection_above_write_buffer_high_watermark(self) -> None:
        for stream in list(self.streams.values()):
            if not stream.dead:
                stream.decoder.on_above_write_buffer_high_watermark()

    def on_underlying_connection_below_write_buffer_low_watermark(self) -> None:
        for stream in list(self.streams.values()):
            if not stream.dead:
                stream.decoder.on_below_write_buffer_low_watermark()

    def __repr__(self) -> str:
        return f"<Http2ServerConnection {len(self.streams)} streams>"
