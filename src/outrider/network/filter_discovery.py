"""Network and listener filters whose configuration is discovered (ECDS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.config.extension_discovery import LISTENER_FILTER, NETWORK_FILTER, ExtensionSlot
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory, position_fault
from outrider.network.listener_filter import LISTENER_FILTERS, ListenerFilter, ListenerFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.filter import NetworkFilter


class DiscoveredNetworkFilterFactory(NetworkFilterFactory):
    """Each connection gets a filter of the configuration that is in force when it begins."""

    def __init__(self, slot: ExtensionSlot[NetworkFilterFactory]) -> None:
        self.slot = slot

    def available(self) -> bool:
        return self.slot.current is not None

    def create(self) -> NetworkFilter:
        factory = self.slot.current
        assert factory is not None
        return factory.create()


class DiscoveredListenerFilterFactory(ListenerFilterFactory):
    """The same for listener filters."""

    def __init__(self, slot: ExtensionSlot[ListenerFilterFactory]) -> None:
        self.slot = slot

    def available(self) -> bool:
        return self.slot.current is not None

    def create(self) -> ListenerFilter:
        factory = self.slot.current
        assert factory is not None
        return factory.create()


class _PositionCheck:
    """Refuses a filter that cannot stand where it is to stand."""

    def __init__(self, name: str, last: bool) -> None:
        self.name = name
        self.last = last

    def check(self, factory: NetworkFilterFactory, config: View) -> None:
        """Raises ConfigError."""
        wrong = position_fault(self.name, factory.is_terminal, self.last)
        if wrong:
            raise config.error(wrong)


def discover_network_filter(view: View, context: FactoryContext, last: bool) -> NetworkFilterFactory:
    """The factory of an entry with `config_discovery`. Raises ConfigError."""
    check = _PositionCheck(view.text("name"), last).check
    return DiscoveredNetworkFilterFactory(ExtensionSlot(view, context, NETWORK_FILTER, NETWORK_FILTERS, check))


def discover_listener_filter(view: View, context: FactoryContext) -> ListenerFilterFactory:
    """The factory of an entry with `config_discovery`. Raises ConfigError."""
    return DiscoveredListenerFilterFactory(ExtensionSlot(view, context, LISTENER_FILTER, LISTENER_FILTERS))
