"""envoy.filters.http.connect_grpc_bridge: clients of the Connect protocol towards gRPC upstreams.

Source: Envoy documentation, "Connect-gRPC Bridge"; Connect protocol reference, "Unary RPCs", "Streaming RPCs".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.grpc_status import SNAKE_NAMES, parse_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    ACCEPT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    GRPC_MESSAGE,
    GRPC_STATUS,
    GRPC_TIMEOUT,
    TE,
    TRAILER,
)
from outrider.extensions.filters.http.grpc_frames import FLAG_CONNECT_END, HEAD_SIZE, frame
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.http.grpc_status import is_grpc_response

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_VERSION: Final = b"connect-protocol-version"
_TIMEOUT: Final = b"connect-timeout-ms"
_GRPC: Final = b"application/grpc"
_GRPC_ACCEPT: Final = b"grpc-accept-encoding"
_GRPC_ENCODING: Final = b"grpc-encoding"
_CONTENT_ENCODING: Final = b"content-encoding"
_CONNECT: Final = b"application/connect"
_CONNECT_ACCEPT: Final = b"connect-accept-encoding"
_CONNECT_ENCODING: Final = b"connect-content-encoding"
_MAX_TIMEOUT: Final = 99_999_999
_MAX_DIGITS: Final = 18
# HTTP status of a failed unary call by its gRPC status; 500 for the others.
_HTTP_STATUS: Final = {
    1: 408, 3: 400, 4: 408, 5: 404, 6: 409, 7: 403, 8: 429, 9: 412, 10: 409, 11: 400, 12: 404, 14: 503, 16: 401,
}  # fmt: skip


def grpc_timeout(milliseconds: int) -> bytes:
    """`grpc-timeout` has at most eight digits and a unit; empty for more than that can say."""
    for unit, step in ((b"m", 1), (b"S", 1000), (b"M", 60), (b"H", 60)):
        milliseconds //= step
        if milliseconds <= _MAX_TIMEOUT:
            return b"%d" % milliseconds + unit
    return b""


def json_text(text: bytes) -> bytes:
    """The inside of a JSON string."""
    out = bytearray()
    for octet in text:
        if octet in (0x22, 0x5C):
            out += bytes((0x5C, octet))
        elif octet < 0x20 or octet > 0x7E:
            short = _ESCAPES.get(octet)
            out += b"\\u%04x" % octet if short is None else short
        else:
            out.append(octet)
    return bytes(out)


_ESCAPES: Final = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r"}


def _status_of(fields: HeaderMap) -> int | None:
    value = fields.get(GRPC_STATUS)
    return None if not value else parse_status(value)


def error_json(status: int, message: bytes) -> bytes:
    """A Connect error: its code and message."""
    code = f"code_{status}"
    if 0 < status < len(SNAKE_NAMES):
        code = "canceled" if status == 1 else SNAKE_NAMES[status].lower()
    text = b'{"code":"' + code.encode()
    if message:
        text += b'","message":"' + json_text(message)
    return text + b'"}'


def end_of_stream(fields: HeaderMap) -> bytes:
    """The last frame of a Connect stream, from gRPC trailers."""
    parts: list[bytes] = []
    status = _status_of(fields)
    if status is not None and status != 0:
        parts.append(b'"error":' + error_json(status, fields.get(GRPC_MESSAGE) or b""))
    metadata: list[bytes] = []
    for name in sorted(fields.names()):
        if not name.startswith(b"grpc-"):
            values = b",".join(b'"' + json_text(value) + b'"' for value in fields.get_all(name))
            metadata.append(b'"' + json_text(name) + b'":[' + values + b"]")
    if metadata:
        parts.append(b'"metadata":{' + b",".join(metadata) + b"}")
    return frame(b"{" + b",".join(parts) + b"}", FLAG_CONNECT_END)


class ConnectBridgeFilter(HttpFilter):
    """Unary calls are put into frames and taken out of them; of streams only fields and the end change."""

    __slots__ = ("unary", "streaming", "grpc_response", "_head_left", "_request", "_request_size", "_response",
                 "_response_size")  # fmt: skip

    def __init__(self) -> None:
        self.unary = False
        self.streaming = False
        self.grpc_response = False
        self._head_left = HEAD_SIZE
        self._request: list[bytes] = []
        self._request_size = 0
        self._response: list[bytes] = []
        self._response_size = 0

    # --- the request ---

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        content_type = headers.single.get(CONTENT_TYPE, b"")
        if content_type.startswith(_CONNECT):
            if content_type[len(_CONNECT) : len(_CONNECT) + 1] != b"+":
                return HEADERS_CONTINUE
            self.streaming = True
            headers.set(CONTENT_TYPE, _GRPC + content_type[len(_CONNECT) :])
            headers.remove(CONTENT_LENGTH)
            _convert_timeout(headers)
            _rename(headers, _CONNECT_ENCODING, _GRPC_ENCODING)
            _rename(headers, _CONNECT_ACCEPT, _GRPC_ACCEPT)
        elif content_type.startswith(b"application/") and _VERSION in headers.single:
            self.unary = True
            headers.set(CONTENT_TYPE, _GRPC + b"+" + content_type[len(b"application/") :])
            headers.remove(CONTENT_LENGTH)
            _convert_timeout(headers)
            headers.remove(_VERSION)
            headers.set(TE, b"trailers")
            _rename(headers, _CONTENT_ENCODING, _GRPC_ENCODING)
            _rename(headers, ACCEPT_ENCODING, _GRPC_ACCEPT)
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if not self.unary:
            return DATA_CONTINUE
        self._request.append(data)
        self._request_size += len(data)
        limit = self.manager.buffer_limit
        if 0 < limit < self._request_size:
            self.manager.send_local_reply(
                413,
                "Request rejected because the filter's internal buffer size exceeds the configured limit.",
                "connect_bridge_unary_request_too_large",
            )
            return DATA_STOP_NO_BUFFER
        if end_stream:
            self.manager.inject_decoded_data(self, frame(b"".join(self._request)), True)
        return DATA_STOP_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self.unary:
            self.manager.inject_decoded_data(self, frame(b"".join(self._request)), False)
        return TRAILERS_CONTINUE

    # --- the response ---

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        if not self.unary and not self.streaming:
            return HEADERS_CONTINUE
        content_type = headers.single.get(CONTENT_TYPE, b"")
        self.grpc_response = is_grpc_response(headers, end_stream)
        if not self.grpc_response:
            return HEADERS_CONTINUE
        subtype = content_type[len(_GRPC) :]
        if subtype[:1] != b"+":
            subtype = b"+proto"
        headers.remove(CONTENT_LENGTH)
        if self.unary:
            headers.set(CONTENT_TYPE, b"application/" + subtype[1:])
            _rename(headers, _GRPC_ENCODING, _CONTENT_ENCODING)
            _rename(headers, _GRPC_ACCEPT, ACCEPT_ENCODING)
            if not end_stream:
                return HEADERS_STOP_ITERATION
            # Trailers only: what is no gRPC field stays a header.
            error = _apply_error(headers, headers)
            _remove_grpc(headers)
            if error:
                self.manager.add_encoded_data(self, error, True)
            return HEADERS_CONTINUE
        headers.set(CONTENT_TYPE, _CONNECT + subtype)
        _rename(headers, _GRPC_ENCODING, _CONNECT_ENCODING)
        _rename(headers, _GRPC_ACCEPT, _CONNECT_ACCEPT)
        headers.remove(_VERSION)
        if end_stream:
            ending = HeaderMap()
            for name in (GRPC_STATUS, GRPC_MESSAGE):
                value = headers.get(name)
                if value is not None:
                    ending.set(name, value)
            _remove_grpc(headers)
            self.manager.add_encoded_data(self, end_of_stream(ending), True)
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if not self.unary or not self.grpc_response:
            return DATA_CONTINUE
        if self._head_left:
            taken = min(self._head_left, len(data))
            self._head_left -= taken
            data = data[taken:]
        self._response.append(data)
        self._response_size += len(data)
        limit = self.manager.buffer_limit
        if 0 < limit < self._response_size:
            self.grpc_response = False
            self.manager.send_local_reply(
                500,
                "Response discarded because the filter's internal buffer size exceeds the configured limit.",
                "connect_bridge_unary_response_too_large",
            )
            return DATA_STOP_NO_BUFFER
        if end_stream:
            self.manager.inject_encoded_data(self, b"".join(self._response), True)
        return DATA_STOP_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if not self.grpc_response:
            return TRAILERS_CONTINUE
        if self.unary:
            headers = self.manager.response_headers
            body = b"".join(self._response)
            if headers is not None:
                body = _finish_unary(headers, trailers) or body
        else:
            body = end_of_stream(trailers)
        for name in trailers.names():
            trailers.remove(name)
        self.manager.inject_encoded_data(self, body, False)
        return TRAILERS_CONTINUE


def _finish_unary(headers: ResponseHeaderMap, trailers: HeaderMap) -> bytes:
    """Move what the trailers say into the headers. The error as body; empty for a success."""
    headers.remove(TRAILER)
    error = _apply_error(headers, trailers)
    for name, value in trailers.items():
        if not name.startswith(b"grpc-"):
            headers.add(b"trailer-" + name, value)
    return error


def _apply_error(headers: ResponseHeaderMap, trailers: HeaderMap) -> bytes:
    status = _status_of(trailers)
    if status is None or status == 0:
        return b""
    headers.status = _HTTP_STATUS.get(status, 500)
    headers.set(CONTENT_TYPE, b"application/json")
    return error_json(status, trailers.get(GRPC_MESSAGE) or b"")


def _remove_grpc(headers: HeaderMap) -> None:
    for name in headers.names():
        if name.startswith(b"grpc-"):
            headers.remove(name)


def _rename(headers: HeaderMap, old: bytes, new: bytes) -> None:
    for value in headers.get_all(old):
        headers.add(new, value)
    headers.remove(old)


def _convert_timeout(headers: HeaderMap) -> None:
    values = headers.get_all(_TIMEOUT)
    if not values or not values[-1].isdigit() or len(values[-1]) > _MAX_DIGITS:
        return
    converted = grpc_timeout(int(values[-1]))
    if converted:
        headers.add(GRPC_TIMEOUT, converted)
        headers.remove(_TIMEOUT)


class ConnectBridgeFactory(HttpFilterFactory):
    def create(self) -> HttpFilter:
        return ConnectBridgeFilter()


@HTTP_FILTERS.register(
    "envoy.filters.http.connect_grpc_bridge", "envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig"
)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return ConnectBridgeFactory()
