"""Worker snapshots and their merging."""

import marshal

from hypothesis import given
from hypothesis import strategies as st

from outrider.stats.merge import Snapshot, SnapshotWriter, StatsMerger
from outrider.stats.metrics import NEVER_IMPORT, UNIT_MILLISECONDS
from outrider.stats.ownership import reported_by_workers
from outrider.stats.policy import MatchKind, NameMatcher, StatsMatcher, StatsPolicy
from outrider.stats.store import Store


class Fleet:
    """Main and some workers; snapshots travel as bytes."""

    def __init__(self, workers: int = 2) -> None:
        self.main = Store()
        self.merger = StatsMerger(self.main)
        self.stores = [Store() for _ in range(workers)]
        self.writers = [SnapshotWriter(store) for store in self.stores]

    def sync(self, *workers: int) -> None:
        for worker in workers or range(len(self.stores)):
            snapshot: Snapshot = marshal.loads(marshal.dumps(self.writers[worker].take()))
            self.merger.apply(worker, snapshot)

    def replace(self, worker: int) -> None:
        self.merger.drop(worker)
        self.stores[worker] = Store()
        self.writers[worker] = SnapshotWriter(self.stores[worker])


def test_counters_add_up_and_names_travel_once() -> None:
    fleet = Fleet()
    for store in fleet.stores:
        store.counter("rq").add(2)
        store.counter("idle")
    fleet.main.counter("rq").add(1)
    fleet.sync()
    assert fleet.main.counters["rq"].value == 5
    assert fleet.main.counters["idle"].value == 0
    assert fleet.writers[0].take() == ([], [], [], [], [], {})
    fleet.stores[1].counter("rq").inc()
    announced, _, counters, _, _, _ = snapshot = fleet.writers[1].take()
    assert (announced, counters) == ([], [fleet.stores[1].counter("rq").index, 1])
    fleet.merger.apply(1, snapshot)
    assert fleet.main.counters["rq"].value == 6


def test_gauges_follow_live_workers() -> None:
    fleet = Fleet()
    fleet.main.gauge("active").set(1)
    fleet.stores[0].gauge("active").set(5)
    fleet.stores[1].gauge("active").set(7)
    fleet.sync()
    assert fleet.main.gauges["active"].total() == 13
    fleet.stores[0].gauge("active").set(2)
    fleet.sync()
    assert fleet.main.gauges["active"].total() == 10
    fleet.replace(1)
    assert fleet.main.gauges["active"].total() == 3
    fleet.sync()
    assert fleet.main.gauges["active"].total() == 3


def test_a_gauge_set_to_zero_in_a_worker_is_used_in_main() -> None:
    fleet = Fleet()
    fleet.stores[0].gauge("g").set(0)
    fleet.stores[0].gauge("unused")
    fleet.sync()
    assert fleet.main.gauges["g"].ever_used()
    assert not fleet.main.gauges["unused"].ever_used()


def test_never_import_gauges_are_not_added() -> None:
    fleet = Fleet()
    for value, store in zip((3, 4), fleet.stores, strict=True):
        store.gauge("weight", accumulate=False).set(value)
    fleet.sync()
    gauge = fleet.main.gauges["weight"]
    assert (gauge.mode, gauge.total()) == (NEVER_IMPORT, 4)
    fleet.replace(1)
    assert gauge.total() == 3
    gauge.set(9)
    assert gauge.total() == 9


def test_histograms_and_text_readouts() -> None:
    fleet = Fleet()
    for store in fleet.stores:
        store.histogram("time", UNIT_MILLISECONDS).record(12)
        store.text_readout("version").set("v1")
    fleet.sync()
    histogram = fleet.main.histograms["time"]
    histogram.merge()
    assert histogram.unit == UNIT_MILLISECONDS
    assert histogram.cumulative == {112: 2}
    assert fleet.main.text_readouts["version"].text() == "v1"
    fleet.sync()
    histogram.merge()
    assert histogram.interval == {}


def test_a_dead_workers_counts_stay_and_its_successor_adds() -> None:
    fleet = Fleet()
    fleet.stores[0].counter("rq_200").add(10)
    fleet.sync()
    fleet.replace(0)
    assert fleet.main.counters["rq_200"].value == 10
    fleet.stores[0].counter("rq_200").add(1)
    fleet.sync()
    assert fleet.main.counters["rq_200"].value == 11


def test_reset_in_main_needs_nothing_from_workers() -> None:
    fleet = Fleet()
    fleet.stores[0].counter("rq").add(10)
    fleet.sync()
    fleet.main.reset_counters()
    fleet.stores[0].counter("rq").add(2)
    fleet.sync()
    assert fleet.main.counters["rq"].value == 2


