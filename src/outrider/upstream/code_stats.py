"""Counters of response codes: `upstream_rq_200`, `upstream_rq_2xx`, `canary.`, `internal.`, `external.`, `zone.`.

Source: Envoy documentation, cluster stats, "Dynamic HTTP statistics". Counters are made when a code is first seen; the
usual case finds the finished list of counters with one dict probe.
"""

from __future__ import annotations

from typing import Final

from outrider.stats.metrics import UNIT_MILLISECONDS, Counter, Histogram
from outrider.stats.store import Scope

_INTERNAL: Final = 1 << 10
_CANARY: Final = 1 << 11


class CodeStats:
    """Of one scope (a cluster, or a virtual cluster)."""

    __slots__ = ("scope", "_charged", "_basic", "_times")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._charged: dict[int, list[Counter]] = {}
        self._basic: dict[str, list[Counter]] = {}
        self._times: dict[int, list[Histogram]] = {}

    def _counters(self, prefix: str, code: int) -> list[Counter]:
        scope = self.scope
        found = [scope.counter(prefix + "upstream_rq_completed")]
        if 100 <= code < 600:
            found.append(scope.counter(f"{prefix}upstream_rq_{code // 100}xx"))
            found.append(scope.counter(f"{prefix}upstream_rq_{code}"))
        else:
            found.append(scope.counter(f"{prefix}upstream_rq_unknown"))
        return found

    def charge(self, code: int, internal: bool, canary: bool) -> None:
        """A response with this status went to an internal (or external) client, from a canary host or not."""
        key = code | (_INTERNAL if internal else 0) | (_CANARY if canary else 0)
        counters = self._charged.get(key)
        if counters is None:
            counters = self._counters("", code)
            if canary:
                counters.extend(self._counters("canary.", code))
            counters.extend(self._counters("internal." if internal else "external.", code))
            self._charged[key] = counters
        for counter in counters:
            counter.value += 1

    def charge_basic(self, code: int, prefix: str = "") -> None:
        """Only `upstream_rq_<code>`, its class and `upstream_rq_completed`, below a prefix (`retry.`)."""
        key = f"{prefix}{code}"
        counters = self._basic.get(key)
        if counters is None:
            counters = self._counters(prefix, code)
            self._basic[key] = counters
        for counter in counters:
            counter.value += 1

    def charge_zone(self, code: int, from_zone: str, to_zone: str) -> None:
        """`zone.<from>.<to>.upstream_rq_*`; nothing when either zone is unknown."""
        if from_zone and to_zone:
            self.charge_basic(code, f"zone.{from_zone}.{to_zone}.")

    def record_time(self, milliseconds: int, internal: bool, canary: bool) -> None:
        """`upstream_rq_time` and its prefixed forms."""
        key = (_INTERNAL if internal else 0) | (_CANARY if canary else 0)
        histograms = self._times.get(key)
        if histograms is None:
            scope = self.scope
            histograms = [scope.histogram("upstream_rq_time", UNIT_MILLISECONDS)]
            if canary:
                histograms.append(scope.histogram("canary.upstream_rq_time", UNIT_MILLISECONDS))
            side = "internal" if internal else "external"
            histograms.append(scope.histogram(side + ".upstream_rq_time", UNIT_MILLISECONDS))
            self._times[key] = histograms
        for histogram in histograms:
            histogram.record(milliseconds)

    def record_zone_time(self, milliseconds: int, from_zone: str, to_zone: str) -> None:
        if from_zone and to_zone:
            name = f"zone.{from_zone}.{to_zone}.upstream_rq_time"
            self.scope.histogram(name, UNIT_MILLISECONDS).record(milliseconds)
