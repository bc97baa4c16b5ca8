"""envoy.filters.http.decompressor: decompresses requests and responses.

Source: Envoy documentation, "Decompressor". A body that is no valid compressed data, or that would inflate beyond
measure, ends there: what could be decompressed is passed on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.field_values import has_token
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import ACCEPT_ENCODING, CONTENT_LENGTH
from outrider.extensions.compression.library import (
    DECOMPRESSORS,
    CompressionError,
    Decompressor,
    DecompressorLibrary,
)
from outrider.extensions.filters.network.runtime_switch import RuntimeSwitch, runtime_switch
from outrider.http.filter import DATA_CONTINUE, DATA_STOP_NO_BUFFER, HEADERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter import TRAILERS_CONTINUE as _TRAILERS_CONTINUE
from outrider.http.filter_registry import HTTP_FILTERS

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

_CONTENT_ENCODING: Final = b"content-encoding"
_CACHE_CONTROL: Final = b"cache-control"


class Direction:
    """CommonDirectionConfig of requests or of responses."""

    __slots__ = (
        "enabled", "ignore_no_transform", "decompressed", "not_decompressed", "uncompressed_bytes", "compressed_bytes",
    )  # fmt: skip

    def __init__(self, enabled: RuntimeSwitch, ignore_no_transform: bool, scope: Scope) -> None:
        self.enabled = enabled
        self.ignore_no_transform = ignore_no_transform
        self.decompressed = scope.counter("decompressed")
        self.not_decompressed = scope.counter("not_decompressed")
        self.uncompressed_bytes = scope.counter("total_uncompressed_bytes")
        self.compressed_bytes = scope.counter("total_compressed_bytes")


class DecompressorSettings:
    __slots__ = ("library", "request", "response", "advertise", "compressed_trailer", "uncompressed_trailer", "errors")

    def __init__(
        self, library: DecompressorLibrary, name: str, request: Direction, response: Direction, scope: Scope
    ) -> None:
        self.library = library
        self.request = request
        self.response = response
        self.advertise: bool = True
        prefix = f"x-envoy-decompressor-{name}-".lower()
        self.compressed_trailer: bytes = f"{prefix}compressed-bytes".encode()
        self.uncompressed_trailer: bytes = f"{prefix}uncompressed-bytes".encode()
        self.errors = scope.counter("zlib_data_error") if library.name == "gzip" else scope.counter("data_error")


class Inflating:
    """One body that is being decompressed."""

    __slots__ = ("engine", "broken", "compressed", "uncompressed")

    def __init__(self, engine: Decompressor) -> None:
        self.engine = engine
        self.broken: bool = False
        self.compressed: int = 0
        self.uncompressed: int = 0


class DecompressorFilter(HttpFilter):
    _request: Inflating | None = None
    _response: Inflating | None = None

    def __init__(self, settings: DecompressorSettings) -> None:
        self.settings = settings

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        if settings.advertise and settings.response.enabled.on():
            headers.append(ACCEPT_ENCODING, settings.library.encoding)
        self._request = self._begin(settings.request, headers, end_stream)
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        body = self._request
        if body is None:
            return DATA_CONTINUE
        made = self._inflate(body, data, self.settings.request)
        if end_stream:
            self._report(body, self.manager.add_decoded_trailers())
        self.manager.inject_decoded_data(self, made, False)
        if end_stream:
            trailers = self.manager.request_trailers
            if trailers is not None:
                self.manager.run_decode_trailers(self.decode_index + 1, trailers)
        return DATA_STOP_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self._request is not None:
            self._report(self._request, trailers)
        return _TRAILERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        self._response = self._begin(self.settings.response, headers, end_stream)
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        body = self._response
        if body is None:
            return DATA_CONTINUE
        made = self._inflate(body, data, self.settings.response)
        self.manager.inject_encoded_data(self, made, end_stream)
        return DATA_STOP_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self._response is not None:
            self._report(self._response, trailers)
        return _TRAILERS_CONTINUE

    def _begin(self, direction: Direction, headers: HeaderMap, end_stream: bool) -> Inflating | None:
        if end_stream:
            return None
        value = headers.get_joined(_CONTENT_ENCODING)
        if (
            value is None
            or not direction.enabled.on()
            or (not direction.ignore_no_transform and has_token(headers.get_joined(_CACHE_CONTROL), b"no-transform"))
        ):
            direction.not_decompressed.inc()
            return None
        first, _, rest = value.partition(b",")
        if first.strip().lower() != self.settings.library.encoding:
            direction.not_decompressed.inc()
            return None
        direction.decompressed.inc()
        headers.remove(CONTENT_LENGTH)
        if rest.strip():
            headers.set(_CONTENT_ENCODING, rest.strip())
        else:
            headers.remove(_CONTENT_ENCODING)
        return Inflating(self.settings.library.create())

    def _inflate(self, body: Inflating, data: bytes, direction: Direction) -> bytes:
        made = b""
        if not body.broken and data:
            try:
                made = body.engine.decompress(data)
            except CompressionError:
                body.broken = True
                self.settings.errors.inc()
        body.compressed += len(data)
        body.uncompressed += len(made)
        direction.compressed_bytes.add(len(data))
        direction.uncompressed_bytes.add(len(made))
        return made

    def _report(self, body: Inflating, trailers: HeaderMap) -> None:
        trailers.set(self.settings.compressed_trailer, b"%d" % body.compressed)
        trailers.set(self.settings.uncompressed_trailer, b"%d" % body.uncompressed)


class DecompressorFactory(HttpFilterFactory):
    def __init__(self, settings: DecompressorSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return DecompressorFilter(self.settings)


def _direction(view: View | None, scope: Scope, context: FactoryContext) -> Direction:
    common = None if view is None else view.message("common_config")
    if common is None:
        return Direction(RuntimeSwitch(context.runtime, "", True), False, scope)
    switch = runtime_switch(common, "enabled", context.runtime)
    return Direction(switch, common.flag("ignore_no_transform_header"), scope)


@HTTP_FILTERS.register("envoy.filters.http.decompressor", "envoy.extensions.filters.http.decompressor.v3.Decompressor")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    named = config.message("decompressor_library")
    if named is None:
        raise config.error("value is required", "decompressor_library")
    library = DECOMPRESSORS.create(named, context)
    name = named.text("name")
    scope = context.scope.scope(f"decompressor.{name}.{library.name}.")
    request = config.message("request_direction_config")
    settings = DecompressorSettings(
        library,
        name,
        _direction(request, scope.scope("request."), context),
        _direction(config.message("response_direction_config"), scope.scope("response."), context),
        scope.scope("decompressor_library."),
    )
    if request is not None:
        settings.advertise = request.flag("advertise_accept_encoding", True)
    return DecompressorFactory(settings)
