"""`/stats?format=json`, in Envoy's shapes."""

import json
from collections.abc import Iterator

from outrider.stats.metrics import Counter, Gauge, Histogram
from outrider.stats.numbers import json_number
from outrider.stats.query import BucketsMode, StatsQuery, metric_name
from outrider.stats.statistics import HistogramStatistics
from outrider.stats.store import Store
from outrider.stats.text import CHUNK, PERCENTILE_NAMES

QUANTILE_LIST = "[" + ",".join(PERCENTILE_NAMES) + "]"


def render_json(store: Store, query: StatsQuery) -> Iterator[str]:
    """The body of `/stats?format=json`, in pieces."""
    yield '{"stats":['
    comma = ""
    for readout in sorted(query.readouts(store), key=metric_name):
        yield f'{comma}{{"name":{quote(readout.name)},"value":{quote(readout.text())}}}'
        comma = ","
    numbers: list[Counter | Gauge] = [*query.counters(store), *query.gauges(store)]
    numbers.sort(key=metric_name)
    for start in range(0, len(numbers), CHUNK):
        yield comma + ",".join([number_object(metric) for metric in numbers[start : start + CHUNK]])
        comma = ","
    histograms = sorted(query.histograms(store), key=metric_name)
    if histograms:
        before, after = frame(query.buckets)
        yield f'{comma}{{"histograms":{before}'
        comma = ""
        for histogram in histograms:
            yield comma + histogram_object(histogram, query.buckets, store)
            comma = ","
        yield after + "}"
    yield "]}"


def quote(text: str) -> str:
    """A JSON string; other than ASCII stays as it is."""
    return json.dumps(text, ensure_ascii=False)


def number_object(metric: Counter | Gauge) -> str:
    value = metric.value if isinstance(metric, Counter) else metric.total()
    return f'{{"name":{quote(metric.name)},"value":{value}}}'


def frame(mode: BucketsMode | None) -> tuple[str, str]:
    """What comes before and after the list of histograms."""
    if mode in (BucketsMode.CUMULATIVE, BucketsMode.DISJOINT):
        return "[", "]"
    if mode is BucketsMode.DETAILED:
        return f'{{"supported_percentiles":{QUANTILE_LIST},"details":[', "]}"
    return f'{{"supported_quantiles":{QUANTILE_LIST},"computed_quantiles":[', "]}"


def histogram_object(histogram: Histogram, mode: BucketsMode | None, store: Store) -> str:
    """One histogram in the way `histogram_buckets` asks for."""
    name = quote(histogram.name)
    interval = HistogramStatistics.interval(histogram)
    cumulative = HistogramStatistics.cumulative(histogram)
    if mode in (BucketsMode.CUMULATIVE, BucketsMode.DISJOINT):
        buckets = buckets_array(interval, cumulative, mode, store.policy.buckets(histogram.name))
        return f'{{"name":{name},"buckets":[{buckets}]}}'
    if mode is BucketsMode.DETAILED:
        return (
            f'{{"name":{name},"totals":[{details_array(cumulative)}],"intervals":[{details_array(interval)}],'
            f'"percentiles":[{quantiles_array(interval, cumulative)}]}}'
        )
    return f'{{"name":{name},"values":[{quantiles_array(interval, cumulative)}]}}'


def quantiles_array(interval: HistogramStatistics, cumulative: HistogramStatistics) -> str:
    return ",".join(
        f'{{"cumulative":{json_number(total)},"interval":{json_number(recent)}}}'
        for recent, total in zip(interval.quantiles(), cumulative.quantiles(), strict=True)
    )


def buckets_array(
    interval: HistogramStatistics, cumulative: HistogramStatistics, mode: BucketsMode, bounds: tuple[float, ...]
) -> str:
    if mode is BucketsMode.DISJOINT:
        recent, total = interval.disjoint_buckets(bounds), cumulative.disjoint_buckets(bounds)
    else:
        recent, total = interval.buckets(bounds), cumulative.buckets(bounds)
    return ",".join(
        f'{{"upper_bound":{json_number(bound)},"interval":{a},"cumulative":{b}}}'
        for bound, a, b in zip(bounds, recent, total, strict=True)
    )


def details_array(statistics: HistogramStatistics) -> str:
    return ",".join(
        f'{{"lower_bound":{json_number(left)},"width":{json_number(width)},"count":{count}}}'
        for left, width, count in statistics.details()
    )
