"""Lets a body pass at a limited rate, in slices of 50 ms (Envoy's `StreamRateLimiter`).

The first slice passes at once and no burst is saved up before. What waits is buffered here; above `buffer_limit` the
producer is told to stop.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from mypy_extensions import mypyc_attr

from outrider.event.dispatcher import Dispatcher
from outrider.event.timer import Timer, TimerOwner

DEFAULT_INTERVAL_MS: Final = 50
_KIB: Final = 1024


class SliceBucket:
    """Tokens, each good for one slice; `per_second` of them come, and at most as many are kept. Times in seconds."""

    __slots__ = ("per_second", "tokens", "last")

    def __init__(self, per_second: int, tokens: float, now: float) -> None:
        self.per_second = per_second
        self.tokens = tokens
        self.last = now

    def take(self, wanted: int, now: float) -> int:
        """Whole tokens obtained, at most `wanted`."""
        self.tokens = min(float(self.per_second), self.tokens + (now - self.last) * self.per_second)
        self.last = now
        taken = min(wanted, int(self.tokens))
        self.tokens -= taken
        return taken

    def wait(self) -> float:
        """Seconds until there is a whole token."""
        return 0.0 if self.tokens >= 1 else (1 - self.tokens) / self.per_second


@mypyc_attr(allow_interpreted_subclasses=True)
class RateLimitedWriter:
    """Whoever owns a StreamRateLimiter."""

    def write_limited(self, data: bytes, end_stream: bool) -> None:
        """Bytes whose time has come."""
        raise NotImplementedError

    def release_trailers(self) -> None:
        """All bytes have been written; trailers may follow."""
        raise NotImplementedError

    def pause_limited(self) -> None:
        """More is buffered than allowed."""

    def resume_limited(self) -> None:
        """There is room again."""


class StreamRateLimiter(TimerOwner):
    """One direction of one stream. A `bucket` may be shared by all streams under one limit."""

    def __init__(
        self,
        writer: RateLimitedWriter,
        dispatcher: Dispatcher,
        kbps: int,
        buffer_limit: int,
        interval_ms: int = DEFAULT_INTERVAL_MS,
        bucket: SliceBucket | None = None,
    ) -> None:
        """`kbps` in KiB a second, `buffer_limit` in bytes (0 = none)."""
        divisor = max(1000 // interval_ms, 1)
        self.slice_bytes: int = max(kbps * _KIB // divisor, 1)
        # A stream of its own starts with one slice rather than with a second's worth.
        self.bucket: SliceBucket = SliceBucket(divisor, 1.0, monotonic()) if bucket is None else bucket
        self.buffered: int = 0
        self._writer: RateLimitedWriter | None = writer
        self._limit = buffer_limit
        self._chunks: list[bytes] = []
        self._end = False
        self._trailers = False
        self._paused = False
        self._timer: Timer | None = dispatcher.timer(self, 0)

    def write(self, data: bytes, end_stream: bool) -> None:
        if data:
            self._chunks.append(data)
            self.buffered += len(data)
        self._end = end_stream
        if self._limit > 0 and self.buffered > self._limit and not self._paused and self._writer is not None:
            self._paused = True
            self._writer.pause_limited()
        if self._timer is not None and not self._timer.armed:
            self._timer.arm(0)

    def hold_trailers(self) -> bool:
        """Trailers have come: True when they must wait for bytes that wait."""
        self._end = True
        self._trailers = True
        return self.buffered > 0

    def destroy(self) -> None:
        if self._timer is not None:
            self._timer.disarm()
        self._timer = None
        self._writer = None
        self._chunks = []

    def on_timer(self, kind: int) -> None:
        writer = self._writer
        timer = self._timer
        if writer is None or timer is None:
            return
        wanted = (self.buffered + self.slice_bytes - 1) // self.slice_bytes
        data = self._take(self.bucket.take(wanted, monotonic()) * self.slice_bytes)
        if self.buffered:
            timer.arm(int(self.bucket.wait() * 1000) + 1)
        done = not self.buffered
        if self._paused and self.buffered <= self._limit // 2:
            self._paused = False
            writer.resume_limited()
        writer.write_limited(data, done and self._end and not self._trailers)
        if done and self._trailers:
            writer.release_trailers()

    def _take(self, count: int) -> bytes:
        """Up to `count` bytes from the front of the buffer."""
        if not count or not self._chunks:
            return b""
        whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        data = whole[:count]
        rest = whole[count:]
        self._chunks = [rest] if rest else []
        self.buffered = len(rest)
        return data
