"""Messages of a gRPC stream as bytes: a flag octet, four octets of length, the message.

Source: "gRPC over HTTP2", Length-Prefixed-Message.
"""

from __future__ import annotations

from typing import Final

from outrider.data import grpc_status

MAX_TIMEOUT_VALUE: Final = 99_999_999
"""The protocol allows eight digits in `grpc-timeout`."""

_PREFIX: Final = 5


class FrameError(Exception):
    """The peer's messages cannot be read. `status` is the gRPC status that the stream ends with."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def frame(message: bytes) -> bytes:
    """An uncompressed message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def timeout_value(milliseconds: int) -> bytes:
    """`grpc-timeout`: the shortest unit in which the number fits, from milliseconds up."""
    if milliseconds <= MAX_TIMEOUT_VALUE:
        return b"%dm" % milliseconds
    value = milliseconds // 1000
    if value <= MAX_TIMEOUT_VALUE:
        return b"%dS" % value
    value //= 60
    if value <= MAX_TIMEOUT_VALUE:
        return b"%dM" % value
    return b"%dH" % min(value // 60, MAX_TIMEOUT_VALUE)


class FrameReader:
    """Cuts what arrives into messages. Compression is never offered, so a compressed message is a fault."""

    __slots__ = ("limit", "_chunks", "_size", "_wanted")

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of the longest message."""
        self.limit = limit
        self._chunks: list[bytes] = []
        self._size: int = 0
        # Bytes, prefix included, that the message under way takes; the prefix alone while its length is not known.
        self._wanted: int = _PREFIX

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are now complete. Raises FrameError."""
        self._chunks.append(data)
        self._size += len(data)
        messages: list[bytes] = []
        if self._size < self._wanted:
            return messages
        joined = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        start = 0
        size = len(joined)
        while size - start >= _PREFIX:
            flags = joined[start]
            length = int.from_bytes(joined[start + 1 : start + _PREFIX], "big")
            if flags > 1:
                raise FrameError("bad flags of a gRPC frame", grpc_status.INTERNAL)
            if length > self.limit:
                raise FrameError("gRPC message is too long", grpc_status.RESOURCE_EXHAUSTED)
            if size - start - _PREFIX < length:
                self._wanted = _PREFIX + length
                break
            if flags and length:
                raise FrameError("gRPC message is compressed", grpc_status.INTERNAL)
            messages.append(joined[start + _PREFIX : start + _PREFIX + length])
            start += _PREFIX + length
            self._wanted = _PREFIX
        rest = joined[start:]
        self._chunks = [rest] if rest else []
        self._size = size - start
        return messages

    def __repr__(self) -> str:
        return f"<FrameReader {self._size} of {self._wanted} bytes>"
