"""Builds the matcher tree of a virtual host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

# Registers the inputs and input matchers that a tree may name.
from outrider.matching import input_matchers, inputs, tls_inputs  # noqa: F401
from outrider.matching.tree_loader import ActionLoader, load_tree
from outrider.router.config.route_matcher import RouteListAction, RouteMatcherTree

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.router.config.route_loader import RouteLoader

_ROUTE: Final = "envoy.config.route.v3.Route"
_ROUTE_LIST: Final = "envoy.config.route.v3.RouteList"

# Trees of routes see requests before any filter has run.
_INPUTS: Final = frozenset(
    (
        "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
        "xds.type.matcher.v3.HttpAttributesCelMatchInput",
    )
)


class _RouteActions(ActionLoader):
    def __init__(self, loader: RouteLoader) -> None:
        self.loader = loader

    def check_input(self, data_input: View, type_name: str) -> None:
        if type_name not in _INPUTS:
            raise data_input.error(
                f"Route table can only match on request headers, saw type.googleapis.com/{type_name}", "typed_config"
            )

    def load(self, action: View) -> object:
        name = action.text("name")
        type_name = action.any_type("typed_config")
        if type_name == _ROUTE:
            return RouteListAction([self.loader.load(action.any("typed_config"))])
        if type_name == _ROUTE_LIST:
            return RouteListAction([self.loader.load(each) for each in action.any("typed_config").messages("routes")])
        raise action.error(
            f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
        )


def load_route_matcher(view: View, loader: RouteLoader) -> RouteMatcherTree:
    """From `VirtualHost.matcher`. Raises ConfigError."""
    return RouteMatcherTree(load_tree(view, _RouteActions(loader), loader.context))
