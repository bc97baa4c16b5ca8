"""Expressions without a proxy: what compiles, what is refused, what is asked of a stream."""

from __future__ import annotations

import datetime

import pytest

from outrider.cel import times
from outrider.cel.attributes import Attributes
from outrider.cel.program import CelConfig, CelError, compile_text
from outrider.data.address import KIND_IP, Address
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, StreamInfo


def stream(**headers: str) -> Attributes:
    connection = ConnectionInfo(7, Address(KIND_IP, "10.0.0.1", 80), Address(KIND_IP, "10.0.0.2", 1234))
    info = StreamInfo(connection, 1_600_000_000_123_456_789, 0, HTTP11)
    request = RequestHeaderMap(method=b"GET", path=b"/a?b", authority=b"h", scheme=b"http")
    for name, value in headers.items():
        request.set(name.replace("_", "-").encode(), value.encode())
    return Attributes(info, request)


def test_only_what_is_named_is_looked_up() -> None:
    program = compile_text("request.headers['X-A'] == 'b' && source.port == 1234 && 'k' in filter_state")
    assert program.wanted == {"request": ("headers",), "source": ("port",), "filter_state": ()}
    assert not program.is_true(stream(x_a="b"))
    assert compile_text("request.headers['X-A'] == 'b' && source.port == 1234").is_true(stream(x_a="b"))


def test_whole_roots() -> None:
    assert compile_text("request == {}").wanted == {"request": ()}
    assert compile_text("size(request) > 3 && request.path == '/a?b'").is_true(stream())


def test_times() -> None:
    assert compile_text("request.time").text(stream()) == "2020-09-13T12:26:40.123456+00:00"
    assert compile_text("request.time").json(stream()) == "2020-09-13T12:26:40.123456Z"
    assert compile_text("request.duration").text(stream()) is None


@pytest.mark.parametrize(
    ("seconds", "text", "json"),
    [
        (0.0, "0", "0s"), (1.5, "1.5s", "1.500s"), (3723.25, "1h2m3.25s", "3723.250s"), (0.00125, "1.25ms", "0.001250s"),
        (0.00009, "90us", "0.000090s"), (-2.0, "-2s", "-2s"), (60.0, "1m", "60s"),
    ],
)  # fmt: skip
def test_durations_print(seconds: float, text: str, json: str) -> None:
    span = datetime.timedelta(seconds=seconds)
    assert times.duration_text(span) == text
    assert times.duration_json(span) == json


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("1 +", "Not able to parse expression: ERROR"),
        ("foo(1)", "No overload found in reference resolve step for foo"),
        ("string(5)", "No overload found in reference resolve step for string"),
        ("request.path.lowerAscii()", "No overload found in reference resolve step for lowerAscii"),
        ("[1].exists(x, x == 1)", "Comprehension support is disabled"),
    ],
)
def test_refused(source: str, complaint: str) -> None:
    with pytest.raises(CelError, match=complaint):
        compile_text(source)


def test_options() -> None:
    config = CelConfig()
    config.string_conversion = True
    config.string_functions = True
    assert compile_text("string(5)", config).text(stream()) == "5"
    assert compile_text("request.path.upperAscii()", config).text(stream()) == "/A?B"


def test_an_expression_without_value() -> None:
    program = compile_text("request.headers['nope'] == 'a'")
    assert program.evaluate(stream()) is None
    assert not program.is_true(stream())
    assert not compile_text("1 + 1").is_true(stream())
