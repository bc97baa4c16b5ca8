"""envoy.filters.http.rbac: role based access control of requests.

Source: Envoy documentation, "Role Based Access Control (RBAC) Filter".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import RequestHeaderMap
from outrider.extensions.rbac.conditions import Subject
from outrider.extensions.rbac.engine import Engine, load_engine, response_details
from outrider.extensions.rbac.stats import RbacStats
from outrider.http.filter import HEADERS_CONTINUE, HEADERS_STOP_ITERATION, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
NAMESPACE: Final = "envoy.filters.http.rbac"


class RbacSettings:
    """Engines of the filter, or of a route in their place."""

    __slots__ = ("engine", "shadow", "rules_prefix", "shadow_prefix", "per_rule")

    def __init__(
        self, engine: Engine | None, shadow: Engine | None, rules_prefix: str, shadow_prefix: str, per_rule: bool
    ) -> None:
        self.engine: Engine | None = engine
        self.shadow: Engine | None = shadow
        self.rules_prefix = rules_prefix
        self.shadow_prefix = shadow_prefix
        self.per_rule = per_rule


class RbacFilter(HttpFilter):
    __slots__ = ("settings", "stats")

    def __init__(self, settings: RbacSettings, stats: RbacStats) -> None:
        self.settings = settings
        self.stats = stats

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        manager = self.manager
        settings = self.settings
        route = manager.route()
        if route is not None:
            special = route.per_filter_config(self.config_name)
            if isinstance(special, RbacSettings):
                settings = special
        info = manager.stream_info
        subject = Subject(manager.connection.info, info, headers, route)
        if settings.shadow is not None:
            verdict = settings.shadow.judge(subject)
            self.stats.count_shadow(verdict.allowed, verdict.policy, settings.per_rule)
            prefix = settings.shadow_prefix
            told: dict[str, object] = {prefix + "shadow_engine_result": "allowed" if verdict.allowed else "denied"}
            if verdict.policy:
                told[prefix + "shadow_effective_policy_id"] = verdict.policy
            info.set_metadata(NAMESPACE, told)
        if settings.engine is None:
            return HEADERS_CONTINUE
        verdict = settings.engine.judge(subject)
        self.stats.count(verdict.allowed, verdict.policy, settings.per_rule)
        prefix = settings.rules_prefix
        told = {prefix + "enforced_engine_result": "allowed" if verdict.allowed else "denied"}
        if verdict.policy:
            told[prefix + "enforced_effective_policy_id"] = verdict.policy
        info.set_metadata(NAMESPACE, told)
        if verdict.allowed:
            return HEADERS_CONTINUE
        manager.send_local_reply(403, "RBAC: access denied", response_details(verdict.policy))
        return HEADERS_STOP_ITERATION


class RbacFilterFactory(HttpFilterFactory):
    def __init__(self, settings: RbacSettings, stats: RbacStats) -> None:
        self.settings = settings
        self.stats = stats

    def create(self) -> HttpFilter:
        return RbacFilter(self.settings, self.stats)


def load_settings(view: View, context: FactoryContext) -> RbacSettings:
    """Raises ConfigError."""
    return RbacSettings(
        load_engine(view, "rules", "matcher", True, context, True),
        load_engine(view, "shadow_rules", "shadow_matcher", False, context, True),
        view.text("rules_stat_prefix"),
        view.text("shadow_rules_stat_prefix"),
        view.flag("track_per_rule_stats"),
    )


@HTTP_FILTERS.register("envoy.filters.http.rbac", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    settings = load_settings(config, context)
    return RbacFilterFactory(settings, RbacStats(context.scope, settings.rules_prefix, settings.shadow_prefix))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> RbacSettings:
    """Without `rbac` the filter does nothing on the route. Raises ConfigError."""
    rbac = config.message("rbac")
    return RbacSettings(None, None, "", "", False) if rbac is None else load_settings(rbac, context)
