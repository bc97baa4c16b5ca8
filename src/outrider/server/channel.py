"""The channel between main and a worker: small messages of plain data, in order, both ways.

Over a socket pair a message is a length and a `marshal` of `(kind, request, payload)`; inline, where main and the
worker share a loop, it is handed over in the next loop iteration. Both ends are trusted, and the payload is plain data
(None, numbers, texts, bytes, tuples, lists, dicts). A request is answered at once by the other end's `on_request`.
"""

from __future__ import annotations

import asyncio
import marshal
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

_HEAD: Final = struct.Struct("!I")
_MESSAGE: Final = 0
_REPLY: Final = -1

# A peer that does not read would make us hold what we send; it is then not alive any more.
MAX_UNSENT_BYTES: Final = 256 * 1024 * 1024

ReplyCallback = Callable[[Any], None]
"""Gets the reply, or None when the channel closed first."""


class ChannelHandler:
    """What is done with what comes in."""

    def on_message(self, channel: Channel, kind: str, payload: Any) -> None:
        """A message; nothing is answered."""

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

    def send(self, kind: str, payload: Any = None) -> None:
        """Ignored once the channel is closed."""
        if self.open:
            self._transmit(kind, _MESSAGE, payload)

    def request(self, kind: str, payload: Any, callback: ReplyCallback) -> None:
        """Ask; the callback always comes, later."""
        if not self.open:
            callback(None)
            return
        self._next_request += 1
        self._waiting[self._next_request] = callback
        self._transmit(kind, self._next_request, payload)

    def receive(self, kind: str, number: int, payload: Any) -> None:
        """Dispatch what the other end sent."""
        if number == _MESSAGE:
            self.handler.on_message(self, kind, payload)
        elif number > 0:
            self._transmit(kind, _REPLY - number, self.handler.on_request(self, kind, payload))
        else:
            callback = self._waiting.pop(_REPLY - number, None)
            if callback is not None:
                callback(payload)

    def close(self) -> None:
        """Close this end; the other end hears of it."""
        raise NotImplementedError

    def _transmit(self, kind: str, number: int, payload: Any) -> None:
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


class SocketChannel(Channel, asyncio.Protocol):
    """An end of a socket pair."""

    def __init__(self, handler: ChannelHandler) -> None:
        Channel.__init__(self, handler)
        self._transport: Any = None
        self._buffer = bytearray()

    @classmethod
    async def connect(
        cls, loop: asyncio.AbstractEventLoop, opened: socket.socket, handler: ChannelHandler
    ) -> SocketChannel:
        """Take over one socket of a pair."""
        opened.setblocking(False)
        channel = cls(handler)
        await loop.create_unix_connection(lambda: channel, sock=opened)
        return channel

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        position = 0
        while len(buffer) - position >= 4:
            (size,) = _HEAD.unpack_from(buffer, position)
            if len(buffer) - position - 4 < size:
                break
            kind, number, payload = marshal.loads(memoryview(buffer)[position + 4 : position + 4 + size])
            position += 4 + size
            self.receive(kind, number, payload)
        if position:
            del buffer[:position]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._closed()

    def _transmit(self, kind: str, number: int, payload: Any) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        frame = marshal.dumps((kind, number, payload))
        transport.write(_HEAD.pack(len(frame)) + frame)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


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

    def _transmit(self, kind: str, number: int, payload: Any) -> None:
        if self._peer is not None:
            self._loop.call_soon(self._peer._deliver, kind, number, payload)

    def _deliver(self, kind: str, number: int, payload: Any) -> None:
        if self.open:
            self.receive(kind, number, payload)

    def close(self) -> None:
        peer, self._peer = self._peer, None
        self._closed()
        if peer is not None:
            peer._peer = None
            peer._closed()
