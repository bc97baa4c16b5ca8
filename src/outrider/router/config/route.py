"""Routes: what a request's match gives. Immutable, built when configuration loads.

The router and the connection manager read attributes; only the header finalisers do work per request.
Source: Envoy documentation, "HTTP route components", `config.route.v3.Route`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext
from outrider.http.header_mutation import HeaderParser
from outrider.http.route import HttpRoute
from outrider.router.config.filter_configs import NO_FILTER_CONFIGS, FilterConfigs
from outrider.stats.metrics import UNIT_MILLISECONDS
from outrider.tracing.config import RouteTracing

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.router.config.route_match import RouteMatch
    from outrider.router.config.virtual_host import VirtualHost
    from outrider.stats.store import Scope

ROUTE: Final = 0
REDIRECT: Final = 1
DIRECT_RESPONSE: Final = 2

# Shared by all routes without; never changed.
_NO_METADATA: Final[dict[str, dict[str, object]]] = {}
_NO_EDITS: Final[list[HeaderParser]] = []

KIND_TEXT: Final[list[str]] = ["route", "redirect", "direct_response"]


class Decorator:
    """Operation name of spans; `propagate`: tell it upstream and downstream by x-envoy-decorator-operation."""

    __slots__ = ("operation", "propagate")

    def __init__(self, operation: str, propagate: bool) -> None:
        self.operation = operation
        self.propagate = propagate


class RouteStats:
    """Stats of a route with `stat_prefix`: the scope `vhost.<virtual host>.route.<stat_prefix>.`"""

    __slots__ = ("name", "scope")

    def __init__(self, name: str, scope: Scope) -> None:
        self.name = name
        self.scope = scope
        create_request_stats(scope)


def create_request_stats(scope: Scope) -> None:
    """Make the stats of a route or virtual cluster appear before anything is counted, as in Envoy."""
    for counter in (
        "upstream_rq_retry",
        "upstream_rq_retry_limit_exceeded",
        "upstream_rq_retry_overflow",
        "upstream_rq_retry_success",
        "upstream_rq_timeout",
        "upstream_rq_total",
    ):
        scope.counter(counter)
    scope.histogram("upstream_rq_time", UNIT_MILLISECONDS)


@mypyc_attr(allow_interpreted_subclasses=False)
class Route(HttpRoute):
    """Base of all routes. `kind` tells the subclass."""

    __slots__ = (
        "kind",
        "index",
        "match",
        "virtual_host",
        "metadata",
        "decorator",
        "tracing",
        "filter_configs",
        "request_edits",
        "response_edits",
        "request_body_buffer_limit",
        "stats",
    )

    def __init__(self, kind: int, virtual_host: VirtualHost, match: RouteMatch | None) -> None:
        super().__init__()
        self.kind = kind
        # Place among the routes of its list.
        self.index: int = 0
        # Conditions; None for routes that Envoy makes itself (redirect of require_tls).
        self.match: RouteMatch | None = match
        self.virtual_host: VirtualHost = virtual_host
        # filter_metadata of the route.
        self.metadata: dict[str, dict[str, object]] = _NO_METADATA
        self.decorator: Decorator | None = None
        self.tracing: RouteTracing | None = None
        self.filter_configs: FilterConfigs = NO_FILTER_CONFIGS
        # Header edits in the order in which they are evaluated; later ones win.
        self.request_edits: list[HeaderParser] = _NO_EDITS
        self.response_edits: list[HeaderParser] = _NO_EDITS
        # Bytes; -1 where neither route nor virtual host sets it.
        self.request_body_buffer_limit: int = -1
        self.stats: RouteStats | None = None

    def per_filter_config(self, filter_name: str) -> object | None:
        """The most specific configuration of a filter: weighted cluster, route, virtual host, route configuration."""
        return self.filter_configs.most_specific(filter_name)

    def per_filter_configs(self, filter_name: str) -> list[object]:
        """All configurations of a filter, least specific first; do not change the list."""
        return self.filter_configs.all(filter_name)

    def filter_disabled(self, filter_name: str) -> int:
        """-1 not said, 0 enabled, 1 disabled (FilterConfig.disabled, most specific first)."""
        return self.filter_configs.disabled(filter_name)

    def virtual_host_name(self) -> str:
        return self.virtual_host.name

    def tracing_settings(self) -> RouteTracing | None:
        return self.tracing

    def decorator_operation(self) -> bytes:
        return b"" if self.decorator is None else self.decorator.operation.encode()

    def decorator_propagates(self) -> bool:
        return self.decorator is None or self.decorator.propagate

    def has_filter_switches(self) -> bool:
        return self.filter_configs.has_switches()

    def finalize_response_headers(
        self, headers: ResponseHeaderMap, request_headers: RequestHeaderMap, info: StreamInfo
    ) -> None:
        """Apply response_headers_to_add and _to_remove of all levels."""
        edits = self.response_edits
        if edits:
            context = FormatContext(info, request_headers, headers)
            for edit in edits:
                edit.evaluate_headers(headers, context)

    def select(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route | None:
        """The route to use once this one matched: itself, or one of its weighted clusters (None: all weigh nothing)."""
        return self

    def _assign_base(self, other: Route) -> None:
        self.name = other.name
        self.index = other.index
        self.metadata = other.metadata
        self.decorator = other.decorator
        self.tracing = other.tracing
        self.filter_configs = other.filter_configs
        self.request_edits = other.request_edits
        self.response_edits = other.response_edits
        self.request_body_buffer_limit = other.request_body_buffer_limit
        self.stats = other.stats

    def describe(self) -> str:
        """One line for a person: conditions and action."""
        conditions = "always" if self.match is None else self.match.describe()
        label = f" {self.name!r}" if self.name else ""
        return f"route[{self.index}]{label}: {conditions} -> {self.describe_action()}"

    def describe_action(self) -> str:
        return KIND_TEXT[self.kind]

    def __repr__(self) -> str:
        return f"<{self.describe()}>"
