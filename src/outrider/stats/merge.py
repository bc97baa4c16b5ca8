"""Adding up the stats of several processes.

A worker's `SnapshotWriter` turns its Store into small snapshots of plain tuples, lists, dicts,
numbers and strings (fit for `marshal`); main's `StatsMerger` applies them to main's own Store. A
name travels once; later snapshots speak of indices, and only of what changed.

- Counters travel as increments: a worker that dies leaves its share in the total, and
  `reset_counters` in main needs no word to the workers.
- Gauges travel as values: main shows its own plus the live workers'. A NEVER_IMPORT gauge shows
  main's own value; when main never wrote it, the largest of the workers'.
- Histograms travel as bins recorded since the last snapshot.
- A text readout shows main's text, else what a worker said last.

Cost: a snapshot walks all metrics of the worker (about 60 ns each) and holds what changed.
"""

from collections.abc import Callable

from outrider.stats.metrics import NEVER_IMPORT, Counter, Gauge, Histogram, Metric, Tags, TextReadout
from outrider.stats.ownership import reported_by_workers
from outrider.stats.store import Store

KIND_COUNTER = 0
KIND_GAUGE = 1
KIND_HISTOGRAM = 2
KIND_TEXT_READOUT = 3

# index, kind, name, gauge mode or histogram unit, own name, own tags
Announcement = tuple[int, int, str, int, str, Tags]

# announcements; indices gone; then flat lists of index and value, one after the other:
# counter increments, gauge values, text readouts; and histogram bins by index.
Snapshot = tuple[list[Announcement], list[int], list[int], list[int], list[int | str], dict[int, dict[int, int]]]


class SnapshotWriter:
    """Watches a Store and says what changed since the last time."""

    __slots__ = ("counters", "gauges", "histograms", "readouts", "reports", "store")

    def __init__(self, store: Store, reports: Callable[[str], bool] = reported_by_workers) -> None:
        """`reports` says by name which stats are passed on. One writer per store."""
        self.store = store
        self.reports = reports
        self.counters: dict[int, Counter] = {}
        self.gauges: dict[int, Gauge] = {}
        self.histograms: dict[int, Histogram] = {}
        self.readouts: dict[int, TextReadout] = {}
        store.tracking = True
        store.added = store.all_metrics()

    def take(self) -> Snapshot:
        """What changed since the last call."""
        removed = [index for index in self.store.removed if self.forget(index)]
        self.store.removed.clear()
        announced = [self.announce(metric) for metric in self.store.added if self.is_wanted(metric)]
        self.store.added.clear()
        counters: list[int] = []
        for index, counter in self.counters.items():
            if counter.value != counter.latched:
                counters += (index, counter.latch())
        gauges: list[int] = []
        for index, gauge in self.gauges.items():
            if gauge.value != gauge.reported or (gauge.used and not gauge.imported_used):
                gauge.reported = gauge.value
                # In a worker: main knows that the gauge is used.
                gauge.imported_used = True
                gauges += (index, gauge.value)
        readouts: list[int | str] = []
        for index, readout in self.readouts.items():
            if readout.value != readout.reported:
                readout.reported = readout.value
                readouts += (index, readout.value)
        histograms: dict[int, dict[int, int]] = {}
        for index, histogram in self.histograms.items():
            if histogram.pending or histogram.bins:
                histograms[index] = histogram.take_bins()
        return (announced, removed, counters, gauges, readouts, histograms)

    def is_wanted(self, metric: Metric) -> bool:
        """Whether a new metric is to be announced: it may be gone again, or none of main's business."""
        return metric.refs > 0 and self.reports(metric.name)

    def announce(self, metric: Metric) -> Announcement:
        index = metric.index
        detail = 0
        if isinstance(metric, Counter):
            kind = KIND_COUNTER
            self.counters[index] = metric
        elif isinstance(metric, Gauge):
            kind, detail = KIND_GAUGE, metric.mode
            self.gauges[index] = metric
        elif isinstance(metric, Histogram):
            kind, detail = KIND_HISTOGRAM, metric.unit
            self.histograms[index] = metric
        else:
            assert isinstance(metric, TextReadout)
            kind = KIND_TEXT_READOUT
            self.readouts[index] = metric
        return (index, kind, metric.name, detail, metric.own_name, metric.own_tags)

    def forget(self, index: int) -> bool:
        """Stop watching a metric; False when main never heard of it."""
        known = len(self.counters) + len(self.gauges) + len(self.histograms) + len(self.readouts)
        self.counters.pop(index, None)
        self.gauges.pop(index, None)
        self.histograms.pop(index, None)
        self.readouts.pop(index, None)
        return known != len(self.counters) + len(self.gauges) + len(self.histograms) + len(self.readouts)


class WorkerShare:
    """What main knows of one worker: its metrics by index, and its last gauge values."""

    __slots__ = ("gauges", "metrics")

    def __init__(self) -> None:
        self.metrics: dict[int, Metric] = {}
        self.gauges: dict[int, int] = {}


