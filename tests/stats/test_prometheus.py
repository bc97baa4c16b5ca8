"""`/stats/prometheus`."""

import pytest

from outrider.stats.prometheus import escape, render_prometheus, token_order
from outrider.stats.query import QueryError, StatsQuery
from outrider.stats.store import Store
from outrider.stats.tags import TagProducer
from tests.stats.golden_store import cases, golden_store, parse


@pytest.mark.parametrize(("query", "expected"), cases("prometheus"))
def test_histograms_as_envoy(query: str, expected: object) -> None:
    parsed = parse(query)
    if isinstance(expected, list):
        with pytest.raises(QueryError, match=expected[1]):
            parsed.check()
    else:
        parsed.check()
        assert "".join(render_prometheus(golden_store(), parsed, TagProducer())) == expected


def render(store: Store, **params: str) -> str:
    return "".join(render_prometheus(store, StatsQuery.parse(params), TagProducer()))


def test_stats_of_one_extracted_name_share_a_type_line() -> None:
    store = Store()
    store.counter("cluster.b.upstream_rq_200").add(2)
    store.counter("cluster.a.upstream_rq_404").add(1)
    store.counter("cluster.a.upstream_rq_total").add(3)
    store.gauge("cluster.a.active").set(4)
    assert render(store) == (
        "# TYPE envoy_cluster_upstream_rq counter\n"
        'envoy_cluster_upstream_rq{envoy_response_code="404",envoy_cluster_name="a"} 1\n'
        'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="b"} 2\n'
        "# TYPE envoy_cluster_upstream_rq_total counter\n"
        'envoy_cluster_upstream_rq_total{envoy_cluster_name="a"} 3\n'
        "# TYPE envoy_cluster_active gauge\n"
        'envoy_cluster_active{envoy_cluster_name="a"} 4\n'
    )


def test_names_are_sorted_token_by_token() -> None:
    store = Store()
    for name in ("a-b.x", "a.b.x", "a_b.x", "a.foo"):
        store.counter(name)
    # As Envoy: three groups of the same sanitised name, in the order of their tokens.
    assert render(store).splitlines()[::2] == [
        "# TYPE envoy_a_b_x counter",
        "# TYPE envoy_a_foo counter",
        "# TYPE envoy_a_b_x counter",
        "# TYPE envoy_a_b_x counter",
    ]
    assert sorted(("a-b", "a.z", "a"), key=token_order) == ["a", "a.z", "a-b"]


def test_text_readouts_only_when_asked_for() -> None:
    store = Store()
    store.text_readout("cluster_manager.cds.version_text").set("v7")
    assert render(store) == ""
    assert render(store, text_readouts="") == (
        "# TYPE envoy_cluster_manager_cds_version_text gauge\n"
        'envoy_cluster_manager_cds_version_text{text_value="v7"} 0\n'
    )


def test_used_only_and_filter() -> None:
    store = Store()
    store.counter("a.x").inc()
    store.counter("a.y")
    store.counter("b.x").inc()
    assert render(store, usedonly="", filter="^a").splitlines() == ["# TYPE envoy_a_x counter", "envoy_a_x{} 1"]


def test_label_values_are_escaped() -> None:
    assert escape('a"b\\c\nd') == 'a\\"b\\\\c\\nd'
