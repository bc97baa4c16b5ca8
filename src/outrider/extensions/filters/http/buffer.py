"""envoy.filters.http.buffer: holds a request until its body is complete, and gives it a content-length.

Source: Envoy documentation, "Buffer".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import CONTENT_LENGTH
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_BUFFER,
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


class BufferSettings:
    """`max_bytes` of body, 0 when switched off for the route."""

    __slots__ = ("max_bytes",)

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes


class BufferFilter(HttpFilter):
    """Stops until the end of the request; a body that is too long is answered 413 by the filter manager."""

    __slots__ = ("settings", "_received", "_buffering")

    def __init__(self, settings: BufferSettings) -> None:
        self.settings = settings
        self._received = 0
        self._buffering = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        if end_stream:
            return HEADERS_CONTINUE
        settings = self.settings
        route = self.manager.route()
        if route is not None:
            by_route = route.per_filter_config(self.config_name)
            if isinstance(by_route, BufferSettings):
                settings = by_route
        if settings.max_bytes == 0:
            return HEADERS_CONTINUE
        self._buffering = True
        self.manager.set_decoder_buffer_limit(settings.max_bytes)
        return HEADERS_STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        self._received += len(data)
        if not self._buffering:
            return DATA_CONTINUE
        if not end_stream:
            return DATA_STOP_AND_BUFFER
        self._add_content_length()
        return DATA_CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self._buffering:
            self._add_content_length()
        return TRAILERS_CONTINUE

    def _add_content_length(self) -> None:
        headers = self.manager.request_headers
        if headers is not None and CONTENT_LENGTH not in headers.single:
            headers.set(CONTENT_LENGTH, b"%d" % self._received)


class BufferFactory(HttpFilterFactory):
    def __init__(self, settings: BufferSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return BufferFilter(self.settings)


@HTTP_FILTERS.register("envoy.filters.http.buffer", "envoy.extensions.filters.http.buffer.v3.Buffer", "envoy.buffer")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return BufferFactory(BufferSettings(config.integer("max_request_bytes")))


@route_config("envoy.extensions.filters.http.buffer.v3.BufferPerRoute")
def create_for_route(config: View, context: FactoryContext) -> object:
    if config.which("override") == "disabled":
        config.flag("disabled")
        return BufferSettings(0)
    settings = config.message("buffer")
    if settings is None:
        raise config.error("override is required: disabled or buffer")
    return BufferSettings(settings.integer("max_request_bytes"))
