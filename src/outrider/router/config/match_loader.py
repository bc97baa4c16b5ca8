"""Builds the conditions of a route from its `match`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.matching.header_matcher import parse_header_matchers
from outrider.matching.query_matcher import parse_cookie_matcher, parse_query_matcher
from outrider.matching.regex import parse_regex
from outrider.matching.runtime_fraction import runtime_fraction
from outrider.matching.value_matcher import parse_filter_state_matcher, parse_metadata_matcher
from outrider.router.config.path_match import (
    ConnectPath,
    ExactPath,
    PathMatch,
    PrefixPath,
    RegexPath,
    SeparatedPrefixPath,
    TemplatePath,
)
from outrider.router.config.route_match import RouteMatch
from outrider.router.config.uri_template import TemplateError, UriTemplate

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


def set_fields(view: View) -> set[str]:
    """The names of all fields that are set: what is not among them need not be asked for."""
    return {field.name for field, _ in view.proto.ListFields()}


def load_match(view: View, context: FactoryContext) -> RouteMatch:
    """From a RouteMatch. Raises ConfigError."""
    match = RouteMatch(_load_path(view))
    present = set_fields(view)
    if "runtime_fraction" in present:
        fraction = view.message("runtime_fraction")
        assert fraction is not None
        match.fraction = runtime_fraction(fraction, context.runtime)
    if "grpc" in present:
        match.grpc = view.message("grpc") is not None
    if "headers" in present:
        match.headers = parse_header_matchers(view.messages("headers"), context)
    if "query_parameters" in present:
        match.query = [parse_query_matcher(each, context) for each in view.messages("query_parameters")]
    if "cookies" in present:
        match.cookies = [parse_cookie_matcher(each, context) for each in view.messages("cookies")]
    if "tls_context" in present:
        tls = view.message("tls_context")
        assert tls is not None
        match.tls_presented = int(tls.flag("presented")) if tls.has("presented") else -1
        match.tls_validated = int(tls.flag("validated")) if tls.has("validated") else -1
    if "dynamic_metadata" in present:
        match.metadata = [parse_metadata_matcher(each, context) for each in view.messages("dynamic_metadata")]
    if "filter_state" in present:
        match.filter_state = [parse_filter_state_matcher(each, context) for each in view.messages("filter_state")]
    match.seal()
    return match


def _load_path(view: View) -> PathMatch:
    kind = view.which("path_specifier")
    case_sensitive = view.flag("case_sensitive", True)
    if kind == "prefix":
        return PrefixPath(view.text(kind).encode(), case_sensitive)
    if kind == "path":
        return ExactPath(view.text(kind).encode(), case_sensitive)
    if kind == "path_separated_prefix":
        return SeparatedPrefixPath(view.text(kind).encode(), case_sensitive)
    if kind == "safe_regex":
        regex = view.message(kind)
        assert regex is not None
        return RegexPath(parse_regex(regex))
    if kind == "connect_matcher":
        view.message(kind)
        return ConnectPath()
    if kind == "path_match_policy":
        policy = view.message(kind)
        assert policy is not None
        return TemplatePath(load_template(policy))
    raise view.error("value is required", "path_specifier")


def load_template(policy: View) -> UriTemplate:
    """From the TypedExtensionConfig of a path match policy. Raises ConfigError."""
    policy.text("name")
    config = policy.any("typed_config")
    if config.type_name != "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig":
        raise policy.error(
            f"Didn't find a registered implementation for '{policy.text('name')}' with type URL: '{config.type_name}'",
            "typed_config",
        )
    text = config.text("path_template")
    try:
        return UriTemplate(text)
    except TemplateError as error:
        raise config.error(f"path_match_policy.path_template {text} is invalid: {error}", "path_template") from None
