"""envoy.filters.http.local_ratelimit: token buckets for requests, by descriptor and for the rest.

Source: Envoy documentation, "Local rate limit". The buckets of a configuration are shared by all workers (see
`data.token_bucket`), except those made for single values of a wildcard descriptor and those of single connections.
"""

from __future__ import annotations

from collections import OrderedDict
from random import getrandbits
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.data import response_flag
from outrider.data.filter_state import FilterStateObject
from outrider.data.grpc_status import RESOURCE_EXHAUSTED
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import RETRY_AFTER
from outrider.data.shared_limit import SharedArena
from outrider.data.token_bucket import TokenBucket
from outrider.http.filter import (
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.header_mutation import HeaderParser
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.router.config.route import Route
from outrider.router.config.route_entry import RouteEntry
from outrider.router.rate_limit_actions import (
    Descriptor,
    Entry,
    RateLimitPolicy,
    RateLimitRequest,
    descriptors_of,
    parse_policies,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

_TYPE: Final = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_LIMIT: Final = b"x-ratelimit-limit"
_REMAINING: Final = b"x-ratelimit-remaining"
_RESET: Final = b"x-ratelimit-reset"
_MIN_INTERVAL_MS: Final = 50
_DETAILS: Final = "local_rate_limited"
_DYNAMIC_DESCRIPTORS: Final = 20

# What a limiter says of a request. SHADOWED: it would be limited, by a descriptor that only observes.
ALLOWED: Final = 0
LIMITED: Final = 1
SHADOWED: Final = 2


class BucketSettings:
    """A TokenBucket message, from which buckets are made."""

    __slots__ = ("max_tokens", "tokens_per_fill", "interval_ns")

    def __init__(self, max_tokens: int, tokens_per_fill: int, interval_ns: int) -> None:
        self.max_tokens = max_tokens
        self.tokens_per_fill = tokens_per_fill
        self.interval_ns = interval_ns

    def make(self, arena: SharedArena | None, name: str) -> TokenBucket:
        return TokenBucket(self.max_tokens, self.tokens_per_fill, self.interval_ns, arena, name)


class LimitDescriptor:
    """A configured descriptor; an entry with an empty value stands for all values."""

    __slots__ = ("entries", "bucket_settings", "shadow", "wildcard")

    def __init__(self, entries: tuple[Entry, ...], bucket_settings: BucketSettings, shadow: bool) -> None:
        self.entries = entries
        self.bucket_settings = bucket_settings
        self.shadow = shadow
        self.wildcard: bool = any(not value for _, value in entries)

    def covers(self, entries: tuple[Entry, ...]) -> bool:
        if len(entries) != len(self.entries):
            return False
        for (key, value), (own_key, own_value) in zip(entries, self.entries, strict=True):
            if key != own_key or (own_value and own_value != value):
                return False
        return True


class MatchedBucket:
    __slots__ = ("bucket", "shadow", "hits")

    def __init__(self, bucket: TokenBucket, shadow: bool, hits: int) -> None:
        self.bucket = bucket
        self.shadow = shadow
        self.hits = hits


class LocalRateLimiter(FilterStateObject):
    """One set of buckets. Also what a connection keeps when it has buckets of its own."""

    def __init__(self, settings: LimitSettings, arena: SharedArena | None, name: str) -> None:
        self.settings = settings
        self.default: TokenBucket | None = None
        if settings.default is not None:
            self.default = settings.default.make(arena, name)
        self.exact: dict[tuple[Entry, ...], MatchedBucket] = {}
        self.wildcards: list[LimitDescriptor] = []
        for index, descriptor in enumerate(settings.descriptors):
            if descriptor.wildcard:
                self.wildcards.append(descriptor)
            else:
                bucket = descriptor.bucket_settings.make(arena, f"{name}/{index}")
                self.exact[descriptor.entries] = MatchedBucket(bucket, descriptor.shadow, 1)
        # Buckets of single values, the least recently used first.
        self.dynamic: OrderedDict[tuple[Entry, ...], MatchedBucket] = OrderedDict()

    def find(self, descriptor: Descriptor) -> MatchedBucket | None:
        found = self.exact.get(descriptor.entries)
        if found is None and self.wildcards:
            found = self.dynamic.get(descriptor.entries)
            if found is not None:
                self.dynamic.move_to_end(descriptor.entries)
            else:
                found = self._make_dynamic(descriptor.entries)
        if found is None or descriptor.hits < 0:
            return found
        return MatchedBucket(found.bucket, found.shadow, descriptor.hits)

    def _make_dynamic(self, entries: tuple[Entry, ...]) -> MatchedBucket | None:
        for wildcard in self.wildcards:
            if wildcard.covers(entries):
                made = MatchedBucket(wildcard.bucket_settings.make(None, ""), wildcard.shadow, 1)
                self.dynamic[entries] = made
                if len(self.dynamic) > self.settings.max_dynamic:
                    self.dynamic.popitem(last=False)
                return made
        return None

    def check(self, descriptors: list[Descriptor], now: int) -> tuple[int, TokenBucket | None]:
        """ALLOWED, LIMITED or SHADOWED, and the bucket that says so."""
        matched: list[MatchedBucket] = []
        for descriptor in descriptors:
            found = self.find(descriptor)
            if found is not None:
                matched.append(found)
        if len(matched) > 1:
            # The slowest first.
            matched.sort(key=_fill_rate)
        for each in matched:
            if not each.bucket.take(each.hits, now):
                return SHADOWED if each.shadow else LIMITED, each.bucket
        default = self.default
        if default is not None and (not matched or self.settings.always_default) and not default.take(1, now):
            return LIMITED, default
        return ALLOWED, matched[0].bucket if matched else default


def _fill_rate(matched: MatchedBucket) -> float:
    return matched.bucket.fill_rate


class LimitStats:
    __slots__ = ("enabled", "enforced", "ok", "rate_limited", "shadow_mode")

    def __init__(self, scope: Scope) -> None:
        self.enabled = scope.counter("enabled")
        self.enforced = scope.counter("enforced")
        self.ok = scope.counter("ok")
        self.rate_limited = scope.counter("rate_limited")
        self.shadow_mode = scope.counter("shadow_mode")


class LimitSettings:
    """One LocalRateLimit message."""

    __slots__ = (
        "stats", "code", "grpc_status", "default", "descriptors", "max_dynamic", "enabled", "enforced",
        "request_headers", "response_headers", "per_connection", "x_headers", "retry_after", "always_default",
        "policies", "stage", "virtual_host_option", "key", "service_cluster", "limiter",
    )  # fmt: skip

    def __init__(self, stats: LimitStats, key: str) -> None:
        self.stats = stats
        self.key = key
        self.code: int = 429
        self.grpc_status: int = -1
        self.default: BucketSettings | None = None
        self.descriptors: list[LimitDescriptor] = []
        self.max_dynamic: int = _DYNAMIC_DESCRIPTORS
        self.enabled: RuntimeFraction | None = None
        self.enforced: RuntimeFraction | None = None
        self.request_headers: HeaderParser = HeaderParser([], [])
        self.response_headers: HeaderParser = HeaderParser([], [])
        self.per_connection: bool = False
        self.x_headers: bool = False
        self.retry_after: bool = False
        self.always_default: bool = True
        # The filter's own; without them the route's and virtual host's.
        self.policies: list[RateLimitPolicy] = []
        self.stage: int = 0
        self.virtual_host_option: str = "OVERRIDE"
        self.service_cluster: str = ""
        self.limiter: LocalRateLimiter | None = None

    def describe(self, headers: RequestHeaderMap, http_filter: HttpFilter) -> list[Descriptor]:
        route = http_filter.manager.route()
        entry = route if isinstance(route, RouteEntry) else None
        request = RateLimitRequest(headers, http_filter.manager.stream_info, self.service_cluster, entry)
        if self.policies:
            return descriptors_of(self.policies, request)
        if entry is None:
            return []
        found = descriptors_of(entry.rate_limits, request, self.stage)
        option = "INCLUDE" if entry.include_virtual_host_rate_limits else self.virtual_host_option
        if option == "INCLUDE" or (option == "OVERRIDE" and not entry.rate_limits):
            found += descriptors_of(entry.virtual_host.rate_limits, request, self.stage)
        return found

    def limiter_for(self, http_filter: HttpFilter) -> LocalRateLimiter:
        limiter = self.limiter
        if limiter is not None:
            return limiter
        info = http_filter.manager.connection.info
        if info.filter_state is None:
            info.filter_state = {}
        name = f"per_connection_local_rate_limiter.{self.key}"
        found = info.filter_state.get(name)
        if not isinstance(found, LocalRateLimiter):
            found = LocalRateLimiter(self, None, "")
            info.filter_state[name] = found
        return found


class LocalRateLimitFilter(HttpFilter):
    _bucket: TokenBucket | None = None

    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        manager = self.manager
        route = manager.route()
        if isinstance(route, Route):
            special = route.per_filter_config(self.config_name)
            if isinstance(special, LimitSettings):
                self.settings = special
        settings = self.settings
        if settings.enabled is None or not settings.enabled.enabled(getrandbits(64)):
            return HEADERS_CONTINUE
        stats = settings.stats
        stats.enabled.inc()
        descriptors = settings.describe(headers, self) if settings.descriptors else []
        verdict, self._bucket = settings.limiter_for(self).check(descriptors, monotonic_ns())
        if verdict == ALLOWED:
            stats.ok.inc()
            return HEADERS_CONTINUE
        stats.rate_limited.inc()
        if verdict == SHADOWED:
            stats.shadow_mode.inc()
            return HEADERS_CONTINUE
        info = manager.stream_info
        if settings.enforced is None or not settings.enforced.enabled(getrandbits(64)):
            settings.request_headers.evaluate_headers(headers, FormatContext(info, headers))
            return HEADERS_CONTINUE
        stats.enforced.inc()
        info.response_flags |= response_flag.RATE_LIMITED
        modifier = _LimitedReply(self)
        manager.send_local_reply_full(settings.code, _DETAILS, modifier, settings.grpc_status, _DETAILS)
        return HEADERS_STOP_ITERATION

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        bucket = self._bucket
        if bucket is not None and self.settings.x_headers:
            now = monotonic_ns()
            headers.add(_LIMIT, b"%d" % bucket.max_tokens)
            headers.add(_REMAINING, b"%d" % bucket.tokens(now))
            headers.add(_RESET, b"%d" % bucket.seconds_to_next(now))
        return HEADERS_CONTINUE

    def on_destroy(self) -> None:
        self._bucket = None

    def edit_reply(self, headers: ResponseHeaderMap) -> None:
        settings = self.settings
        context = FormatContext(self.manager.stream_info, self.manager.request_headers, headers)
        settings.response_headers.evaluate_headers(headers, context)
        if settings.retry_after and self._bucket is not None:
            headers.set(RETRY_AFTER, b"%d" % self._bucket.seconds_to_next(monotonic_ns()))


class _LimitedReply(LocalReplyModifier):
    __slots__ = ("limit",)

    def __init__(self, limit: LocalRateLimitFilter) -> None:
        self.limit = limit

    def modify(self, headers: ResponseHeaderMap) -> None:
        self.limit.edit_reply(headers)


class LocalRateLimitFactory(HttpFilterFactory):
    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return LocalRateLimitFilter(self.settings)


def parse_bucket(view: View) -> BucketSettings:
    """From an `envoy.type.v3.TokenBucket`. Raises ConfigError."""
    interval = view.millis("fill_interval") or 0
    if interval < _MIN_INTERVAL_MS:
        raise view.error("local rate limit token bucket fill timer must be >= 50ms", "fill_interval")
    return BucketSettings(view.integer("max_tokens"), view.integer("tokens_per_fill", 1), interval * 1_000_000)


def parse_settings(config: View, context: FactoryContext) -> LimitSettings:
    """From a LocalRateLimit message. Raises ConfigError. `local_cluster_rate_limit` is not read."""
    scope = context.root_scope.scope(f"{config.text('stat_prefix')}.http_local_rate_limit.")
    made = LimitSettings(LimitStats(scope), config.path)
    status = config.message("status")
    if status is not None:
        code = int(status.proto.code)  # type: ignore[attr-defined]
        status.enum("code")
        if code >= 400:
            made.code = code
    bucket = config.message("token_bucket")
    if bucket is not None:
        made.default = parse_bucket(bucket)
    enabled = config.message("filter_enabled")
    enforced = config.message("filter_enforced")
    made.enabled = None if enabled is None else runtime_fraction(enabled, context.runtime)
    made.enforced = None if enforced is None else runtime_fraction(enforced, context.runtime)
    made.request_headers = HeaderParser.from_views(config.messages("request_headers_to_add_when_not_enforced"))
    made.response_headers = HeaderParser.from_views(config.messages("response_headers_to_add"))
    made.per_connection = config.flag("local_rate_limit_per_downstream_connection")
    made.x_headers = config.enum("enable_x_ratelimit_headers") == "DRAFT_VERSION_03"
    made.retry_after = config.flag("enable_retry_after_header")
    made.always_default = config.flag("always_consume_default_token_bucket", True)
    if config.flag("rate_limited_as_resource_exhausted"):
        made.grpc_status = RESOURCE_EXHAUSTED
    made.max_dynamic = config.integer("max_dynamic_descriptors", _DYNAMIC_DESCRIPTORS)
    made.stage = config.integer("stage")
    made.virtual_host_option = config.enum("vh_rate_limits")
    made.service_cluster = context.server.node_cluster
    for view in config.messages("descriptors"):
        entries = tuple((each.text("key"), each.text("value")) for each in view.messages("entries"))
        limit = view.message("token_bucket")
        if limit is None:
            raise view.error("value is required", "token_bucket")
        if any(entries == other.entries for other in made.descriptors):
            text = ", ".join(f"{key}={value}" for key, value in entries)
            raise view.error(f"duplicate descriptor in the local rate descriptor: {text}", "entries")
        made.descriptors.append(LimitDescriptor(entries, parse_bucket(limit), view.flag("shadow_mode")))
    for view in config.messages("rate_limits"):
        if view.has("stage") or view.has("disable_key"):
            raise view.error("'stage' field and 'disable_key' field are not supported")
        if view.has("limit"):
            raise view.error("'limit' field is not supported", "limit")
    made.policies = parse_policies(config.messages("rate_limits"), context)
    if not made.per_connection:
        made.limiter = LocalRateLimiter(made, context.arena, f"local_ratelimit/{config.path}")
    return made


@HTTP_FILTERS.register("envoy.filters.http.local_ratelimit", _TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return LocalRateLimitFactory(parse_settings(config, context))


@route_config(_TYPE)
def create_for_route(config: View, context: FactoryContext) -> object:
    if not config.has("token_bucket"):
        raise config.error("local rate limit token bucket must be set for per filter configs", "token_bucket")
    return parse_settings(config, context)
