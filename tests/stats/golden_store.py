"""The golden file of histograms: values sent to Envoy 1.40, and all that it then said of them."""

import json
from pathlib import Path
from typing import Any

from outrider.stats.metrics import PERCENT_SCALE, UNIT_PERCENT, UNIT_UNSPECIFIED
from outrider.stats.policy import BucketSettings, MatchKind, NameMatcher, StatsPolicy
from outrider.stats.query import StatsQuery
from outrider.stats.store import Store

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "histograms.json").read_text())

# Values of a tag of a counter, sent along.
TAG_VALUES = ('a"b\\c', "x.y", "é", "a\tb", "z", "-", "a:b")


def cases(format_name: str) -> list[tuple[str, str]]:
    """(query, expected body) for one format."""
    return [(query, body) for query, body in GOLDEN["out"].items() if query.startswith(f"format={format_name}")]


def parse(query: str) -> StatsQuery:
    return StatsQuery.parse(dict(part.split("=") for part in query.split("&")))


def policy() -> StatsPolicy:
    settings = []
    for entry in GOLDEN["buckets"]:
        ((kind, text),) = entry["match"].items()
        if isinstance(text, dict):
            text = text["regex"]
        settings.append(BucketSettings(NameMatcher(MatchKind(kind), text), entry["buckets"]))
    return StatsPolicy(None, settings)


def golden_store() -> Store:
    """A store that recorded what Envoy was sent: everything, a flush, five values of each, a flush."""
    store = Store(policy())
    scope = store.scope("gold")
    for count in (None, 5):
        for name, values in GOLDEN["series"].items():
            unit = UNIT_PERCENT if name == "p" else UNIT_UNSPECIFIED
            histogram = scope.histogram(name, unit)
            for value in values[:count]:
                histogram.record(value * PERCENT_SCALE if unit == UNIT_PERCENT else value)
        for histogram in store.histograms.values():
            histogram.merge()
    for value in TAG_VALUES:
        scope.counter("tagged", tags=(("t-1", value),)).inc()
    return store
