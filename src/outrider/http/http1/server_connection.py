"""The HTTP/1 server codec: requests come out of one downstream connection, one at a time, responses go in.

Source: RFC 9112; Envoy's `Http1::ServerConnectionImpl`. A request that was pipelined behind another stays unparsed, and
the connection unread, until the response before it is complete and the client takes what was written for it.
"""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import CONNECTION, CONTENT_LENGTH, HOST
from outrider.data.stream_info import HTTP10, HTTP11
from outrider.http.codec import (
    CodecProtocolError,
    ServerConnection,
    ServerConnectionCallbacks,
)
from outrider.http.http1 import parse_failure
from outrider.http.http1.connection_options import drop_unwanted_upgrade, remove_nominated
from outrider.http.http1.framing import CASE_PROPER
from outrider.http.http1.request_target import is_authority_form, is_valid_host_field, parse_absolute
from outrider.http.http1.server_stream import Http1ServerStream
from outrider.http.http1.settings import (
    DEFAULT_MAX_HEADERS_COUNT,
    DEFAULT_MAX_HEADERS_KB,
    FORMAT_PRESERVE,
    FORMAT_PROPER,
    Http1Settings,
)
from outrider.http.http1.stats import Http1Stats
from outrider.http.http1.status_line import reason_phrase
from outrider.native.load import Http1Parser
from outrider.native.parse_error import (
    FLAG_CHUNKED,
    FLAG_CONNECTION,
    FLAG_CONTENT_LENGTH,
    FLAG_END,
    FLAG_TRANSFER_ENCODING,
    FLAG_UPGRADE,
    REQUEST,
    UNDERSCORE,
    UNDERSCORE_ALLOW,
    ParseError,
)
from outrider.network.connection import STATE_OPEN, Connection

_SPECIAL_FLAGS: Final = FLAG_CONNECTION | FLAG_TRANSFER_ENCODING | FLAG_UPGRADE
_HTTP_11: Final = 11
_CONNECT: Final = b"CONNECT"
_HEAD: Final = b"HEAD"
_SLASH: Final = 47
_STAR: Final = 42


