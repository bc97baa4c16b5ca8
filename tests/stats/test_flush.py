"""The flush cycle."""

from outrider.stats.flush import FlushSnapshot, StatsFlusher, StatsSink
from outrider.stats.store import Store
from outrider.stats.tags import TagProducer


class RecordingSink(StatsSink):
    def __init__(self) -> None:
        self.counters: list[list[tuple[str, int]]] = []
        self.gauges: list[dict[str, int]] = []
        self.intervals: list[dict[str, dict[int, int]]] = []
        self.closed = False

    def flush(self, snapshot: FlushSnapshot) -> None:
        self.counters.append([(counter.name, delta) for counter, delta in snapshot.counters])
        self.gauges.append({gauge.name: gauge.total() for gauge in snapshot.gauges})
        self.intervals.append({entry.name: dict(entry.interval) for entry in snapshot.histograms})

    def close(self) -> None:
        self.closed = True


def test_a_flush_ends_the_interval_and_latches_counters() -> None:
    store = Store()
    sink = RecordingSink()
    flusher = StatsFlusher(store, TagProducer(), [sink])
    store.counter("used").add(4)
    store.counter("unused")
    store.gauge("g").set(0)
    store.gauge("unused")
    store.gauge("hidden", hidden=True).set(1)
    store.histogram("h").record(7)
    flusher.flush()
    flusher.flush()
    # As Envoy: a used counter is sent with 0 when nothing happened.
    assert sink.counters == [[("used", 4)], [("used", 0)]]
    assert sink.gauges == [{"g": 0}, {"g": 0}]
    assert sink.intervals == [{"h": {70: 1}}, {"h": {}}]
    assert store.histograms["h"].cumulative == {70: 1}


def test_close_flushes_once_more() -> None:
    store = Store()
    sink = RecordingSink()
    flusher = StatsFlusher(store, TagProducer(), [sink])
    store.counter("last").inc()
    flusher.close()
    assert sink.counters == [[("last", 1)]]
    assert sink.closed


def test_defaults() -> None:
    flusher = StatsFlusher(Store(), TagProducer())
    assert (flusher.interval_s, flusher.on_admin) == (5.0, False)
    flusher.flush()
