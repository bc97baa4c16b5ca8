"""VirtualHost: the routes of a set of domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap
    from outrider.matching.header_matcher import HeaderMatcher
    from outrider.router.config.retry_policy import HedgePolicy, RetryPolicy
    from outrider.router.config.route_config import RouteConfig
    from outrider.stats.store import Scope

TLS_NONE: Final = 0
TLS_EXTERNAL_ONLY: Final = 1
TLS_ALL: Final = 2


class VirtualCluster:
    """A named group of requests with stats of its own: `vhost.<virtual host>.vcluster.<name>.`"""

    __slots__ = (
        "name", "matchers", "scope", "upstream_rq_retry", "upstream_rq_retry_limit_exceeded", "upstream_rq_retry_overflow",
        "upstream_rq_retry_success", "upstream_rq_timeout", "upstream_rq_total",
    )

    def __init__(self, name: str, matchers: list[HeaderMatcher], scope: Scope) -> None:
        self.name = name
        self.matchers = matchers
        # For stats by response code (`upstream_rq_200`, `upstream_rq_2xx`, `upstream_rq_time`).
        self.scope = scope
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
        "name", "config", "require_tls", "virtual_clusters", "catch_all_cluster", "include_attempt_count_in_request",
        "include_attempt_count_in_response", "include_is_timeout_retry_header", "retry_policy", "hedge_policy",
        "request_body_buffer_limit", "metadata", "domains",
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
        self.metadata: dict[str, dict[str, object]] = {}

    def virtual_cluster(self, headers: RequestHeaderMap) -> VirtualCluster | None:
        """The first virtual cluster that a request belongs to; the catch-all when none does; None without any."""
        for cluster in self.virtual_clusters:
            if cluster.matches(headers):
                return cluster
        return self.catch_all_cluster
