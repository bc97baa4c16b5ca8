"""Builds a RouteConfig and its virtual hosts from configuration."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

from outrider.config.load import paused_collector
from outrider.matching.header_matcher import parse_header_matchers
from outrider.router.config.filter_config_loader import load_filter_configs, load_old_cors
from outrider.router.config.filter_configs import NO_FILTER_CONFIGS, FilterConfigs
from outrider.router.config.header_edits import LevelEdits, load_level
from outrider.router.config.match_loader import set_fields
from outrider.router.config.policy_loader import load_any_retry_policy, load_hedge_policy
from outrider.router.config.route_config import RouteConfig
from outrider.router.config.route_loader import RouteLoader, load_buffer_limit, load_metadata
from outrider.router.config.route_table import RouteTable
from outrider.router.config.virtual_host import TLS_ALL, TLS_EXTERNAL_ONLY, TLS_NONE, VirtualCluster, VirtualHost

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.router.config.route import Route
    from outrider.router.config.shadow_policy import ShadowPolicy

_TLS: Final[dict[str, int]] = {"NONE": TLS_NONE, "EXTERNAL_ONLY": TLS_EXTERNAL_ONLY, "ALL": TLS_ALL}


def load_route_config(view: View, context: FactoryContext, validate_clusters_default: bool = True) -> RouteConfig:
    """From a RouteConfiguration. Raises ConfigError.

    `validate_clusters_default`: what an unset `validate_clusters` means: yes for inline configurations, no for those
    that RDS delivers.
    """
    # Thousands of small objects that all stay: the collector would look through them again and again for nothing.
    with paused_collector():
        return _ConfigLoader(view, context, validate_clusters_default).load()


class StepwiseLoad:
    """The same in small steps, for a loop that has other things to do; `config` is whole at the end of `steps`."""

    def __init__(self, view: View, context: FactoryContext, validate_clusters_default: bool) -> None:
        loader = _ConfigLoader(view, context, validate_clusters_default)
        self.config = loader.config
        self.steps = loader.steps()


class _ConfigLoader:
    """One pass over one RouteConfiguration."""

    def __init__(self, view: View, context: FactoryContext, validate_clusters_default: bool) -> None:
        self.view = view
        self.context = context
        self.config = RouteConfig(view.text("name"))
        self.validate_clusters = view.flag("validate_clusters", validate_clusters_default)
        self.most_specific_wins = view.flag("most_specific_header_mutations_wins")
        self.edits: LevelEdits = load_level(view, set_fields(view))
        self.filter_configs: FilterConfigs = NO_FILTER_CONFIGS
        self.shadow_policies: list[ShadowPolicy] = []
        self.max_body = view.integer("max_direct_response_body_size_bytes", 4096)

    def load(self) -> RouteConfig:
        for _ in self.steps():
            pass
        return self.config

    def steps(self) -> Iterator[None]:
        """Load; stops after each route."""
        view = self.view
        config = self.config
        config.internal_only_headers = [name.lower().encode() for name in view.texts("internal_only_headers")]
        config.ignore_port = view.flag("ignore_port_in_host_matching")
        config.vhost_header = view.text("vhost_header").lower().encode()
        config.ignore_path_parameters = view.flag("ignore_path_parameters_in_path_matching")
        config.metadata = load_metadata(view)
        self.filter_configs = load_filter_configs(view, self.context, NO_FILTER_CONFIGS)
        if view.has("request_mirror_policies"):
            loader = RouteLoader(self.context, VirtualHost("", config))
            loader.validate_clusters = self.validate_clusters
            self.shadow_policies = loader.load_shadows(view)
        for host_view in view.messages("virtual_hosts"):
            host = yield from self._load_host(host_view)
            config.virtual_hosts.append(host)
            for domain in host.domains:
                problem = config.domains.add(domain, host)
                if problem:
                    raise host_view.error(f"{problem} in route {config.name}", "domains")

    def _load_host(self, view: View) -> Generator[None, None, VirtualHost]:
        context = self.context
        name = view.text("name")
        host = VirtualHost(name, self.config)
        host.domains = view.texts("domains")
        present = set_fields(view)
        loader = RouteLoader(context, host)
        loader.validate_clusters = self.validate_clusters
        loader.most_specific_wins = self.most_specific_wins
        loader.config_edits = self.edits
        loader.host_edits = load_level(view, present)
        loader.filter_configs = self.filter_configs
        if "typed_per_filter_config" in present:
            loader.filter_configs = load_filter_configs(view, context, self.filter_configs)
        if "cors" in present:
            loader.filter_configs = load_old_cors(view, context, loader.filter_configs)
        loader.max_body = self.max_body
        loader.shadow_policies = self.shadow_policies
        if "request_mirror_policies" in present:
            loader.shadow_policies = loader.load_shadows(view)
        host.set_require_tls(_TLS[view.enum("require_tls")])
        host.include_attempt_count_in_request = view.flag("include_request_attempt_count")
        host.include_attempt_count_in_response = view.flag("include_attempt_count_in_response")
        host.include_is_timeout_retry_header = view.flag("include_is_timeout_retry_header")
        host.retry_policy = load_any_retry_policy(view, context)
        hedge = view.message("hedge_policy")
        if hedge is not None:
            host.hedge_policy = load_hedge_policy(hedge)
        host.request_body_buffer_limit = load_buffer_limit(view)
        if "metadata" in present:
            host.metadata = load_metadata(view)
        if "rate_limits" in present:
            from outrider.router.rate_limit_actions import parse_policies

            host.rate_limits = parse_policies(view.messages("rate_limits"), context)
        # Envoy's route stats stand below the root, whatever listener the routes belong to.
        loader.host_scope = context.root_scope.scope(f"vhost.{name}")
        if "virtual_clusters" in present:
            self._load_virtual_clusters(view, host, loader)
        loader.ready()
        if "matcher" in present:
            if "routes" in present:
                raise view.error("cannot set both matcher and routes on virtual host", "matcher")
            from outrider.router.config.matcher_loader import load_route_matcher

            matcher = view.message("matcher")
            assert matcher is not None
            host.matcher = load_route_matcher(matcher, loader)
        else:
            routes: list[Route] = []
            for each in view.messages("routes"):
                routes.append(loader.load(each))
                yield
            host.table = RouteTable(routes)
        return host

    def _load_virtual_clusters(self, view: View, host: VirtualHost, loader: RouteLoader) -> None:
        assert loader.host_scope is not None
        scope = loader.host_scope.scope("vcluster")
        host.catch_all_cluster = VirtualCluster("other", [], scope.scope("other"))
        for each in view.messages("virtual_clusters"):
            matchers = parse_header_matchers(each.messages("headers"), self.context)
            if not matchers:
                raise each.error("virtual clusters must define 'headers'", "headers")
            name = each.text("name")
            host.virtual_clusters.append(VirtualCluster(name, matchers, scope.scope(name)))