def test_removed_stats_disappear_when_all_workers_removed_them() -> None:
    fleet = Fleet()
    scopes = [store.scope("cluster.a") for store in fleet.stores]
    for scope in scopes:
        scope.counter("rq").inc()
    fleet.sync()
    scopes[0].close()
    fleet.sync()
    assert "cluster.a.rq" in fleet.main.counters
    scopes[1].close()
    fleet.sync()
    assert not fleet.main.counters


def test_a_metric_that_came_and_went_between_snapshots_is_not_announced() -> None:
    fleet = Fleet(1)
    scope = fleet.stores[0].scope("gone")
    scope.counter("c").inc()
    scope.close()
    assert fleet.writers[0].take() == ([], [], [], [], [], {})


def test_orphans_of_dead_workers_go_with_their_owner_in_main() -> None:
    fleet = Fleet(1)
    owner = fleet.main.scope("cluster.a")
    owner.counter("rq_total")
    fleet.stores[0].counter("cluster.a.rq_200").inc()
    fleet.stores[0].counter("cluster.ab.rq_200").inc()
    fleet.sync()
    fleet.replace(0)
    fleet.merger.prune()
    assert "cluster.a.rq_200" in fleet.main.counters
    successor = fleet.main.scope("cluster.a")
    successor.counter("rq_total")
    owner.close()
    fleet.merger.prune()
    assert "cluster.a.rq_200" in fleet.main.counters
    successor.close()
    fleet.merger.prune()
    assert list(fleet.main.counters) == ["cluster.ab.rq_200"]


def test_explicit_tags_travel() -> None:
    fleet = Fleet(1)
    fleet.stores[0].counter("c", tags=(("k", "v"),)).inc()
    fleet.sync()
    counter = fleet.main.counters["c.k.v"]
    assert (counter.own_name, counter.own_tags) == ("c", (("k", "v"),))


def test_main_may_reject_what_a_worker_sends() -> None:
    fleet = Fleet(1)
    fleet.main.set_policy(StatsPolicy(StatsMatcher([NameMatcher(MatchKind.PREFIX, "x.")])))
    fleet.stores[0].counter("x.a").inc()
    fleet.stores[0].gauge("x.g").inc()
    fleet.sync()
    fleet.merger.drop(0)
    assert not fleet.main.all_metrics()


def test_what_existed_before_the_writer_is_announced() -> None:
    store = Store()
    store.counter("early").add(3)
    main = Store()
    StatsMerger(main).apply(0, SnapshotWriter(store).take())
    assert main.counters["early"].value == 3


def test_control_plane_counts_stay_in_the_worker() -> None:
    for name in (
        "cluster.a.membership_change",
        "cluster.a.b.update_success",
        "cluster.a.health_check.attempt",
        "cluster_manager.cluster_added",
        "listener_manager.listener_added",
        "http.in.rds.r.update_success",
        "server.live",
        "runtime.load_success",
    ):
        assert not reported_by_workers(name), name
    for name in (
        "cluster.a.upstream_rq_total",
        "cluster.a.membership_total",
        "http.in.downstream_rq_total",
        "server.worker_0.watchdog_miss",
        "thread_local_cluster_manager.worker_0.clusters_inflated",
        "listener.1.2.3.4_80.downstream_cx_total",
    ):
        assert reported_by_workers(name), name


OPERATIONS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["count", "gauge", "record", "sync", "die"]), st.integers(0, 50)),
    max_size=60,
)


@given(OPERATIONS)
def test_totals_are_what_was_synced(operations: list[tuple[int, str, int]]) -> None:
    fleet = Fleet(3)
    counted, waiting = 0, [0, 0, 0]
    recorded, unsent = 0, [0, 0, 0]
    gauges, shown = [0, 0, 0], [0, 0, 0]
    for worker, action, value in operations:
        store = fleet.stores[worker]
        if action == "count":
            store.counter("c").add(value)
            waiting[worker] += value
        elif action == "gauge":
            store.gauge("g").set(value)
            gauges[worker] = value
        elif action == "record":
            store.histogram("h").record(value)
            unsent[worker] += 1
        elif action == "sync":
            fleet.sync(worker)
            counted += waiting[worker]
            recorded += unsent[worker]
            shown[worker] = gauges[worker]
            waiting[worker] = unsent[worker] = 0
        else:
            fleet.replace(worker)
            waiting[worker] = unsent[worker] = gauges[worker] = shown[worker] = 0
    main = fleet.main
    assert main.counter("c").value == counted
    assert main.gauge("g").total() == sum(shown)
    main.histogram("h").merge()
    assert sum(main.histogram("h").cumulative.values()) == recorded
