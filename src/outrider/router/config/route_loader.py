"""Builds routes from configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.format_string import parse_format_string
from outrider.config.errors import ConfigError
from outrider.matching.runtime_fraction import fractional_percent
from outrider.router.config.action_loader import load_body, load_host_rewrite, load_path_rewrite, load_redirect
from outrider.router.config.filter_config_loader import load_filter_configs, load_old_cors
from outrider.router.config.filter_configs import NO_FILTER_CONFIGS, FilterConfigs
from outrider.router.config.header_edits import NO_EDITS, LevelEdits, load_level, request_order, response_order
from outrider.router.config.internal_redirect import InternalRedirectPolicy
from outrider.router.config.match_loader import load_match, set_fields
from outrider.router.config.policy_loader import (
    load_any_retry_policy,
    load_hash_policy,
    load_hedge_policy,
    load_internal_redirect,
    load_shadow_policy,
    load_upgrades,
)
from outrider.router.config.redirect import DirectResponseRoute, RedirectRoute
from outrider.router.config.route import Decorator, Route, RouteStats
from outrider.router.config.route_entry import PRIORITY_HIGH, RouteEntry
from outrider.router.config.weighted_clusters import ClusterHeaderRoute, WeightedClustersRoute
from outrider.tracing.config import ALL, RouteTracing
from outrider.tracing.custom_tags import operation_field, parse_custom_tags

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.router.config.route_match import RouteMatch
    from outrider.router.config.shadow_policy import ShadowPolicy
    from outrider.router.config.virtual_host import VirtualHost
    from outrider.stats.store import Scope

_NOT_FOUND_CODES: Final[dict[str, int]] = {"SERVICE_UNAVAILABLE": 503, "NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}
_MAX_WEIGHT: Final = (1 << 32) - 1
_SAMPLING: Final = ("client_sampling", "random_sampling", "overall_sampling")


class RouteLoader:
    """What the routes of one virtual host inherit, and the methods that build them."""

    def __init__(self, context: FactoryContext, virtual_host: VirtualHost) -> None:
        self.context = context
        self.virtual_host = virtual_host
        self.validate_clusters: bool = False
        self.most_specific_wins: bool = False
        self.config_edits: LevelEdits = NO_EDITS
        self.host_edits: LevelEdits = NO_EDITS
        self.filter_configs: FilterConfigs = NO_FILTER_CONFIGS
        # Mirrors of virtual host or route configuration, for routes without their own.
        self.shadow_policies: list[ShadowPolicy] = []
        self.max_body: int = 4096
        self.host_scope: Scope | None = None
        # Edits of routes without their own: one list for all of them.
        self._inherited_request = request_order([], False)
        self._inherited_response = response_order([], False)

    def ready(self) -> None:
        """To be called when all attributes are set."""
        levels = [self.host_edits, self.config_edits]
        self._inherited_request = request_order(levels, self.most_specific_wins)
        self._inherited_response = response_order(levels, self.most_specific_wins)

    def load(self, view: View) -> Route:
        """From a `config.route.v3.Route`. Raises ConfigError."""
        present = set_fields(view)
        match_view = view.message("match")
        if match_view is None:
            raise view.error("value is required", "match")
        match = load_match(match_view, self.context)
        kind = view.which("action")
        route: Route
        action: View | None = None
        if kind == "route":
            action = view.message(kind)
            assert action is not None
            route = self._load_entry(action, match)
        elif kind == "redirect":
            action = view.message(kind)
            assert action is not None
            code, redirect = load_redirect(action, match)
            route = RedirectRoute(self.virtual_host, match, code, redirect)
        elif kind == "direct_response":
            action = view.message(kind)
            assert action is not None
            route = self._load_direct_response(action, match)
        elif kind in ("non_forwarding_action", "filter_action"):
            # For proxyless clients. Envoy serves such a route as one whose cluster does not exist.
            view.accept(kind)
            route = RouteEntry(self.virtual_host, match)
        else:
            raise view.error("value is required", "action")
        self._load_common(view, present, route)
        if kind == "route" and action is not None and action.has("cors"):
            route.filter_configs = load_old_cors(action, self.context, route.filter_configs)
        if isinstance(route, RouteEntry) and not route.shadow_policies:
            route.shadow_policies = self.shadow_policies
        if isinstance(route, WeightedClustersRoute):
            action = view.message("route")
            assert action is not None
            self._load_choices(action, route)
        return route

    def _load_common(self, view: View, present: set[str], route: Route) -> None:
        route.name = view.text("name")
        route.filter_configs = self.filter_configs
        route.request_edits = self._inherited_request
        route.response_edits = self._inherited_response
        route.request_body_buffer_limit = self.virtual_host.request_body_buffer_limit
        if len(present) <= 2 or present <= {"match", "route", "name", "redirect", "direct_response"}:
            return
        edits = load_level(view, present)
        if edits.request is not None or edits.response is not None:
            levels = [edits, self.host_edits, self.config_edits]
            route.request_edits = request_order(levels, self.most_specific_wins)
            route.response_edits = response_order(levels, self.most_specific_wins)
        if "typed_per_filter_config" in present:
            route.filter_configs = load_filter_configs(view, self.context, self.filter_configs)
        if "metadata" in present:
            route.metadata = load_metadata(view)
        if "decorator" in present:
            decorator = view.message("decorator")
            assert decorator is not None
            route.decorator = Decorator(decorator.text("operation"), decorator.flag("propagate", True))
        if "tracing" in present:
            route.tracing = _load_tracing(view)
        limit = load_buffer_limit(view)
        if limit >= 0:
            route.request_body_buffer_limit = limit
        if "stat_prefix" in present:
            prefix = view.text("stat_prefix")
            assert self.host_scope is not None
            route.stats = RouteStats(prefix, self.host_scope.scope(f"route.{prefix}"))

    def _load_entry(self, view: View, match: RouteMatch) -> RouteEntry:
        """From a RouteAction."""
        kind = view.which("cluster_specifier")
        entry: RouteEntry
        if kind == "cluster":
            entry = RouteEntry(self.virtual_host, match)
            entry.cluster_name = view.text(kind)
            self._check_cluster(view, kind, entry.cluster_name, "cluster")
        elif kind == "cluster_header":
            entry = ClusterHeaderRoute(self.virtual_host, match, view.text(kind).lower().encode())
        elif kind == "weighted_clusters":
            entry = WeightedClustersRoute(self.virtual_host, match)
        else:
            # Cluster specifier plugins: the field stays unread, and is refused by its path.
            entry = RouteEntry(self.virtual_host, match)
        present = set_fields(view)
        entry.retry_policy = self.virtual_host.retry_policy
        entry.hedge_policy = self.virtual_host.hedge_policy
        if present == {kind}:
            return entry
        entry.cluster_not_found_code = _NOT_FOUND_CODES[view.enum("cluster_not_found_response_code")]
        self._load_rewrites(view, present, entry, match)
        self._load_times(view, present, entry)
        if "metadata_match" in present:
            entry.metadata_match = load_criteria(view, "metadata_match")
        own_retry = load_any_retry_policy(view, self.context)
        if own_retry is not None:
            entry.retry_policy = own_retry
        if "hedge_policy" in present:
            hedge = view.message("hedge_policy")
            assert hedge is not None
            entry.hedge_policy = load_hedge_policy(hedge)
        if "request_mirror_policies" in present:
            entry.shadow_policies = self.load_shadows(view)
        entry.priority = PRIORITY_HIGH if view.enum("priority") == "HIGH" else 0
        if "hash_policy" in present:
            entry.hash_policy = load_hash_policy(view.messages("hash_policy"))
        if "rate_limits" in present:
            from outrider.router.rate_limit_actions import parse_policies

            entry.rate_limits = parse_policies(view.messages("rate_limits"), self.context)
        entry.include_virtual_host_rate_limits = view.flag("include_vh_rate_limits")
        if "upgrade_configs" in present:
            entry.upgrades, entry.connect_config = load_upgrades(view.messages("upgrade_configs"))
        redirects = view.message("internal_redirect_policy")
        if redirects is not None:
            entry.internal_redirect_policy = load_internal_redirect(redirects, self.context)
        elif view.enum("internal_redirect_action") == "HANDLE_INTERNAL_REDIRECT":
            entry.internal_redirect_policy = InternalRedirectPolicy()
            entry.internal_redirect_policy.max_internal_redirects = view.integer("max_internal_redirects", 1)
        return entry

    def _load_rewrites(self, view: View, present: set[str], entry: RouteEntry, match: RouteMatch) -> None:
        entry.path_rewrite = load_path_rewrite(view, match)
        if view.which("host_rewrite_specifier") == "auto_host_rewrite":
            entry.auto_host_rewrite = view.flag("auto_host_rewrite")
        else:
            entry.host_rewrite = load_host_rewrite(view)
        entry.append_x_forwarded_host = view.flag("append_x_forwarded_host")

    def _load_times(self, view: View, present: set[str], entry: RouteEntry) -> None:
        if "timeout" in present:
            entry.timeout_ms = view.millis("timeout") or 0
        if "idle_timeout" in present:
            entry.idle_timeout_ms = view.millis("idle_timeout") or 0
        if "flush_timeout" in present:
            entry.flush_timeout_ms = view.millis("flush_timeout") or 0
        if "max_grpc_timeout" in present:
            entry.max_grpc_timeout_ms = view.millis("max_grpc_timeout") or 0
        if "grpc_timeout_offset" in present:
            entry.grpc_timeout_offset_ms = view.millis("grpc_timeout_offset") or 0
        if "max_stream_duration" in present:
            duration = view.message("max_stream_duration")
            assert duration is not None
            entry.max_stream_duration_ms = _millis(duration, "max_stream_duration")
            entry.grpc_timeout_header_max_ms = _millis(duration, "grpc_timeout_header_max")
            entry.grpc_timeout_header_offset_ms = _millis(duration, "grpc_timeout_header_offset")

    def load_shadows(self, view: View) -> list[ShadowPolicy]:
        """`request_mirror_policies` of any level. Raises ConfigError."""
        policies: list[ShadowPolicy] = []
        for each in view.messages("request_mirror_policies"):
            policy = load_shadow_policy(each, self.context)
            if policy.cluster:
                self._check_cluster(each, "cluster", policy.cluster, "shadow cluster")
            policies.append(policy)
        return policies

    def _load_choices(self, action: View, route: WeightedClustersRoute) -> None:
        """The weighted clusters of a route whose other settings are there already."""
        view = action.message("weighted_clusters")
        assert view is not None
        # Deprecated and without effect: the sum of the weights counts.
        view.accept("total_weight")
        prefix = view.text("runtime_key_prefix")
        route.header_name = view.text("header_name").lower().encode()
        route.use_hash_policy = view.flag("use_hash_policy")
        route.runtime = self.context.runtime
        for each in view.messages("clusters"):
            name = each.text("name")
            header = each.text("cluster_header")
            if name and header:
                raise each.error("Only one of name or cluster_header can be specified")
            if not name and not header:
                raise each.error("At least one of name or cluster_header need to be specified")
            if not each.has("weight"):
                raise each.error("Field 'weight' is missing", "weight")
            if name:
                self._check_cluster(each, "name", name, "weighted cluster")
                choice = RouteEntry(route.virtual_host, route.match)
            else:
                choice = ClusterHeaderRoute(route.virtual_host, route.match, header.lower().encode())
            choice.assign(route)
            choice.cluster_name = name
            self._load_choice(each, choice, route)
            weight = each.integer("weight")
            route.choices.append(choice)
            route.weights.append(weight)
            route.total += weight
            if prefix:
                route.runtime_keys.append(f"{prefix}.{name}")
        if route.total > _MAX_WEIGHT:
            raise view.error(
                f"The sum of weights of all weighted clusters of route {route.name} exceeds {_MAX_WEIGHT}", "clusters"
            )
        total = route.total
        if prefix:
            runtime = self.context.runtime
            total = sum([runtime.get_integer(key, route.weights[i]) for i, key in enumerate(route.runtime_keys)])
        if total == 0:
            raise view.error("Sum of weights in the weighted_cluster must be greater than 0.", "clusters")

    def _load_choice(self, view: View, choice: RouteEntry, route: RouteEntry) -> None:
        present = set_fields(view)
        edits = load_level(view, present)
        choice.choice_edits = edits.request
        if edits.response is not None:
            choice.response_edits = [edits.response, *route.response_edits]
        choice.choice_host = view.text("host_rewrite_literal").encode()
        if "typed_per_filter_config" in present:
            choice.filter_configs = load_filter_configs(view, self.context, route.filter_configs)
        if "metadata_match" in present:
            criteria = load_criteria(view, "metadata_match")
            if criteria is not None:
                choice.metadata_match = {**(route.metadata_match or {}), **criteria}

    def _load_direct_response(self, view: View, match: RouteMatch) -> DirectResponseRoute:
        route = DirectResponseRoute(self.virtual_host, match, view.integer("status"))
        body = view.message("body")
        if body is not None:
            route.body = load_body(body, self.max_body)
        body_format = view.message("body_format")
        if body_format is not None:
            compiled = parse_format_string(body_format, self.context)
            route.body_format = compiled.formatter
            route.content_type = compiled.content_type
        return route

    def _check_cluster(self, view: View, field: str, name: str, what: str) -> None:
        if self.validate_clusters and not self.context.cluster_manager.has(name):
            raise view.error(f"route: unknown {what} '{name}'", field)


def _millis(view: View, field: str) -> int:
    value = view.millis(field)
    return -1 if value is None else value


def load_buffer_limit(view: View) -> int:
    """Bytes, of a route or virtual host: the new field, else the deprecated one, else -1. Raises ConfigError."""
    limit = view.integer("request_body_buffer_limit", -1)
    old = view.integer("per_request_buffer_limit_bytes", -1)
    return limit if limit >= 0 else old


def load_metadata(view: View) -> dict[str, dict[str, object]]:
    """`filter_metadata` of the field `metadata`."""
    metadata = view.message("metadata")
    return {} if metadata is None else metadata.struct_map("filter_metadata")


def load_criteria(view: View, field: str) -> dict[str, object] | None:
    """The subset criteria (`envoy.lb`) of a metadata match."""
    metadata = view.message(field)
    return None if metadata is None else metadata.struct_map("filter_metadata").get("envoy.lb")


def _load_tracing(view: View) -> RouteTracing:
    tracing = view.message("tracing")
    if tracing is None:
        raise ConfigError("tracing is not set")
    rates: list[tuple[int, int]] = []
    for name in _SAMPLING:
        rate = tracing.message(name)
        rates.append(ALL if rate is None else fractional_percent(rate))
    loaded = RouteTracing(rates[0], rates[1], rates[2])
    loaded.custom_tags = parse_custom_tags(tracing.messages("custom_tags"))
    loaded.operation = operation_field(tracing, "operation")
    loaded.upstream_operation = operation_field(tracing, "upstream_operation")
    return loaded
