"""A token bucket that all workers share, refilled continuously.

Its whole state is one number: the moment at which it would have been empty. One cell of the shared arena holds it, so
every worker takes from the same bucket. Two workers that take at the very same instant may both get the last token.
"""

from __future__ import annotations

from typing import Final

from outrider.data.shared_limit import SharedArena

_NANOS: Final = 1_000_000_000


class TokenBucket:
    """`max_tokens`, and `tokens_per_fill` every `fill_interval_ns`. Times are monotonic nanoseconds."""

    __slots__ = ("max_tokens", "token_ns", "_full_ns", "_cells", "_cell", "_empty_at")

    def __init__(
        self, max_tokens: int, tokens_per_fill: int, fill_interval_ns: int, arena: SharedArena | None, name: str
    ) -> None:
        """`name` tells the bucket in the arena. Raises MemoryError when that is full."""
        self.max_tokens = max_tokens
        # Nanoseconds a token takes to come.
        self.token_ns: float = fill_interval_ns / tokens_per_fill
        self._full_ns: int = int(max_tokens * self.token_ns)
        shared = arena is not None and arena.columns > 1
        self._cells: memoryview | None = arena.cells if arena is not None and shared else None
        self._cell: int = arena.row(name) * arena.columns if arena is not None and shared else 0
        # 0: nothing was ever taken.
        self._empty_at: int = 0

    @property
    def fill_rate(self) -> float:
        """Tokens a second."""
        return _NANOS / self.token_ns

    def _level(self, now: int) -> int:
        """Nanoseconds' worth of tokens."""
        cells = self._cells
        empty_at = self._empty_at if cells is None else int(cells[self._cell])
        if empty_at == 0:
            return self._full_ns
        level = now - empty_at
        return level if level < self._full_ns else self._full_ns

    def take(self, count: int, now: int) -> bool:
        """Take `count` tokens, or none and say False."""
        level = self._level(now)
        price = int(count * self.token_ns)
        if price > level:
            return False
        empty_at = now - level + price
        if self._cells is None:
            self._empty_at = empty_at
        else:
            self._cells[self._cell] = empty_at
        return True

    def tokens(self, now: int) -> int:
        """Whole tokens left."""
        return int((self._level(now) + 1) / self.token_ns)

    def seconds_to_next(self, now: int) -> int:
        """Seconds, rounded up, until there is a token; 0 when there is one."""
        missing = self.token_ns - self._level(now)
        return 0 if missing <= 0 else int(-(-missing // _NANOS))

    def __repr__(self) -> str:
        return f"<TokenBucket {self.max_tokens} tokens, {self.fill_rate:g}/s>"
