"""Listener filters: what the inspectors find out, and the chain that runs them."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from outrider.data.stream_info import ConnectionInfo
from outrider.event.dispatcher import Dispatcher
from outrider.extensions.filters.listener.http_inspector import HttpInspector, HttpInspectorStats
from outrider.extensions.filters.listener.tls_inspector import (
    MAX_CLIENT_HELLO,
    NeedMore,
    NotTls,
    TlsInspector,
    TlsInspectorStats,
    parse_client_hello,
)
from outrider.network.connection import STATE_CLOSED, STATE_OPEN, Connection
from outrider.network.filter import CONTINUE, STOP
from outrider.network.listener_filter import ListenerFilter, ListenerFilterChain, ListenerFilterOwner
from outrider.network.listener_stats import ListenerStats
from outrider.stats.store import Store
from tests.network.test_filter_chain import connection as make_info


def client_hello(name: str | None = "Www.Example.com", protocols: tuple[str, ...] = ()) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        engine.do_handshake()
    return outgoing.read()


def refragment(hello: bytes, size: int) -> bytes:
    """The same handshake message in records of `size` bytes."""
    body = hello[5:]
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def test_client_hello_gives_name_and_protocols() -> None:
    hello = parse_client_hello(client_hello(protocols=("h2", "http/1.1")))
    assert hello.server_name == "www.example.com"
    assert hello.protocols == ["h2", "http/1.1"]


def test_client_hello_without_extensions_of_interest() -> None:
    hello = parse_client_hello(client_hello(name=None))
    assert hello.server_name == ""
    assert hello.protocols == []


def test_every_prefix_of_a_client_hello_asks_for_more() -> None:
    whole = client_hello()
    for end in range(len(whole)):
        with pytest.raises(NeedMore):
            parse_client_hello(whole[:end])
    assert parse_client_hello(whole + b"early data").server_name == "www.example.com"


def test_a_client_hello_in_many_records() -> None:
    assert parse_client_hello(refragment(client_hello(), 16)).server_name == "www.example.com"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x00",
        b"\x16\x02\x00\x00\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        # A handshake message larger than any ClientHello may be.
        b"\x16\x03\x01\x00\x04\x01\x7f\xff\xff",
        # Lengths that lead out of the message.
        b"\x16\x03\x01\x00\x2b\x01\x00\x00\x27\x03\x03" + bytes(32) + b"\xff\x00\x00\x00\x00",
    ],
)
def test_what_is_no_client_hello(data: bytes) -> None:
    with pytest.raises(NotTls):
        parse_client_hello(data)


class Owner(ListenerFilterOwner):
    def __init__(self) -> None:
        self.outcome: str = ""
        self.data = b""

    def on_listener_filters_done(self, chain: ListenerFilterChain) -> None:
        self.outcome = "done"
        self.data = chain.buffer

    def on_listener_filters_closed(self, chain: ListenerFilterChain) -> None:
        self.outcome = "closed"


class FakeTransport:
    def __init__(self) -> None:
        self.paused = False
        self.closed = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Bench:
    """A chain of listener filters on a connection without a socket; time does not pass."""

    def __init__(self, *filters: ListenerFilter, continue_on_timeout: bool = False) -> None:
        self.store = Store()
        self.owner = Owner()
        self.info: ConnectionInfo = make_info(transport="")
        loop = asyncio.new_event_loop()
        self.connection = Connection(Dispatcher("test", loop), self.info)
        loop.close()
        self.connection.connection_made(FakeTransport())
        stats = ListenerStats(self.store.scope("listener.x"), "worker_0")
        self.chain = ListenerFilterChain(self.owner, self.connection, stats, list(filters), continue_on_timeout)
        self.chain.start(None, 0)  # type: ignore[arg-type]

    def receive(self, data: bytes) -> None:
        self.connection.data_received(data)

    def counter(self, name: str) -> int:
        return self.store.counter(name).value


def tls_inspector(store: Store, size: int = MAX_CLIENT_HELLO) -> TlsInspector:
    return TlsInspector(TlsInspectorStats(store), size)


def test_tls_inspector_finds_tls_in_pieces() -> None:
    store = Store()
    bench = Bench(tls_inspector(store))
    hello = client_hello(protocols=("h2",))
    bench.receive(hello[:100])
    assert bench.owner.outcome == ""
    bench.receive(hello[100:])
    assert bench.owner.outcome == "done"
    assert bench.owner.data == hello
    assert bench.info.transport_protocol == "tls"
    assert bench.info.requested_server_name == "www.example.com"
    assert bench.info.application_protocols == ["h2"]
    assert store.counter("tls_inspector.tls_found").value == 1
    assert store.counter("tls_inspector.sni_found").value == 1
    assert store.counter("tls_inspector.alpn_found").value == 1
    assert bench.store.gauge("listener.x.downstream_pre_cx_active").value == 0


def test_tls_inspector_passes_plain_text() -> None:
    store = Store()
    bench = Bench(tls_inspector(store))
    bench.receive(b"G")
    assert bench.owner.outcome == "done"
    assert bench.owner.data == b"G"
    assert bench.info.transport_protocol == ""
    assert store.counter("tls_inspector.tls_not_found").value == 1


def test_a_client_hello_beyond_the_limit_closes() -> None:
    store = Store()
    bench = Bench(tls_inspector(store, 100))
    bench.receive(client_hello()[:100])
    assert bench.owner.outcome == "closed"
    assert bench.connection.state == STATE_CLOSED
    assert store.counter("tls_inspector.client_hello_too_large").value == 1
    assert bench.counter("listener.x.downstream_listener_filter_error") == 1


def test_the_end_of_the_stream_while_inspecting() -> None:
    bench = Bench(tls_inspector(Store()))
    bench.receive(b"\x16")
    bench.connection.eof_received()
    assert bench.owner.outcome == "closed"
    assert bench.counter("listener.x.downstream_listener_filter_remote_close") == 1


def test_timeout_closes_or_continues() -> None:
    bench = Bench(tls_inspector(Store()))
    bench.chain.on_timeout()
    assert bench.owner.outcome == "closed"
    assert bench.counter("listener.x.downstream_pre_cx_timeout") == 1
    lenient = Bench(tls_inspector(Store()), continue_on_timeout=True)
    lenient.receive(b"\x16\x03")
    lenient.chain.on_timeout()
    assert lenient.owner.outcome == "done"
    assert lenient.owner.data == b"\x16\x03"
    assert lenient.connection.state == STATE_OPEN


@pytest.mark.parametrize(
    ("data", "protocols", "counter"),
    [
        (b"GET / HTTP/1.1\r\n", ["http/1.1"], "http11_found"),
        (b"GET / HTTP/1.0\r\n", ["http/1.0"], "http10_found"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ["h2c"], "http2_found"),
        (b"GET /\r\n", [], "http_not_found"),
        (b"\x00\x01\x02", [], "http_not_found"),
        (b"hello world this is not http\n", [], "http_not_found"),
    ],
)
def test_http_inspector(data: bytes, protocols: list[str], counter: str) -> None:
    store = Store()
    bench = Bench(HttpInspector(HttpInspectorStats(store)))
    bench.receive(data)
    assert bench.owner.outcome == "done"
    assert bench.info.application_protocols == protocols
    assert store.counter(f"http_inspector.{counter}").value == 1


def test_http_inspector_waits_for_a_whole_line_and_a_whole_preface() -> None:
    for start in (b"GET /abc", b"PRI * HT"):
        bench = Bench(HttpInspector(HttpInspectorStats(Store())))
        bench.receive(start)
        assert bench.owner.outcome == ""


class Consuming(ListenerFilter):
    def max_read_bytes(self) -> int:
        return 64

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        self.callbacks = callbacks
        return STOP

    def on_data(self, data: bytes) -> int:
        if len(data) < 4:
            return STOP
        self.callbacks.consume(4)
        return CONTINUE


class Waiting(ListenerFilter):
    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        self.callbacks = callbacks
        return STOP


def test_filters_run_in_order_and_may_consume() -> None:
    bench = Bench(Consuming(), tls_inspector(Store()))
    hello = client_hello()
    bench.receive(b"ABCD" + hello)
    assert bench.owner.outcome == "done"
    assert bench.owner.data == hello


def test_a_filter_may_wait_without_bytes() -> None:
    waiting = Waiting()
    bench = Bench(waiting)
    bench.receive(b"x" * 70_000)
    assert bench.owner.outcome == ""
    # What nobody wants stays in the kernel.
    assert not bench.connection.reading
    waiting.callbacks.continue_chain(True)
    assert bench.owner.outcome == "done"
    assert bench.connection.reading
    assert len(bench.owner.data) == 70_000
    refusing = Waiting()
    refused = Bench(refusing)
    refusing.callbacks.continue_chain(False)
    assert refused.owner.outcome == "closed"
