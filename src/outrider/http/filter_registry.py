"""HTTP filters by configuration: the registry of factories, and that of their per-route configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.http.filter import HttpFilterFactory
from outrider.http.filter_chain import FilterChainEntry, HttpFilterChain
from outrider.http.filter_discovery import discover_filter, position_fault
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

# Factories take `(config, context)`: `(View, FactoryContext)`.
HTTP_FILTERS: Final[ExtensionRegistry[HttpFilterFactory]] = ExtensionRegistry("envoy.filters.http")

RouteConfigFactory = Callable[["View", "FactoryContext"], object]
_ROUTE_CONFIGS: Final[dict[str, RouteConfigFactory]] = {}


def route_config(type_name: str) -> Callable[[RouteConfigFactory], RouteConfigFactory]:
    """Decorator: the function builds a filter's per-route configuration of this message type."""

    def add(factory: RouteConfigFactory) -> RouteConfigFactory:
        if type_name in _ROUTE_CONFIGS:
            raise ValueError(f"per-route configuration {type_name} is registered twice")
        _ROUTE_CONFIGS[type_name] = factory
        return factory

    return add


def create_route_config(filter_name: str, view: View, context: FactoryContext) -> object | None:
    """The object that `HttpRoute.per_filter_config(filter_name)` will give; None when no filter knows the type.

    Raises ConfigError for values that the filter refuses.
    """
    factory = _ROUTE_CONFIGS.get(view.type_name)
    return None if factory is None else factory(view, context)


def build_http_filter_chain(views: list[View], context: FactoryContext, what: str) -> HttpFilterChain:
    """The chain of `http_filters`. Raises ConfigError, also for a terminal filter in the wrong place.

    `what` names the chain in errors, as Envoy does: "http".
    """
    entries: list[FilterChainEntry] = []
    for position, view in enumerate(views):
        name = view.text("name")
        last = position == len(views) - 1
        if view.which("config_type") == "config_discovery":
            factory = discover_filter(view, context, HTTP_FILTERS, last, what)
            view.accept("is_optional")
            entries.append(FilterChainEntry(factory, name, view.flag("disabled")))
            continue
        if view.which("config_type") is None and HTTP_FILTERS.find_by_name(name) is None:
            raise view.error(f"Didn't find a registered implementation for '{name}' with type URL: ''", "name")
        factory = HTTP_FILTERS.create(view, context)
        wrong = position_fault(name, factory.is_terminal, last, what)
        if wrong:
            raise view.error(wrong)
        if last and view.flag("disabled"):
            raise view.error(f"Error: the last (terminal) filter {name} in the chain cannot be disabled by default.")
        # `is_optional`: with every registered filter known there is nothing left to be optional about.
        view.accept("is_optional")
        entries.append(FilterChainEntry(factory, name, view.flag("disabled")))
    return HttpFilterChain(entries)
