"""HeaderMatcher: conditions on one header. Of repeated headers each value is tried by itself, as Envoy 1.40 does.

Source: `config.route.v3.HeaderMatcher`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from outrider.matching.regex import parse_regex
from outrider.matching.string_matcher import RegexString, StringMatcher, make_string_matcher, parse_string_matcher

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import HeaderMap


@mypyc_attr(allow_interpreted_subclasses=True)
class HeaderMatcher:
    """Base of all header matchers. `name` is lower-case."""

    def __init__(self, name: bytes, invert: bool) -> None:
        self.name = name
        self.invert = invert

    def matches(self, headers: HeaderMap) -> bool:
        return False

    def describe(self) -> str:
        return f"header {self.name.decode()}"

    def __repr__(self) -> str:
        return f"<{self.describe()}>"


class PresentHeader(HeaderMatcher):
    """The header is there (or, inverted, is not). A missing one that counts as empty counts as being there."""

    def __init__(self, name: bytes, invert: bool, missing_is_empty: bool = False) -> None:
        super().__init__(name, invert)
        self.missing_is_empty = missing_is_empty

    def matches(self, headers: HeaderMap) -> bool:
        return (self.missing_is_empty or headers.get(self.name) is not None) != self.invert

    def describe(self) -> str:
        return f"header {self.name.decode()} {'absent' if self.invert else 'present'}"


class StringHeader(HeaderMatcher):
    """A value of the header satisfies a string matcher; inverted: none does."""

    def __init__(self, name: bytes, invert: bool, missing_is_empty: bool, matcher: StringMatcher) -> None:
        super().__init__(name, invert)
        self.missing_is_empty = missing_is_empty
        self.matcher = matcher

    def matches(self, headers: HeaderMap) -> bool:
        value = headers.get(self.name)
        if value is None:
            if not self.missing_is_empty:
                return False
            value = b""
        elif headers.multi is not None:
            values = headers.multi.get(self.name)
            if values is not None:
                for each in values:
                    if self.matcher.matches(each):
                        return not self.invert
                return self.invert
        return self.matcher.matches(value) != self.invert

    def describe(self) -> str:
        return f"header {self.name.decode()} {'not ' if self.invert else ''}{self.matcher.describe()}"


class RangeString(StringMatcher):
    """A decimal integer in a half-open range; anything else does not match."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def matches(self, value: bytes) -> bool:
        # absl::SimpleAtoi: optional white space around, one sign, digits; 64 bits.
        text = value.strip(b" \t\n\v\f\r")
        digits = text[1:] if text[:1] in (b"-", b"+") else text
        if not digits or len(digits) > 32 or not digits.isdigit():
            return False
        number = int(text)
        return self.start <= number < self.end and number < 1 << 63

    def describe(self) -> str:
        return f"in [{self.start}, {self.end})"


def parse_header_matcher(view: View, context: Any = None) -> HeaderMatcher:
    """From a HeaderMatcher. Raises ConfigError."""
    name = view.text("name").lower().encode()
    invert = view.flag("invert_match")
    missing_is_empty = view.flag("treat_missing_header_as_empty")
    kind = view.which("header_match_specifier")
    matcher: StringMatcher
    if kind is None:
        return PresentHeader(name, invert, missing_is_empty)
    if kind == "present_match":
        return PresentHeader(name, invert == view.flag("present_match"), missing_is_empty)
    if kind == "range_match":
        range_view = view.message("range_match")
        assert range_view is not None
        matcher = RangeString(range_view.integer("start"), range_view.integer("end"))
    elif kind == "safe_regex_match":
        regex_view = view.message("safe_regex_match")
        assert regex_view is not None
        matcher = RegexString(parse_regex(regex_view))
    elif kind == "string_match":
        string_view = view.message("string_match")
        assert string_view is not None
        matcher = parse_string_matcher(string_view, context)
    else:  # exact_match, prefix_match, suffix_match, contains_match: deprecated, still honoured
        matcher = make_string_matcher(kind.removesuffix("_match"), view.text(kind))
    return StringHeader(name, invert, missing_is_empty, matcher)


def parse_header_matchers(views: list[View], context: Any = None) -> list[HeaderMatcher]:
    return [parse_header_matcher(view, context) for view in views]
