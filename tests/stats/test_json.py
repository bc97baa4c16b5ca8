"""`/stats?format=json`."""

import json

import pytest

from outrider.stats.json import render_json
from outrider.stats.query import StatsQuery
from outrider.stats.store import Store
from tests.stats.golden_store import cases, golden_store, parse


@pytest.mark.parametrize(("query", "expected"), cases("json"))
def test_histograms_as_envoy(query: str, expected: str) -> None:
    assert "".join(render_json(golden_store(), parse(query))) == expected


def test_nothing_to_show() -> None:
    assert "".join(render_json(Store(), StatsQuery())) == '{"stats":[]}'


@pytest.mark.parametrize("mode", ["", "cumulative", "disjoint", "detailed", "summary"])
def test_unused_histogram_is_valid_json(mode: str) -> None:
    store = Store()
    store.text_readout("t").set('quote " and \\')
    store.counter("c")
    store.histogram("h")
    body = json.loads("".join(render_json(store, StatsQuery.parse({"histogram_buckets": mode}))))
    assert body["stats"][0] == {"name": "t", "value": 'quote " and \\'}
    assert body["stats"][1] == {"name": "c", "value": 0}
    assert list(body["stats"][2]) == ["histograms"]
