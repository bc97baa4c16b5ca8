"""`stats()`: counters, gauges and histograms of the script's own, below the filter's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.extensions.filters.http.lua.values import LuaFault, want_number, want_text
from outrider.stats.metrics import UNIT_BYTES, UNIT_MICROSECONDS, UNIT_MILLISECONDS, UNIT_UNSPECIFIED

if TYPE_CHECKING:
    from outrider.stats.metrics import Counter, Gauge, Histogram
    from outrider.stats.store import Scope

# A script whose names come from requests must not fill the memory.
_MOST: Final = 10_000
_UNITS: Final[dict[bytes, int]] = {
    b"ms": UNIT_MILLISECONDS,
    b"milliseconds": UNIT_MILLISECONDS,
    b"microseconds": UNIT_MICROSECONDS,
    b"bytes": UNIT_BYTES,
    b"unspecified": UNIT_UNSPECIFIED,
}


class CounterFacts:
    __slots__ = ("counter",)

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def inc(self) -> None:
        self.counter.inc()

    def add(self, amount: object) -> None:
        number = int(want_number(amount, 1, "add"))
        if number < 0:
            raise LuaFault("counter add amount must be >= 0")
        self.counter.add(number)

    def value(self) -> int:
        return self.counter.value


class GaugeFacts:
    __slots__ = ("gauge",)

    def __init__(self, gauge: Gauge) -> None:
        self.gauge = gauge

    def inc(self) -> None:
        self.gauge.inc()

    def dec(self) -> None:
        self.gauge.dec()

    def add(self, amount: object) -> None:
        self.gauge.add(int(want_number(amount, 1, "add")))

    def sub(self, amount: object) -> None:
        self.gauge.sub(int(want_number(amount, 1, "sub")))

    def set(self, amount: object) -> None:
        self.gauge.set(int(want_number(amount, 1, "set")))

    def value(self) -> int:
        return self.gauge.value


class HistogramFacts:
    __slots__ = ("histogram",)

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram

    def record(self, value: object) -> None:
        self.histogram.record(want_number(value, 1, "recordValue"))


class StatsFacts:
    """One per filter configuration."""

    __slots__ = ("scope", "_made")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._made: dict[tuple[str, bytes], object] = {}

    def counter(self, name: object) -> object:
        key = ("counter", want_text(name, 1, "counter"))
        found = self._made.get(key)
        return self._keep(key, CounterFacts(self.scope.counter(_text(key[1])))) if found is None else found

    def gauge(self, name: object) -> object:
        key = ("gauge", want_text(name, 1, "gauge"))
        found = self._made.get(key)
        return self._keep(key, GaugeFacts(self.scope.gauge(_text(key[1])))) if found is None else found

    def histogram(self, name: object, unit: object = None) -> object:
        key = ("histogram", want_text(name, 1, "histogram"))
        found = self._made.get(key)
        if found is not None:
            return found
        kind = _UNITS.get(b"unspecified" if unit is None else want_text(unit, 2, "histogram"))
        if kind is None:
            raise LuaFault("invalid histogram unit")
        return self._keep(key, HistogramFacts(self.scope.histogram(_text(key[1]), kind)))

    def _keep(self, key: tuple[str, bytes], made: object) -> object:
        if len(self._made) >= _MOST:
            raise LuaFault("too many stats")
        self._made[key] = made
        return made


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
