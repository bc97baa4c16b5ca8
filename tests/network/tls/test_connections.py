"""TLS over real sockets: connections of ours against `ssl` peers in threads, and against each other."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from outrider.data.address import from_sockname, ip_address
from outrider.data.stream_info import ConnectionInfo
from outrider.event.dispatcher import Dispatcher, new_event_loop
from outrider.network.client_connection import ConnectPlan, connect
from outrider.network.connection import STATE_CLOSED, Connection, ConnectionOwner
from outrider.network.filter import (
    CLOSE_ABORT_RESET,
    CLOSE_FLUSH_WRITE,
    CONTINUE,
    EVENT_CONNECTED,
    EVENT_LOCAL_CLOSE,
    EVENT_REMOTE_CLOSE,
    STOP,
    ConnectionCallbacks,
    NetworkFilter,
)
from outrider.network.tls.factory import TlsFactory
from tests.network.tls.bench import client, inline, pair, server, ssl_client, ssl_server
from tests.network.tls.pki import authority

pytestmark = pytest.mark.integration

CA = authority()
SERVER = CA.issue("server", "server.test")
CLIENT = CA.issue("client", "client.test")
TRUSTED = {"trusted_ca": inline(CA.pem)}


class Echo(NetworkFilter):
    """Sends back what it gets, slowed down by the write buffer; ends when the peer does."""

    def __init__(self, log: list[Connection]) -> None:
        self.log = log
        self.paused = 0

    def initialize(self, connection: Connection) -> None:
        super().initialize(connection)
        connection.enable_half_close(True)
        connection.add_callbacks(self)
        self.log.append(connection)

    def on_data(self, data: bytes, end_stream: bool) -> int:
        self.connection.write(data, end_stream)
        return STOP

    def on_above_write_buffer_high_watermark(self) -> None:
        self.paused += 1
        self.connection.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.connection.read_disable(False)


class Acceptor(ConnectionOwner):
    """What a listener does with a connection."""

    def __init__(self, factory: TlsFactory, log: list[Connection], timeout_ms: int) -> None:
        self.factory = factory
        self.log = log
        self.timeout_ms = timeout_ms

    def on_transport(self, connection: Connection) -> None:
        connection.set_buffer_limits(65536)
        connection.add_filter(Echo(self.log))
        connection.set_transport_socket(self.factory.create(None), self.timeout_ms)
        connection.start_filters()


class Bench:
    """A loop with an echo server behind a TLS context; `blocking` runs a test's peer in a thread."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self.dispatcher = Dispatcher("test", self.loop)
        self.connections: list[Connection] = []
        self.port = 0
        self.listening: Any = None

    def listen(self, factory: TlsFactory, timeout_ms: int = 0) -> None:
        def made() -> Connection:
            info = ConnectionInfo(
                self.dispatcher.next_connection_id(), ip_address("127.0.0.1", 0), ip_address("127.0.0.1", 0)
            )
            return Connection(self.dispatcher, info, Acceptor(factory, self.connections, timeout_ms))

        async def open_socket() -> Any:
            return await self.loop.create_server(made, "127.0.0.1", 0)  # type: ignore[arg-type]

        self.listening = self.loop.run_until_complete(open_socket())
        self.port = self.listening.sockets[0].getsockname()[1]

    def blocking(self, work: Callable[[], Any], seconds: float = 20.0) -> Any:
        async def run() -> Any:
            return await asyncio.wait_for(self.loop.run_in_executor(None, work), seconds)

        return self.loop.run_until_complete(run())

    def settle(self, done: Callable[[], bool], seconds: float = 10.0) -> None:
        async def wait() -> None:
            end = time.monotonic() + seconds
            while not done() and time.monotonic() < end:
                await asyncio.sleep(0.005)

        self.loop.run_until_complete(wait())
        assert done()

    def close(self) -> None:
        for connection in self.connections:
            connection.close(CLOSE_ABORT_RESET)
        if self.listening is not None:
            self.listening.close()
            self.loop.run_until_complete(self.listening.wait_closed())
        self.loop.run_until_complete(self.dispatcher.shutdown())
        # Transports that are closing say so in the next turn.
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@pytest.fixture
def bench() -> Any:
    made = Bench()
    yield made
    made.close()


class Watcher(ConnectionCallbacks):
    def __init__(self) -> None:
        self.events: list[int] = []

    def on_event(self, event: int) -> None:
        self.events.append(event)


