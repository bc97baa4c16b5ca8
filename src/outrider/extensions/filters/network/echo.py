"""envoy.filters.network.echo: sends back what it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.network.connection import Connection
from outrider.network.filter import STOP, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.network.echo.v3.Echo"


class Echo(NetworkFilter):
    """Reading stops while the peer does not take back its own bytes."""

    def initialize(self, connection: Connection) -> None:
        NetworkFilter.initialize(self, connection)
        connection.enable_half_close(True)
        connection.add_callbacks(self)

    def on_data(self, data: bytes, end_stream: bool) -> int:
        self.connection.write(data, end_stream)
        return STOP

    def on_above_write_buffer_high_watermark(self) -> None:
        self.connection.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.connection.read_disable(False)


class EchoFactory(NetworkFilterFactory):
    is_terminal = True

    def create(self) -> NetworkFilter:
        return Echo()


@NETWORK_FILTERS.register("envoy.filters.network.echo", TYPE, "envoy.echo")
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    return EchoFactory()
