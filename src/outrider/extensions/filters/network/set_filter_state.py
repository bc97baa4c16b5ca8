"""envoy.filters.network.set_filter_state: stores formatted values in the connection's filter state.

Source: Envoy documentation, "Set-Filter-State Network Filter". Of its hooks, `on_new_connection` is supported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.context import FormatContext
from outrider.data.stream_info import PROTOCOL_NONE, StreamInfo
from outrider.extensions.filters.filter_state_values import FilterStateValue, parse_values, update
from outrider.network.filter import CONTINUE, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class SetFilterState(NetworkFilter):
    def __init__(self, values: list[FilterStateValue]) -> None:
        self.values = values

    def on_new_connection(self) -> int:
        info = self.connection.info
        stream_info = StreamInfo(info, info.start_time_ns, info.start_mono_ns, PROTOCOL_NONE)
        info.filter_state = update(info.filter_state, self.values, FormatContext(stream_info))
        return CONTINUE


class SetFilterStateFactory(NetworkFilterFactory):
    def __init__(self, values: list[FilterStateValue]) -> None:
        self.values = values

    def create(self) -> NetworkFilter:
        return SetFilterState(self.values)


@NETWORK_FILTERS.register(
    "envoy.filters.network.set_filter_state", "envoy.extensions.filters.network.set_filter_state.v3.Config"
)
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    return SetFilterStateFactory(parse_values(config.messages("on_new_connection"), context))
