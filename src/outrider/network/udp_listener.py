"""A UDP listener at work: reads datagrams in batches and gives them to its filters (Envoy's ActiveRawUdpListener)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from outrider.data.address import Address, from_sockname
from outrider.network.udp_filter import UDP_LISTENER_FILTERS, Peer, UdpListenerFilter, UdpListenerFilterFactory
from outrider.network.udp_socket import DatagramReader, DatagramReceiver, UdpSocketConfig, read_udp_socket
from outrider.stats.metrics import Counter

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.listener import Listener
    from outrider.stats.store import Scope


class UdpListenerSettings:
    """What a listener has in place of filter chains."""

    __slots__ = ("factories", "socket", "dropped")

    def __init__(
        self, factories: list[UdpListenerFilterFactory], socket_config: UdpSocketConfig, dropped: Counter
    ) -> None:
        self.factories = factories
        self.socket = socket_config
        # `listener.<address>.udp.downstream_rx_datagram_dropped`
        self.dropped = dropped


def read_udp_settings(view: View, title: str, scope: Scope, context: FactoryContext) -> UdpListenerSettings:
    """From a Listener with a UDP address. Raises ConfigError."""
    if view.messages("filter_chains") or view.has("default_filter_chain"):
        raise view.error(
            f"error adding listener '{title}': {len(view.messages('filter_chains'))} filter chain(s) specified for "
            "connection-less UDP listener.",
            "filter_chains",
        )
    options = view.message("udp_listener_config")
    if options is not None and options.has("quic_options"):
        raise options.error("QUIC listeners are not supported by this version of outrider", "quic_options")
    factories: list[UdpListenerFilterFactory] = []
    for each in view.messages("listener_filters"):
        if each.which("config_type") is None and UDP_LISTENER_FILTERS.find_by_name(each.text("name")) is None:
            raise each.error(
                f"Didn't find a registered implementation for '{each.text('name')}' with type URL: ''", "name"
            )
        factories.append(UDP_LISTENER_FILTERS.create(each, context))
    own = None if options is None else options.message("downstream_socket_config")
    dropped = scope.counter("udp.downstream_rx_datagram_dropped")
    return UdpListenerSettings(factories, read_udp_socket(own, False), dropped)


class UdpAddress(DatagramReceiver):
    """One socket of a UDP listener in one worker, with filters of its own. The kernel keeps each flow on one worker."""

    def __init__(
        self, listener: Listener, settings: UdpListenerSettings, address: Address, opened: socket.socket
    ) -> None:
        self.listener = listener
        self.settings = settings
        self.dispatcher = listener.dispatcher
        self.socket = opened
        self.address: Address = address
        self.filters: list[UdpListenerFilter] = [factory.create() for factory in settings.factories]
        self._only: UdpListenerFilter | None = self.filters[0] if len(self.filters) == 1 else None
        self._reader = DatagramReader(opened, self, settings.socket.max_rx_datagram_size)
        self._closed: bool = False

    def start(self) -> None:
        self.socket.setblocking(False)
        bound = from_sockname(self.socket.getsockname())
        self.address = Address(bound.kind, bound.host, bound.port, "UDP")
        for each in self.filters:
            each.initialize(self)
        self.dispatcher.loop.add_reader(self.socket.fileno(), self._reader.on_readable)

    def stop(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._reader.close()
        self.dispatcher.loop.remove_reader(self.socket.fileno())
        for each in self.filters:
            each.on_close()
        self.socket.close()

    def on_datagram(self, data: bytes, peer: Peer) -> None:
        if self._only is not None:
            self._only.on_data(data, peer)
            return
        for each in self.filters:
            if not each.on_data(data, peer):
                return

    def on_truncated(self) -> None:
        self.settings.dropped.inc()

    def send(self, data: bytes, peer: Peer) -> bool:
        """Send a datagram to a peer; False when the kernel does not take it."""
        if self._closed:
            return False
        try:
            self.socket.sendto(data, peer)
        except OSError:
            return False
        return True
