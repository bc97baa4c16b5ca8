"""envoy.filters.http.ratelimit: a service decides, for all proxies together, which requests are too many.

Source: Envoy documentation, "Rate limit" (HTTP filter).
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.data.grpc_status import RESOURCE_EXHAUSTED
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE, RETRY_AFTER, X_ENVOY_INTERNAL
from outrider.data.response_flag import RATE_LIMITED, RATELIMIT_SERVICE_ERROR
from outrider.data.stream_info import StreamInfo
from outrider.extensions.ratelimit.service import (
    ERROR,
    OVER_LIMIT,
    LimitAnswer,
    LimitCallbacks,
    LimitStatus,
    RateLimitService,
    limit_headers,
    strictest,
)
from outrider.grpc.client import GrpcCall
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_WATERMARK,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.header_mutation import HeaderParser
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.router.config.route_entry import RouteEntry
from outrider.router.rate_limit_actions import (
    Descriptor,
    RateLimitPolicy,
    RateLimitRequest,
    parse_policies,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster import Cluster

TYPE: Final = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"
NAMESPACE: Final = "envoy.filters.http.ratelimit"
_RATE_LIMITED: Final = b"x-envoy-ratelimited"
_ENABLED: Final = "ratelimit.http_filter_enabled"
_ENFORCING: Final = "ratelimit.http_filter_enforcing"


class RouteLimits:
    """What a route says. `policies` replace those of the route and the virtual host; `domain` "" = the filter's."""

    __slots__ = ("virtual_host_option", "policies", "domain")

    def __init__(self, virtual_host_option: str, policies: list[RateLimitPolicy], domain: str) -> None:
        self.virtual_host_option = virtual_host_option
        self.policies = policies
        self.domain = domain


