"""What a reader of `/stats` asks for."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, TypeVar

from outrider.stats.metrics import Counter, Gauge, Histogram, Metric, TextReadout
from outrider.stats.policy import compile_re2
from outrider.stats.store import Store


class StatsFormat(Enum):
    """Values of `format=`."""

    TEXT = "text"
    JSON = "json"
    PROMETHEUS = "prometheus"
    HTML = "html"
    ACTIVE_HTML = "active-html"


class StatsType(Enum):
    """Values of `type=`."""

    ALL = "All"
    TEXT_READOUTS = "TextReadouts"
    COUNTERS = "Counters"
    GAUGES = "Gauges"
    HISTOGRAMS = "Histograms"


class BucketsMode(Enum):
    """Values of `histogram_buckets=`."""

    NONE = "none"
    CUMULATIVE = "cumulative"
    DISJOINT = "disjoint"
    DETAILED = "detailed"
    SUMMARY = "summary"
    PROMETHEUS_NATIVE = "prometheusnative"


class Hidden(Enum):
    """Values of `hidden=`."""

    INCLUDE = "include"
    ONLY = "only"
    EXCLUDE = "exclude"


class QueryError(ValueError):
    """A query that Envoy answers with status 400; the message is the body."""


M = TypeVar("M", Counter, Gauge, Histogram, TextReadout)


class StatsQuery:
    """The parameters of `/stats`, parsed."""

    __slots__ = (
        "buckets",
        "filter_text",
        "format",
        "hidden",
        "invert",
        "pattern",
        "text_readouts",
        "type",
        "used_only",
    )

    def __init__(self) -> None:
        self.format = StatsFormat.TEXT
        self.type = StatsType.ALL
        self.used_only = False
        self.hidden = Hidden.EXCLUDE
        # None: not asked for. Prometheus output then has histograms; for `none` it has summaries.
        self.buckets: BucketsMode | None = None
        # Prometheus only: also show text readouts, as gauges.
        self.text_readouts = False
        self.filter_text = ""
        self.pattern: Any = None
        self.invert = False

    @staticmethod
    def parse(params: Mapping[str, str]) -> "StatsQuery":
        """Read query parameters (the first value of each name). Raises QueryError."""
        query = StatsQuery()
        query.used_only = "usedonly" in params
        query.text_readouts = "text_readouts" in params
        query.invert = "invert_filter" in params
        query.filter_text = params.get("filter", "")
        if query.filter_text:
            try:
                query.pattern = compile_re2(query.filter_text)
            except ValueError as error:
                raise QueryError(f"Invalid re2 regex: {error}") from None
        try:
            buckets = params.get("histogram_buckets")
            query.buckets = BucketsMode(buckets) if buckets else None
        except ValueError:
            raise QueryError(
                "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n"
            ) from None
        try:
            query.type = StatsType(params.get("type") or "All")
        except ValueError:
            raise QueryError("invalid &type= param") from None
        try:
            query.hidden = Hidden(params.get("hidden") or "exclude")
        except ValueError:
            raise QueryError("usage: /stats?hidden=(include|only|exclude)\n\n") from None
        try:
            query.format = StatsFormat(params.get("format") or "text")
        except ValueError:
            raise QueryError("usage: /stats?format=(html|active-html|json|prometheus|text)\n\n") from None
        return query

    def check(self) -> None:
        """Refuse combinations that the chosen format cannot show. Raises QueryError."""
        if self.format is not StatsFormat.PROMETHEUS:
            if self.buckets is BucketsMode.PROMETHEUS_NATIVE:
                raise QueryError("Invalid histogram_buckets type for non prometheus stats type")
        elif self.buckets is BucketsMode.PROMETHEUS_NATIVE:
            raise QueryError("unsupported prometheusnative histogram type when not using protobuf exposition format")
        elif self.buckets in (BucketsMode.DISJOINT, BucketsMode.DETAILED):
            raise QueryError("unsupported prometheus histogram bucket mode")

    def wants(self, kind: StatsType) -> bool:
        return self.type is StatsType.ALL or self.type is kind

    def shows_name(self, metric: Metric) -> bool:
        """Whether the name filter and the hidden mode let a metric through."""
        if self.hidden is not Hidden.INCLUDE and metric.hidden is not (self.hidden is Hidden.ONLY):
            return False
        return self.pattern is None or (self.pattern.search(metric.name) is not None) is not self.invert

    def select(self, metrics: Iterable[M]) -> list[M]:
        """The metrics to show, in no particular order."""
        shown = [metric for metric in metrics if self.shows_name(metric)]
        if self.used_only:
            shown = [metric for metric in shown if is_used(metric)]
        return shown

    def counters(self, store: Store) -> list[Counter]:
        return self.select(store.counters.values()) if self.wants(StatsType.COUNTERS) else []

    def gauges(self, store: Store) -> list[Gauge]:
        return self.select(store.gauges.values()) if self.wants(StatsType.GAUGES) else []

    def histograms(self, store: Store) -> list[Histogram]:
        return self.select(store.histograms.values()) if self.wants(StatsType.HISTOGRAMS) else []

    def readouts(self, store: Store) -> list[TextReadout]:
        return self.select(store.text_readouts.values()) if self.wants(StatsType.TEXT_READOUTS) else []


def is_used(metric: Metric) -> bool:
    """Whether a metric was ever written."""
    if isinstance(metric, Gauge):
        return metric.ever_used()
    if isinstance(metric, Counter | Histogram | TextReadout):
        return metric.used()
    return False


def metric_name(metric: Metric) -> str:
    """Sort key: names in byte order."""
    return metric.name
