"""Conditions on query parameters and cookies of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.matching.string_matcher import StringMatcher, parse_string_matcher

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import HeaderMap


def query_value(path: bytes, name: bytes) -> bytes | None:
    """The first value of a query parameter, as sent (not decoded); b"" for a name without "="."""
    question = path.find(b"?")
    if question < 0:
        return None
    position = question + 1
    size = len(path)
    while position < size:
        end = path.find(b"&", position)
        if end < 0:
            end = size
        equal = path.find(b"=", position, end)
        if equal < 0:
            if path[position:end] == name:
                return b""
        elif path[position:equal] == name:
            return path[equal + 1 : end]
        position = end + 1
    return None


def cookie_value(headers: HeaderMap, name: bytes) -> bytes | None:
    """The value of a cookie, without the double quotes that may surround it; None when it is absent."""
    if headers.get(b"cookie") is None:
        return None
    for field in headers.get_all(b"cookie"):
        if name not in field:
            continue
        for part in field.split(b";"):
            equal = part.find(b"=")
            if equal < 0 or part[:equal].lstrip(b" ") != name:
                continue
            value = part[equal + 1 :]
            if len(value) >= 2 and value[0] == 34 and value[-1] == 34:
                return value[1:-1]
            return value
    return None


class QueryMatcher:
    """QueryParameterMatcher: `matcher` None asks for presence only."""

    __slots__ = ("name", "matcher", "present")

    def __init__(self, name: bytes, matcher: StringMatcher | None, present: bool = True) -> None:
        self.name = name
        self.matcher: StringMatcher | None = matcher
        self.present = present

    def matches(self, path: bytes) -> bool:
        """`path` with its query."""
        value = query_value(path, self.name)
        if self.matcher is None:
            return (value is not None) == self.present
        return value is not None and self.matcher.matches(value)

    def describe(self) -> str:
        condition = ("present" if self.present else "absent") if self.matcher is None else self.matcher.describe()
        return f"query {self.name.decode('utf-8', 'replace')} {condition}"


class CookieMatcher:
    """A cookie whose value satisfies a string matcher."""

    __slots__ = ("name", "matcher", "invert")

    def __init__(self, name: bytes, matcher: StringMatcher, invert: bool) -> None:
        self.name = name
        self.matcher = matcher
        self.invert = invert

    def matches(self, headers: HeaderMap) -> bool:
        value = cookie_value(headers, self.name)
        return (value is not None and self.matcher.matches(value)) != self.invert

    def describe(self) -> str:
        return f"cookie {self.name.decode('utf-8', 'replace')} {'not ' if self.invert else ''}{self.matcher.describe()}"


def parse_query_matcher(view: View, context: Any = None) -> QueryMatcher:
    """From a QueryParameterMatcher. Raises ConfigError."""
    name = view.text("name").encode()
    if view.which("query_parameter_match_specifier") == "string_match":
        string_view = view.message("string_match")
        assert string_view is not None
        return QueryMatcher(name, parse_string_matcher(string_view, context))
    return QueryMatcher(name, None, view.flag("present_match") if view.has("present_match") else True)


def parse_cookie_matcher(view: View, context: Any = None) -> CookieMatcher:
    """From a CookieMatcher. Raises ConfigError."""
    string_view = view.message("string_match")
    if string_view is None:
        raise view.error("value is required", "string_match")
    return CookieMatcher(
        view.text("name").encode(), parse_string_matcher(string_view, context), view.flag("invert_match")
    )
