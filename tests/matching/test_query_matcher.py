from __future__ import annotations

import pytest

from outrider.matching.query_matcher import cookie_value, parse_cookie_matcher, parse_query_matcher, query_value
from tests.matching.support import headers_of, view_of


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/", None),
        ("/?", None),
        ("/?q", b""),
        ("/?q=", b""),
        ("/?q=1&q=2", b"1"),
        ("/?qq=1&q=2", b"2"),
        ("/?&&q=a=b", b"a=b"),
        ("/?r=q=1", None),
        ("/?Q=1", None),
        ("/?q=%61", b"%61"),
        ("/q=1", None),
    ],
)
def test_query_value(path: str, value: bytes | None) -> None:
    assert query_value(path.encode(), b"q") == value


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ([], None),
        (["k=v"], b"v"),
        (["a=b; k=v"], b"v"),
        (['k="v"'], b"v"),
        (['k="'], b'"'),
        (["k=a=b"], b"a=b"),
        (["k"], None),
        (["kk=1", "k=2"], b"2"),
        (["k=1;k=2"], b"1"),
        (["k =1"], None),
    ],
)
def test_cookie_value(cookies: list[str], value: bytes | None) -> None:
    assert cookie_value(headers_of(*[("cookie", each) for each in cookies]), b"k") == value


@pytest.mark.parametrize(
    ("config", "path", "expected"),
    [
        ({}, "/?q", True),
        ({}, "/", False),
        ({"present_match": True}, "/?q=1", True),
        ({"present_match": False}, "/?q=1", False),
        ({"present_match": False}, "/", True),
        ({"string_match": {"prefix": "a"}}, "/?q=ab", True),
        ({"string_match": {"exact": ""}}, "/", False),
    ],
)
def test_query_matcher(config: dict[str, object], path: str, expected: bool) -> None:
    matcher = parse_query_matcher(view_of("envoy.config.route.v3.QueryParameterMatcher", {"name": "q", **config}))
    assert matcher.matches(path.encode()) is expected


@pytest.mark.parametrize(
    ("invert", "cookie", "expected"), [(False, "k=v", True), (True, "k=v", False), (True, "", True)]
)
def test_cookie_matcher(invert: bool, cookie: str, expected: bool) -> None:
    config = {"name": "k", "string_match": {"exact": "v"}, "invert_match": invert}
    matcher = parse_cookie_matcher(view_of("envoy.config.route.v3.CookieMatcher", config))
    assert matcher.matches(headers_of(("cookie", cookie))) is expected
