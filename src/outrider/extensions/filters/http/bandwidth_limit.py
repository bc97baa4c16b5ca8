"""envoy.filters.http.bandwidth_limit: bodies pass at a limited rate.

Source: Envoy documentation, "Bandwidth limit". One limit holds for all streams of a worker under the same
configuration and direction, as Envoy's does for a worker thread.
"""

from __future__ import annotations

from random import getrandbits
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.stream_rate_limiter import DEFAULT_INTERVAL_MS, RateLimitedWriter, SliceBucket, StreamRateLimiter
from outrider.stats.metrics import UNIT_MILLISECONDS

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter, Gauge, Histogram
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit"
_MODES: Final = {"DISABLED": 0, "REQUEST": 1, "RESPONSE": 2, "REQUEST_AND_RESPONSE": 3}
_REQUEST: Final = 1
_RESPONSE: Final = 2
_NANOS_PER_MS: Final = 1_000_000


class DirectionStats:
    """`<stat_prefix>.http_bandwidth_limit.request_*` and `response_*`."""

    __slots__ = ("enabled", "enforced", "pending", "incoming_size", "incoming_total", "allowed_size", "allowed_total",
                 "transfer")  # fmt: skip

    def __init__(self, scope: Scope, word: str) -> None:
        self.enabled: Counter = scope.counter(f"{word}_enabled")
        self.enforced: Counter = scope.counter(f"{word}_enforced")
        self.pending: Gauge = scope.gauge(f"{word}_pending")
        self.incoming_size: Gauge = scope.gauge(f"{word}_incoming_size")
        self.incoming_total: Counter = scope.counter(f"{word}_incoming_total_size")
        self.allowed_size: Gauge = scope.gauge(f"{word}_allowed_size")
        self.allowed_total: Counter = scope.counter(f"{word}_allowed_total_size")
        self.transfer: Histogram = scope.histogram(f"{word}_transfer_duration", UNIT_MILLISECONDS)


