"""Where a redirect leads: `config.route.v3.RedirectAction`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.context import FormatContext

if TYPE_CHECKING:
    from outrider.access_log.formatter import Formatter
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.router.config.path_rewrite import PathRewrite


class RedirectAction:
    """Parts to replace; empty ones stay as in the request."""

    __slots__ = ("scheme", "host", "port", "path", "path_format", "path_rewrite", "strip_query")

    def __init__(self) -> None:
        self.scheme: bytes = b""
        self.host: bytes = b""
        # ":8080", or empty.
        self.port: bytes = b""
        # `path_redirect`
        self.path: bytes = b""
        # `path_rewrite`
        self.path_format: Formatter | None = None
        # `prefix_rewrite` or `regex_rewrite`
        self.path_rewrite: PathRewrite | None = None
        self.strip_query: bool = False

    def location(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes:
        scheme = self.scheme if self.scheme else headers.scheme
        host = self.host if self.host else _host_for(headers, scheme, bool(self.port))
        path = self.path
        if self.path_format is not None:
            path = self.path_format.format_bytes(FormatContext(info, headers))
        if path:
            # A query of its own replaces that of the request.
            if b"?" not in path and not self.strip_query:
                path = path + headers.path[len(_without_query(headers.path)) :]
        else:
            path = headers.path
            if self.path_rewrite is not None:
                rewritten = self.path_rewrite.rewrite(headers, info)
                if rewritten is not None:
                    path = rewritten
            if self.strip_query:
                path = _without_query(path)
        slash = b"" if path[:1] == b"/" else b"/"
        return scheme + b"://" + host + self.port + slash + path

    def describe(self) -> str:
        parts = [(self.scheme + b"://") if self.scheme else b"", self.host, self.port, self.path]
        text = b"".join(parts).decode("utf-8", "replace")
        return text if self.path_rewrite is None else f"{text} {self.path_rewrite.describe()}".lstrip()


def _without_query(path: bytes) -> bytes:
    end = path.find(b"?")
    return path if end < 0 else path[:end]


def _host_for(headers: RequestHeaderMap, scheme: bytes, drop_port: bool) -> bytes:
    """The request's host; without its port when another one follows, or when it was the old scheme's default."""
    host = headers.authority
    colon = host.rfind(b":")
    if colon < 0 or (host[:1] == b"[" and host[colon - 1 : colon] != b"]"):
        return host
    if not drop_port and scheme != headers.scheme:
        port = host[colon:]
        drop_port = (
            port == b":80" if headers.scheme == b"http" else port == b":443" if headers.scheme == b"https" else False
        )
    return host[:colon] if drop_port else host


class TlsRedirect(RedirectAction):
    """`require_tls`: the same place by https."""

    __slots__ = ()

    def location(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes:
        return b"https://" + headers.authority + headers.path

    def describe(self) -> str:
        return "https"
