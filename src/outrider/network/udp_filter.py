"""UDP listener filters: each datagram passes them in order (Envoy's `UdpListenerReadFilter`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.network.udp_listener import UdpAddress

# What `recvfrom` names the peer by: (host, port) or (host, port, flow, scope).
Peer = tuple[Any, ...]


@mypyc_attr(allow_interpreted_subclasses=True)
class UdpListenerFilter:
    """One filter of one listener in one worker."""

    def initialize(self, listener: UdpAddress) -> None:
        """Called once, before any datagram."""

    def on_data(self, data: bytes, peer: Peer) -> bool:
        """A datagram. True hands it on to the next filter."""
        return True

    def on_close(self) -> None:
        """The listener takes no more datagrams; sessions end."""


@mypyc_attr(allow_interpreted_subclasses=True)
class UdpListenerFilterFactory:
    """Makes the filter of each worker; built when configuration loads, so `create` cannot fail."""

    def create(self) -> UdpListenerFilter:
        raise NotImplementedError


# Factories take `(config, context)`: `(View, FactoryContext)`.
UDP_LISTENER_FILTERS: ExtensionRegistry[UdpListenerFilterFactory] = ExtensionRegistry("envoy.filters.udp_listener")
