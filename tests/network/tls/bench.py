"""Two ends of a TLS connection without sockets: our engine on one side or both, the `ssl` module's on the other."""

from __future__ import annotations

import ssl
from typing import Any

import orjson

from outrider.config.load import LoadPolicy, load_message
from outrider.config.runtime import Runtime
from outrider.config.source import Source
from outrider.config.support import SupportPolicy
from outrider.config.view import View
from outrider.data.address import Address, ip_address
from outrider.data.stream_info import ConnectionInfo
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.network.tls.certificates import as_file
from outrider.network.tls.factory import DownstreamTlsFactory, TlsFactory, UpstreamTlsFactory
from outrider.network.transport_socket import TransportSocket, TransportSocketCallbacks, TransportSocketOptions
from outrider.server.admin.config_tracker import ConfigTracker
from outrider.stats.store import Store
from tests.network.tls.pki import Issued
from tests.support.subscriptions import FakeSubscriptions

_PACKAGE = "envoy.extensions.transport_sockets.tls.v3."


class Context(FactoryContext):
    """What a TLS factory asks of its FactoryContext."""

    def __init__(
        self, secrets: dict[str, object] | None = None, subscriptions: FakeSubscriptions | None = None
    ) -> None:
        self.store = Store()
        nobody: Any = None
        super().__init__(self.store, nobody, nobody, Runtime(), nobody, None, ServerInfo())
        self.secrets = secrets or {}
        self.server.node_id = "node"
        self.server.node_cluster = "cluster"
        self.subscriptions = subscriptions
        self.support = SupportPolicy()
        self.config_tracker = ConfigTracker()


def view_of(type_name: str, tree: dict[str, Any]) -> View:
    return load_message([Source("test.json", "json", orjson.dumps(tree))], _PACKAGE + type_name, LoadPolicy())


def secrets(**trees: dict[str, Any]) -> dict[str, object]:
    """Secrets of a bootstrap by name."""
    return {name: view_of("Secret", {"name": name, **tree}) for name, tree in trees.items()}


def server(common: dict[str, Any], context: Context | None = None, **fields: Any) -> DownstreamTlsFactory:
    view = view_of("DownstreamTlsContext", {"common_tls_context": common, **fields})
    made = DownstreamTlsFactory(view, context or Context())
    SupportPolicy().check(view)
    return made


def client(common: dict[str, Any] | None = None, context: Context | None = None, **fields: Any) -> UpstreamTlsFactory:
    view = view_of("UpstreamTlsContext", {"common_tls_context": common or {}, **fields})
    made = UpstreamTlsFactory(view, context or Context())
    SupportPolicy().check(view)
    return made


def inline(text: str) -> dict[str, str]:
    return {"inline_string": text}


def pair(issued: Issued, *chain: Issued) -> dict[str, Any]:
    """A TlsCertificate."""
    whole = issued.pem + "".join(each.pem for each in chain)
    return {"certificate_chain": inline(whole), "private_key": inline(issued.key_pem())}


class End(TransportSocketCallbacks):
    """One end with our engine; `sent` is what it gave to the wire since the last look."""

    def __init__(self, factory: TlsFactory, options: TransportSocketOptions | None = None) -> None:
        socket = factory.create(options)
        assert socket is not None
        self.socket: TransportSocket = socket
        self.sent = bytearray()
        self.writes = 0
        self.received = bytearray()
        self.deliveries = 0
        self.connected = 0
        self.ended = False
        self.failure: str | None = None
        self.write_closed = False
        self.info = ConnectionInfo(1, _address(1), _address(2))
        socket.set_callbacks(self)

    def raw_write(self, data: bytes) -> None:
        self.sent += data
        self.writes += 1

    def raw_close_write(self) -> None:
        self.write_closed = True

    def raise_connected(self) -> None:
        self.connected += 1

    def deliver(self, data: bytes, end_stream: bool) -> None:
        assert self.failure is None
        self.received += data
        self.deliveries += 1
        self.ended = self.ended or end_stream

    def transport_failed(self, details: str) -> None:
        assert self.failure is None
        self.failure = details
        self.socket.on_closed()

    def begin(self) -> None:
        self.socket.on_transport_connected()

    def take(self) -> bytes:
        data = bytes(self.sent)
        self.sent.clear()
        return data

    def feed(self, data: bytes) -> None:
        self.socket.on_raw_data(data)


class Peer:
    """One end with the `ssl` module's engine."""

    def __init__(self, context: ssl.SSLContext, server_side: bool, name: str | None = None) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.engine = context.wrap_bio(self.incoming, self.outgoing, server_side, name)
        self.connected = 0
        self.received = bytearray()
        self.failure: str | None = None
        self.ended = False

    def begin(self) -> None:
        self.feed(b"")

    def take(self) -> bytes:
        return self.outgoing.read()

    def feed(self, data: bytes) -> None:
        if data:
            self.incoming.write(data)
        if self.failure is not None:
            return
        try:
            if not self.connected:
                self.engine.do_handshake()
                self.connected = 1
            while True:
                chunk = self.engine.read(65536)
                if not chunk:
                    self.ended = True
                    return
                self.received += chunk
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            self.failure = error.reason or str(error)

    def write(self, data: bytes) -> None:
        self.engine.write(data)


def _address(port: int) -> Address:
    return ip_address("127.0.0.1", port)


def pump(left: End | Peer, right: End | Peer, piece: int = 1 << 30) -> None:
    """Carry bytes to and fro, in pieces, until nobody has anything to say."""
    quiet = False
    while not quiet:
        quiet = True
        for source, target in ((left, right), (right, left)):
            data = source.take()
            for start in range(0, len(data), piece):
                target.feed(data[start : start + piece])
            quiet = quiet and not data


def shake(left: End | Peer, right: End | Peer, piece: int = 1 << 30) -> None:
    """A handshake."""
    left.begin()
    right.begin()
    pump(left, right, piece)


def ssl_client(
    issued: Issued | None = None,
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    alpn: list[str] | None = None,
    ciphers: str = "",
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = highest
    if issued is not None:
        _load(context, issued)
    if alpn:
        context.set_alpn_protocols(alpn)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def ssl_server(
    issued: Issued,
    *chain: Issued,
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    alpn: list[str] | None = None,
    trusts: Issued | None = None,
    ciphers: str = "",
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = lowest
    context.maximum_version = highest
    _load(context, issued, *chain)
    if alpn:
        context.set_alpn_protocols(alpn)
    if trusts is not None:
        context.load_verify_locations(cadata=trusts.pem)
        context.verify_mode = ssl.CERT_REQUIRED
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def _load(context: ssl.SSLContext, issued: Issued, *chain: Issued) -> None:
    with as_file((issued.pem + "".join(each.pem for each in chain) + issued.key_pem()).encode()) as path:
        context.load_cert_chain(path)


def counters(context: Context) -> dict[str, int]:
    """`ssl.*` counters that have been used, without the prefix."""
    return {
        name.removeprefix("ssl."): counter.value
        for name, counter in sorted(context.store.counters.items())
        if name.startswith("ssl.") and counter.value
    }
