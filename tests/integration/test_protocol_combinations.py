"""HTTP/1.1 and HTTP/2, in the clear and by ALPN, on either side: trailers, streams, early answers, resets, tunnels."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets.asyncio.client
import websockets.asyncio.server

from outrider.native import load_http2
from tests.integration.configuration import at
from tests.support.certificates import CertificateAuthority
from tests.support.h2_peer import Broken, H1Client, H2Client, StreamingUpstream
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess

pytestmark = pytest.mark.skipif(not load_http2.AVAILABLE, reason="libnghttp2 was not there when this was built")

TYPE = "type.googleapis.com/envoy.extensions."
H1 = {"explicit_http_config": {"http_protocol_options": {"enable_trailers": True}}}
H2 = {"explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}}
SAME = {"use_downstream_protocol_config": {"http_protocol_options": {"enable_trailers": True}, "http2_protocol_options": {"allow_connect": True}}}
AUTO = {"auto_config": {"http_protocol_options": {"enable_trailers": True}, "http2_protocol_options": {}}}

# To another proxy first, which is the same one.
HOP = [{"name": "x-hop", "present_match": True}]
DOWN = ("h1", "h2", "tls_h1", "tls_h2")
UP = ("up_h1", "up_h2", "auto_h1", "auto_h2")


def cluster(name: str, port: int, options: dict[str, Any], ca: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(port)}}]}]},
    }
    if options:
        key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        made["typed_extension_protocol_options"] = {key: {"@type": f"type.googleapis.com/{key}", **options}}
    if ca:
        context = {"@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {"validation_context": {"trusted_ca": {"filename": ca}}}}
        made["transport_socket"] = {"name": "tls", "typed_config": context}
    return made


def listener(name: str, port: int, certificate: tuple[str, str] | None = None) -> dict[str, Any]:
    connect = {"upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_protocol_options": {"enable_trailers": True},
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"connect_matcher": {}, "headers": HOP}, "route": {"cluster_header": "x-hop", "timeout": "0s", "upgrade_configs": [{"upgrade_type": "CONNECT"}]}, "request_headers_to_remove": ["x-hop"]},
            {"match": {"connect_matcher": {}}, "route": {"cluster": "tcp", "timeout": "0s", **connect}},
            {"match": {"prefix": "/", "headers": HOP}, "route": {"cluster_header": "x-hop", "timeout": "0s"}, "request_headers_to_remove": ["x-hop"]},
            {"match": {"prefix": "/"}, "route": {"cluster_header": "x-up", "timeout": "0s"}},
        ]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}],
    }  # fmt: skip
    chain: dict[str, Any] = {"filters": [{"name": "hcm", "typed_config": manager}]}
    if certificate is not None:
        chain["transport_socket"] = {"name": "tls", "typed_config": {
            "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{"certificate_chain": {"filename": certificate[0]}, "private_key": {"filename": certificate[1]}}],
            },
        }}  # fmt: skip
    return {"name": name, "address": at(port), "filter_chains": [chain]}


class EchoPort:
    """A TCP server that sends everything back."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.close()


