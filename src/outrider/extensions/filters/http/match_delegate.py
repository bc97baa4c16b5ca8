"""envoy.filters.http.match_delegate: a filter that a matcher may leave out (`ExtensionWithMatcher`).

Source: Envoy documentation, "Match Delegate"; `envoy.extensions.common.matching.v3`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.filters.http.composite import TYPE as COMPOSITE_TYPE
from outrider.extensions.filters.http.composite import CompositeActions, composite_with
from outrider.extensions.filters.http.delegation import DelegatingFilter
from outrider.http.filter import DATA_CONTINUE, HEADERS_CONTINUE, TRAILERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config

# Registers the inputs and input matchers that a tree may name.
from outrider.matching import input_matchers, inputs, tls_inputs  # noqa: F401
from outrider.matching.data import MatchingData
from outrider.matching.tree import MatchTree
from outrider.matching.tree_loader import ActionLoader, load_tree

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
ROUTE_TYPE: Final = "envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute"
_SKIP: Final = "envoy.extensions.filters.common.matcher.action.v3.SkipFilter"


class _Skip:
    """The only action."""


_SKIP_ACTION: Final = _Skip()


class _Actions(ActionLoader):
    def load(self, action: View) -> object:
        name, type_name = action.text("name"), action.any_type("typed_config")
        if type_name != _SKIP:
            raise action.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
            )
        action.any("typed_config")
        return _SKIP_ACTION


class MatchDelegateFilter(DelegatingFilter):
    """Asks the tree when request headers come and, if it has not decided by then, when those of the response do."""

    skipped = False

    def __init__(self, tree: MatchTree | None, inner: HttpFilter) -> None:
        self.tree = tree
        self.waiting: HttpFilter = inner

    def on_start(self) -> None:
        self.choose(self.waiting)

    def _decide(self) -> bool:
        """Whether the filter is left out."""
        if self.skipped:
            return True
        manager = self.manager
        tree = self.tree
        route = manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        if isinstance(special, MatchTree):
            tree = special
        if tree is None:
            return False
        data = MatchingData(
            manager.stream_info, manager.request_headers, manager.response_headers, manager.request_trailers,
            manager.response_trailers,
        )  # fmt: skip
        self.skipped = tree.evaluate(data) is not None
        return self.skipped

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        return HEADERS_CONTINUE if self._decide() else super().decode_headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return DATA_CONTINUE if self.skipped else super().decode_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> int:
        return TRAILERS_CONTINUE if self.skipped else super().decode_trailers(trailers)

    def decode_complete(self) -> None:
        if not self.skipped:
            super().decode_complete()

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> int:
        return HEADERS_CONTINUE if self.skipped else super().encode_1xx_headers(headers)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        return HEADERS_CONTINUE if self._decide() else super().encode_headers(headers, end_stream)

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        return DATA_CONTINUE if self.skipped else super().encode_data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> int:
        return TRAILERS_CONTINUE if self.skipped else super().encode_trailers(trailers)

    def encode_complete(self) -> None:
        if not self.skipped:
            super().encode_complete()


class MatchDelegateFactory(HttpFilterFactory):
    def __init__(self, tree: MatchTree | None, inner: HttpFilterFactory) -> None:
        self.tree = tree
        self.inner = inner

    def create(self) -> HttpFilter:
        return MatchDelegateFilter(self.tree, self.inner.create())


@HTTP_FILTERS.register("envoy.filters.http.match_delegate", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    inner = config.message("extension_config")
    if inner is None:
        raise config.error("value is required", "extension_config")
    matcher = config.message("xds_matcher") or config.message("matcher")
    if inner.any_type("typed_config") == COMPOSITE_TYPE:
        # Its actions are filters, which the composite runs in its place.
        inner.text("name")
        inner.any("typed_config")
        tree = None if matcher is None else load_tree(matcher, CompositeActions(context), context)
        return composite_with(tree, context)
    factory = HTTP_FILTERS.create(inner, context)
    if factory.is_terminal:
        raise inner.error("a terminal filter cannot be left out")
    return MatchDelegateFactory(None if matcher is None else load_tree(matcher, _Actions(), context), factory)


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> MatchTree:
    """Raises ConfigError."""
    matcher = config.message("xds_matcher")
    if matcher is None:
        raise config.error("value is required", "xds_matcher")
    return load_tree(matcher, _Actions(), context)
