"""One request and its response on an HTTP/2 client codec: the writing half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.http.codec import CodecProtocolError, RequestEncoder, ResponseDecoder
from outrider.http.http2.upgrade import is_upgrade_request, request_to_http2
from outrider.native.http2_error import Http2Error
from outrider.native.load_http2 import OutStream

if TYPE_CHECKING:
    from outrider.http.http2.client_connection import Http2ClientConnection

_CONNECT: Final = b"CONNECT"
_UPGRADE: Final = b"upgrade"


class Http2ClientStream(RequestEncoder):
    """One request and its response. It has an id, and is known to the codec, once its headers are sent."""

    def __init__(self, codec: Http2ClientConnection, decoder: ResponseDecoder) -> None:
        self.wire_bytes_received: int = 0
        self.wire_bytes_sent: int = 0
        self.header_bytes_received: int = 0
        self.header_bytes_sent: int = 0
        self.codec = codec
        self.decoder: ResponseDecoder = decoder
        self.stream_id: int = 0
        # The protocol of an upgrade that was sent as extended CONNECT.
        self.upgrade: bytes = b""
        # The request is sent; the response is complete; the decoder is told of nothing any more.
        self.local_complete: bool = False
        self.remote_complete: bool = False
        self.dead: bool = False
        # The pool has been told that the stream is over.
        self.told: bool = False
        self.messaging_error: bool = False
        self.details: str = ""
        self.read_disables: int = 0
        self.unconsumed: int = 0
        self._out: OutStream | None = None

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        if self.dead:
            return
        codec = self.codec
        if not headers.method:
            raise CodecProtocolError("missing required header: :method")
        if headers.method != _CONNECT:
            if not headers.path:
                raise CodecProtocolError("missing required header: :path")
        elif not headers.authority:
            raise CodecProtocolError("missing required header: :authority")
        path = headers.path
        scheme = headers.scheme
        if _UPGRADE in headers.single and is_upgrade_request(headers):
            headers = request_to_http2(headers)
            self.upgrade = headers.protocol
        elif headers.method == _CONNECT and not headers.protocol:
            # RFC 9113 section 8.5: neither `:scheme` nor `:path`.
            path = b""
            scheme = b""
        try:
            self.stream_id, self._out = codec.session.submit_request(
                headers.method, scheme, headers.authority, path, headers.protocol, headers.single, headers.multi,
                end_stream,
            )
        except Http2Error as error:
            raise CodecProtocolError(str(error)) from error
        codec.begin(self)
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
        self._sent()
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
        self._sent()

    def _sent(self) -> None:
        self._note_sent()
        if self.local_complete and self.remote_complete:
            self.codec.exchange_complete(self)

    def _note_sent(self) -> None:
        out = self._out
        if out is not None:
            self.wire_bytes_sent = out.wire_bytes
            self.header_bytes_sent = out.header_bytes

    def reset_stream(self, reason: int) -> None:
        if self.dead and self.told:
            return
        self.dead = True
        codec = self.codec
        codec.stream_reset(self, reason)
        if self.stream_id:
            codec.give_back(self)
            codec.engine.reset(self.stream_id, reason, False)
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

    def __repr__(self) -> str:
        return (
            f"<Http2ClientStream {self.stream_id}{' dead' if self.dead else ''}"
            f"{' request complete' if self.local_complete else ''}"
            f"{' response complete' if self.remote_complete else ''}>"
        )
