"""Upgrades, CONNECT forwarded and terminated."""

from __future__ import annotations

import pytest

from outrider.data.address import Address, ip_address, pipe_address
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import ConnectionInfo
from outrider.router.config.upgrade_config import ConnectConfig
from outrider.router.tcp_upstream import proxy_header, wants_tcp
from outrider.upstream.conn_pool import PendingStream, TcpConnPool, TcpPoolCallbacks
from outrider.upstream.host import Host
from tests.router.support.playbook import World, open_connection

WEBSOCKET = ((b"connection", b"Upgrade"), (b"upgrade", b"WebSocket"))


def test_websocket_payload_waits_for_the_upgrade() -> None:
    world = World()
    world.request(*WEBSOCKET, end=False)
    attempt = world.attempts[0]
    world.send(b"EAGER", False)
    assert attempt.encoder.headers is not None and attempt.encoder.body == b""
    attempt.respond(101, None)
    assert attempt.encoder.body == b"EAGER"
    world.send(b"more", False)
    assert attempt.encoder.body == b"EAGERmore"
    assert world.manager.status == 101
    assert world.dispatcher.wheel.pending() == 0


def test_a_websocket_that_is_never_answered_times_out() -> None:
    world = World()
    world.route.timeout_ms = 100
    world.request(*WEBSOCKET, end=False)
    world.loop.advance(150)
    assert world.manager.local == (504, "upstream request timeout", "response_timeout")


def test_a_websocket_that_is_refused_with_an_error() -> None:
    world = World()
    world.request(*WEBSOCKET, end=False)
    world.send(b"EAGER", False)
    world.attempts[0].respond(403, b"body")
    assert (world.manager.status, world.manager.body, world.manager.local) == (403, b"body", None)
    assert world.attempts[0].encoder.body == b""


def test_a_websocket_that_is_answered_with_something_else() -> None:
    world = World()
    world.request(*WEBSOCKET, end=False)
    world.attempts[0].respond(200, b"", (b"x-u", b"1"))
    assert world.manager.local == (200, "", "websocket_handshake_unsuccessful")
    assert world.manager.sent is not None and world.manager.sent.get(b"x-u") == b"1"
    assert world.up("upstream_rq_200") == 0


def test_other_upgrades_wait_too() -> None:
    world = World()
    world.request((b"upgrade", b"foo"), end=False)
    world.send(b"EAGER", False)
    attempt = world.attempts[0]
    assert attempt.encoder.body == b""
    attempt.respond(101, None)
    assert attempt.encoder.body == b"EAGER"


@pytest.mark.parametrize("status", [200, 403])
def test_other_upgrades_that_are_refused(status: int) -> None:
    world = World()
    world.request((b"upgrade", b"foo"), end=False)
    world.attempts[0].respond(status, b"body")
    assert (world.manager.status, world.manager.body) == (status, b"body")


def test_connect_is_forwarded() -> None:
    world = World()
    world.request(method=b"CONNECT", path=b"", end=False)
    attempt = world.attempts[0]
    world.send(b"EAGER", False)
    assert attempt.encoder.body == b""
    attempt.respond(200, None)
    assert attempt.encoder.body == b"EAGER"


def test_connect_that_is_refused() -> None:
    world = World()
    world.request(method=b"CONNECT", path=b"", end=False)
    world.send(b"EAGER", False)
    world.attempts[0].respond(403, b"body")
    assert (world.manager.status, world.manager.body) == (403, b"body")
    assert world.attempts[0].encoder.body == b""


def test_early_payload_of_connect_can_be_refused() -> None:
    world = World()
    world.config.reject_connect_early_data = True
    world.connected = False
    world.request(method=b"CONNECT", path=b"", end=False)
    world.send(b"EAGER", False)
    assert world.manager.local == (400, "", "early_connect_data")
    assert world.attempts[0].cancelled


