"""Log filters. Decisions are those of Envoy 1.40 in the same situations."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.access_log.access_log import LogFilter
from outrider.access_log.context import FormatContext
from outrider.access_log.filters import parse_log_filter, request_id_number
from outrider.config.errors import ConfigError
from outrider.config.runtime import Runtime, make_entry
from outrider.data.response_flag import NO_ROUTE_FOUND, UPSTREAM_OVERFLOW
from outrider.data.stream_info import StreamInfo
from tests.config.messages import view_of

from . import scene


class FakeContext:
    def __init__(self, **values: object) -> None:
        self.runtime = Runtime({key: make_entry(value) for key, value in values.items()})


def make(tree: dict[str, Any], **runtime: object) -> LogFilter:
    view = view_of("envoy.config.accesslog.v3.AccessLogFilter", tree)
    log_filter = parse_log_filter(view, FakeContext(**runtime))
    assert not view.unread()
    return log_filter


def decide(tree: dict[str, Any], context: FormatContext, **runtime: object) -> bool:
    return make(tree, **runtime).evaluate(context)


def compare(op: str, value: int, key: str = "k") -> dict[str, Any]:
    return {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": key}}}


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("EQ", 200, True),
        ("EQ", 201, False),
        ("GE", 200, True),
        ("GE", 201, False),
        ("LE", 200, True),
        ("LE", 199, False),
        ("NE", 200, False),
        ("NE", 0, True),
    ],
)
def test_status_code(op: str, value: int, expected: bool) -> None:
    assert decide({"status_code_filter": compare(op, value)}, scene.proxied()) is expected


def test_comparison_takes_runtime_values() -> None:
    tree = {"status_code_filter": compare("EQ", 0, "code")}
    assert not decide(tree, scene.proxied())
    assert decide(tree, scene.proxied(), code=200)


def test_duration() -> None:
    assert decide({"duration_filter": compare("EQ", 2)}, scene.proxied())
    assert not decide({"duration_filter": compare("GE", 3)}, scene.proxied())
    unfinished = scene.proxied()
    unfinished.stream_info.end_ns = 0
    assert not decide({"duration_filter": compare("GE", 0)}, unfinished)


def test_health_checks_and_traces() -> None:
    context = scene.proxied()
    assert decide({"not_health_check_filter": {}}, context)
    assert not decide({"traceable_filter": {}}, context)
    context.stream_info.trace_reason = 2
    assert decide({"traceable_filter": {}}, context)
    context.stream_info.health_check = True
    assert not decide({"not_health_check_filter": {}}, context)
    assert not decide({"traceable_filter": {}}, context)


def runtime_filter(numerator: int, **more: object) -> dict[str, Any]:
    return {"runtime_filter": {"runtime_key": "x", "percent_sampled": {"numerator": numerator}, **more}}


@pytest.mark.parametrize(
    ("request_id", "expected"),
    [("00000031-0000-4000-8000-000000000000", True), ("00000032-0000-4000-8000-000000000000", False)],
)
def test_share_of_requests_by_their_id(request_id: str, expected: bool) -> None:
    context = scene.proxied()
    context.stream_info.stream_id = request_id
    assert decide(runtime_filter(50), context) is expected
    assert decide(runtime_filter(0), context, x=100)
    assert not decide(runtime_filter(100), context, x=0)


def test_share_of_requests_without_an_id() -> None:
    context = scene.proxied()
    context.request_headers = None
    for request_id in ("", "short", "zzzzzzzz-0000-4000-8000-000000000000"):
        context.stream_info.stream_id = request_id
        assert request_id_number(request_id.encode()) == -1
        assert decide(runtime_filter(100), context)
        assert not decide(runtime_filter(0), context)


def test_independent_randomness() -> None:
    context = scene.proxied()
    context.stream_info.stream_id = "00000000-0000-4000-8000-000000000000"
    chosen = make(runtime_filter(50, use_independent_randomness=True))
    decisions = {chosen.evaluate(context) for _ in range(200)}
    assert decisions == {True, False}


def test_and_or() -> None:
    yes = {"status_code_filter": compare("EQ", 200)}
    no = {"status_code_filter": compare("EQ", 1)}
    assert decide({"and_filter": {"filters": [yes, yes]}}, scene.proxied())
    assert not decide({"and_filter": {"filters": [yes, no]}}, scene.proxied())
    assert decide({"or_filter": {"filters": [no, yes]}}, scene.proxied())
    assert not decide({"or_filter": {"filters": [no, no]}}, scene.proxied())


def test_header() -> None:
    tree = {"header_filter": {"header": {"name": "User-Agent", "present_match": True}}}
    inverted = {"header_filter": {"header": {"name": "user-agent", "present_match": True, "invert_match": True}}}
    assert decide(tree, scene.proxied())
    assert not decide(inverted, scene.proxied())
    assert not decide(tree, scene.tcp_session())
    assert decide(inverted, scene.tcp_session())


def test_response_flags() -> None:
    context = scene.proxied()
    assert not decide({"response_flag_filter": {}}, context)
    context.stream_info.response_flags = NO_ROUTE_FOUND | UPSTREAM_OVERFLOW
    assert decide({"response_flag_filter": {}}, context)
    assert decide({"response_flag_filter": {"flags": ["NR"]}}, context)
    assert decide({"response_flag_filter": {"flags": ["UH", "UO"]}}, context)
    assert not decide({"response_flag_filter": {"flags": ["UH"]}}, context)


def test_grpc_status() -> None:
    context = scene.local_answer()
    assert decide({"grpc_status_filter": {"statuses": ["UNKNOWN"]}}, context)
    assert not decide({"grpc_status_filter": {"statuses": ["UNKNOWN"], "exclude": True}}, context)
    assert not decide({"grpc_status_filter": {}}, context)
    context.stream_info.response_code = 404
    assert decide({"grpc_status_filter": {"statuses": ["UNIMPLEMENTED", "CANCELED"]}}, context)
    context.response_trailers = scene.trailers(grpc_status=b"1")
    assert decide({"grpc_status_filter": {"statuses": ["CANCELED"]}}, context)


def metadata_filter(key: str, value: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"metadata_filter": {"matcher": {"filter": "ns", "path": [{"key": key}], "value": value}, **more}}


def test_metadata() -> None:
    context = scene.proxied()
    is_x = {"string_match": {"exact": "x"}}
    assert decide(metadata_filter("a", is_x), context)
    assert not decide(metadata_filter("a", is_x, match_if_key_not_found=False), context)
    context.stream_info.metadata = {"ns": {"a": "x", "n": None}}
    assert decide(metadata_filter("a", is_x, match_if_key_not_found=False), context)
    assert not decide(metadata_filter("a", {"string_match": {"exact": "y"}}), context)
    assert decide(metadata_filter("zz", is_x), context)
    assert not decide(metadata_filter("zz", is_x, match_if_key_not_found=False), context)
    assert decide(metadata_filter("n", {"null_match": {}}, match_if_key_not_found=False), context)
    assert decide({"metadata_filter": {}}, context)
    assert not decide({"metadata_filter": {"match_if_key_not_found": False}}, context)


def test_metadata_ignores_invert_as_envoy_does() -> None:
    context = scene.proxied()
    context.stream_info.metadata = {"ns": {"a": "x"}}
    tree = metadata_filter("a", {"string_match": {"exact": "x"}})
    tree["metadata_filter"]["matcher"]["invert"] = True
    assert decide(tree, context)


def test_log_type() -> None:
    context = scene.proxied()
    assert decide({"log_type_filter": {"types": ["DownstreamEnd", "TcpPeriodic"]}}, context)
    assert not decide({"log_type_filter": {"types": ["DownstreamEnd"], "exclude": True}}, context)
    assert not decide({"log_type_filter": {}}, context)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "a filter is required"),
        ({"response_flag_filter": {"flags": ["XX"]}}, "unknown response flag 'XX'"),
        ({"extension_filter": {"name": "x"}}, "Didn't find a registered implementation for name: 'x'"),
        ({"status_code_filter": {}}, "comparison: value is required"),
        ({"header_filter": {}}, "header: value is required"),
    ],
)
def test_refused(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(tree)


def test_stream_info_is_all_that_is_needed() -> None:
    context = FormatContext(StreamInfo(scene.connection(), 0, 0, -1))
    assert decide({"status_code_filter": compare("EQ", 0)}, context)
