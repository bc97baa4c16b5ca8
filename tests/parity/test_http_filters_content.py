
"""Filters that read or change what requests say: metadata, filter state, compression."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log, http, listener, manager, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_http_filters_traffic import FILTERS, hosts, http_filter
from tests.support.http1_message import answer, get, post, request
from tests.support.raw_client import Responses

LOG = file_log("%REQ(:PATH)% %RESPONSE_CODE% %DYNAMIC_METADATA(a)% %DYNAMIC_METADATA(b)% %DYNAMIC_METADATA(envoy.filters.http.header_to_metadata)% %FILTER_STATE(my.key:PLAIN)% %FILTER_STATE(conn.key:PLAIN)%\n")
NETWORK = TYPE + "extensions.filters.network."

HEADER_TO_METADATA = """
request_rules:
- {header: X-One, on_header_present: {metadata_namespace: a, key: one}, on_header_missing: {metadata_namespace: a, key: one, value: none}}
- {header: x-number, on_header_present: {metadata_namespace: a, key: number, type: NUMBER}, remove: true}
- {header: x-base, on_header_present: {metadata_namespace: a, key: base, encode: BASE64}}
- {header: ':path', on_header_present: {key: path, regex_value_rewrite: {pattern: {regex: "^/(\\\\w+).*$"}, substitution: "\\\\1"}}}
- {cookie: session, on_header_present: {metadata_namespace: b, key: session}, on_header_missing: {metadata_namespace: b, key: session, value: none}}
- {header: x-const, on_header_present: {metadata_namespace: b, key: const, value: fixed}, remove: true}
response_rules:
- {header: x-answer, on_header_present: {metadata_namespace: b, key: answer}, remove: true}
"""
METADATA_ROUTE = f'{{"@type": {FILTERS}header_to_metadata.v3.Config, request_rules: [{{header: x-one, on_header_present: {{metadata_namespace: a, key: by_route}}}}]}}'
SET_METADATA = """
metadata:
- {metadata_namespace: a, value: {x: 1, list: [1], deep: {p: 1}}}
- {metadata_namespace: a, value: {x: 2}}
- {metadata_namespace: a, allow_overwrite: true, value: {x: 3, list: [2], deep: {q: true}}}
- {metadata_namespace: b, value: {y: text}}
"""
STATE = "{object_key: my.key, factory_key: envoy.string, format_string: {text_format_source: {inline_string: '%REQ(x-one)%'}, omit_empty_values: true}, skip_if_empty: true}"
CONNECTION_STATE = {
    "name": "envoy.filters.network.set_filter_state",
    "typed_config": {"@type": NETWORK + "set_filter_state.v3.Config", **parse("on_new_connection: [{object_key: conn.key, factory_key: envoy.string, format_string: {text_format_source: {inline_string: 'c-%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%'}}}]")},
}


def limited(name: str, before: Json) -> Json:
    """A listener whose connection manager stands behind another network filter."""
    made = listener(name, manager(name, log=[LOG]))
    made["filter_chains"][0]["filters"].insert(0, before)
    return made


def network(name: str, message: str, options: str) -> Json:
    typed = {"@type": f"{NETWORK}{name}.v3.{message}", **parse(options)}
    return {"name": f"envoy.filters.network.{name}", "typed_config": typed}


def library(kind: str, message: str, direction: str = "compressor", options: str = "") -> str:
    return f'{direction}_library: {{name: lib, typed_config: {{"@type": {TYPE}extensions.compression.{kind}.{direction}.v3.{message}{options}}}}}'


GZIP = library("gzip", "Gzip")
BROTLI = library("brotli", "Brotli")
GUNZIP = library("gzip", "Gzip", "decompressor")


def compressor(options: str) -> Json:
    return http_filter("compressor", "Compressor", f"{{{options}}}")


PER_ROUTE = f"{FILTERS}compressor.v3.CompressorPerRoute"
COMPRESS_HOSTS = hosts([
    ("/off", "compressor", f'{{"@type": {PER_ROUTE}, disabled: true}}'),
    ("/remove", "compressor", f'{{"@type": {PER_ROUTE}, overrides: {{response_direction_config: {{remove_accept_encoding_header: true}}}}}}'),
])

JSON_RULES = """
request_rules:
  rules:
  - {selectors: [{key: a}, {key: b}], on_present: {metadata_namespace: a, key: b}, on_missing: {metadata_namespace: a, key: b, value: none}, on_error: {metadata_namespace: a, key: b, value: error}}
  - {selectors: [{key: n}], on_present: {metadata_namespace: a, key: text, type: STRING}}
  - {selectors: [{key: s}], on_present: {metadata_namespace: a, key: number, type: NUMBER}}
  - {selectors: [{key: f}], on_present: {metadata_namespace: b, key: flag}}
