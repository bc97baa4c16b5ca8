"""envoy.filters.http.health_check: answers health checks, or caches the answers of the service behind.

Source: Envoy documentation, "Health check". Cached answers are a worker's own; Envoy shares them between its threads.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data import response_flag
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import X_ENVOY_DEGRADED, X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.matching.header_matcher import HeaderMatcher, parse_header_matchers

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext, ServerInfo
    from outrider.stats.store import Scope
    from outrider.upstream.cluster_manager import ClusterManager

_OK: Final = 200
_UNAVAILABLE: Final = 503
_HEALTHCHECKED_CLUSTER: Final = b"x-envoy-upstream-healthchecked-cluster"


class HealthCheckCache:
    """The last answer of the service; valid until the current period of `period_ns` ends."""

    __slots__ = ("period_ns", "code", "degraded", "_start_ns", "_valid_in")

    def __init__(self, period_ns: int, now_ns: int) -> None:
        self.period_ns = period_ns
        self.code: int = _OK
        self.degraded: bool = False
        self._start_ns = now_ns
        self._valid_in: int = -1

    def valid(self, now_ns: int) -> bool:
        return (now_ns - self._start_ns) // self.period_ns == self._valid_in

    def store(self, code: int, degraded: bool, now_ns: int) -> None:
        self.code = code
        self.degraded = degraded
        self._valid_in = (now_ns - self._start_ns) // self.period_ns


class HealthCheckStats:
    """What was answered here; checks that the service answered are not counted."""

    __slots__ = (
        "requests", "ok", "failed", "cached", "cluster_not_found", "cluster_empty", "cluster_unhealthy", "degraded",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.requests = scope.counter("request_total")
        self.ok = scope.counter("ok")
        self.failed = scope.counter("failed")
        self.cached = scope.counter("cached_response")
        self.cluster_not_found = scope.counter("failed_cluster_not_found")
        self.cluster_empty = scope.counter("failed_cluster_empty")
        self.cluster_unhealthy = scope.counter("failed_cluster_unhealthy")
        self.degraded = scope.counter("degraded")


class HealthCheckSettings:
    __slots__ = ("pass_through", "matchers", "cache", "percentages", "clusters", "server", "stats")

    def __init__(
        self,
        pass_through: bool,
        matchers: list[HeaderMatcher],
        cache: HealthCheckCache | None,
        percentages: dict[str, float],
        clusters: ClusterManager,
        server: ServerInfo,
        stats: HealthCheckStats,
    ) -> None:
        self.pass_through = pass_through
        self.matchers = matchers
        self.cache = cache
        self.percentages = percentages
        self.clusters = clusters
        self.server = server
        self.stats = stats

    def is_health_check(self, headers: RequestHeaderMap) -> bool:
        for matcher in self.matchers:
            if not matcher.matches(headers):
                return False
        return True

    def clusters_status(self) -> tuple[int, str]:
        """Code and details, by the healthy share of each cluster."""
        for name, percentage in self.percentages.items():
            cluster = self.clusters.get(name)
            if cluster is None:
                self.stats.cluster_not_found.inc()
                return _UNAVAILABLE, "health_check_failed_no_cluster_found"
            total = 0
            available = 0
            for host_set in cluster.priorities.sets:
                total += len(host_set.hosts)
                available += len(host_set.healthy) + len(host_set.degraded)
            if total == 0:
                if percentage != 0.0:
                    self.stats.cluster_empty.inc()
                    return _UNAVAILABLE, "health_check_failed_cluster_empty"
            elif 100 * available < total * percentage:
                self.stats.cluster_unhealthy.inc()
                return _UNAVAILABLE, "health_check_failed_cluster_unhealthy"
        return _OK, "health_check_ok_cluster_healthy"


class HealthCheckFilter(HttpFilter):
    __slots__ = ("settings", "_is_check", "_handling")

    def __init__(self, settings: HealthCheckSettings) -> None:
        self.settings = settings
        self._is_check = False
        self._handling = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        if settings.is_health_check(headers):
            self._is_check = True
            self.manager.stream_info.health_check = True
            cache = settings.cache
            self._handling = (
                not settings.pass_through
                or settings.server.health_check_failed
                or (cache is not None and cache.valid(monotonic_ns()))
            )
        if not self._handling:
            return HEADERS_CONTINUE
        if end_stream:
            self._answer()
        return HEADERS_STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if not self._handling:
            return DATA_CONTINUE
        if end_stream:
            self._answer()
        return DATA_STOP_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if not self._handling:
            return TRAILERS_CONTINUE
        self._answer()
        return TRAILERS_STOP

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        if self._is_check:
            cache = settings.cache
            if cache is not None:
                cache.store(headers.status, headers.get(X_ENVOY_DEGRADED) is not None, monotonic_ns())
            headers.set(_HEALTHCHECKED_CLUSTER, settings.server.node_cluster.encode())
        elif settings.server.health_check_failed:
            headers.set(X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL, b"true")
        return HEADERS_CONTINUE

    def _answer(self) -> None:
        settings = self.settings
        stats = settings.stats
        stats.requests.inc()
        code = _OK
        details = "health_check_ok"
        modifier: LocalReplyModifier | None = None
        if settings.server.health_check_failed:
            code = _UNAVAILABLE
            details = "health_check_failed"
        elif settings.cache is not None:
            stats.cached.inc()
            code = settings.cache.code
            details = "health_check_cached"
            if settings.cache.degraded:
                stats.degraded.inc()
                modifier = _DEGRADED_REPLY
        elif settings.percentages:
            code, details = settings.clusters_status()
        if code == _OK:
            stats.ok.inc()
        else:
            stats.failed.inc()
            self.manager.stream_info.response_flags |= response_flag.FAILED_LOCAL_HEALTH_CHECK
        self.manager.send_local_reply_full(code, "", modifier, -1, details)


class _DegradedReply(LocalReplyModifier):
    def modify(self, headers: ResponseHeaderMap) -> None:
        headers.set(X_ENVOY_DEGRADED, b"")


_DEGRADED_REPLY: Final = _DegradedReply()


class HealthCheckFactory(HttpFilterFactory):
    def __init__(self, settings: HealthCheckSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return HealthCheckFilter(self.settings)


@HTTP_FILTERS.register(
    "envoy.filters.http.health_check", "envoy.extensions.filters.http.health_check.v3.HealthCheck", "envoy.health_check"
)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    pass_through = config.flag("pass_through_mode")
    cache_ms = config.millis("cache_time") or 0
    percentages = {
        name: each.number("value") for name, each in config.message_map("cluster_min_healthy_percentages").items()
    }
    if not pass_through and cache_ms:
        raise config.error("cache_time_ms must not be set when pass_through_mode is disabled", "cache_time")
    if pass_through and percentages:
        raise config.error(
            "cluster_min_healthy_percentages must not be set when pass_through_mode is enabled",
            "cluster_min_healthy_percentages",
        )
    cache = HealthCheckCache(cache_ms * 1_000_000, monotonic_ns()) if cache_ms else None
    matchers = parse_header_matchers(config.messages("headers"), context)
    stats = HealthCheckStats(context.scope.scope("health_check."))
    return HealthCheckFactory(
        HealthCheckSettings(pass_through, matchers, cache, percentages, context.cluster_manager, context.server, stats)
    )
