"""Counter, Gauge, TextReadout and Histogram."""

from outrider.stats.metrics import (
    ACCUMULATE,
    HIDDEN_ACCUMULATE,
    MAX_PENDING,
    NEVER_IMPORT,
    Counter,
    Gauge,
    Histogram,
    TextReadout,
)


def test_counter_counts_and_latches() -> None:
    counter = Counter("c")
    assert not counter.used()
    counter.value += 1
    counter.inc()
    counter.add(3)
    assert counter.used()
    assert (counter.latch(), counter.latch(), counter.value) == (5, 0, 5)


def test_reset_counter_stays_used_and_never_latches_backwards() -> None:
    counter = Counter("c")
    counter.add(7)
    counter.latch()
    counter.reset()
    counter.add(2)
    assert counter.used()
    assert counter.latch() == 2
    fresh = Counter("d")
    fresh.reset()
    assert not fresh.used()


def test_gauge_is_used_once_written_even_with_zero() -> None:
    gauge = Gauge("g")
    assert not gauge.used
    gauge.set(0)
    assert gauge.used
    gauge.inc()
    gauge.add(5)
    gauge.dec()
    gauge.sub(2)
    assert gauge.total() == gauge.value == 3


def test_gauge_total_adds_imports_or_prefers_mains_word() -> None:
    active = Gauge("active", ACCUMULATE)
    active.set(2)
    active.imported = 5
    assert active.total() == 7
    members = Gauge("members", NEVER_IMPORT)
    members.imported = 5
    assert members.total() == 5
    members.set(0)
    assert members.total() == 0


def test_gauge_never_shows_less_than_zero() -> None:
    gauge = Gauge("g")
    gauge.sub(3)
    assert gauge.total() == 0


def test_hidden_mode_hides() -> None:
    assert Gauge("g", HIDDEN_ACCUMULATE).hidden
    assert not Gauge("g").hidden


def test_text_readout_prefers_its_own_text() -> None:
    readout = TextReadout("t")
    assert not readout.used()
    readout.imported = "worker"
    assert readout.text() == "worker"
    readout.set("main")
    assert readout.text() == "main"
    assert readout.used()


def test_histogram_shows_values_only_after_a_merge() -> None:
    histogram = Histogram("h")
    histogram.record(5)
    assert not histogram.used()
    histogram.merge()
    assert histogram.used()
    assert histogram.interval == histogram.cumulative == {50: 1}
    histogram.merge()
    assert histogram.interval == {}
    assert histogram.cumulative == {50: 1}


def test_unwritten_histogram_stays_unused_through_merges() -> None:
    histogram = Histogram("h")
    histogram.merge()
    assert not histogram.used()


def test_histogram_memory_is_bounded() -> None:
    histogram = Histogram("h")
    for value in range(10 * MAX_PENDING):
        histogram.record(value)
        assert len(histogram.pending) < MAX_PENDING
    histogram.merge()
    assert sum(histogram.cumulative.values()) == 10 * MAX_PENDING
    assert len(histogram.cumulative) <= 1 + 90 * 4


def test_take_bins_hands_over_everything_once() -> None:
    histogram = Histogram("h")
    histogram.record(12)
    histogram.record(12.9)
    assert histogram.take_bins() == {112: 2}
    assert histogram.take_bins() == {}
    histogram.add_bins({112: 3, 0: 1})
    histogram.record(12)
    histogram.merge()
    assert histogram.interval == {112: 4, 0: 1}
