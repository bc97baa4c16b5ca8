"""Earliest-deadline-first scheduling: weighted picks in exact proportion (Envoy's EdfScheduler)."""

from __future__ import annotations

import heapq

from outrider.upstream.host import Host


class EdfScheduler:
    """Picks hosts so that each gets its weight's share. The caller passes the weight on each pick: it may change."""

    __slots__ = ("_heap", "_time", "_order")

    def __init__(self) -> None:
        # (deadline, order of insertion, host)
        self._heap: list[tuple[float, int, Host]] = []
        self._time: float = 0.0
        self._order: int = 0

    def add(self, host: Host, weight: float) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self._time + 1.0 / weight, self._order, host))

    def pick(self) -> Host | None:
        """Take the next host out; the caller adds it again."""
        if not self._heap:
            return None
        deadline, _, host = heapq.heappop(self._heap)
        self._time = deadline
        return host

    def peek(self) -> Host | None:
        return self._heap[0][2] if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)


class LocalityScheduler:
    """The same over indices of localities."""

    __slots__ = ("_heap", "_time", "_weights", "_order")

    def __init__(self, weights: list[float]) -> None:
        self._heap: list[tuple[float, int, int]] = []
        self._time: float = 0.0
        self._weights: list[float] = weights
        self._order: int = 0
        for index, weight in enumerate(weights):
            if weight > 0:
                self._order += 1
                heapq.heappush(self._heap, (1.0 / weight, self._order, index))

    def pick(self) -> int:
        """Index of the next locality, -1 when none has weight."""
        if not self._heap:
            return -1
        deadline, _, index = heapq.heappop(self._heap)
        self._time = deadline
        self._order += 1
        heapq.heappush(self._heap, (deadline + 1.0 / self._weights[index], self._order, index))
        return index
