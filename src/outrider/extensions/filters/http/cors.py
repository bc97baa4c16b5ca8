"""envoy.filters.http.cors: cross-origin resource sharing, by the policies of route and virtual host.

Source: Envoy documentation, "CORS"; the Fetch standard, "CORS protocol".
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.http.filter import HEADERS_CONTINUE, HEADERS_STOP_ITERATION, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.matching.string_matcher import StringMatcher, parse_string_matcher
from outrider.router.config.filter_config_loader import OLD_CORS

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.http.cors.v3.Cors"
POLICY_TYPE: Final = "envoy.extensions.filters.http.cors.v3.CorsPolicy"

ORIGIN: Final = b"origin"
_REQUEST_METHOD: Final = b"access-control-request-method"
_REQUEST_PRIVATE_NETWORK: Final = b"access-control-request-private-network"
_ALLOW_ORIGIN: Final = b"access-control-allow-origin"
_ALLOW_CREDENTIALS: Final = b"access-control-allow-credentials"
_ALLOW_METHODS: Final = b"access-control-allow-methods"
_ALLOW_HEADERS: Final = b"access-control-allow-headers"
_ALLOW_PRIVATE_NETWORK: Final = b"access-control-allow-private-network"
_EXPOSE_HEADERS: Final = b"access-control-expose-headers"
_MAX_AGE: Final = b"access-control-max-age"


class CorsPolicy:
    """One level's policy. Switches are -1 where the level does not say."""

    __slots__ = (
        "origins",
        "allow_methods",
        "allow_headers",
        "expose_headers",
        "max_age",
        "allow_credentials",
        "allow_private_network",
        "forward_not_matching_preflights",
        "filter_enabled",
        "shadow_enabled",
    )

    def __init__(self) -> None:
        self.origins: list[StringMatcher] = []
        self.allow_methods: bytes = b""
        self.allow_headers: bytes = b""
        self.expose_headers: bytes = b""
        self.max_age: bytes = b""
        self.allow_credentials: int = -1
        self.allow_private_network: int = -1
        self.forward_not_matching_preflights: int = -1
        self.filter_enabled: RuntimeFraction | None = None
        self.shadow_enabled: RuntimeFraction | None = None


class EffectivePolicy:
    """The levels of a route taken together: of each part, what the most specific level says."""

    __slots__ = (
        "levels",
        "origins",
        "allow_methods",
        "allow_headers",
        "expose_headers",
        "max_age",
        "allow_credentials",
        "allow_private_network",
        "forward_not_matching_preflights",
        "filter_enabled",
        "shadow_enabled",
    )

    def __init__(self, levels: list[object]) -> None:
        self.levels = levels
        self.origins: list[StringMatcher] = []
        self.allow_methods: bytes = b""
        self.allow_headers: bytes = b""
        self.expose_headers: bytes = b""
        self.max_age: bytes = b""
        credentials = private = forward = -1
        # Only the most specific level decides whether the filter is on.
        first = levels[-1]
        assert isinstance(first, CorsPolicy)
        self.filter_enabled: RuntimeFraction | None = first.filter_enabled
        self.shadow_enabled: RuntimeFraction | None = first.shadow_enabled
        for level in reversed(levels):
            assert isinstance(level, CorsPolicy)
            self.origins = self.origins or level.origins
            self.allow_methods = self.allow_methods or level.allow_methods
            self.allow_headers = self.allow_headers or level.allow_headers
            self.expose_headers = self.expose_headers or level.expose_headers
            self.max_age = self.max_age or level.max_age
            credentials = level.allow_credentials if credentials < 0 else credentials
            private = level.allow_private_network if private < 0 else private
            forward = level.forward_not_matching_preflights if forward < 0 else forward
        self.allow_credentials: bool = credentials == 1
        self.allow_private_network: bool = private == 1
        self.forward_not_matching_preflights: bool = forward != 0

    def allows(self, origin: bytes) -> bool:
        for matcher in self.origins:
            if matcher.matches(b"*") or matcher.matches(origin):
                return True
        return False


class CorsConfig:
    """Stats, and the effective policies by the levels that they were made of."""

    __slots__ = ("origin_valid", "origin_invalid", "_policies")

    def __init__(self, scope: Scope) -> None:
        self.origin_valid = scope.counter("cors.origin_valid")
        self.origin_invalid = scope.counter("cors.origin_invalid")
        self._policies: dict[int, EffectivePolicy] = {}

    def policy(self, levels: list[object]) -> EffectivePolicy | None:
        if not levels:
            return None
        found = self._policies.get(id(levels))
        if found is None or found.levels is not levels:
            # As many as there are routes; replaced routes leave entries that are dropped all at once.
            if len(self._policies) > 4096:
                self._policies.clear()
            found = self._policies[id(levels)] = EffectivePolicy(levels)
        return found


