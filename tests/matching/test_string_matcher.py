from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.config.view import View
from outrider.matching.string_matcher import (
    STRING_MATCHERS,
    StringMatcher,
    parse_list_string_matcher,
    parse_string_matcher,
)
from tests.matching.support import TYPE, view_of

MESSAGE = "envoy.type.matcher.v3.StringMatcher"


@pytest.mark.parametrize(
    ("config", "value", "expected"),
    [
        ({"exact": "ab"}, b"ab", True),
        ({"exact": "ab"}, b"AB", False),
        ({"exact": "aB", "ignore_case": True}, b"Ab", True),
        ({"exact": ""}, b"", True),
        ({"exact": ""}, b"a", False),
        ({"prefix": "ab"}, b"abc", True),
        ({"prefix": "ab"}, b"xab", False),
        ({"prefix": "AB", "ignore_case": True}, b"abc", True),
        ({"suffix": "bc"}, b"abc", True),
        ({"suffix": "bc"}, b"bcd", False),
        ({"suffix": "BC", "ignore_case": True}, b"aBc", True),
        ({"contains": "b"}, b"abc", True),
        ({"contains": "x"}, b"abc", False),
        ({"contains": "B", "ignore_case": True}, b"abc", True),
        ({"safe_regex": {"regex": "a.c"}}, b"abc", True),
        ({"safe_regex": {"regex": "a."}}, b"abc", False),
        ({"exact": "É", "ignore_case": True}, "é".encode(), False),
    ],
)
@pytest.mark.parametrize("message", [MESSAGE, "xds.type.matcher.v3.StringMatcher"])
def test_matches(message: str, config: dict[str, object], value: bytes, expected: bool) -> None:
    view = view_of(message, config)
    matcher = parse_string_matcher(view)
    assert matcher.matches(value) is expected
    assert view.unread() == []
    assert matcher.describe() != "never"


def test_ignore_case_is_refused_for_regular_expressions() -> None:
    with pytest.raises(ConfigError, match=r"ignore_case has no effect for safe_regex\."):
        parse_string_matcher(view_of(MESSAGE, {"safe_regex": {"regex": "a"}, "ignore_case": True}))


def test_list() -> None:
    view = view_of("envoy.type.matcher.v3.ListStringMatcher", {"patterns": [{"exact": "a"}, {"prefix": "b"}]})
    matcher = parse_list_string_matcher(view)
    assert [matcher.matches(value) for value in (b"a", b"bc", b"c")] == [True, True, False]


def test_custom_matchers_come_from_their_registry() -> None:
    custom = {"custom": {"name": "x", "typed_config": {"@type": TYPE + "google.protobuf.StringValue", "value": "v"}}}
    with pytest.raises(ConfigError, match="Didn't find a registered implementation for 'x'"):
        parse_string_matcher(view_of(MESSAGE, custom))

    class Reversed(StringMatcher):
        def __init__(self, text: str) -> None:
            self.text = text

        def matches(self, value: bytes) -> bool:
            return value.decode()[::-1] == self.text

    def create(view: View, context: Any) -> StringMatcher:
        return Reversed(view.text("value"))

    STRING_MATCHERS.register("test.reversed", "google.protobuf.StringValue")(create)
    custom["custom"]["typed_config"] = {"@type": TYPE + "google.protobuf.StringValue", "value": "cba"}
    assert parse_string_matcher(view_of(MESSAGE, custom)).matches(b"abc")
