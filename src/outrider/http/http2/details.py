"""Response code details of HTTP/2 faults, as Envoy words them."""

from __future__ import annotations

from typing import Final

from outrider.native.http2_error import LIB_HTTP_HEADER, LIB_HTTP_MESSAGING

REMOTE_RESET: Final = "http2.remote_reset"
REMOTE_REFUSE: Final = "http2.remote_refuse"
TOO_MANY_HEADERS: Final = "http2.too_many_headers"
UNDERSCORE: Final = "http2.unexpected_underscore"
HEADERS_TOO_LARGE: Final = "http2.header_list_size_too_large"
EMPTY_FRAMES: Final = "http2.inbound_empty_frames_flood"

_OF_LIBRARY: Final[dict[int, str]] = {
    LIB_HTTP_HEADER: "http2.invalid.header.field",
    LIB_HTTP_MESSAGING: "http2.violation.of.messaging.rule",
}


def of_library_error(code: int) -> str:
    """For a code of the library about one frame."""
    return _OF_LIBRARY.get(code, "http2.unknown.nghttp2.error")
