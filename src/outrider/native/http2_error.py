"""What goes wrong in an `Http2Session`, and the numbers of RFC 9113 that its users need."""

from __future__ import annotations

from typing import Final

# Kinds of Http2Error.
ERROR_LIBRARY: Final = 1
ERROR_EMPTY_FRAMES: Final = 2
ERROR_PRIORITY_FRAMES: Final = 3
ERROR_WINDOW_UPDATES: Final = 4
# The handler judged a frame to be fatal (`on_invalid_frame` returned False).
ERROR_INVALID_FRAME: Final = 5
ERROR_BAD_PREFACE: Final = 6
ERROR_FLOOD: Final = 7

# nghttp2's error codes that `on_invalid_frame` gets.
LIB_HTTP_HEADER: Final = -531
LIB_HTTP_MESSAGING: Final = -532
LIB_REFUSED_STREAM: Final = -533
LIB_STREAM_CLOSED: Final = -510
LIB_FLOW_CONTROL: Final = -524

# Error codes (RFC 9113 section 7).
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11

# Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
SETTINGS_HEADER_TABLE_SIZE: Final = 1
SETTINGS_ENABLE_PUSH: Final = 2
SETTINGS_MAX_CONCURRENT_STREAMS: Final = 3
SETTINGS_INITIAL_WINDOW_SIZE: Final = 4
SETTINGS_MAX_FRAME_SIZE: Final = 5
SETTINGS_MAX_HEADER_LIST_SIZE: Final = 6
SETTINGS_ENABLE_CONNECT_PROTOCOL: Final = 8

# What to do with field names that hold an underscore.
UNDERSCORES_ALLOW: Final = 0
UNDERSCORES_REJECT: Final = 1
UNDERSCORES_DROP: Final = 2


class Http2Error(Exception):
    """The connection cannot go on. `kind` is one of ERROR_*, `stream_id` the stream of an empty frame too many."""

    def __init__(self, kind: int, text: str, stream_id: int = 0) -> None:
        super().__init__(text)
        self.kind = kind
        self.stream_id = stream_id