response_rules:
  rules:
  - {selectors: [{key: r}], on_present: {metadata_namespace: b, key: answer}, on_missing: {metadata_namespace: b, key: answer, value: 5}}
"""
SESSION_HOSTS = """
- name: all
  domains: ["*"]
  routes:
  - {match: {prefix: /pair}, route: {cluster: pair}}
  - {match: {prefix: /}, route: {cluster: up}}
"""


def session(kind: str, message: str, options: str) -> Json:
    state = {"@type": f"{TYPE}extensions.http.stateful_session.{kind}.v3.{message}", **parse(options)}
    options_of = {"session_state": {"name": f"envoy.http.stateful_session.{kind}", "typed_config": state}}
    made = http_filter("stateful_session", "StatefulSession")
    made["typed_config"].update(options_of)
    return made


# A port is part of the address that sessions carry.
SESSION = [(r"(x-session: )\S+", r"\1{address}"), (r's="[^"]+"', 's="{address}"')]

GROUP = SideConfig(
    bootstrap(
        [
            http("main", hosts([("/route", "header_to_metadata", METADATA_ROUTE)]), filters=[http_filter("header_to_metadata", "Config", HEADER_TO_METADATA)], log=[LOG]),
            http("set_metadata", filters=[http_filter("set_metadata", "Config", SET_METADATA)], log=[LOG]),
            http("set_state", filters=[http_filter("set_filter_state", "Config", f"on_request_headers: [{STATE}]")], log=[LOG]),
            limited("connection_state", CONNECTION_STATE),
            limited("connection_enough", network("connection_limit", "ConnectionLimit", "{stat_prefix: cl, max_connections: 5}")),
            limited("connection_off", network("connection_limit", "ConnectionLimit", "{stat_prefix: cl, max_connections: 1, runtime_enabled: {default_value: false, runtime_key: x}}")),
            limited("connection_rate", network("local_ratelimit", "LocalRateLimit", "{stat_prefix: rl, token_bucket: {max_tokens: 1, fill_interval: 3600s}}")),
            http("gzip", COMPRESS_HOSTS, filters=[compressor(GZIP)]),
            http("gzip_response", filters=[compressor(GZIP + ", response_direction_config: {common_config: {min_content_length: 3, content_type: [text/a]}, disable_on_etag_header: true, remove_accept_encoding_header: true, uncompressible_response_codes: [404]}")]),
            http("gzip_weak", filters=[compressor(GZIP + ", response_direction_config: {weaken_etag_on_compress: true}")]),
            http("two", filters=[compressor(GZIP), compressor(BROTLI)]),
            http("two_first", filters=[compressor(GZIP + ", choose_first: true"), compressor(BROTLI + ", choose_first: true")]),
            http("gzip_request", filters=[compressor(GZIP + ", request_direction_config: {common_config: {enabled: {default_value: true, runtime_key: k}, min_content_length: 5}}")]),
            http("json", filters=[http_filter("json_to_metadata", "JsonToMetadata", JSON_RULES)], log=[LOG]),
            http("session", SESSION_HOSTS, filters=[session("header", "HeaderBasedSessionState", "{name: x-session}")]),
            http("cookie", SESSION_HOSTS, filters=[session("cookie", "CookieBasedSessionState", "{cookie: {name: s, path: /in}}")]),
            http("gunzip", filters=[http_filter("decompressor", "Decompressor", f"{{{GUNZIP}}}")]),
            http("gunzip_quiet", filters=[http_filter("decompressor", "Decompressor", f"{{{GUNZIP}, request_direction_config: {{advertise_accept_encoding: false}}}}")]),
        ],
        [cluster("up"), cluster("pair", "<<up:one>>", "<<up:two>>")],
    )
)

ACCEPT_GZIP = ("accept-encoding", "gzip")
TEXT = ("content-type", "text/plain")
JSON = ("content-type", "application/json")
BODY = b"a body that can be compressed " * 20
SMALL = b"x" * 10


def unzip(data: bytes) -> bytes:
    return zlib.decompress(data, 31)


def accept(value: str, path: str = "/") -> bytes:
    return get(path, "test", ("accept-encoding", value))


def big(*headers: tuple[str, str], status: str = "200 OK") -> list[list[bytes]]:
    return [[answer(status, *headers, body=BODY)]]


# The compressed bytes are zlib's own affair: what the tests compare is the heads, and the number of chunks.
COMPRESSED = [(r"(?s)(?<=\n)[0-9a-f]+\n\\x1f.*?\n0\n", "{gzip}\n"), (r"\bout=\d+", "out={n}")]

CASES = [
    Case("metadata", get("/abc/d", "test", ("x-one", "1"), ("x-one", "2"), ("x-number", "1.5"), ("x-base", "aGVsbG8="), ("cookie", "a=b; session=s1"), ("x-const", "?")), answers=[[answer("200 OK", ("x-answer", "z"))]], expect=["hello"]),
    Case("metadata_missing", get("/")),
    Case("metadata_bad", get("/", "test", ("x-number", "1x"), ("x-base", "%%%"), ("x-one", ""), ("cookie", "session="))),
    Case("metadata_long", get("/", "test", ("x-one", "y" * 8192))),
    Case("metadata_route", get("/route", "test", ("x-one", "1"))),
    Case("set_metadata", get("/"), listener="set_metadata"),
    Case("set_state", get("/", "test", ("x-one", "1")), listener="set_state"),
    Case("set_state_empty", get("/"), listener="set_state"),
    Case("connection_state", get("/"), listener="connection_state", expect=["c-127.0.0.1"]),
    Case("connection_enough", get("/"), listener="connection_enough"),
    Case("connection_off", get("/"), listener="connection_off"),
    Case("connection_rate", get("/"), listener="connection_rate"),
    Case("connection_rate_over", get("/"), [], responses=0, to_end=True, listener="connection_rate", logs=0, response=False, stats=False),
    Case("gzip", accept("gzip"), listener="gzip", answers=big(TEXT, ("etag", '"e"'), ("vary", "x")), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("gzip_weak_etag", accept("gzip, br"), listener="gzip", answers=big(TEXT, ("etag", 'W/"e"')), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("gzip_not_accepted", get("/"), listener="gzip", answers=big(TEXT)),
    Case("gzip_identity", accept("identity"), listener="gzip", answers=big(TEXT)),
    Case("gzip_wildcard", accept("*"), listener="gzip", answers=big(TEXT), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("gzip_refused", accept("gzip;q=0, *;q=0.1"), listener="gzip", answers=big(TEXT)),
    Case("gzip_other", accept("br"), listener="gzip", answers=big(TEXT)),
    Case("gzip_quality", accept("identity;q=0.5, gzip;q=0.2"), listener="gzip", answers=big(TEXT)),
    Case("gzip_small", accept("gzip"), listener="gzip", answers=[[answer("200 OK", TEXT, body=SMALL)]]),
    Case("gzip_type", accept("gzip"), listener="gzip", answers=big(("content-type", "image/png"))),
    Case("gzip_type_parameters", accept("gzip"), listener="gzip", answers=big(("content-type", "Text/HTML; charset=x")), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("gzip_encoded", accept("gzip"), listener="gzip", answers=big(TEXT, ("content-encoding", "br"))),
    Case("gzip_no_transform", accept("gzip"), listener="gzip", answers=big(TEXT, ("cache-control", "public, no-transform"))),
    Case("gzip_chunked", accept("gzip"), listener="gzip", answers=[[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3c\r\n" + BODY[:60] + b"\r\n0\r\n\r\n"]], replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("gzip_head", request("HEAD", "/", "test", [ACCEPT_GZIP]), to_head=True, listener="gzip", answers=big(TEXT)),
    Case("gzip_off", accept("gzip", "/off"), listener="gzip", answers=big(TEXT)),
    Case("gzip_remove", accept("gzip", "/remove"), listener="gzip", answers=big(TEXT), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("response_etag", accept("gzip"), listener="gzip_response", answers=big(("content-type", "text/a"), ("etag", '"e"'))),
    Case("response_type", accept("gzip"), listener="gzip_response", answers=big(("content-type", "text/a")), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("response_code", accept("gzip"), 404, listener="gzip_response", answers=big(("content-type", "text/a"), status="404 Not Found")),
    Case("response_weak", accept("gzip"), listener="gzip_weak", answers=big(TEXT, ("etag", '"e"')), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("two_gzip", accept("gzip, br"), listener="two", answers=big(TEXT), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("two_identity", accept("zstd"), listener="two", answers=big(TEXT)),
    Case("two_first", accept("br, gzip"), listener="two_first", answers=big(TEXT), replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("request", post("/", body=BODY), listener="gzip_request", replace=COMPRESSED, ignore_stats=["total_compressed"]),
    Case("request_small", post("/"), listener="gzip_request"),
    Case("json", post("/", "test", JSON, body=b'{"a": {"b": "x"}, "n": 12, "s": "1.5", "f": true}'), listener="json", answers=[[answer("200 OK", JSON, body=b'{"r": 1.5}')]]),
    Case("json_missing", post("/", "test", JSON, body=b'{"a": 1, "n": true, "s": "x"}'), listener="json", answers=[[answer("200 OK", JSON, body=b"{}")]]),
    Case("json_broken", post("/", "test", JSON, body=b"{"), listener="json"),
    Case("json_no_body", get("/", "test", JSON), listener="json"),
    Case("json_type", post("/", "test", TEXT, body=b"{}"), listener="json"),
    Case("json_float", post("/", "test", JSON, body=b'{"n": 1.5}'), listener="json"),
    Case("session_new", get("/"), listener="session", replace=SESSION, expect=["x-session"]),
    Case("session_unknown", get("/", "test", ("x-session", "MTI3LjAuMC4xOjE=")), listener="session", replace=SESSION),
    Case("session_bad", get("/", "test", ("x-session", "%%%")), listener="session", replace=SESSION),
    Case("cookie_new", get("/in/a?b"), listener="cookie", replace=SESSION, expect=["set-cookie: s="]),
    Case("cookie_other_path", get("/inner"), listener="cookie", replace=SESSION),
    Case("cookie_bad", get("/in", "test", ("cookie", "s=eA==")), listener="cookie", replace=SESSION),
    Case("gunzip_response", get("/"), listener="gunzip", answers=[[answer("200 OK", TEXT, ("content-encoding", "gzip"), body=gzip.compress(BODY, mtime=0))]]),
    Case("gunzip_plain", [get("/"), Responses(1), accept("br")], listener="gunzip", responses=2, answers=big(TEXT)),
    Case("gunzip_no_transform", get("/"), listener="gunzip", answers=[[answer("200 OK", ("cache-control", "no-transform"), ("content-encoding", "gzip"), body=gzip.compress(BODY, mtime=0))]]),
    Case("gunzip_request", post("/", "test", ("content-encoding", "gzip, x"), body=gzip.compress(BODY, mtime=0)), listener="gunzip"),
    Case("gunzip_quiet", get("/"), listener="gunzip_quiet"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_content_filters(pair: Pair, case: Case) -> None:
    pair.check(case)
