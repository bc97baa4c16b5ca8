"""The native sockets against real ones: bytes, ends, resets, watermarks, accepting and connecting."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from outrider.event.dispatcher import Dispatcher
from outrider.native import load_sockets

pytestmark = pytest.mark.skipif(not load_sockets.AVAILABLE, reason="the native sockets are not built")


class Protocol:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.data = b""
        self.events: list[str] = []
        self.error: BaseException | None = None
        self.keep_open = True
        self.on_data: Callable[[bytes], None] | None = None
        self.on_eof: Callable[[], None] | None = None
        self.on_pause: Callable[[], None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.on_data is not None:
            self.on_data(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        if self.on_eof is not None:
            self.on_eof()
        return self.keep_open

    def connection_lost(self, error: BaseException | None) -> None:
        self.events.append("lost")
        self.error = error

    def pause_writing(self) -> None:
        self.events.append("pause")
        if self.on_pause is not None:
            self.on_pause()

    def resume_writing(self) -> None:
        self.events.append("resume")

    def on_connect_failed(self, number: int) -> None:
        self.events.append(errno.errorcode[number])


class Bench:
    """A loop with a poller, and a pair of connected sockets: one native, one plain."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.dispatcher = Dispatcher("test", self.loop)
        self.errors: list[BaseException] = []
        self.loop.set_exception_handler(lambda loop, context: self.errors.append(context["exception"]))
        poller = self.dispatcher.poller()
        assert poller is not None
        self.poller = poller
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.peers: list[socket.socket] = []

    def pair(self, protocol: Protocol | None = None) -> tuple[Protocol, socket.socket]:
        peer = socket.socket()
        # Small buffers, so that little is in flight.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.connect(self.listening.getsockname())
        accepted, name = self.listening.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        protocol = protocol or Protocol()
        transport = load_sockets.new_transport(self.poller, accepted.detach(), protocol, name)
        transport.start()
        protocol.connection_made(transport)
        peer.settimeout(2)
        self.peers.append(peer)
        return protocol, peer

    def turn(self, until: Callable[[], bool] | None = None) -> None:
        """Let the loop run, until something holds."""
        for _ in range(400):
            self.loop.run_until_complete(asyncio.sleep(0.002))
            if until is None or until():
                return
        raise AssertionError("it did not come about")

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.listening.close()
        self.loop.run_until_complete(self.dispatcher.shutdown())
        self.loop.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_bytes_pass_both_ways(bench: Bench) -> None:
    protocol, peer = bench.pair()
    peer.sendall(b"hello")
    bench.turn(lambda: protocol.data == b"hello")
    protocol.transport.write(b"answer ")
    protocol.transport.writelines([b"in ", b"pieces", b""])
    assert peer.recv(100) + (peer.recv(100) if protocol.transport.get_write_buffer_size() else b"") == (
        b"answer in pieces"
    )


def test_more_than_one_read_is_delivered_whole(bench: Bench) -> None:
    protocol, peer = bench.pair()
    sent = os.urandom(700_000)
    left = memoryview(sent)
    peer.setblocking(False)
    while left:
        try:
            left = left[peer.send(left) :]
        except BlockingIOError:
            bench.turn()
    bench.turn(lambda: len(protocol.data) == len(sent))
    assert protocol.data == sent


def test_end_behind_data_is_seen(bench: Bench) -> None:
    protocol, peer = bench.pair()
    peer.sendall(b"last words")
    peer.shutdown(socket.SHUT_WR)
    bench.turn(lambda: "eof" in protocol.events)
    assert protocol.data == b"last words"
    protocol.transport.write(b"still heard")
    assert peer.recv(100) == b"still heard"
    assert "lost" not in protocol.events


def test_end_closes_when_the_protocol_says_so(bench: Bench) -> None:
    protocol, peer = bench.pair()
    protocol.keep_open = False
    peer.shutdown(socket.SHUT_WR)
    bench.turn(lambda: "lost" in protocol.events)
    assert protocol.error is None
    assert peer.recv(100) == b""


def test_half_close_after_what_was_written(bench: Bench) -> None:
    protocol, peer = bench.pair()
    protocol.transport.write(b"x" * 3_000_000)
    protocol.transport.write_eof()
    protocol.transport.write(b"too late")
    assert protocol.transport.get_write_buffer_size() > 0
    got = 0
    peer.setblocking(False)
    while True:
        try:
            piece = peer.recv(1 << 20)
        except BlockingIOError:
            bench.turn()
            continue
        if not piece:
            break
        got += len(piece)
    assert got == 3_000_000
    peer.sendall(b"answer")
    bench.turn(lambda: protocol.data == b"answer")


def test_reset_is_told_with_its_error(bench: Bench) -> None:
    protocol, peer = bench.pair()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    bench.turn(lambda: "lost" in protocol.events)
    assert isinstance(protocol.error, ConnectionResetError)


def test_write_to_a_closed_peer_is_told_later(bench: Bench) -> None:
    protocol, peer = bench.pair()
    protocol.transport.pause_reading()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    protocol.transport.write(b"anybody?")
    assert "lost" not in protocol.events
    bench.turn(lambda: "lost" in protocol.events)
    assert isinstance(protocol.error, OSError)


