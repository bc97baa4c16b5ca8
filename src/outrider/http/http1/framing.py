"""Writing of bodies and trailers, the same on both sides of the proxy (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

from typing import Final

from outrider.data import header_names
from outrider.data.header_map import HeaderMap
from outrider.native.load import encode_chunk, encode_head, intern_name
from outrider.network.connection import Connection

CHUNKED: Final = b"chunked"
ZERO: Final = b"0"
_LAST_CHUNK: Final = b"0\r\n\r\n"
# Up to here a chunk is copied into one piece with its frame; a longer one is cheaper to write in three.
_COPY_LIMIT: Final = 32768

# Keys in `HeaderMap.case` beside the spellings: what a stateful formatter remembers of its message. No field has such a
# name.
CASE_REASON: Final = b":reason"
CASE_PROPER: Final = b":proper"


def _intern_names() -> None:
    """Let parsed fields carry the very objects that look-ups use: comparing them is then comparing pointers."""
    for value in vars(header_names).values():
        if isinstance(value, bytes):
            intern_name(value)


_intern_names()


def write_body(connection: Connection, data: bytes, chunked: bool, end: bool) -> int:
    """Write a part of a body; returns its size on the wire. With `end` the last chunk goes with it."""
    size = len(data)
    if not chunked:
        if size:
            connection.write(data)
        return size
    if size <= _COPY_LIMIT:
        chunk = encode_chunk(data, end)
        if chunk:
            connection.write(chunk)
        return len(chunk)
    start = b"%x\r\n" % size
    finish = b"\r\n0\r\n\r\n" if end else b"\r\n"
    connection.write(start)
    connection.write(data)
    connection.write(finish)
    return len(start) + size + len(finish)


def write_trailers(connection: Connection, trailers: HeaderMap, enabled: bool, proper: bool) -> int:
    """End a chunked body, with its trailers where they are enabled; returns the size on the wire."""
    if not enabled or not trailers.single:
        connection.write(_LAST_CHUNK)
        return len(_LAST_CHUNK)
    case = trailers.case
    if case is not None:
        proper = CASE_PROPER in case
    section = encode_head(b"0\r\n", trailers.single, trailers.multi, None, None, case, proper)
    connection.write(section)
    return len(section)
