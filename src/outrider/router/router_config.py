"""`envoy.filters.http.router`: configuration, stats and factory of the router filter.

Source: `envoy.extensions.filters.http.router.v3.Router`; Envoy documentation, router filter.
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, ClassVar, Final

from mypy_extensions import mypyc_attr

from outrider.http.filter import HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.registry import ExtensionRegistry
from outrider.router.filter import RouterFilter
from outrider.router.load_balancing import RouterContext
from outrider.stats.metrics import Counter
from outrider.stats.store import Scope
from outrider.upstream.code_stats import CodeStats

if TYPE_CHECKING:
    from outrider.access_log.access_log import AccessLog
    from outrider.config.runtime import Runtime
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster_manager import ClusterManager


class RouterStats:
    """`http.<stat_prefix>.*` of the router."""

    __slots__ = (
        "no_cluster",
        "no_route",
        "passthrough_internal_redirect_bad_location",
        "passthrough_internal_redirect_no_route",
        "passthrough_internal_redirect_predicate",
        "passthrough_internal_redirect_too_many_redirects",
        "passthrough_internal_redirect_unsafe_scheme",
        "rq_direct_response",
        "rq_overload_local_reply",
        "rq_redirect",
        "rq_reset_after_downstream_response_started",
        "rq_total",
    )

    def __init__(self, scope: Scope) -> None:
        """`scope` is `http.<stat_prefix>.`."""
        self.no_cluster: Counter = scope.counter("no_cluster")
        self.no_route: Counter = scope.counter("no_route")
        self.passthrough_internal_redirect_bad_location: Counter = scope.counter(
            "passthrough_internal_redirect_bad_location"
        )
        self.passthrough_internal_redirect_no_route: Counter = scope.counter("passthrough_internal_redirect_no_route")
        self.passthrough_internal_redirect_predicate: Counter = scope.counter("passthrough_internal_redirect_predicate")
        self.passthrough_internal_redirect_too_many_redirects: Counter = scope.counter(
            "passthrough_internal_redirect_too_many_redirects"
        )
        self.passthrough_internal_redirect_unsafe_scheme: Counter = scope.counter(
            "passthrough_internal_redirect_unsafe_scheme"
        )
        self.rq_direct_response: Counter = scope.counter("rq_direct_response")
        # Envoy has these two, too; redirects count as direct responses, and no overload manager acts here.
        self.rq_overload_local_reply: Counter = scope.counter("rq_overload_local_reply")
        self.rq_redirect: Counter = scope.counter("rq_redirect")
        self.rq_reset_after_downstream_response_started: Counter = scope.counter(
            "rq_reset_after_downstream_response_started"
        )
        self.rq_total: Counter = scope.counter("rq_total")


@mypyc_attr(allow_interpreted_subclasses=True)
class RandomSource:
    """Where the router's random numbers come from; tests give their own."""

    def value(self) -> int:
        """A uniform 63-bit integer."""
        return getrandbits(63)


class RouterConfig:
    """One configured router and what it works with."""

    __slots__ = (
        "clusters",
        "runtime",
        "stats",
        "shadow_stats",
        "context",
        "random",
        "zone",
        "dynamic_stats", "start_child_span",
        "suppress_envoy_headers",
        "respect_expected_timeout",
        "suppress_grpc_code_stats",
        "reject_connect_early_data",
        "strict_headers",
        "upstream_logs",
        "log_on_pool_ready",
        "log_flush_interval_ms",
        "_code_stats",
    )

    def __init__(
        self,
        clusters: ClusterManager,
        runtime: Runtime,
        scope: Scope,
        root_scope: Scope,
        zone: str,
        random: RandomSource | None = None,
    ) -> None:
        """`scope` is `http.<stat_prefix>.`; `zone` is the zone of this node, empty when not known."""
        self.clusters = clusters
        self.runtime = runtime
        self.stats = RouterStats(scope)
        # Mirrored requests count where Envoy's internal client does.
        self.shadow_stats = RouterStats(root_scope.scope("http.async-client."))
        self.context = RouterContext()
        self.random: RandomSource = RandomSource() if random is None else random
        self.zone: str = zone
        self.dynamic_stats: bool = True
        # Traced requests get a span for each upstream request.
        self.start_child_span: bool = False
        self.suppress_envoy_headers: bool = False
        self.respect_expected_timeout: bool = False
        self.suppress_grpc_code_stats: bool = False
        self.reject_connect_early_data: bool = False
        # Names of headers to check, in the order configured; None when there are none.
        self.strict_headers: list[bytes] | None = None
        self.upstream_logs: list[AccessLog] = []
        self.log_on_pool_ready: bool = False
        # 0: no periodic entries.
        self.log_flush_interval_ms: int = 0
        self._code_stats: dict[str, CodeStats] = {}

    def random_value(self) -> int:
        return self.random.value()

    def retries_enabled(self) -> bool:
        """Runtime `upstream.use_retry`, by default on."""
        runtime = self.runtime
        if not runtime.has("upstream.use_retry"):
            return True
        return runtime.feature_enabled("upstream.use_retry", 100, self.random.value())

    def code_stats_of(self, scope: Scope) -> CodeStats:
        """The response-code counters of a virtual cluster's or route's scope."""
        found = self._code_stats.get(scope.prefix)
        if found is None:
            found = CodeStats(scope)
            self._code_stats[scope.prefix] = found
        return found