def test_watermarks(bench: Bench) -> None:
    protocol, peer = bench.pair()
    protocol.transport.set_write_buffer_limits(high=10_000, low=5_000)
    protocol.transport.write(b"x" * 8_000_000)
    assert protocol.events[-1] == "pause"
    got = 0
    peer.setblocking(False)
    while got < 8_000_000:
        try:
            got += len(peer.recv(1 << 20))
        except BlockingIOError:
            bench.turn()
    bench.turn(lambda: protocol.events[-1] == "resume")
    assert protocol.transport.get_write_buffer_size() == 0


def test_close_flushes_and_abort_does_not(bench: Bench) -> None:
    protocol, peer = bench.pair()
    protocol.transport.write(b"x" * 5_000_000)
    protocol.transport.close()
    protocol.transport.write(b"y")
    assert protocol.transport.is_closing()
    got = 0
    peer.setblocking(False)
    while got < 5_000_000:
        try:
            got += len(peer.recv(1 << 20))
        except BlockingIOError:
            bench.turn()
    bench.turn(lambda: "lost" in protocol.events)
    assert protocol.error is None
    other, waiting = bench.pair()
    other.transport.write(b"x" * 20_000_000)
    other.transport.abort()
    assert "lost" not in other.events
    bench.turn(lambda: "lost" in other.events)
    total = 0
    try:
        while piece := waiting.recv(1 << 20):
            total += len(piece)
    except ConnectionResetError:
        pass
    assert total < 20_000_000


def test_nothing_is_delivered_while_reading_is_paused(bench: Bench) -> None:
    protocol, peer = bench.pair()
    protocol.transport.pause_reading()
    peer.sendall(b"wait")
    bench.turn()
    assert protocol.data == b""
    protocol.transport.resume_reading()
    bench.turn(lambda: protocol.data == b"wait")


def test_paused_from_within_a_delivery(bench: Bench) -> None:
    protocol, peer = bench.pair()

    def stop(data: bytes) -> None:
        protocol.transport.pause_reading()

    protocol.on_data = stop
    peer.sendall(b"one")
    bench.turn(lambda: protocol.data == b"one")
    peer.sendall(b"two")
    peer.shutdown(socket.SHUT_WR)
    bench.turn()
    assert protocol.data == b"one" and "eof" not in protocol.events
    protocol.transport.resume_reading()
    bench.turn(lambda: protocol.data == b"onetwo")
    protocol.transport.resume_reading()
    bench.turn(lambda: "eof" in protocol.events)


def test_an_exception_ends_the_connection_and_is_reported(bench: Bench) -> None:
    protocol, peer = bench.pair()

    def fail(data: bytes) -> None:
        raise RuntimeError("broken")

    protocol.on_data = fail
    other, other_peer = bench.pair()
    peer.sendall(b"x")
    other_peer.sendall(b"y")
    bench.turn(lambda: "lost" in protocol.events and other.data == b"y")
    assert [str(error) for error in bench.errors] == ["broken"]
    assert isinstance(protocol.error, RuntimeError)


def test_one_connection_closes_another_of_the_same_batch(bench: Bench) -> None:
    first, first_peer = bench.pair()
    second, second_peer = bench.pair()

    def close_other(data: bytes) -> None:
        second.transport.abort()

    def close_first(data: bytes) -> None:
        first.transport.abort()

    first.on_data = close_other
    second.on_data = close_first
    first_peer.sendall(b"x")
    second_peer.sendall(b"x")
    bench.turn(lambda: len(first.events) + len(second.events) == 3)
    assert sorted([len(first.data), len(second.data)]) == [0, 1]


def test_connecting(bench: Bench) -> None:
    protocol = Protocol()
    host, port = bench.listening.getsockname()
    transport = load_sockets.connect(bench.poller, host, port, protocol, protocol)
    assert protocol.events == []
    bench.turn(lambda: protocol.events == ["made"])
    accepted, _ = bench.listening.accept()
    accepted.settimeout(2)
    protocol.transport.write(b"hello")
    assert accepted.recv(10) == b"hello"
    assert transport.get_extra_info("peername") == (host, port)
    assert transport.get_extra_info("sockname") == accepted.getpeername()
    raw = transport.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    number = transport.fileno()
    transport.close()
    assert accepted.recv(10) == b""
    with pytest.raises(OSError):
        os.fstat(number)
    accepted.close()


