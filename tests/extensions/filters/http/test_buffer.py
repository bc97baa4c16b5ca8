"""envoy.filters.http.buffer: holding, lengths, limits, routes."""

from __future__ import annotations

from outrider.extensions.filters.http import buffer
from tests.extensions.filters.http.scene import Scene, request_headers

assert buffer
TYPE = "envoy.extensions.filters.http.buffer.v3.Buffer"


def test_holds_until_the_end_and_counts() -> None:
    headers = request_headers()
    stream = Scene("buffer", TYPE, {"max_request_bytes": 5}).stream(headers, end=False)
    assert not stream.passed
    stream.run_decode_data(0, b"ab", False)
    assert not stream.passed
    stream.remote_complete = True
    stream.run_decode_data(0, b"c", True)
    assert stream.passed
    assert headers.get(b"content-length") == b"3"


def test_too_much() -> None:
    stream = Scene("buffer", TYPE, {"max_request_bytes": 5}).stream(request_headers(), end=False)
    stream.run_decode_data(0, b"abcdef", False)
    assert stream.out == ["413"]


def test_switched_off_for_a_route() -> None:
    scene = Scene("buffer", TYPE, {"max_request_bytes": 5})
    assert scene.stream(request_headers(), scene.route_config(TYPE + "PerRoute", {"disabled": True}), end=False).passed
