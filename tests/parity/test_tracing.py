"""Tracing: what is propagated upstream, what collectors get, sampling and its statistics, for Zipkin and OpenTelemetry."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from outrider.config import api
from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig, wait_for
from tests.support.http1_message import answer, get

ZIPKIN = f"""
provider:
  name: envoy.tracers.zipkin
  typed_config: {{"@type": {TYPE}config.trace.v3.ZipkinConfig, collector_cluster: collector, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON%s}}
"""
OTEL = f"""
provider:
  name: envoy.tracers.opentelemetry
  typed_config:
    "@type": {TYPE}config.trace.v3.OpenTelemetryConfig
    service_name: svc
    http_service: {{http_uri: {{uri: "http://collector.test/v1/traces", cluster: collector, timeout: 1s}}}}
    resource_detectors: [{{name: static, typed_config: {{"@type": {TYPE}extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig, attributes: {{a: b}}}}}}]
"""
TAGS = """
custom_tags:
- {tag: lit, literal: {value: v}}
- {tag: head, request_header: {name: x-a, default_value: d}}
- {tag: none, request_header: {name: x-nope}}
- {tag: env, environment: {name: OUTRIDER_NOPE, default_value: e}}
- {tag: meta, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: k}]}}}
- {tag: form, value: "%PROTOCOL%"}
"""
HOSTS = """
- name: all
  domains: ["*"]
  routes:
  - {match: {prefix: /dec}, decorator: {operation: decorated}, route: {cluster: up}, metadata: {filter_metadata: {ns: {k: mv}}}}
  - {match: {prefix: /quiet}, decorator: {operation: quiet, propagate: false}, route: {cluster: up}}
  - {match: {prefix: /never}, tracing: {overall_sampling: {numerator: 0}}, route: {cluster: up}}
  - {match: {prefix: /direct}, direct_response: {status: 500, body: {inline_string: broken}}}
  - {match: {prefix: /}, route: {cluster: up}}
"""
EGRESS = "traffic_direction: OUTBOUND"


def traced(name: str, provider: str, extra: str = "", tracing: str = "", **rest: Any) -> dict[str, object]:
    options = "tracing:\n" + "\n".join("  " + line for line in (provider + TAGS + tracing).strip().splitlines())
    return http(name, HOSTS, options=options + "\n" + extra, log=[], **rest)


GROUP = SideConfig(
    bootstrap(
        [
            traced("zipkin", ZIPKIN % ""),
            traced("zipkin_out", ZIPKIN % ", shared_span_context: false, trace_id_128bit: true", listener_options=EGRESS),
            traced("zipkin_spawn", ZIPKIN % "", tracing="spawn_upstream_span: true\n"),
            traced("otel", OTEL),
            traced("otel_out", OTEL, listener_options=EGRESS),
            traced("otel_spawn", OTEL, tracing="spawn_upstream_span: true\nmax_path_tag_length: 5\n"),
            traced("named", OTEL, tracing='operation: "op %REQ(:METHOD)%"\nno_context_propagation: true\n'),
            traced("internal", OTEL, "use_remote_address: true\n"),
            traced("unsampled", OTEL, tracing="random_sampling: {value: 0}\n"),
        ],
        [cluster("up"), cluster("collector")],
        """
