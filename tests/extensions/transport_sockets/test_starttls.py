"""StartTLS: plain until it is asked for, then whatever TLS socket it was given."""

from __future__ import annotations

from outrider.extensions.transport_sockets.starttls import StartTlsFactory, StartTlsSocket
from outrider.network.transport_socket import (
    TransportSocket,
    TransportSocketCallbacks,
    TransportSocketFactory,
    TransportSocketOptions,
)


class Wire(TransportSocketCallbacks):
    def __init__(self) -> None:
        self.events: list[object] = []

    def raw_write(self, data: bytes) -> None:
        self.events.append(data)

    def raw_close_write(self) -> None:
        self.events.append("close_write")

    def raise_connected(self) -> None:
        self.events.append("connected")

    def deliver(self, data: bytes, end_stream: bool) -> None:
        self.events.append((data, end_stream))

    def transport_failed(self, details: str) -> None:
        self.events.append(details)


class Reverser(TransportSocket):
    """Stands for TLS: turns bytes round."""

    def set_callbacks(self, callbacks: TransportSocketCallbacks) -> None:
        self.callbacks = callbacks

    def on_transport_connected(self) -> None:
        self.callbacks.raw_write(b"hello")
        self.callbacks.raise_connected()

    def on_raw_data(self, data: bytes) -> None:
        self.callbacks.deliver(data[::-1], False)

    def on_raw_eof(self) -> None:
        self.callbacks.deliver(b"", True)

    def write(self, data: bytes, end_stream: bool) -> None:
        self.callbacks.raw_write(data[::-1])


class ReverserFactory(TransportSocketFactory):
    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return Reverser()


def test_plain_then_secure() -> None:
    factory = StartTlsFactory(ReverserFactory())
    assert not factory.implements_secure_transport
    transport_socket = factory.create(None)
    assert isinstance(transport_socket, StartTlsSocket)
    wire = Wire()
    transport_socket.set_callbacks(wire)
    transport_socket.on_transport_connected()
    transport_socket.on_raw_data(b"STARTTLS")
    transport_socket.write(b"ok", False)
    assert wire.events == ["connected", (b"STARTTLS", False), b"ok"]
    wire.events.clear()
    assert transport_socket.start_secure()
    assert not transport_socket.start_secure()
    transport_socket.on_raw_data(b"abc")
    transport_socket.write(b"xyz", False)
    # The connection was connected already.
    assert wire.events == [b"hello", (b"cba", False), b"zyx"]


def test_plain_to_the_end() -> None:
    transport_socket = StartTlsFactory(ReverserFactory()).create(None)
    assert transport_socket is not None
    wire = Wire()
    transport_socket.set_callbacks(wire)
    transport_socket.on_transport_connected()
    transport_socket.write(b"bye", True)
    transport_socket.on_raw_eof()
    transport_socket.on_closed()
    transport_socket.on_raw_data(b"late")
    assert wire.events == ["connected", b"bye", "close_write", (b"", True)]
