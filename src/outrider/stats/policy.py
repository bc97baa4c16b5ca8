"""Which stats exist and which histogram buckets they show: the outcome of `stats_config`.

`outrider.config.stats_config` builds these objects from the configuration.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import re2

from outrider.stats.bins import DEFAULT_BUCKETS


class MatchKind(Enum):
    """The kinds of envoy.type.matcher.v3.StringMatcher that can name stats."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "safe_regex"


class NameMatcher:
    """A string matcher over whole stat names. A regex must match the whole name (RE2)."""

    __slots__ = ("ignore_case", "kind", "pattern", "text")

    def __init__(self, kind: MatchKind, text: str, ignore_case: bool = False) -> None:
        """Raises ValueError when `text` is not an RE2 expression and `kind` is REGEX."""
        self.kind = kind
        self.ignore_case = ignore_case and kind is not MatchKind.REGEX
        self.text = text.lower() if self.ignore_case else text
        self.pattern: Any = compile_re2(text) if kind is MatchKind.REGEX else None

    def matches(self, name: str) -> bool:
        if self.pattern is not None:
            return self.pattern.fullmatch(name) is not None
        if self.ignore_case:
            name = name.lower()
        kind = self.kind
        if kind is MatchKind.PREFIX:
            return name.startswith(self.text)
        if kind is MatchKind.SUFFIX:
            return name.endswith(self.text)
        if kind is MatchKind.CONTAINS:
            return self.text in name
        return name == self.text

    def __repr__(self) -> str:
        return f"<NameMatcher {self.kind.value} {self.text!r}>"


def compile_re2(text: str) -> Any:
    """Compile an RE2 expression; raises ValueError with RE2's reason."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "invalid"
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error


class StatsMatcher:
    """`stats_config.stats_matcher`: the names in `matchers` only, or all but those.

    An inclusion list is `StatsMatcher(matchers, inclusive=True)`; an exclusion list has False.
    `reject_all` is an inclusion list of nothing.
    """

    __slots__ = ("inclusive", "matchers")

    def __init__(self, matchers: Sequence[NameMatcher] = (), inclusive: bool = False) -> None:
        self.matchers = tuple(matchers)
        self.inclusive = inclusive

    def rejects(self, name: str) -> bool:
        for matcher in self.matchers:
            if matcher.matches(name):
                return not self.inclusive
        return self.inclusive


class BucketSettings:
    """One `histogram_bucket_settings` entry: buckets of the histograms whose name matches."""

    __slots__ = ("buckets", "matcher")

    def __init__(self, matcher: NameMatcher, buckets: Sequence[float]) -> None:
        """`buckets` are upper bounds; they are shown in ascending order."""
        self.matcher = matcher
        self.buckets = tuple(sorted(buckets))


class StatsPolicy:
    """Everything a Store wants to know about a name when it creates a metric."""

    __slots__ = ("bucket_settings", "matcher")

    def __init__(self, matcher: StatsMatcher | None = None, bucket_settings: Sequence[BucketSettings] = ()) -> None:
        self.matcher = matcher
        self.bucket_settings = tuple(bucket_settings)

    def rejects(self, name: str) -> bool:
        return self.matcher is not None and self.matcher.rejects(name)

    def buckets(self, name: str) -> tuple[float, ...]:
        """Upper bounds of the buckets of a histogram: the first entry that matches decides."""
        for settings in self.bucket_settings:
            if settings.matcher.matches(name):
                return settings.buckets
        return DEFAULT_BUCKETS