class StatsMerger:
    """Applies workers' snapshots to main's Store."""

    __slots__ = ("holders", "never_import", "scope", "shares", "store")

    def __init__(self, store: Store) -> None:
        self.store = store
        # Holds every metric that any worker announced.
        self.scope = store.scope("")
        self.shares: dict[int, WorkerShare] = {}
        # How many live workers hold a metric; 0 when only dead ones did.
        self.holders: dict[Metric, int] = {}
        # The workers' values of NEVER_IMPORT gauges.
        self.never_import: dict[Gauge, dict[int, int]] = {}
        store.closed_prefixes = []

    def apply(self, worker: int, snapshot: Snapshot) -> None:
        """Add what a worker says. Snapshots of one worker come in order and none is missed."""
        share = self.shares.get(worker)
        if share is None:
            share = self.shares[worker] = WorkerShare()
        announced, removed, counters, gauges, readouts, histograms = snapshot
        for announcement in announced:
            self.adopt(share, announcement)
        metrics = share.metrics
        for at in range(0, len(counters), 2):
            counter = metrics.get(counters[at])
            if isinstance(counter, Counter):
                counter.value += counters[at + 1]
        for at in range(0, len(gauges), 2):
            gauge = metrics.get(gauges[at])
            if isinstance(gauge, Gauge):
                self.import_gauge(worker, share, gauges[at], gauge, gauges[at + 1])
        for at in range(0, len(readouts), 2):
            readout = metrics.get(int(readouts[at]))
            if isinstance(readout, TextReadout):
                readout.imported = str(readouts[at + 1])
        for index, bins in histograms.items():
            histogram = metrics.get(index)
            if isinstance(histogram, Histogram):
                histogram.add_bins(bins)
        for index in removed:
            self.release(worker, share, index, alive=True)

    def drop(self, worker: int) -> None:
        """A worker is gone: its gauges go, its counters and histograms stay in the totals."""
        share = self.shares.pop(worker, None)
        if share is not None:
            for index in list(share.metrics):
                self.release(worker, share, index, alive=False)

    def prune(self) -> None:
        """Forget metrics that only dead workers held, once their owner in main is gone too.

        Call it now and then (each flush).
        """
        closed = self.store.closed_prefixes
        if not closed:
            return
        prefixes = tuple(prefix for prefix in set(closed) if prefix)
        closed.clear()
        orphans = [metric for metric, count in self.holders.items() if not count and metric.name.startswith(prefixes)]
        if not orphans:
            return
        # A scope may have been closed because a new one of the same prefix took over.
        kept = [
            prefix
            for prefix in prefixes
            for metric in self.store.all_metrics()
            if metric.name.startswith(prefix) and metric.refs > (1 if metric in self.holders else 0)
        ]
        for metric in orphans:
            if not metric.name.startswith(tuple(kept)):
                del self.holders[metric]
                self.scope.drop(metric)

    def adopt(self, share: WorkerShare, announcement: Announcement) -> None:
        """Find or create main's counterpart of a worker's metric."""
        index, kind, name, detail, own_name, own_tags = announcement
        metric: Metric
        if kind == KIND_COUNTER:
            metric = self.scope.counter(name)
        elif kind == KIND_GAUGE:
            metric = self.scope.gauge(name)
            if not metric.used and not metric.imported_used:
                metric.mode = detail
        elif kind == KIND_HISTOGRAM:
            metric = self.scope.histogram(name, detail)
        else:
            metric = self.scope.text_readout(name)
        if not metric.name:
            # Main's stats_matcher does not want it.
            return
        if own_name and not metric.tag_extracted_name:
            metric.own_name, metric.own_tags = own_name, own_tags
        share.metrics[index] = metric
        self.holders[metric] = self.holders.get(metric, 0) + 1

    def import_gauge(self, worker: int, share: WorkerShare, index: int, gauge: Gauge, value: int) -> None:
        gauge.imported_used = True
        if gauge.mode == NEVER_IMPORT:
            values = self.never_import.setdefault(gauge, {})
            values[worker] = value
            gauge.imported = max(values.values())
        else:
            gauge.imported += value - share.gauges.get(index, 0)
            share.gauges[index] = value

    def release(self, worker: int, share: WorkerShare, index: int, *, alive: bool) -> None:
        """One worker less holds a metric."""
        metric = share.metrics.pop(index, None)
        if metric is None:
            return
        if isinstance(metric, Gauge):
            gauge = metric
            gauge.imported -= share.gauges.pop(index, 0)
            values = self.never_import.get(gauge)
            if values is not None and values.pop(worker, None) is not None:
                gauge.imported = max(values.values(), default=0)
        count = self.holders[metric] - 1
        if count or not alive:
            self.holders[metric] = count
        else:
            del self.holders[metric]
            if isinstance(metric, Gauge):
                self.never_import.pop(metric, None)
            self.scope.drop(metric)
