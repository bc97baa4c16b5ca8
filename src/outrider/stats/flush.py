"""The flush: the moment at which histograms end an interval and sinks get everything.

Envoy flushes every `stats_flush_interval` (5 s), or on each admin `/stats` request when
`stats_flush_on_admin` is set. Whoever owns the timer collects the workers' snapshots first.
"""

from collections.abc import Sequence

from mypy_extensions import mypyc_attr

from outrider.stats.merge import StatsMerger
from outrider.stats.metrics import Counter, Gauge, Histogram, TextReadout
from outrider.stats.query import is_used
from outrider.stats.store import Store
from outrider.stats.tags import TagProducer

DEFAULT_FLUSH_INTERVAL_S = 5.0


class FlushSnapshot:
    """What a sink gets: used counters with their increments, used gauges, all histograms."""

    __slots__ = ("counters", "gauges", "histograms", "producer", "text_readouts")

    def __init__(self, store: Store, producer: TagProducer) -> None:
        """Latches all counters: there is one snapshot per flush."""
        increments = [(counter, counter.latch()) for counter in store.counters.values() if counter.used()]
        self.counters: list[tuple[Counter, int]] = [entry for entry in increments if not entry[0].hidden]
        self.gauges: list[Gauge] = [gauge for gauge in store.gauges.values() if is_used(gauge) and not gauge.hidden]
        self.histograms: list[Histogram] = [entry for entry in store.histograms.values() if not entry.hidden]
        self.text_readouts: list[TextReadout] = [entry for entry in store.text_readouts.values() if not entry.hidden]
        # For sinks that send tags: call `producer.describe(metric)` before reading them.
        self.producer = producer


@mypyc_attr(allow_interpreted_subclasses=True)
class StatsSink:
    """A receiver of flushes."""

    __slots__ = ()

    def flush(self, snapshot: FlushSnapshot) -> None:
        """Send the snapshot, or start to. Must not block and must not raise."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of sockets. Nothing is sent afterwards."""


class StatsFlusher:
    """Ends histogram intervals and feeds the sinks."""

    __slots__ = ("interval_s", "merger", "on_admin", "producer", "sinks", "store")

    def __init__(
        self,
        store: Store,
        producer: TagProducer,
        sinks: Sequence[StatsSink] = (),
        merger: StatsMerger | None = None,
        interval_s: float = DEFAULT_FLUSH_INTERVAL_S,
        on_admin: bool = False,
    ) -> None:
        """`interval_s` (seconds) and `on_admin` are for the owner of the timer to read."""
        self.store = store
        self.producer = producer
        self.sinks = list(sinks)
        self.merger = merger
        self.interval_s = interval_s
        self.on_admin = on_admin

    def flush(self) -> None:
        """Flush once. Apply the workers' snapshots before."""
        if self.merger is not None:
            self.merger.prune()
        for histogram in self.store.histograms.values():
            histogram.merge()
        if self.sinks:
            snapshot = FlushSnapshot(self.store, self.producer)
            for sink in self.sinks:
                sink.flush(snapshot)

    def close(self) -> None:
        """Flush a last time, as Envoy does at shutdown, and close the sinks."""
        self.flush()
        for sink in self.sinks:
            sink.close()
