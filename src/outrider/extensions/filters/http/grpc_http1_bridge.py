"""envoy.filters.http.grpc_http1_bridge: unary gRPC for HTTP/1.1 clients, which cannot read trailers.

Source: Envoy documentation, "gRPC HTTP/1.1 bridge".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.grpc_status import is_grpc_content_type
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS
from outrider.data.stream_info import HTTP2
from outrider.extensions.filters.http.grpc_frames import HEAD_SIZE, frame, frame_head
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

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_GRPC: Final = b"application/grpc"
_PROTOBUF: Final = b"application/x-protobuf"


class BridgeSettings:
    __slots__ = ("upgrade_protobuf", "ignore_query")

    def __init__(self, config: View) -> None:
        # Plain protobuf bodies are put into frames, and answers taken out of them.
        self.upgrade_protobuf = config.flag("upgrade_protobuf_to_grpc")
        self.ignore_query = config.flag("ignore_query_parameters")


class Http1BridgeFilter(HttpFilter):
    __slots__ = ("settings", "bridging", "framing", "_head_left")

    def __init__(self, settings: BridgeSettings) -> None:
        self.settings = settings
        self.bridging = False
        # The client sends and wants protobuf without frames.
        self.framing = False
        # Bytes of the response's frame head that are still to be left out.
        self._head_left = HEAD_SIZE

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        content_type = headers.single.get(CONTENT_TYPE, b"")
        if self.settings.upgrade_protobuf and content_type == _PROTOBUF:
            content_type = _GRPC
            self.framing = True
            headers.set(CONTENT_TYPE, _GRPC)
            # The frame's head tells the length.
            headers.remove(CONTENT_LENGTH)
            self.manager.clear_route_cache()
        self.bridging = self.manager.stream_info.protocol < HTTP2 and is_grpc_content_type(content_type)
        if self.bridging and self.settings.ignore_query:
            headers.path = headers.path.partition(b"?")[0]
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if not self.bridging or not self.framing:
            return DATA_CONTINUE
        if not end_stream:
            return DATA_STOP_AND_BUFFER
        held = self.manager.decoding_buffer()
        if held is None:
            self.manager.inject_decoded_data(self, frame(data), True)
            return DATA_STOP_NO_BUFFER
        # The last part follows what was held.
        self.manager.modify_decoding_buffer(frame_head(len(held) + len(data)) + held)
        return DATA_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        return HEADERS_CONTINUE if end_stream or not self.bridging else HEADERS_STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if not self.bridging or end_stream:
            return DATA_CONTINUE
        if self.framing and self._head_left:
            taken = min(self._head_left, len(data))
            self._head_left -= taken
            self.manager.add_encoded_data(self, data[taken:], False)
            return DATA_STOP_NO_BUFFER
        # Until the trailers have come.
        return DATA_STOP_AND_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        headers = self.manager.response_headers
        if not self.bridging or headers is None:
            return TRAILERS_CONTINUE
        status = trailers.get(GRPC_STATUS)
        if status is not None:
            if not status.isdigit() or int(status[:20]) != 0:
                headers.status = 503
            headers.set(GRPC_STATUS, status)
        message = trailers.get(GRPC_MESSAGE)
        if message is not None:
            headers.set(GRPC_MESSAGE, message)
        held = self.manager.encoding_buffer()
        headers.set(CONTENT_LENGTH, b"%d" % (0 if held is None else len(held)))
        return TRAILERS_CONTINUE


class Http1BridgeFactory(HttpFilterFactory):
    def __init__(self, settings: BridgeSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return Http1BridgeFilter(self.settings)


@HTTP_FILTERS.register(
    "envoy.filters.http.grpc_http1_bridge",
    "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
    "envoy.grpc_http1_bridge",
)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return Http1BridgeFactory(BridgeSettings(config))
