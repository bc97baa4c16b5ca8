"""`/stats` as text: one line per stat, by kind and name."""

from collections.abc import Iterator

from outrider.stats.bins import QUANTILES
from outrider.stats.metrics import Counter, Gauge, Histogram
from outrider.stats.numbers import fifteen_digits, shortest, six_digits
from outrider.stats.query import BucketsMode, StatsQuery, metric_name
from outrider.stats.statistics import HistogramStatistics
from outrider.stats.store import Store

# Stats per yielded piece: a few tens of kilobytes, under a millisecond of work.
CHUNK = 500

PERCENTILE_NAMES = tuple(shortest(quantile * 100) for quantile in QUANTILES)


def render_text(store: Store, query: StatsQuery) -> Iterator[str]:
    """The body of `/stats`, in pieces; the caller may let other work run between them."""
    readouts = sorted(query.readouts(store), key=metric_name)
    for start in range(0, len(readouts), CHUNK):
        yield "".join([f'{readout.name}: "{readout.text()}"\n' for readout in readouts[start : start + CHUNK]])
    numbers: list[Counter | Gauge] = [*query.counters(store), *query.gauges(store)]
    numbers.sort(key=metric_name)
    for start in range(0, len(numbers), CHUNK):
        yield "".join([number_line(metric) for metric in numbers[start : start + CHUNK]])
    for histogram in sorted(query.histograms(store), key=metric_name):
        yield histogram_text(histogram, query.buckets, store)


def number_line(metric: Counter | Gauge) -> str:
    return f"{metric.name}: {metric.value if isinstance(metric, Counter) else metric.total()}\n"


def histogram_text(histogram: Histogram, mode: BucketsMode | None, store: Store) -> str:
    """One histogram in the way `histogram_buckets` asks for."""
    if not histogram.used():
        return f"{histogram.name}: No recorded values\n"
    interval = HistogramStatistics.interval(histogram)
    cumulative = HistogramStatistics.cumulative(histogram)
    if mode in (BucketsMode.CUMULATIVE, BucketsMode.DISJOINT):
        return f"{histogram.name}: {buckets_text(interval, cumulative, mode, store.policy.buckets(histogram.name))}\n"
    if mode is BucketsMode.DETAILED:
        return (
            f"{histogram.name}:\n  totals={details_text(cumulative)}\n  intervals={details_text(interval)}\n"
            f"  summary={summary_text(interval, cumulative)}\n"
        )
    return f"{histogram.name}: {summary_text(interval, cumulative)}\n"


def summary_text(interval: HistogramStatistics, cumulative: HistogramStatistics) -> str:
    """`P50(interval,cumulative)` for each quantile."""
    return " ".join(
        f"P{name}({shortest(recent)},{shortest(total)})"
        for name, recent, total in zip(PERCENTILE_NAMES, interval.quantiles(), cumulative.quantiles(), strict=True)
    )


def buckets_text(
    interval: HistogramStatistics, cumulative: HistogramStatistics, mode: BucketsMode, bounds: tuple[float, ...]
) -> str:
    """`B25(interval,cumulative)` for each bucket."""
    if mode is BucketsMode.DISJOINT:
        recent, total = interval.disjoint_buckets(bounds), cumulative.disjoint_buckets(bounds)
    else:
        recent, total = interval.buckets(bounds), cumulative.buckets(bounds)
    return " ".join(f"B{six_digits(bound)}({a},{b})" for bound, a, b in zip(bounds, recent, total, strict=True))


def details_text(statistics: HistogramStatistics) -> str:
    """`lower bound,width:count` for each bin."""
    return ", ".join(
        f"{fifteen_digits(left)},{fifteen_digits(width)}:{count}" for left, width, count in statistics.details()
    )