class Collector(NetworkFilter):
    """Keeps what an upstream connection gets."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False

    def on_data(self, data: bytes, end_stream: bool) -> int:
        self.data += data
        self.ended = self.ended or end_stream
        return CONTINUE


def dial(bench: Bench, factory: TlsFactory, port: int) -> tuple[Connection, Watcher, Collector]:
    connection = connect(bench.dispatcher, ConnectPlan([ip_address("127.0.0.1", port)]), factory.create(None))
    watcher, collector = Watcher(), Collector()
    connection.add_callbacks(watcher)
    connection.enable_half_close(True)
    connection.add_filter(collector)
    bench.connections.append(connection)
    return connection, watcher, collector


def in_thread(work: Callable[[socket.socket], None]) -> tuple[int, threading.Thread]:
    """A server for one connection; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listening:
            listening.settimeout(15)
            accepted, _ = listening.accept()
            with accepted:
                accepted.settimeout(15)
                work(accepted)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return listening.getsockname()[1], thread


def test_echo_with_back_pressure(bench: Bench) -> None:
    bench.listen(server({"tls_certificates": [pair(SERVER)], "alpn_protocols": ["foo"]}))
    data = bytes(range(256)) * 32768

    def peer() -> bytes:
        raw = socket.create_connection(("127.0.0.1", bench.port), 10)
        with ssl_client(alpn=["foo"]).wrap_socket(raw, server_hostname="server.test") as secure:
            assert secure.selected_alpn_protocol() == "foo"
            sender = threading.Thread(target=secure.sendall, args=(data,))
            sender.start()
            # A slow reader: the echo must not pile up at the server.
            time.sleep(0.5)
            received = bytearray()
            while len(received) < len(data):
                chunk = secure.recv(65536)
                assert chunk
                received += chunk
            sender.join()
            secure.unwrap().close()
        return bytes(received)

    assert bench.blocking(peer) == data
    connection = bench.connections[0]
    info = connection.info.ssl
    assert info is not None and info.sni() == "server.test" and info.alpn() == "foo"
    assert connection.bytes_received > len(data) and connection.bytes_sent > len(data)


def test_paused_reader_keeps_memory_bounded(bench: Bench) -> None:
    bench.listen(server({"tls_certificates": [pair(SERVER)]}))
    sent: list[int] = []

    def peer() -> None:
        raw = socket.create_connection(("127.0.0.1", bench.port), 10)
        secure = ssl_client().wrap_socket(raw, server_hostname="server.test")
        secure.settimeout(1.0)
        total = 0
        try:
            while total < 64 * 1024 * 1024:
                total += secure.send(b"x" * 65536)
        except OSError:
            pass
        sent.append(total)
        secure.close()

    bench.blocking(peer)
    # What fits into the kernel's buffers both ways and ours, not the 64 MiB that were on offer.
    assert sent[0] < 32 * 1024 * 1024
    bench.settle(lambda: bench.connections[0].state == STATE_CLOSED)


def test_mutual(bench: Bench) -> None:
    bench.listen(
        server({"tls_certificates": [pair(SERVER)], "validation_context": TRUSTED}, require_client_certificate=True)
    )

    def peer(issued: Any) -> str:
        raw = socket.create_connection(("127.0.0.1", bench.port), 10)
        try:
            with ssl_client(issued).wrap_socket(raw, server_hostname="server.test") as secure:
                secure.sendall(b"hi")
                return secure.recv(10).decode() or "closed"
        except (ssl.SSLError, ConnectionError) as error:
            return type(error).__name__

    assert bench.blocking(lambda: peer(CLIENT)) == "hi"
    info = bench.connections[0].info.ssl
    assert info is not None and info.peer_certificate_der() == CLIENT.der and info.peer_validated()
    assert bench.blocking(lambda: peer(None)) != "hi"
    bench.settle(lambda: bench.connections[1].state == STATE_CLOSED)
    failed = bench.connections[1].info
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in failed.transport_failure_reason


def test_slow_handshake_is_cut_off(bench: Bench) -> None:
    bench.listen(server({"tls_certificates": [pair(SERVER)]}), timeout_ms=200)

    def peer() -> bytes:
        with socket.create_connection(("127.0.0.1", bench.port), 10) as raw:
            raw.sendall(b"\x16\x03")
            return raw.recv(100)

    assert bench.blocking(peer) == b""
    assert bench.connections[0].info.transport_failure_reason == "transport socket timeout was reached"


