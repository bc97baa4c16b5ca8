"""envoy.filters.http.health_check: answers, failure, cache, configuration faults."""

from __future__ import annotations

import pytest

from outrider.config.errors import ConfigError
from outrider.data import response_flag
from outrider.data.header_map import ResponseHeaderMap
from outrider.extensions.filters.http.health_check import HealthCheckCache
from tests.extensions.filters.http.scene import Scene, request_headers

TYPE = "envoy.extensions.filters.http.health_check.v3.HealthCheck"
PATH = [{"name": ":path", "string_match": {"exact": "/healthz"}}]


def test_failed_server_answers_503_itself() -> None:
    scene = Scene("hc", TYPE, {"pass_through_mode": True, "headers": PATH})
    assert scene.stream(request_headers(path="/healthz")).passed
    scene.context.server.health_check_failed = True
    stream = scene.stream(request_headers(path="/healthz"))
    assert stream.out == ["reply 503 "]
    assert stream.details == "health_check_failed"
    assert stream.stream_info.response_flags == response_flag.FAILED_LOCAL_HEALTH_CHECK
    assert scene.counter("health_check.failed") == 1


def test_failed_server_says_so_in_other_responses() -> None:
    scene = Scene("hc", TYPE, {"pass_through_mode": True, "headers": PATH})
    scene.context.server.health_check_failed = True
    stream = scene.stream(request_headers())
    headers = ResponseHeaderMap(status=200)
    stream.encode_headers_from(None, headers, True)
    assert headers.get(b"x-envoy-immediate-health-check-fail") == b"true"


def test_cache_ends_with_its_period() -> None:
    cache = HealthCheckCache(100, 1000)
    assert not cache.valid(1000)
    cache.store(200, False, 1050)
    assert cache.valid(1099)
    assert not cache.valid(1100)


@pytest.mark.parametrize(
    "config",
    [
        {"pass_through_mode": False, "cache_time": "1s"},
        {"pass_through_mode": True, "cluster_min_healthy_percentages": {"a": {"value": 1}}},
    ],
)
def test_contradictions_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Scene("hc", TYPE, config)
