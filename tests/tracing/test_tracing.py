"""Sampling decisions, custom tags and span buffers, without a proxy."""

from __future__ import annotations

import pytest

from outrider.access_log.context import FormatContext
from outrider.config.runtime import Runtime
from outrider.data.address import KIND_IP, Address
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, StreamInfo
from outrider.tracing.config import (
    CLIENT_FORCED,
    NOT_TRACEABLE,
    SAMPLING,
    SERVICE_FORCED,
    RouteTracing,
    TracingConfig,
)
from outrider.tracing.custom_tags import FormatTag, HeaderTag, LiteralTag, MetadataTag, metadata_text
from outrider.tracing.span import Tracer


def info() -> StreamInfo:
    connection = ConnectionInfo(1, Address(KIND_IP, "10.0.0.1", 80), Address(KIND_IP, "10.0.0.2", 1234))
    return StreamInfo(connection, 0, 0, HTTP11)


def headers(**fields: str) -> RequestHeaderMap:
    found = RequestHeaderMap(method=b"GET", path=b"/", authority=b"h", scheme=b"http")
    for name, value in fields.items():
        found.set(name.replace("_", "-").encode(), value.encode())
    return found


@pytest.mark.parametrize(
    ("percent", "number", "expected"),
    [((50, 100), 49, SAMPLING), ((50, 100), 50, NOT_TRACEABLE), ((5, 10_000), 4, SAMPLING), ((5, 10_000), 5, NOT_TRACEABLE),
     ((0, 100), 0, NOT_TRACEABLE), ((100, 100), -1, NOT_TRACEABLE)],
)  # fmt: skip
def test_random_sampling(percent: tuple[int, int], number: int, expected: int) -> None:
    config = TracingConfig(Tracer(), Runtime(), False)
    config.random_sampling = percent
    assert config.decide(headers(), info(), None, number) == expected


def test_who_forces_a_trace() -> None:
    config = TracingConfig(Tracer(), Runtime(), False)
    config.random_sampling = (0, 100)
    assert config.decide(headers(x_client_trace_id="c"), info(), None, 7) == CLIENT_FORCED
    assert config.decide(headers(x_envoy_force_trace="1"), info(), None, 7) == SERVICE_FORCED
    config.client_sampling = (0, 100)
    assert config.decide(headers(x_client_trace_id="c"), info(), None, 7) == NOT_TRACEABLE


def test_what_was_decided_before_stands_unless_nothing_may_be_traced() -> None:
    config = TracingConfig(Tracer(), Runtime(), False)
    config.random_sampling = (0, 100)
    decided = info()
    decided.trace_reason = SAMPLING
    assert config.decide(headers(), decided, None, 7) == SAMPLING
    config.overall_sampling = (0, 100)
    assert config.decide(headers(), decided, None, 7) == NOT_TRACEABLE


def test_a_route_samples_in_its_own_way() -> None:
    config = TracingConfig(Tracer(), Runtime(), False)
    route = RouteTracing((100, 100), (0, 100), (100, 100))
    assert config.decide(headers(), info(), route, 7) == NOT_TRACEABLE
    assert config.decide(headers(), info(), None, 7) == SAMPLING


def test_without_the_request_id_chance_decides() -> None:
    config = TracingConfig(Tracer(), Runtime(), False)
    config.use_request_id = False
    assert config.decide(headers(), info(), None, -1) == SAMPLING


def test_custom_tags() -> None:
    from outrider.access_log.formatter import parse_format

    stream = info()
    stream.metadata = {"ns": {"a": {"b": 5.0}}}
    context = FormatContext(stream, headers(x_a="1"))
    assert LiteralTag("t", "v").value(context) == "v"
    assert LiteralTag("t", "").value(context) is None
    assert HeaderTag("t", b"x-a", "d").value(context) == "1"
    assert HeaderTag("t", b"x-b", "d").value(context) == "d"
    assert HeaderTag("t", b"x-b", "").value(context) is None
    assert FormatTag("t", parse_format("%PROTOCOL%")).value(context) == "HTTP/1.1"
    assert MetadataTag("t", "request", "ns", ["a", "b"], "").value(context) == "5"
    assert MetadataTag("t", "request", "ns", ["a", "x"], "d").value(context) == "d"
    assert MetadataTag("t", "host", "ns", ["a"], "").value(context) is None


def test_metadata_as_text() -> None:
    assert [metadata_text(value) for value in (None, True, "s", 1.5, [1, "a"], {"k": "v"})] == [
        "", "true", "s", "1.5", '[1,"a"]', '{"k":"v"}',
    ]  # fmt: skip
