"""Response code details of HTTP/2 faults, as Envoy words them."""

from __future__ import annotations

from typing import Final

from outrider.native.http2_error import (
    ERROR_EMPTY_FRAMES,
    ERROR_PRIORITY_FRAMES,
    ERROR_WINDOW_UPDATES,
    LIB_HTTP_HEADER,
    LIB_HTTP_MESSAGING,
)

REMOTE_RESET: Final = "http2.remote_reset"
REMOTE_REFUSE: Final = "http2.remote_refuse"
TOO_MANY_HEADERS: Final = "http2.too_many_headers"
UNDERSCORE: Final = "http2.unexpected_underscore"
OUTBOUND_FRAMES: Final = "http2.outbound_frames_flood"
OUTBOUND_CONTROL_FRAMES: Final = "http2.outbound_control_frames_flood"

_OF_LIBRARY: Final[dict[int, str]] = {
    LIB_HTTP_HEADER: "http2.invalid.header.field",
    LIB_HTTP_MESSAGING: "http2.violation.of.messaging.rule",
}
_OF_FLOOD: Final[dict[int, str]] = {
    ERROR_EMPTY_FRAMES: "http2.inbound_empty_frames_flood",
    ERROR_PRIORITY_FRAMES: "http2.inbound_priority_frames_flood",
    ERROR_WINDOW_UPDATES: "http2.inbound_window_update_frames_flood",
}


def of_library_error(code: int) -> str:
    """For a code of the library about one frame."""
    return _OF_LIBRARY.get(code, "http2.unknown.nghttp2.error")


def of_flood(kind: int) -> str:
    """For a kind of Http2Error; empty when it is no flood of inbound frames."""
    return _OF_FLOOD.get(kind, "")
