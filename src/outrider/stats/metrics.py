"""The metrics that hot code holds: Counter, Gauge, Histogram, TextReadout.

All are plain objects with plain fields, meant to be compiled by mypyc. They
belong to one process and one thread; `outrider.stats.merge` adds workers up.
"""

from typing import Final

from outrider.stats.bins import fold_values

# Units of a histogram. Envoy writes them nowhere in its text, but scales percentages.
UNIT_UNSPECIFIED: Final = 0
UNIT_BYTES: Final = 1
UNIT_MICROSECONDS: Final = 2
UNIT_MILLISECONDS: Final = 3
UNIT_PERCENT: Final = 4

PERCENT_SCALE: Final = 1000000
"""A UNIT_PERCENT histogram takes whole numbers: a share of 1.0 is recorded as PERCENT_SCALE."""

# How a gauge of several processes is read, as Envoy's Gauge::ImportMode.
ACCUMULATE: Final = 0
"""The sum over all processes: connections, requests, bytes."""
NEVER_IMPORT: Final = 1
"""A fact of which every process has its own copy: versions, memberships. Main's word counts."""
HIDDEN_ACCUMULATE: Final = 2
"""As ACCUMULATE, and shown only when a reader asks for hidden stats."""

# A histogram folds its raw values into bins whenever it holds this many (16 KiB): memory is bounded,
# and equal values are folded together.
MAX_PENDING: Final = 2048

Tags = tuple[tuple[str, str], ...]


class Metric:
    """What all metrics have: a full name, and bookkeeping that belongs to the Store.

    `index` identifies the metric in worker snapshots, `refs` counts the scopes that hold it.
    A creator that gives tags itself leaves them in `own_tags`, and the name without them in
    `own_name`. `tag_extracted_name` and `tags` are filled when an exposition first asks, see
    `outrider.stats.tags`.
    """

    __slots__ = ("hidden", "index", "name", "own_name", "own_tags", "refs", "tag_extracted_name", "tags")

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.index: int = -1
        self.refs: int = 0
        self.hidden: bool = False
        self.own_name: str = ""
        self.own_tags: Tags = ()
        self.tag_extracted_name: str = ""
        self.tags: Tags = ()


class Counter(Metric):
    """A number that only grows. Hot code may write `counter.value += 1`.

    `latched` is the value at the last flush (main) or the last snapshot (worker). A counter that
    was used and then reset remembers so in `was_used`.
    """

    __slots__ = ("latched", "value", "was_used")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.value: int = 0
        self.latched: int = 0
        self.was_used: bool = False

    def inc(self) -> None:
        self.value += 1

    def add(self, amount: int) -> None:
        self.value += amount

    def used(self) -> bool:
        """Whether it was ever incremented."""
        return self.value != 0 or self.was_used

    def latch(self) -> int:
        """The increments since the last call."""
        value = self.value
        delta = value - self.latched
        self.latched = value
        return delta

    def reset(self) -> None:
        """Back to zero; it stays used, and sinks see no negative step."""
        if self.value:
            self.was_used = True
        self.value = 0
        self.latched = 0

    def __repr__(self) -> str:
        return f"<Counter {self.name}={self.value}>"


class Gauge(Metric):
    """A number that goes up and down.

    `value` is this process' own part and is what the owner reads and writes; `imported` is the
    workers' part (main process only), their sum or, for NEVER_IMPORT, their maximum. Readers take
    `total()`.
    """

    __slots__ = ("imported", "imported_used", "mode", "reported", "used", "value")

    def __init__(self, name: str, mode: int = ACCUMULATE) -> None:
        super().__init__(name)
        self.value: int = 0
        self.imported: int = 0
        self.imported_used: bool = False
        self.reported: int = 0
        self.mode: int = mode
        self.used: bool = False
        self.hidden = mode == HIDDEN_ACCUMULATE

    def inc(self) -> None:
        self.value += 1
        self.used = True

    def dec(self) -> None:
        self.value -= 1

    def add(self, amount: int) -> None:
        self.value += amount
        self.used = True

    def sub(self, amount: int) -> None:
        self.value -= amount

    def set(self, value: int) -> None:
        self.value = value
        self.used = True

    def total(self) -> int:
        """The value to show: never below zero, as Envoy's gauges are unsigned."""
        if self.mode != NEVER_IMPORT:
            total = self.value + self.imported
        elif self.used:
            total = self.value
        else:
            total = self.imported
        return total if total > 0 else 0

    def ever_used(self) -> bool:
        """Whether it was ever written, here or in a worker."""
        return self.used or self.imported_used

    def __repr__(self) -> str:
        return f"<Gauge {self.name}={self.total()}>"


class TextReadout(Metric):
    """A short text, such as a version."""

    __slots__ = ("imported", "reported", "value")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.value: str = ""
        self.imported: str = ""
        self.reported: str = ""

    def set(self, value: str) -> None:
        self.value = value

    def text(self) -> str:
        """The value to show: main's own, or else what a worker said last."""
        return self.value or self.imported

    def used(self) -> bool:
        return bool(self.value or self.imported)

    def __repr__(self) -> str:
        return f"<TextReadout {self.name}={self.text()!r}>"


class Histogram(Metric):
    """A distribution of whole numbers >= 0, kept with two significant digits.

    A recorded value becomes visible at the next `merge()` (Envoy: each flush): `interval` then
    holds what came since the merge before, `cumulative` everything. Both map bins to counts, see
    `outrider.stats.bins`. Memory: at most MAX_PENDING raw values and 90 bins per decade.
    """

    __slots__ = ("bins", "cumulative", "interval", "merged", "pending", "unit")

    def __init__(self, name: str, unit: int = UNIT_UNSPECIFIED) -> None:
        super().__init__(name)
        self.unit: int = unit
        self.pending: list[float] = []
        self.bins: dict[int, int] = {}
        self.interval: dict[int, int] = {}
        self.cumulative: dict[int, int] = {}
        self.merged: bool = False

    def record(self, value: float) -> None:
        """Take one value; fractions are cut off, negative values count as 0."""
        pending = self.pending
        pending.append(value)
        if len(pending) >= MAX_PENDING:
            self.fold()

    def fold(self) -> None:
        """Move raw values into bins."""
        if self.pending:
            fold_values(self.pending, self.bins)
            self.pending.clear()

    def take_bins(self) -> dict[int, int]:
        """Hand over (and forget) what came since the last `take_bins` or `merge`."""
        self.fold()
        bins = self.bins
        if bins:
            self.bins = {}
        return bins

    def add_bins(self, bins: dict[int, int]) -> None:
        """Add what another process recorded."""
        mine = self.bins
        for key, count in bins.items():
            mine[key] = mine.get(key, 0) + count

    def merge(self) -> None:
        """End an interval: what was recorded becomes `interval` and is added to `cumulative`."""
        bins = self.take_bins()
        if bins:
            self.merged = True
            self.interval = bins
            total = self.cumulative
            for key, count in bins.items():
                total[key] = total.get(key, 0) + count
        elif self.interval:
            self.interval = {}

    def used(self) -> bool:
        """Whether any value has been merged."""
        return self.merged

    def __repr__(self) -> str:
        return f"<Histogram {self.name} {sum(self.cumulative.values())} merged, {len(self.pending)} pending>"
