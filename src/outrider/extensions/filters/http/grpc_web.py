"""envoy.filters.http.grpc_web: browsers' gRPC-Web, binary and text, towards gRPC upstreams.

Source: Envoy documentation, "gRPC-Web"; gRPC documentation, "gRPC Web" (PROTOCOL-WEB).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from outrider.data.grpc_status import from_http_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS, TE
from outrider.extensions.filters.http.grpc_charge import GrpcCharger, MethodStats
from outrider.extensions.filters.http.grpc_frames import FLAG_WEB_TRAILERS, HEAD_SIZE, frame
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_BUFFER,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.http.grpc_status import encode_grpc_message, is_grpc_response

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_ACCEPT: Final = b"accept"
_GRPC_ACCEPT_ENCODING: Final = b"grpc-accept-encoding"
_GRPC: Final = b"application/grpc"
_WEB: Final = b"application/grpc-web"
_WEB_PROTO: Final = b"application/grpc-web+proto"
_TEXT: Final = frozenset((b"application/grpc-web-text", b"application/grpc-web-text+proto"))
_TEXT_PROTO: Final = b"application/grpc-web-text+proto"
_BINARY: Final = frozenset((_WEB, _WEB_PROTO))
# Of a body that becomes a grpc-message.
_MAX_MESSAGE: Final = 16384
_BAD_BASE64: Final = "Bad gRPC-web request, invalid base64 data."


class FrameEncoder:
    """Base64 of frames, each by itself, as they come: nothing but two bytes is held."""

    __slots__ = ("_head", "_left", "_rest")

    def __init__(self) -> None:
        self._head = b""
        # Bytes of the current frame's payload that are still to come.
        self._left = 0
        self._rest = b""

    def encode(self, data: bytes) -> bytes:
        out: list[bytes] = []
        at = 0
        size = len(data)
        while at < size:
            if self._left == 0:
                wanted = HEAD_SIZE - len(self._head)
                piece = data[at : at + wanted]
                self._head += piece
                at += len(piece)
                if len(self._head) < HEAD_SIZE:
                    break
                self._left = int.from_bytes(self._head[1:], "big")
                piece = self._head
                self._head = b""
            else:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
            piece = self._rest + piece
            whole = len(piece) if self._left == 0 else len(piece) // 3 * 3
            self._rest = piece[whole:]
            if whole:
                out.append(base64.b64encode(piece[:whole]))
        return b"".join(out)


class GrpcWebFilter(HttpFilter):
    __slots__ = ("charger", "stats", "web", "text_request", "text_response", "replaced", "_rest", "_encoder")

    def __init__(self, charger: GrpcCharger) -> None:
        self.charger = charger
        self.stats: MethodStats | None = None
        self.web = False
        self.text_request = False
        self.text_response = False
        # The response is not gRPC: its body becomes the message of a gRPC status.
        self.replaced = False
        # Base64 characters of the request that are no group of four yet.
        self._rest = b""
        self._encoder: FrameEncoder | None = None

    # --- the request ---

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        content_type = headers.single.get(CONTENT_TYPE, b"")
        self.text_request = content_type in _TEXT
        self.web = self.text_request or content_type in _BINARY
        if not self.web:
            return HEADERS_CONTINUE
        headers.remove(CONTENT_LENGTH)
        self.stats = self.charger.for_request(self.manager, headers.path)
        headers.set(CONTENT_TYPE, _GRPC)
        if headers.single.get(_ACCEPT) in _TEXT:
            self.text_response = True
            self._encoder = FrameEncoder()
        headers.set(TE, b"trailers")
        if _GRPC_ACCEPT_ENCODING not in headers.single:
            headers.set(_GRPC_ACCEPT_ENCODING, b"identity")
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if not self.text_request:
            return DATA_CONTINUE
        data = self._rest + data
        size = len(data)
        if end_stream:
            if size == 0:
                return DATA_CONTINUE
            if size % 4:
                self._refuse("grpc_base_64_decode_failed_bad_size")
                return DATA_STOP_NO_BUFFER
        elif size < 4:
            self._rest = data
            return DATA_STOP_NO_BUFFER
        whole = size // 4 * 4
        self._rest = data[whole:]
        try:
            decoded = base64.b64decode(data[:whole], validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        if not decoded:
            self._refuse("grpc_base_64_decode_failed")
            return DATA_STOP_NO_BUFFER
        self.manager.inject_decoded_data(self, decoded, end_stream)
        return DATA_STOP_NO_BUFFER

    def _refuse(self, details: str) -> None:
        self.manager.send_local_reply(400, _BAD_BASE64, details)

    # --- the response ---

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        if not self.web:
            return HEADERS_CONTINUE
        if self.stats is not None:
            self.stats.charge_status(headers)
        self.replaced = not is_grpc_response(headers, end_stream) and not _is_web_response(headers)
        headers.remove(CONTENT_LENGTH)
        headers.set(CONTENT_TYPE, _TEXT_PROTO if self.text_response else _WEB_PROTO)
        if end_stream or not self.replaced:
            return HEADERS_CONTINUE
        return HEADERS_STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if not self.web:
            return DATA_CONTINUE
        if self.replaced:
            held = self.manager.encoding_buffer()
            if not end_stream:
                if held is not None and len(held) >= _MAX_MESSAGE:
                    return DATA_STOP_NO_BUFFER
                return DATA_STOP_AND_BUFFER
            self.replaced = False
            self._replace((data if held is None else held + data)[:_MAX_MESSAGE])
            if held is not None:
                self.manager.modify_encoding_buffer(b"")
            self.manager.inject_encoded_data(self, b"", True)
            return DATA_STOP_NO_BUFFER
        if self._encoder is None:
            return DATA_CONTINUE
        encoded = self._encoder.encode(data)
        if encoded or end_stream:
            self.manager.inject_encoded_data(self, encoded, end_stream)
        return DATA_STOP_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if not self.web:
            return TRAILERS_CONTINUE
        if self.stats is not None:
            self.stats.charge_status(trailers)
        if self.replaced:
            held = self.manager.encoding_buffer()
            self._replace(b"" if held is None else held[:_MAX_MESSAGE])
            if held is not None:
                self.manager.modify_encoding_buffer(b"")
            return TRAILERS_CONTINUE
        lines = b"".join(b"%b:%b\r\n" % field for field in trailers.items())
        for name in trailers.names():
            trailers.remove(name)
        end = frame(lines, FLAG_WEB_TRAILERS)
        self.manager.inject_encoded_data(self, base64.b64encode(end) if self.text_response else end, False)
        return TRAILERS_CONTINUE

    def _replace(self, body: bytes) -> None:
        """The response becomes one without body, whose fields tell status and message."""
        headers = self.manager.response_headers
        if headers is None:
            return
        headers.set(GRPC_MESSAGE, encode_grpc_message(body))
        headers.set(GRPC_STATUS, b"%d" % from_http_status(headers.status))
        headers.set(CONTENT_LENGTH, b"0")


def _is_web_response(headers: ResponseHeaderMap) -> bool:
    kind = headers.single.get(CONTENT_TYPE, b"").partition(b";")[0].rstrip().lower()
    return headers.status == 200 and kind in _BINARY


class GrpcWebFactory(HttpFilterFactory):
    def __init__(self, charger: GrpcCharger) -> None:
        self.charger = charger

    def create(self) -> HttpFilter:
        return GrpcWebFilter(self.charger)


@HTTP_FILTERS.register(
    "envoy.filters.http.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb", "envoy.grpc_web"
)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return GrpcWebFactory(GrpcCharger(context.cluster_manager, "grpc-web"))
