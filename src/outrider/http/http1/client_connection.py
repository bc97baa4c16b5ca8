"""The HTTP/1 client codec: one request at a time goes out on an upstream connection, its response comes in.

Source: RFC 9112; Envoy's `Http1::ClientConnectionImpl`. `dispatch` and `on_eof` raise CodecProtocolError when the
upstream broke the protocol; the pool then closes the connection and says so with `on_connection_closed`.
"""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONNECTION, CONTENT_LENGTH, PROXY_CONNECTION
from outrider.data.stream_info import HTTP10, HTTP11
from outrider.http.codec import (
    ClientConnection,
    ClientConnectionCallbacks,
    CodecProtocolError,
    PrematureResponseError,
    RequestEncoder,
    ResponseDecoder,
)
from outrider.http.http1 import parse_failure
from outrider.http.http1.client_stream import Http1ClientStream
from outrider.http.http1.connection_options import drop_unwanted_upgrade
from outrider.http.http1.framing import CASE_PROPER, CASE_REASON
from outrider.http.http1.settings import (
    DEFAULT_MAX_HEADERS_COUNT,
    DEFAULT_MAX_RESPONSE_HEADERS_KB,
    FORMAT_PRESERVE,
    FORMAT_PROPER,
    Http1Settings,
)
from outrider.http.http1.stats import Http1Stats
from outrider.native.load import Http1Parser
from outrider.native.parse_error import (
    FLAG_CHUNKED,
    FLAG_CONTENT_LENGTH,
    FLAG_END,
    FLAG_KEEP_ALIVE,
    FLAG_TRANSFER_ENCODING,
    FLAG_UPGRADE,
    RESPONSE,
    ParseError,
)
from outrider.network.connection import STATE_OPEN, Connection

_HTTP_11: Final = 11
# The informational responses that are handed on; others are of no use to a client that did not ask for them.
_INFORMATIONAL: Final = frozenset([100, 102, 103, 104])
_SWITCHING_PROTOCOLS: Final = 101


