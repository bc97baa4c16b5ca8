"""envoy.stat_sinks.metrics_service: everything, as Prometheus metrics, over one gRPC stream.

Source: Envoy documentation, `MetricsServiceConfig`; Envoy's `GrpcMetricsStreamerImpl`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.extensions.access_loggers.batch import Envelope, StreamTransport
from outrider.extensions.access_loggers.identity import node_of
from outrider.grpc.factory import grpc_client
from outrider.stats.bins import QUANTILES
from outrider.stats.flush import FlushSnapshot, StatsSink
from outrider.stats.metrics import Histogram, Metric
from outrider.stats.sink_registry import STATS_SINKS
from outrider.stats.statistics import HistogramStatistics

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.config.metrics.v3.MetricsServiceConfig"
SERVICE: Final = "envoy.service.metrics.v3.MetricsService"
METHOD: Final = "StreamMetrics"
_FAMILY: Final = "io.prometheus.client.MetricFamily"
# MetricType
_COUNTER: Final = 0
_GAUGE: Final = 1
_SUMMARY: Final = 2
_HISTOGRAM: Final = 4


class MetricsEnvelope(Envelope):
    def __init__(self, context: FactoryContext) -> None:
        self.context = context

    def wrap(self, entries: list[bytes], first: bool) -> bytes:
        message: Any = api.new("envoy.service.metrics.v3.StreamMetricsMessage")
        if first:
            message.identifier.node.CopyFrom(node_of(self.context))
        for entry in entries:
            message.envoy_metrics.add().MergeFromString(entry)
        return message.SerializeToString()  # type: ignore[no-any-return]


class MetricsServiceSink(StatsSink):
    __slots__ = ("context", "transport", "deltas", "labels", "summaries", "histograms", "batch_size")

    def __init__(self, config: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        service = config.message("grpc_service")
        if service is None:
            raise config.error("value is required", "grpc_service")
        if config.enum("transport_api_version") not in ("AUTO", "V3"):
            raise config.error("only V3 is spoken", "transport_api_version")
        self.context = context
        client = grpc_client(service, context, must_exist=True)
        self.transport = StreamTransport(client, SERVICE, METHOD, MetricsEnvelope(context))
        self.deltas = config.flag("report_counters_as_deltas")
        self.labels = config.flag("emit_tags_as_labels")
        mode = config.enum("histogram_emit_mode")
        self.summaries = mode != "HISTOGRAM"
        self.histograms = mode != "SUMMARY"
        # Metrics in a message; 0 = all of them.
        self.batch_size = config.integer("batch_size")

    def flush(self, snapshot: FlushSnapshot) -> None:
        now_ms = time.time_ns() // 1_000_000
        entries: list[bytes] = []
        for counter, increment in snapshot.counters:
            family, metric = self._family(counter, _COUNTER, snapshot, now_ms)
            metric.counter.value = increment if self.deltas else counter.value
            entries.append(family.SerializeToString())
        for gauge in snapshot.gauges:
            family, metric = self._family(gauge, _GAUGE, snapshot, now_ms)
            metric.gauge.value = gauge.total()
            entries.append(family.SerializeToString())
        for histogram in snapshot.histograms:
            if self.summaries:
                entries.append(self._summary(histogram, snapshot, now_ms))
            if self.histograms:
                entries.append(self._histogram(histogram, snapshot, now_ms))
        size = self.batch_size or len(entries)
        for start in range(0, len(entries), max(size, 1)):
            if not self.transport.send(entries[start : start + size]):
                # The service is slow: the next flush has newer numbers.
                return

    def _family(self, metric: Metric, kind: int, snapshot: FlushSnapshot, now_ms: int) -> tuple[Any, Any]:
        family: Any = api.new(_FAMILY)
        family.type = kind
        made = family.metric.add()
        made.timestamp_ms = now_ms
        if self.labels:
            snapshot.producer.describe(metric)
            family.name = metric.tag_extracted_name
            for name, value in metric.tags:
                made.label.add(name=name, value=value)
        else:
            family.name = metric.name
        return family, made

    def _summary(self, histogram: Histogram, snapshot: FlushSnapshot, now_ms: int) -> bytes:
        family, metric = self._family(histogram, _SUMMARY, snapshot, now_ms)
        statistics = HistogramStatistics.interval(histogram)
        metric.summary.sample_count = statistics.count()
        metric.summary.sample_sum = statistics.sum()
        for quantile, value in zip(QUANTILES, statistics.quantiles(), strict=True):
            metric.summary.quantile.add(quantile=quantile, value=value)
        return family.SerializeToString()  # type: ignore[no-any-return]

    def _histogram(self, histogram: Histogram, snapshot: FlushSnapshot, now_ms: int) -> bytes:
        family, metric = self._family(histogram, _HISTOGRAM, snapshot, now_ms)
        statistics = HistogramStatistics.cumulative(histogram)
        metric.histogram.sample_count = statistics.count()
        metric.histogram.sample_sum = statistics.sum()
        bounds = self.context.root_scope.root().policy.buckets(histogram.name)
        for bound, count in zip(bounds, statistics.buckets(bounds), strict=True):
            metric.histogram.bucket.add(upper_bound=bound, cumulative_count=count)
        return family.SerializeToString()  # type: ignore[no-any-return]

    def close(self) -> None:
        stream = self.transport.stream
        self.transport.stream = None
        if stream is not None:
            stream.reset()


@STATS_SINKS.register("envoy.stat_sinks.metrics_service", TYPE, "envoy.metrics_service")
def create(config: View, context: FactoryContext) -> StatsSink:
    """Raises ConfigError."""
    return MetricsServiceSink(config, context)
