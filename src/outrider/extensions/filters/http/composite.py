"""envoy.filters.http.composite: a matcher chooses which filters run here.

Source: Envoy documentation, "Composite Filter". It stands below an `ExtensionWithMatcher`, whose actions name filters,
or brings a matcher of its own.
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import FilterStateObject
from outrider.data.header_map import RequestHeaderMap
from outrider.extensions.filters.http.delegation import DelegatingFilter
from outrider.http.filter import HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS

# Registers the inputs and input matchers that a tree may name.
from outrider.matching import input_matchers, inputs, tls_inputs  # noqa: F401
from outrider.matching.data import MatchingData
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.matching.tree import MatchTree
from outrider.matching.tree_loader import ActionLoader, load_tree

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter

TYPE: Final = "envoy.extensions.filters.http.composite.v3.Composite"
_EXECUTE: Final = "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction"
_STATE_KEY: Final = "envoy.extensions.filters.http.composite.matched_actions"


class ExecuteFilter:
    """The action: a filter, by its name in the configuration."""

    __slots__ = ("name", "action", "factory", "sample")

    def __init__(self, name: str, action: str, factory: HttpFilterFactory, sample: RuntimeFraction | None) -> None:
        self.name = name
        self.action = action
        self.factory = factory
        # None: always.
        self.sample = sample


class MatchedActions(FilterStateObject):
    """Which action each composite filter of the stream took."""

    def __init__(self) -> None:
        self.actions: dict[str, str] = {}

    def serialize_typed(self) -> object:
        return dict(self.actions)


class CompositeActions(ActionLoader):
    def __init__(self, context: FactoryContext) -> None:
        self.context = context

    def load(self, action: View) -> object:
        name, type_name = action.text("name"), action.any_type("typed_config")
        if type_name != _EXECUTE:
            raise action.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
            )
        view = action.any("typed_config")
        inner = view.message("typed_config")
        if inner is None:
            raise view.error("only typed_config is supported", "typed_config")
        sample = view.message("sample_percent")
        fraction = None if sample is None else runtime_fraction(sample, self.context.runtime)
        factory = HTTP_FILTERS.create(inner, self.context)
        return ExecuteFilter(inner.text("name"), name, factory, fraction)


class CompositeFilter(DelegatingFilter):
    def __init__(self, factory: CompositeFactory) -> None:
        self.factory = factory

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        tree = self.factory.tree
        if tree is not None and self.inner is None:
            action = tree.evaluate(MatchingData(self.manager.stream_info, headers))
            if isinstance(action, ExecuteFilter):
                self._take(action)
        return super().decode_headers(headers, end_stream)

    def _take(self, action: ExecuteFilter) -> None:
        if action.sample is not None and not action.sample.enabled(getrandbits(64)):
            return
        self.choose(action.factory.create())
        self.factory.success.inc()
        info = self.manager.stream_info
        if info.filter_state is None:
            info.filter_state = {}
        state = info.filter_state.get(_STATE_KEY)
        if not isinstance(state, MatchedActions):
            state = info.filter_state[_STATE_KEY] = MatchedActions()
        state.actions[self.config_name] = action.name


class CompositeFactory(HttpFilterFactory):
    def __init__(self, tree: MatchTree | None, success: Counter, failure: Counter) -> None:
        self.tree = tree
        self.success = success
        self.failure = failure

    def create(self) -> HttpFilter:
        return CompositeFilter(self)


@HTTP_FILTERS.register("envoy.filters.http.composite", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    matcher = config.message("matcher")
    tree = None if matcher is None else load_tree(matcher, CompositeActions(context), context)
    return composite_with(tree, context)


def composite_with(tree: MatchTree | None, context: FactoryContext) -> CompositeFactory:
    scope = context.scope.scope("composite.")
    return CompositeFactory(tree, scope.counter("filter_delegation_success"), scope.counter("filter_delegation_error"))
