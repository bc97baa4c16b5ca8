"""RFC 9113 section 8: requests, their fields, bodies, trailers, CONNECT."""

from __future__ import annotations

import pytest

from outrider.http.http2.settings import Http2Settings
from outrider.native.http2_error import UNDERSCORES_DROP, UNDERSCORES_REJECT
from tests.http2.conformance.frames import (
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    POST,
    START,
    block,
    data,
    frame,
    headers,
    post,
    replaced,
    with_field,
    without,
)
from tests.http2.conformance.server import Server
from tests.http2.conformance.table import Row, check, names

DONE = "1: 200 end"
MALFORMED = "1: reset PROTOCOL_ERROR"


def trailers(*fields: tuple[str, str], flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, 1, block(fields))


MESSAGES: list[Row] = [
    # 8.1 framing
    ("no_body", headers(1), DONE),
    ("body", post(1) + data(1, b"abc", True), "1: 200; 1: 3 bytes end"),
    ("body_and_trailers", post(1) + data(1, b"abc") + trailers(("x-t", "1")), "1: 200; 1: 3 bytes end"),
    ("trailers_without_body", post(1) + trailers(("x-t", "1")), DONE),
    ("trailers_without_end", post(1) + data(1, b"a") + trailers(("x-t", "1"), flags=END_HEADERS), MALFORMED),
    ("trailers_with_pseudo", post(1) + data(1, b"a") + trailers((":path", "/")), MALFORMED),
    ("trailers_with_status", post(1) + data(1, b"a") + trailers((":status", "200")), MALFORMED),
    ("trailers_upper_case", post(1) + data(1, b"a") + trailers(("X-T", "1")), MALFORMED),
    ("length_right", post(1, ("content-length", "3")) + data(1, b"abc", True), "1: 200; 1: 3 bytes end"),
    ("length_too_small", post(1, ("content-length", "2")) + data(1, b"abc", True), MALFORMED),
    ("length_too_large", post(1, ("content-length", "4")) + data(1, b"abc", True), MALFORMED),
    ("length_without_body", headers(1, [*POST, ("content-length", "4")]), MALFORMED),
    ("length_zero", headers(1, [*POST, ("content-length", "0")]), DONE),
    ("length_no_number", post(1, ("content-length", "x")), MALFORMED),
    ("length_negative", post(1, ("content-length", "-1")), MALFORMED),
    ("length_twice", post(1, ("content-length", "3"), ("content-length", "3")), MALFORMED),
    ("length_list", post(1, ("content-length", "3, 3")), MALFORMED),
    ("length_with_trailers_short", post(1, ("content-length", "4")) + data(1, b"abc") + trailers(("x-t", "1")), MALFORMED),
    # 8.2 fields
    ("upper_case_name", headers(1, with_field("X-a", "1")), MALFORMED),
    ("space_in_name", headers(1, with_field("x a", "1")), MALFORMED),
    ("colon_in_name", headers(1, with_field("x:a", "1")), MALFORMED),
    ("empty_name", headers(1, with_field("", "1")), MALFORMED),
    ("control_in_name", headers(1, with_field("x\x01a", "1")), MALFORMED),
    ("high_octet_in_name", headers(1, with_field("x\x80a", "1")), MALFORMED),
    ("token_name", headers(1, with_field("x!#$%&'*+-.^_`|~09", "1")), DONE),
    ("nul_in_value", headers(1, with_field("x-a", "a\0b")), MALFORMED),
    ("cr_in_value", headers(1, with_field("x-a", "a\rb")), MALFORMED),
    ("lf_in_value", headers(1, with_field("x-a", "a\nb")), MALFORMED),
    ("tab_in_value", headers(1, with_field("x-a", "a\tb")), DONE),
    ("high_octet_in_value", headers(1, with_field("x-a", "\u00fc")), DONE),
    ("empty_value", headers(1, with_field("x-a", "")), DONE),
    # 8.2.2 connection-specific fields
    ("connection", headers(1, with_field("connection", "close")), MALFORMED),
    ("keep_alive", headers(1, with_field("keep-alive", "1")), MALFORMED),
    ("proxy_connection", headers(1, with_field("proxy-connection", "close")), MALFORMED),
    ("transfer_encoding", headers(1, with_field("transfer-encoding", "chunked")), MALFORMED),
    ("upgrade", headers(1, with_field("upgrade", "h2c")), MALFORMED),
    ("te_trailers", headers(1, with_field("te", "trailers")), DONE),
    ("te_gzip", headers(1, with_field("te", "gzip")), MALFORMED),
    # 8.3 pseudo-header fields
    ("pseudo_after_field", headers(1, [("x-a", "1"), *GET]), MALFORMED),
    ("pseudo_unknown", headers(1, [(":x", "1"), *GET]), MALFORMED),
    ("pseudo_of_response", headers(1, [(":status", "200"), *GET]), MALFORMED),
    ("method_missing", headers(1, without(":method")), MALFORMED),
    ("scheme_missing", headers(1, without(":scheme")), MALFORMED),
    ("path_missing", headers(1, without(":path")), MALFORMED),
    ("path_empty", headers(1, replaced(":path", "")), MALFORMED),
    ("path_relative", headers(1, replaced(":path", "a/b")), MALFORMED),
    ("path_star_get", headers(1, replaced(":path", "*")), MALFORMED),
    ("path_star_options", headers(1, [(":method", "OPTIONS"), (":scheme", "http"), (":authority", "x"), (":path", "*")]), DONE),
    ("method_twice", headers(1, [(":method", "GET"), *GET]), MALFORMED),
    ("scheme_twice", headers(1, [(":scheme", "http"), *GET]), MALFORMED),
    ("path_twice", headers(1, [(":path", "/"), *GET]), MALFORMED),
    ("authority_twice", headers(1, [(":authority", "x"), *GET]), MALFORMED),
    ("authority_missing_host_there", headers(1, [*without(":authority"), ("host", "x")]), DONE),
    ("authority_and_host", headers(1, with_field("host", "test")), DONE),
    ("authority_bad_octet", headers(1, replaced(":authority", "a b")), MALFORMED),
    ("scheme_odd", headers(1, replaced(":scheme", "h\x00")), MALFORMED),
    ("method_bad_octet", headers(1, replaced(":method", "G T")), MALFORMED),
    ("path_bad_octet", headers(1, replaced(":path", "/\x01")), MALFORMED),
    ("no_fields", headers(1, []), MALFORMED),
    ("cookies", headers(1, [*GET, ("cookie", "a=1"), ("cookie", "b=2")]), DONE),
    # 8.5 CONNECT
    ("connect", headers(1, [(":method", "CONNECT"), (":authority", "x:1")]), DONE),
    ("connect_with_path", headers(1, [(":method", "CONNECT"), (":authority", "x:1"), (":path", "/")]), MALFORMED),
    ("connect_with_scheme", headers(1, [(":method", "CONNECT"), (":authority", "x:1"), (":scheme", "http")]), MALFORMED),
    ("connect_without_authority", headers(1, [(":method", "CONNECT")]), MALFORMED),
    # RFC 8441: not announced
    ("protocol_not_announced", headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]), MALFORMED),
    ("protocol_on_get", headers(1, [(":protocol", "websocket"), *GET]), MALFORMED),
]  # fmt: skip


