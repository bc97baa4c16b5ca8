"""PathMatcher of `envoy.type.matcher.v3`: a condition on the path of a request, without query and fragment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.matching.string_matcher import StringMatcher, parse_string_matcher

if TYPE_CHECKING:
    from outrider.config.view import View


class PathMatcher:
    """A string matcher on the bare path."""

    __slots__ = ("matcher",)

    def __init__(self, matcher: StringMatcher) -> None:
        self.matcher = matcher

    def matches(self, path: bytes) -> bool:
        """`path`: as in the request, query included."""
        end = path.find(b"?")
        if end >= 0:
            path = path[:end]
        end = path.find(b"#")
        if end >= 0:
            path = path[:end]
        return self.matcher.matches(path)

    def describe(self) -> str:
        return f"path {self.matcher.describe()}"


def parse_path_matcher(view: View, context: Any = None) -> PathMatcher:
    """From a PathMatcher. Raises ConfigError."""
    path = view.message("path")
    if path is None:
        raise view.error("value is required", "path")
    return PathMatcher(parse_string_matcher(path, context))
