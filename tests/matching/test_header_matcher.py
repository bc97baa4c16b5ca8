"""Expectations for repeated and missing headers are Envoy 1.40's."""

from __future__ import annotations

import pytest

from outrider.matching.header_matcher import parse_header_matcher
from tests.matching.support import headers_of, view_of

RANGE = {"range_match": {"start": -1, "end": 13}}
EXACT = {"string_match": {"exact": "a"}}


@pytest.mark.parametrize(
    ("config", "values", "expected"),
    [
        ({}, ["x"], True),
        ({}, [], False),
        ({"invert_match": True}, [], True),
        ({"present_match": True}, [""], True),
        ({"present_match": False}, [], True),
        ({"present_match": False}, ["a"], False),
        ({"present_match": False, "invert_match": True}, ["a"], True),
        ({"present_match": True, "treat_missing_header_as_empty": True}, [], True),
        ({"present_match": True, "invert_match": True, "treat_missing_header_as_empty": True}, [], False),
        (EXACT, ["a"], True),
        (EXACT, ["a", "b"], True),
        (EXACT, ["b", "a"], True),
        (EXACT, ["a,b"], False),
        ({"string_match": {"exact": "a,b"}}, ["a", "b"], False),
        (EXACT, [], False),
        ({**EXACT, "invert_match": True}, [], False),
        ({**EXACT, "invert_match": True, "treat_missing_header_as_empty": True}, [], True),
        ({**EXACT, "invert_match": True}, ["a", "b"], False),
        ({**EXACT, "invert_match": True}, ["b", "c"], True),
        ({"string_match": {"exact": ""}, "treat_missing_header_as_empty": True}, [], True),
        ({"exact_match": "a"}, ["a"], True),
        ({"prefix_match": "a"}, ["ab"], True),
        ({"suffix_match": "b"}, ["ab"], True),
        ({"contains_match": "x"}, ["ab"], False),
        ({"safe_regex_match": {"regex": "a+"}}, ["aa"], True),
        (RANGE, ["-1"], True),
        (RANGE, ["13"], False),
        (RANGE, ["12"], True),
        (RANGE, ["-3", "1"], True),
        (RANGE, ["50", "50"], False),
        (RANGE, ["1x"], False),
        (RANGE, [""], False),
        (RANGE, ["1_0"], False),
        (RANGE, ["99999999999999999999999"], False),
        ({**RANGE, "invert_match": True}, ["x"], True),
    ],
)
def test_matches(config: dict[str, object], values: list[str], expected: bool) -> None:
    view = view_of("envoy.config.route.v3.HeaderMatcher", {"name": "X-A", **config})
    matcher = parse_header_matcher(view)
    assert matcher.matches(headers_of(("x-b", "1"), *[("x-a", value) for value in values])) is expected
    assert view.unread() == []
    assert "x-a" in matcher.describe()


@pytest.mark.parametrize(
    ("name", "value"), [(":path", "/"), (":method", "GET"), (":authority", "example.com"), ("host", "example.com")]
)
def test_pseudo_headers(name: str, value: str) -> None:
    view = view_of("envoy.config.route.v3.HeaderMatcher", {"name": name, "string_match": {"exact": value}})
    assert parse_header_matcher(view).matches(headers_of())
