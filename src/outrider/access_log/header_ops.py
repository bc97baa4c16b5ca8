"""Operators that print header and trailer fields: REQ, RESP, TRAILER and their long names."""

from __future__ import annotations

import re
from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import LENGTH_ALLOWED, PARAMS_REQUIRED, CommandTable, FormatError

# A token of RFC 9110, perhaps with the colon of a pseudo-header, or nothing.
_NAME: Final = re.compile(r"(:?[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?")


def split_alternative(argument: str) -> tuple[bytes, bytes]:
    """`MAIN?ALTERNATIVE` as lower-case names, the second empty where there is none. Raises FormatError."""
    names = argument.split("?")
    if len(names) > 2:
        raise FormatError(f"More than 1 alternative header specified in token: {argument}")
    for name in names:
        if _NAME.fullmatch(name) is None:
            raise FormatError("Invalid header configuration. Format string contains invalid characters.")
    main = names[0].lower().encode()
    return main, names[1].lower().encode() if len(names) == 2 else b""


class RequestHeaderOp(FormatOp):
    """%REQUEST_HEADER(MAIN?ALTERNATIVE):LENGTH%: the first value of the first that is present."""

    def __init__(self, main: bytes, alternative: bytes, length: int) -> None:
        self.main = main
        self.alternative = alternative
        # Maximal number of bytes, -1 for no limit.
        self.length = length

    def text(self, context: FormatContext) -> bytes | None:
        headers = context.request_headers
        if headers is None:
            return None
        value = headers.get(self.main)
        if value is None and self.alternative:
            value = headers.get(self.alternative)
        if value is not None and self.length >= 0:
            return value[: self.length]
        return value


class RequestHeaderWithoutQueryOp(RequestHeaderOp):
    """%REQ_WITHOUT_QUERY(MAIN?ALTERNATIVE):LENGTH%: cut at the first `?`, then to the length."""

    def text(self, context: FormatContext) -> bytes | None:
        headers = context.request_headers
        if headers is None:
            return None
        value = headers.get(self.main)
        if value is None and self.alternative:
            value = headers.get(self.alternative)
        if value is None:
            return None
        value = value.split(b"?", 1)[0]
        return value[: self.length] if self.length >= 0 else value


class ResponseHeaderOp(FormatOp):
    """%RESPONSE_HEADER(MAIN?ALTERNATIVE):LENGTH%."""

    def __init__(self, main: bytes, alternative: bytes, length: int) -> None:
        self.main = main
        self.alternative = alternative
        self.length = length

    def text(self, context: FormatContext) -> bytes | None:
        headers = context.response_headers
        if headers is None:
            return None
        value = headers.get(self.main)
        if value is None and self.alternative:
            value = headers.get(self.alternative)
        if value is not None and self.length >= 0:
            return value[: self.length]
        return value


class ResponseTrailerOp(FormatOp):
    """%RESPONSE_TRAILER(MAIN?ALTERNATIVE):LENGTH%."""

    def __init__(self, main: bytes, alternative: bytes, length: int) -> None:
        self.main = main
        self.alternative = alternative
        self.length = length

    def text(self, context: FormatContext) -> bytes | None:
        trailers = context.response_trailers
        if trailers is None:
            return None
        value = trailers.get(self.main)
        if value is None and self.alternative:
            value = trailers.get(self.alternative)
        if value is not None and self.length >= 0:
            return value[: self.length]
        return value


def _request_header(argument: str, length: int | None) -> FormatOp:
    main, alternative = split_alternative(argument)
    return RequestHeaderOp(main, alternative, -1 if length is None else length)


def _response_header(argument: str, length: int | None) -> FormatOp:
    main, alternative = split_alternative(argument)
    return ResponseHeaderOp(main, alternative, -1 if length is None else length)


def _response_trailer(argument: str, length: int | None) -> FormatOp:
    main, alternative = split_alternative(argument)
    return ResponseTrailerOp(main, alternative, -1 if length is None else length)


_FLAGS: Final = PARAMS_REQUIRED | LENGTH_ALLOWED

COMMANDS: Final[CommandTable] = {
    "REQ": (_FLAGS, _request_header),
    "REQUEST_HEADER": (_FLAGS, _request_header),
    "STREAM_INFO_REQ": (_FLAGS, _request_header),
    "RESP": (_FLAGS, _response_header),
    "RESPONSE_HEADER": (_FLAGS, _response_header),
    "TRAILER": (_FLAGS, _response_trailer),
    "RESPONSE_TRAILER": (_FLAGS, _response_trailer),
}
