"""envoy.filters.http.compressor: compresses responses, and requests if asked to.

Source: Envoy documentation, "Compressor".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.field_values import has_token
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    ACCEPT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
    UPGRADE,
    VARY,
)
from outrider.extensions.compression.library import COMPRESSORS, Compressor, CompressorLibrary
from outrider.extensions.filters.http.accept_encoding import (
    BY_IDENTITY,
    BY_NAME,
    BY_WILDCARD,
    OfferedCoding,
    OfferedCodings,
)
from outrider.extensions.filters.network.runtime_switch import RuntimeSwitch, runtime_switch
from outrider.http.filter import DATA_CONTINUE, DATA_STOP_NO_BUFFER, HEADERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter import TRAILERS_CONTINUE as _TRAILERS_CONTINUE
from outrider.http.filter_registry import HTTP_FILTERS, route_config

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

_STATE_KEY: Final = "envoy.filters.http.compressor.codings"
_CONTENT_ENCODING: Final = b"content-encoding"
_CACHE_CONTROL: Final = b"cache-control"
_ETAG: Final = b"etag"
_DEFAULT_TYPES: Final = frozenset((
    b"application/javascript", b"application/json", b"application/xhtml+xml", b"image/svg+xml", b"text/css",
    b"text/html", b"text/plain", b"text/xml",
))  # fmt: skip
_CODINGS: Final = (b"gzip", b"deflate", b"br", b"zstd", b"compress")


class DirectionStats:
    __slots__ = ("compressed", "not_compressed", "uncompressed_bytes", "compressed_bytes", "too_small")

    def __init__(self, scope: Scope) -> None:
        self.compressed = scope.counter("compressed")
        self.not_compressed = scope.counter("not_compressed")
        self.uncompressed_bytes = scope.counter("total_uncompressed_bytes")
        self.compressed_bytes = scope.counter("total_compressed_bytes")
        self.too_small = scope.counter("content_length_too_small")


class ResponseStats:
    __slots__ = ("no_accept", "identity", "used", "overshadowed", "wildcard", "not_valid", "etag")

    def __init__(self, scope: Scope) -> None:
        self.no_accept = scope.counter("no_accept_header")
        self.identity = scope.counter("header_identity")
        self.used = scope.counter("header_compressor_used")
        self.overshadowed = scope.counter("header_compressor_overshadowed")
        self.wildcard = scope.counter("header_wildcard")
        self.not_valid = scope.counter("header_not_valid")
        self.etag = scope.counter("not_compressed_etag")


class Direction:
    """CommonDirectionConfig of requests or of responses."""

    __slots__ = ("enabled", "min_length", "types", "stats")

    def __init__(self, enabled: RuntimeSwitch, min_length: int, types: frozenset[bytes], stats: DirectionStats) -> None:
        self.enabled = enabled
        self.min_length = min_length
        self.types = types
        self.stats = stats

    def long_enough(self, headers: HeaderMap) -> bool:
        value = headers.get(CONTENT_LENGTH)
        if value is None or not value.isdigit():
            return True
        if int(value) >= self.min_length:
            return True
        self.stats.too_small.inc()
        return False

    def allows_type(self, headers: HeaderMap) -> bool:
        value = headers.get(CONTENT_TYPE)
        if value is None or not self.types:
            return True
        return value.partition(b";")[0].strip().lower() in self.types


class CompressorSettings:
    __slots__ = (
        "library", "request", "response", "response_stats", "disable_on_etag", "weaken_etag", "remove_accept_encoding",
        "codes", "choose_first", "offer",
    )  # fmt: skip

    def __init__(
        self, library: CompressorLibrary, request: Direction, response: Direction, response_stats: ResponseStats
    ) -> None:
        self.library = library
        self.request = request
        self.response = response
        self.response_stats = response_stats
        self.disable_on_etag: bool = False
        self.weaken_etag: bool = False
        self.remove_accept_encoding: bool = False
        # Responses with these codes are left alone.
        self.codes: frozenset[int] = frozenset()
        self.choose_first: bool = False
        self.offer: OfferedCoding = OfferedCoding(b"", frozenset(), False)


class CompressorOverrides:
    """Of a route. `remove_accept_encoding` -1: as the filter has it."""

    __slots__ = ("disabled", "remove_accept_encoding", "library")

    def __init__(self, disabled: bool, remove_accept_encoding: int, library: CompressorLibrary | None) -> None:
        self.disabled = disabled
        self.remove_accept_encoding = remove_accept_encoding
        self.library = library


class CompressorFilter(HttpFilter):
    _accepted: bytes | None = None
    _override: CompressorOverrides | None = None
    _request: Compressor | None = None
    _response: Compressor | None = None

    def __init__(self, settings: CompressorSettings) -> None:
        self.settings = settings

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        manager = self.manager
        route = manager.route()
        if route is not None:
            found = route.per_filter_config(self.config_name)
            if isinstance(found, CompressorOverrides):
                self._override = found
        self._accepted = headers.get_joined(ACCEPT_ENCODING)
        enabled = self._response_enabled()
        if enabled:
            self._codings().offers.append(settings.offer)
            remove = settings.remove_accept_encoding
            if self._override is not None and self._override.remove_accept_encoding >= 0:
                remove = self._override.remove_accept_encoding == 1
            if remove:
                headers.remove(ACCEPT_ENCODING)
        direction = settings.request
        if (
            direction.enabled.on()
            and not end_stream
            and UPGRADE not in headers.single
            and headers.method != b"CONNECT"
            and direction.long_enough(headers)
            and direction.allows_type(headers)
            and headers.get(_CONTENT_ENCODING) is None
            and _may_transfer(headers)
        ):
            headers.remove(CONTENT_LENGTH)
            headers.set(_CONTENT_ENCODING, self._library().encoding)
            direction.stats.compressed.inc()
            self._request = self._library().create()
        else:
            direction.stats.not_compressed.inc()
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        compressor = self._request
        direction = self.settings.request
        if compressor is None:
            return DATA_CONTINUE
        made = compressor.compress(data, end_stream)
        direction.stats.uncompressed_bytes.add(len(data))
        direction.stats.compressed_bytes.add(len(made))
        self.manager.inject_decoded_data(self, made, end_stream)
        return DATA_STOP_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self._request is not None:
            made = self._request.compress(b"", True)
            self.settings.request.stats.compressed_bytes.add(len(made))
            self.manager.inject_decoded_data(self, made, False)
        return _TRAILERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        stats = settings.response.stats
        if not self._response_enabled():
            stats.not_compressed.inc()
            return HEADERS_CONTINUE
        big_enough = settings.response.long_enough(headers)
        compressible = (
            big_enough
            and headers.status != 101
            and UPGRADE not in headers.single
            and settings.response.allows_type(headers)
            and not has_token(headers.get_joined(_CACHE_CONTROL), b"no-transform")
            and self._etag_allows(headers)
            and headers.get(_CONTENT_ENCODING) is None
            and headers.status not in settings.codes
        )
        if not end_stream and big_enough and self._accepts(headers) and compressible and _may_transfer(headers):
            self._edit_etag(headers)
            headers.remove(CONTENT_LENGTH)
            headers.set(_CONTENT_ENCODING, self._library().encoding)
            stats.compressed.inc()
            self._response = self._library().create()
        else:
            stats.not_compressed.inc()
        if compressible:
            # Also where this client gets the plain form: a cache must know that there is another one.
            _add_vary(headers)
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        compressor = self._response
        if compressor is None:
            return DATA_CONTINUE
        made = compressor.compress(data, end_stream)
        stats = self.settings.response.stats
        stats.uncompressed_bytes.add(len(data))
        stats.compressed_bytes.add(len(made))
        self.manager.inject_encoded_data(self, made, end_stream)
        return DATA_STOP_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self._response is not None:
            made = self._response.compress(b"", True)
            self.settings.response.stats.compressed_bytes.add(len(made))
            self.manager.inject_encoded_data(self, made, False)
        return _TRAILERS_CONTINUE

    def _library(self) -> CompressorLibrary:
        if self._override is not None and self._override.library is not None:
            return self._override.library
        return self.settings.library

    def _response_enabled(self) -> bool:
        if self._override is not None:
            return not self._override.disabled
        return self.settings.response.enabled.on()

    def _codings(self) -> OfferedCodings:
        info = self.manager.stream_info
        if info.filter_state is None:
            info.filter_state = {}
        codings = info.filter_state.get(_STATE_KEY)
        if not isinstance(codings, OfferedCodings):
            codings = OfferedCodings()
            info.filter_state[_STATE_KEY] = codings
        return codings

    def _accepts(self, headers: ResponseHeaderMap) -> bool:
        """Whether this filter's coding is the one that the client gets."""
        stats = self.settings.response_stats
        accepted = self._accepted
        if accepted is None:
            stats.no_accept.inc()
            return False
        coding, reason = self._codings().choose(accepted, headers.get(CONTENT_TYPE), self.settings.choose_first)
        ours = coding == self.settings.library.encoding
        if reason == BY_NAME:
            if ours:
                stats.used.inc()
            else:
                stats.overshadowed.inc()
        elif reason == BY_WILDCARD:
            stats.wildcard.inc()
        elif reason == BY_IDENTITY:
            stats.identity.inc()
        else:
            stats.not_valid.inc()
        return ours

    def _etag_allows(self, headers: ResponseHeaderMap) -> bool:
        if self.settings.disable_on_etag and headers.get(_ETAG) is not None:
            self.settings.response_stats.etag.inc()
            return False
        return True

    def _edit_etag(self, headers: ResponseHeaderMap) -> None:
        """A strong validator does not hold for the compressed form (RFC 9110 section 8.8.1)."""
        value = headers.get(_ETAG)
        if value is None or value[:2] in (b"W/", b"w/"):
            return
        if self.settings.weaken_etag:
            headers.set(_ETAG, b"W/" + value)
        else:
            headers.remove(_ETAG)


