"""`/stats/prometheus`: the Prometheus text exposition format 0.0.4, in Envoy's way.

Names get the prefix `envoy_`, everything but letters, digits and `_` becomes `_`; tags are labels.
All stats of one tag-extracted name stand together under one TYPE line.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from outrider.stats.bins import QUANTILES
from outrider.stats.metrics import Counter, Gauge, Histogram, Metric, Tags, TextReadout
from outrider.stats.numbers import shortest, thirty_two_digits
from outrider.stats.query import BucketsMode, StatsQuery
from outrider.stats.statistics import HistogramStatistics
from outrider.stats.store import Store
from outrider.stats.tags import TagProducer

UNFIT: Final = re.compile(r"[^a-zA-Z0-9_]")

# Stats per yielded piece.
CHUNK: Final = 500

SUMMARY_MODES: Final = (BucketsMode.SUMMARY, BucketsMode.NONE)

QUANTILE_LABELS: Final = tuple(f'quantile="{shortest(quantile)}"' for quantile in QUANTILES)


def render_prometheus(store: Store, query: StatsQuery, producer: TagProducer) -> Iterator[str]:
    """The body of `/stats/prometheus`, in pieces; some are empty while stats are being sorted.

    `type=` is not honoured, as in Envoy. Call `query.check()` first.
    """
    yield from render_kind(query.select(store.counters.values()), "counter", query, store, producer)
    yield from render_kind(query.select(store.gauges.values()), "gauge", query, store, producer)
    if query.text_readouts:
        yield from render_kind(query.select(store.text_readouts.values()), "gauge", query, store, producer)
    kind = "summary" if query.buckets in SUMMARY_MODES else "histogram"
    yield from render_kind(query.select(store.histograms.values()), kind, query, store, producer)


def render_kind(
    metrics: Iterable[Metric], kind: str, query: StatsQuery, store: Store, producer: TagProducer
) -> Iterator[str]:
    """All metrics of one Prometheus type, grouped by tag-extracted name."""
    groups: dict[str, list[Metric]] = {}
    for count, metric in enumerate(metrics):
        producer.describe(metric)
        groups.setdefault(metric.tag_extracted_name, []).append(metric)
        if count % CHUNK == CHUNK - 1:
            yield ""
    pieces: list[str] = []
    for name in sorted(groups, key=token_order):
        full = "envoy_" + sanitize(name)
        pieces.append(f"# TYPE {full} {kind}\n")
        group = groups[name]
        if len(group) > 1:
            group.sort(key=metric_order)
        for metric in group:
            pieces.append(metric_lines(full, metric, query, store))
            if len(pieces) >= CHUNK:
                yield "".join(pieces)
                pieces.clear()
    yield "".join(pieces)


def sanitize(name: str) -> str:
    """A name with only the characters that Prometheus allows."""
    return UNFIT.sub("_", name)


def token_order(name: str) -> str:
    """Sort key that compares names token by token: `a.z` comes before `a-b`."""
    return name.replace(".", "\0")


def metric_order(metric: Metric) -> str:
    return token_order(metric.name)


def escape(value: str) -> str:
    """A label value within quotes."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value


def labels_text(tags: Tags) -> str:
    return ",".join([f'{sanitize(tag)}="{escape(value)}"' for tag, value in tags])


def metric_lines(name: str, metric: Metric, query: StatsQuery, store: Store) -> str:
    """The sample lines of one metric."""
    labels = labels_text(metric.tags)
    if isinstance(metric, Counter):
        return f"{name}{{{labels}}} {metric.value}\n"
    if isinstance(metric, Gauge):
        return f"{name}{{{labels}}} {metric.total()}\n"
    if isinstance(metric, TextReadout):
        comma = "," if labels else ""
        return f'{name}{{{labels}{comma}text_value="{escape(metric.text())}"}} 0\n'
    assert isinstance(metric, Histogram)
    if query.buckets in SUMMARY_MODES:
        return summary_lines(name, labels, HistogramStatistics.interval(metric))
    return histogram_lines(name, labels, HistogramStatistics.cumulative(metric), store.policy.buckets(metric.name))


def histogram_lines(name: str, labels: str, statistics: HistogramStatistics, bounds: tuple[float, ...]) -> str:
    """A histogram of everything so far."""
    lead = labels + "," if labels else ""
    count = statistics.count()
    lines = [
        f'{name}_bucket{{{lead}le="{thirty_two_digits(bound)}"}} {below}\n'
        for bound, below in zip(bounds, statistics.buckets(bounds), strict=True)
    ]
    lines.append(f'{name}_bucket{{{lead}le="+Inf"}} {count}\n')
    lines.append(f"{name}_sum{{{labels}}} {thirty_two_digits(statistics.sum())}\n")
    lines.append(f"{name}_count{{{labels}}} {count}\n")
    return "".join(lines)


def summary_lines(name: str, labels: str, statistics: HistogramStatistics) -> str:
    """A summary of the last interval."""
    lead = labels + "," if labels else ""
    lines = [
        f"{name}{{{lead}{label}}} {thirty_two_digits(value)}\n"
        for label, value in zip(QUANTILE_LABELS, statistics.quantiles(), strict=True)
    ]
    lines.append(f"{name}_sum{{{labels}}} {thirty_two_digits(statistics.sum())}\n")
    lines.append(f"{name}_count{{{labels}}} {statistics.count()}\n")
    return "".join(lines)
