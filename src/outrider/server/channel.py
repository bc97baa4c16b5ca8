"""The channel between main and a worker: small messages of plain data, in order, both ways.

Over a socket pair a message is a head (size, number of descriptors) and a `marshal` of `(kind, request, payload)`;
inline, where main and the worker share a loop, it is handed over in the next loop iteration. Both ends are trusted, and
the payload is plain data (None, numbers, texts, bytes, tuples, lists, dicts). A request is answered at once by the
other end's `on_request`. Descriptors (listening sockets) travel with their message.

What comes in is worked off in slices, so that a burst of updates never keeps a worker from its connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import socket
import struct
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

_HEAD: Final = struct.Struct("!IH")
_MESSAGE: Final = 0
_REPLY: Final = -1
_READ_SIZE: Final = 256 * 1024
# As many as the kernel passes at once (SCM_MAX_FD is 253).
_MAX_DESCRIPTORS: Final = 250
_ANCILLARY_SIZE: Final = socket.CMSG_SPACE(253 * array("i").itemsize)

# A peer that does not read would make us hold what we send; it is then not alive any more.
MAX_UNSENT_BYTES: Final = 256 * 1024 * 1024
# How long messages are worked off before the loop sees to everything else.
SLICE_S: Final = 0.002

ReplyCallback = Callable[[Any], None]
"""Gets the reply, or None when the channel closed first."""


class ChannelHandler:
    """What is done with what comes in."""

    def on_message(self, channel: Channel, kind: str, payload: Any) -> None:
        """A message; nothing is answered. Its descriptors are fetched with `channel.take_descriptors()`."""

    def on_request(self, channel: Channel, kind: str, payload: Any) -> Any:
        """A request: the return value is the reply."""
        return None

    def on_channel_closed(self, channel: Channel) -> None:
        """The other end is gone."""


class Channel:
    """One end."""

    def __init__(self, handler: ChannelHandler) -> None:
        self.handler = handler
        self.open = True
        self._waiting: dict[int, ReplyCallback] = {}
        self._next_request = 0
        self._descriptors: list[int] = []

    def send(self, kind: str, payload: Any = None, descriptors: Sequence[int] = ()) -> None:
        """Ignored once the channel is closed. The other end gets duplicates of the descriptors."""
        if self.open:
            self._transmit(kind, _MESSAGE, payload, descriptors)

    def request(self, kind: str, payload: Any, callback: ReplyCallback) -> None:
        """Ask; the callback always comes, later."""
        if not self.open:
            callback(None)
            return
        self._next_request += 1
        self._waiting[self._next_request] = callback
        self._transmit(kind, self._next_request, payload)

    def receive(self, kind: str, number: int, payload: Any, descriptors: list[int]) -> None:
        """Dispatch what the other end sent."""
        if number == _MESSAGE:
            self._descriptors = descriptors
            try:
                self.handler.on_message(self, kind, payload)
            finally:
                close_descriptors(self.take_descriptors())
        elif number > 0:
            self._transmit(kind, _REPLY - number, self.handler.on_request(self, kind, payload))
        else:
            callback = self._waiting.pop(_REPLY - number, None)
            if callback is not None:
                callback(payload)

    def take_descriptors(self) -> list[int]:
        """Those that came with the message that is being handled: now the caller's."""
        taken = self._descriptors
        self._descriptors = []
        return taken

    def close(self) -> None:
        """Close this end; the other end hears of it."""
        raise NotImplementedError

    def _transmit(self, kind: str, number: int, payload: Any, descriptors: Sequence[int] = ()) -> None:
        raise NotImplementedError

    def _closed(self) -> None:
        if not self.open:
            return
        self.open = False
        waiting = list(self._waiting.values())
        self._waiting.clear()
        for callback in waiting:
            callback(None)
        self.handler.on_channel_closed(self)


