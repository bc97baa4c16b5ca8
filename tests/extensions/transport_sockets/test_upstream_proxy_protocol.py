"""Upstream PROXY header: ahead of everything, around any transport socket, apart in pools."""

from __future__ import annotations

from outrider.data.address import Address, ip_address
from outrider.extensions.transport_sockets.proxy_protocol import ProxySettings, ProxySocketFactory
from outrider.network.proxy_protocol import LOCAL_V2, ProxyHeader, ProxyOptions, Tlv, options_for
from outrider.network.transport_socket import (
    RAW_BUFFER,
    TransportSocket,
    TransportSocketCallbacks,
    TransportSocketFactory,
    TransportSocketOptions,
)

CLIENT = ip_address("1.2.3.4", 4000)
SERVER = ip_address("5.6.7.8", 80)
LINE = b"PROXY TCP4 1.2.3.4 5.6.7.8 4000 80\r\n"


class Side(TransportSocketCallbacks):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def raw_write(self, data: bytes) -> None:
        self.seen.append(data)

    def raw_close_write(self) -> None:
        self.seen.append("eof")

    def raise_connected(self) -> None:
        self.seen.append("connected")

    def deliver(self, data: bytes, end_stream: bool) -> None:
        self.seen.append((data, end_stream))


class Shout(TransportSocket):
    """An inner transport socket with a first flight; its cipher is upper case."""

    def set_callbacks(self, callbacks: TransportSocketCallbacks) -> None:
        self.callbacks = callbacks

    def on_transport_connected(self) -> None:
        self.callbacks.raw_write(b"HELLO")

    def on_raw_data(self, data: bytes) -> None:
        if data == b"WELCOME":
            self.callbacks.raise_connected()
        else:
            self.callbacks.deliver(data.lower(), False)

    def on_raw_eof(self) -> None:
        self.callbacks.deliver(b"", True)

    def write(self, data: bytes, end_stream: bool) -> None:
        self.callbacks.raw_write(data.upper())

    def protocol(self) -> str:
        return "shout"


class ShoutFactory(TransportSocketFactory):
    implements_secure_transport = True

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return Shout()


def options(client: Address = CLIENT, *tlvs: Tlv) -> ProxyOptions:
    return options_for(None, client, SERVER, list(tlvs))


def connected(factory: ProxySocketFactory, given: TransportSocketOptions | None) -> tuple[TransportSocket, Side]:
    made = factory.create_for(given, "host")
    assert made is not None
    side = Side()
    made.set_callbacks(side)
    made.on_transport_connected()
    return made, side


def test_over_raw_bytes() -> None:
    made, side = connected(ProxySocketFactory(ProxySettings(), RAW_BUFFER), options())
    made.on_raw_data(b"in")
    made.write(b"out", False)
    made.write(b"", True)
    made.on_raw_eof()
    assert side.seen == [LINE, "connected", (b"in", False), b"out", "eof", (b"", True)]


def test_around_another_transport_socket() -> None:
    factory = ProxySocketFactory(ProxySettings(), ShoutFactory())
    assert factory.implements_secure_transport
    made, side = connected(factory, options())
    assert side.seen == [LINE, b"HELLO"]
    made.on_raw_data(b"WELCOME")
    made.on_raw_data(b"DATA")
    made.write(b"out", False)
    assert side.seen[2:] == ["connected", (b"data", False), b"OUT"]
    assert made.protocol() == "shout"


def test_version_2_without_a_client_is_local() -> None:
    settings = ProxySettings()
    settings.version = 2
    _, side = connected(ProxySocketFactory(settings, RAW_BUFFER), None)
    assert side.seen[0] == LOCAL_V2


def test_a_header_that_came_in_goes_out_again() -> None:
    header = ProxyHeader(1, 0, CLIENT, SERVER)
    other = ip_address("9.9.9.9", 9)
    made = options_for({"envoy.network.proxy_protocol_options": header}, other, other, [])
    assert made.header is header


def test_pools_are_kept_apart_by_client() -> None:
    settings = ProxySettings()
    factory = ProxySocketFactory(settings, RAW_BUFFER)
    assert factory.pool_key(options()) == factory.pool_key(options())
    assert factory.pool_key(options()) != factory.pool_key(options(ip_address("1.2.3.4", 4001)))
    assert factory.pool_key(options(CLIENT, Tlv(1, b"a"))) == factory.pool_key(options(CLIENT, Tlv(1, b"b")))
    settings.keyed_by_tlvs = True
    assert factory.pool_key(options(CLIENT, Tlv(1, b"a"))) != factory.pool_key(options(CLIENT, Tlv(1, b"b")))
