"""One request and its response on an HTTP/2 server codec: the writing half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.event.timer import TimerOwner
from outrider.http.codec import RequestDecoder, ResponseEncoder
from outrider.http.http2.upgrade import response_to_http2
from outrider.native.http2_error import INTERNAL_ERROR
from outrider.native.load_http2 import OutStream
from outrider.network.connection import STATE_OPEN

if TYPE_CHECKING:
    from outrider.http.http2.server_connection import Http2ServerConnection

_NO_DECODER: Final = RequestDecoder()


class _FlushTimer(TimerOwner):
    """Fires when the client has made no room for the rest of a response."""

    __slots__ = ("stream",)

    def __init__(self, stream: Http2ServerStream) -> None:
        self.stream = stream

    def on_timer(self, kind: int) -> None:
        self.stream.on_flush_timeout()


class Http2ServerStream(ResponseEncoder):
    """One request and its response."""

    def __init__(self, codec: Http2ServerConnection, stream_id: int) -> None:
        self.wire_bytes_received: int = 0
        self.wire_bytes_sent: int = 0
        self.header_bytes_received: int = 0
        self.header_bytes_sent: int = 0
        self.response_details: str = ""
        self.codec = codec
        self.stream_id = stream_id
        self.decoder: RequestDecoder = _NO_DECODER
        # It came as extended CONNECT.
        self.is_upgrade: bool = False
        # The request is complete; the response has begun, is complete; the decoder is told of nothing any more.
        self.remote_complete: bool = False
        self.started_response: bool = False
        self.local_complete: bool = False
        self.dead: bool = False
        # The codec reset it for an invalid message.
        self.messaging_error: bool = False
        self.read_disables: int = 0
        # Body bytes whose window has not been given back.
        self.unconsumed: int = 0
        self._out: OutStream | None = None

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        if self.dead or self.started_response:
            return
        self.codec.session.submit_informational(self.stream_id, headers.status, headers.single, headers.multi)
        self.codec.flush()

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self.dead or self.started_response:
            return
        self.started_response = True
        if self.is_upgrade:
            headers = response_to_http2(headers)
        codec = self.codec
        self._out = codec.session.submit_response(
            self.stream_id, headers.status, headers.single, headers.multi, end_stream
        )
        if end_stream:
            self.local_complete = True
        codec.flush()
        self._note_sent()

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.dead or self.local_complete:
            return
        codec = self.codec
        if end_stream:
            self.local_complete = True
        high = codec.session.send_data(self.stream_id, data, end_stream)
        codec.flush()
        self._note_sent()
        out = self._out
        if high and out is not None and out.high and not self.dead:
            self.decoder.on_above_write_buffer_high_watermark()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self.dead or self.local_complete:
            return
        self.local_complete = True
        codec = self.codec
        if trailers.single:
            codec.session.send_trailers(self.stream_id, trailers.single, trailers.multi)
        else:
            codec.session.send_data(self.stream_id, b"", True)
        codec.flush()
        self._note_sent()

    def _note_sent(self) -> None:
        out = self._out
        if out is not None:
            self.wire_bytes_sent = out.wire_bytes
            self.header_bytes_sent = out.header_bytes

    def set_flush_timeout(self, milliseconds: int) -> None:
        out = self._out
        if milliseconds > 0 and out is not None and out.pending > 0 and self.stream_id in self.codec.streams:
            self.codec.engine.watch_flush(self.stream_id, _FlushTimer(self), milliseconds)

    def on_flush_timeout(self) -> None:
        """What the client did not want is dropped, and its stream with it."""
        codec = self.codec
        if self.stream_id in codec.streams and codec.connection.state == STATE_OPEN:
            self.dead = True
            codec.stats.tx_flush_timeout.inc()
            codec.session.reset(self.stream_id, INTERNAL_ERROR)
            codec.flush()

    def unsent(self) -> int:
        """Body bytes that wait for the client's window."""
        return 0 if self._out is None else self._out.pending

    def reset_stream(self, reason: int) -> None:
        if self.dead:
            return
        self.dead = True
        codec = self.codec
        codec.give_back(self)
        codec.engine.reset(self.stream_id, reason, self.local_complete)
        codec.flush()

    def read_disable(self, disable: bool) -> None:
        if disable:
            self.read_disables += 1
            return
        if self.read_disables > 0:
            self.read_disables -= 1
        if self.read_disables == 0 and self.unconsumed:
            self.codec.give_back(self)
            self.codec.flush()

    def set_decoder(self, decoder: RequestDecoder) -> None:
        self.decoder = decoder

    def stream_error_on_invalid_http_message(self) -> bool:
        return self.codec.settings.stream_error

    def __repr__(self) -> str:
        return (
            f"<Http2ServerStream {self.stream_id}{' dead' if self.dead else ''}"
            f"{' request complete' if self.remote_complete else ''}"
            f"{' response complete' if self.local_complete else ''}>"
        )
