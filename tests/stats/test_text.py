"""`/stats` as text."""

import pytest

from outrider.stats.query import StatsQuery
from outrider.stats.store import Store
from outrider.stats.text import CHUNK, render_text
from tests.stats.golden_store import cases, golden_store, parse


@pytest.mark.parametrize(("query", "expected"), cases("text"))
def test_histograms_as_envoy(query: str, expected: str) -> None:
    assert "".join(render_text(golden_store(), parse(query))) == expected


def small_store() -> Store:
    store = Store()
    store.text_readout("z.version").set("v7")
    store.counter("b.count").add(2)
    store.counter("b.unused")
    store.gauge("a.gauge").set(0)
    store.gauge("c.gauge")
    store.gauge("c.hidden", hidden=True).inc()
    store.histogram("a.time")
    return store


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {},
            'z.version: "v7"\na.gauge: 0\nb.count: 2\nb.unused: 0\nc.gauge: 0\na.time: No recorded values\n',
        ),
        ({"usedonly": ""}, 'z.version: "v7"\na.gauge: 0\nb.count: 2\n'),
        ({"type": "Counters"}, "b.count: 2\nb.unused: 0\n"),
        ({"type": "TextReadouts"}, 'z.version: "v7"\n'),
        ({"type": "Histograms"}, "a.time: No recorded values\n"),
        ({"filter": "gau"}, "a.gauge: 0\nc.gauge: 0\n"),
        ({"filter": "^.[.]", "invert_filter": ""}, ""),
        ({"hidden": "only"}, "c.hidden: 1\n"),
        ({"hidden": "include", "filter": "^c"}, "c.gauge: 0\nc.hidden: 1\n"),
    ],
)
def test_selection(params: dict[str, str], expected: str) -> None:
    assert "".join(render_text(small_store(), StatsQuery.parse(params))) == expected


def test_many_stats_come_in_pieces() -> None:
    store = Store()
    for number in range(3 * CHUNK):
        store.counter(f"c{number}")
    pieces = list(render_text(store, StatsQuery()))
    assert len(pieces) == 3
    assert "".join(pieces).count("\n") == 3 * CHUNK
