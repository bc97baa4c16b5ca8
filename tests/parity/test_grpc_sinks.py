"""Stats sinks that send to a gRPC service, compared with Envoy: names, kinds, values, buckets."""

from __future__ import annotations

from typing import Any

from outrider.config import api
from tests.parity.harness.config import TYPE, bootstrap, cluster, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig, wait_for
from tests.support.http1_message import get
from tests.support.raw_client import RawClient, Responses

METRICS = "/envoy.service.metrics.v3.MetricsService/StreamMetrics"
OTLP = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
HTTP2 = "{explicit_http_config: {http2_protocol_options: {}}}"
SINKS = f"""
node: {{id: n, cluster: c}}
stats_flush_interval: 0.3s
stats_sinks:
- name: a
  typed_config: {{"@type": {TYPE}config.metrics.v3.MetricsServiceConfig, transport_api_version: V3, emit_tags_as_labels: true, grpc_service: {{envoy_grpc: {{cluster_name: metrics}}}}}}
- name: b
  typed_config: {{"@type": {TYPE}extensions.stat_sinks.open_telemetry.v3.SinkConfig, prefix: pre, grpc_service: {{envoy_grpc: {{cluster_name: otlp}}}}}}
"""
GROUP = SideConfig(
    bootstrap(
        [http("main")],
        [cluster("up"), cluster("metrics", "<<grpc:metrics>>", protocol=HTTP2), cluster("otlp", "<<grpc:otlp>>", protocol=HTTP2)],
        str(parse(SINKS)),
    )
)
# By tag-extracted name and tags.
WANTED = {
    ("http.downstream_rq_total", "main"), ("http.downstream_rq_xx", "main"), ("http.downstream_rq_active", "main"),
    ("cluster.upstream_rq_total", "up"), ("cluster.membership_total", "up"), ("cluster.upstream_rq", "up"),
}  # fmt: skip
HISTOGRAM = ("http.downstream_rq_time", "main")


def requests(side: Side) -> None:
    side.run_upstreams(())
    client = RawClient(("127.0.0.1", side.port_of("port:main")))
    try:
        client.run([get("/"), Responses(1), get("/"), Responses(2), get("/"), Responses(3)])
    finally:
        client.close()


def owner_of(tags: tuple[tuple[str, str], ...]) -> str:
    """The cluster or the connection manager."""
    return next((value for name, value in tags if name in ("envoy.cluster_name", "envoy.http_conn_manager_prefix")), "")


def prometheus(side: Side) -> tuple[dict[Any, Any], Any]:
    """Values of the last flush that has any, and the shape of a histogram."""
    values: dict[Any, Any] = {}
    shape = None
    for message in side.grpc["metrics"].server.messages(METRICS):
        decoded: Any = api.new("envoy.service.metrics.v3.StreamMetricsMessage")
        decoded.ParseFromString(message)
        for family in decoded.envoy_metrics:
            (metric,) = family.metric
            labels = tuple(sorted((label.name, label.value) for label in metric.label))
            key = (family.name, owner_of(labels))
            if key in WANTED:
                values[(family.name, family.type, labels)] = metric.counter.value if family.type == 0 else metric.gauge.value
            elif key == HISTOGRAM and family.type == 4:
                shape = (labels, [bucket.upper_bound for bucket in metric.histogram.bucket], metric.histogram.sample_count)
    return values, shape


def otlp(side: Side) -> tuple[dict[Any, Any], Any]:
    values: dict[Any, Any] = {}
    shape = None
    for message in side.grpc["otlp"].server.messages(OTLP):
        decoded: Any = api.new("opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest")
        decoded.ParseFromString(message)
        for metric in decoded.resource_metrics[0].scope_metrics[0].metrics:
            kind = metric.WhichOneof("data")
            data = getattr(metric, kind)
            (point,) = data.data_points
            tags = tuple(sorted((each.key, each.value.string_value) for each in point.attributes))
            key = (metric.name.removeprefix("pre."), owner_of(tags))
            if key in WANTED:
                extra = (data.is_monotonic, data.aggregation_temporality) if kind == "sum" else ()
                values[(metric.name, kind, tags, extra)] = point.as_int
            elif key == HISTOGRAM:
                shape = (tags, list(point.explicit_bounds), len(point.bucket_counts), sum(point.bucket_counts), point.count, data.aggregation_temporality)
    return values, shape


def test_metrics_service(pair: Pair) -> None:
    for side in pair.sides:
        requests(side)
    found = []
    for side in pair.sides:
        assert wait_for(lambda side=side: prometheus(side)[1] is not None and prometheus(side)[1][2] >= 3, 10), side.kind
        found.append(prometheus(side))
    assert len(found[0][0]) == len(WANTED)
    assert all(each == found[0] for each in found), found


def test_open_telemetry(pair: Pair) -> None:
    found = []
    for side in pair.sides:
        assert wait_for(lambda side=side: otlp(side)[1] is not None and otlp(side)[1][4] >= 3, 10), side.kind
        found.append(otlp(side))
    assert len(found[0][0]) == len(WANTED)
    assert all(each == found[0] for each in found), found
