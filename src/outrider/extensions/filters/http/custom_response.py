"""envoy.filters.http.custom_response: responses that a matcher picks are replaced by an answer of the proxy.

Source: Envoy documentation, "Custom Response Filter". Policies: `local_response_policy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.access_log.format_string import FormatString, parse_format_string
from outrider.config.data_source import read_data_source
from outrider.data.header_map import ResponseHeaderMap
from outrider.http.filter import (
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.header_mutation import HeaderParser

# Registers the inputs and input matchers that a tree may name.
from outrider.matching import input_matchers, inputs, tls_inputs  # noqa: F401
from outrider.matching.data import MatchingData
from outrider.matching.tree import MatchTree
from outrider.matching.tree_loader import ActionLoader, load_tree

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.custom_response.v3.CustomResponse"
_LOCAL: Final = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"


class LocalResponsePolicy:
    """Raises ConfigError."""

    __slots__ = ("body", "format", "status", "headers", "details", "keep_details")

    def __init__(self, view: View, context: FactoryContext) -> None:
        source = view.message("body")
        # None: what the format makes, or nothing.
        self.body: bytes | None = None if source is None else read_data_source(source)
        body_format = view.message("body_format")
        self.format: FormatString | None = None if body_format is None else parse_format_string(body_format, context)
        # 0: unchanged.
        self.status = view.integer("status_code")
        if view.has("status_code") and not 200 <= self.status < 600:
            raise view.error("value must be inside range [200, 600)", "status_code")
        self.headers = HeaderParser.from_views(view.messages("response_headers_to_add"))
        self.details = view.text("response_code_details")
        self.keep_details = view.flag("preserve_response_code_details")


class _Actions(ActionLoader):
    def __init__(self, context: FactoryContext) -> None:
        self.context = context

    def load(self, action: View) -> object:
        name, type_name = action.text("name"), action.any_type("typed_config")
        if type_name != _LOCAL:
            raise action.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
            )
        return LocalResponsePolicy(action.any("typed_config"), self.context)


class _Edits(LocalReplyModifier):
    def __init__(self, policy: LocalResponsePolicy, context: FormatContext) -> None:
        self.policy = policy
        self.context = context

    def modify(self, headers: ResponseHeaderMap) -> None:
        self.policy.headers.evaluate_headers(headers, self.context)


class CustomResponseFilter(HttpFilter):
    __slots__ = ("tree",)

    def __init__(self, tree: MatchTree | None) -> None:
        self.tree = tree

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        manager = self.manager
        tree = self.tree
        route = manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        if isinstance(special, CustomResponseFactory):
            tree = special.tree
        if tree is None:
            return HEADERS_CONTINUE
        info = manager.stream_info
        policy = tree.evaluate(MatchingData(info, manager.request_headers, headers))
        if not isinstance(policy, LocalResponsePolicy):
            return HEADERS_CONTINUE
        body = policy.body or b""
        context = FormatContext(info, manager.request_headers, headers, None, body)
        if policy.format is not None:
            body = policy.format.formatter.format_bytes(context)
        details = info.response_code_details if policy.keep_details else policy.details
        text = body.decode("utf-8", "surrogateescape")
        manager.send_local_reply_full(policy.status or headers.status, text, _Edits(policy, context), -1, details)
        return HEADERS_STOP_ITERATION


class CustomResponseFactory(HttpFilterFactory):
    """Also the configuration of a route."""

    def __init__(self, tree: MatchTree | None) -> None:
        self.tree = tree

    def create(self) -> HttpFilter:
        return CustomResponseFilter(self.tree)


@HTTP_FILTERS.register("envoy.filters.http.custom_response", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    matcher = config.message("custom_response_matcher")
    return CustomResponseFactory(None if matcher is None else load_tree(matcher, _Actions(context), context))


@route_config(TYPE)
def create_for_route(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return create(config, context)
