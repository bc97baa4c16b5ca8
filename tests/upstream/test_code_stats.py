"""Counters of response codes, as Envoy's manual lists them."""

from __future__ import annotations

from outrider.stats.store import Store
from outrider.upstream.code_stats import CodeStats


def counters(store: Store) -> dict[str, int]:
    return {name: counter.value for name, counter in store.counters.items()}


def test_external() -> None:
    store = Store()
    stats = CodeStats(store)
    stats.charge(200, False, False)
    stats.charge(200, False, False)
    assert counters(store) == {
        "upstream_rq_completed": 2,
        "upstream_rq_2xx": 2,
        "upstream_rq_200": 2,
        "external.upstream_rq_completed": 2,
        "external.upstream_rq_2xx": 2,
        "external.upstream_rq_200": 2,
    }


def test_internal_canary() -> None:
    store = Store()
    CodeStats(store).charge(503, True, True)
    assert set(counters(store)) == {
        f"{prefix}upstream_rq_{kind}" for prefix in ("", "canary.", "internal.") for kind in ("completed", "5xx", "503")
    }


def test_zones_need_both_ends() -> None:
    store = Store()
    stats = CodeStats(store)
    stats.charge_zone(200, "a", "")
    assert counters(store) == {}
    stats.charge_zone(200, "a", "b")
    assert set(counters(store)) == {f"zone.a.b.upstream_rq_{kind}" for kind in ("completed", "2xx", "200")}


def test_retry_prefix() -> None:
    store = Store()
    CodeStats(store).charge_basic(503, "retry.")
    assert counters(store)["retry.upstream_rq_503"] == 1


def test_times() -> None:
    store = Store()
    stats = CodeStats(store)
    stats.record_time(5, False, True)
    stats.record_zone_time(6, "a", "b")
    assert {name: histogram.pending for name, histogram in store.histograms.items()} == {
        "upstream_rq_time": [5],
        "canary.upstream_rq_time": [5],
        "external.upstream_rq_time": [5],
        "zone.a.b.upstream_rq_time": [6],
    }
