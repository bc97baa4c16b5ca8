"""The filter's configuration, and that of routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from outrider.extensions.filters.http.ext_authz.check_request import CheckSettings
from outrider.extensions.filters.http.ext_authz.grpc_service import GrpcAuthzService
from outrider.extensions.filters.http.ext_authz.service import AuthzService
from outrider.http.mutation_rules import MutationRules
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.matching.string_matcher import AnyOfStrings, StringMatcher, parse_string_matcher
from outrider.matching.value_matcher import MetadataMatcher, parse_metadata_matcher
from outrider.router.async_client import AsyncClient

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

NAMESPACE: Final = "envoy.filters.http.ext_authz"


class BodySettings:
    """How much of the body the service is told; 0 = nothing."""

    __slots__ = ("limit", "partial")

    def __init__(self, limit: int, partial: bool) -> None:
        self.limit = limit
        self.partial = partial


NO_BODY: Final = BodySettings(0, False)


class AuthzRoute:
    """What a route says; None: as the filter (or what is less specific) says."""

    __slots__ = ("disabled", "body", "extensions", "http", "grpc")

    def __init__(self, disabled: bool) -> None:
        self.disabled = disabled
        self.body: BodySettings | None = None
        self.extensions: dict[str, str] = {}
        self.http: AuthzService | None = None
        self.grpc: GrpcAuthzService | None = None


def merge_routes(configs: Sequence[object]) -> AuthzRoute | None:
    """What virtual host, route and cluster weight say together; the least specific comes first."""
    merged: AuthzRoute | None = None
    for config in configs:
        if not isinstance(config, AuthzRoute):
            continue
        if merged is None:
            merged = config
            continue
        both = AuthzRoute(config.disabled)
        both.body = config.body
        both.extensions = {**merged.extensions, **config.extensions}
        both.http = config.http
        both.grpc = config.grpc
        if config.http is None and config.grpc is None:
            both.http = merged.http
            both.grpc = merged.grpc
        merged = both
    return merged


class AuthzStats:
    __slots__ = (
        "prefix", "ok", "denied", "error", "disabled", "failure_mode_allowed", "invalid", "ignored_dynamic_metadata",
        "shadow_denied", "shadow_error",
    )  # fmt: skip

    def __init__(self, context: FactoryContext, prefix: str) -> None:
        self.prefix = "ext_authz." + (prefix + "." if prefix and not prefix.endswith(".") else prefix)
        own = context.scope.scope(self.prefix)
        self.ok = own.counter("ok")
        self.denied = own.counter("denied")
        self.error = own.counter("error")
        self.disabled = own.counter("disabled")
        self.failure_mode_allowed = own.counter("failure_mode_allowed")
        self.invalid = own.counter("invalid")
        self.ignored_dynamic_metadata = own.counter("ignored_dynamic_metadata")
        self.shadow_denied = own.counter("shadow_denied")
        self.shadow_error = own.counter("shadow_error")


class AuthzConfig:
    __slots__ = (
        "http", "grpc", "check", "client", "stats", "body", "failure_mode_allow", "failure_header",
        "clear_route_cache", "clearing_headers", "status_on_error", "enabled", "enabled_metadata", "deny_at_disable",
        "runtime_key", "runtime", "charge", "clusters", "validate", "rules", "take_metadata", "max_denied_body",
        "shadow", "keeps_call",
    )  # fmt: skip

    def __init__(self, view: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        http_service = view.message("http_service")
        grpc_service = view.message("grpc_service")
        if http_service is None and grpc_service is None:
            raise view.error("value is required", "services")
        if grpc_service is not None and view.enum("transport_api_version") not in ("AUTO", "V3"):
            raise view.error("only V3 is spoken", "transport_api_version")
        view.accept("transport_api_version")
        allowed = view.message("allowed_headers")
        disallowed = view.message("disallowed_headers")
        self.http: AuthzService | None = None
        self.grpc: GrpcAuthzService | None = None
        self.check = _check_settings(view, context)
        if http_service is not None:
            self.http = AuthzService(http_service, allowed, disallowed, context)
        elif grpc_service is not None:
            self.grpc = GrpcAuthzService(grpc_service, context)
            self.check.allowed = _matcher(allowed, context)
        self.check.disallowed = _matcher(disallowed, context)
        self.client = AsyncClient(context)
        self.clusters = context.cluster_manager
        self.stats = AuthzStats(context, view.text("stat_prefix"))
        body = view.message("with_request_body")
        self.body = NO_BODY
        if body is not None:
            self.body = _body_settings(body)
            self.check.pack_as_bytes = body.flag("pack_as_bytes")
        self.failure_mode_allow = view.flag("failure_mode_allow")
        self.failure_header = view.flag("failure_mode_allow_header_add")
        self.clear_route_cache = view.flag("clear_route_cache")
        # Only edits of these fields clear it; empty = any edit.
        self.clearing_headers = frozenset(name.lower().encode() for name in view.texts("clear_route_cache_headers"))
        self.status_on_error = 403
        status = view.message("status_on_error")
        if status is not None and status.enum("code") != "Empty":
            self.status_on_error = int(getattr(status.proto, "code", 403))
        enabled = view.message("filter_enabled")
        self.enabled: RuntimeFraction | None = None if enabled is None else runtime_fraction(enabled, context.runtime)
        metadata = view.message("filter_enabled_metadata")
        self.enabled_metadata: MetadataMatcher | None = (
            None if metadata is None else parse_metadata_matcher(metadata, context)
        )
        deny = view.message("deny_at_disable")
        self.deny_at_disable = deny is not None and deny.flag("default_value")
        self.runtime_key = "" if deny is None else deny.text("runtime_key")
        self.runtime = context.runtime
        self.charge = view.flag("charge_cluster_response_stats", True)
        self.validate = view.flag("validate_mutations")
        rules = view.message("decoder_header_mutation_rules")
        self.rules: MutationRules | None = None if rules is None else MutationRules.from_view(rules)
        self.take_metadata = view.flag("enable_dynamic_metadata_ingestion", True)
        # 0: no limit.
        self.max_denied_body = view.integer("max_denied_response_body_bytes")
        self.shadow = view.flag("shadow_mode")
        self.keeps_call = view.flag("emit_filter_state_stats")
        if not view.flag("emit_client_span", True):
            # No spans are made for calls.
            view.accept("emit_client_span")

    def denies_when_disabled(self) -> bool:
        if self.runtime_key:
            return self.runtime.get_boolean(self.runtime_key, self.deny_at_disable)
        return self.deny_at_disable


def _check_settings(view: View, context: FactoryContext) -> CheckSettings:
    check = CheckSettings()
    check.raw_headers = view.flag("encode_raw_headers")
    check.certificate = view.flag("include_peer_certificate")
    check.tls_session = view.flag("include_tls_session")
    check.namespaces = view.texts("metadata_context_namespaces")
    check.route_namespaces = view.texts("route_metadata_context_namespaces")
    key = view.text("bootstrap_metadata_labels_key")
    labels = context.server.node_metadata.get(key) if key else None
    if isinstance(labels, dict):
        check.labels = {str(name): value for name, value in labels.items() if isinstance(value, str)}
    return check


def _matcher(view: View | None, context: FactoryContext) -> StringMatcher | None:
    if view is None:
        return None
    return AnyOfStrings([parse_string_matcher(each, context) for each in view.messages("patterns")])


def _body_settings(view: View) -> BodySettings:
    return BodySettings(view.integer("max_request_bytes"), view.flag("allow_partial_message"))


def load_route(config: View, context: FactoryContext) -> AuthzRoute:
    """From an ExtAuthzPerRoute. Raises ConfigError."""
    if config.which("override") == "disabled":
        if not config.flag("disabled"):
            raise config.error("value must be true", "disabled")
        return AuthzRoute(True)
    settings = config.message("check_settings")
    if settings is None:
        raise config.error("value is required", "override")
    route = AuthzRoute(False)
    route.extensions = settings.text_map("context_extensions")
    body = settings.message("with_request_body")
    if settings.flag("disable_request_body_buffering"):
        if body is not None:
            raise settings.error("cannot be used together with with_request_body", "disable_request_body_buffering")
        route.body = NO_BODY
    elif body is not None:
        route.body = _body_settings(body)
        # As in Envoy the filter's own setting decides.
        body.accept("pack_as_bytes")
    grpc = settings.message("grpc_service")
    http = settings.message("http_service")
    if grpc is not None:
        route.grpc = GrpcAuthzService(grpc, context)
    elif http is not None:
        route.http = AuthzService(http, None, None, context)
    return route
