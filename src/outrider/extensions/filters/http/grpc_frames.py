"""Length-prefixed messages of gRPC and Connect: counting them as they pass, taking them apart, making them.

Source: gRPC documentation, "gRPC over HTTP2", "Length-Prefixed-Message"; Connect protocol, "Streaming RPCs". No filter.
"""

from __future__ import annotations

from typing import Final

HEAD_SIZE: Final = 5
# Flags of a frame.
FLAG_NONE: Final = 0
FLAG_COMPRESSED: Final = 1
# Connect: the last frame, which holds the trailers as JSON.
FLAG_CONNECT_END: Final = 2
# gRPC-Web: the frame holds trailers.
FLAG_WEB_TRAILERS: Final = 0x80


def frame(payload: bytes, flags: int = FLAG_NONE) -> bytes:
    """The payload as one frame."""
    return frame_head(len(payload), flags) + payload


def frame_head(length: int, flags: int = FLAG_NONE) -> bytes:
    return bytes((flags,)) + length.to_bytes(4, "big")


class FrameError(Exception):
    """What comes is not made of frames, or a frame is longer than allowed."""


class FrameCounter:
    """Counts frames by their heads without keeping what passes."""

    __slots__ = ("count", "_skipped", "_head", "_left")

    def __init__(self, skipped: int = 0) -> None:
        """Frames with one of the flags `skipped` do not count."""
        self.count = 0
        self._skipped = skipped
        self._head = b""
        self._left = 0

    def inspect(self, data: bytes) -> int:
        """How many frames begin in `data`."""
        before = self.count
        at = 0
        size = len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            if not self._head and not data[at] & self._skipped:
                # A frame counts from its first byte on, as in Envoy.
                self.count += 1
            wanted = HEAD_SIZE - len(self._head)
            self._head += data[at : at + wanted]
            at += min(wanted, size - at)
            if len(self._head) == HEAD_SIZE:
                self._left = int.from_bytes(self._head[1:], "big")
                self._head = b""
        return self.count - before


class FrameDecoder:
    """Takes frames apart. Holds one incomplete frame, of at most `limit` bytes (0 = no limit)."""

    __slots__ = ("limit", "_chunks", "_size", "_wanted")

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._chunks: list[bytes] = []
        self._size = 0
        # Bytes that must be there before looking again makes sense.
        self._wanted = HEAD_SIZE

    @property
    def held(self) -> int:
        """Bytes of the incomplete frame."""
        return self._size

    def decode(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now, as (flags, payload). Raises FrameError."""
        if data:
            self._chunks.append(data)
            self._size += len(data)
        if self._size < self._wanted:
            return []
        whole = b"".join(self._chunks)
        frames: list[tuple[int, bytes]] = []
        at = 0
        size = len(whole)
        self._wanted = HEAD_SIZE
        while size - at >= HEAD_SIZE:
            length = int.from_bytes(whole[at + 1 : at + HEAD_SIZE], "big")
            if self.limit and length > self.limit:
                raise FrameError(f"frame of {length} bytes")
            if size - at < HEAD_SIZE + length:
                self._wanted = HEAD_SIZE + length
                break
            frames.append((whole[at], whole[at + HEAD_SIZE : at + HEAD_SIZE + length]))
            at += HEAD_SIZE + length
        rest = whole[at:]
        self._chunks = [rest] if rest else []
        self._size = len(rest)
        return frames