def _may_transfer(headers: HeaderMap) -> bool:
    value = headers.get_joined(TRANSFER_ENCODING)
    if value is None:
        return True
    return not any(token.strip() in _CODINGS for token in value.lower().split(b","))


def _add_vary(headers: ResponseHeaderMap) -> None:
    value = headers.get_joined(VARY)
    if not value:
        headers.set(VARY, b"Accept-Encoding")
    elif not has_token(headers.get_joined(VARY), b"accept-encoding"):
        headers.set(VARY, value + b", Accept-Encoding")


class CompressorFactory(HttpFilterFactory):
    def __init__(self, settings: CompressorSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return CompressorFilter(self.settings)


def _types(values: list[str]) -> frozenset[bytes]:
    return frozenset(value.lower().encode() for value in values) if values else _DEFAULT_TYPES


def _direction(view: View | None, default_on: bool, scope: Scope, context: FactoryContext) -> Direction:
    if view is None:
        switch = RuntimeSwitch(context.runtime, "", default_on)
        return Direction(switch, 30, _DEFAULT_TYPES, DirectionStats(scope))
    if view.has("enabled") or default_on:
        switch = runtime_switch(view, "enabled", context.runtime)
    else:
        switch = RuntimeSwitch(context.runtime, "", default_on)
    length = view.integer("min_content_length", 30)
    return Direction(switch, length, _types(view.texts("content_type")), DirectionStats(scope))


@HTTP_FILTERS.register("envoy.filters.http.compressor", "envoy.extensions.filters.http.compressor.v3.Compressor")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    named = config.message("compressor_library")
    if named is None:
        raise config.error("value is required", "compressor_library")
    library = COMPRESSORS.create(named, context)
    scope = context.scope.scope(f"compressor.{named.text('name')}.{library.name}.")
    response = config.message("response_direction_config")
    response_scope = scope if response is None else scope.scope("response.")
    if response is None:
        # The deprecated fields of the filter itself.
        switch = runtime_switch(config, "runtime_enabled", context.runtime)
        length = config.integer("content_length", 30)
        direction = Direction(switch, length, _types(config.texts("content_type")), DirectionStats(response_scope))
    else:
        direction = _direction(response.message("common_config"), True, response_scope, context)
    source = config if response is None else response
    request = config.message("request_direction_config")
    common = None if request is None else request.message("common_config")
    requests = _direction(common, False, scope.scope("request."), context)
    settings = CompressorSettings(library, requests, direction, ResponseStats(scope))
    settings.disable_on_etag = source.flag("disable_on_etag_header")
    settings.remove_accept_encoding = source.flag("remove_accept_encoding_header")
    if response is not None:
        settings.weaken_etag = response.flag("weaken_etag_on_compress")
        settings.codes = frozenset(response.integers("uncompressible_response_codes"))
    settings.choose_first = config.flag("choose_first")
    settings.offer = OfferedCoding(library.encoding, direction.types, settings.choose_first)
    return CompressorFactory(settings)


@route_config("envoy.extensions.filters.http.compressor.v3.CompressorPerRoute")
def create_for_route(config: View, context: FactoryContext) -> object:
    if config.which("override") == "disabled":
        config.flag("disabled")
        return CompressorOverrides(True, -1, None)
    overrides = config.message("overrides")
    if overrides is None:
        raise config.error("override is required: disabled or overrides")
    remove = -1
    response = overrides.message("response_direction_config")
    if response is not None and response.has("remove_accept_encoding_header"):
        remove = 1 if response.flag("remove_accept_encoding_header") else 0
    named = overrides.message("compressor_library")
    library = None
    if named is not None:
        named.text("name")
        library = COMPRESSORS.create(named, context)
    return CompressorOverrides(False, remove, library)
