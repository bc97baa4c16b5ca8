"""Transports in memory: order, ends, resets, watermarks."""

from __future__ import annotations

from typing import Any, cast

from outrider.network.internal_connection import InternalTransport
from tests.upstream.fakes import FakeDispatcher


class Protocol:
    def __init__(self) -> None:
        self.events: list[object] = []
        self.keep_open = True

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append("reset" if error else "closed")


def pair() -> tuple[FakeDispatcher, InternalTransport, Protocol, InternalTransport, Protocol]:
    dispatcher = FakeDispatcher()
    near, far = Protocol(), Protocol()
    one = InternalTransport(cast(Any, dispatcher), cast(Any, near))
    two = InternalTransport(cast(Any, dispatcher), cast(Any, far))
    one.peer, two.peer = two, one
    return dispatcher, one, near, two, far


def settle(dispatcher: FakeDispatcher) -> None:
    while dispatcher.posted:
        dispatcher.turn()


def test_bytes_and_ends_in_order() -> None:
    dispatcher, one, near, two, far = pair()
    one.write(b"a")
    one.write(b"b")
    one.write_eof()
    one.write(b"too late")
    assert far.events == []
    settle(dispatcher)
    assert far.events == [b"a", b"b", "eof"]
    two.write(b"still")
    settle(dispatcher)
    assert near.events == [b"still"]


def test_nothing_is_read_while_paused() -> None:
    dispatcher, one, near, two, far = pair()
    one.set_write_buffer_limits(10, 5)
    two.pause_reading()
    one.write(b"x" * 8)
    assert near.events == []
    one.write(b"x" * 8)
    assert near.events == ["pause"]
    assert one.get_write_buffer_size() == 16
    settle(dispatcher)
    assert far.events == []
    two.resume_reading()
    settle(dispatcher)
    assert far.events == [b"x" * 8, b"x" * 8]
    assert near.events == ["pause", "resume"]


def test_what_was_written_before_the_close_arrives() -> None:
    dispatcher, one, near, _, far = pair()
    far.keep_open = False
    one.write(b"last")
    one.close()
    settle(dispatcher)
    assert far.events == [b"last", "eof", "closed"]
    assert near.events == ["closed"]


def test_abort_is_a_reset() -> None:
    dispatcher, one, near, two, far = pair()
    one.abort()
    settle(dispatcher)
    assert far.events == ["reset"]
    assert near.events == ["closed"]
    two.write(b"into the void")
    settle(dispatcher)
    assert near.events == ["closed"]


def test_writing_to_one_that_is_gone() -> None:
    dispatcher, one, near, two, far = pair()
    one.close()
    settle(dispatcher)
    two.write(b"x")
    assert far.events == ["eof", "reset"]
    assert near.events == ["closed"]
