"""HTTP filters whose configuration is discovered (ECDS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.config.extension_discovery import HTTP_FILTER, ExtensionSlot
from outrider.data.header_map import RequestHeaderMap
from outrider.data.response_flag import NO_FILTER_CONFIG_FOUND
from outrider.http.filter import HEADERS_STOP_ITERATION, HttpFilter, HttpFilterFactory
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class MissingConfigFilter(HttpFilter):
    """Stands for a filter that has no configuration: the request fails (Envoy's MissingConfigFilter)."""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        self.manager.stream_info.response_flags |= NO_FILTER_CONFIG_FOUND
        self.manager.send_local_reply(500, "", "")
        return HEADERS_STOP_ITERATION


class DiscoveredFilterFactory(HttpFilterFactory):
    """Each stream gets a filter of the configuration that is in force when it begins."""

    def __init__(self, slot: ExtensionSlot[HttpFilterFactory]) -> None:
        self.slot = slot

    def create(self) -> HttpFilter:
        factory = self.slot.current
        return MissingConfigFilter() if factory is None else factory.create()


class PositionCheck:
    """Refuses a filter that cannot stand where it is to stand."""

    def __init__(self, name: str, last: bool, what: str) -> None:
        self.name = name
        self.last = last
        self.what = what

    def check(self, factory: HttpFilterFactory, config: View) -> None:
        """Raises ConfigError."""
        wrong = position_fault(self.name, factory.is_terminal, self.last, self.what)
        if wrong:
            raise config.error(wrong)


def position_fault(name: str, is_terminal: bool, last: bool, what: str) -> str:
    """What is wrong with a filter's place in the chain, "" for nothing."""
    if is_terminal and not last:
        return f"Error: terminal filter named {name} of type {name} must be the last filter in a {what} filter chain."
    if last and not is_terminal:
        return f"Error: non-terminal filter named {name} of type {name} is the last filter in a {what} filter chain."
    return ""


def discover_filter(
    view: View, context: FactoryContext, registry: ExtensionRegistry[HttpFilterFactory], last: bool, what: str
) -> HttpFilterFactory:
    """The factory of an entry with `config_discovery`. Raises ConfigError."""
    check = PositionCheck(view.text("name"), last, what).check
    return DiscoveredFilterFactory(ExtensionSlot(view, context, HTTP_FILTER, registry, check))