class World:
    """Proxy, upstreams, clients."""

    def __init__(self, folder: Path) -> None:
        authority = CertificateAuthority(folder)
        self.certificate = authority.issue("test", "test", "127.0.0.1")
        self.ca = authority.ca_file
        self.upstreams = {
            "up_h1": StreamingUpstream("h1"),
            "up_h2": StreamingUpstream("h2"),
            "auto_h1": StreamingUpstream("h1", self._server("http/1.1")),
            "auto_h2": StreamingUpstream("h2", self._server("h2", "http/1.1")),
        }
        self.echo = EchoPort()
        self.websocket_port = free_port()
        self.clients: list[socket.socket] = []
        self.ports = {"plain": free_port(), "tls": free_port()}
        admin = free_port()
        clusters = [
            cluster(name, up.port, {"u": H1 if name == "up_h1" else H2, "a": AUTO}[name[0]], self.ca if name[0] == "a" else "")
            for name, up in self.upstreams.items()
        ]
        clusters += [
            cluster("same_h1", self.upstreams["up_h1"].port, SAME),
            cluster("same_h2", self.upstreams["up_h2"].port, SAME),
            cluster("tcp", self.echo.port, {}),
            cluster("back_h1", self.ports["plain"], H1),
            cluster("back_h2", self.ports["plain"], H2),
            cluster("websocket", self.websocket_port, H1),
        ]
        config = {
            "admin": {"address": at(admin)},
            "static_resources": {
                "listeners": [listener("plain", self.ports["plain"]), listener("tls", self.ports["tls"], self.certificate)],
                "clusters": clusters,
            },
        }
        self.process = ProxyProcess("outrider", json.dumps(config, indent=1), admin, folder)
        self.process.wait_ready()

    def _server(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        context.set_alpn_protocols(list(protocols))
        return context

    def client(self, down: str) -> Any:
        connection: socket.socket = socket.create_connection(("127.0.0.1", self.ports["tls" if "tls" in down else "plain"]))
        connection.settimeout(10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if "tls" in down:
            context = ssl.create_default_context(cafile=self.ca)
            context.set_alpn_protocols(["h2"] if "h2" in down else ["http/1.1"])
            wrapped = context.wrap_socket(connection, server_hostname="test")
            assert wrapped.selected_alpn_protocol() == ("h2" if "h2" in down else "http/1.1")
            connection = wrapped
        self.clients.append(connection)
        return H2Client(connection) if "h2" in down else H1Client(connection)

    def close_clients(self) -> None:
        for connection in self.clients:
            connection.close()
        self.clients.clear()

    def stats(self) -> dict[str, int]:
        lines = (line.rpartition(": ") for line in self.process.admin("/stats").body.splitlines())
        return {name: int(value) for name, _, value in lines if value.isdigit()}

    def stop(self) -> None:
        self.process.stop()
        for upstream in self.upstreams.values():
            upstream.close()
        self.echo.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("combinations"))
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def clients_closed(world: World) -> Iterator[None]:
    yield
    world.close_clients()


@pytest.fixture(params=[(down, up) for down in DOWN for up in UP], ids=lambda pair: f"{pair[0]}-{pair[1]}")
def pair(request: pytest.FixtureRequest, world: World) -> tuple[Any, StreamingUpstream, list[tuple[str, str]]]:
    down, up = request.param
    world.upstreams[up].heard.clear()
    return world.client(down), world.upstreams[up], [("x-up", up)]


Pair = tuple[Any, StreamingUpstream, list[tuple[str, str]]]


def test_streams_and_trailers(pair: Pair) -> None:
    client, upstream, fields = pair
    client.begin("/echo", fields)
    for number in range(5):
        piece = b"piece %d" % number
        client.send(piece)
        if number == 0:
            assert client.status() == 200
            assert client.fields["x-upstream"] == upstream.kind
        # It comes back before the next one goes out.
        assert client.read(len(piece)) == piece
    client.end([("x-end", "1"), ("x-more", "2")])
    assert client.read(1) == b""
    assert client.trailers == [("x-end", "1"), ("x-more", "2")]
    assert upstream.wait_for("/echo", "end").trailers == [("x-end", "1"), ("x-more", "2")]


def test_large_bodies(pair: Pair) -> None:
    client, _, fields = pair
    body = bytes(range(256)) * 8192
    client.begin("/echo", fields)
    sender = threading.Thread(target=_send_whole, args=(client, body)) if isinstance(client, H1Client) else None
    if sender is not None:
        sender.start()
        assert client.status() == 200
        assert client.read(len(body)) == body
        sender.join()
    else:
        _send_whole(client, body)
        assert client.read(len(body)) == body


def _send_whole(client: Any, body: bytes) -> None:
    for begin in range(0, len(body), 65536):
        client.send(body[begin : begin + 65536])
    client.end()


def test_early_answer(pair: Pair) -> None:
    client, _, fields = pair
    client.begin("/early", fields)
    client.send(b"only the beginning")
    assert client.status() == 200
    assert client.read(5) == b"early"


def test_upstream_breaks_off(pair: Pair) -> None:
    client, _, fields = pair
    client.begin("/reset", fields)
    client.end()
    with pytest.raises(Broken):
        # The headers may be lost with the rest.
        client.status()
        while client.read(100):
            pass
        if not isinstance(client, H2Client):
            raise Broken


def test_client_cancels(pair: Pair) -> None:
    client, upstream, fields = pair
    client.begin("/hang", fields)
    client.send(b"x")
    deadline = 50
    while not upstream.heard and deadline:
        deadline -= 1
        threading.Event().wait(0.05)
    client.cancel()
    upstream.wait_for("/hang", "reset")


@pytest.mark.parametrize("down", DOWN)
def test_use_downstream_protocol(world: World, down: str) -> None:
    kind = "h2" if "h2" in down else "h1"
    client = world.client(down)
    client.begin("/echo", [("x-up", f"same_{kind}")])
    client.end()
    assert client.status() == 200
    assert client.fields["x-upstream"] == kind


# --- tunnels ---

WEBSOCKET = [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13"), ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")]


