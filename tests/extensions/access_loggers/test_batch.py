"""Batches of log entries: when they are sent, and what happens when the service takes no more."""

from __future__ import annotations

from typing import Any

from outrider.extensions.access_loggers.batch import Batch, Envelope, StreamTransport, Transport, UnaryTransport
from outrider.grpc.client import GrpcCall, GrpcClient, GrpcStream, GrpcStreamCallbacks, GrpcUnaryCallbacks
from outrider.stats.store import Store
from tests.upstream.fakes import FakeDispatcher


class Wire(Transport):
    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.full = False

    def send(self, entries: list[bytes]) -> bool:
        if self.full:
            return False
        self.sent.append(entries)
        return True


def batch_of(limit: int) -> tuple[Batch, Wire, Any, Store]:
    wire = Wire()
    dispatcher: Any = FakeDispatcher()
    store = Store()
    return Batch(wire, dispatcher, 1000, limit, store.scope("x.")), wire, dispatcher, store


def test_sent_when_there_is_enough() -> None:
    batch, wire, _, store = batch_of(4)
    batch.add(b"ab")
    assert wire.sent == []
    batch.add(b"cd")
    assert wire.sent == [[b"ab", b"cd"]]
    assert store.counter("x.logs_written").value == 2


def test_sent_after_a_while() -> None:
    batch, wire, dispatcher, _ = batch_of(100)
    batch.add(b"ab")
    dispatcher.advance(900)
    assert wire.sent == []
    batch.add(b"c")
    dispatcher.advance(150)
    assert wire.sent == [[b"ab", b"c"]]
    dispatcher.advance(5000)
    assert len(wire.sent) == 1


def test_no_buffer() -> None:
    batch, wire, _, _ = batch_of(0)
    batch.add(b"a")
    batch.add(b"b")
    assert wire.sent == [[b"a"], [b"b"]]


def test_dropped_while_the_service_takes_no_more() -> None:
    batch, wire, dispatcher, store = batch_of(4)
    wire.full = True
    batch.add(b"abcd")
    batch.add(b"e")
    assert store.counter("x.logs_dropped").value == 1
    wire.full = False
    dispatcher.advance(1100)
    assert wire.sent == [[b"abcd"]]


class Joined(Envelope):
    def wrap(self, entries: list[bytes], first: bool) -> bytes:
        return (b"!" if first else b"") + b"".join(entries)


class Stream(GrpcStream):
    def __init__(self, client: Client) -> None:
        self.client = client

    def send_message(self, message: bytes, end_stream: bool = False) -> None:
        self.client.messages.append(message)

    def above_high_watermark(self) -> bool:
        return self.client.full


class Client(GrpcClient):
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.callbacks: Any = None
        self.full = False
        self.broken = False

    def start(self, service: str, method: str, callbacks: GrpcStreamCallbacks, timeout_ms: int = 0) -> GrpcStream | None:
        self.callbacks = callbacks
        if self.broken:
            callbacks.on_remote_close(14, "")
            return None
        return Stream(self)

    def send(
        self, service: str, method: str, message: bytes, callbacks: GrpcUnaryCallbacks, timeout_ms: int = 0
    ) -> GrpcCall | None:
        self.messages.append(message)
        self.callbacks = callbacks
        return GrpcCall()


def test_one_stream_until_it_breaks() -> None:
    client = Client()
    transport = StreamTransport(client, "s", "m", Joined())
    assert transport.send([b"a", b"b"]) and transport.send([b"c"])
    client.full = True
    assert not transport.send([b"d"])
    client.full = False
    client.callbacks.on_remote_close(14, "gone")
    assert transport.send([b"e"])
    assert client.messages == [b"!ab", b"c", b"!e"]


def test_what_cannot_begin_is_lost() -> None:
    client = Client()
    client.broken = True
    transport = StreamTransport(client, "s", "m", Joined())
    assert transport.send([b"a"])
    client.broken = False
    assert transport.send([b"b"])
    assert client.messages == [b"!b"]


def test_calls_under_way_are_bounded() -> None:
    client = Client()
    transport = UnaryTransport(client, "s", "m", Joined())
    for _ in range(UnaryTransport.MAX_CALLS):
        assert transport.send([b"a"])
    assert not transport.send([b"a"])
    client.callbacks.on_success(b"")
    assert transport.send([b"a"])
