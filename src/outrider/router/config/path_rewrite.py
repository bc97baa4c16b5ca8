"""What a route does to the path before the request goes upstream (and, in part, what a redirect does to it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext
from outrider.router.config.path_match import path_only

if TYPE_CHECKING:
    from outrider.access_log.formatter import Formatter
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.matching.regex import RegexRewrite
    from outrider.router.config.path_match import PathMatch
    from outrider.router.config.uri_template import UriTemplate, UriTemplateRewrite


@mypyc_attr(allow_interpreted_subclasses=True)
class PathRewrite:
    """Base of all path rewrites."""

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes | None:
        """The new path, query included; None to leave it."""
        return None

    def describe(self) -> str:
        return "rewrite"


class PrefixRewrite(PathRewrite):
    """`prefix_rewrite`: the part that the route matched is replaced; after a regular expression, the whole path."""

    def __init__(self, match: PathMatch, replacement: bytes) -> None:
        self.match = match
        self.replacement = replacement

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes | None:
        path = headers.path
        if not path:
            return None
        return self.replacement + path[self.match.matched(path_only(path)) :]

    def describe(self) -> str:
        return f"prefix -> {self.replacement.decode('utf-8', 'replace')!r}"


class RegexPathRewrite(PathRewrite):
    """`regex_rewrite` on the path without its query, which stays."""

    def __init__(self, regex: RegexRewrite) -> None:
        self.regex = regex

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes | None:
        path = headers.path
        if not path:
            return None
        plain = path_only(path)
        return self.regex.replace_all(plain) + path[len(plain) :]

    def describe(self) -> str:
        return self.regex.describe()


class TemplatePathRewrite(PathRewrite):
    """`path_rewrite_policy` with a URI template."""

    def __init__(self, template: UriTemplate, target: UriTemplateRewrite, places: list[int]) -> None:
        self.template = template
        self.target = target
        self.places = places

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes | None:
        path = headers.path
        plain = path_only(path)
        values = self.template.values(plain)
        if values is None:
            return None
        return self.target.expand(self.places, values) + path[len(plain) :]

    def describe(self) -> str:
        return f"template -> {self.target.text!r}"


class FormatPathRewrite(PathRewrite):
    """`path_rewrite`: a format string for the path; the query stays. An empty result leaves the path alone."""

    def __init__(self, formatter: Formatter, text: str) -> None:
        self.formatter = formatter
        self.text = text

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes | None:
        path = headers.path
        if not path:
            return None
        new = self.formatter.format_bytes(FormatContext(info, headers))
        if not new:
            return None
        return new + path[len(path_only(path)) :]

    def describe(self) -> str:
        return f"path -> {self.text!r}"
