"""StringMatcher of `envoy.type.matcher.v3` and `xds.type.matcher.v3`, over byte strings.

Case is ignored for ASCII letters only, as in Envoy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.matching.regex import Regex, parse_regex
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View


@mypyc_attr(allow_interpreted_subclasses=True)
class StringMatcher:
    """Base of all string matchers."""

    def matches(self, value: bytes) -> bool:
        return False

    def describe(self) -> str:
        return "never"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"


STRING_MATCHERS: Final[ExtensionRegistry[StringMatcher]] = ExtensionRegistry("envoy.string_matcher")


class ExactString(StringMatcher):
    def __init__(self, text: bytes) -> None:
        self.text = text

    def matches(self, value: bytes) -> bool:
        return value == self.text

    def describe(self) -> str:
        return f"= {self.text.decode('utf-8', 'replace')!r}"


class PrefixString(StringMatcher):
    def __init__(self, text: bytes) -> None:
        self.text = text

    def matches(self, value: bytes) -> bool:
        return value.startswith(self.text)

    def describe(self) -> str:
        return f"starts with {self.text.decode('utf-8', 'replace')!r}"


class SuffixString(StringMatcher):
    def __init__(self, text: bytes) -> None:
        self.text = text

    def matches(self, value: bytes) -> bool:
        return value.endswith(self.text)

    def describe(self) -> str:
        return f"ends with {self.text.decode('utf-8', 'replace')!r}"


class ContainsString(StringMatcher):
    def __init__(self, text: bytes) -> None:
        self.text = text

    def matches(self, value: bytes) -> bool:
        return self.text in value

    def describe(self) -> str:
        return f"contains {self.text.decode('utf-8', 'replace')!r}"


class RegexString(StringMatcher):
    def __init__(self, regex: Regex) -> None:
        self.regex = regex

    def matches(self, value: bytes) -> bool:
        return self.regex.full_match(value)

    def describe(self) -> str:
        return f"matches regex {self.regex.text!r}"


class FoldedString(StringMatcher):
    """Another matcher, whose text is lower-case, on the lower-case value."""

    def __init__(self, folded: StringMatcher) -> None:
        self.folded = folded

    def matches(self, value: bytes) -> bool:
        return self.folded.matches(value.lower())

    def describe(self) -> str:
        return f"{self.folded.describe()} in any case"


class AnyOfStrings(StringMatcher):
    """`ListStringMatcher`: one of several."""

    def __init__(self, matchers: list[StringMatcher]) -> None:
        self.matchers = matchers

    def matches(self, value: bytes) -> bool:
        for matcher in self.matchers:
            if matcher.matches(value):
                return True
        return False

    def describe(self) -> str:
        return " or ".join([matcher.describe() for matcher in self.matchers])


def make_string_matcher(kind: str, text: str, ignore_case: bool = False) -> StringMatcher:
    """A matcher of kind exact, prefix, suffix or contains."""
    raw = text.encode("utf-8", "surrogateescape")
    if ignore_case:
        raw = raw.lower()
    matcher: StringMatcher
    if kind == "exact":
        matcher = ExactString(raw)
    elif kind == "prefix":
        matcher = PrefixString(raw)
    elif kind == "suffix":
        matcher = SuffixString(raw)
    else:
        matcher = ContainsString(raw)
    return FoldedString(matcher) if ignore_case else matcher


def parse_string_matcher(view: View, context: Any = None) -> StringMatcher:
    """From a StringMatcher (envoy's or xds's). Raises ConfigError."""
    kind = view.which("match_pattern")
    ignore_case = view.flag("ignore_case")
    if kind is None:
        raise view.error("value is required", "match_pattern")
    if kind == "safe_regex":
        if ignore_case:
            raise view.error("ignore_case has no effect for safe_regex.", "ignore_case")
        regex = view.message("safe_regex")
        assert regex is not None
        return RegexString(parse_regex(regex))
    if kind == "custom":
        custom = view.message("custom")
        assert custom is not None
        return STRING_MATCHERS.create(custom, context)
    return make_string_matcher(kind, view.text(kind), ignore_case)


def parse_list_string_matcher(view: View, context: Any = None) -> StringMatcher:
    """From a ListStringMatcher. Raises ConfigError."""
    return AnyOfStrings([parse_string_matcher(each, context) for each in view.messages("patterns")])
