"""Access loggers that send entries to a service, compared with Envoy."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, http, listener, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post
from tests.support.raw_client import Contains, ShutdownWrite
from tests.support.upstream import ResetNow

ALS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
OTLP = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
HTTP2 = "{explicit_http_config: {http2_protocol_options: {}}}"
COMMON = "log_name: mylog, grpc_service: {envoy_grpc: {cluster_name: als}}, transport_api_version: V3, buffer_size_bytes: 1, buffer_flush_interval: 0.2s"
OTEL = "grpc_service: {envoy_grpc: {cluster_name: als}}, buffer_size_bytes: 1, buffer_flush_interval: 0.2s"


def log(kind: str, text: str) -> Json:
    return {"name": "log", "typed_config": {"@type": TYPE + f"extensions.access_loggers.{kind}", **parse(f"{{{text}}}")}}


def grpc_http(text: str = "", common: str = "") -> Json:
    return log("grpc.v3.HttpGrpcAccessLogConfig", f"common_config: {{{COMMON}{common}}}{text}")


def otel(text: str = "") -> Json:
    return log("open_telemetry.v3.OpenTelemetryAccessLogConfig", OTEL + text)


def tcp(name: str, access_log: Json) -> Json:
    config = {"@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": "up", "access_log": [access_log]}
    return listener(name, {"name": "tcp", "typed_config": config})


SET_METADATA = {
    "name": "md",
    "typed_config": {
        "@type": TYPE + "extensions.filters.http.set_metadata.v3.Config",
        "metadata": [{"metadata_namespace": "m.ns", "value": {"k": "v", "n": {"l": [True]}}}],
    },
}
SET_STATE = {
    "name": "state",
    "typed_config": {
        "@type": TYPE + "extensions.filters.http.set_filter_state.v3.Config",
        "on_request_headers": [{"object_key": "my.key", "factory_key": "envoy.string", "format_string": {"text_format_source": {"inline_string": "stored"}}}],
    },
}
GROUP = SideConfig(
    bootstrap(
        [
            http("plain", log=[grpc_http()]),
            http("more", filters=[SET_METADATA, SET_STATE], log=[grpc_http(", additional_request_headers_to_log: [x-a, X-B], additional_response_headers_to_log: [x-c], additional_response_trailers_to_log: [x-t]", ", filter_state_objects_to_log: [my.key, none]")]),
            http("tags", filters=[SET_METADATA], log=[grpc_http("", ", custom_tags: [{tag: lit, literal: {value: l}}, {tag: hdr, request_header: {name: x-a, default_value: d}}, {tag: none, request_header: {name: x-none}}, {tag: env, environment: {name: NOPE, default_value: e}}, {tag: md, metadata: {kind: {request: {}}, metadata_key: {key: m.ns, path: [{key: k}]}}}]")]),
            http("otel", log=[otel()]),
            http("otel_http", log=[log("open_telemetry.v3.OpenTelemetryAccessLogConfig", "http_service: {http_uri: {uri: 'http://collector.test:4318/v1/logs', cluster: collector, timeout: 1s}, request_headers_to_add: [{header: {key: X-Key, value: k}}]}, buffer_size_bytes: 1, body: {string_value: hello}, disable_builtin_labels: true")]),
            http("otel_more", filters=[SET_METADATA, SET_STATE], log=[otel(", log_name: l, body: {string_value: 'm=%REQ(:METHOD)% %RESPONSE_CODE%'}, attributes: {values: [{key: a, value: {string_value: '%REQ(X-A)%'}}, {key: deep, value: {kvlist_value: {values: [{key: p, value: {string_value: '%PROTOCOL%'}}]}}}, {key: arr, value: {array_value: {values: [{string_value: x}, {string_value: y}]}}}]}, resource_attributes: {values: [{key: r, value: {string_value: s}}]}, custom_tags: [{tag: lit, literal: {value: l}}], filter_state_objects_to_log: [my.key]")]),
            http("otel_bare", log=[otel(", disable_builtin_labels: true")]),
            tcp("tcp", log("grpc.v3.TcpGrpcAccessLogConfig", f"common_config: {{{COMMON}}}")),
        ],
        [cluster("up"), cluster("collector"), cluster("als", "<<grpc:als>>", protocol=HTTP2)],
        "{node: {id: n, cluster: c, locality: {region: r, zone: z}, metadata: {a: b}}}",
    )
)
REPLACE = [
    (r"seconds: \d+\n", "seconds\n"), (r"nanos: \d+\n", "nanos\n"), (r"port_value: [3-6]\d{4}\n", "port\n"), (r"^grpc-timeout: .*$", "grpc-timeout"),
    (r"_unix_nano: \d+\n", "nano\n"), (r"  seconds\n", ""), (r'stream_id: ".*"\n', "stream_id\n"), (r"_wire_bytes_\w+: \d+\n", "wire\n"),
    (r"upstream_header_bytes_received: \d+\n", "ms\n"),
    # Header bytes of HTTP/1 are counted otherwise by Envoy's codec.
    (r"(upstream_header_bytes_sent|downstream_header_bytes_received): \d+\n", "head\n"),
    (r"response_headers_bytes: \d+\n", "ms\n"), (r"downstream_header_bytes_sent: \d+\n", "ms\n"),
]  # fmt: skip


def case(name: str, send: Any, status: int | None, listener: str = "plain", **more: Any) -> Case:
    return Case(name, send, status, listener=listener, grpc={ALS: [b""], OTLP: [b""]}, replace=REPLACE, ignore_stats=[r"^cluster\.als\."], settle=1.0, logs=0, **more)


CASES = [
    case("get", get("/a?b", "test", ("user-agent", "ua"), ("referer", "http://r/"), ("x-forwarded-for", "1.2.3.4")), 200),
    case("second", get("/again"), 200),
    case("post", post("/", "test", body=b"abcdef"), 200),
    case("more", get("/", "test", ("x-a", "1"), ("x-a", "2"), ("x-b", "3")), 200, "more", answers=[[answer("200 OK", ("x-c", "4"))]]),
    case("tags", get("/", "test", ("x-a", "1")), 200, "tags"),
    case("reset", get("/"), 503, answers_by={"up": [[ResetNow()]]}),
    case("otel", get("/"), 200, "otel"),
    Case("otel_http", get("/"), 200, listener="otel_http", settle=1.0, logs=0, upstream_sorted=True, replace=[(r"^1a\n[\s\S]*?\n0\n", "26 bytes\n"), (r"^user-agent: OTel-OTLP-Exporter-.*$", "user-agent")], ignore_stats=[r"cluster\.collector\..*_time"]),
    case("otel_more", get("/", "test", ("x-a", "1")), 200, "otel_more"),
    case("otel_bare", get("/"), 200, "otel_bare"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_log(pair: Pair, case: Case) -> None:
    pair.check(case)


def test_tcp(pair: Pair) -> None:
    pair.check(case("tcp", [get("/"), Contains(b"ok"), ShutdownWrite()], 200, "tcp"))


def test_one_stream_only(pair: Pair) -> None:
    """All entries of a worker go over one stream, whose first message alone says who speaks."""
    time.sleep(0.3)
    counts = [len([call for call in side.grpc["als"].server.calls if call.path == ALS]) for side in pair.sides]
    assert all(count == counts[0] for count in counts), counts
