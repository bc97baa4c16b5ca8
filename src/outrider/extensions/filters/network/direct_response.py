"""envoy.filters.network.direct_response: answers every connection with the same bytes and closes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.network.filter import CLOSE_FLUSH_WRITE, STOP, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.network.direct_response.v3.Config"


class DirectResponse(NetworkFilter):
    def __init__(self, body: bytes) -> None:
        self.body = body

    def on_new_connection(self) -> int:
        if self.body:
            self.connection.write(self.body)
        self.connection.close(CLOSE_FLUSH_WRITE)
        return STOP


class DirectResponseFactory(NetworkFilterFactory):
    is_terminal = True

    def __init__(self, body: bytes) -> None:
        self.body = body

    def create(self) -> NetworkFilter:
        return DirectResponse(self.body)


@NETWORK_FILTERS.register("envoy.filters.network.direct_response", TYPE)
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    from outrider.config.data_source import read_data_source

    source = config.message("response")
    return DirectResponseFactory(b"" if source is None else read_data_source(source))
