"""envoy.filters.http.ext_proc, compared with Envoy: what the processor is told, and what its answers do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format

import grpc
from outrider.config import api
from tests.parity.harness.case import Case
from tests.parity.harness.config import LOG_FORMAT, TYPE, bootstrap, cluster, file_log, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.grpc_server import Behaviour, Received
from tests.support.http1_message import answer, get, post, request

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
NAME = "envoy.filters.http.ext_proc"
ROUTE = TYPE + "extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
LOG = [file_log(LOG_FORMAT.rstrip("\n") + " md=%DYNAMIC_METADATA(answered)%\n")]
SERVICE = "grpc_service: {envoy_grpc: {cluster_name: proc}, timeout: 2s}"
HOSTS = f"""
- name: all
  domains: ["*"]
  routes:
  - {{match: {{prefix: /off}}, route: {{cluster: up}}, typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, disabled: true}}}}}}
  - {{match: {{prefix: /mode}}, route: {{cluster: up}}, typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, overrides: {{processing_mode: {{request_header_mode: SKIP, response_header_mode: SKIP, request_body_mode: BUFFERED}}}}}}}}}}
  - {{match: {{prefix: /meta}}, route: {{cluster: up}}, typed_per_filter_config: {{{NAME}: {{"@type": {ROUTE}, overrides: {{grpc_initial_metadata: [{{key: x-route, value: "yes"}}], failure_mode_allow: true, metadata_options: {{receiving_namespaces: {{untyped: [answered]}}}}}}}}}}}}
  - {{match: {{prefix: /cleared}}, route: {{cluster: up, prefix_rewrite: /second}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""


def proc(name: str, text: str = "", service: str = SERVICE, more: str = "") -> dict[str, object]:
    config = {"@type": TYPE + "extensions.filters.http.ext_proc.v3.ExternalProcessor", **parse(f"{{{service}{text}}}")}
    return http(name, HOSTS, filters=[{"name": NAME, "typed_config": config}], log=LOG, options="http_protocol_options: {enable_trailers: true}" + more)


def mode(text: str, more: str = "") -> str:
    return f", processing_mode: {{{text}}}{more}"


BOTH = "request_body_mode: {0}, response_body_mode: {0}"
GROUP = SideConfig(
    bootstrap(
        [
            proc("headers"),
            proc("quick", mode("response_header_mode: SKIP")),
            proc("buffered", mode(BOTH.format("BUFFERED"))),
            proc("streamed", mode(BOTH.format("STREAMED"))),
            proc("partial", mode(BOTH.format("BUFFERED_PARTIAL"))),
            proc("duplex", mode(BOTH.format("FULL_DUPLEX_STREAMED") + ", request_trailer_mode: SEND, response_trailer_mode: SEND")),
            proc("body_only", mode("request_header_mode: SKIP, response_header_mode: SKIP, " + BOTH.format("BUFFERED"))),
            proc("trailers", mode("request_trailer_mode: SEND, response_trailer_mode: SEND, " + BOTH.format("BUFFERED"))),
            proc("only_trailers", mode("request_header_mode: SKIP, response_header_mode: SKIP, request_trailer_mode: SEND, response_trailer_mode: SEND")),
            proc("lenient", ", failure_mode_allow: true"),
            proc("status", ", status_on_error: {code: BadGateway}, stat_prefix: mine"),
            proc("rules", ", mutation_rules: {allow_all_routing: true, allow_envoy: true, disallow_expression: {regex: 'x-block.*'}}"),
            proc("strict", ", mutation_rules: {disallow_expression: {regex: 'x-block.*'}, disallow_is_error: true}"),
            proc("forward", ", forward_rules: {allowed_headers: {patterns: [{prefix: x-}, {exact: ':path'}]}, disallowed_headers: {patterns: [{exact: x-no}]}}"),
            proc("attributes", ", request_attributes: [request.path, request.method, \"request.headers['x-yes']\", request.size, source.address, connection.mtls, xds.route_name], response_attributes: [response.code, upstream.address, response.flags]"),
            proc("override", mode("request_header_mode: SEND", ", allow_mode_override: true")),
            proc("not_override", mode("request_header_mode: SEND", ", allow_mode_override: true, allowed_override_modes: [{request_body_mode: BUFFERED_PARTIAL}]")),
            proc("no_immediate", ", disable_immediate_response: true"),
            proc("retain", ", disable_clear_route_cache: true"),
            proc("clear", ", route_cache_action: CLEAR"),
            proc("slow", ", max_message_timeout: 2s, message_timeout: 0.15s"),
            proc("observe", mode(BOTH.format("STREAMED"), ", observability_mode: true, deferred_close_timeout: 0.5s")),
            proc("metadata", ", metadata_options: {receiving_namespaces: {untyped: [answered]}}"),
            proc("none", "", "grpc_service: {envoy_grpc: {cluster_name: nope}}"),
        ],
        [cluster("up"), cluster("proc", "<<grpc:proc>>", protocol="{explicit_http_config: {http2_protocol_options: {}}}")],
    )
)

ANSWERS = {
    "request_headers": "{request_headers: {}}", "response_headers": "{response_headers: {}}",
    "request_body": "{request_body: {}}", "response_body": "{response_body: {}}",
    "request_trailers": "{request_trailers: {}}", "response_trailers": "{response_trailers: {}}",
}  # fmt: skip


def message(text: str) -> bytes:
    made = api.new("envoy.service.ext_proc.v3.ProcessingResponse")
    json_format.ParseDict(parse(text), made, descriptor_pool=api.pool())
    return bytes(made.SerializeToString())


def processor(**answers: Any) -> Behaviour:
    """Answers by kind of message: YAML, a list of them (one a message, "" is silence), or a pause in seconds."""

    def run(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        taken: dict[str, int] = {}
        for raw in messages:
            told = api.new("envoy.service.ext_proc.v3.ProcessingRequest")
            told.ParseFromString(raw)
            kind = told.WhichOneof("request")
            wanted = answers.get(kind, ANSWERS[kind])
            if isinstance(wanted, list):
                place = taken.get(kind, 0)
                taken[kind] = place + 1
                wanted = wanted[min(place, len(wanted) - 1)]
            for each in wanted if isinstance(wanted, tuple) else (wanted,):
                if isinstance(each, float):
                    time.sleep(each)
                elif each == "end":
                    return
                elif each == "fail":
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, "go away")
                elif each:
                    yield message(each)

    return run


def case(name: str, send: bytes, status: int | None = 200, listener: str = "headers", script: Behaviour | None = None, **more: Any) -> Case:
    return Case(
        name, send, status, listener=listener, grpc={PROCESS: script or processor()},
        replace=[(r'"[-0-9a-f]{36}"', '"uuid"'), (r"^grpc-timeout: \d+.$", "grpc-timeout"), (r'raw_value: "\d+"', "number"), (r' *headers \{\n +key: "transfer-encoding"\n +raw_value: "chunked"\n +\}\n', "")],
        ignore_stats=[r"^cluster\.proc\.", r"server_half_closed", r"streams_closed"], **more,
    )  # fmt: skip


def field(key: str, value: str, more: str = "") -> str:
    return f"{{header: {{key: '{key}', raw_value: {value}}}{more}}}"


def b64(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


def edits(kind: str, fields: list[str], removed: str = "", more: str = "") -> str:
    return f"{{{kind}: {{response: {{header_mutation: {{set_headers: [{', '.join(fields)}], remove_headers: [{removed}]}}{more}}}}}}}"


IMMEDIATE = "{immediate_response: {status: {code: Forbidden}, headers: {set_headers: [%s]}, body: %s, details: because of that}}"
CHUNKED = request("POST", "/", "test", (("transfer-encoding", "chunked"),)) + b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"
WITH_TRAILERS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n"
MANY = [field("x-new", b64("n")), field("x-old", b64("over")), field("x-both", b64("2"), ", append: true"), field("x-absent", b64("a"), ", append_action: ADD_IF_ABSENT"), field("x-old", b64("no"), ", append_action: ADD_IF_ABSENT"), field("x-nothing", b64("no"), ", append_action: OVERWRITE_IF_EXISTS"), field("x-over", b64("o"), ", append_action: OVERWRITE_IF_EXISTS_OR_ADD"), field(":path", b64("/new")), field("host", b64("evil")), field("x-envoy-a", b64("evil")), field("x-blocked", b64("b"))]
OLD = [("x-old", "old"), ("x-both", "1"), ("x-gone", "1")]
BODY = "body_mutation: {body: %s}"

CASES = [
    case("headers", get("/a?b=c", "test", ("x-a", "1"), ("x-a", "2"))),
    case("headers_of_post", post("/", body=b"hello")),
    case("request_only", get("/"), listener="quick"),
    case("off", get("/off")),
    case("edits", get("/", "test", *OLD), script=processor(request_headers=edits("request_headers", MANY, "x-gone, host, ':path', x-envoy-none"))),
    case("edits_by_rules", get("/", "test", *OLD), listener="rules", script=processor(request_headers=edits("request_headers", MANY, "x-gone"))),
    case("edits_refused", get("/", "test", *OLD), 500, listener="strict", script=processor(request_headers=edits("request_headers", [field("x-blocked", b64("b"))]))),
    case("plain_value", get("/"), script=processor(request_headers="{request_headers: {response: {header_mutation: {set_headers: [{header: {key: x-plain, value: text}}]}}}}")),
    case("bad_value", get("/"), 500, script=processor(request_headers=edits("request_headers", [field("x-a", b64("a\nb"))]))),
    case("response_edits", get("/"), script=processor(response_headers=edits("response_headers", [field("x-new", b64("n")), field(":status", b64("201"))], "server, x-secret")), answers=[[answer("200 OK", ("x-secret", "1"))]], status=201),
    case("cleared", get("/"), script=processor(request_headers=edits("request_headers", [field(":path", b64("/cleared"))], more=", clear_route_cache: true"))),
    case("not_cleared", get("/"), script=processor(request_headers="{request_headers: {response: {clear_route_cache: true}}}")),
    case("retained", get("/"), listener="retain", script=processor(request_headers=edits("request_headers", [field(":path", b64("/cleared"))], more=", clear_route_cache: true"))),
    case("always_cleared", get("/"), listener="clear", script=processor(request_headers=edits("request_headers", [field(":path", b64("/cleared"))]))),
    case("replaced", post("/", body=b"hello"), script=processor(request_headers="{{request_headers: {{response: {{status: CONTINUE_AND_REPLACE, body_mutation: {{body: {}}}}}}}}}".format(b64("another body")))),
    case("replaced_none", get("/"), script=processor(request_headers="{{request_headers: {{response: {{status: CONTINUE_AND_REPLACE, header_mutation: {{set_headers: [{}]}}, body_mutation: {{body: {}}}}}}}}}".format(field(":method", b64("POST")), b64("added body")))),
    case("immediate", get("/"), 403, script=processor(request_headers=IMMEDIATE % (field("x-why", b64("no")), b64("go away")))),
    case("immediate_plain", get("/"), 200, script=processor(request_headers="{immediate_response: {details: d}}")),
    case("immediate_grpc", get("/", "test", ("content-type", "application/grpc")), 200, script=processor(request_headers="{immediate_response: {status: {code: Forbidden}, grpc_status: {status: 7}, details: d}}")),
    case("immediate_in_response", get("/"), 403, script=processor(response_headers=IMMEDIATE % ("", b64("no response")))),
    case("immediate_off", get("/"), 500, listener="no_immediate", script=processor(request_headers=IMMEDIATE % ("", b64("x")))),
    case("fails", get("/"), 500, script=processor(request_headers="fail")),
    case("fails_with_status", get("/"), 502, listener="status", script=processor(request_headers="fail")),
    case("fails_leniently", get("/"), listener="lenient", script=processor(request_headers="fail")),
    case("fails_by_route", get("/meta"), script=processor(request_headers="fail")),
    case("fails_in_response", get("/"), 500, script=processor(response_headers="fail")),
    case("no_cluster", get("/"), 500, listener="none"),
    case("ends", get("/"), script=processor(request_headers="end")),
    case("ends_later", get("/"), script=processor(response_headers="end")),
    case("spurious", get("/"), 500, script=processor(request_headers="{response_headers: {}}")),
    case("spurious_leniently", get("/"), listener="lenient", script=processor(request_headers="{request_body: {}}")),
    case("silent", get("/"), 504, script=processor(request_headers="")),
    case("silent_leniently", get("/"), listener="lenient", script=processor(request_headers="")),
    case("more_time", get("/"), listener="slow", script=processor(request_headers=("{override_message_timeout: 1.5s}", 0.4, "{request_headers: {}}"))),
    case("too_much_time", get("/"), 504, listener="slow", script=processor(request_headers=("{override_message_timeout: 5s}", 0.4, "{request_headers: {}}"))),
    case("buffered", post("/", body=b"hello"), listener="buffered"),
    case("buffered_none", get("/"), listener="buffered"),
    case("buffered_changed", post("/", body=b"hello"), listener="buffered", script=processor(request_body=edits("request_body", [field("x-late", b64("1")), field("content-length", b64("9"))], more=f", {BODY % b64('new bytes')}"), response_body=edits("response_body", [field("content-length", b64("3"))], more=f", {BODY % b64('abc')}"))),
    case("buffered_mismatch", post("/", body=b"hello"), 500, listener="buffered", script=processor(request_body="{request_body: {response: {%s}}}" % (BODY % b64("other length")))),
    case("buffered_cleared", request("POST", "/", "test", (("transfer-encoding", "chunked"),)) + b"3\r\nabc\r\n0\r\n\r\n", listener="buffered", script=processor(request_body="{request_body: {response: {body_mutation: {clear_body: true}}}}")),
    case("buffered_trailers", CHUNKED, listener="trailers", script=processor(request_trailers="{{request_trailers: {{header_mutation: {{set_headers: [{}]}}}}}}".format(field("x-added", b64("1"))), response_trailers="{{response_trailers: {{header_mutation: {{remove_headers: [x-t], set_headers: [{}]}}}}}}".format(field("x-r", b64("1")))), answers=[[WITH_TRAILERS]]),
    case("only_trailers", CHUNKED, listener="only_trailers", script=processor(request_trailers="{{request_trailers: {{header_mutation: {{set_headers: [{}]}}}}}}".format(field("x-added", b64("1")))), answers=[[WITH_TRAILERS]]),
    case("body_only", post("/", body=b"hello"), listener="body_only", script=processor(request_body="{request_body: {response: {%s}}}" % (BODY % b64("of any length")))),
    case("route_mode", post("/mode", body=b"hello")),
    case("partial", post("/", body=b"hello"), listener="partial", script=processor(request_body="{request_body: {response: {%s}}}" % (BODY % b64("partly")))),
    case("forward", get("/p", "test", ("x-yes", "1"), ("x-no", "1"), ("other", "1")), listener="forward"),
    case("attributes", get("/p", "test", ("x-yes", "1")), listener="attributes"),
    case("observed_none", get("/off"), listener="observe"),
    case("override", post("/", body=b"hello"), listener="override", script=processor(request_headers="{request_headers: {}, mode_override: {request_body_mode: BUFFERED, response_header_mode: SKIP}}", request_body="{request_body: {response: {%s}}}" % (BODY % b64("hullo")))),
    case("override_refused", post("/", body=b"hello"), listener="not_override", script=processor(request_headers="{request_headers: {}, mode_override: {request_body_mode: BUFFERED, response_header_mode: SKIP}}")),
    case("metadata", get("/"), listener="metadata", script=processor(request_headers="{request_headers: {}, dynamic_metadata: {answered: {a: 1, b: [x]}, other: {c: 1}}}")),
    case("metadata_route", get("/meta"), script=processor(request_headers="{request_headers: {}, dynamic_metadata: {answered: {a: 1}}}")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(pair: Pair, case: Case) -> None:
    pair.check(case)
