"""envoy.filters.http.grpc_http1_reverse_bridge: gRPC clients towards HTTP/1.1 upstreams that speak protobuf.

Source: Envoy documentation, "gRPC HTTP/1.1 reverse bridge".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.grpc_status import INTERNAL, OK, UNKNOWN, from_http_status, is_grpc_content_type
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, CONTENT_TYPE, GRPC_STATUS
from outrider.extensions.filters.http.grpc_frames import HEAD_SIZE, frame, frame_head
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_ACCEPT: Final = b"accept"
_PREFIX: Final = "envoy reverse bridge: upstream "
_MAX_DIGITS: Final = 18


class ReverseBridgeSettings:
    __slots__ = ("content_type", "withhold_frames", "size_header")

    def __init__(self, config: View) -> None:
        self.content_type = config.text("content_type").encode()
        self.withhold_frames = config.flag("withhold_grpc_frames")
        # The upstream's field that tells the size of the message: then the response is not buffered.
        self.size_header = config.text("response_size_header").lower().encode()


class ReverseBridgeRoute:
    __slots__ = ("disabled",)

    def __init__(self, disabled: bool) -> None:
        self.disabled = disabled


class ReverseBridgeFilter(HttpFilter):
    __slots__ = ("settings", "bridging", "content_type", "status", "received", "announced", "_stripped", "_framed",
                 "_held", "_held_size")  # fmt: skip

    def __init__(self, settings: ReverseBridgeSettings) -> None:
        self.settings = settings
        self.bridging = False
        # What the client called its body.
        self.content_type = b""
        self.status = OK
        self.received = 0
        self.announced = 0
        self._stripped = False
        self._framed = False
        self._held: list[bytes] = []
        self._held_size = 0

    # --- the request ---

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        content_type = headers.single.get(CONTENT_TYPE, b"")
        if end_stream or not is_grpc_content_type(content_type):
            return HEADERS_CONTINUE
        route = self.manager.route()
        by_route = None if route is None else route.per_filter_config(self.config_name)
        if isinstance(by_route, ReverseBridgeRoute) and by_route.disabled:
            return HEADERS_CONTINUE
        self.bridging = True
        self.content_type = content_type
        headers.set(CONTENT_TYPE, self.settings.content_type)
        headers.set(_ACCEPT, self.settings.content_type)
        if self.settings.withhold_frames:
            _adjust_length(headers, -HEAD_SIZE)
        self.manager.clear_route_cache()
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if not self.bridging or not self.settings.withhold_frames or self._stripped:
            return DATA_CONTINUE
        if len(data) < HEAD_SIZE:
            self._refuse("invalid request body", UNKNOWN, "grpc_bridge_data_too_small")
            return DATA_STOP_NO_BUFFER
        self._stripped = True
        self.manager.inject_decoded_data(self, data[HEAD_SIZE:], end_stream)
        return DATA_STOP_NO_BUFFER

    # --- the response ---

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        if not self.bridging:
            return HEADERS_CONTINUE
        settings = self.settings
        content_type = headers.get(CONTENT_TYPE)
        if content_type != settings.content_type:
            found = "no content-type header"
            if content_type is not None:
                found = f"unsupported content-type {content_type.decode('latin-1')}"
            self._refuse(
                f"{_PREFIX}responded with {found}, status code {headers.status}", UNKNOWN,
                "grpc_bridge_content_type_wrong",
            )  # fmt: skip
            return HEADERS_STOP_ITERATION
        headers.set(CONTENT_TYPE, self.content_type)
        if settings.withhold_frames:
            if settings.size_header:
                size = (headers.get(settings.size_header) or b"").partition(b",")[0]
                if not size.isdigit() or len(size) > _MAX_DIGITS:
                    self._refuse(f"{_PREFIX}did not set content length", INTERNAL, "grpc_bridge_content_length_missing")
                    return HEADERS_STOP_ITERATION
                self.announced = int(size)
                headers.set(CONTENT_LENGTH, b"%d" % (self.announced + HEAD_SIZE))
            else:
                _adjust_length(headers, HEAD_SIZE)
        self.status = OK if headers.status == 200 else from_http_status(headers.status)
        headers.status = 200
        if end_stream and settings.withhold_frames:
            headers.set(CONTENT_LENGTH, b"%d" % HEAD_SIZE)
            self._set_status(self.manager.add_encoded_trailers())
            self.manager.add_encoded_data(self, frame_head(0), False)
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if not self.bridging:
            return DATA_CONTINUE
        settings = self.settings
        self.received += len(data)
        if not settings.withhold_frames:
            if end_stream:
                self._set_status(self.manager.add_encoded_trailers())
            return DATA_CONTINUE
        if settings.size_header:
            if not self._framed:
                self._framed = True
                data = frame_head(self.announced & 0xFFFFFFFF) + data
            if end_stream and self.received != self.announced:
                self._refuse(f"{_PREFIX}set incorrect content length", INTERNAL, "grpc_bridge_content_length_wrong")
                return DATA_STOP_NO_BUFFER
        else:
            self._held.append(data)
            self._held_size += len(data)
            limit = self.manager.buffer_limit
            if limit and self._held_size > limit:
                self.manager.on_response_too_large()
                return DATA_STOP_NO_BUFFER
            if not end_stream:
                return DATA_STOP_NO_BUFFER
            data = frame(b"".join(self._held))
        self.manager.inject_encoded_data(self, data, False)
        if end_stream:
            trailers = self.manager.add_encoded_trailers()
            self._set_status(trailers)
            self.manager.run_encode_trailers(self.encode_index + 1, trailers)
        return DATA_STOP_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if not self.bridging:
            return TRAILERS_CONTINUE
        self._set_status(trailers)
        if self.settings.withhold_frames and not self.settings.size_header:
            self.manager.inject_encoded_data(self, frame(b"".join(self._held)), False)
        return TRAILERS_CONTINUE

    def _set_status(self, trailers: HeaderMap) -> None:
        trailers.set(GRPC_STATUS, b"%d" % self.status)

    def _refuse(self, text: str, status: int, details: str) -> None:
        # The first of these while decoding passes `encode_headers`, as in Envoy, whose answer it gets.
        self.manager.send_local_reply_full(200, text, None, status, details)


def _adjust_length(headers: HeaderMap, by: int) -> None:
    value = headers.get(CONTENT_LENGTH)
    if value is not None and value.isdigit() and len(value) <= _MAX_DIGITS and int(value) != 0:
        headers.set(CONTENT_LENGTH, b"%d" % max(int(value) + by, 0))


class ReverseBridgeFactory(HttpFilterFactory):
    def __init__(self, settings: ReverseBridgeSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return ReverseBridgeFilter(self.settings)


@HTTP_FILTERS.register(
    "envoy.filters.http.grpc_http1_reverse_bridge",
    "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return ReverseBridgeFactory(ReverseBridgeSettings(config))


@route_config("envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfigPerRoute")
def create_for_route(config: View, context: FactoryContext) -> object:
    return ReverseBridgeRoute(config.flag("disabled"))