class RouterFilterFactory(HttpFilterFactory):
    """Makes a RouterFilter for each stream."""

    is_terminal = True

    def __init__(self, config: RouterConfig) -> None:
        self.config = config

    def create(self) -> HttpFilter:
        return RouterFilter(self.config)


@mypyc_attr(allow_interpreted_subclasses=True)
class UpstreamHttpFilterFactory:
    """A filter that runs once per attempt, behind the choice of a host (`upstream_http_filters`)."""

    is_terminal: ClassVar[bool] = False


# Factories take `(config, context)`: `(View, FactoryContext)`.
UPSTREAM_HTTP_FILTERS: Final[ExtensionRegistry[UpstreamHttpFilterFactory]] = ExtensionRegistry(
    "envoy.filters.http.upstream"
)


class UpstreamCodecFactory(UpstreamHttpFilterFactory):
    """`envoy.filters.http.upstream_codec`: the last of the upstream filters, which is UpstreamRequest itself."""

    is_terminal = True


@UPSTREAM_HTTP_FILTERS.register(
    "envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
)
def create_upstream_codec(config: View, context: FactoryContext) -> UpstreamHttpFilterFactory:
    return UpstreamCodecFactory()


def check_upstream_filters(views: list[View], context: FactoryContext) -> None:
    """Refuse a chain of upstream filters that does not end with the codec. Raises ConfigError."""
    for position, view in enumerate(views):
        name = view.text("name")
        factory = UPSTREAM_HTTP_FILTERS.create(view, context)
        last = position == len(views) - 1
        if factory.is_terminal and not last:
            raise view.error(
                f"Error: terminal filter named {name} of type {name} must be the last filter in a "
                "router upstream http filter chain."
            )
        if last and not factory.is_terminal:
            raise view.error(
                f"Error: non-terminal filter named {name} of type {name} is the last filter in a "
                "router upstream http filter chain."
            )


def router_config(view: View, context: FactoryContext) -> RouterConfig:
    """Read a `Router` message. Raises ConfigError."""
    # The connection manager's context is scoped to `http.<stat_prefix>.` already.
    scope = context.scope
    config = RouterConfig(context.cluster_manager, context.runtime, scope, context.root_scope, context.server.node_zone)
    config.dynamic_stats = view.flag("dynamic_stats", True)
    config.start_child_span = view.flag("start_child_span")
    config.suppress_envoy_headers = view.flag("suppress_envoy_headers")
    config.respect_expected_timeout = view.flag("respect_expected_rq_timeout")
    config.suppress_grpc_code_stats = view.flag("suppress_grpc_request_failure_code_stats")
    config.reject_connect_early_data = view.flag("reject_connect_request_early_data")
    names = view.texts("strict_check_headers")
    if names:
        config.strict_headers = [name.lower().encode() for name in names]
    for log in view.messages("upstream_log"):
        from outrider.access_log.access_log import create_access_log

        config.upstream_logs.append(create_access_log(log, context))
    options = view.message("upstream_log_options")
    if options is not None:
        config.log_on_pool_ready = options.flag("flush_upstream_log_on_upstream_stream")
        interval = options.millis("upstream_log_flush_interval")
        config.log_flush_interval_ms = 0 if interval is None else interval
    check_upstream_filters(view.messages("upstream_http_filters"), context)
    return config


@HTTP_FILTERS.register("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", "envoy.router")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return RouterFilterFactory(router_config(config, context))
