"""What a connection sends while a filter waits for somebody's verdict."""

from __future__ import annotations

from outrider.network.connection import Connection

_DEFAULT_LIMIT = 1 << 20


class HeldBytes:
    """Keeps bytes until they are taken; beyond the limit the connection is no longer read."""

    __slots__ = ("connection", "chunks", "size", "ended", "paused", "limit")

    def __init__(self, connection: Connection, limit: int = _DEFAULT_LIMIT) -> None:
        self.connection = connection
        self.limit = limit
        self.chunks: list[bytes] = []
        self.size: int = 0
        # The peer has finished.
        self.ended: bool = False
        self.paused: bool = False

    def keep(self, data: bytes, end_stream: bool) -> None:
        if data:
            self.chunks.append(data)
            self.size += len(data)
        self.ended = self.ended or end_stream
        if self.size > self.limit and not self.paused:
            self.paused = True
            self.connection.read_disable(True)

    def take(self) -> bytes:
        """Everything, and reading goes on."""
        data = b"".join(self.chunks)
        self.chunks = []
        self.size = 0
        if self.paused:
            self.paused = False
            self.connection.read_disable(False)
        return data
