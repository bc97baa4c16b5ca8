"""Scopes and the Store."""

import pytest

from outrider.stats.metrics import HIDDEN_ACCUMULATE, NEVER_IMPORT, UNIT_MILLISECONDS
from outrider.stats.policy import MatchKind, NameMatcher, StatsMatcher, StatsPolicy
from outrider.stats.store import Store, sanitize_stats_name


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("plain", "plain"),
        ("cluster.a:80.", "cluster.a_80"),
        ("http://a/b", "http_a/b"),
        ("unix:/tmp/x", "unix_tmp/x"),
        (".dotted.", "dotted"),
        ("nul\0", "nul_"),
    ],
)
def test_names_are_sanitized_as_envoy_does(name: str, clean: str) -> None:
    assert sanitize_stats_name(name) == clean


def test_scopes_nest_and_metrics_are_found_again() -> None:
    store = Store()
    cluster = store.scope("cluster").scope("foo.")
    counter = cluster.counter("rq")
    assert counter.name == "cluster.foo.rq"
    assert store.counter("cluster.foo.rq") is counter
    assert store.scope("cluster.foo").counter("rq") is counter
    gauge = cluster.gauge("members", accumulate=False)
    assert gauge.mode == NEVER_IMPORT
    assert cluster.gauge("secret", hidden=True).mode == HIDDEN_ACCUMULATE
    assert cluster.gauge("members") is gauge
    histogram = cluster.histogram("time", UNIT_MILLISECONDS)
    assert cluster.histogram("time") is histogram
    assert histogram.unit == UNIT_MILLISECONDS
    assert cluster.text_readout("version") is store.text_readout("cluster.foo.version")


def test_one_name_may_be_a_counter_and_a_gauge() -> None:
    store = Store()
    assert store.counter("x").name == store.gauge("x").name == store.histogram("x").name == "x"
    assert (len(store.counters), len(store.gauges), len(store.histograms)) == (1, 1, 1)


def test_explicit_tags_are_part_of_the_name() -> None:
    store = Store()
    counter = store.scope("a", tags=(("k", "v"),)).counter("b", tags=(("l", "w"),))
    assert counter.name == "a.k.v.b.l.w"
    assert (counter.own_name, counter.own_tags) == ("a.b", (("k", "v"), ("l", "w")))


def test_closing_the_last_scope_removes_its_metrics() -> None:
    store = Store()
    old = store.scope("cluster.a")
    old.counter("rq").add(3)
    old.counter("old_only")
    new = store.scope("cluster.a")
    assert new.counter("rq").value == 3
    old.close()
    assert list(store.counters) == ["cluster.a.rq"]
    new.close()
    assert not store.counters


def test_asking_twice_does_not_keep_a_metric_alive() -> None:
    store = Store()
    scope = store.scope("s")
    scope.gauge("g")
    scope.gauge("g")
    scope.close()
    assert not store.gauges


def test_closing_a_scope_closes_those_within() -> None:
    store = Store()
    outer = store.scope("o")
    outer.scope("i").histogram("h")
    outer.scope("j").text_readout("t")
    outer.close()
    assert not store.all_metrics()


def test_a_child_closed_by_itself_leaves_its_parent() -> None:
    store = Store()
    outer = store.scope("o")
    for _ in range(3):
        outer.scope("i").close()
    assert not outer.children


def test_rejected_names_get_a_shared_object_that_is_never_shown() -> None:
    matcher = StatsMatcher([NameMatcher(MatchKind.PREFIX, "noisy.")])
    store = Store(StatsPolicy(matcher))
    scope = store.scope("noisy")
    assert scope.counter("a") is scope.counter("b") is store.null_counter
    scope.gauge("a").inc()
    scope.histogram("a").record(1)
    scope.text_readout("a").set("x")
    store.counter("kept")
    scope.close()
    assert [metric.name for metric in store.all_metrics()] == ["kept"]


def test_a_policy_set_late_hides_what_exists() -> None:
    store = Store()
    counter = store.counter("a.x")
    store.counter("b.x")
    store.set_policy(StatsPolicy(StatsMatcher([NameMatcher(MatchKind.PREFIX, "a.")], inclusive=True)))
    assert list(store.counters) == ["a.x"]
    assert store.counter("a.x") is counter


def test_reset_counters_leaves_gauges() -> None:
    store = Store()
    store.counter("c").add(2)
    store.gauge("g").set(2)
    store.reset_counters()
    assert (store.counter("c").value, store.counter("c").used(), store.gauge("g").value) == (0, True, 2)


def test_deferred_groups_show_when_one_of_them_is_used() -> None:
    store = Store()
    counter, gauge = store.counter("a.upstream_rq_total"), store.gauge("a.upstream_cx_active")
    store.defer([counter, gauge])
    store.reveal_used()
    assert counter.hidden and gauge.hidden
    counter.inc()
    store.reveal_used()
    assert not counter.hidden and not gauge.hidden
    assert store.deferred == []
