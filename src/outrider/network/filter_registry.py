"""Network filters by configuration: the registry, and what a filter chain keeps of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mypy_extensions import mypyc_attr

from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.filter import NetworkFilter


@mypyc_attr(allow_interpreted_subclasses=True)
class NetworkFilterFactory:
    """Makes the filters of one configured entry; built when configuration loads, so `create` cannot fail."""

    # Terminal filters (connection manager, TCP proxy, echo) end the chain.
    is_terminal: ClassVar[bool] = False

    def available(self) -> bool:
        """Whether `create` may be called: False while a discovered configuration has not come."""
        return True

    def create(self) -> NetworkFilter:
        raise NotImplementedError


# Factories take `(config, context)`: `(View, FactoryContext)`.
NETWORK_FILTERS: ExtensionRegistry[NetworkFilterFactory] = ExtensionRegistry("envoy.filters.network")


def build_filter_chain(views: list[View], context: FactoryContext) -> list[NetworkFilterFactory]:
    """The factories of a chain's `filters`. Raises ConfigError, also for a terminal filter in the wrong place."""
    factories: list[NetworkFilterFactory] = []
    for position, view in enumerate(views):
        name = view.text("name")
        last = position == len(views) - 1
        if view.which("config_type") == "config_discovery":
            # Here, because that module needs this one.
            from outrider.network.filter_discovery import discover_network_filter

            factories.append(discover_network_filter(view, context, last))
            continue
        if view.which("config_type") is None:
            known = NETWORK_FILTERS.find_by_name(view.text("name"))
            if known is None:
                raise view.error(
                    f"Didn't find a registered implementation for '{view.text('name')}' with type URL: ''", "name"
                )
        factory = NETWORK_FILTERS.create(view, context)
        wrong = position_fault(name, factory.is_terminal, last)
        if wrong:
            raise view.error(wrong)
        factories.append(factory)
    return factories


def position_fault(name: str, is_terminal: bool, last: bool) -> str:
    """What is wrong with a filter's place in the chain, "" for nothing."""
    if is_terminal and not last:
        return f"Error: terminal filter named {name} of type {name} must be the last filter in a network filter chain."
    if last and not is_terminal:
        return f"Error: non-terminal filter named {name} of type {name} is the last filter in a network filter chain."
    return ""
