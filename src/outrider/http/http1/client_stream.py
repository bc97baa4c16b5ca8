"""One request and its response on an HTTP/1 client codec: the writing half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE
from outrider.http.codec import CodecProtocolError, RequestEncoder, ResponseDecoder
from outrider.http.http1 import parse_failure
from outrider.http.http1.connection_options import is_upgrade
from outrider.http.http1.framing import CASE_PROPER, CHUNKED, ZERO, write_body, write_trailers
from outrider.native.load import encode_request

if TYPE_CHECKING:
    from outrider.http.http1.client_connection import Http1ClientConnection

# Methods of requests that do not announce the absence of a body (RFC 9110 section 8.6).
_BODILESS: Final = frozenset([b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"])
_CONNECT: Final = b"CONNECT"
_HEAD: Final = b"HEAD"


class Http1ClientStream(RequestEncoder):
    """One request and its response."""

    def __init__(self, codec: Http1ClientConnection, decoder: ResponseDecoder) -> None:
        self.wire_bytes_received: int = 0
        self.wire_bytes_sent: int = 0
        self.header_bytes_received: int = 0
        self.header_bytes_sent: int = 0
        self.codec = codec
        self.decoder: ResponseDecoder = decoder
        self.is_head: bool = False
        self.is_connect: bool = False
        self.is_upgrade: bool = False
        # The request is sent; the response is complete; nothing more may happen.
        self.request_complete: bool = False
        self.response_complete: bool = False
        self.dead: bool = False
        self._chunked: bool = False
        self._tunneling: bool = False
        self._read_disables: int = 0

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        if self.dead:
            return
        codec = self.codec
        method = headers.method
        target = headers.path
        authority = headers.authority
        if not method:
            raise CodecProtocolError("missing required header: :method")
        if method == _CONNECT:
            if not authority:
                raise CodecProtocolError("missing required header: :authority")
            self.is_connect = True
            target = authority
        elif not target:
            raise CodecProtocolError("missing required header: :path")
        elif codec.settings.send_fully_qualified_url:
            if not headers.scheme or not authority:
                raise CodecProtocolError(f"missing required header: :{'authority' if headers.scheme else 'scheme'}")
            target = headers.scheme + b"://" + authority + target
        single = headers.single
        self.is_head = method == _HEAD
        if UPGRADE in single and is_upgrade(headers):
            self.is_upgrade = True
        extra_name: bytes | None = None
        extra_value: bytes | None = None
        if CONTENT_LENGTH not in single and not self.is_connect:
            if end_stream:
                if method not in _BODILESS:
                    extra_name = CONTENT_LENGTH
                    extra_value = ZERO
            elif not self.is_upgrade:
                extra_name = TRANSFER_ENCODING
                extra_value = CHUNKED
                self._chunked = True
        case = headers.case
        proper = codec.proper_case if case is None else CASE_PROPER in case
        try:
            head = encode_request(
                method, target, authority, single, headers.multi, extra_name, extra_value, case, proper
            )
        except ValueError as error:
            # A rewrite or a header mutation made something that would break the message.
            raise CodecProtocolError(str(error), parse_failure.INVALID_CHARACTERS) from error
        codec.request_sent(self)
        size = len(head)
        self.header_bytes_sent = size
        self.wire_bytes_sent = size
        codec.connection.write(head)
        if end_stream:
            self._request_complete()

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.dead or self.request_complete:
            return
        self.wire_bytes_sent += write_body(self.codec.connection, data, self._chunked, end_stream)
        if end_stream:
            self._request_complete()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self.dead or self.request_complete:
            return
        if self._chunked:
            codec = self.codec
            self.wire_bytes_sent += write_trailers(
                codec.connection, trailers, codec.settings.enable_trailers, codec.proper_case
            )
        self._request_complete()

    def enable_tcp_tunneling(self) -> None:
        self._tunneling = True

    def _request_complete(self) -> None:
        self.request_complete = True
        codec = self.codec
        if self.is_connect or self._tunneling:
            # Raw bytes end with the connection's direction.
            codec.connection.write(b"", True)
        if self.response_complete:
            codec.exchange_complete(self)

    def reset_stream(self, reason: int) -> None:
        if self.dead:
            return
        codec = self.codec
        codec.forget(self)
        codec.callbacks.on_stream_reset(reason)

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

    def __repr__(self) -> str:
        return (
            f"<Http1ClientStream{' dead' if self.dead else ''}"
            f"{' request complete' if self.request_complete else ''}"
            f"{' response complete' if self.response_complete else ''}>"
        )
