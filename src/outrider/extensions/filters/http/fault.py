"""envoy.filters.http.fault: delays requests, answers them with errors, slows responses down.

Source: Envoy documentation, "Fault Injection". The limit of active faults counts those of all workers.
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.config.runtime import Runtime
from outrider.data import response_flag
from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER, X_ENVOY_DOWNSTREAM_SERVICE_NODE
from outrider.data.shared_limit import SharedGauge
from outrider.event.timer import Timer
from outrider.extensions.filters.http.fault_settings import FaultSettings, parse_fault
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ALL_AND_WATERMARK,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.stream_rate_limiter import RateLimitedWriter, StreamRateLimiter
from outrider.router.config.route_entry import RouteEntry

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

_TIMER_DELAY: Final = 0
_CLUSTER_STATS_LIMIT: Final = 1000
"""Names of downstream clusters come from a header: that many get counters of their own."""


class FaultStats:
    __slots__ = ("scope", "aborts", "delays", "rates", "overflow", "active", "by_cluster", "shared")

    def __init__(self, scope: Scope, shared: SharedGauge) -> None:
        self.scope = scope
        self.aborts = scope.counter("aborts_injected")
        self.delays = scope.counter("delays_injected")
        self.rates = scope.counter("response_rl_injected")
        self.overflow = scope.counter("faults_overflow")
        self.active = scope.gauge("active_faults")
        # Active faults of all workers.
        self.shared = shared
        self.by_cluster: set[str] = set()

    def count_for(self, cluster: str, what: str) -> None:
        if cluster not in self.by_cluster:
            if len(self.by_cluster) >= _CLUSTER_STATS_LIMIT:
                return
            self.by_cluster.add(cluster)
        self.scope.counter(f"{cluster}.{what}").inc()


class FaultFilter(HttpFilter):
    _cluster: str = ""
    _active: bool = False
    _timer: Timer | None = None
    _limiter: StreamRateLimiter | None = None

    def __init__(self, settings: FaultSettings, stats: FaultStats, runtime: Runtime) -> None:
        self.settings = settings
        self.stats = stats
        self.runtime = runtime

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        manager = self.manager
        route = manager.route()
        if route is not None:
            by_route = route.per_filter_config(self.config_name)
            if isinstance(by_route, FaultSettings):
                self.settings = by_route
        settings = self.settings
        if settings.upstream_cluster and not (
            isinstance(route, RouteEntry) and route.cluster_name == settings.upstream_cluster
        ):
            return HEADERS_CONTINUE
        if settings.nodes and headers.get(X_ENVOY_DOWNSTREAM_SERVICE_NODE) not in settings.nodes:
            return HEADERS_CONTINUE
        for matcher in settings.matchers:
            if not matcher.matches(headers):
                return HEADERS_CONTINUE
        cluster = headers.get(X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER)
        if cluster is not None:
            self._cluster = cluster.decode("utf-8", "replace")
        self._limit_response(headers)
        delay = self._delay(headers)
        if delay > 0 and self._try_activate():
            stats = self.stats
            if self._cluster and settings.cluster_stats:
                stats.count_for(self._cluster, "delays_injected")
            stats.delays.inc()
            manager.stream_info.response_flags |= response_flag.DELAY_INJECTED
            self._set_metadata()
            self._timer = manager.dispatcher.timer(self, _TIMER_DELAY)
            self._timer.arm(delay)
            return HEADERS_STOP_ALL_AND_WATERMARK
        return HEADERS_STOP_ITERATION if self._abort(headers) else HEADERS_CONTINUE

    def on_timer(self, kind: int) -> None:
        self._timer = None
        headers = self.manager.request_headers
        if headers is not None and not self._abort(headers):
            self.continue_decoding()

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        limiter = self._limiter
        if limiter is None:
            return DATA_CONTINUE
        limiter.write(data, end_stream)
        return DATA_STOP_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        limiter = self._limiter
        return TRAILERS_STOP if limiter is not None and limiter.hold_trailers() else TRAILERS_CONTINUE

    def on_destroy(self) -> None:
        if self._timer is not None:
            self._timer.disarm()
            self._timer = None
        if self._limiter is not None:
            self._limiter.destroy()
            self._limiter = None
        if self._active:
            self._active = False
            self.stats.active.dec()
            self.stats.shared.dec()

    def _runtime_key(self, rest: str) -> str:
        """The key for the client's cluster; empty when it has not said which."""
        return f"fault.http.{self._cluster}.{rest}" if self._cluster else ""

    def _runtime_number(self, key: str, rest: str, default: int) -> int:
        number = self.runtime.get_integer(key, default)
        return self.runtime.get_integer(self._runtime_key(rest), number) if self._cluster else number

    def _try_activate(self) -> bool:
        """Count this stream's fault, once; False when there are too many already."""
        if self._active:
            return True
        stats = self.stats
        settings = self.settings
        if stats.shared.total() >= self.runtime.get_integer(settings.max_active_runtime, settings.max_active):
            stats.overflow.inc()
            return False
        stats.active.inc()
        stats.shared.inc()
        self._active = True
        return True

    def _limit_response(self, headers: RequestHeaderMap) -> None:
        settings = self.settings
        share = settings.rate_share
        if share is None or not share.includes(self.runtime, headers, getrandbits(64)):
            return
        rate = settings.rate_of(headers)
        if rate <= 0 or not self._try_activate():
            return
        self.stats.rates.inc()
        manager = self.manager
        self._limiter = StreamRateLimiter(_FaultWriter(self), manager.dispatcher, rate, manager.buffer_limit)

    def _delay(self, headers: RequestHeaderMap) -> int:
        """Milliseconds to wait; 0 or less: none."""
        settings = self.settings
        share = settings.delay_share
        if share is None:
            return 0
        key = self._runtime_key("delay.fixed_delay_percent")
        if not share.includes(self.runtime, headers, getrandbits(64), key):
            return 0
        delay = settings.delay_of(headers)
        if delay < 0:
            return 0
        return self._runtime_number(settings.delay_runtime, "delay.fixed_duration_ms", delay)

    def _abort(self, headers: RequestHeaderMap) -> bool:
        """Answer with an error; False when this request is spared."""
        settings = self.settings
        share = settings.abort_share
        if share is None:
            return False
        key = self._runtime_key("abort.abort_percent")
        if not share.includes(self.runtime, headers, getrandbits(64), key):
            return False
        grpc_status = -1
        code = settings.http_status_of(headers)
        if code >= 0:
            code = self._runtime_number(settings.abort_http_runtime, "abort.http_status", code)
        else:
            grpc_status = settings.grpc_status_of(headers)
            if grpc_status < 0:
                return False
            grpc_status = self._runtime_number(settings.abort_grpc_runtime, "abort.grpc_status", grpc_status)
            code = 200
        if not self._try_activate():
            return False
        stats = self.stats
        if self._cluster and settings.cluster_stats:
            stats.count_for(self._cluster, "aborts_injected")
        stats.aborts.inc()
        self.manager.stream_info.response_flags |= response_flag.FAULT_INJECTED
        self._set_metadata()
        self.manager.send_local_reply_full(code, settings.abort_body, None, grpc_status, "fault_filter_abort")
        return True

    def _set_metadata(self) -> None:
        if self.settings.metadata is not None:
            self.manager.stream_info.set_metadata(self.config_name, self.settings.metadata)


