"""The channel: messages, requests, large payloads, the end of the other side; over a socket pair and in memory."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from outrider.server.channel import Channel, ChannelHandler, LocalChannel, SocketChannel


class Handler(ChannelHandler):
    def __init__(self) -> None:
        self.messages: list[tuple[str, Any]] = []
        self.closed = 0

    def on_message(self, channel: Channel, kind: str, payload: Any) -> None:
        self.messages.append((kind, payload))

    def on_request(self, channel: Channel, kind: str, payload: Any) -> Any:
        return kind, payload

    def on_channel_closed(self, channel: Channel) -> None:
        self.closed += 1


async def settle(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("nothing came")


def with_channel(kind: str, body: Callable[[Channel, Handler, Channel, Handler], Awaitable[None]]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        one, other = Handler(), Handler()
        ours: Channel
        theirs: Channel
        if kind == "socket":
            first, second = socket.socketpair()
            ours = await SocketChannel.connect(loop, first, one)
            theirs = await SocketChannel.connect(loop, second, other)
        else:
            ours, theirs = LocalChannel.pair(loop, one, other)
        await body(ours, one, theirs, other)
        ours.close()
        theirs.close()
        await asyncio.sleep(0)

    asyncio.run(run())


KINDS = pytest.mark.parametrize("kind", ["socket", "local"])


@KINDS
def test_messages_come_in_order_both_ways(kind: str) -> None:
    async def body(ours: Channel, one: Handler, theirs: Channel, other: Handler) -> None:
        for number in range(100):
            ours.send("n", number)
        theirs.send("back", {"a": (1, 2.5, b"x", None, True)})
        await settle(lambda: len(other.messages) == 100 and bool(one.messages))
        assert other.messages == [("n", number) for number in range(100)]
        assert one.messages == [("back", {"a": (1, 2.5, b"x", None, True)})]

    with_channel(kind, body)


@KINDS
def test_requests_are_answered_to_whom_they_concern(kind: str) -> None:
    async def body(ours: Channel, one: Handler, theirs: Channel, other: Handler) -> None:
        answers: list[Any] = []
        for number in range(5):
            ours.request("ask", number, answers.append)
        theirs.request("other way", None, answers.append)
        await settle(lambda: len(answers) == 6)
        assert ("other way", None) in answers
        assert [answer for answer in answers if answer[0] == "ask"] == [("ask", number) for number in range(5)]

    with_channel(kind, body)


@KINDS
def test_large_payloads(kind: str) -> None:
    async def body(ours: Channel, one: Handler, theirs: Channel, other: Handler) -> None:
        payload = [b"x" * 1000] * 5000
        ours.send("large", payload)
        await settle(lambda: bool(other.messages))
        assert other.messages == [("large", payload)]

    with_channel(kind, body)


@KINDS
def test_the_end_is_told_once_and_answers_what_waits(kind: str) -> None:
    async def body(ours: Channel, one: Handler, theirs: Channel, other: Handler) -> None:
        theirs.close()
        await settle(lambda: one.closed == 1)
        answers: list[Any] = []
        ours.request("late", None, answers.append)
        ours.send("into the void")
        assert answers == [None]
        ours.close()
        await asyncio.sleep(0.01)
        assert one.closed == 1

    with_channel(kind, body)


def test_a_request_in_flight_when_the_other_side_dies() -> None:
    class Mute(Handler):
        def on_request(self, channel: Channel, kind: str, payload: Any) -> Any:
            channel.close()
            return None

    async def run() -> None:
        first, second = socket.socketpair()
        loop = asyncio.get_running_loop()
        one = Handler()
        ours = await SocketChannel.connect(loop, first, one)
        await SocketChannel.connect(loop, second, Mute())
        answers: list[Any] = []
        ours.request("ask", 1, answers.append)
        await settle(lambda: bool(answers))
        assert answers == [None]
        await settle(lambda: one.closed == 1)

    asyncio.run(run())


@KINDS
def test_descriptors_come_with_their_message(kind: str, tmp_path: Path) -> None:
    class Taker(Handler):
        def __init__(self) -> None:
            super().__init__()
            self.texts: list[bytes] = []

        def on_message(self, channel: Channel, kind: str, payload: Any) -> None:
            super().on_message(channel, kind, payload)
            if payload:
                for descriptor in channel.take_descriptors():
                    with os.fdopen(descriptor, "rb") as file:
                        self.texts.append(file.read())

    async def body(ours: Channel, one: Handler, theirs: Channel, other: Handler) -> None:
        taker = Taker()
        theirs.handler = taker
        for number in range(20):
            path = tmp_path / str(number)
            path.write_text(str(number))
            with path.open("rb") as file:
                ours.send("file", number % 2, [file.fileno()] * (number % 3))
            # Large messages in between, that the kernel does not take at once.
            ours.send("filler", 0, ())
            ours.send("bytes" * 50_000, None)
        before = len(os.listdir("/proc/self/fd"))
        await settle(lambda: len(taker.messages) == 60)
        wanted = [str(number).encode() for number in range(20) if number % 2 for _ in range(number % 3)]
        assert [text for text in taker.texts if text] == list(dict.fromkeys(wanted))
        # Those that nobody took are closed.
        assert len(os.listdir("/proc/self/fd")) <= before

    with_channel(kind, body)


def test_a_burst_does_not_keep_the_loop() -> None:
    class Slow(Handler):
        def on_message(self, channel: Channel, kind: str, payload: Any) -> None:
            time.sleep(0.001)
            super().on_message(channel, kind, payload)

    async def body(ours: Channel, one: Handler, theirs: Channel, other: Handler) -> None:
        theirs.handler = slow = Slow()
        for number in range(200):
            ours.send("n", number)
        longest, last = 0.0, time.monotonic()
        while len(slow.messages) < 200:
            await asyncio.sleep(0)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        assert longest < 0.1
        assert slow.messages == [("n", number) for number in range(200)]

    with_channel("socket", body)
