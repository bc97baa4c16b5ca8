"""Operators that print parts of the request: path, query, server name, forwarded certificate."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import (
    LENGTH_ALLOWED,
    PARAMS_OPTIONAL,
    PARAMS_REQUIRED,
    CommandTable,
    FormatError,
)
from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import FORWARDED_CLIENT_CERT, X_ENVOY_ORIGINAL_HOST, X_ENVOY_ORIGINAL_PATH

# Which of the present and the original value (x-envoy-original-*) to take.
PRESENT: Final = 0
ORIGINAL: Final = 1
ORIGINAL_OR_PRESENT: Final = 2

SNI_ONLY: Final = 0
SNI_FIRST: Final = 1
HOST_FIRST: Final = 2

_PATH_CHOICES: Final[dict[str, int]] = {"PATH": PRESENT, "ORIG": ORIGINAL, "ORIG_OR_PATH": ORIGINAL_OR_PRESENT}
_HOST_CHOICES: Final[dict[str, int]] = {"HOST": PRESENT, "ORIG": ORIGINAL, "ORIG_OR_HOST": ORIGINAL_OR_PRESENT}
_NAME_CHOICES: Final[dict[str, int]] = {"SNI_ONLY": SNI_ONLY, "SNI_FIRST": SNI_FIRST, "HOST_FIRST": HOST_FIRST}
_XFCC_KEYS: Final = frozenset(("by", "hash", "cert", "chain", "subject", "uri", "dns"))
_HEX: Final = b"0123456789abcdefABCDEF"


def _choose(headers: RequestHeaderMap, present: bytes, original: bytes, choice: int) -> bytes | None:
    value: bytes | None = None
    if choice != PRESENT:
        value = headers.get(original)
    if value is None and choice != ORIGINAL:
        value = present or None
    return value


class PathOp(FormatOp):
    """%PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH):LENGTH%: the path with or without query."""

    def __init__(self, query: bool, choice: int, length: int) -> None:
        self.query = query
        self.choice = choice
        self.length = length

    def text(self, context: FormatContext) -> bytes | None:
        headers = context.request_headers
        if headers is None:
            return None
        path = _choose(headers, headers.path, X_ENVOY_ORIGINAL_PATH, self.choice)
        if path is None:
            return None
        if not self.query:
            path = path.split(b"?", 1)[0]
        return path if self.length < 0 else path[: self.length]


class QueryParamsOp(FormatOp):
    """%QUERY_PARAMS(ORIG|DECODED):LENGTH%: what follows the first `?`."""

    def __init__(self, decoded: bool, length: int) -> None:
        self.decoded = decoded
        self.length = length

    def text(self, context: FormatContext) -> bytes | None:
        headers = context.request_headers
        if headers is None:
            return None
        mark = headers.path.find(b"?")
        if mark < 0:
            return None
        query = headers.path[mark + 1 :]
        if self.decoded:
            query = decode_visible(query)
        return query if self.length < 0 else query[: self.length]


class QueryParamOp(FormatOp):
    """%QUERY_PARAM(NAME):LENGTH%: the first value of a parameter, decoded."""

    def __init__(self, name: bytes, length: int) -> None:
        self.name = name
        self.length = length

    def text(self, context: FormatContext) -> bytes | None:
        headers = context.request_headers
        if headers is None:
            return None
        mark = headers.path.find(b"?")
        if mark < 0:
            return None
        for pair in headers.path[mark + 1 :].split(b"&"):
            equals = pair.find(b"=")
            name = pair if equals < 0 else pair[:equals]
            if unquote_to_bytes(name) == self.name:
                value = b"" if equals < 0 else unquote_to_bytes(pair[equals + 1 :])
                return value if self.length < 0 else value[: self.length]
        return None


class RequestedServerNameOp(FormatOp):
    """%REQUESTED_SERVER_NAME(SNI_ONLY|SNI_FIRST|HOST_FIRST:ORIG|HOST|ORIG_OR_HOST)%."""

    def __init__(self, choice: int, host_choice: int) -> None:
        self.choice = choice
        self.host_choice = host_choice

    def text(self, context: FormatContext) -> bytes | None:
        name = context.stream_info.connection.requested_server_name.encode("utf-8", "surrogateescape")
        choice = self.choice
        if choice == SNI_ONLY or (choice == SNI_FIRST and name):
            return name or None
        headers = context.request_headers
        host: bytes | None = None
        if headers is not None:
            host = _choose(headers, headers.authority, X_ENVOY_ORIGINAL_HOST, self.host_choice)
        return host or name or None


class XfccValueOp(FormatOp):
    """%XFCC_VALUE(KEY)%: a value of the first element of x-forwarded-client-cert, quotes removed."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def text(self, context: FormatContext) -> bytes | None:
        headers = context.request_headers
        if headers is None:
            return None
        header = headers.get(FORWARDED_CLIENT_CERT)
        if not header:
            return None
        for pair in split_quoted(split_quoted(header, b",")[0], b";"):
            equals = pair.find(b"=")
            if equals > 0 and pair[:equals].strip().lower() == self.key:
                value = pair[equals + 1 :].strip()
                if len(value) >= 2 and value[:1] == b'"' and value[-1:] == b'"':
                    value = value[1:-1].replace(b'\\"', b'"')
                return value or None
        return None


