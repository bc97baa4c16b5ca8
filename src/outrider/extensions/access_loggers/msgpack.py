"""MessagePack, as far as JSON values need it, in the smallest sizes that fit. Source: the MessagePack specification."""

from __future__ import annotations

import struct


def pack(value: object, into: bytearray) -> None:
    """Append a JSON value: None, bool, int, float, str, list or dict with str keys."""
    if value is None:
        into.append(0xC0)
    elif isinstance(value, bool):
        into.append(0xC3 if value else 0xC2)
    elif isinstance(value, int):
        _pack_int(value, into)
    elif isinstance(value, float):
        _pack_float(value, into)
    elif isinstance(value, str):
        _pack_text(value.encode("utf-8", "replace"), into)
    elif isinstance(value, list):
        pack_array(len(value), into)
        for each in value:
            pack(each, into)
    elif isinstance(value, dict):
        _pack_head(len(value), 0x80, 15, 0xDE, into)
        for key, each in value.items():
            _pack_text(str(key).encode("utf-8", "replace"), into)
            pack(each, into)
    else:
        raise TypeError(f"not a JSON value: {type(value).__name__}")


def pack_array(count: int, into: bytearray) -> None:
    """The head of an array; its elements follow."""
    _pack_head(count, 0x90, 15, 0xDC, into)


def _pack_head(count: int, fixed: int, most: int, wide: int, into: bytearray) -> None:
    if count <= most:
        into.append(fixed | count)
    elif count <= 0xFFFF:
        into += struct.pack(">BH", wide, count)
    else:
        into += struct.pack(">BI", wide + 1, count)


def _pack_text(data: bytes, into: bytearray) -> None:
    size = len(data)
    if size <= 31:
        into.append(0xA0 | size)
    elif size <= 0xFF:
        into += struct.pack(">BB", 0xD9, size)
    elif size <= 0xFFFF:
        into += struct.pack(">BH", 0xDA, size)
    else:
        into += struct.pack(">BI", 0xDB, size)
    into += data


def _pack_int(value: int, into: bytearray) -> None:
    if value >= 0:
        for limit, code, form in ((0xFF, 0xCC, ">BB"), (0xFFFF, 0xCD, ">BH"), (0xFFFFFFFF, 0xCE, ">BI")):
            if value <= 0x7F:
                into.append(value)
                return
            if value <= limit:
                into += struct.pack(form, code, value)
                return
        into += struct.pack(">BQ", 0xCF, min(value, 0xFFFFFFFFFFFFFFFF))
        return
    if value >= -32:
        into += struct.pack(">b", value)
    elif value >= -0x80:
        into += struct.pack(">Bb", 0xD0, value)
    elif value >= -0x8000:
        into += struct.pack(">Bh", 0xD1, value)
    elif value >= -0x80000000:
        into += struct.pack(">Bi", 0xD2, value)
    else:
        into += struct.pack(">Bq", 0xD3, max(value, -0x8000000000000000))


def _pack_float(value: float, into: bytearray) -> None:
    """Four bytes where nothing is lost by it."""
    try:
        short = struct.pack(">f", value)
    except OverflowError:
        short = b""
    if short and struct.unpack(">f", short)[0] == value:
        into.append(0xCA)
        into += short
    else:
        into += struct.pack(">Bd", 0xCB, value)
