"""envoy.filters.http.cors and csrf: what the parity tests cannot show."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.data.header_map import ResponseHeaderMap
from outrider.extensions.filters.http import cors, csrf
from tests.extensions.filters.http.scene import Scene, request_headers

GOOD: dict[str, Any] = {"allow_origin_string_match": [{"exact": "https://good"}], "allow_credentials": True}


def test_the_most_specific_level_wins_part_by_part() -> None:
    made = Scene("cors", cors.TYPE, {})
    host = made.route_config(cors.POLICY_TYPE, {**GOOD, "expose_headers": "x-a", "max_age": "5"})
    route = made.route_config(cors.POLICY_TYPE, {"allow_credentials": False, "max_age": "6"})
    stream = made.stream(
        request_headers(("origin", "https://good"), ("access-control-request-method", "GET"), method="OPTIONS"),
        host,
        route,
    )
    assert stream.out == ["headers 200!", "sent"]
    assert stream.stream_info.response_code_details == "cors_response"
    assert stream.response_headers is not None
    assert dict(stream.response_headers.items()) == {
        b"access-control-allow-origin": b"https://good",
        b"access-control-max-age": b"6",
        b"access-control-expose-headers": b"x-a",
    }


def test_a_shared_response_names_the_origin() -> None:
    made = Scene("cors", cors.TYPE, {})
    policy = made.route_config(cors.POLICY_TYPE, GOOD)
    stream = made.stream(request_headers(("origin", "https://good")), policy)
    assert stream.passed
    response = ResponseHeaderMap({b"access-control-allow-origin": b"*"}, status=200)
    stream.encode_headers_from(None, response, True)
    assert response.get(b"access-control-allow-origin") == b"https://good"
    assert made.counter("cors.origin_valid") == 1


def test_an_unknown_origin_is_only_counted() -> None:
    made = Scene("cors", cors.TYPE, {})
    policy = made.route_config(cors.POLICY_TYPE, GOOD)
    stream = made.stream(request_headers(("origin", "https://bad")), policy)
    response = ResponseHeaderMap(status=200)
    stream.encode_headers_from(None, response, True)
    assert response.items() == []
    assert made.counter("cors.origin_invalid") == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"http://a", b"a"),
        (b"http://a:1/x", b"a:1"),
        (b"https://u:p@a.b?c", b"a.b"),
        (b"http://[::1]:2/", b"[::1]:2"),
        (b"null", b"null"),
        (b"http://", b"http://"),
    ],
)
def test_host_and_port(url: bytes, expected: bytes) -> None:
    assert csrf.host_and_port(url) == expected


@pytest.mark.parametrize(
    ("origin", "method", "passes"),
    [
        ("http://test", "POST", True),
        ("http://test:1", "POST", False),
        ("http://other", "GET", True),
        ("http://other", "DELETE", False),
        ("null", "PUT", False),
    ],
)
def test_csrf(origin: str, method: str, passes: bool) -> None:
    made = Scene("csrf", csrf.TYPE, {"filter_enabled": {"default_value": {"numerator": 100}}})
    stream = made.stream(request_headers(("origin", origin), method=method))
    assert stream.passed == passes
    assert stream.details == ("" if passes else "csrf_origin_mismatch")


def test_csrf_route_and_shadow() -> None:
    made = Scene("csrf", csrf.TYPE, {"filter_enabled": {"default_value": {"numerator": 100}}})
    shadow = made.route_config(
        csrf.TYPE,
        {
            "filter_enabled": {"default_value": {"numerator": 0}},
            "shadow_enabled": {"default_value": {"numerator": 100}},
        },
    )
    assert made.stream(request_headers(("origin", "http://x"), method="POST"), shadow).passed
    assert made.counter("csrf.request_invalid") == 1


def test_csrf_needs_its_switch() -> None:
    with pytest.raises(ConfigError, match="value is required"):
        Scene("csrf", csrf.TYPE, {})