@pytest.mark.parametrize("row", MESSAGES, ids=names(MESSAGES))
def test_messages(row: Row) -> None:
    check(row)


@pytest.mark.parametrize("row", [row for row in MESSAGES if row[2] == MALFORMED and not row[0].startswith("length_too")], ids=lambda row: row[0])
def test_malformed_ends_the_connection_by_default(row: Row) -> None:
    # Envoy's default: `override_stream_error_on_invalid_http_message` is off. What is wrong with the length of a body costs
    # the stream in any case.
    server = Server(Http2Settings())
    server.feed(START)
    server.take()
    assert isinstance(row[1], bytes)
    if "with_trailers_short" in row[0]:
        pytest.skip("a matter of length")
    assert server.play(row[1], alive=False)[-1].startswith("connection error")
    assert server.stats.rx_messaging_error.value == 1


def connecting() -> Server:
    made = Http2Settings()
    made.allow_connect = True
    made.stream_error = True
    return Server(made)


CONNECTS: list[Row] = [
    ("websocket", headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]), DONE),
    ("without_path", headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:3]]), MALFORMED),
    ("without_scheme", headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), *GET[2:]]), MALFORMED),
    ("on_get", headers(1, [(":protocol", "websocket"), *GET]), MALFORMED),
    ("twice", headers(1, [(":method", "CONNECT"), (":protocol", "a"), (":protocol", "b"), *GET[1:]]), MALFORMED),
    ("plain_connect_still_works", headers(1, [(":method", "CONNECT"), (":authority", "x:1")]), DONE),
]


@pytest.mark.parametrize("row", CONNECTS, ids=names(CONNECTS))
def test_extended_connect(row: Row) -> None:
    server = check(row, connecting())
    if row[0] == "websocket":
        got = server.exchanges[0].headers
        assert got is not None
        assert (got.method, got.get(b"upgrade"), got.get(b"connection")) == (b"GET", b"websocket", b"upgrade")


def received(fields: list[tuple[str, str]], underscores: int = 0) -> Server:
    server = Server(underscores=underscores)
    server.feed(START + headers(1, fields))
    return server


def test_what_a_request_becomes() -> None:
    fields = [*without(":authority"), ("host", "h"), ("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("x-a", "2")]
    got = received(fields).exchanges[0].headers
    assert got is not None
    assert got.authority == b"h"
    assert got.get(b"cookie") == b"a=1; b=2"
    assert got.get_all(b"x-a") == [b"1", b"2"]


@pytest.mark.parametrize(("mode", "left"), [(0, b"1"), (UNDERSCORES_DROP, None)])
def test_underscores(mode: int, left: bytes | None) -> None:
    server = received(with_field("x_a", "1"), mode)
    got = server.exchanges[0].headers
    assert got is not None and got.get(b"x_a") == left
    assert server.stats.dropped_headers_with_underscores.value == (mode == UNDERSCORES_DROP)


def test_underscores_refused() -> None:
    server = received(with_field("x_a", "1"), UNDERSCORES_REJECT)
    assert server.stats.requests_rejected_with_underscores_in_headers.value == 1
    assert server.exchanges[0].headers is None


def test_trailers_reach_the_reader() -> None:
    server = Server()
    server.feed(START + post(1) + data(1, b"x") + trailers(("x-t", "1"), ("x-t", "2")))
    got = server.exchanges[0].trailers
    assert got is not None and got.get_all(b"x-t") == [b"1", b"2"]


def test_too_large_headers_cost_the_stream() -> None:
    server = Server(max_headers_kb=1)
    server.feed(START)
    server.take()
    assert server.play(headers(1, with_field("x-a", "a" * 1100)))[-1].startswith("1: ")
    assert server.stats.header_list_size_too_large.value == 1


def test_too_many_headers_cost_the_stream() -> None:
    server = Server()
    server.feed(START)
    server.take()
    many = [*GET, *[(f"x-{number}", "1") for number in range(101)]]
    assert server.play(headers(1, many))[-1].startswith("1: ")
    assert server.stats.header_overflow.value == 1
