"""The HTTP/2 client codec: requests go out side by side on an upstream connection, their responses come in.

Source: RFC 9113; Envoy's `Http2::ClientConnectionImpl`. `dispatch` raises CodecProtocolError when the upstream broke
the protocol; the pool then closes the connection and says so with `on_connection_closed`.
"""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP2
from outrider.http.codec import (
    RESET_CONNECT_ERROR,
    RESET_PROTOCOL_ERROR,
    RESET_REMOTE,
    RESET_REMOTE_REFUSED_STREAM,
    ClientConnection,
    ClientConnectionCallbacks,
    RequestEncoder,
    ResponseDecoder,
)
from outrider.http.http2 import details
from outrider.http.http2.client_stream import Http2ClientStream
from outrider.http.http2.engine import FAULT_OF_CONNECTION, FAULT_OF_STREAM, Http2Engine
from outrider.http.http2.settings import Http2Settings
from outrider.http.http2.stats import Http2Stats
from outrider.http.http2.upgrade import response_to_http1
from outrider.native.http2_error import (
    CONNECT_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    UNDERSCORES_ALLOW,
)
from outrider.native.load_http2 import Http2Session
from outrider.network.connection import STATE_OPEN, Connection
from outrider.network.filter import CLOSE_NO_FLUSH

_SWITCHING_PROTOCOLS: Final = 101


