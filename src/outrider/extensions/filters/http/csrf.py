"""envoy.filters.http.csrf: refuses requests that change something and that another site has caused.

Source: Envoy documentation, "CSRF". The origin that a browser tells of is compared with the request's own host.
"""

from __future__ import annotations

import re
from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import REFERER
from outrider.http.filter import HEADERS_CONTINUE, HEADERS_STOP_ITERATION, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.matching.string_matcher import StringMatcher, parse_string_matcher

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy"
_ORIGIN: Final = b"origin"
_CHANGING: Final = frozenset((b"POST", b"PUT", b"DELETE", b"PATCH"))
_URL: Final = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^@/?#]*@)?((?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::\d+)?)(?:[/?#].*)?",
    re.DOTALL,
)


def host_and_port(url: bytes) -> bytes:
    """Host and port of an absolute URL; anything else as it is."""
    found = _URL.fullmatch(url)
    return url if found is None else found[1]


class CsrfPolicy:
    __slots__ = ("enabled", "shadow", "origins")

    def __init__(self, enabled: RuntimeFraction, shadow: RuntimeFraction | None, origins: list[StringMatcher]) -> None:
        self.enabled = enabled
        self.shadow: RuntimeFraction | None = shadow
        self.origins = origins

    def allows(self, source: bytes, headers: RequestHeaderMap) -> bool:
        host = headers.authority
        if host and source == host_and_port((headers.scheme or b"http") + b"://" + host):
            return True
        for matcher in self.origins:
            if matcher.matches(source):
                return True
        return False


class CsrfStats:
    __slots__ = ("missing_source_origin", "request_invalid", "request_valid")

    def __init__(self, scope: Scope) -> None:
        self.missing_source_origin = scope.counter("csrf.missing_source_origin")
        self.request_invalid = scope.counter("csrf.request_invalid")
        self.request_valid = scope.counter("csrf.request_valid")


class CsrfFilter(HttpFilter):
    __slots__ = ("policy", "stats")

    def __init__(self, policy: CsrfPolicy, stats: CsrfStats) -> None:
        self.policy = policy
        self.stats = stats

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        if headers.method not in _CHANGING:
            return HEADERS_CONTINUE
        policy = self.policy
        route = self.manager.route()
        if route is not None:
            special = route.per_filter_config(self.config_name)
            if isinstance(special, CsrfPolicy):
                policy = special
        enabled = policy.enabled.enabled(getrandbits(64))
        if not enabled and (policy.shadow is None or not policy.shadow.enabled(getrandbits(64))):
            return HEADERS_CONTINUE
        # An opaque origin ("null") is as good as none; the referer then does not help.
        origin = headers.single.get(_ORIGIN)
        source = b"" if origin == b"null" else host_and_port(origin or headers.single.get(REFERER) or b"")
        stats = self.stats
        if not source:
            stats.missing_source_origin.inc()
        elif policy.allows(source, headers):
            stats.request_valid.inc()
            return HEADERS_CONTINUE
        else:
            stats.request_invalid.inc()
        if not enabled:
            return HEADERS_CONTINUE
        self.manager.send_local_reply(403, "Invalid origin", "csrf_origin_mismatch")
        return HEADERS_STOP_ITERATION


class CsrfFilterFactory(HttpFilterFactory):
    def __init__(self, policy: CsrfPolicy, stats: CsrfStats) -> None:
        self.policy = policy
        self.stats = stats

    def create(self) -> HttpFilter:
        return CsrfFilter(self.policy, self.stats)


@HTTP_FILTERS.register("envoy.filters.http.csrf", TYPE, "envoy.csrf")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return CsrfFilterFactory(load_policy(config, context), CsrfStats(context.scope))


@route_config(TYPE)
def create_for_route(config: View, context: FactoryContext) -> CsrfPolicy:
    """Raises ConfigError."""
    return load_policy(config, context)


def load_policy(config: View, context: FactoryContext) -> CsrfPolicy:
    """Raises ConfigError."""
    enabled = config.message("filter_enabled")
    if enabled is None:
        raise config.error("value is required", "filter_enabled")
    shadow = config.message("shadow_enabled")
    return CsrfPolicy(
        runtime_fraction(enabled, context.runtime),
        None if shadow is None else runtime_fraction(shadow, context.runtime),
        [parse_string_matcher(each, context) for each in config.messages("additional_origins")],
    )
