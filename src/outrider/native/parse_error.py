"""What a parser of `outrider.native` reports: errors by kind, and facts of a message head as flags."""

from __future__ import annotations

from typing import Final

# Parser modes.
REQUEST: Final = 1
RESPONSE: Final = 2

# What to do with field names that hold an underscore.
UNDERSCORE_ALLOW: Final = 0
UNDERSCORE_REJECT: Final = 1
UNDERSCORE_DROP: Final = 2

# Facts of a head.
# There is a Connection or Proxy-Connection field.
FLAG_CONNECTION: Final = 1
# Transfer-Encoding is exactly `chunked`.
FLAG_CHUNKED: Final = 2
# There is a Transfer-Encoding field.
FLAG_TRANSFER_ENCODING: Final = 4
# Upgrade, and Connection names it.
FLAG_UPGRADE: Final = 8
# There is a Content-Length field.
FLAG_CONTENT_LENGTH: Final = 16
# No body follows.
FLAG_END: Final = 32
# RFC 9112 section 9.3: the connection persists after this message.
FLAG_KEEP_ALIVE: Final = 64

# Kinds of errors.
SYNTAX: Final = 0
HEAD_TOO_LARGE: Final = 1
TOO_MANY_FIELDS: Final = 2
# A control character in the head.
INVALID_CHARACTER: Final = 3
# Content-Length beside Transfer-Encoding.
LENGTH_AND_CODING: Final = 4
UNDERSCORE: Final = 5
# The peer ended in the middle of a message.
TRUNCATED: Final = 6
CHUNK_EXTENSION_TOO_LONG: Final = 7
TRAILERS_TOO_LARGE: Final = 8
# A Transfer-Encoding that is not `chunked`.
UNKNOWN_CODING: Final = 9


class ParseError(Exception):
    """The bytes are no acceptable HTTP/1 message. `kind` is one of the constants above."""

    def __init__(self, kind: int, text: str) -> None:
        super().__init__(text)
        self.kind = kind
