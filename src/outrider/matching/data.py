"""What the generic matcher tree looks at: one request, response or connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
    from outrider.data.stream_info import ConnectionInfo, StreamInfo


class MatchingData:
    """Parts that are not there (yet) are None; inputs that read them then give nothing."""

    __slots__ = (
        "stream_info",
        "connection",
        "request_headers",
        "response_headers",
        "request_trailers",
        "response_trailers",
    )

    def __init__(
        self,
        stream_info: StreamInfo | None,
        request_headers: RequestHeaderMap | None = None,
        response_headers: ResponseHeaderMap | None = None,
        request_trailers: HeaderMap | None = None,
        response_trailers: HeaderMap | None = None,
        connection: ConnectionInfo | None = None,
    ) -> None:
        self.stream_info = stream_info
        if connection is None and stream_info is not None:
            connection = stream_info.connection
        self.connection: ConnectionInfo | None = connection
        self.request_headers = request_headers
        self.response_headers = response_headers
        self.request_trailers = request_trailers
        self.response_trailers = response_trailers


@mypyc_attr(allow_interpreted_subclasses=True)
class DataInput:
    """Takes one value out of the data: bytes as a rule; None when there is none."""

    def get(self, data: MatchingData) -> object | None:
        return None

    def data_type(self) -> str:
        """What `get` gives, in Envoy's words: most matchers want a string."""
        return "string"

    def address(self, data: MatchingData) -> object | None:
        """The address behind the value, for inputs that give IP addresses."""
        return None

    def describe(self) -> str:
        return type(self).__name__


@mypyc_attr(allow_interpreted_subclasses=True)
class InputMatcher:
    """A condition on an input's value."""

    def wanted_type(self) -> str:
        """The `data_type` of the inputs that it understands."""
        return "string"

    def matches(self, value: object | None) -> bool:
        return False

    def describe(self) -> str:
        return type(self).__name__
