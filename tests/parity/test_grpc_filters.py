"""The gRPC filters: what upstream and client get, and what is counted. Both sides speak HTTP/1.1 with trailers, which
shows the messages as they are."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import Json, bootstrap, cluster, file_log, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_http_filters_traffic import FILTERS, hosts, http_filter
from tests.support.http1_message import answer, post, request
from tests.support.upstream import Answer

LOG = file_log(
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %GRPC_STATUS% %GRPC_STATUS_NUMBER% in=%BYTES_RECEIVED% "
    "out=%BYTES_SENT% fields=%DYNAMIC_METADATA(envoy.filters.http.grpc_field_extraction)% state=%FILTER_STATE(envoy.filters.http.grpc_stats:TYPED)%\n"
)
TRAILERS = "http_protocol_options: {enable_trailers: true}"
LISTED = "individual_method_stats_allowlist: {services: [{name: pkg.Svc, method_names: [Listed]}]}"
REVERSE = "grpc_http1_reverse_bridge"
REVERSE_ROUTE = f'{{"@type": {FILTERS}{REVERSE}.v3.FilterConfigPerRoute, disabled: true}}'


def one(name: str, filters: list[Json], virtual_hosts: Any = "") -> Json:
    return http(name, virtual_hosts, filters=filters, options=TRAILERS, log=[LOG])


def stats_filter(options: str) -> Json:
    return http_filter("grpc_stats", "FilterConfig", f"{{{options}}}")


GROUP = SideConfig(
    bootstrap(
        [
            one("plain", []),
            one("stats_all", [stats_filter("stats_for_all_methods: true, emit_filter_state: true, enable_upstream_stats: true")]),
            one("stats_dots", [stats_filter("stats_for_all_methods: true, replace_dots_in_grpc_service_name: true")]),
            one("stats_listed", [stats_filter(LISTED)]),
            one("stats_none", [stats_filter("emit_filter_state: true")]),
            one("web", [http_filter("grpc_web", "GrpcWeb")]),
            one("bridge", [http_filter("grpc_http1_bridge", "Config")]),
            one("upgrade", [http_filter("grpc_http1_bridge", "Config", "{upgrade_protobuf_to_grpc: true, ignore_query_parameters: true}")]),
            one("reverse", [http_filter(REVERSE, "FilterConfig", "{content_type: application/x-protobuf, withhold_grpc_frames: true}")], hosts([("/off", REVERSE, REVERSE_ROUTE)])),
            one("reverse_frames", [http_filter(REVERSE, "FilterConfig", "{content_type: application/x-protobuf}")]),
            one("reverse_size", [http_filter(REVERSE, "FilterConfig", "{content_type: application/x-protobuf, withhold_grpc_frames: true, response_size_header: x-size}")]),
            one("connect", [http_filter("connect_grpc_bridge", "FilterConfig")]),
            one("connect_stats", [stats_filter("stats_for_all_methods: true, emit_filter_state: true")]),
        ],
        [cluster("up", protocol="explicit_http_config: {http_protocol_options: {enable_trailers: true}}")],
    )
)

Pair2 = tuple[str, str]


def frame(payload: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(payload).to_bytes(4, "big") + payload


def chunked(body: bytes, trailers: tuple[Pair2, ...] = (), pieces: int = 1) -> bytes:
    size = max(1, -(-len(body) // pieces))
    out = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size)
    )
    return out + b"0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in trailers) + b"\r\n"


def reply(
    body: bytes, *trailers: Pair2, kind: str = "application/grpc", status: str = "200 OK", pieces: int = 1,
    fields: tuple[Pair2, ...] = (),
) -> Answer:
    head = answer(status, ("content-type", kind), ("transfer-encoding", "chunked"), *fields, body=b"", framed=False)
    return [head + chunked(body, trailers, pieces)]


def trailers_only(*fields: Pair2, kind: str = "application/grpc") -> Answer:
    return [answer("200 OK", ("content-type", kind), *fields, body=b"")]


OK = reply(frame(b"abc"), ("grpc-status", "0"), ("x-end", "1"))
TWO = reply(frame(b"abc") + frame(b"defgh"), ("grpc-status", "0"), pieces=3)
FAILED = reply(b"", ("grpc-status", "5"), ("grpc-message", "not%20there"))
FAILED_LATE = reply(frame(b"abc"), ("grpc-status", "13"), ("grpc-message", 'a "b"'))
ONLY = trailers_only(("grpc-status", "7"), ("grpc-message", "no"))


def call(path: str = "/pkg.Svc/Call", body: bytes = frame(b"xyz"), kind: str = "application/grpc", *fields: Pair2) -> bytes:
    return post(path, "test", ("content-type", kind), ("te", "trailers"), *fields, body=body)


def streamed(path: str, body: bytes, kind: str, *fields: Pair2, trailers: tuple[Pair2, ...] = (), pieces: int = 3) -> bytes:
    head = request("POST", path, headers=[("content-type", kind), ("transfer-encoding", "chunked"), *fields])
    return head + chunked(body, trailers, pieces)


def b64(data: bytes) -> bytes:
    return base64.b64encode(data)


WEB = "application/grpc-web"
TEXT = "application/grpc-web-text"
BOTH = ("accept", TEXT)
PROTO = "application/x-protobuf"
VERSION = ("connect-protocol-version", "1")
PB = reply(b"abc", kind=PROTO)
MESSAGE = answer("200 OK", ("content-type", PROTO), body=b"abcde")
CONNECT_END = reply(frame(b"abc") + frame(b"{}", 2), kind="application/connect+proto")
CONNECT_ERROR = reply(frame(b'{"error":{"code":"internal"}}', 2), kind="application/connect+json")
MORE = reply(frame(b"abc"), ("grpc-status", "0"), ("x-a", "1"), ("x-a", "2"))

# Objects of Envoy's have no order.
UNORDERED = [(r'\{"message":(".*"),"code":("\w+")\}', r'{"code":\2,"message":\1}')]

CASES = [
    Case("stats", call(), answers=[OK], listener="stats_all", expect_stats=["cluster.up.grpc.pkg.Svc.Call.success"]),
    Case("stats_two", streamed("/pkg.Svc/Call?x=1", frame(b"1") + frame(b"23456"), "application/grpc+proto"), answers=[TWO], listener="stats_all"),
    Case("stats_failed", call("//pkg.Svc/Other"), answers=[FAILED], listener="stats_all"),
    Case("stats_trailers_only", call(), answers=[ONLY], listener="stats_all"),
    Case("stats_odd_status", call(), answers=[reply(b"", ("grpc-status", "99"))], listener="stats_all"),
    Case("stats_no_status", call(), answers=[reply(frame(b""))], listener="stats_all"),
    Case("stats_http_error", call(), answers=[[answer("503 Service Unavailable")]], status=503, listener="stats_all"),
    Case("stats_path_long", call("/a/b/c"), answers=[OK], listener="stats_all"),
    Case("stats_not_grpc", call(kind="application/json"), answers=[OK], listener="stats_all"),
    Case("stats_dots", call(), answers=[OK], listener="stats_dots"),
    Case("stats_listed", call("/pkg.Svc/Listed"), answers=[OK], listener="stats_listed"),
    Case("stats_not_listed", call(), answers=[OK], listener="stats_listed"),
    Case("stats_none", call(), answers=[TWO], listener="stats_none"),
    Case("stats_connect_unary", call("/pkg.Svc/U", b"{}", "application/json", VERSION), answers=[[answer("200 OK", ("content-type", "application/json"), body=b"{}")]], listener="connect_stats"),
    Case("stats_connect_unary_failed", call("/pkg.Svc/U", b"{}", "application/json", VERSION), answers=[[answer("404 Not Found", ("content-type", "application/json"), body=b"{}")]], status=404, listener="connect_stats"),
    Case("stats_connect_stream", call("/pkg.Svc/S", frame(b"12"), "application/connect+proto"), answers=[CONNECT_END], listener="connect_stats"),
    Case("stats_connect_stream_failed", call("/pkg.Svc/S", frame(b"12"), "application/connect+json"), answers=[CONNECT_ERROR], listener="connect_stats"),
    Case("web_binary", call(kind=WEB), answers=[OK], listener="web", expect_stats=["cluster.up.grpc-web.pkg.Svc.Call.success"]),
    Case("web_binary_proto", call(kind=WEB + "+proto"), answers=[TWO], listener="web"),
    Case("web_text", call(kind=TEXT, body=b64(frame(b"xyz"))), answers=[OK], listener="web"),
    Case("web_text_both", streamed("/pkg.Svc/Call", b64(frame(b"xyz1")), TEXT + "+proto", BOTH), answers=[TWO], listener="web"),
    Case("web_text_answer", call("/pkg.Svc/Call", frame(b"x"), WEB, BOTH, ("grpc-accept-encoding", "gzip")), answers=[FAILED_LATE], listener="web"),
    Case("web_text_bad_size", call(kind=TEXT, body=b"abcde"), status=400, listener="web", upstream=False, stats=False, logs=1),
    Case("web_text_bad", call(kind=TEXT, body=b"ab!@"), status=400, listener="web", stats=False),
    Case("web_failed", call(kind=WEB), answers=[FAILED], listener="web"),
    Case("web_only", call(kind=WEB), answers=[ONLY], listener="web"),
    Case("web_not_grpc", call(kind=WEB), answers=[[answer("500 Internal Server Error", ("content-type", "text/plain"), body=b"oh no: 100%")]], status=500, listener="web"),
    Case("web_not_grpc_long", call(kind=WEB), answers=[reply(b"x" * 20000, kind="text/plain", pieces=4)], listener="web"),
    Case("web_not_grpc_trailers", call(kind=WEB), answers=[reply(b"text", ("x-t", "1"), kind="text/plain")], listener="web"),
    Case("web_already", call(kind=WEB), answers=[reply(frame(b"abc") + frame(b"grpc-status:0\r\n", 128), kind=WEB + "+proto; charset=x")], listener="web"),
    Case("web_not_web", call(), answers=[OK], listener="web"),
    Case("web_other_type", call(kind=WEB + "+json"), answers=[OK], listener="web"),
    Case("bridge", call(), answers=[OK], listener="bridge"),
    Case("bridge_two", call(), answers=[TWO], listener="bridge"),
    Case("bridge_failed", call(), answers=[FAILED], status=503, listener="bridge"),
    Case("bridge_failed_late", call(), answers=[FAILED_LATE], status=503, listener="bridge"),
    Case("bridge_only", call(), answers=[ONLY], status=None, listener="bridge"),
    Case("bridge_odd", call(), answers=[reply(b"", ("grpc-status", "x"))], status=503, listener="bridge"),
    Case("bridge_no_trailers", call(), answers=[reply(frame(b"abc"))], listener="bridge"),
    Case("bridge_not_grpc", call(kind="text/plain"), answers=[OK], listener="bridge"),
    Case("bridge_query", call("/pkg.Svc/Call?x=1"), answers=[OK], listener="bridge"),
    Case("upgrade", call("/pkg.Svc/Call?x=1", b"xyz", PROTO), answers=[OK], listener="upgrade"),
    Case("upgrade_pieces", streamed("/pkg.Svc/Call", b"xyzxyz", PROTO), answers=[TWO], listener="upgrade"),
    Case("upgrade_pb", call("/pkg.Svc/Call", b"xyz", "application/protobuf"), answers=[FAILED_LATE], status=None, listener="upgrade"),
    Case("upgrade_grpc", call("/pkg.Svc/Call?x=1"), answers=[OK], listener="upgrade"),
    Case("reverse", call(), answers=[[MESSAGE]], listener="reverse"),
    Case("reverse_pieces", streamed("/pkg.Svc/Call", frame(b"x" * 100), "application/grpc+proto"), answers=[PB], listener="reverse"),
    Case("reverse_trailers", call(), answers=[reply(b"abc", ("x-t", "1"), kind=PROTO, pieces=2)], listener="reverse"),
    Case("reverse_error", call(), answers=[[answer("404 Not Found", ("content-type", PROTO), body=b"no")]], listener="reverse"),
    Case("reverse_wrong_type", call(), answers=[[answer("200 OK", ("content-type", "text/html"), body=b"no")]], listener="reverse"),
    Case("reverse_no_type", call(), answers=[[answer("403 Forbidden", body=b"no")]], listener="reverse"),
    Case("reverse_small", call("/pkg.Svc/Call", b"abc"), listener="reverse", stats=False, replace=[("connection: close\n", "")]),
    Case("reverse_empty", call(), answers=[[answer("200 OK", ("content-type", PROTO), body=b"")]], listener="reverse"),
    Case("reverse_off", call("/off"), answers=[OK], listener="reverse"),
    Case("reverse_not_grpc", call(kind="text/plain"), answers=[[MESSAGE]], listener="reverse"),
    Case("reverse_frames", call(), answers=[[answer("200 OK", ("content-type", PROTO), body=frame(b"abc"))]], listener="reverse_frames"),
    Case("reverse_frames_empty", call(), answers=[[answer("503 Service Unavailable", ("content-type", PROTO), body=b"")]], listener="reverse_frames"),
    Case("reverse_size", call(), answers=[reply(b"abcdef", kind=PROTO, fields=(("x-size", "6"),), pieces=2)], listener="reverse_size"),
    Case("reverse_size_missing", call(), answers=[PB], listener="reverse_size"),
    Case("connect_unary", call("/pkg.Svc/U", b'{"a":1}', "application/json", VERSION, ("connect-timeout-ms", "5000"), ("accept-encoding", "gzip")), answers=[MORE], listener="connect"),
    Case("connect_unary_pieces", streamed("/pkg.Svc/U", b"123456", "application/proto", VERSION), answers=[TWO], listener="connect"),
    Case("connect_unary_trailers", streamed("/pkg.Svc/U", b"123456", "application/proto", VERSION, trailers=(("x-t", "1"),)), answers=[OK], listener="connect"),
    Case("connect_unary_failed", call("/pkg.Svc/U", b"{}", "application/json", VERSION), answers=[FAILED_LATE], status=500, listener="connect", replace=UNORDERED),
    Case("connect_unary_only", call("/pkg.Svc/U", b"{}", "application/json", VERSION), answers=[ONLY], status=403, listener="connect", replace=UNORDERED),
    Case("connect_unary_code", call("/pkg.Svc/U", b"{}", "application/json", VERSION), answers=[reply(b"", ("grpc-status", "4"))], status=408, listener="connect"),
    Case("connect_unary_plain", call("/pkg.Svc/U", b"{}", "application/json", VERSION), answers=[[answer("502 Bad Gateway", body=b"no")]], status=502, listener="connect"),
    Case("connect_no_version", call("/pkg.Svc/U", b"{}", "application/json"), answers=[[answer()]], listener="connect"),
    Case("connect_stream", call("/pkg.Svc/S", frame(b"12"), "application/connect+json", ("connect-content-encoding", "gzip"), ("connect-accept-encoding", "gzip"), ("connect-timeout-ms", "123456789012")), answers=[MORE], listener="connect"),
    Case("connect_stream_failed", call("/pkg.Svc/S", frame(b"12"), "application/connect+proto"), answers=[FAILED_LATE], listener="connect", replace=UNORDERED),
    Case("connect_stream_only", call("/pkg.Svc/S", frame(b"12"), "application/connect+proto"), answers=[ONLY], listener="connect", replace=UNORDERED),
    Case("connect_stream_bare", call("/pkg.Svc/S", frame(b"12"), "application/connect"), answers=[OK], listener="connect"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_grpc_filters(pair: Pair, case: Case) -> None:
    pair.check(case)