class Http2ClientConnection(ClientConnection):
    """See the module. `callbacks.on_stream_complete` or `on_stream_reset` is called once for each stream."""

    def __init__(
        self,
        connection: Connection,
        callbacks: ClientConnectionCallbacks,
        settings: Http2Settings,
        stats: Http2Stats,
        max_headers_kb: int,
        max_headers_count: int,
    ) -> None:
        self.protocol = HTTP2
        self.connection = connection
        self.callbacks = callbacks
        self.settings = settings
        self.stats = stats
        self.streams: dict[int, Http2ClientStream] = {}
        self.engine = Http2Engine(
            connection, self, False, settings, stats, max_headers_kb, max_headers_count, UNDERSCORES_ALLOW
        )
        self.session: Http2Session = self.engine.session
        self.flush()

    # --- streams ---

    def new_stream(self, decoder: ResponseDecoder) -> RequestEncoder:
        stream = Http2ClientStream(self, decoder)
        if self.connection.above_high_watermark:
            decoder.on_above_write_buffer_high_watermark()
        return stream

    def begin(self, stream: Http2ClientStream) -> None:
        """The stream has got its id."""
        self.streams[stream.stream_id] = stream
        self.engine.on_stream_opened()

    def exchange_complete(self, stream: Http2ClientStream) -> None:
        """Both messages are complete."""
        stream.dead = True
        self._tell_complete(stream)

    def _tell_complete(self, stream: Http2ClientStream) -> None:
        if not stream.told:
            stream.told = True
            self.callbacks.on_stream_complete()

    def stream_reset(self, stream: Http2ClientStream, reason: int) -> None:
        """The stream was given up by either side."""
        if not stream.told:
            stream.told = True
            self.callbacks.on_stream_reset(reason)

    def give_back(self, stream: Http2ClientStream) -> None:
        """Return the window of what the stream's reader has taken by now."""
        if stream.unconsumed:
            self.session.consume(stream.stream_id, stream.unconsumed)
            stream.unconsumed = 0

    def on_connection_closed(self, reason: int, details: str) -> None:
        streams = list(self.streams.values())
        self.streams = {}
        for stream in streams:
            stream.told = True
            if not stream.dead:
                stream.dead = True
                stream.decoder.on_reset_stream(reason, details)

    def on_underlying_connection_above_write_buffer_high_watermark(self) -> None:
        for stream in list(self.streams.values()):
            if not stream.dead:
                stream.decoder.on_above_write_buffer_high_watermark()

    def on_underlying_connection_below_write_buffer_low_watermark(self) -> None:
        for stream in list(self.streams.values()):
            if not stream.dead:
                stream.decoder.on_below_write_buffer_low_watermark()

    # --- bytes ---

    def dispatch(self, data: bytes) -> None:
        engine = self.engine
        engine.feed(data)
        self.flush()
        flood = engine.flood
        if flood is not None:
            engine.flood = None
            raise flood
        if engine.ended_by_library() and self.connection.state == STATE_OPEN:
            self.callbacks.on_go_away(True)

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
        if self.engine.flood is not None and self.connection.state == STATE_OPEN:
            self.engine.flood = None
            self.connection.close(CLOSE_NO_FLUSH, "http2_outbound_flood")

    # --- from the session ---

    def on_stream_opened(self, stream_id: int) -> None:
        """Servers open no streams: push is off."""

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
        """A server sends no requests; the library refuses them."""

    def on_response_headers(
        self,
        stream_id: int,
        status: int,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        end_stream: bool,
        size: int,
    ) -> None:
        stream = self.streams.get(stream_id)
        if stream is None or stream.dead:
            return
        stream.header_bytes_received += size
        stream.wire_bytes_received += size
        headers = ResponseHeaderMap(single, multi, None, status)
        if status < 200 and status != _SWITCHING_PROTOCOLS:
            stream.decoder.decode_1xx_headers(headers)
            return
        if stream.upgrade:
            response_to_http1(headers, stream.upgrade)
        if end_stream:
            stream.remote_complete = True
        stream.decoder.decode_headers(headers, end_stream)
        if end_stream:
            self._remote_done(stream)

    def on_trailers(
        self, stream_id: int, single: dict[bytes, bytes], multi: dict[bytes, list[bytes]] | None, size: int
    ) -> None:
        stream = self.streams.get(stream_id)
        if stream is None or stream.dead:
            return
        stream.header_bytes_received += size
        stream.wire_bytes_received += size
        stream.remote_complete = True
        stream.decoder.decode_trailers(HeaderMap(single, multi))
        self._remote_done(stream)

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
        if end_stream:
            self._remote_done(stream)

    def _remote_done(self, stream: Http2ClientStream) -> None:
        if stream.local_complete:
            self.exchange_complete(stream)

    def on_reset(self, stream_id: int, code: int) -> None:
        self.stats.rx_reset.inc()

    def on_stream_closed(self, stream_id: int, code: int) -> None:
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        self.engine.on_stream_closed()
        self.give_back(stream)
        if stream.dead:
            self._tell_complete(stream)
            return
        stream.dead = True
        if stream.remote_complete and stream.local_complete:
            self._tell_complete(stream)
            return
        text = stream.details
        if stream.messaging_error:
            reason = RESET_PROTOCOL_ERROR
        elif code == REFUSED_STREAM:
            reason = RESET_REMOTE_REFUSED_STREAM
            text = details.REMOTE_REFUSE
        elif code == CONNECT_ERROR:
            reason = RESET_CONNECT_ERROR
        elif code == PROTOCOL_ERROR:
            reason = RESET_PROTOCOL_ERROR
        else:
            reason = RESET_REMOTE
        if not stream.remote_complete:
            stream.decoder.on_reset_stream(reason, "" if text == details.REMOTE_REFUSE else text)
        self.stream_reset(stream, reason)

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        self.engine.peer_leaves = True
        self.callbacks.on_go_away(code != NO_ERROR)

    def on_settings(self) -> None:
        self.callbacks.on_settings(self.session.peer_max_concurrent_streams)

    def on_ping_ack(self, data: bytes) -> None:
        self.engine.on_ping_ack()

    def on_header_overflow(self, too_many: bool) -> None:
        self.engine.count_header_overflow(too_many)

    def on_underscore(self, stream_id: int) -> None:
        """Only requests are refused for their names."""

    def on_invalid_frame(self, stream_id: int, code: int) -> bool:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.details = details.of_library_error(code)
        verdict = self.engine.judge(code)
        if verdict == FAULT_OF_STREAM and stream is not None:
            stream.messaging_error = True
        return verdict != FAULT_OF_CONNECTION

    def __repr__(self) -> str:
        return f"<Http2ClientConnection {len(self.streams)} streams>"