class BandwidthSettings:
    """Raises ConfigError."""

    def __init__(self, config: View, context: FactoryContext, per_route: bool) -> None:
        self.mode = _MODES[config.enum("enable_mode")]
        self.kbps = config.integer("limit_kbps")
        if per_route and not config.has("limit_kbps"):
            raise config.error("limit must be set for per route filter config")
        if self.mode and not self.kbps:
            raise config.error("limit must be set", "limit_kbps")
        interval = config.millis("fill_interval")
        self.interval_ms = DEFAULT_INTERVAL_MS if interval is None else interval
        if not 20 <= self.interval_ms <= 1000:
            raise config.error("value must be inside range [20ms, 1s]", "fill_interval")
        enabled = config.message("runtime_enabled")
        self.runtime: Runtime = context.runtime
        self.runtime_key = "" if enabled is None else enabled.text("runtime_key")
        self.runtime_default = True if enabled is None else enabled.flag("default_value", True)
        self.trailers = config.flag("enable_response_trailers")
        prefix = config.text("response_trailer_prefix")
        lead = f"{prefix}-" if prefix else ""
        self.request_delay: bytes = f"{lead}bandwidth-request-delay-ms".lower().encode()
        self.response_delay: bytes = f"{lead}bandwidth-response-delay-ms".lower().encode()
        self.request_filter_delay: bytes = f"{lead}bandwidth-request-filter-delay-ms".lower().encode()
        self.response_filter_delay: bytes = f"{lead}bandwidth-response-filter-delay-ms".lower().encode()
        scope = context.root_scope.scope(f"{config.text('stat_prefix')}.http_bandwidth_limit.")
        self.request_stats = DirectionStats(scope, "request")
        self.response_stats = DirectionStats(scope, "response")
        slices = max(1000 // self.interval_ms, 1)
        self.bucket = SliceBucket(slices, float(slices), monotonic())

    def enabled(self) -> bool:
        if not self.runtime_key or not self.runtime.has(self.runtime_key):
            return self.runtime_default
        return self.runtime.feature_enabled(self.runtime_key, 100 if self.runtime_default else 0, getrandbits(63))


class _Direction(RateLimitedWriter):
    """The writer of one direction's limiter."""

    def __init__(self, owner: BandwidthFilter, encoding: bool, settings: BandwidthSettings) -> None:
        self.filter = owner
        self.encoding = encoding
        self.stats = settings.response_stats if encoding else settings.request_stats
        manager = owner.manager
        self.limiter = StreamRateLimiter(
            self, manager.dispatcher, settings.kbps, manager.buffer_limit, settings.interval_ms, settings.bucket
        )
        self.started_ns = 0
        # Milliseconds between the first byte in and the last byte out, and how many of them were waited here.
        self.took_ms = 0
        self.held_trailers = False
        self.over = False

    def take(self, data: bytes, end_stream: bool) -> None:
        stats = self.stats
        if not self.started_ns:
            self.started_ns = monotonic_ns()
            stats.pending.inc()
        stats.incoming_size.set(len(data))
        stats.incoming_total.add(len(data))
        self.limiter.write(data, end_stream)
        if self.limiter.buffered > self.limiter.slice_bytes:
            stats.enforced.inc()

    def _finish(self) -> None:
        if self.over or not self.started_ns:
            return
        self.over = True
        self.took_ms = (monotonic_ns() - self.started_ns) // _NANOS_PER_MS
        self.stats.pending.dec()
        self.stats.transfer.record(self.took_ms)

    def write_limited(self, data: bytes, end_stream: bool) -> None:
        stats = self.stats
        stats.allowed_size.set(len(data))
        stats.allowed_total.add(len(data))
        manager = self.filter.manager
        if end_stream:
            self._finish()
        if self.encoding:
            if end_stream and self.filter.settings_used.trailers:
                trailers = manager.add_encoded_trailers()
                self.filter.tell_delays(trailers)
                manager.inject_encoded_data(self.filter, data, False)
                manager.run_encode_trailers(self.filter.encode_index + 1, trailers)
                return
            manager.inject_encoded_data(self.filter, data, end_stream)
        else:
            manager.inject_decoded_data(self.filter, data, end_stream)

    def release_trailers(self) -> None:
        self._finish()
        if self.encoding:
            trailers = self.filter.manager.response_trailers
            if trailers is not None and self.filter.settings_used.trailers:
                self.filter.tell_delays(trailers)
            self.filter.continue_encoding()
        else:
            self.filter.continue_decoding()

    def pause_limited(self) -> None:
        manager = self.filter.manager
        if self.encoding:
            manager.on_encoder_filter_above_write_buffer_high_watermark()
        else:
            manager.on_decoder_filter_above_write_buffer_high_watermark()

    def resume_limited(self) -> None:
        manager = self.filter.manager
        if self.encoding:
            manager.on_encoder_filter_below_write_buffer_low_watermark()
        else:
            manager.on_decoder_filter_below_write_buffer_low_watermark()

    def destroy(self) -> None:
        if self.started_ns and not self.over:
            self.over = True
            self.stats.pending.dec()
        self.limiter.destroy()


class BandwidthFilter(HttpFilter):
    request: _Direction | None = None
    response: _Direction | None = None

    def __init__(self, settings: BandwidthSettings) -> None:
        self.settings = settings
        self.settings_used = settings

    def _resolve(self) -> BandwidthSettings:
        route = self.manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        self.settings_used = special if isinstance(special, BandwidthSettings) else self.settings
        return self.settings_used

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self._resolve()
        if settings.mode & _REQUEST and settings.enabled():
            settings.request_stats.enabled.inc()
            self.request = _Direction(self, False, settings)
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if self.request is None:
            return DATA_CONTINUE
        self.request.take(data, end_stream)
        return DATA_STOP_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> int:
        held = self.request is not None and self.request.limiter.hold_trailers()
        return TRAILERS_STOP if held else TRAILERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        settings = self.settings_used
        if settings.mode & _RESPONSE and settings.enabled():
            settings.response_stats.enabled.inc()
            self.response = _Direction(self, True, settings)
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if self.response is None:
            return DATA_CONTINUE
        self.response.take(data, end_stream)
        return DATA_STOP_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self.response is None:
            return TRAILERS_CONTINUE
        if self.response.limiter.hold_trailers():
            return TRAILERS_STOP
        if self.settings_used.trailers:
            self.tell_delays(trailers)
        return TRAILERS_CONTINUE

    def tell_delays(self, trailers: HeaderMap) -> None:
        """`enable_response_trailers`: delays in milliseconds, where there was one."""
        settings = self.settings_used
        for direction, total, waited in (
            (self.request, settings.request_delay, settings.request_filter_delay),
            (self.response, settings.response_delay, settings.response_filter_delay),
        ):
            if direction is not None and direction.took_ms > 0:
                text = b"%d" % direction.took_ms
                trailers.set(total, text)
                trailers.set(waited, text)

    def on_destroy(self) -> None:
        for direction in (self.request, self.response):
            if direction is not None:
                direction.destroy()
        self.request = None
        self.response = None


class BandwidthFactory(HttpFilterFactory):
    def __init__(self, settings: BandwidthSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return BandwidthFilter(self.settings)


@HTTP_FILTERS.register("envoy.filters.http.bandwidth_limit", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return BandwidthFactory(BandwidthSettings(config, context, False))


@route_config(TYPE)
def create_for_route(config: View, context: FactoryContext) -> BandwidthSettings:
    """Raises ConfigError."""
    return BandwidthSettings(config, context, True)
