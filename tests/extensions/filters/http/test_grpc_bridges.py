"""grpc_stats, grpc_web, the two HTTP/1 bridges and the Connect bridge: what they make of messages; bounds."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.filters.http import (
    connect_grpc_bridge,
    grpc_http1_bridge,
    grpc_http1_reverse_bridge,
    grpc_stats,
    grpc_web,
)
from outrider.extensions.filters.http.connect_grpc_bridge import error_json, grpc_timeout, json_text
from outrider.extensions.filters.http.grpc_charge import MAX_METHODS, GrpcCharger
from outrider.extensions.filters.http.grpc_frames import FLAG_WEB_TRAILERS, frame
from outrider.stats.store import Store
from outrider.upstream.cluster_manager import ClusterManager
from tests.extensions.filters.http.scene import Scene, Stream, request_headers

assert connect_grpc_bridge and grpc_http1_bridge and grpc_http1_reverse_bridge and grpc_stats and grpc_web
FILTERS = "envoy.extensions.filters.http."
GRPC = "application/grpc"


def headers(kind: str, *more: tuple[str, str]) -> RequestHeaderMap:
    return request_headers(("content-type", kind), *more, method="POST", path="/pkg.Svc/Call")


def begin(name: str, message: str, config: dict[str, Any], request: RequestHeaderMap) -> Stream:
    return Scene(name, f"{FILTERS}{name}.v3.{message}", config).stream(request, end=False)


def answer(stream: Stream, kind: str = GRPC, status: int = 200, end: bool = False, **fields: str) -> ResponseHeaderMap:
    made = ResponseHeaderMap(status=status)
    made.set(b"content-type", kind.encode())
    for name, value in fields.items():
        made.set(name.replace("_", "-").encode(), value.encode())
    stream.encode_headers_from(None, made, end)
    return made


def trailers(*fields: tuple[str, str]) -> HeaderMap:
    made = HeaderMap()
    for name, value in fields:
        made.add(name.encode(), value.encode())
    return made


# --- grpc_web ---


def test_web_text_in_pieces() -> None:
    stream = begin("grpc_web", "GrpcWeb", {}, headers("application/grpc-web-text", ("accept", "application/grpc-web-text")))
    encoded = base64.b64encode(frame(b"hello"))
    passed: list[bytes] = []
    for at in range(0, len(encoded), 3):
        stream.run_decode_data(0, encoded[at : at + 3], at + 3 >= len(encoded))
    assert stream.request_headers is not None
    assert stream.request_headers.get(b"content-type") == b"application/grpc"
    assert stream.request_headers.get(b"te") == b"trailers"
    assert not passed and stream.out == []
    made = answer(stream)
    stream.encode_data_from(None, frame(b"abc")[:4], False)
    stream.encode_data_from(None, frame(b"abc")[4:], False)
    stream.encode_trailers_from(None, trailers(("grpc-status", "0"), ("x-t", "1")))
    assert made.get(b"content-type") == b"application/grpc-web-text+proto"
    body = "".join(line.removeprefix("data ") for line in stream.out if line.startswith("data "))
    end = frame(b"grpc-status:0\r\nx-t:1\r\n", FLAG_WEB_TRAILERS)
    assert body == (base64.b64encode(frame(b"abc")) + base64.b64encode(end)).decode()


@pytest.mark.parametrize("body", [b"abc", b"ab!=", b"===="])
def test_web_text_that_is_none(body: bytes) -> None:
    stream = begin("grpc_web", "GrpcWeb", {}, headers("application/grpc-web-text"))
    stream.run_decode_data(0, body, True)
    assert stream.details.startswith("grpc_base_64_decode_failed")


def test_web_answer_of_something_else() -> None:
    stream = begin("grpc_web", "GrpcWeb", {}, headers("application/grpc-web"))
    made = answer(stream, "text/html", 503)
    stream.encode_data_from(None, b"100%\n", False)
    stream.encode_data_from(None, b"", True)
    assert (made.get(b"grpc-status"), made.get(b"grpc-message")) == (b"14", b"100%25%0A")


# --- bridges ---


def test_bridge_moves_the_status() -> None:
    stream = begin("grpc_http1_bridge", "Config", {}, headers(GRPC))
    made = answer(stream)
    stream.encode_data_from(None, b"abc", False)
    stream.encode_trailers_from(None, trailers(("grpc-status", "5"), ("grpc-message", "m")))
    assert (made.status, made.get(b"grpc-status"), made.get(b"content-length")) == (503, b"5", b"3")
    assert stream.out[:2] == ["headers 503", "data abc"]


def test_bridge_frames_protobuf() -> None:
    request = headers("application/x-protobuf", ("content-length", "4"))
    stream = begin("grpc_http1_bridge", "Config", {"upgrade_protobuf_to_grpc": True}, request)
    stream.run_decode_data(0, b"ab", False)
    stream.run_decode_data(0, b"cd", True)
    assert request.get(b"content-type") == b"application/grpc" and request.get(b"content-length") is None
    made = answer(stream)
    stream.encode_data_from(None, frame(b"xyz")[:3], False)
    stream.encode_data_from(None, frame(b"xyz")[3:], False)
    stream.encode_trailers_from(None, trailers(("grpc-status", "0")))
    assert made.get(b"content-length") == b"3" and "data xyz" in stream.out


REVERSE = {"content_type": "application/x-protobuf", "withhold_grpc_frames": True}


def test_reverse_bridge() -> None:
    request = headers(GRPC + "+proto", ("content-length", "8"))
    stream = begin("grpc_http1_reverse_bridge", "FilterConfig", REVERSE, request)
    assert request.get(b"content-type") == b"application/x-protobuf" and request.get(b"content-length") == b"3"
    made = answer(stream, "application/x-protobuf", 404)
    stream.encode_data_from(None, b"abc", True)
    assert (made.status, made.get(b"content-type")) == (200, b"application/grpc+proto")
    assert stream.response_trailers is not None and stream.response_trailers.get(b"grpc-status") == b"12"
    assert "data " + frame(b"abc").decode() in stream.out


@pytest.mark.parametrize(
    ("kind", "fields", "details"),
    [
        ("text/html", {}, "grpc_bridge_content_type_wrong"),
        ("application/x-protobuf", {}, "grpc_bridge_content_length_missing"),
        ("application/x-protobuf", {"x_size": "nine"}, "grpc_bridge_content_length_missing"),
    ],
)
def test_reverse_bridge_refuses(kind: str, fields: dict[str, str], details: str) -> None:
    stream = begin("grpc_http1_reverse_bridge", "FilterConfig", {**REVERSE, "response_size_header": "X-Size"}, headers(GRPC))
    answer(stream, kind, 200, False, **fields)
    assert stream.details == details


def test_reverse_bridge_off_for_a_route() -> None:
    scene = Scene("grpc_http1_reverse_bridge", f"{FILTERS}grpc_http1_reverse_bridge.v3.FilterConfig", REVERSE)
    off = scene.route_config(f"{FILTERS}grpc_http1_reverse_bridge.v3.FilterConfigPerRoute", {"disabled": True})
    request = headers(GRPC)
    scene.stream(request, off, end=False)
    assert request.get(b"content-type") == b"application/grpc"


# --- Connect ---

VERSION = ("connect-protocol-version", "1")


def test_connect_unary() -> None:
    request = headers("application/json", VERSION, ("connect-timeout-ms", "250"), ("content-length", "2"))
    stream = begin("connect_grpc_bridge", "FilterConfig", {}, request)
    assert request.get(b"content-type") == b"application/grpc+json"
    assert (request.get(b"grpc-timeout"), request.get(b"content-length")) == (b"250m", None)
    made = answer(stream)
    stream.encode_data_from(None, frame(b"{}"), False)
    stream.encode_trailers_from(None, trailers(("grpc-status", "0"), ("x-t", "1")))
    assert made.get(b"trailer-x-t") == b"1" and "data {}" in stream.out


def test_connect_unary_error() -> None:
    stream = begin("connect_grpc_bridge", "FilterConfig", {}, headers("application/proto", VERSION))
    made = answer(stream)
    stream.encode_trailers_from(None, trailers(("grpc-status", "8"), ("grpc-message", "full")))
    assert made.status == 429 and 'data {"code":"resource_exhausted","message":"full"}' in stream.out


def test_connect_unary_is_bounded() -> None:
    stream = begin("connect_grpc_bridge", "FilterConfig", {}, headers("application/proto", VERSION))
    stream.run_decode_data(0, b"x" * 1001, False)
    assert stream.details == "connect_bridge_unary_request_too_large"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, b"0m"), (99_999_999, b"99999999m"), (100_000_000, b"100000S"), (99_999_999_000 * 60, b"99999999M"), (10**19, b"")],
)
def test_timeouts(milliseconds: int, text: bytes) -> None:
    assert grpc_timeout(milliseconds) == text


def test_connect_json() -> None:
    assert json_text(b'a"\\\n\x01\xff') == b'a\\"\\\\\\n\\u0001\\u00ff'
    assert error_json(1, b"") == b'{"code":"canceled"}'
    assert error_json(99, b"x") == b'{"code":"code_99","message":"x"}'


# --- grpc_stats ---


def test_names_from_paths_are_bounded() -> None:
    class Info:
        name = "up"
        scope = Store().scope("cluster.up")

    info: Any = Info()
    charger = GrpcCharger(ClusterManager())
    for number in range(MAX_METHODS + 50):
        charger.find(info, ("svc", f"m{number}")).charge(True)
    assert info.scope.counter("grpc.svc.m0.total").value == 1
    assert info.scope.counter("grpc.total").value > 0
    assert len(info.scope.root().counters) < 2 * MAX_METHODS + 20


def test_odd_statuses_share_a_counter() -> None:
    scope = Store().scope("cluster.up")

    class Info:
        name = "up"

    info: Any = Info()
    info.scope = scope
    stats = GrpcCharger(ClusterManager()).find(info, None)
    for value in ("0", "16", "1000", "-1", "x", ""):
        stats.charge_status(trailers(("grpc-status", value)))
    assert [scope.counter(f"grpc.{name}").value for name in ("0", "16", "invalid", "success", "failure", "total")] == [1, 1, 4, 1, 5, 6]


def test_messages_go_into_the_filter_state() -> None:
    stream = begin("grpc_stats", "FilterConfig", {"emit_filter_state": True}, headers(GRPC))
    stream.run_decode_data(0, frame(b"a") + frame(b"b"), True)
    answer(stream)
    stream.encode_data_from(None, frame(b"c"), False)
    stream.encode_trailers_from(None, trailers(("grpc-status", "0")))
    state = stream.stream_info.filter_state
    assert state is not None
    counts: Any = state["envoy.filters.http.grpc_stats"]
    assert counts.serialize_typed() == {"requestMessageCount": "2", "responseMessageCount": "1"}
