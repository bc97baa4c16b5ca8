"""Counters shared by all worker processes, in one anonymous shared mapping made before the workers fork.

Each worker writes only its own column, so no lock is needed; the total of a row is the sum over the columns. A limit
checked against the total may be passed by the few operations that race, as Envoy's relaxed atomics allow too.

Rows have names, and main gives them out: workers inherit those there are when they are forked, and are told of later
ones (`fresh`, `adopt`) before they build what main has built.
"""

from __future__ import annotations

import mmap
from typing import Final

DEFAULT_ROWS: Final = 1 << 20


class SharedArena:
    """`rows` counters for each of `columns` workers (8 bytes each; pages are only touched when used)."""

    __slots__ = ("columns", "rows", "_map", "cells", "_free", "_next", "_names", "_fresh", "_retired", "_spare")

    def __init__(self, columns: int, rows: int = DEFAULT_ROWS) -> None:
        self.columns = max(columns, 1)
        self.rows = rows
        self._map = mmap.mmap(-1, self.columns * rows * 8)
        # Row-major: the cells of one row are neighbours, so a total touches one cache line.
        self.cells: memoryview = memoryview(self._map).cast("q")
        self._free: list[int] = []
        self._next = 0
        self._names: dict[str, int] = {}
        # Given out since `fresh` was last called.
        self._fresh: dict[str, int] = {}
        # Names whose users are gone, but perhaps not yet all that they count.
        self._retired: dict[str, None] = {}
        # In a worker: the row for names that main has not told of (-1: this is main's).
        self._spare = -1

    def row(self, name: str) -> int:
        """Index of the row called `name`, made on first use. Only main allocates; raises MemoryError when full."""
        index = self._names.get(name, -1)
        if index >= 0:
            if self._retired:
                self._retired.pop(name, None)
            return index
        if self._spare >= 0:
            return self._spare
        if self._free:
            index = self._free.pop()
        else:
            if self._next >= self.rows:
                raise MemoryError(f"shared arena is full ({self.rows} rows)")
            index = self._next
            self._next += 1
        self._names[name] = index
        self._fresh[name] = index
        return index

    def fresh(self) -> dict[str, int]:
        """Names and rows that were given out since the last call: for the workers, which `adopt` them."""
        fresh = self._fresh
        self._fresh = {}
        return fresh

    def names(self) -> dict[str, int]:
        """All names and rows, for a worker that starts late."""
        return self._names

    def adopt(self, names: dict[str, int]) -> None:
        """In a worker: what main has given out. From now on nothing is given out here."""
        if self._spare < 0:
            self._spare = self.rows - 1
        self._names.update(names)

    def retire(self, name: str) -> None:
        """Nobody new will use the row; `sweep` gives it back when nothing is counted in it any more."""
        if name in self._names:
            self._retired[name] = None

    def sweep(self) -> None:
        """Give back the retired rows that count nothing (main, now and then)."""
        for name in [name for name in self._retired if self.total(self._names[name]) == 0]:
            del self._retired[name]
            self.release(name)

    def release(self, name: str) -> None:
        """Give the row back, zeroed."""
        index = self._names.pop(name, -1)
        self._fresh.pop(name, None)
        if index >= 0:
            for column in range(self.columns):
                self.cells[index * self.columns + column] = 0
            self._free.append(index)

    def clear_column(self, column: int) -> None:
        """Zero what a dead worker held."""
        for row in range(self._next):
            self.cells[row * self.columns + column] = 0

    def total(self, row: int) -> int:
        base = row * self.columns
        if self.columns == 1:
            return int(self.cells[base])
        return sum(self.cells[base : base + self.columns])


class SharedGauge:
    """One handle on a row: `value` is what went through it; `total()` the sum over all handles and workers.

    A cluster and the one that replaces it share a row.
    """

    __slots__ = ("value", "_cells", "_cell", "_base", "_columns")

    def __init__(self, arena: SharedArena | None, row: int = 0, column: int = 0) -> None:
        self.value: int = 0
        self._columns: int = 1 if arena is None else arena.columns
        self._base: int = row * self._columns
        self._cell: int = self._base + column
        # With one worker nothing is shared and the mapping is not touched.
        self._cells: memoryview | None = None if arena is None or arena.columns == 1 else arena.cells

    def inc(self) -> None:
        self.value += 1
        cells = self._cells
        if cells is not None:
            cells[self._cell] += 1

    def dec(self) -> None:
        self.value -= 1
        cells = self._cells
        if cells is not None:
            cells[self._cell] -= 1

    def add(self, amount: int) -> None:
        self.value += amount
        cells = self._cells
        if cells is not None:
            cells[self._cell] += amount

    def total(self) -> int:
        cells = self._cells
        if cells is None:
            return self.value
        return sum(cells[self._base : self._base + self._columns])
