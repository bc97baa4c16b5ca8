"""ext_authz with a gRPC service, compared with Envoy: what the service is asked, and what its answers do."""

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
from tests.support.http1_message import answer, get, post

CHECK = "/envoy.service.auth.v3.Authorization/Check"
LOG = [file_log(LOG_FORMAT.rstrip("\n") + " md=%DYNAMIC_METADATA(envoy.filters.http.ext_authz)% shadow=%FILTER_STATE(envoy.filters.http.ext_authz.shadow:TYPED)% %FILTER_STATE(envoy.filters.http.ext_authz.shadow:PLAIN)% latency=%FILTER_STATE(envoy.filters.http.ext_authz:FIELD:latency_us)% sent=%FILTER_STATE(envoy.filters.http.ext_authz:FIELD:bytesSent)% received=%FILTER_STATE(envoy.filters.http.ext_authz:FIELD:bytesReceived)% plain=%FILTER_STATE(envoy.filters.http.ext_authz:PLAIN)%\n")]
ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
NAME = "envoy.filters.http.ext_authz"
HOSTS = f"""
- name: all
  domains: ["*"]
  typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, check_settings: {{context_extensions: {{vh: one, both: vh}}}}}}}}
  routes:
  - {{match: {{prefix: /off}}, route: {{cluster: up}}, typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, disabled: true}}}}}}
  - {{match: {{prefix: /ext}}, route: {{cluster: up}}, metadata: {{filter_metadata: {{r.ns: {{k: [1, true, x]}}}}}}, typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, check_settings: {{context_extensions: {{a: b, both: route}}}}}}}}}}
  - {{match: {{prefix: /body}}, route: {{cluster: up}}, typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, check_settings: {{with_request_body: {{max_request_bytes: 5, allow_partial_message: true, pack_as_bytes: true}}}}}}}}}}
  - {{match: {{prefix: /other}}, route: {{cluster: up}}, typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, check_settings: {{grpc_service: {{envoy_grpc: {{cluster_name: auth, authority: other}}, initial_metadata: [{{key: x-other, value: "yes"}}]}}}}}}}}}}
  - {{match: {{prefix: /, headers: [{{name: x-second, present_match: true}}]}}, route: {{cluster: up, prefix_rewrite: /by-header}}}}
  - {{match: {{prefix: /, headers: [{{name: x-third, present_match: true}}]}}, route: {{cluster: up, prefix_rewrite: /by-third}}}}
  - {{match: {{prefix: /changed}}, route: {{cluster: up, prefix_rewrite: /second}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""
SERVICE = "grpc_service: {envoy_grpc: {cluster_name: auth}, timeout: 2s}, transport_api_version: V3"


def authz(name: str, text: str = "", before: list[dict[str, Any]] | None = None) -> dict[str, object]:
    config = {"@type": TYPE + "extensions.filters.http.ext_authz.v3.ExtAuthz", **parse(f"{{{SERVICE}{text}}}")}
    return http(name, HOSTS, filters=[*(before or []), {"name": NAME, "typed_config": config}], log=LOG)


SET_METADATA = {
    "name": "md",
    "typed_config": {
        "@type": TYPE + "extensions.filters.http.set_metadata.v3.Config",
        "metadata": [{"metadata_namespace": "d.ns", "value": {"n": 1.5, "s": "t", "l": [None, {"x": "y"}]}}],
    },
}

GROUP = SideConfig(
    bootstrap(
        [
            authz("authz"),
            authz("full", ", stat_prefix: mine, metadata_context_namespaces: [d.ns, none], route_metadata_context_namespaces: [r.ns], include_tls_session: true, include_peer_certificate: true, bootstrap_metadata_labels_key: labels, clear_route_cache: true, charge_cluster_response_stats: false, status_on_error: {code: ServiceUnavailable}", [SET_METADATA]),
            authz("raw", ", encode_raw_headers: true, allowed_headers: {patterns: [{prefix: x-}, {exact: ':path'}]}, disallowed_headers: {patterns: [{exact: x-no}]}"),
            authz("body", ", with_request_body: {max_request_bytes: 4}"),
            authz("partial", ", with_request_body: {max_request_bytes: 4, allow_partial_message: true}"),
            authz("bytes", ", with_request_body: {max_request_bytes: 4, allow_partial_message: true, pack_as_bytes: true}"),
            authz("lenient", ", failure_mode_allow: true, failure_mode_allow_header_add: true"),
            authz("validating", ", validate_mutations: true, max_denied_response_body_bytes: 3"),
            authz("ruled", ", decoder_header_mutation_rules: {disallow_expression: {regex: 'x-block.*'}}"),
            authz("strict", ", decoder_header_mutation_rules: {disallow_expression: {regex: 'x-block.*'}, disallow_is_error: true}"),
            authz("no_metadata", ", enable_dynamic_metadata_ingestion: false"),
            authz("shadow", ", shadow_mode: true"),
            authz("shadow_off", ", shadow_mode: true, filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {runtime_key: k, default_value: true}"),
            authz("facts", ", emit_filter_state_stats: true"),
            authz("clearing", ", clear_route_cache: true, clear_route_cache_headers: [X-Second]"),
            authz("timeout", ", grpc_service: {envoy_grpc: {cluster_name: auth}, timeout: 0.1s}"),
            authz("none", ", grpc_service: {envoy_grpc: {cluster_name: nope}}"),
        ],
        [cluster("up"), cluster("auth", "<<grpc:auth>>", protocol="{explicit_http_config: {http2_protocol_options: {}}}")],
        "{node: {id: n, cluster: c, metadata: {labels: {app: web}}}}",
    )
)


def said(text: str) -> list[bytes]:
    """A CheckResponse from YAML."""
    message = api.new("envoy.service.auth.v3.CheckResponse")
    json_format.ParseDict(parse(text), message, descriptor_pool=api.pool())
    return [message.SerializeToString()]


def case(name: str, send: bytes, status: int | None, reply: str = "{}", listener: str = "authz", **more: Any) -> Case:
    return Case(
        name, send, status, listener=listener, grpc={CHECK: said(reply)},
        replace=[
            (r"ext_authz_duration\":\d+", "duration"), (r"(latency|sent|received)=\d+", r"\1=number"), (r"seconds: \d+\n", "seconds\n"), (r"nanos: \d+\n", "nanos\n"), (r' id: "\d+"', " id"),
            (r"port_value: [3-6]\d{4}\n", "port\n"), (r"^grpc-timeout: \d+.$", "grpc-timeout"),
        ],
        ignore_stats=[r"^cluster\.auth\..*_time"], **more,
    )  # fmt: skip


def header(key: str, value: str, more: str = "") -> str:
    return f"{{header: {{key: {key}, value: '{value}'}}{more}}}"


DENIED = "{status: {code: 7}, denied_response: {status: {code: Unauthorized}, headers: [%s], body: go away}}"
DENIED_HEADERS = ", ".join([header("x-why", "no"), header("set-cookie", "a=b", ", append: true"), header("set-cookie", "c=d", ", append: true"), header("content-type", "text/html")])
IN = [("x-a", "1"), ("x-a", "2"), ("x-b", "old"), ("x-gone", "1"), ("x-keep", "k")]
APPENDS = ", ".join(
    header(f"x-{letter}{number}", "new", more)
    for letter in "ab"
    for number, more in enumerate(["", ", append: true", ", append: false", ", append_action: ADD_IF_ABSENT", ", append_action: OVERWRITE_IF_EXISTS", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD", ", append_action: APPEND_IF_EXISTS_OR_ADD"])
)
OLD = [(f"x-a{number}", "old") for number in range(7)]

CASES = [
    case("allowed", get("/a?b=c", "test", ("x-dup", "1"), ("x-dup", "2"), ("x-envoy-auth-partial-body", "no"), ("x-bytes", "caf\xe9")), 200),
    case("post", post("/", "test", body=b"abcdef"), 200),
    case("extensions", get("/ext"), 200),
    case("full", get("/ext", "test", ("x-envoy-downstream-service-cluster", "svc")), 200, listener="full"),
    case("raw", get("/ext", "test", ("x-yes", "1"), ("x-yes", "2"), ("x-no", "1"), ("other", "1")), 200, listener="raw"),
    case("off", get("/off"), 200),
    case("other", get("/other"), 200),
    case("body", post("/", "test", body=b"abcd"), 200, listener="body"),
    case("body_partial", post("/", "test", body=b"abcdef"), 200, listener="partial"),
    case("body_not_utf8", post("/", "test", body=b"a\xffcdef"), 200, listener="partial"),
    case("body_bytes", post("/", "test", body=b"a\xffcdef"), 200, listener="bytes"),
    case("body_route", post("/body", "test", body=b"abcdefgh"), 200, listener="authz"),
    case("body_none", get("/"), 200, listener="body"),
    case("denied_plain", get("/"), 403, "{status: {code: 16, message: m}}"),
    case("denied", get("/"), 401, DENIED % DENIED_HEADERS),
    case("denied_validating", get("/"), 401, DENIED % DENIED_HEADERS, listener="validating"),
    case("denied_metadata", get("/"), 403, "{status: {code: 7}, denied_response: {}, dynamic_metadata: {a: 1}}"),
    case("error_response", get("/"), None, "{status: {code: 13}, error_response: {status: {code: BadGateway}, headers: [" + header("x-err", "1") + "], body: broken}}"),
    case("error_response_lenient", get("/"), None, "{status: {code: 13}, error_response: {status: {code: BadGateway}, body: broken}}", listener="lenient"),
    case("headers", get("/", "test", *OLD), 200, f"{{ok_response: {{headers: [{APPENDS}]}}}}"),
    case("headers_remove", get("/", "test", *IN), 200, "{ok_response: {headers_to_remove: [x-gone, x-none, ':path', host, x-a]}}"),
    case("headers_cleared", get("/"), 200, "{ok_response: {headers: [" + header("':path'", "/changed/x") + "]}}", listener="full"),
    case("headers_path", get("/"), 200, "{ok_response: {headers: [" + header("':path'", "/changed/x") + ", " + header("host", "evil") + ", " + header("':method'", "PUT") + "]}}"),
    case("clearing", get("/"), 200, "{ok_response: {headers: [" + header("x-second", "1") + "]}}", listener="clearing"),
    case("not_clearing", get("/"), 200, "{ok_response: {headers: [" + header("x-third", "1") + "]}}", listener="clearing"),
    case("query", get("/p?a=1&b=2&c=%20"), 200, "{ok_response: {query_parameters_to_set: [{key: b, value: '3x'}, {key: n, value: '4'}], query_parameters_to_remove: [a]}}"),
    case("response_headers", get("/"), 200, f"{{ok_response: {{response_headers_to_add: [{APPENDS}]}}}}", answers=[[answer("200 OK", *OLD)]]),
    case("metadata", get("/"), 200, "{dynamic_metadata: {a: 1, b: {c: [x]}}}"),
    case("metadata_ok", get("/"), 200, "{ok_response: {dynamic_metadata: {a: 1}}}"),
    case("metadata_ignored", get("/"), 200, "{dynamic_metadata: {a: 1, b: {c: [x]}}}", listener="no_metadata"),
    case("invalid_header", get("/"), None, "{ok_response: {headers: [" + header("'x a'", "1") + "]}}", listener="validating"),
    case("invalid_value", get("/"), None, "{ok_response: {headers: [{header: {key: x-a, value: \"a\\nb\"}}]}}", listener="validating"),
    case("blocked", get("/"), None, "{ok_response: {headers: [" + header("x-blocked", "1") + ", " + header("x-fine", "1") + "]}}", listener="ruled"),
    case("blocked_strictly", get("/"), None, "{ok_response: {headers: [" + header("x-blocked", "1") + ", " + header("x-fine", "1") + "]}}", listener="strict"),
    case("blocked_removal", get("/", "test", ("x-blocked", "1")), None, "{ok_response: {headers_to_remove: [x-blocked, x-keep]}}", listener="strict"),
    case("call_facts", get("/"), 200, listener="facts"),
    case("call_facts_denied", get("/"), 403, "{status: {code: 7}}", listener="facts"),
    case("shadow_denied", get("/"), None, "{status: {code: 7}}", listener="shadow"),
    case("shadow_allowed", get("/", "test", ("x-b0", "1")), 200, f"{{ok_response: {{headers: [{APPENDS}]}}, dynamic_metadata: {{a: 1}}}}", listener="shadow"),
    case("shadow_error", get("/"), 200, "{status: {code: 13}, error_response: {status: {code: BadGateway}}}", listener="shadow"),
    case("shadow_disabled", get("/"), 200, listener="shadow_off"),
    Case("failure", get("/"), 403, listener="authz", grpc={CHECK: (grpc.StatusCode.INTERNAL, "x")}, replace=[(r"seconds: \d+\n", "seconds\n"), (r"nanos: \d+\n", "nanos\n"), (r' id: "\d+"', " id"), (r"port_value: [3-6]\d{4}\n", "port\n"), (r"^grpc-timeout: \d+.$", "grpc-timeout")]),
    case("garbage", get("/"), None, "{}", listener="full"),
    case("no_cluster", get("/"), 403, listener="none"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ext_authz(pair: Pair, case: Case) -> None:
    pair.check(case)
