"""`filter_chain_matcher`: the generic matcher tree names the filter chain of a connection.

Source: Envoy documentation, "Matching API", "Filter chain matcher"; `Listener.filter_chain_matcher`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.stream_info import ConnectionInfo
from outrider.matching.data import MatchingData
from outrider.matching.tree import MatchTree
from outrider.matching.tree_loader import ActionLoader, load_tree
from outrider.network.filter_chain import FilterChain, FilterChainMatcher

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_NAME_TYPE: Final = "google.protobuf.StringValue"


class ChainName:
    """The action: which chain."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class _Names(ActionLoader):
    def load(self, action: View) -> object:
        action.text("name")
        type_name = action.any_type("typed_config")
        if type_name != _NAME_TYPE:
            raise action.error(
                f"Didn't find a registered implementation for '{action.text('name')}' with type URL: '{type_name}'"
            )
        return ChainName(action.any("typed_config").text("value"))


class TreeChainMatcher(FilterChainMatcher):
    """Finds a chain by the tree, and by its name."""

    __slots__ = ("tree", "by_name", "default")

    def __init__(self, tree: MatchTree, default: FilterChain | None) -> None:
        super().__init__(default)
        self.tree = tree
        self.by_name: dict[str, FilterChain] = {}
        self.default = default

    def find(self, info: ConnectionInfo) -> FilterChain | None:
        """The chain that the tree names (None when there is no such chain); the default one when it names none."""
        found = self.tree.evaluate(MatchingData(None, connection=info))
        if isinstance(found, ChainName):
            return self.by_name.get(found.name)
        return self.default


def read_chain_tree(view: View, context: FactoryContext) -> MatchTree:
    """From a Matcher. Raises ConfigError."""
    return load_tree(view, _Names(), context, http=False)