class RawPool(TcpConnPool):
    """Gives one raw connection, at once or when told."""

    def __init__(self, world: World, host: Host, at_once: bool) -> None:
        super().__init__(host, 0, world.cluster.connector, world.cluster, "")
        self.connection, self.transport = open_connection(world.dispatcher, host.address)
        self.at_once = at_once
        self.callbacks: TcpPoolCallbacks | None = None

    def new_connection(self, callbacks: TcpPoolCallbacks) -> PendingStream | None:
        self.callbacks = callbacks
        if self.at_once:
            self.connect()
            return None
        return PendingStream.__new__(PendingStream)

    def connect(self) -> None:
        assert self.callbacks is not None
        self.callbacks.on_pool_ready(self.connection, self.host)


def terminated(at_once: bool, version: int = 0) -> tuple[World, RawPool]:
    world = World()
    world.route.connect_config = ConnectConfig(False, version)
    world.cluster = world.add_cluster("up", 1)
    host = next(iter(world.cluster.hosts.values()))
    pool = RawPool(world, host, at_once)
    host.tcp_pools[world.cluster._pool_key(host, 0, None, None)] = pool
    world.request(method=b"CONNECT", path=b"", end=False)
    return world, pool


@pytest.mark.parametrize("at_once", [True, False])
def test_connect_is_terminated(at_once: bool) -> None:
    world, pool = terminated(at_once)
    world.send(b"EAGER", False)
    if not at_once:
        assert world.manager.sent is None
        pool.connect()
    connection, transport = pool.connection, pool.transport
    assert world.manager.status == 200
    assert transport.written == b"EAGER"
    connection.data_received(b"banner")
    assert world.manager.body == b"banner"
    world.send(b"bye", True)
    assert (transport.written, transport.ended) == (b"EAGERbye", True)
    connection.data_received(b"done")
    assert connection.eof_received() is False
    assert (world.manager.body, world.manager.ended) == (b"bannerdone", True)
    assert world.up("upstream_rq_200") == 1
    assert world.manager.reset_with == ""


def test_the_raw_upstream_closes() -> None:
    world, pool = terminated(True)
    pool.connection.connection_lost(OSError())
    assert world.manager.reset_with == "upstream_reset_after_response_started{connection_termination}"


def test_the_raw_upstream_is_closed() -> None:
    world, pool = terminated(True)
    world.manager.destroy_filters()
    assert pool.transport.closed
    # A connection that was closed from here has nobody left to tell.
    assert world.manager.reset_with == ""


def test_proxy_protocol_precedes_the_payload() -> None:
    world, pool = terminated(True, 1)
    world.send(b"x", False)
    assert pool.transport.written == b"PROXY TCP4 10.0.0.9 10.0.0.1 4711 80\r\nx"


def test_back_pressure_of_a_raw_upstream() -> None:
    world, pool = terminated(True)
    pool.connection.pause_writing()
    assert world.manager.read_disabled == 1
    pool.connection.resume_writing()
    assert world.manager.read_disabled == 0
    world.manager.tell_downstream_high()
    assert not pool.transport.reading
    world.manager.tell_downstream_low()
    assert pool.transport.reading


def test_what_is_terminated() -> None:
    connect = RequestHeaderMap(method=b"CONNECT")
    post = RequestHeaderMap(method=b"POST")
    assert wants_tcp(ConnectConfig(False, 0), connect) and wants_tcp(ConnectConfig(True, 0), post)
    assert not wants_tcp(ConnectConfig(False, 0), post)


def info(remote: Address, local: Address) -> ConnectionInfo:
    return ConnectionInfo(1, local, remote)


def test_proxy_headers() -> None:
    v4 = info(ip_address("192.0.2.1", 4711), ip_address("192.0.2.2", 80))
    v6 = info(ip_address("2001:db8::1", 4711), ip_address("2001:db8::2", 80))
    pipe = info(pipe_address("/tmp/x"), pipe_address("/tmp/x"))
    signature = b"\r\n\r\n\x00\r\nQUIT\n"
    assert proxy_header(1, v4) == b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n"
    assert proxy_header(1, v6) == b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n"
    assert proxy_header(1, pipe) == b"PROXY UNKNOWN\r\n"
    assert proxy_header(2, v4) == signature + (b"\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x00\x50")
    assert proxy_header(2, v6)[12:16] == b"\x21\x21\x00\x24"
    assert len(proxy_header(2, v6)) == 16 + 36
    assert proxy_header(2, pipe) == signature + b"\x20\x00\x00\x00"