class LimitConfig:
    __slots__ = (
        "service", "domain", "stage", "internal", "external", "deny_on_failure", "deny_fraction", "grpc_status",
        "x_headers", "retry_after", "mark", "code", "error_code", "response_headers", "stat_prefix", "enabled",
        "enforced", "policies", "namespace", "runtime", "clusters", "service_cluster",
    )  # fmt: skip

    def __init__(self, view: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        service = view.message("rate_limit_service")
        if service is None:
            raise view.error("value is required", "rate_limit_service")
        self.service = RateLimitService(service, context, view.millis("timeout"))
        self.domain = view.text("domain")
        self.stage = view.integer("stage")
        kind = view.text("request_type")
        self.internal = kind != "external"
        self.external = kind != "internal"
        self.deny_on_failure = view.flag("failure_mode_deny")
        self.deny_fraction = _fraction(view, "failure_mode_deny_percent", context)
        self.grpc_status = RESOURCE_EXHAUSTED if view.flag("rate_limited_as_resource_exhausted") else -1
        self.x_headers = view.enum("enable_x_ratelimit_headers") != "OFF"
        self.retry_after = view.flag("enable_retry_after_header")
        self.mark = not view.flag("disable_x_envoy_ratelimited_header")
        self.code = _error_code(view.message("rate_limited_status"), 429)
        self.error_code = _error_code(view.message("status_on_error"), 500)
        self.response_headers = HeaderParser.from_views(view.messages("response_headers_to_add"))
        prefix = view.text("stat_prefix")
        self.stat_prefix = f"ratelimit.{prefix}." if prefix else "ratelimit."
        self.enabled = _fraction(view, "filter_enabled", context)
        self.enforced = _fraction(view, "filter_enforced", context)
        self.policies = _own_policies(view, context)
        self.namespace = view.text("metadata_namespace") or NAMESPACE
        self.runtime = context.runtime
        self.clusters = context.cluster_manager
        self.service_cluster = context.server.node_cluster

    def is_on(self, fraction: RuntimeFraction | None, key: str) -> bool:
        """A configured fraction, else that of the runtime key, else always."""
        if fraction is not None:
            return fraction.enabled(getrandbits(64))
        return not self.runtime.has(key) or self.runtime.feature_enabled(key, 100, getrandbits(63))

    def denies_on_failure(self) -> bool:
        if self.deny_fraction is not None:
            return self.deny_fraction.enabled(getrandbits(64))
        return self.deny_on_failure

    def applies(self, policy: RateLimitPolicy, stage: int, on_stream_done: bool) -> bool:
        """Whether a policy speaks now; `stage` -1 = any."""
        if policy.on_stream_done != on_stream_done or (stage >= 0 and policy.stage != stage):
            return False
        key = policy.disable_key
        return not key or self.is_on(None, f"ratelimit.{key}.http_filter_enabled")

    def describe(
        self, policies: list[RateLimitPolicy], request: RateLimitRequest, stage: int, on_stream_done: bool
    ) -> list[Descriptor]:
        found: list[Descriptor] = []
        for policy in policies:
            if self.applies(policy, stage, on_stream_done):
                descriptor = policy.describe(request)
                if descriptor is not None:
                    if stage >= 0:
                        # Routes and virtual hosts do not say how much a request counts.
                        descriptor.hits = -1
                    found.append(descriptor)
        return found


def _fraction(view: View, field: str, context: FactoryContext) -> RuntimeFraction | None:
    inner = view.message(field)
    return None if inner is None else runtime_fraction(inner, context.runtime)


def _error_code(view: View | None, default: int) -> int:
    """Codes below 400 make no error, and count as not given."""
    if view is None:
        return default
    view.enum("code")
    code = int(view.proto.code)  # type: ignore[attr-defined]
    return code if code >= 400 else default


def _own_policies(view: View, context: FactoryContext) -> list[RateLimitPolicy]:
    for each in view.messages("rate_limits"):
        if each.has("stage") or each.text("disable_key"):
            raise each.error("'stage' field and 'disable_key' field are not supported")
    return parse_policies(view.messages("rate_limits"), context)


# Where a request stands.
_IDLE: Final = 0
_CALLING: Final = 1
_RESPONDED: Final = 2
_COMPLETE: Final = 3


class RateLimitFilter(HttpFilter):
    __slots__ = ("config", "state", "call", "starting", "to_client", "asked", "cluster")

    def __init__(self, config: LimitConfig) -> None:
        self.config = config
        self.state = _IDLE
        self.call: GrpcCall | None = None
        self.starting = False
        # For the response, whoever makes it.
        self.to_client: list[tuple[bytes, bytes]] = []
        self.asked: list[Descriptor] = []
        self.cluster: Cluster | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        config = self.config
        if not config.is_on(config.enabled, _ENABLED):
            return HEADERS_CONTINUE
        internal = headers.get(X_ENVOY_INTERNAL) == b"true"
        if not (config.internal if internal else config.external):
            return HEADERS_CONTINUE
        route = self.manager.route()
        if not isinstance(route, RouteEntry):
            return HEADERS_CONTINUE
        self.cluster = config.clusters.get(route.cluster_name)
        if self.cluster is None:
            return HEADERS_CONTINUE
        self.asked = self._descriptors(headers, route, False)
        if self.asked:
            self.state = _CALLING
            self.starting = True
            self.call = config.service.ask(_Answer(self), self._domain(route), self.asked)
            self.starting = False
        return HEADERS_CONTINUE if self.state in (_IDLE, _COMPLETE) else HEADERS_STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return DATA_STOP_AND_WATERMARK if self.state == _CALLING else DATA_CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> int:
        return TRAILERS_STOP if self.state == _CALLING else TRAILERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        if self.state == _COMPLETE:
            for name, value in self.to_client:
                headers.add(name, value)
        return HEADERS_CONTINUE

    def on_destroy(self) -> None:
        call = self.call
        self.call = None
        if self.state == _CALLING:
            self.state = _COMPLETE
            if call is not None:
                call.cancel()
        self.cluster = None

    def on_stream_complete(self) -> None:
        headers = self.manager.request_headers
        route = self.manager.route()
        if self.cluster is None or self.state == _CALLING or headers is None or not isinstance(route, RouteEntry):
            return
        late = self._descriptors(headers, route, True)
        if late:
            self.config.service.ask(_NOBODY, self._domain(route), late)

    def _special(self, route: RouteEntry) -> RouteLimits | None:
        special = route.per_filter_config(self.config_name)
        return special if isinstance(special, RouteLimits) else None

    def _domain(self, route: RouteEntry) -> str:
        special = self._special(route)
        return self.config.domain if special is None or not special.domain else special.domain

    def _descriptors(self, headers: RequestHeaderMap, route: RouteEntry, on_stream_done: bool) -> list[Descriptor]:
        config = self.config
        request = RateLimitRequest(headers, self.manager.stream_info, config.service_cluster, route)
        special = self._special(route)
        if special is not None and special.policies:
            return config.describe(special.policies, request, -1, on_stream_done)
        if config.policies:
            return config.describe(config.policies, request, -1, on_stream_done)
        found = config.describe(route.rate_limits, request, config.stage, on_stream_done)
        option = "OVERRIDE" if special is None else special.virtual_host_option
        if route.include_virtual_host_rate_limits:
            option = "INCLUDE"
        if option == "INCLUDE" or (option == "OVERRIDE" and not route.rate_limits):
            found += config.describe(route.virtual_host.rate_limits, request, config.stage, on_stream_done)
        return found

    def on_answer(self, answer: LimitAnswer) -> None:
        self.call = None
        headers = self.manager.request_headers
        if self.state != _CALLING or headers is None:
            return
        self.state = _COMPLETE
        config = self.config
        if answer.metadata:
            self.manager.stream_info.set_metadata(config.namespace, answer.metadata)
        self.to_client = answer.response_headers
        over = answer.verdict == OVER_LIMIT
        if over and config.mark:
            self.to_client.append((_RATE_LIMITED, b"true"))
        shown = self._shown(answer.statuses)
        self.to_client += limit_headers(shown)
        if over:
            self._count("over_limit")
            if self.cluster is not None:
                self.cluster.info.code_stats.charge(config.code, True, False)
            if config.is_on(config.enforced, _ENFORCING):
                least = strictest(answer.statuses)
                if config.retry_after and least is not None:
                    self.to_client.append((RETRY_AFTER, b"%d" % least.reset_s))
                body = answer.body.decode("utf-8", "surrogateescape")
                self._refuse(config.code, body, RATE_LIMITED, config.grpc_status, "request_rate_limited")
                return
        elif answer.verdict == ERROR:
            self._count("error")
            if config.denies_on_failure():
                self._refuse(config.error_code, "", RATELIMIT_SERVICE_ERROR, -1, "rate_limiter_error")
                return
            self._count("failure_mode_allowed")
        else:
            self._count("ok")
        for name, value in answer.request_headers:
            headers.add(name, value)
        if not self.starting:
            self.continue_decoding()

    def _shown(self, statuses: list[LimitStatus]) -> list[LimitStatus]:
        """Those whose limits are told in x-ratelimit headers."""
        default = int(self.config.x_headers)
        shown: list[LimitStatus] = []
        for status in statuses:
            option = self.asked[status.index].x_headers if status.index < len(self.asked) else -1
            if (default if option < 0 else option) == 1:
                shown.append(status)
        return shown

    def _refuse(self, code: int, body: str, flag: int, grpc_status: int, details: str) -> None:
        self.state = _RESPONDED
        manager = self.manager
        manager.stream_info.response_flags |= flag
        modifier = _LimitedReply(self) if flag == RATE_LIMITED else None
        manager.send_local_reply_full(code, body, modifier, grpc_status, details)

    def edit_reply(self, headers: ResponseHeaderMap) -> None:
        for name, _ in self.to_client:
            if name == CONTENT_TYPE:
                headers.remove(CONTENT_TYPE)
        for name, value in self.to_client:
            headers.add(name, value)
        context = FormatContext(self.manager.stream_info, self.manager.request_headers, headers)
        self.config.response_headers.evaluate_headers(headers, context)

    def _count(self, what: str) -> None:
        if self.cluster is not None:
            self.cluster.info.scope.counter(self.config.stat_prefix + what).inc()


class _Answer(LimitCallbacks):
    def __init__(self, owner: RateLimitFilter) -> None:
        self.owner = owner

    def on_limit_answer(self, answer: LimitAnswer) -> None:
        self.owner.on_answer(answer)

    def parent_stream_info(self) -> StreamInfo | None:
        return self.owner.manager.stream_info


class _Nobody(LimitCallbacks):
    """Of what is told when a request is over, the answer counts for nothing."""

    def on_limit_answer(self, answer: LimitAnswer) -> None:
        pass


_NOBODY: Final = _Nobody()


class _LimitedReply(LocalReplyModifier):
    __slots__ = ("limit",)

    def __init__(self, limit: RateLimitFilter) -> None:
        self.limit = limit

    def modify(self, headers: ResponseHeaderMap) -> None:
        self.limit.edit_reply(headers)


class RateLimitFilterFactory(HttpFilterFactory):
    def __init__(self, config: LimitConfig) -> None:
        self.config = config

    def create(self) -> HttpFilter:
        return RateLimitFilter(self.config)


@HTTP_FILTERS.register(NAMESPACE, TYPE, "envoy.rate_limit")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return RateLimitFilterFactory(LimitConfig(config, context))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> RouteLimits:
    """Raises ConfigError."""
    return RouteLimits(config.enum("vh_rate_limits"), _own_policies(config, context), config.text("domain"))