class Http1ServerConnection(ServerConnection):
    """See the module. `dispatch` raises CodecProtocolError after the client was told, as far as that was possible."""

    def __init__(
        self,
        connection: Connection,
        callbacks: ServerConnectionCallbacks,
        settings: Http1Settings,
        stats: Http1Stats,
        max_headers_kb: int = DEFAULT_MAX_HEADERS_KB,
        max_headers_count: int = DEFAULT_MAX_HEADERS_COUNT,
        underscores: int = UNDERSCORE_ALLOW,
    ) -> None:
        self.protocol = HTTP11
        self.connection = connection
        self.callbacks = callbacks
        self.settings = settings
        self.stats = stats
        self.proper_case: bool = settings.header_format == FORMAT_PROPER
        self._parser = Http1Parser(
            REQUEST,
            max_headers_kb * 1024,
            max_headers_count,
            underscores=underscores,
            keep_case=settings.header_format == FORMAT_PRESERVE,
            allow_chunked_length=settings.allow_chunked_length,
            custom_methods=settings.allow_custom_methods,
        )
        self._underscores: int = underscores
        self._dropped: int = 0
        self._stream: Http1ServerStream | None = None
        # Everything that follows belongs to the stream as it is (CONNECT, Upgrade).
        self._tunnel: bool = False
        self._dispatching: bool = False
        self._resuming: bool = False
        # Bytes of the requests behind the one that is being served; the connection is not read meanwhile.
        self._pending: bytes = b""
        self._held: bool = False
        # Bytes that came when there was no stream to count them for.
        self._uncounted: int = 0
        # The authority seen last: most connections have one.
        self._valid_host: bytes = b""

    # --- bytes in ---

    def dispatch(self, data: bytes) -> None:
        stream = self._stream
        if self._tunnel:
            if stream is not None:
                stream.wire_bytes_received += len(data)
                stream.decoder.decode_data(data, False)
            return
        if self._pending:
            data = self._pending + data
            self._pending = b""
        if not data:
            return
        if self._dispatching or (stream is not None and stream.remote_complete):
            self._hold(data)
            return
        self._dispatching = True
        try:
            self._parse(data)
        finally:
            self._dispatching = False

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        connection = self.connection
        end = len(data)
        pos = 0
        while True:
            # As in Envoy, bytes count for the request that they reach first, also those behind its end.
            if self._stream is None:
                self._uncounted += end - pos
            else:
                self._stream.wire_bytes_received += end - pos
            try:
                pos = parser.feed(self, data, pos)
            except ParseError as error:
                self._parse_failed(error)
            if connection.state != STATE_OPEN:
                return
            stream = self._stream
            if self._tunnel:
                if pos < end and stream is not None:
                    stream.decoder.decode_data(data[pos:], False)
                return
            if pos == end:
                if stream is None and parser.started:
                    # So that the time limit of the header block runs.
                    self._begin()
                return
            if stream is not None or connection.above_high_watermark:
                self._hold(data[pos:])
                return

    def _hold(self, data: bytes) -> None:
        """Keep what came too early, and stop reading."""
        self._pending = data
        if not self._held:
            self._held = True
            self.connection.read_disable(True)

    def _go_on(self) -> None:
        """The response before the held bytes is complete: parse them in the next loop iteration."""
        if self._held:
            self._held = False
            self.connection.read_disable(False)
        if self._pending and not self._dispatching and not self._resuming:
            self._resuming = True
            self.connection.dispatcher.post(self._resume)

    def _resume(self) -> None:
        self._resuming = False
        if self.connection.state != STATE_OPEN or not self._pending:
            return
        try:
            self.dispatch(b"")
        except CodecProtocolError as error:
            self.callbacks.on_codec_error(error)

    def on_eof(self) -> None:
        """The client half-closed: the end of a tunnel's data; a request cannot be completed any more."""
        stream = self._stream
        if self._tunnel and stream is not None and not stream.remote_complete:
            stream.remote_complete = True
            stream.decoder.decode_data(b"", True)

    # --- from the parser ---

    def on_request_head(
        self,
        method: bytes,
        target: bytes,
        host: bytes | None,
        version: int,
        flags: int,
        content_length: int,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        case: dict[bytes, bytes] | None,
        size: int,
    ) -> None:
        settings = self.settings
        if self._underscores:
            self._count_dropped()
        # Anything but HTTP/1.1 is taken as 1.0, as in Envoy.
        self.protocol = HTTP11 if version == _HTTP_11 or not settings.accept_http_10 else HTTP10
        stream = self._stream
        if stream is None:
            stream = self._begin()
        stream.header_bytes_received = size
        if case is not None and settings.proper_case_for_own:
            case[CASE_PROPER] = b""
        if host is None:
            host = b""
        elif not host:
            # Unlike a missing one, an empty one is valid (RFC 9112 section 3.2).
            single[HOST] = host
        headers = RequestHeaderMap(single, multi, case, method, b"", host)
        end = flags & FLAG_END != 0
        raw = False
        if method == _CONNECT or flags & _SPECIAL_FLAGS:
            raw = self._check_special(headers, flags, content_length)
        stream.is_head = method == _HEAD
        if (target[0] == _SLASH and method != _CONNECT) or (target[0] == _STAR and method == b"OPTIONS"):
            headers.path = target
        else:
            self._resolve_target(headers, target)
        if version != _HTTP_11 and not settings.accept_http_10:
            self._refuse(426, parse_failure.LOW_VERSION, "unsupported version")
        authority = headers.authority
        if authority != self._valid_host:
            if not is_valid_host_field(authority):
                self._refuse(400, parse_failure.INVALID_AUTHORITY, "request headers failed spec compliance checks")
            self._valid_host = authority
        if raw:
            self._tunnel = True
            self._parser.take_over()
            end = False
        stream.remote_complete = end
        stream.decoder.decode_headers(headers, end)
        if self.connection.state != STATE_OPEN:
            self._parser.stop()

    def _check_special(self, headers: RequestHeaderMap, flags: int, content_length: int) -> bool:
        """Upgrades, codings and nominated fields. True: what follows is not HTTP."""
        raw = False
        connect = headers.method == _CONNECT
        if flags & FLAG_UPGRADE:
            raw = drop_unwanted_upgrade(headers, self.settings.ignored_upgrades)
        if connect:
            # RFC 9110 section 9.3.6: a payload has no defined semantics.
            if flags & FLAG_CONTENT_LENGTH:
                if content_length:
                    self._refuse(400, parse_failure.BODY_DISALLOWED, "unsupported content length")
                headers.remove(CONTENT_LENGTH)
            raw = True
            stream = self._stream
            assert stream is not None
            stream.is_connect = True
        if flags & FLAG_TRANSFER_ENCODING:
            if flags & FLAG_CONTENT_LENGTH:
                # RFC 9112 section 6.3: might be an attempt at request smuggling.
                if not (flags & FLAG_CHUNKED and self.settings.allow_chunked_length):
                    self._refuse(400, parse_failure.CHUNKED_CONTENT_LENGTH, parse_failure.BOTH_SET)
                headers.remove(CONTENT_LENGTH)
            if not flags & FLAG_CHUNKED or connect:
                self._refuse(501, parse_failure.INVALID_TRANSFER_ENCODING, "unsupported transfer encoding")
        if not raw and flags & FLAG_CONNECTION:
            value = headers.get_joined(CONNECTION)
            if value is not None and not remove_nominated(headers, value):
                self._refuse(400, parse_failure.CONNECTION_HEADER_REJECTED, "Invalid nominated headers in Connection.")
        return raw

    def _resolve_target(self, headers: RequestHeaderMap, target: bytes) -> None:
        """RFC 9112 section 3.2: absolute-form and authority-form take the place of the Host field."""
        if headers.method == _CONNECT:
            if not is_authority_form(target):
                self._refuse(400, parse_failure.INVALID_URL, "invalid url in request line")
            headers.authority = target
            return
        if not self.settings.allow_absolute_url:
            headers.path = target
            return
        parts = parse_absolute(target)
        if parts is None:
            self._refuse(400, parse_failure.INVALID_URL, "invalid url in request line")
            return
        headers.authority = parts.authority
        if parts.scheme != b"http" and parts.scheme != b"https":
            self._refuse(400, parse_failure.INVALID_SCHEME, "invalid scheme")
        if (
            self.settings.refuse_https_on_plaintext
            and parts.scheme == b"https"
            and self.connection.transport_socket is None
        ):
            self._refuse(403, parse_failure.HTTPS_ON_PLAINTEXT, "https URL on a connection without TLS")
        headers.scheme = parts.scheme
        headers.path = parts.path

    def on_body(self, data: bytes, end: bool) -> None:
        stream = self._stream
        if stream is None:
            return
        if end:
            stream.remote_complete = True
        stream.decoder.decode_data(data, end)
        self._after_event(stream, end)

    def on_trailers(
        self,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        case: dict[bytes, bytes] | None,
    ) -> None:
        stream = self._stream
        if stream is None:
            return
        if self._underscores:
            self._count_dropped()
        stream.remote_complete = True
        if self.settings.enable_trailers and single:
            if case is not None and self.settings.proper_case_for_own:
                case[CASE_PROPER] = b""
            stream.decoder.decode_trailers(HeaderMap(single, multi, case))
        else:
            stream.decoder.decode_data(b"", True)
        self._after_event(stream, True)

    def _after_event(self, stream: Http1ServerStream, end: bool) -> None:
        if self.connection.state != STATE_OPEN:
            self._parser.stop()
        elif end and stream.local_complete and self._stream is stream:
            # The response was complete before the request.
            self.release(stream)

    # --- streams ---

    def _begin(self) -> Http1ServerStream:
        stream = Http1ServerStream(self)
        self._stream = stream
        stream.wire_bytes_received = self._uncounted
        self._uncounted = 0
        stream.decoder = self.callbacks.new_stream(stream)
        if self.connection.above_high_watermark:
            stream.decoder.on_above_write_buffer_high_watermark()
        return stream

    def release(self, stream: Http1ServerStream) -> None:
        """Request and response are complete: the next request may come."""
        stream.detach()
        if self._stream is stream:
            self._stream = None
            if not self.connection.above_high_watermark and (self._held or self._pending):
                self._go_on()

    def wants_to_write(self) -> bool:
        return False

    def on_underlying_connection_above_write_buffer_high_watermark(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.decoder.on_above_write_buffer_high_watermark()

    def on_underlying_connection_below_write_buffer_low_watermark(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.decoder.on_below_write_buffer_low_watermark()
        elif self._held:
            self._go_on()

    # --- errors ---

    def _count_dropped(self) -> None:
        dropped = self._parser.dropped
        if dropped != self._dropped:
            self.stats.dropped_headers_with_underscores.add(dropped - self._dropped)
            self._dropped = dropped

    def _parse_failed(self, error: ParseError) -> None:
        kind = error.kind
        stream = self._stream
        if stream is None:
            # The connection manager answers, and logs, a request for it.
            self.protocol = HTTP11
            stream = self._begin()
        if kind == UNDERSCORE:
            self.stats.requests_rejected_with_underscores_in_headers.inc()
        text = parse_failure.text_of(kind, str(error))
        self._answer(stream, parse_failure.status_of(kind), parse_failure.details_of(kind))
        raise CodecProtocolError(text, parse_failure.details_of(kind)) from error

    def _refuse(self, status: int, details: str, text: str) -> None:
        stream = self._stream
        assert stream is not None
        self._answer(stream, status, details)
        raise CodecProtocolError(f"http/1.1 protocol error: {text}", details)

    def _answer(self, stream: Http1ServerStream, status: int, details: str) -> None:
        stream.response_details = details
        if not stream.dead and not stream.started_response:
            stream.decoder.send_local_reply(status, reason_phrase(status), details)

    def __repr__(self) -> str:
        return f"<Http1ServerConnection {self._stream!r}{' tunnel' if self._tunnel else ''} {len(self._pending)} held>"
