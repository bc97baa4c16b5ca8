"""The global rate limit filter, compared with Envoy: what the service is asked, and what its answers do."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

import grpc
from outrider.config import api
from tests.parity.harness.case import Case
from tests.parity.harness.config import LOG_FORMAT, TYPE, bootstrap, cluster, file_log, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get

ASK = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
NAME = "envoy.filters.http.ratelimit"
LOG = [file_log(LOG_FORMAT.rstrip("\n") + " md=%DYNAMIC_METADATA(envoy.filters.http.ratelimit)% own=%DYNAMIC_METADATA(own.ns)%\n")]
ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"


def per_route(text: str) -> str:
    return f'typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, {text}}}}}'


def key(value: str, more: str = "") -> str:
    return f"{{actions: [{{generic_key: {{descriptor_value: {value}}}}}]{more}}}"


ABSENT = "request.headers['x-none']"


def expr(name: str, text: str, skip: str = "false") -> str:
    url = "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
    return f'{{extension: {{name: e, typed_config: {{"@type": {url}, descriptor_key: {name}, skip_if_error: {skip}, text: "{text}"}}}}}}'


HOSTS = f"""
- name: all
  domains: ["*"]
  rate_limits: [{key("vhost")}]
  routes:
  - {{match: {{prefix: /many}}, route: {{cluster: up, rate_limits: [{{actions: [{{source_cluster: {{}}}}, {{destination_cluster: {{}}}}, {{remote_address: {{}}}}]}}, {{actions: [{{request_headers: {{header_name: x-k, descriptor_key: k}}}}]}}, {key("stage1", ", stage: 1")}, {key("hits", ", hits_addend: {number: 7}")}, {key("switched", ", disable_key: switched")}]}}}}
  - {{match: {{prefix: /include}}, route: {{cluster: up, include_vh_rate_limits: true, rate_limits: [{key("route")}]}}}}
  - {{match: {{prefix: /own}}, route: {{cluster: up, rate_limits: [{key("route")}]}}, {per_route("rate_limits: [" + key("own") + "], domain: other")}}}
  - {{match: {{prefix: /vh_include}}, route: {{cluster: up, rate_limits: [{key("route")}]}}, {per_route("vh_rate_limits: INCLUDE")}}}
  - {{match: {{prefix: /vh_ignore}}, route: {{cluster: up}}, {per_route("vh_rate_limits: IGNORE")}}}
  - {{match: {{prefix: /override}}, route: {{cluster: up, rate_limits: [{key("over", ", limit: {dynamic_metadata: {metadata_key: {key: over.ns, path: [{key: limit}]}}}")}, {key("fixed", ", limit: {rate_limit: {requests_per_unit: 5, unit: HOUR}}")}]}}}}
  - {{match: {{prefix: /done}}, route: {{cluster: up, rate_limits: [{key("now")}, {key("done", ", apply_on_stream_done: true")}]}}}}
  - {{match: {{prefix: /fmt}}, route: {{cluster: up, rate_limits: [{key("fmt", ", hits_addend: {format: '%BYTES_RECEIVED%'}")}]}}}}
  - {{match: {{prefix: /near}}, route: {{cluster: up, rate_limits: [{{actions: [{{remote_address_match: {{descriptor_value: near, address_matcher: {{ranges: [{{address_prefix: 127.0.0.0, prefix_len: 8}}]}}}}}}]}}, {{actions: [{{remote_address_match: {{descriptor_key: away, descriptor_value: x, address_matcher: {{ranges: [{{address_prefix: 10.0.0.0, prefix_len: 8}}]}}}}}}]}}, {{actions: [{{remote_address_match: {{descriptor_key: not, descriptor_value: y, address_matcher: {{ranges: [{{address_prefix: 10.0.0.0, prefix_len: 8}}], invert_match: true}}}}}}]}}]}}}}
  - {{match: {{prefix: /expr}}, route: {{cluster: up, rate_limits: [{{actions: [{expr("a", "request.path")}]}}, {{actions: [{expr("n", "size(request.path) + 1")}, {{generic_key: {{descriptor_value: g}}}}]}}, {{actions: [{expr("missing", ABSENT)}]}}, {{actions: [{expr("skipped", ABSENT, "true")}, {{generic_key: {{descriptor_value: h}}}}]}}]}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""
SERVICE = "rate_limit_service: {grpc_service: {envoy_grpc: {cluster_name: rl}}, transport_api_version: V3}, timeout: 1s"
SET_METADATA = {
    "name": "md",
    "typed_config": {
        "@type": TYPE + "extensions.filters.http.set_metadata.v3.Config",
        "metadata": [{"metadata_namespace": "over.ns", "value": {"limit": {"requests_per_unit": 42, "unit": "HOUR"}}}],
    },
}


def limited(name: str, text: str = "", service: str = SERVICE) -> dict[str, object]:
    config = {"@type": TYPE + "extensions.filters.http.ratelimit.v3.RateLimit", **parse(f"{{domain: dom, {service}{text}}}")}
    return http(name, HOSTS, filters=[SET_METADATA, {"name": NAME, "typed_config": config}], log=LOG)


GROUP = SideConfig(
    bootstrap(
        [
            limited("plain"),
            limited("stage", ", stage: 1, stat_prefix: mine"),
            limited("internal", ", request_type: internal"),
            limited("external", ", request_type: external"),
            limited("deny", ", failure_mode_deny: true"),
            limited("deny_status", ", failure_mode_deny: true, status_on_error: {code: ServiceUnavailable}"),
            limited("headers", ", enable_x_ratelimit_headers: DRAFT_VERSION_03, enable_retry_after_header: true"),
            limited("silent", ", disable_x_envoy_ratelimited_header: true, rate_limited_status: {code: ServiceUnavailable}, response_headers_to_add: [{header: {key: x-added, value: '%RESPONSE_CODE%'}}]"),
            limited("grpc", ", rate_limited_as_resource_exhausted: true"),
            limited("observe", ", filter_enforced: {default_value: {numerator: 0}}"),
            limited("disabled", ", filter_enabled: {default_value: {numerator: 0}}"),
            limited("percent", ", failure_mode_deny: true, failure_mode_deny_percent: {default_value: {numerator: 0}}"),
            limited("own", ", rate_limits: [{actions: [{generic_key: {descriptor_value: filter}}]}], metadata_namespace: own.ns"),
            limited("slow", service="rate_limit_service: {grpc_service: {envoy_grpc: {cluster_name: rl}}, transport_api_version: V3}"),
        ],
        [cluster("up"), cluster("rl", "<<grpc:rl>>", protocol="{explicit_http_config: {http2_protocol_options: {}}}")],
        "{layered_runtime: {layers: [{name: s, static_layer: {ratelimit.switched.http_filter_enabled: 0}}]}, node: {id: n, cluster: mycluster}}",
    )
)


def said(text: str) -> list[bytes]:
    """A RateLimitResponse from YAML."""
    message = api.new("envoy.service.ratelimit.v3.RateLimitResponse")
    json_format.ParseDict(parse(text), message, descriptor_pool=api.pool())
    return [message.SerializeToString()]


def case(name: str, send: bytes, status: int | None, reply: str = "{overall_code: OK}", listener: str = "plain", **more: Any) -> Case:
    return Case(
        name, send, status, listener=listener, grpc={ASK: said(reply)}, replace=[(r"^grpc-timeout: \d+.$", "grpc-timeout")],
        ignore_stats=[r"^cluster\.rl\..*_time"], **more,
    )  # fmt: skip


OVER = "overall_code: OVER_LIMIT"
STATUSES = "statuses: [{code: OK, current_limit: {requests_per_unit: 10, unit: MINUTE, name: first}, limit_remaining: 3, duration_until_reset: 30.5s}, {code: OVER_LIMIT, current_limit: {requests_per_unit: 2, unit: HOUR}, limit_remaining: 0, duration_until_reset: 90s}, {code: OK}, {code: OK, current_limit: {requests_per_unit: 7, unit: UNKNOWN}, limit_remaining: 9}]"
ADDS = "response_headers_to_add: [{key: x-resp, value: a}, {key: x-resp, value: b}], request_headers_to_add: [{key: x-req, value: c}, {key: X-Old, value: d}], dynamic_metadata: {k: v, n: 1}"

CASES = [
    case("ok", get("/"), 200),
    case("many", get("/many", "test", ("x-k", "v")), 200),
    case("many_without_header", get("/many"), 200),
    case("include", get("/include"), 200),
    case("per_route", get("/own"), 200),
    case("vh_include", get("/vh_include"), 200),
    case("vh_ignore", get("/vh_ignore"), 200),
    case("override", get("/override"), 200),
    case("address_match", get("/near"), 200),
    case("expression", get("/expr"), 200),
    case("stage", get("/many"), 200, listener="stage"),
    case("stage_none", get("/"), 200, listener="stage"),
    case("own", get("/many"), 200, "{overall_code: OK, dynamic_metadata: {k: v}}", listener="own"),
    case("adds", get("/", "test", ("x-old", "1")), 200, f"{{overall_code: OK, {ADDS}}}", answers=[[answer("200 OK", ("x-resp", "z"))]]),
    case("over", get("/"), 429, f"{{{OVER}}}"),
    case("over_adds", get("/"), 429, f"{{{OVER}, {ADDS}, raw_body: Ym9keQ==}}"),
    case("over_type", get("/"), 429, f"{{{OVER}, response_headers_to_add: [{{key: content-type, value: x/y}}], raw_body: Ym9keQ==}}"),
    case("over_stage", get("/many"), 429, f"{{{OVER}}}", listener="stage"),
    case("over_silent", get("/"), 503, f"{{{OVER}}}", listener="silent"),
    case("over_grpc", get("/", "test", ("content-type", "application/grpc")), 200, f"{{{OVER}}}", listener="grpc"),
    case("over_grpc_plain", get("/", "test", ("content-type", "application/grpc")), 200, f"{{{OVER}}}"),
    case("over_observed", get("/"), 200, f"{{{OVER}}}", listener="observe"),
    case("headers_ok", get("/"), 200, f"{{overall_code: OK, {STATUSES}}}", listener="headers"),
    case("headers_over", get("/"), 429, f"{{{OVER}, {STATUSES}}}", listener="headers"),
    case("headers_none", get("/"), 429, f"{{{OVER}}}", listener="headers"),
    case("unknown", get("/"), None, "{}"),
    case("unknown_deny", get("/"), None, "{}", listener="deny"),
    case("disabled", get("/"), 200, listener="disabled"),
    case("internal_of_external", get("/"), 200, listener="internal"),
    case("external", get("/"), 200, listener="external"),
    case("slow", get("/"), 200, listener="slow"),
    case("bytes_as_hits", get("/fmt"), 200),
    case("stream_done", get("/done"), 200, settle=0.3),
    *(
        Case(name, get("/"), status, listener=listener, grpc={ASK: (grpc.StatusCode.INTERNAL, "x")}, replace=[(r"^grpc-timeout: \d+.$", "grpc-timeout")])
        for name, status, listener in (("error", 200, "plain"), ("error_deny", 500, "deny"), ("error_status", 503, "deny_status"), ("error_percent", 200, "percent"))
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ratelimit(pair: Pair, case: Case) -> None:
    pair.check(case)
