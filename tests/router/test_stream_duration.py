"""How long a stream may last, by its route and its `grpc-timeout`."""

from __future__ import annotations

import pytest

from outrider.data.header_map import RequestHeaderMap
from tests.router.support.playbook import World


@pytest.mark.parametrize(
    ("duration", "maximum", "offset", "asked", "expected", "told"),
    [
        (-1, -1, -1, None, -1, None), (200, -1, -1, None, 200, b"200m"), (0, -1, -1, b"1S", 0, b"1S"),
        (-1, 300, 50, b"10S", 250, b"250m"), (-1, 300, -1, b"100m", 100, b"100m"),
        (-1, 0, -1, b"10S", 10_000, b"10000m"),
        (-1, 300, 500, b"10S", 1, b"0m"), (200, 300, 50, None, 200, b"200m"), (200, 300, 50, b"bad", 200, b"200m"),
        (-1, 300, 50, None, -1, b"700m"),
    ],
)  # fmt: skip
def test_stream_duration(
    duration: int, maximum: int, offset: int, asked: bytes | None, expected: int, told: bytes | None
) -> None:
    route = World().route
    route.max_stream_duration_ms = duration
    route.grpc_timeout_header_max_ms = maximum
    route.grpc_timeout_header_offset_ms = offset
    headers = RequestHeaderMap({b"content-type": b"application/grpc"})
    if asked is not None:
        headers.set(b"grpc-timeout", asked)
    assert route.stream_duration(headers, 700) == expected
    assert headers.get(b"grpc-timeout") == told


def test_only_grpc_is_told() -> None:
    route = World().route
    route.grpc_timeout_header_max_ms = 300
    headers = RequestHeaderMap({b"content-type": b"text/plain", b"grpc-timeout": b"10S"})
    assert route.stream_duration(headers, 0) == 300
    assert headers.get(b"grpc-timeout") == b"10S"


def test_a_bound_on_grpc_timeouts_is_the_newer_kind_of_timeout() -> None:
    world = World()
    world.route.grpc_timeout_header_max_ms = 300
    world.request()
    sent = world.attempts[0].encoder.headers
    assert sent is not None and sent.get(b"x-envoy-expected-rq-timeout-ms") is None
