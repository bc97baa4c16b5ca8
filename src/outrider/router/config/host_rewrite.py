"""What a route does to the authority before the request goes upstream. `auto_host_rewrite` is the router's."""

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


@mypyc_attr(allow_interpreted_subclasses=True)
class HostRewrite:
    """Base of all host rewrites."""

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes:
        """The new authority; empty to leave it."""
        return b""


class LiteralHost(HostRewrite):
    def __init__(self, host: bytes) -> None:
        self.host = host

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes:
        return self.host


class HeaderHost(HostRewrite):
    """The value of a header, when there is one."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes:
        value = headers.get(self.name)
        return b"" if value is None else value


class PathRegexHost(HostRewrite):
    """The path, rewritten by a regular expression."""

    def __init__(self, regex: RegexRewrite) -> None:
        self.regex = regex

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes:
        return self.regex.replace_all(path_only(headers.path))


class FormatHost(HostRewrite):
    """A format string."""

    def __init__(self, formatter: Formatter) -> None:
        self.formatter = formatter

    def rewrite(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes:
        return self.formatter.format_bytes(FormatContext(info, headers))