class SocketChannel(Channel):
    """An end of a socket pair."""

    def __init__(self, handler: ChannelHandler, loop: asyncio.AbstractEventLoop, opened: socket.socket) -> None:
        super().__init__(handler)
        self._loop = loop
        self._socket: socket.socket | None = opened
        self._buffer = bytearray()
        self._received: list[int] = []
        # What the kernel has not taken yet, with the descriptors that go with its first byte.
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        self._unsent_bytes = 0
        self._slice: asyncio.Handle | None = None

    @classmethod
    async def connect(
        cls, loop: asyncio.AbstractEventLoop, opened: socket.socket, handler: ChannelHandler
    ) -> SocketChannel:
        """Take over one socket of a pair."""
        opened.setblocking(False)
        channel = cls(handler, loop, opened)
        loop.add_reader(opened.fileno(), channel._read)
        return channel

    # --- inwards ---

    def _read(self) -> None:
        opened = self._socket
        if opened is None:
            return
        try:
            data, ancillary, _, _ = opened.recvmsg(_READ_SIZE, _ANCILLARY_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array("i")
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
                self._received += found
        if not data:
            self._shut()
            return
        self._buffer += data
        self._work()

    def _work(self) -> None:
        """Dispatch complete messages, until there are none left or the time is up."""
        self._slice = None
        buffer = self._buffer
        position = 0
        end = time.monotonic() + SLICE_S
        try:
            while len(buffer) - position >= _HEAD.size:
                size, count = _HEAD.unpack_from(buffer, position)
                start = position + _HEAD.size
                if len(buffer) - start < size:
                    break
                position = start + size
                descriptors = self._received[:count]
                del self._received[:count]
                kind, number, payload = marshal.loads(memoryview(buffer)[start:position])
                self.receive(kind, number, payload, descriptors)
                if time.monotonic() > end and self._socket is not None:
                    self._pause()
                    break
        finally:
            if position:
                del buffer[:position]

    def _pause(self) -> None:
        """Go on in the next turn of the loop; until all is worked off nothing more is read."""
        assert self._socket is not None
        self._loop.remove_reader(self._socket.fileno())
        self._slice = self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._work()
        if self._slice is None and self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._read)

    # --- outwards ---

    def _transmit(self, kind: str, number: int, payload: Any, descriptors: Sequence[int] = ()) -> None:
        if self._socket is None:
            return
        if len(descriptors) > _MAX_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors are too many for one message")
        body = marshal.dumps((kind, number, payload))
        frame = memoryview(_HEAD.pack(len(body), len(descriptors)) + body)
        # The caller may close its own before they are sent.
        self._unsent.append((frame, [os.dup(each) for each in descriptors]))
        self._unsent_bytes += len(frame)
        if len(self._unsent) == 1:
            self._write()
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self._loop.call_soon(self._shut)

    def _write(self) -> None:
        opened = self._socket
        unsent = self._unsent
        while unsent and opened is not None:
            frame, descriptors = unsent[0]
            try:
                if descriptors:
                    sent = socket.send_fds(opened, [frame], descriptors)
                    close_descriptors(descriptors)
                else:
                    sent = opened.send(frame)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(opened.fileno(), self._write)
                return
            except OSError:
                self._loop.call_soon(self._shut)
                return
            self._unsent_bytes -= sent
            if sent == len(frame):
                unsent.popleft()
            else:
                unsent[0] = (frame[sent:], [])
        if opened is not None:
            self._loop.remove_writer(opened.fileno())

    # --- the end ---

    def close(self) -> None:
        self._shut()

    def _shut(self) -> None:
        opened = self._socket
        if opened is None:
            return
        self._socket = None
        self._loop.remove_reader(opened.fileno())
        self._loop.remove_writer(opened.fileno())
        if self._slice is not None:
            self._slice.cancel()
        opened.close()
        for _, descriptors in self._unsent:
            close_descriptors(descriptors)
        self._unsent.clear()
        close_descriptors(self._received)
        self._received = []
        self._closed()


class LocalChannel(Channel):
    """An end of an in-memory channel; `pair` makes both."""

    def __init__(self, handler: ChannelHandler, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(handler)
        self._loop = loop
        self._peer: LocalChannel | None = None

    @classmethod
    def pair(
        cls, loop: asyncio.AbstractEventLoop, one: ChannelHandler, other: ChannelHandler
    ) -> tuple[LocalChannel, LocalChannel]:
        first, second = cls(one, loop), cls(other, loop)
        first._peer, second._peer = second, first
        return first, second

    def _transmit(self, kind: str, number: int, payload: Any, descriptors: Sequence[int] = ()) -> None:
        if self._peer is not None:
            duplicates = [os.dup(each) for each in descriptors]
            self._loop.call_soon(self._peer._deliver, kind, number, payload, duplicates)

    def _deliver(self, kind: str, number: int, payload: Any, descriptors: list[int]) -> None:
        if self.open:
            self.receive(kind, number, payload, descriptors)
        else:
            close_descriptors(descriptors)

    def close(self) -> None:
        peer, self._peer = self._peer, None
        self._closed()
        if peer is not None:
            peer._peer = None
            peer._closed()


def close_descriptors(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        with contextlib.suppress(OSError):
            os.close(each)