def decode_visible(query: bytes) -> bytes:
    """Percent-encoded visible ASCII decoded, the rest kept; of a malformed triplet only the percent sign is dropped."""
    decoded = bytearray()
    index = 0
    while index < len(query):
        octet = query[index]
        if octet == 0x25 and index + 2 < len(query):
            if query[index + 1] not in _HEX or query[index + 2] not in _HEX:
                index += 1
                continue
            value = int(query[index + 1 : index + 3], 16)
            if 0x20 < value < 0x7F:
                decoded.append(value)
            else:
                decoded += query[index : index + 3]
            index += 3
            continue
        decoded.append(octet)
        index += 1
    return bytes(decoded)


def split_quoted(text: bytes, separator: bytes) -> list[bytes]:
    """Split at separators outside double quotes (which a backslash may escape)."""
    parts: list[bytes] = []
    start = 0
    quoted = False
    index = 0
    while index < len(text):
        octet = text[index]
        if octet == 0x5C and quoted:
            index += 1
        elif octet == 0x22:
            quoted = not quoted
        elif octet == separator[0] and not quoted:
            parts.append(text[start:index])
            start = index + 1
        index += 1
    parts.append(text[start:])
    return parts


def _option(command: str, value: str, choices: dict[str, int], allowed: str) -> int:
    found = choices.get(value)
    if found is None:
        raise FormatError(f"Invalid {command} option: '{value}', only {allowed} are allowed")
    return found


def _path(argument: str, length: int | None) -> FormatOp:
    parts = argument.split(":")
    query = parts[0] or "WQ"
    if query not in ("WQ", "NQ"):
        raise FormatError(f"Invalid PATH option: '{query}', only 'WQ'/'NQ' are allowed")
    choice = parts[1] if len(parts) > 1 and parts[1] else "ORIG_OR_PATH"
    chosen = _option("PATH", choice, _PATH_CHOICES, "'ORIG'/'PATH'/'ORIG_OR_PATH'")
    return PathOp(query == "WQ", chosen, -1 if length is None else length)


def _query_params(argument: str, length: int | None) -> FormatOp:
    if argument not in ("", "ORIG", "DECODED"):
        raise FormatError(f"Invalid QUERY_PARAMS option: '{argument}', only 'ORIG'/'DECODED' are allowed")
    return QueryParamsOp(argument == "DECODED", -1 if length is None else length)


def _query_param(argument: str, length: int | None) -> FormatOp:
    return QueryParamOp(argument.encode("utf-8", "surrogateescape"), -1 if length is None else length)


def _requested_server_name(argument: str, length: int | None) -> FormatOp:
    parts = argument.split(":")
    command = "REQUESTED_SERVER_NAME"
    choice = _option(command, parts[0] or "SNI_ONLY", _NAME_CHOICES, "'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST'")
    host = parts[1] if len(parts) > 1 and parts[1] else "ORIG_OR_HOST"
    return RequestedServerNameOp(choice, _option(command, host, _HOST_CHOICES, "'ORIG_OR_HOST'/'HOST'/'ORIG'"))


def _xfcc_value(argument: str, length: int | None) -> FormatOp:
    if not argument:
        raise FormatError("XFCC_VALUE command requires a subcommand")
    if argument.lower() not in _XFCC_KEYS:
        raise FormatError(f"XFCC_VALUE command does not support subcommand: {argument}")
    return XfccValueOp(argument.lower().encode())


COMMANDS: Final[CommandTable] = {
    "PATH": (PARAMS_OPTIONAL | LENGTH_ALLOWED, _path),
    "QUERY_PARAM": (PARAMS_REQUIRED | LENGTH_ALLOWED, _query_param),
    "QUERY_PARAMS": (PARAMS_OPTIONAL | LENGTH_ALLOWED, _query_params),
    "REQUESTED_SERVER_NAME": (PARAMS_OPTIONAL, _requested_server_name),
    "XFCC_VALUE": (PARAMS_OPTIONAL | LENGTH_ALLOWED, _xfcc_value),
}