class _FaultWriter(RateLimitedWriter):
    """Where the slowed response goes."""

    __slots__ = ("fault",)

    def __init__(self, fault: FaultFilter) -> None:
        self.fault = fault

    def write_limited(self, data: bytes, end_stream: bool) -> None:
        self.fault.manager.inject_encoded_data(self.fault, data, end_stream)

    def release_trailers(self) -> None:
        self.fault.continue_encoding()

    def pause_limited(self) -> None:
        self.fault.manager.on_encoder_filter_above_write_buffer_high_watermark()

    def resume_limited(self) -> None:
        self.fault.manager.on_encoder_filter_below_write_buffer_low_watermark()


class FaultFactory(HttpFilterFactory):
    def __init__(self, settings: FaultSettings, stats: FaultStats, runtime: Runtime) -> None:
        self.settings = settings
        self.stats = stats
        self.runtime = runtime

    def create(self) -> HttpFilter:
        return FaultFilter(self.settings, self.stats, self.runtime)


@HTTP_FILTERS.register("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault", "envoy.fault")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    scope = context.scope.scope("fault.")
    arena = context.arena
    row = arena.row(f"{scope.prefix}active_faults") if arena is not None and arena.columns > 1 else 0
    shared = SharedGauge(arena, row, context.worker_index)
    return FaultFactory(parse_fault(config, context), FaultStats(scope, shared), context.runtime)


@route_config("envoy.extensions.filters.http.fault.v3.HTTPFault")
def create_for_route(config: View, context: FactoryContext) -> object:
    return parse_fault(config, context)