class Http1ClientConnection(ClientConnection):
    """See the module. A connection serves one stream at a time; `callbacks.on_stream_complete` frees it."""

    def __init__(
        self,
        connection: Connection,
        callbacks: ClientConnectionCallbacks,
        settings: Http1Settings,
        stats: Http1Stats,
        max_headers_kb: int = DEFAULT_MAX_RESPONSE_HEADERS_KB,
        max_headers_count: int = DEFAULT_MAX_HEADERS_COUNT,
    ) -> None:
        self.protocol = HTTP11
        self.connection = connection
        self.callbacks = callbacks
        self.settings = settings
        self.stats = stats
        self.proper_case: bool = settings.header_format == FORMAT_PROPER
        self._preserve: bool = settings.header_format == FORMAT_PRESERVE
        self._forward_reason: bool = self._preserve and settings.forward_reason_phrase
        self._parser = Http1Parser(
            RESPONSE,
            max_headers_kb * 1024,
            max_headers_count,
            keep_case=self._preserve,
            keep_reason=self._forward_reason,
            allow_chunked_length=settings.allow_chunked_length,
        )
        self._stream: Http1ClientStream | None = None
        # Everything that follows belongs to the stream as it is (CONNECT, Upgrade).
        self.tunnel: bool = False
        self._skip_body: bool = False
        self._close: bool = False
        # The last response said so (and did not merely lack a length).
        self._close_said: bool = False
        # The exchange was completed by the bytes that are being dispatched.
        self._completed: bool = False
        self._dispatching: bool = False

    # --- streams ---

    def new_stream(self, decoder: ResponseDecoder) -> RequestEncoder:
        stream = Http1ClientStream(self, decoder)
        self._stream = stream
        if self.connection.above_high_watermark:
            decoder.on_above_write_buffer_high_watermark()
        return stream

    def request_sent(self, stream: Http1ClientStream) -> None:
        """A head goes out: the parser must know which responses have no body (RFC 9112 section 6.3)."""
        if stream.is_head != self._skip_body:
            self._skip_body = stream.is_head
            self._parser.expect_no_body(stream.is_head)

    def forget(self, stream: Http1ClientStream) -> None:
        stream.detach()
        if self._stream is stream:
            self._stream = None

    def exchange_complete(self, stream: Http1ClientStream) -> None:
        """Both messages are complete. Told at once, or at the end of the dispatch that completed it."""
        self.forget(stream)
        if self._dispatching:
            self._completed = True
        else:
            self.callbacks.on_stream_complete()

    def should_close(self) -> bool:
        return self._close

    def close_was_said(self) -> bool:
        return self._close_said

    def on_connection_closed(self, reason: int, details: str) -> None:
        stream = self._stream
        if stream is not None:
            self.forget(stream)
            if not stream.response_complete:
                stream.decoder.on_reset_stream(reason, details)

    def on_underlying_connection_above_write_buffer_high_watermark(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.decoder.on_above_write_buffer_high_watermark()

    def on_underlying_connection_below_write_buffer_low_watermark(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.decoder.on_below_write_buffer_low_watermark()

    # --- bytes in ---

    def dispatch(self, data: bytes) -> None:
        if self.tunnel:
            self._tunnel_data(data, len(data))
            return
        if not data:
            return
        stream = self._stream
        if stream is not None:
            stream.wire_bytes_received += len(data)
        self._dispatching = True
        try:
            pos = self._parser.feed(self, data, 0)
        except ParseError as error:
            raise CodecProtocolError(
                parse_failure.text_of(error.kind, str(error)), parse_failure.details_of(error.kind)
            ) from error
        finally:
            self._dispatching = False
        if self._completed:
            self._completed = False
            self.callbacks.on_stream_complete()
        if pos < len(data) and self.connection.state == STATE_OPEN:
            if not self.tunnel:
                raise CodecProtocolError("http/1.1 protocol error: extraneous data after response complete")
            self._tunnel_data(data[pos:], 0)

    def _tunnel_data(self, data: bytes, uncounted: int) -> None:
        stream = self._stream
        if stream is not None:
            stream.wire_bytes_received += uncounted
            stream.decoder.decode_data(data, False)

    def on_eof(self) -> None:
        stream = self._stream
        if stream is None or self.tunnel:
            # A tunnel has no end of its own: the close that follows cuts it off.
            return
        self._dispatching = True
        try:
            self._parser.finish(self)
        except ParseError as error:
            raise CodecProtocolError(
                parse_failure.text_of(error.kind, str(error)), parse_failure.details_of(error.kind)
            ) from error
        finally:
            self._dispatching = False
        if self._completed:
            self._completed = False
            self.callbacks.on_stream_complete()

    # --- from the parser ---

    def on_response_head(
        self,
        status: int,
        reason: bytes | None,
        version: int,
        flags: int,
        content_length: int,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        case: dict[bytes, bytes] | None,
        size: int,
    ) -> None:
        stream = self._stream
        if stream is None or stream.response_complete:
            # An upstream may say 408 before it closes an idle connection.
            raise PrematureResponseError("http/1.1 protocol error: premature response", str(status))
        stream.header_bytes_received += size
        self.protocol = HTTP11 if version == _HTTP_11 else HTTP10
        if case is not None:
            if self.settings.proper_case_for_own:
                case[CASE_PROPER] = b""
            if reason is not None:
                case[CASE_REASON] = reason
        headers = ResponseHeaderMap(single, multi, case, status)
        end = flags & FLAG_END != 0
        raw = stream.is_connect and 200 <= status < 300
        if flags & (FLAG_UPGRADE | FLAG_TRANSFER_ENCODING) or status < 200 or status == 204:
            if flags & FLAG_UPGRADE and stream.is_upgrade and drop_unwanted_upgrade(headers, []):
                raw = True
            self._check_framing(headers, status, flags, content_length)
        if status < 200 and status != _SWITCHING_PROTOCOLS:
            if status in _INFORMATIONAL:
                stream.decoder.decode_1xx_headers(headers)
                self._after_event()
            return
        if not flags & FLAG_KEEP_ALIVE:
            self._close = True
            self._close_said = version != _HTTP_11 or CONNECTION in single or PROXY_CONNECTION in single
        if raw:
            self.tunnel = True
            self._close = True
            self._parser.take_over()
            stream.decoder.decode_headers(headers, False)
            return
        if end:
            stream.response_complete = True
        stream.decoder.decode_headers(headers, end)
        if end:
            self._response_complete(stream)
        self._after_event()

    def _check_framing(self, headers: ResponseHeaderMap, status: int, flags: int, content_length: int) -> None:
        if flags & FLAG_TRANSFER_ENCODING:
            if flags & FLAG_CONTENT_LENGTH:
                if not (flags & FLAG_CHUNKED and self.settings.allow_chunked_length):
                    raise CodecProtocolError(parse_failure.BOTH_SET, parse_failure.CHUNKED_CONTENT_LENGTH)
                headers.remove(CONTENT_LENGTH)
            if not flags & FLAG_CHUNKED:
                raise CodecProtocolError(
                    "http/1.1 protocol error: unsupported transfer encoding", parse_failure.INVALID_TRANSFER_ENCODING
                )
        if status < 200 or status == 204:
            # RFC 9110 section 8.6, RFC 9112 section 6.1.
            if flags & FLAG_TRANSFER_ENCODING:
                raise CodecProtocolError(
                    "http/1.1 protocol error: transfer encoding not allowed in 1xx or 204",
                    parse_failure.TRANSFER_ENCODING_NOT_ALLOWED,
                )
            if flags & FLAG_CONTENT_LENGTH:
                if content_length:
                    raise CodecProtocolError(
                        "http/1.1 protocol error: content length not allowed in 1xx or 204",
                        parse_failure.CONTENT_LENGTH_NOT_ALLOWED,
                    )
                headers.remove(CONTENT_LENGTH)

    def on_body(self, data: bytes, end: bool) -> None:
        stream = self._stream
        if stream is None:
            return
        if end:
            stream.response_complete = True
        stream.decoder.decode_data(data, end)
        if end:
            self._response_complete(stream)
        self._after_event()

    def on_trailers(
        self,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        case: dict[bytes, bytes] | None,
    ) -> None:
        stream = self._stream
        if stream is None:
            return
        stream.response_complete = True
        if self.settings.enable_trailers and single:
            if case is not None and self.settings.proper_case_for_own:
                case[CASE_PROPER] = b""
            stream.decoder.decode_trailers(HeaderMap(single, multi, case))
        else:
            stream.decoder.decode_data(b"", True)
        self._response_complete(stream)
        self._after_event()

    def _response_complete(self, stream: Http1ClientStream) -> None:
        if stream.dead:
            return
        if stream.request_complete:
            self.exchange_complete(stream)
        else:
            # The upstream did not want the rest; the connection is not clean any more.
            self._close = True

    def _after_event(self) -> None:
        if self.connection.state != STATE_OPEN:
            self._parser.stop()

    def __repr__(self) -> str:
        return f"<Http1ClientConnection {self._stream!r}{' tunnel' if self.tunnel else ''}>"
