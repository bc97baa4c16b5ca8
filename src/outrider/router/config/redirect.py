"""Routes that answer by themselves: redirect and direct_response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.context import FormatContext
from outrider.router.config.route import DIRECT_RESPONSE, REDIRECT, Route

if TYPE_CHECKING:
    from outrider.access_log.formatter import LineFormatter
    from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.router.config.redirect_action import RedirectAction
    from outrider.router.config.route_match import RouteMatch
    from outrider.router.config.virtual_host import VirtualHost


class RedirectRoute(Route):
    """`redirect`: the router answers `code` with `location: new_location(...)`."""

    __slots__ = ("code", "action")

    def __init__(self, virtual_host: VirtualHost, match: RouteMatch | None, code: int, action: RedirectAction) -> None:
        super().__init__(REDIRECT, virtual_host, match)
        # 301, 302, 303, 307 or 308.
        self.code = code
        self.action = action

    def new_location(self, headers: RequestHeaderMap, info: StreamInfo) -> bytes:
        """Value of the location header."""
        return self.action.location(headers, info)

    def describe_action(self) -> str:
        return f"redirect {self.code} {self.action.describe()}"


class DirectResponseRoute(Route):
    """`direct_response`: the router answers with status and body."""

    __slots__ = ("code", "body", "body_format", "content_type")

    def __init__(self, virtual_host: VirtualHost, match: RouteMatch, code: int) -> None:
        super().__init__(DIRECT_RESPONSE, virtual_host, match)
        self.code = code
        # Fixed body; unused when `body_format` is set, except as %LOCAL_REPLY_BODY% of it.
        self.body: bytes = b""
        self.body_format: LineFormatter | None = None
        # Of `body_format`; empty: text/plain.
        self.content_type: bytes = b""

    def response_body(
        self, request_headers: RequestHeaderMap, response_headers: ResponseHeaderMap, info: StreamInfo
    ) -> bytes:
        """The body for this request."""
        if self.body_format is None:
            return self.body
        return self.body_format.format_bytes(FormatContext(info, request_headers, response_headers, None, self.body))

    def describe_action(self) -> str:
        return f"direct_response {self.code}"