def open_websocket(client: Any, fields: list[tuple[str, str]]) -> None:
    if isinstance(client, H2Client):
        client.wait_settings()
        assert client.connect_allowed
        pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"), (":authority", "test")]
        client.begin_with([*pseudo, *fields])
        assert client.status() == 200
        return
    lines = "".join(f"{name}: {value}\r\n" for name, value in [*WEBSOCKET, *fields])
    client.connection.sendall(f"GET /chat HTTP/1.1\r\nhost: test\r\n{lines}\r\n".encode())
    assert client.status() == 101


def exchange(client: Any, data: bytes) -> bytes:
    """Through the tunnel and back."""
    if isinstance(client, H2Client):
        client.send(data)
        return client.read(len(data))
    assert isinstance(client, H1Client)
    client.connection.sendall(data)
    return client.reader.take(len(data))


@pytest.mark.parametrize("down", DOWN)
@pytest.mark.parametrize("up", ["up_h1", "up_h2"])
def test_websocket(world: World, down: str, up: str) -> None:
    world.upstreams[up].heard.clear()
    client = world.client(down)
    open_websocket(client, [("x-up", up)])
    for size in (1, 100, 50000):
        assert exchange(client, b"w" * size) == b"w" * size
    client.cancel()
    world.upstreams[up].wait_for("/chat", "reset")


def open_tunnel(client: Any, fields: list[tuple[str, str]]) -> None:
    if isinstance(client, H2Client):
        client.begin_with([(":method", "CONNECT"), (":authority", "test:80"), *fields])
    else:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        client.connection.sendall(f"CONNECT test:80 HTTP/1.1\r\nhost: test:80\r\n{lines}\r\n".encode())
    assert client.status() == 200


@pytest.mark.parametrize("down", DOWN)
def test_connect_ends_here(world: World, down: str) -> None:
    client = world.client(down)
    open_tunnel(client, [])
    for size in (1, 100, 200000):
        assert exchange(client, b"t" * size) == b"t" * size


@pytest.mark.parametrize("down", DOWN)
@pytest.mark.parametrize("hop", ["back_h1", "back_h2"])
def test_connect_goes_on(world: World, down: str, hop: str) -> None:
    """CONNECT is passed to the next proxy (ourselves), over HTTP/1.1 or HTTP/2, and ends there."""
    client = world.client(down)
    open_tunnel(client, [("x-hop", hop)])
    assert exchange(client, b"through") == b"through"


@pytest.mark.parametrize("hop", ["", "back_h1", "back_h2"])
def test_websockets_library(world: World, hop: str) -> None:
    """A real client and server; between them one proxy, or two that speak HTTP/1.1 or HTTP/2 with one another."""

    async def serve(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def run() -> None:
        async with websockets.asyncio.server.serve(serve, "127.0.0.1", world.websocket_port):
            url = f"ws://127.0.0.1:{world.ports['plain']}/chat"
            headers = {"x-up": "websocket", **({"x-hop": hop} if hop else {})}
            async with websockets.asyncio.client.connect(url, additional_headers=headers) as client:
                for message in ("hello", b"\0" * 70000, "\u00fc" * 1000):
                    await client.send(message)
                    assert await client.recv() == message

    asyncio.run(run())