class CorsFilter(HttpFilter):
    __slots__ = ("config", "policy", "origin")

    def __init__(self, config: CorsConfig) -> None:
        self.config = config
        # Set when the response is to be shared.
        self.policy: EffectivePolicy | None = None
        self.origin: bytes = b""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        origin = headers.single.get(ORIGIN)
        if not origin:
            return HEADERS_CONTINUE
        route = self.manager.route()
        policy = None
        if route is not None:
            levels = route.per_filter_configs(self.config_name)
            policy = self.config.policy(levels or route.per_filter_configs(OLD_CORS))
        if policy is None:
            return HEADERS_CONTINUE
        enabled = policy.filter_enabled is None or policy.filter_enabled.enabled(getrandbits(64))
        if not enabled and (policy.shadow_enabled is None or not policy.shadow_enabled.enabled(getrandbits(64))):
            return HEADERS_CONTINUE
        preflight = headers.method == b"OPTIONS" and bool(headers.single.get(_REQUEST_METHOD))
        if not policy.allows(origin):
            self.config.origin_invalid.inc()
            if enabled and preflight and not policy.forward_not_matching_preflights:
                # As Envoy does: the policy without the one header that would let the browser go on.
                self._answer_preflight(headers, policy, b"")
                return HEADERS_STOP_ITERATION
            return HEADERS_CONTINUE
        self.config.origin_valid.inc()
        if not enabled:
            return HEADERS_CONTINUE
        self.policy = policy
        self.origin = origin
        if not preflight:
            return HEADERS_CONTINUE
        self._answer_preflight(headers, policy, origin)
        return HEADERS_STOP_ITERATION

    def _answer_preflight(self, headers: RequestHeaderMap, policy: EffectivePolicy, origin: bytes) -> None:
        response = ResponseHeaderMap(status=200)
        if origin:
            response.set(_ALLOW_ORIGIN, origin)
        if policy.allow_credentials:
            response.set(_ALLOW_CREDENTIALS, b"true")
        if policy.allow_methods:
            response.set(_ALLOW_METHODS, policy.allow_methods)
        if policy.allow_headers:
            response.set(_ALLOW_HEADERS, policy.allow_headers)
        if policy.max_age:
            response.set(_MAX_AGE, policy.max_age)
        if policy.allow_private_network and headers.get(_REQUEST_PRIVATE_NETWORK) == b"true":
            response.set(_ALLOW_PRIVATE_NETWORK, b"true")
        self.manager.stream_info.response_code_details = "cors_response"
        self.manager.encode_headers_from(self, response, True)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        policy = self.policy
        if policy is not None:
            headers.set(_ALLOW_ORIGIN, self.origin)
            if policy.allow_credentials:
                headers.set(_ALLOW_CREDENTIALS, b"true")
            if policy.expose_headers:
                headers.set(_EXPOSE_HEADERS, policy.expose_headers)
        return HEADERS_CONTINUE


class CorsFilterFactory(HttpFilterFactory):
    def __init__(self, config: CorsConfig) -> None:
        self.config = config

    def create(self) -> HttpFilter:
        return CorsFilter(self.config)


@HTTP_FILTERS.register("envoy.filters.http.cors", TYPE, "envoy.cors")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return CorsFilterFactory(CorsConfig(context.scope))


@route_config(OLD_CORS)
@route_config(POLICY_TYPE)
def create_policy(config: View, context: FactoryContext) -> CorsPolicy:
    """Raises ConfigError."""
    policy = CorsPolicy()
    policy.origins = [parse_string_matcher(each, context) for each in config.messages("allow_origin_string_match")]
    policy.allow_methods = config.text("allow_methods").encode()
    policy.allow_headers = config.text("allow_headers").encode()
    policy.expose_headers = config.text("expose_headers").encode()
    policy.max_age = config.text("max_age").encode()
    policy.allow_credentials = _switch(config, "allow_credentials")
    policy.allow_private_network = _switch(config, "allow_private_network_access")
    policy.forward_not_matching_preflights = _switch(config, "forward_not_matching_preflights")
    enabled = config.message("filter_enabled")
    shadow = config.message("shadow_enabled")
    policy.filter_enabled = None if enabled is None else runtime_fraction(enabled, context.runtime)
    policy.shadow_enabled = None if shadow is None else runtime_fraction(shadow, context.runtime)
    return policy


def _switch(view: View, name: str) -> int:
    return int(view.flag(name)) if view.has(name) else -1
