"""The kinds of path condition of a route. Paths come without query and fragment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.matching.regex import Regex
    from outrider.router.config.uri_template import UriTemplate

PATH_REGEX: Final = 0
PATH_EXACT: Final = 1
PATH_PREFIX: Final = 2
PATH_SEPARATED_PREFIX: Final = 3
PATH_CONNECT: Final = 4
# Sees path parameters even where the configuration ignores them.
PATH_TEMPLATE: Final = 5


@mypyc_attr(allow_interpreted_subclasses=True)
class PathMatch:
    """Base of all path conditions. `kind` tells the route table how it may be indexed."""

    def __init__(self, kind: int, text: bytes, case_sensitive: bool) -> None:
        self.kind = kind
        # Text of an exact or prefix match, lower-case when the case does not matter.
        self.text: bytes = text if case_sensitive else text.lower()
        self.case_sensitive = case_sensitive

    def matches(self, path: bytes) -> bool:
        return False

    def matched(self, path: bytes) -> int:
        """How many bytes of a path that matched `prefix_rewrite` replaces."""
        return len(path)

    def describe(self) -> str:
        return "path"

    def _shown(self) -> str:
        return f"{self.text.decode('utf-8', 'replace')!r}{'' if self.case_sensitive else ' in any case'}"


class ExactPath(PathMatch):
    def __init__(self, text: bytes, case_sensitive: bool) -> None:
        super().__init__(PATH_EXACT, text, case_sensitive)

    def matches(self, path: bytes) -> bool:
        return (path if self.case_sensitive else path.lower()) == self.text

    def matched(self, path: bytes) -> int:
        return len(self.text)

    def describe(self) -> str:
        return f"path = {self._shown()}"


class PrefixPath(PathMatch):
    def __init__(self, text: bytes, case_sensitive: bool) -> None:
        super().__init__(PATH_PREFIX, text, case_sensitive)

    def matches(self, path: bytes) -> bool:
        return (path if self.case_sensitive else path.lower()).startswith(self.text)

    def matched(self, path: bytes) -> int:
        return len(self.text)

    def describe(self) -> str:
        return f"path starts with {self._shown()}"


class SeparatedPrefixPath(PathMatch):
    """The prefix, followed by a slash or by nothing."""

    def __init__(self, text: bytes, case_sensitive: bool) -> None:
        super().__init__(PATH_SEPARATED_PREFIX, text, case_sensitive)

    def matches(self, path: bytes) -> bool:
        if not (path if self.case_sensitive else path.lower()).startswith(self.text):
            return False
        size = len(self.text)
        return len(path) == size or path[size] == 47

    def matched(self, path: bytes) -> int:
        return len(self.text)

    def describe(self) -> str:
        return f"path segments start with {self._shown()}"


class RegexPath(PathMatch):
    def __init__(self, regex: Regex) -> None:
        # `text` is what every match begins with: the table indexes it like a prefix.
        super().__init__(PATH_REGEX, regex.prefix, True)
        self.regex = regex

    def matches(self, path: bytes) -> bool:
        return self.regex.full_match(path)

    def describe(self) -> str:
        return f"path matches regex {self.regex.text!r}"


class TemplatePath(PathMatch):
    def __init__(self, template: UriTemplate) -> None:
        super().__init__(PATH_TEMPLATE, b"", True)
        self.template = template

    def matches(self, path: bytes) -> bool:
        return self.template.matches(path)

    def describe(self) -> str:
        return f"path fits template {self.template.text!r}"


class ConnectPath(PathMatch):
    """CONNECT requests, with or without a path; the route table knows the method."""

    def __init__(self) -> None:
        super().__init__(PATH_CONNECT, b"", True)

    def matches(self, path: bytes) -> bool:
        return True

    def describe(self) -> str:
        return "CONNECT"


def path_only(path: bytes) -> bytes:
    """A path without its query and fragment."""
    end = path.find(b"?")
    if end >= 0:
        path = path[:end]
    end = path.find(b"#")
    return path if end < 0 else path[:end]


def without_parameters(path: bytes) -> bytes:
    """A path (without query) whose segments have lost their parameters: `/a;x=1/b` becomes `/a/b`."""
    segments = path.split(b"/")
    return b"/".join([segment[: segment.find(b";")] if b";" in segment else segment for segment in segments])