def test_connecting_to_nobody(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    protocol = Protocol()
    load_sockets.connect(bench.poller, "127.0.0.1", port, protocol, protocol)
    bench.turn(lambda: bool(protocol.events))
    assert protocol.events == ["ECONNREFUSED"]


def test_a_connect_given_up_is_silent(bench: Bench) -> None:
    protocol = Protocol()
    transport = load_sockets.connect(bench.poller, *bench.listening.getsockname(), protocol, protocol)
    transport.abort()
    bench.turn()
    assert protocol.events == []
    with pytest.raises(ValueError):
        load_sockets.connect(bench.poller, "localhost", 1, protocol, protocol)


class Accepting:
    def __init__(self, bench: Bench, fails: bool = False) -> None:
        self.bench = bench
        self.fails = fails
        self.peers: list[tuple[str, int] | None] = []
        self.batches: list[int] = []

    def on_accepted(self, fd: int, peer: tuple[str, int] | None) -> None:
        os.close(fd)
        self.peers.append(peer)
        if self.fails:
            raise RuntimeError("not this one")

    def on_accepted_batch(self, count: int) -> None:
        self.batches.append(count)


def test_accepting(bench: Bench) -> None:
    bench.listening.setblocking(False)
    owner = Accepting(bench)
    acceptor = load_sockets.new_acceptor(bench.poller, bench.listening.fileno(), owner, 2)
    peers = [socket.create_connection(bench.listening.getsockname()) for _ in range(5)]
    bench.turn(lambda: len(owner.peers) == 5)
    assert sorted(str(each) for each in owner.peers) == sorted(str(peer.getsockname()) for peer in peers)
    assert owner.batches == [2, 2, 1]
    acceptor.stop()
    bench.peers += [*peers, socket.create_connection(bench.listening.getsockname())]
    bench.turn()
    assert len(owner.peers) == 5


def test_an_exception_does_not_end_accepting(bench: Bench) -> None:
    bench.listening.setblocking(False)
    owner = Accepting(bench, fails=True)
    load_sockets.new_acceptor(bench.poller, bench.listening.fileno(), owner, 0)
    bench.peers += [socket.create_connection(bench.listening.getsockname()) for _ in range(2)]
    bench.turn(lambda: len(owner.peers) == 2)
    assert len(bench.errors) == 2


def test_ipv6_names(bench: Bench) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 loopback")
    protocol = Protocol()
    port = listening.getsockname()[1]
    transport = load_sockets.connect(bench.poller, "::1", port, protocol, protocol)
    bench.turn(lambda: protocol.events == ["made"])
    assert transport.get_extra_info("sockname")[0] == "::1"
    transport.abort()
    listening.close()


class Relay:
    """Counts what went through within the kernel."""

    def __init__(self) -> None:
        self.count = 0

    def on_relayed(self, count: int) -> None:
        self.count += count


class Sink(Protocol):
    def flush_corked(self) -> None:
        """Nothing is held back."""


def relayed(bench: Bench) -> tuple[Protocol, socket.socket, Protocol, socket.socket, Relay]:
    """What comes from the first goes to the second: written by the protocol, or within the kernel."""
    first, first_peer = bench.pair()
    second, second_peer = bench.pair(Sink())
    relay = Relay()
    first.transport.relay_to(second.transport, relay)
    first.on_data = second.transport.write
    first_peer.setblocking(False)
    second_peer.setblocking(False)
    return first, first_peer, second, second_peer, relay


def pump(bench: Bench, source: socket.socket, sink: socket.socket, sent: bytes, wanted: int, close: bool) -> bytes:
    """Push `sent` in, and read `wanted` bytes (and, with `close`, the end) from the other side."""
    left = memoryview(sent)
    got = bytearray()
    open_end = close
    for _ in range(20_000):
        progress = False
        if left:
            try:
                left = left[source.send(left) :]
                progress = True
            except BlockingIOError:
                pass
        elif open_end:
            source.shutdown(socket.SHUT_WR)
            open_end = False
        try:
            piece = sink.recv(1 << 20)
            if not piece:
                break
            got += piece
            progress = True
        except BlockingIOError:
            pass
        if len(got) >= wanted and not close:
            break
        if not progress:
            bench.turn()
    return bytes(got)


def test_bulk_passes_within_the_kernel_in_order(bench: Bench) -> None:
    first, source, second, sink, relay = relayed(bench)
    sent = os.urandom(12_000_000)
    second.transport.write(b"before ")
    assert pump(bench, source, sink, sent, len(sent) + 7, False) == b"before " + sent
    assert relay.count > 0
    assert relay.count + len(first.data) == len(sent)
    assert pump(bench, source, sink, b"little", 6, False) == b"little"
    assert pump(bench, source, sink, b"less", 4, False) == b"less"
    assert first.data.endswith(b"less")


def test_the_end_comes_behind_what_passed_within_the_kernel(bench: Bench) -> None:
    first, source, second, sink, relay = relayed(bench)
    first.on_eof = second.transport.write_eof
    sent = os.urandom(6_000_000)
    assert pump(bench, source, sink, sent, len(sent), True) == sent
    assert relay.count > 0


def test_a_sink_that_takes_nothing_stops_the_source(bench: Bench) -> None:
    first, source, second, _, _ = relayed(bench)
    second.transport.set_write_buffer_limits(high=500_000, low=100_000)
    second.on_pause = first.transport.pause_reading
    for _ in range(2_000):
        try:
            source.send(b"x" * 65536)
        except BlockingIOError:
            if not first.transport.is_reading():
                break
        bench.turn()
    assert not first.transport.is_reading()
    assert 0 < second.transport.get_write_buffer_size() < 3_000_000
    second.transport.abort()
    bench.turn(lambda: "lost" in second.events)
    assert second.transport.get_write_buffer_size() == 0
