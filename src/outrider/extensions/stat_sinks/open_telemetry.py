"""envoy.stat_sinks.open_telemetry: everything to an OpenTelemetry collector, by gRPC or HTTP.

Source: Envoy documentation, `stat_sinks.open_telemetry.v3.SinkConfig`; OTLP, "metrics".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import outrider
from outrider.config import api
from outrider.extensions.access_loggers.batch import Envelope, Transport, UnaryTransport
from outrider.extensions.otlp_http import OtlpHttpTransport
from outrider.grpc.factory import grpc_client
from outrider.stats.flush import FlushSnapshot, StatsSink
from outrider.stats.metrics import Histogram, Metric
from outrider.stats.sink_registry import STATS_SINKS
from outrider.stats.statistics import HistogramStatistics

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig"
SERVICE: Final = "opentelemetry.proto.collector.metrics.v1.MetricsService"
METHOD: Final = "Export"
_METRIC: Final = "opentelemetry.proto.metrics.v1.Metric"
# AggregationTemporality
_DELTA: Final = 1
_CUMULATIVE: Final = 2


class OtlpMetricsEnvelope(Envelope):
    """An ExportMetricsServiceRequest."""

    def wrap(self, entries: list[bytes], first: bool) -> bytes:
        message: Any = api.new("opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest")
        metrics = message.resource_metrics.add()
        for key, value in (
            ("telemetry.sdk.name", "envoy"),
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.version", outrider.__version__),
        ):
            attribute = metrics.resource.attributes.add()
            attribute.key = key
            attribute.value.string_value = value
        into = metrics.scope_metrics.add().metrics
        for entry in entries:
            into.add().MergeFromString(entry)
        return message.SerializeToString()  # type: ignore[no-any-return]


class OtlpMetricsSink(StatsSink):
    __slots__ = (
        "context", "transport", "counter_deltas", "histogram_deltas", "tags", "extracted", "prefix", "points",
        "start_ns", "last_ns",
    )  # fmt: skip

    def __init__(self, config: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        self.context = context
        envelope = OtlpMetricsEnvelope()
        http = config.message("http_service")
        service = config.message("grpc_service")
        if http is not None:
            self.transport: Transport = OtlpHttpTransport(http, context, envelope)
        elif service is not None:
            self.transport = UnaryTransport(grpc_client(service, context, must_exist=True), SERVICE, METHOD, envelope)
        else:
            raise config.error("value is required", "protocol_specifier")
        self.counter_deltas = config.flag("report_counters_as_deltas")
        self.histogram_deltas = config.flag("report_histograms_as_deltas")
        self.tags = config.flag("emit_tags_as_attributes", True)
        self.extracted = config.flag("use_tag_extracted_name", True)
        prefix = config.text("prefix")
        self.prefix = f"{prefix}." if prefix else ""
        # Data points in a request; 0 = all of them.
        self.points = config.integer("max_data_points_per_request")
        self.start_ns = self.last_ns = time.time_ns()

    def flush(self, snapshot: FlushSnapshot) -> None:
        now_ns = time.time_ns()
        entries: list[bytes] = []
        for gauge in snapshot.gauges:
            made: Any = self._metric(gauge, snapshot)
            point = made.gauge.data_points.add(time_unix_nano=now_ns, as_int=gauge.total())
            self._describe(point, gauge)
            entries.append(made.SerializeToString())
        for counter, increment in snapshot.counters:
            made = self._metric(counter, snapshot)
            made.sum.is_monotonic = True
            made.sum.aggregation_temporality = _DELTA if self.counter_deltas else _CUMULATIVE
            point = made.sum.data_points.add(
                start_time_unix_nano=self._since(self.counter_deltas), time_unix_nano=now_ns,
                as_int=increment if self.counter_deltas else counter.value,
            )  # fmt: skip
            self._describe(point, counter)
            entries.append(made.SerializeToString())
        for histogram in snapshot.histograms:
            entries.append(self._histogram(histogram, snapshot, now_ns))
        self.last_ns = now_ns
        size = self.points or len(entries)
        for start in range(0, len(entries), max(size, 1)):
            if not self.transport.send(entries[start : start + size]):
                return

    def _since(self, delta: bool) -> int:
        return self.last_ns if delta else self.start_ns

    def _metric(self, metric: Metric, snapshot: FlushSnapshot) -> Any:
        made: Any = api.new(_METRIC)
        snapshot.producer.describe(metric)
        made.name = self.prefix + (metric.tag_extracted_name if self.extracted else metric.name)
        return made

    def _describe(self, point: Any, metric: Metric) -> None:
        if self.tags:
            for name, value in metric.tags:
                attribute = point.attributes.add()
                attribute.key = name
                attribute.value.string_value = value

    def _histogram(self, histogram: Histogram, snapshot: FlushSnapshot, now_ns: int) -> bytes:
        made = self._metric(histogram, snapshot)
        delta = self.histogram_deltas
        made.histogram.aggregation_temporality = _DELTA if delta else _CUMULATIVE
        statistics = HistogramStatistics.interval(histogram) if delta else HistogramStatistics.cumulative(histogram)
        count = statistics.count()
        point = made.histogram.data_points.add(
            start_time_unix_nano=self._since(delta), time_unix_nano=now_ns, count=count, sum=statistics.sum()
        )
        bounds = self.context.root_scope.root().policy.buckets(histogram.name)
        below = 0
        for total in statistics.buckets(bounds):
            point.bucket_counts.append(total - below)
            below = total
        point.bucket_counts.append(count - below)
        point.explicit_bounds.extend(bounds)
        self._describe(point, histogram)
        return made.SerializeToString()  # type: ignore[no-any-return]


@STATS_SINKS.register("envoy.stat_sinks.open_telemetry", TYPE, "envoy.open_telemetry_stat_sink")
def create(config: View, context: FactoryContext) -> StatsSink:
    """Raises ConfigError."""
    return OtlpMetricsSink(config, context)
