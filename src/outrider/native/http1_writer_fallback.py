"""The interface of `http1_writer.pyi` in Python."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

_BREAKING: Final = re.compile(rb"[\r\n\x00]")
_NOT_TARGET: Final = re.compile(rb"[\x00-\x20\x7f]")
_WORD: Final = re.compile(rb"(?:^|(?<=[^0-9A-Za-z]))[a-z]")


def _proper(name: bytes) -> bytes:
    return _WORD.sub(_upper, name)


def _upper(match: re.Match[bytes]) -> bytes:
    return match.group().upper()


def _lines(
    lines: list[bytes],
    single: dict[bytes, bytes],
    multi: dict[bytes, list[bytes]] | None,
    extra_name: bytes | None,
    extra_value: bytes | None,
    case: dict[bytes, bytes] | None,
    proper: bool,
) -> bytes:
    fields: list[tuple[bytes, bytes]] = []
    for name, value in single.items():
        if multi is not None and name in multi:
            fields.extend([(name, each) for each in multi[name]])
        else:
            fields.append((name, value))
    if extra_name is not None and extra_value is not None:
        fields.append((extra_name, extra_value))
    for name, value in fields:
        spelled = None if case is None else case.get(name)
        if spelled is None:
            spelled = _proper(name) if proper else name
        if _BREAKING.search(spelled) or _BREAKING.search(value):
            raise ValueError("a character that cannot be in a header line")
        lines.append(spelled + b": " + value + b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def encode_request(
    method: bytes,
    target: bytes,
    host: bytes,
    single: dict[bytes, bytes],
    multi: dict[bytes, list[bytes]] | None,
    extra_name: bytes | None,
    extra_value: bytes | None,
    case: dict[bytes, bytes] | None,
    proper: bool,
) -> bytes:
    """See `http1_writer.pyi`."""
    if _NOT_TARGET.search(method) or _NOT_TARGET.search(target):
        raise ValueError("a character that cannot be in a request head")
    fields = {b"host": host}
    fields.update(single)
    return _lines([method + b" " + target + b" HTTP/1.1\r\n"], fields, multi, extra_name, extra_value, case, proper)


def encode_head(
    first_line: bytes,
    single: dict[bytes, bytes],
    multi: dict[bytes, list[bytes]] | None,
    extra_name: bytes | None,
    extra_value: bytes | None,
    case: dict[bytes, bytes] | None,
    proper: bool,
) -> bytes:
    """See `http1_writer.pyi`."""
    return _lines([first_line], single, multi, extra_name, extra_value, case, proper)


def encode_chunk(data: bytes, last: bool) -> bytes:
    """See `http1_writer.pyi`."""
    chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return chunk + b"0\r\n\r\n" if last else chunk


def uuid_text(source: bytes, at: int) -> bytes:
    """See `http1_writer.pyi`."""
    if at < 0 or at + 16 > len(source):
        raise IndexError(at)
    return str(UUID(bytes=source[at : at + 16], version=4)).encode()
