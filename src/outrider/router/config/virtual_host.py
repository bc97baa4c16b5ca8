"""VirtualHost: the routes of a set of domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_names import X_ENVOY_INTERNAL, X_FORWARDED_PROTO
from outrider.router.config.redirect import RedirectRoute
from outrider.router.config.redirect_action import TlsRedirect
from outrider.router.config.route import create_request_stats
from outrider.router.config.route_table import RouteTable

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.matching.header_matcher import HeaderMatcher
    from outrider.router.config.retry_policy import HedgePolicy, RetryPolicy
    from outrider.router.config.route import Route
    from outrider.router.config.route_config import RouteConfig
    from outrider.router.config.route_matcher import RouteMatcherTree
    from outrider.router.rate_limit_actions import RateLimitPolicy
    from outrider.stats.store import Scope

TLS_NONE: Final = 0
TLS_EXTERNAL_ONLY: Final = 1
TLS_ALL: Final = 2


_NO_ROUTES: Final = RouteTable([])
_NO_METADATA: Final[dict[str, dict[str, object]]] = {}


class VirtualCluster:
    """A named group of requests with stats of its own: `vhost.<virtual host>.vcluster.<name>.`"""

    __slots__ = (
        "name",
        "matchers",
        "scope",
        "upstream_rq_retry",
        "upstream_rq_retry_limit_exceeded",
        "upstream_rq_retry_overflow",
        "upstream_rq_retry_success",
        "upstream_rq_timeout",
        "upstream_rq_total",
    )

    def __init__(self, name: str, matchers: list[HeaderMatcher], scope: Scope) -> None:
        self.name = name
        self.matchers = matchers
        # For stats by response code (`upstream_rq_200`, `upstream_rq_2xx`, `upstream_rq_time`).
        self.scope = scope
        create_request_stats(scope)
        self.upstream_rq_retry = scope.counter("upstream_rq_retry")
        self.upstream_rq_retry_limit_exceeded = scope.counter("upstream_rq_retry_limit_exceeded")
        self.upstream_rq_retry_overflow = scope.counter("upstream_rq_retry_overflow")
        self.upstream_rq_retry_success = scope.counter("upstream_rq_retry_success")
        self.upstream_rq_timeout = scope.counter("upstream_rq_timeout")
        self.upstream_rq_total = scope.counter("upstream_rq_total")

    def matches(self, headers: RequestHeaderMap) -> bool:
        for matcher in self.matchers:
            if not matcher.matches(headers):
                return False
        return True


class VirtualHost:
    """Settings that its routes share."""

    __slots__ = (
        "name",
        "config",
        "require_tls",
        "virtual_clusters",
        "catch_all_cluster",
        "include_attempt_count_in_request",
        "include_attempt_count_in_response",
        "include_is_timeout_retry_header",
        "retry_policy",
        "hedge_policy",
        "request_body_buffer_limit",
        "metadata",
        "domains",
        "table",
        "matcher",
        "tls_redirect",
        "rate_limits",
    )

    def __init__(self, name: str, config: RouteConfig) -> None:
        self.name = name
        self.config = config
        self.domains: list[str] = []
        self.require_tls: int = TLS_NONE
        self.virtual_clusters: list[VirtualCluster] = []
        # Requests that no virtual cluster claims, when there are virtual clusters (`vcluster.other`).
        self.catch_all_cluster: VirtualCluster | None = None
        self.include_attempt_count_in_request: bool = False
        self.include_attempt_count_in_response: bool = False
        self.include_is_timeout_retry_header: bool = False
        self.retry_policy: RetryPolicy | None = None
        self.hedge_policy: HedgePolicy | None = None
        self.request_body_buffer_limit: int = -1
        self.metadata: dict[str, dict[str, object]] = _NO_METADATA
        # What describes requests to rate limiters.
        self.rate_limits: list[RateLimitPolicy] = []
        self.table: RouteTable = _NO_ROUTES
        # `matcher`, in place of `routes`.
        self.matcher: RouteMatcherTree | None = None
        # Answers what `require_tls` turns away; there when it is set.
        self.tls_redirect: RedirectRoute | None = None

    def set_require_tls(self, require_tls: int) -> None:
        self.require_tls = require_tls
        if require_tls != TLS_NONE:
            self.tls_redirect = RedirectRoute(self, None, 301, TlsRedirect())

    def route(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route | None:
        """The first route that matches, its cluster resolved; None when there is none."""
        if self.require_tls and self._wants_tls(headers):
            return self.tls_redirect
        path = self.config.match_path(headers.path)
        if self.matcher is not None:
            route = self.matcher.find(path, headers, info, random_value)
        else:
            route = self.table.find(path, headers, info, random_value)
        return None if route is None else route.select(headers, info, random_value)

    def _wants_tls(self, headers: RequestHeaderMap) -> bool:
        """Whether `require_tls` redirects this request."""
        if headers.get(X_FORWARDED_PROTO) == b"https":
            return False
        return self.require_tls == TLS_ALL or headers.get(X_ENVOY_INTERNAL) != b"true"

    def explain(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> list[str]:
        """Why routes match or do not, up to the one that is taken."""
        if self.require_tls and self._wants_tls(headers):
            return ["require_tls: redirected to https"]
        path = self.config.match_path(headers.path)
        if self.matcher is not None:
            route = self.matcher.find(path, headers, info, random_value)
            return ["matcher: no match"] if route is None else [f"matcher: {route.describe()}"]
        lines: list[str] = []
        taken = self.table.find(path, headers, info, random_value)
        for route in self.table.routes:
            if route is taken:
                lines.append(f"taken: {route.describe()}")
                return lines
            reason = "" if route.match is None else route.match.explain(path, headers, info, random_value)
            lines.append(f"passed over: {route.describe()} (fails: {reason})")
        lines.append("no route")
        return lines

    def virtual_cluster(self, headers: RequestHeaderMap) -> VirtualCluster | None:
        """The first virtual cluster that a request belongs to; the catch-all when none does; None without any."""
        for cluster in self.virtual_clusters:
            if cluster.matches(headers):
                return cluster
        return self.catch_all_cluster
