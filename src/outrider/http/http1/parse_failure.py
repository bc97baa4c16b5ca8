"""What a parse error means to the peer: status and response-code details, as Envoy has them."""

from __future__ import annotations

from typing import Final

from outrider.native.parse_error import (
    HEAD_TOO_LARGE,
    INVALID_CHARACTER,
    LENGTH_AND_CODING,
    TOO_MANY_FIELDS,
    TRAILERS_TOO_LARGE,
    UNDERSCORE,
    UNKNOWN_CODING,
)

CODEC_ERROR: Final = "http1.codec_error"
HEADERS_TOO_LARGE: Final = "http1.headers_too_large"
TOO_MANY_HEADERS: Final = "http1.too_many_headers"
INVALID_CHARACTERS: Final = "http1.invalid_characters"
CONNECTION_HEADER_REJECTED: Final = "http1.connection_header_rejected"
INVALID_URL: Final = "http1.invalid_url"
INVALID_SCHEME: Final = "http1.invalid_scheme"
HTTPS_ON_PLAINTEXT: Final = "http1.https_url_on_plaintext_connection"
INVALID_AUTHORITY: Final = "http.invalid_authority"
INVALID_TRANSFER_ENCODING: Final = "http1.invalid_transfer_encoding"
BODY_DISALLOWED: Final = "http1.body_disallowed"
TRANSFER_ENCODING_NOT_ALLOWED: Final = "http1.transfer_encoding_not_allowed"
CONTENT_LENGTH_NOT_ALLOWED: Final = "http1.content_length_not_allowed"
UNEXPECTED_UNDERSCORE: Final = "http1.unexpected_underscore"
CHUNKED_CONTENT_LENGTH: Final = "http1.content_length_and_chunked_not_allowed"
LOW_VERSION: Final = "low_version"

_PREFIX: Final = "http/1.1 protocol error: "
BOTH_SET: Final = _PREFIX + "both 'Content-Length' and 'Transfer-Encoding' are set."

_DETAILS: Final[dict[int, str]] = {
    HEAD_TOO_LARGE: HEADERS_TOO_LARGE,
    TRAILERS_TOO_LARGE: HEADERS_TOO_LARGE,
    TOO_MANY_FIELDS: TOO_MANY_HEADERS,
    INVALID_CHARACTER: INVALID_CHARACTERS,
    LENGTH_AND_CODING: CHUNKED_CONTENT_LENGTH,
    UNDERSCORE: UNEXPECTED_UNDERSCORE,
    UNKNOWN_CODING: INVALID_TRANSFER_ENCODING,
}


def details_of(kind: int) -> str:
    """Response-code details of a kind of parse error."""
    return _DETAILS.get(kind, CODEC_ERROR)


def status_of(kind: int) -> int:
    """The status with which a request with this kind of error is answered."""
    if kind == UNKNOWN_CODING:
        return 501
    return 431 if kind == HEAD_TOO_LARGE or kind == TRAILERS_TOO_LARGE or kind == TOO_MANY_FIELDS else 400


def text_of(kind: int, text: str) -> str:
    """The error's text in logs and in `connection_termination_details`."""
    return BOTH_SET if kind == LENGTH_AND_CODING else _PREFIX + text
