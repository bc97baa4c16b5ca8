"""Who takes the response of an exchange."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.data.header_map import HeaderMap, ResponseHeaderMap


@mypyc_attr(allow_interpreted_subclasses=True)
class ExchangeReader:
    """Takes the response. After `on_no_response` or `on_broken` nothing follows."""

    def on_response_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        raise NotImplementedError

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        raise NotImplementedError

    def on_no_response(self, status: int, message: str) -> None:
        """The response has not begun and will not."""
        raise NotImplementedError

    def on_broken(self) -> None:
        """The response has begun and will not end."""
        raise NotImplementedError

    def on_drained(self) -> None:
        """There is room for messages again."""
        raise NotImplementedError
