"""One request and its response on an HTTP/1 server codec: the writing half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, TRANSFER_ENCODING
from outrider.data.stream_info import HTTP10
from outrider.http.codec import RequestDecoder, ResponseEncoder
from outrider.http.http1.connection_options import is_upgrade
from outrider.http.http1.framing import CASE_PROPER, CASE_REASON, CHUNKED, ZERO, write_body, write_trailers
from outrider.http.http1.status_line import LINES_10, LINES_11, status_line
from outrider.native.load import encode_head
from outrider.network.filter import CLOSE_FLUSH_WRITE_AND_DELAY

if TYPE_CHECKING:
    from outrider.http.http1.server_connection import Http1ServerConnection

_NO_DECODER: Final = RequestDecoder()


class Http1ServerStream(ResponseEncoder):
    """One request and its response."""

    def __init__(self, codec: Http1ServerConnection) -> None:
        self.wire_bytes_received: int = 0
        self.wire_bytes_sent: int = 0
        self.header_bytes_received: int = 0
        self.header_bytes_sent: int = 0
        self.response_details: str = ""
        self.codec = codec
        self.decoder: RequestDecoder = _NO_DECODER
        self.is_head: bool = False
        self.is_connect: bool = False
        # The request is complete; the response has begun; the response is complete; nothing more may happen.
        self.remote_complete: bool = False
        self.started_response: bool = False
        self.local_complete: bool = False
        self.dead: bool = False
        self._chunked: bool = False
        self._no_body: bool = False
        self._read_disables: int = 0

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        if self.dead or self.started_response:
            return
        self._write_head(headers, None, None)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self.dead or self.started_response:
            return
        self.started_response = True
        status = headers.status
        extra_name: bytes | None = None
        extra_value: bytes | None = None
        connect_accepted = self.is_connect and status < 300
        # RFC 9110 section 6.4.1: these end with their header block, whatever a filter sends behind it.
        self._no_body = self.is_head or status == 204 or status == 304
        if CONTENT_LENGTH not in headers.single and status >= 200 and status != 204 and status != 304:
            if end_stream and not self.is_head:
                extra_name = CONTENT_LENGTH
                extra_value = ZERO
            elif self.codec.protocol != HTTP10 and not connect_accepted:
                # Told to HEAD as well: a GET would have been answered so.
                extra_name = TRANSFER_ENCODING
                extra_value = CHUNKED
                self._chunked = not self.is_head and not is_upgrade(headers)
        self._write_head(headers, extra_name, extra_value)
        if end_stream:
            self._response_complete()

    def _write_head(self, headers: ResponseHeaderMap, extra_name: bytes | None, extra_value: bytes | None) -> None:
        codec = self.codec
        status = headers.status
        case = headers.case
        proper = codec.proper_case
        if case is None and 0 < status < 1000:
            line = LINES_10[status] if codec.protocol == HTTP10 else LINES_11[status]
        else:
            reason = None
            if case is not None:
                proper = CASE_PROPER in case
                reason = case.get(CASE_REASON)
            line = status_line(status, codec.protocol == HTTP10, reason)
        head = encode_head(line, headers.single, headers.multi, extra_name, extra_value, case, proper)
        size = len(head)
        self.header_bytes_sent += size
        self.wire_bytes_sent += size
        codec.connection.write(head)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.dead or self.local_complete:
            return
        if not self._no_body:
            self.wire_bytes_sent += write_body(self.codec.connection, data, self._chunked, end_stream)
        if end_stream:
            self._response_complete()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self.dead or self.local_complete:
            return
        if self._chunked:
            codec = self.codec
            self.wire_bytes_sent += write_trailers(
                codec.connection, trailers, codec.settings.enable_trailers, codec.proper_case
            )
        self._response_complete()

    def _response_complete(self) -> None:
        self.local_complete = True
        if self.remote_complete:
            self.codec.release(self)

    def reset_stream(self, reason: int) -> None:
        """HTTP/1 has no other way to give a stream up than to close the connection."""
        if self.dead:
            return
        self.detach()
        self.codec.connection.close(CLOSE_FLUSH_WRITE_AND_DELAY, "")

    def detach(self) -> None:
        """No further events of this stream; what it held of the connection is given back."""
        self.dead = True
        while self._read_disables > 0:
            self._read_disables -= 1
            self.codec.connection.read_disable(False)

    def read_disable(self, disable: bool) -> None:
        if self.dead:
            return
        if disable:
            self._read_disables += 1
        else:
            self._read_disables -= 1
        self.codec.connection.read_disable(disable)

    def set_decoder(self, decoder: RequestDecoder) -> None:
        self.decoder = decoder

    def stream_error_on_invalid_http_message(self) -> bool:
        return self.codec.settings.stream_error_on_invalid_http_message

    def __repr__(self) -> str:
        return (
            f"<Http1ServerStream{' dead' if self.dead else ''}"
            f"{' request complete' if self.remote_complete else ''}"
            f"{' response begun' if self.started_response else ''}>"
        )