node: {id: nid, cluster: ncl}
layered_runtime: {layers: [{name: base, static_layer: {tracing.zipkin.min_flush_spans: 1, tracing.opentelemetry.min_flush_spans: 1}}]}
""",
    )
)
B3 = [("x-b3-traceid", "463ac35c9f6413ad"), ("x-b3-spanid", "a2fb4a1d1a96d312"), ("x-b3-sampled", "1")]
W3C = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", "a=b")]
W3C_NOT = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")]

# Listener, path, request headers, spans that are sent, answer headers of the upstream.
CASES: list[tuple[str, str, list[tuple[str, str]], int, list[tuple[str, str]]]] = [
    ("zipkin", "/", [("x-a", "1")], 1, []),
    ("zipkin", "/dec", B3, 1, []),
    ("zipkin", "/", [("x-b3-sampled", "0")], 0, []),
    ("zipkin", "/", [("b3", "463ac35c9f6413ad-a2fb4a1d1a96d312-1")], 1, []),
    ("zipkin", "/direct", [], 1, []),
    ("zipkin_out", "/dec", [], 1, []),
    ("zipkin_out", "/", B3, 1, []),
    ("zipkin_out", "/", [("b3", "463ac35c9f6413ad-a2fb4a1d1a96d312-1")], 1, []),
    ("zipkin_spawn", "/", B3, 2, []),
    ("otel", "/a?b", [("x-a", "1"), ("user-agent", "me")], 1, []),
    ("otel", "/dec", W3C, 1, []),
    ("otel", "/dec", [("x-envoy-decorator-operation", "theirs")], 1, []),
    ("otel", "/quiet", [], 1, []),
    ("otel", "/", W3C_NOT, 0, []),
    ("otel", "/never", [], 0, []),
    ("otel", "/direct", [], 1, []),
    ("otel_out", "/dec", [], 1, []),
    ("otel_out", "/", W3C, 1, [("x-envoy-decorator-operation", "answered")]),
    ("otel_spawn", "/long/path", W3C, 2, []),
    ("named", "/", W3C, 1, []),
    ("internal", "/", [("x-client-trace-id", "c")], 1, []),
    ("unsampled", "/", [], 0, []),
    ("unsampled", "/", [("x-client-trace-id", "c")], 1, []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}{case[1]}-{len(case[2])}-{case[3]}")
def test_tracing(pair: Pair, case: tuple[str, str, list[tuple[str, str]], int, list[tuple[str, str]]]) -> None:
    listener, path, headers, count, answers = case
    for side in pair.sides:
        for upstream in side.upstreams.values():
            upstream.drop_connections()
    status = 500 if path == "/direct" else 200
    spans = Case(
        "trace", get(path, "test", *headers), status, listener=listener,
        answers_by={"up": [[answer("200 OK", *answers)]], "collector": [[answer("202 Accepted")]] * 4},
    )  # fmt: skip
    reports = pair._each(lambda side: report(side, spans, count))
    assert reports[0].count("span ") == count, reports[0]
    pair.same(reports, "trace")


def report(side: Side, case: Case, count: int) -> str:
    """Response, what the upstream got and what the collector got, with ids by the order in which they appear."""
    transcript = side.run(case)
    collector = side.upstreams["collector"]
    if count:
        assert wait_for(lambda: sum(span_count(each.raw) for each in collector.records() if each.complete) >= count, 8), side.kind
    lines = [transcript.received.decode("latin-1")] if hasattr(transcript, "received") else []
    for record in side.upstreams["up"].records():
        lines += sorted(record.raw.decode("latin-1").splitlines())
    spans = [span for each in collector.records() for span in spans_of(each.raw)]
    lines += [f"span {json.dumps(span, sort_keys=True)}" for span in sorted(spans, key=lambda span: str(span["kind"]))]
    return named_ids("\n".join(lines))


def body_of(raw: bytes) -> bytes:
    head, _, rest = raw.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head:
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        rest = rest[length + 2 :]
    return body


def span_count(raw: bytes) -> int:
    return len(spans_of(raw))


def spans_of(raw: bytes) -> list[dict[str, Any]]:
    body = body_of(raw)
    if b"application/json" in raw:
        spans: list[dict[str, Any]] = json.loads(body)
        for span in spans:
            del span["timestamp"], span["duration"]
            span["annotations"] = sorted(each["value"] for each in span["annotations"])
            # 192.0.2.x: the address of the machine.
            span["localEndpoint"].pop("ipv4", None)
        return spans
    request: Any = api.new("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest")
    request.ParseFromString(body)
    found: list[dict[str, Any]] = []
    for resource in request.resource_spans:
        about = sorted(f"{each.key}={each.value.string_value}" for each in resource.resource.attributes)
        for span in resource.scope_spans[0].spans:
            found.append(
                {
                    "name": span.name, "kind": span.kind, "flags": span.flags, "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(), "parent": span.parent_span_id.hex(), "state": span.trace_state,
                    "status": span.status.code,
                    "tags": {each.key: each.value.string_value for each in span.attributes},
                    "resource": [each for each in about if not each.startswith("telemetry.sdk.version")],
                    "scope": resource.scope_spans[0].scope.name,
                }
            )  # fmt: skip
    return found


def named_ids(text: str) -> str:
    known: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        return known.setdefault(match[0], f"id{len(known)}")

    return re.sub(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b", name, text)


def test_statistics(pair: Pair) -> None:
    def counters(side: Side) -> str:
        assert side.process is not None
        text = side.process.admin("/stats?filter=tracing").body
        return "\n".join(sorted(line for line in text.splitlines() if not re.search(r"timer_flushed|spans_sent|reports_|^http.admin", line)))

    pair.same([counters(side) for side in pair.sides], "tracing statistics")
