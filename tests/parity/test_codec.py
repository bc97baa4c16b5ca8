
"""HTTP/1 messages from clients and upstreams: framing, keep-alive, interim responses, HEAD, HTTP/1.0, limits."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
from tests.support.raw_client import Abort, Contains, Responses, ShutdownWrite
from tests.support.upstream import OK, CloseNow, Early, EchoRequest, Hang, ReadBody, ResetNow

PRESERVE = """
stateful_formatter:
  name: preserve
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig
    forward_reason_phrase: true
"""

GROUP = SideConfig(
    bootstrap(
        [
            http("main"),
            http("ten", options="http_protocol_options: {accept_http_10: true, default_host_for_http_10: ten.test}"),
            http("trailers", options="http_protocol_options: {enable_trailers: true}",
                 virtual_hosts="[{name: a, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: trailing}}]}]"),
            http("proxy100", options="proxy_100_continue: true"),
            http("stream_error", options="http_protocol_options: {override_stream_error_on_invalid_http_message: true}"),
            http("proper", options="http_protocol_options: {header_key_format: {proper_case_words: {}}}",
                 virtual_hosts="[{name: a, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: proper}}]}]"),
            http("preserve", options="http_protocol_options: {header_key_format: {stateful_formatter: {name: preserve, typed_config: {'@type': type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig, forward_reason_phrase: true}}}}",
                 virtual_hosts="[{name: a, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: preserve}}]}]"),
            http("small", options="{max_request_headers_kb: 1, common_http_protocol_options: {max_headers_count: 6}}"),
            http("two", options="common_http_protocol_options: {max_requests_per_connection: 2}"),
            http("limited", virtual_hosts="[{name: a, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: limited}}]}]"),
            http("once", virtual_hosts="[{name: a, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: once}}]}]"),
        ],
        [
            cluster("up"),
            cluster("trailing", "<<up:up>>", protocol="explicit_http_config: {http_protocol_options: {enable_trailers: true}}"),
            cluster("proper", "<<up:up>>",
                    protocol="explicit_http_config: {http_protocol_options: {header_key_format: {proper_case_words: {}}}}"),
            cluster("preserve", "<<up:up>>",
                    protocol="explicit_http_config: {http_protocol_options: {header_key_format: {" + "stateful_formatter: {name: preserve, typed_config: {'@type': type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig, forward_reason_phrase: true}}}}}"),
            cluster("limited", "<<up:up>>", protocol="common_http_protocol_options: {max_response_headers_kb: 2, max_headers_count: 10}"),
            cluster("once", "<<up:up>>", protocol="common_http_protocol_options: {max_requests_per_connection: 1}"),
        ],
    )
)

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CLOSES = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end"

CASES = [
    # requests
    Case("get", get()),
    Case("post", post(body=b"0123456789")),
    Case("post_in_two_parts", [request("POST", headers=[("content-length", "6")]) + b"abc", 0.05, b"def"]),
    Case("chunked_request", request("POST", headers=[("transfer-encoding", "chunked")]) + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"),
    Case("chunked_request_with_trailers_dropped",
         request("POST", headers=[("transfer-encoding", "chunked")]) + b"3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n"),
    Case("chunked_request_with_trailers", request("POST", headers=[("transfer-encoding", "chunked"), ("te", "trailers")])
         + b"3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n", listener="trailers"),
    Case("head_split_in_bytes", [get("/split", "test", ("x-a", "b"))[:20], 0.03, get("/split", "test", ("x-a", "b"))[20:]]),
    Case("keep_alive", [get("/1"), Responses(1), get("/2")], [200, 200], responses=2),
    Case("pipelined", get("/1") + get("/2") + get("/3"), [200, 200, 200], responses=3),
    Case("pipelined_post_and_get", post("/1") + get("/2"), [200, 200], responses=2),
    Case("connection_close", get("/", "test", ("connection", "close")), to_end=True),
    Case("connection_keep_alive_header", get("/", "test", ("connection", "keep-alive"), ("keep-alive", "timeout=5"))),
    Case("connection_nominates_header", get("/", "test", ("connection", "x-hop"), ("x-hop", "1"), ("x-stay", "2"))),
    Case("te_trailers", get("/", "test", ("te", "trailers"))),
    Case("te_other", get("/", "test", ("te", "gzip"))),
    Case("proxy_connection", get("/", "test", ("proxy-connection", "keep-alive"))),
    Case("options_star", request("OPTIONS", "*"), 404),
    Case("absolute_form", request("GET", "http://other.test:81/a?b=c", "test")),
    Case("absolute_form_https", request("GET", "https://other.test/a", "test")),
    Case("absolute_form_no_path", request("GET", "http://other.test", "test")),
    Case("query", get("/a?b=c&d=%20#frag"), 400),
    Case("repeated_headers", get("/", "test", ("x-a", "1"), ("X-A", "3"), ("x-b", "2"), ("cookie", "a=b"), ("cookie", "c=d"))),
    Case("empty_header", get("/", "test", ("x-empty", ""))),
    Case("spaces_around_value", get("/", "test", ("x-a", "  b  c \t"))),
    Case("header_high_bytes", get("/", "test", ("x-a", "\xe9\xff"))),
    Case("header_underscore", get("/", "test", ("x_under_score", "1"))),
    Case("unknown_method", request("FROB"), 400),
    Case("methods", [request("PUT", body=b"x"), Responses(1), request("DELETE"), Responses(2), request("PATCH", body=b"y")],
         [200, 200, 200], responses=3),
    Case("trace", request("TRACE")),
    Case("no_host", request("GET", host=""), 400, to_end=True),
    Case("no_host_http10", request("GET", host="", version="HTTP/1.0"), 426, to_end=True),
    Case("http09", b"GET /\r\n\r\n", 426, to_end=True),
    Case("garbage", b"\x16\x03\x01garbage\r\n\r\n", 400, to_end=True),
    Case("nothing_then_close", [0.05, ShutdownWrite()], [], responses=0, to_end=True),
    Case("half_request_then_close", [b"GET / HTTP/1.1\r\nhost", ShutdownWrite()], [], responses=0, to_end=True),
    Case("half_body_then_close", [request("POST", headers=[("content-length", "10")]) + b"abc", 0.05, ShutdownWrite()], [],
         responses=0, to_end=True, logs=1),
    Case("half_close_after_request", [get(), 0.05, ShutdownWrite()], None, to_end=True, answers=[[0.1, answer()]], logs=1,
         responses=0),
    Case("expect_continue", [request("POST", headers=[("expect", "100-continue"), ("content-length", "3")]),
                             Contains(b"100 Continue"), b"abc"], [100, 200]),
    Case("expect_continue_proxied", [request("POST", headers=[("expect", "100-continue"), ("content-length", "3")]),
                                     Contains(b"100 Continue"), b"abc"], [100, 200], listener="proxy100",
         answers=[[Early(), b"HTTP/1.1 100 Continue\r\n\r\n", ReadBody(), answer()]]),
    Case("expect_other", post("/", "test", ("expect", "something")), None),
    Case("smuggle_both_lengths", request("POST", headers=[("content-length", "3"), ("transfer-encoding", "chunked")])
         + b"0\r\n\r\n", 400, to_end=True),
    Case("smuggle_two_lengths", request("POST", headers=[("content-length", "3"), ("content-length", "4")]) + b"abc", 400,
         to_end=True),
    Case("same_length_twice", request("POST", headers=[("content-length", "3"), ("content-length", "3")]) + b"abc", None,
         to_end=True, wait=0.3),
    Case("transfer_encoding_gzip", request("POST", headers=[("transfer-encoding", "gzip, chunked")]) + b"0\r\n\r\n", 501,
         to_end=True),
    Case("bad_chunk", request("POST", headers=[("transfer-encoding", "chunked")]) + b"xyz\r\n", 400, to_end=True),
    Case("leading_newline", b"\r\n" + get()),
    Case("stream_error_keeps_connection", [request("POST", headers=[("content-length", "3"), ("content-length", "4")]) + b"abc"],
         None, listener="stream_error", to_end=True, wait=0.5),
    Case("http10_closes", request("GET", version="HTTP/1.0"), 200, listener="ten", to_end=True),
    Case("http10_keep_alive", request("GET", version="HTTP/1.0", headers=[("connection", "keep-alive")]), 200, listener="ten"),
    Case("http10_default_host", request("GET", host="", version="HTTP/1.0"), 200, listener="ten", to_end=True),
    Case("http10_chunked_answer", request("GET", version="HTTP/1.0"), 200, listener="ten", to_end=True,
         answers=[[CHUNKED + b"2\r\nok\r\n0\r\n\r\n"]]),
    Case("proper_case", get("/", "test", ("x-some-HEADER", "a")), listener="proper",
         answers=[[answer("200 OK", ("x-other-header", "b"))]]),
    Case("preserve_case", get("/", "test", ("X-sOme-Header", "a")), listener="preserve",
         answers=[[answer("200 Fine", ("X-oTher-header", "b"))]]),
    Case("too_large_headers", get("/", "test", ("x-large", "a" * 1200)), 431, listener="small", to_end=True),
    Case("too_many_headers", get("/", "test", *[(f"x-{n}", "1") for n in range(8)]), 431, listener="small", to_end=True),
    Case("url_too_long_default", get("/" + "a" * 70000), 431, to_end=True),
    Case("two_requests_a_connection", [get("/1"), Responses(1), get("/2"), Responses(2)], [200, 200], listener="two",
         responses=2, to_end=True),
    # responses
    Case("chunked", get(), answers=[[CHUNKED + b"3\r\nabc\r\n", 0.05, b"2\r\nde\r\n0\r\n\r\n"]]),
    Case("chunk_extension", get(), answers=[[CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n"]]),
    Case("trailers_dropped", get(), answers=[[CHUNKED + b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"]]),
    Case("trailers_passed", get("/", "test", ("te", "trailers")), listener="trailers",
         answers=[[CHUNKED + b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"]]),
    Case("until_close", get(), answers=[[CLOSES, CloseNow()]]),
    Case("no_length_no_close", get(), answers=[[b"HTTP/1.1 200 OK\r\n\r\nto the end", 0.05, CloseNow()]]),
    Case("upstream_http10", get(), answers=[[b"HTTP/1.0 200 OK\r\n\r\nold", CloseNow()]]),
    Case("upstream_http10_length", [get(), Responses(1), get()], [200, 200], responses=2,
         answers=[[b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold", CloseNow()], OK]),
    Case("upstream_connection_close", [get(), Responses(1), get()], [200, 200], responses=2,
         answers=[[answer("200 OK", ("connection", "close")), CloseNow()], OK]),
    Case("no_content", get(), 204, answers=[[b"HTTP/1.1 204 No Content\r\n\r\n"]]),
    Case("not_modified", get(), 304, answers=[[b"HTTP/1.1 304 Not Modified\r\netag: a\r\ncontent-length: 5\r\n\r\n"]]),
    Case("no_content_with_length", get(), None, answers=[[b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"]]),
    Case("zero_length", get(), answers=[[answer(body=b"")]]),
    Case("head", request("HEAD"), to_head=True, answers=[[b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"]]),
    Case("head_chunked", request("HEAD"), to_head=True, answers=[[CHUNKED]]),
    Case("head_no_length", request("HEAD"), to_head=True, answers=[[b"HTTP/1.1 200 OK\r\n\r\n"]]),
    Case("early_hints_dropped", get(), None, answers=[[b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", answer()]]),
    Case("early_hints_proxied", get(), None, listener="proxy100",
         answers=[[b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", answer()]]),
    Case("processing_102_proxied", get(), None, listener="proxy100", answers=[[b"HTTP/1.1 102 Processing\r\n\r\n", answer()]]),
    Case("processing_102", get(), None, answers=[[b"HTTP/1.1 102 Processing\r\n\r\n", answer()]]),
    Case("unasked_100", get(), None, answers=[[b"HTTP/1.1 100 Continue\r\n\r\n", answer()]]),
    Case("two_100", get(), None, listener="proxy100", answers=[[b"HTTP/1.1 100 Continue\r\n\r\n" * 2, answer()]]),
    Case("reason_phrase", get(), 200, answers=[[b"HTTP/1.1 200 Very Fine\r\ncontent-length: 0\r\n\r\n"]]),
    Case("unknown_status", get(), 299, answers=[[b"HTTP/1.1 299 What\r\ncontent-length: 0\r\n\r\n"]]),
    Case("status_999", get(), None, answers=[[b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n"]]),
    Case("lower_case", get(), answers=[[answer("200 OK", ("X-Upper", "A"), ("Server", "mine"), ("Date", "never"))]]),
    Case("several_set_cookie", get(), answers=[[answer("200 OK", ("set-cookie", "a=1"), ("set-cookie", "b=2"))]]),
    Case("echo", post("/echo?x=1", "a.test", ("x-a", "b")), answers=[[EchoRequest()]]),
    Case("answer_before_body", [request("POST", headers=[("content-length", "10")]), Responses(1), b"0123456789"], 200,
         answers=[[Early(), answer()]]),
    Case("large_body", get(), answers=[[answer(body=b"x" * 300000)]]),
    Case("large_post", post(body=b"y" * 300000)),
    # faulty upstreams
    Case("reset_before_response", get(), 503, answers=[[ResetNow()]]),
    Case("close_before_response", get(), 503, answers=[[CloseNow()]]),
    Case("close_in_head", get(), 502, answers=[[b"HTTP/1.1 200 OK\r\ncontent-le", CloseNow()]]),
    Case("close_in_body", get(), None, answers=[[b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 0.05, CloseNow()]],
         to_end=True, responses=0, logs=1),
    Case("close_in_chunk", get(), None, answers=[[CHUNKED + b"5\r\nab", 0.05, CloseNow()]], to_end=True, responses=0, logs=1),
    Case("reset_in_body", get(), None, answers=[[b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 0.05, ResetNow()]],
         to_end=True, responses=0, logs=1),
    Case("upstream_garbage", get(), 502, answers=[[b"garbage\r\n\r\n"]]),
    Case("upstream_bad_chunk", get(), None, answers=[[CHUNKED + b"zz\r\n"]], to_end=True, responses=0, logs=1),
    Case("upstream_two_lengths", get(), 502, answers=[[b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"]]),
    Case("upstream_length_and_chunked", get(), None,
         answers=[[b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"]]),
    Case("upstream_more_than_length", [get(), Responses(1), 0.1, get()], [200, 200], responses=2,
         answers=[[b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc"], OK]),
    Case("upstream_large_headers", get(), None, listener="limited", answers=[[answer("200 OK", ("x-a", "a" * 3000))]]),
    Case("upstream_many_headers", get(), None, listener="limited",
         answers=[[answer("200 OK", *[(f"x-{n}", "1") for n in range(12)])]]),
    Case("upstream_header_too_large_default", get(), None, answers=[[answer("200 OK", ("x-a", "a" * 70000))]]),
    Case("upstream_unasked_switch", get(), None, answers=[[b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"]]),
    Case("premature_response", [get(), Responses(1), 0.15, get()], [200, 200], responses=2,
         answers=[[answer() + answer("500 Unasked")], OK]),
    Case("client_resets_while_waiting", [get(), 0.1, Abort()], [], responses=0, answers=[[Hang()]], logs=1),
    Case("client_closes_while_waiting", [get(), 0.1, ShutdownWrite()], None, responses=0, answers=[[Hang()]], logs=1, to_end=True),
    Case("one_request_an_upstream_connection", [get("/1"), Responses(1), get("/2")], [200, 200], responses=2, listener="once"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_codec(pair: Pair, case: Case) -> None:
    pair.check(case)