def test_garbage_and_early_end(bench: Bench) -> None:
    bench.listen(server({"tls_certificates": [pair(SERVER)]}))

    def peer(data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", bench.port), 10) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            return raw.recv(100)

    bench.blocking(lambda: peer(b"no TLS at all, but long enough"))
    bench.blocking(lambda: peer(b""))
    bench.blocking(lambda: peer(b"\x16\x03\x01"))
    bench.settle(lambda: len(bench.connections) == 3 and all(each.state == STATE_CLOSED for each in bench.connections))
    reasons = [each.info.transport_failure_reason for each in bench.connections]
    assert "WRONG_VERSION_NUMBER" in reasons[0] and reasons[1:] == ["", ""]


def test_client_connection(bench: Bench) -> None:
    def upstream(raw: socket.socket) -> None:
        with ssl_server(SERVER).wrap_socket(raw, server_side=True) as secure:
            assert secure.recv(100) == b"ping"
            secure.sendall(b"pong" * 100000)
            secure.unwrap()

    port, thread = in_thread(upstream)
    connection, watcher, collector = dial(bench, client({"validation_context": TRUSTED}), port)
    connection.write(b"ping")
    bench.settle(lambda: watcher.events == [EVENT_CONNECTED])
    connection.write(b"ping")
    bench.settle(lambda: collector.ended)
    assert bytes(collector.data) == b"pong" * 100000
    assert connection.info.ssl is not None and connection.info.ssl.peer_validated()
    assert connection.tls_end_ns >= connection.connect_end_ns > 0
    connection.close(CLOSE_FLUSH_WRITE)
    bench.settle(lambda: EVENT_LOCAL_CLOSE in watcher.events)
    thread.join(10)


def test_client_refuses_a_wrong_authority(bench: Bench) -> None:
    alerts: list[str] = []

    def upstream(raw: socket.socket) -> None:
        try:
            ssl_server(SERVER).wrap_socket(raw, server_side=True)
        except ssl.SSLError as error:
            alerts.append(error.reason or "")

    port, thread = in_thread(upstream)
    wrong = {"validation_context": {"trusted_ca": inline(authority("other").pem)}}
    connection, watcher, _ = dial(bench, client(wrong), port)
    bench.settle(lambda: connection.state == STATE_CLOSED)
    thread.join(10)
    assert EVENT_CONNECTED not in watcher.events
    assert "unable to get local issuer certificate" in connection.info.transport_failure_reason
    assert alerts == ["TLSV1_ALERT_UNKNOWN_CA"]


def test_client_against_a_reset(bench: Bench) -> None:
    def upstream(raw: socket.socket) -> None:
        raw.recv(1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    port, thread = in_thread(upstream)
    connection, watcher, _ = dial(bench, client(), port)
    bench.settle(lambda: connection.state == STATE_CLOSED)
    thread.join(10)
    assert watcher.events == [EVENT_REMOTE_CLOSE]
    assert connection.info.transport_failure_reason == (
        "TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"
    )


def test_client_against_silence_and_plain_text(bench: Bench) -> None:
    port, thread = in_thread(lambda raw: None)
    connection, watcher, _ = dial(bench, client(), port)
    bench.settle(lambda: connection.state == STATE_CLOSED)
    thread.join(10)
    assert EVENT_CONNECTED not in watcher.events

    def plain(raw: socket.socket) -> None:
        raw.recv(1000)
        raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        raw.recv(1000)

    port, thread = in_thread(plain)
    connection, watcher, _ = dial(bench, client(), port)
    bench.settle(lambda: connection.state == STATE_CLOSED)
    thread.join(10)
    assert "WRONG_VERSION_NUMBER" in connection.info.transport_failure_reason


def test_truncated_answer(bench: Bench) -> None:
    def upstream(raw: socket.socket) -> None:
        secure = ssl_server(SERVER).wrap_socket(raw, server_side=True)
        secure.recv(100)
        secure.sendall(b"half of it")
        # No close_notify.
        socket.socket(fileno=secure.detach()).close()

    port, thread = in_thread(upstream)
    connection, watcher, collector = dial(bench, client(), port)
    bench.settle(lambda: watcher.events == [EVENT_CONNECTED])
    connection.write(b"go")
    bench.settle(lambda: collector.ended)
    assert bytes(collector.data) == b"half of it" and connection.info.transport_failure_reason == ""
    connection.close(CLOSE_FLUSH_WRITE)
    thread.join(10)


def test_our_own_ends(bench: Bench) -> None:
    bench.listen(server({"tls_certificates": [pair(SERVER)]}))
    params = {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}, "validation_context": TRUSTED}
    factory = client(params)
    for round_number in range(3):
        connection, watcher, collector = dial(bench, factory, bench.port)
        bench.settle(lambda w=watcher: w.events == [EVENT_CONNECTED])  # type: ignore[misc]
        data = b"z" * 3_000_000
        connection.write(data, True)
        bench.settle(lambda c=collector: c.ended)  # type: ignore[misc]
        assert bytes(collector.data) == data
        assert from_sockname(("127.0.0.1", bench.port)) == connection.info.remote_address
        bench.settle(lambda c=connection: c.state == STATE_CLOSED)  # type: ignore[misc]
        assert factory.stats.session_reused.value == round_number
