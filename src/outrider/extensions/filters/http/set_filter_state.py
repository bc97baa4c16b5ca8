"""envoy.filters.http.set_filter_state: stores formatted values in the request's filter state.

Source: Envoy documentation, "Set-Filter-State HTTP Filter".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.context import FormatContext
from outrider.data.header_map import RequestHeaderMap
from outrider.extensions.filters.filter_state_values import FilterStateValue, parse_values, update
from outrider.http.filter import HEADERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_TYPE = "envoy.extensions.filters.http.set_filter_state.v3.Config"


class StateSettings:
    __slots__ = ("values", "clear_route_cache")

    def __init__(self, values: list[FilterStateValue], clear_route_cache: bool) -> None:
        self.values = values
        self.clear_route_cache = clear_route_cache


class SetFilterStateFilter(HttpFilter):
    __slots__ = ("settings",)

    def __init__(self, settings: StateSettings) -> None:
        self.settings = settings

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        manager = self.manager
        levels = [self.settings]
        route = manager.route()
        if route is not None:
            for each in route.per_filter_configs(self.config_name):
                if isinstance(each, StateSettings):
                    levels.append(each)
        info = manager.stream_info
        context = FormatContext(info, headers)
        clear = False
        for level in levels:
            info.filter_state = update(info.filter_state, level.values, context)
            clear = clear or level.clear_route_cache
        if clear:
            manager.clear_route_cache()
        return HEADERS_CONTINUE


class SetFilterStateFactory(HttpFilterFactory):
    def __init__(self, settings: StateSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return SetFilterStateFilter(self.settings)


def parse_settings(config: View, context: FactoryContext) -> StateSettings:
    return StateSettings(parse_values(config.messages("on_request_headers"), context), config.flag("clear_route_cache"))


@HTTP_FILTERS.register("envoy.filters.http.set_filter_state", _TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return SetFilterStateFactory(parse_settings(config, context))


@route_config(_TYPE)
def create_for_route(config: View, context: FactoryContext) -> object:
    return parse_settings(config, context)
