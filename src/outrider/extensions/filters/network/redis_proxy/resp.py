"""RESP, the protocol of Redis (version 2), read incrementally and with bounds.

Values: `bytes` is a bulk string, `Simple` and `Failure` the one-line kinds, `int`, `list`, and None for both nulls.
Source: Redis documentation, "Redis serialization protocol specification".
"""

from __future__ import annotations

from typing import Final

# Of one bulk string, and of everything that waits to be complete.
MAX_BULK: Final = 64 * 1024 * 1024
MAX_PENDING: Final = 128 * 1024 * 1024
MAX_ELEMENTS: Final = 1024 * 1024
MAX_DEPTH: Final = 32
MAX_LINE: Final = 64 * 1024


class ProtocolError(Exception):
    """The peer does not speak the protocol."""


class _Incomplete(Exception):
    """More bytes are needed; `need` in all, as far as is known."""

    def __init__(self, need: int) -> None:
        super().__init__()
        self.need = need


class Simple:
    """A simple string."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


class Failure:
    """An error reply."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


Value = bytes | int | None | list[object] | Simple | Failure

OK: Final = Simple(b"OK")


def encode(value: object) -> bytes:
    """A value as bytes."""
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, Simple):
        return b"+" + value.text + b"\r\n"
    if isinstance(value, Failure):
        return b"-" + value.text + b"\r\n"
    assert isinstance(value, list)
    return b"*%d\r\n" % len(value) + b"".join([encode(each) for each in value])


def encode_command(arguments: list[bytes]) -> bytes:
    parts = [b"*%d\r\n" % len(arguments)]
    for each in arguments:
        parts.append(b"$%d\r\n%b\r\n" % (len(each), each))
    return b"".join(parts)


class RespReader:
    """Takes bytes apart."""

    __slots__ = ("_data", "_need", "_inline")

    def __init__(self, inline: bool) -> None:
        self._data: bytes = b""
        self._need: int = 0
        # Commands as plain lines, too (what a person types into telnet).
        self._inline = inline

    def feed(self, data: bytes) -> list[object]:
        """The values that are complete with `data`. Raises ProtocolError."""
        self._data += data
        if len(self._data) < self._need:
            return []
        if len(self._data) > MAX_PENDING:
            raise ProtocolError("too much at once")
        found: list[object] = []
        at = 0
        data = self._data
        while at < len(data):
            try:
                if self._inline and data[at] not in b"*$+-:":
                    value, at = _inline(data, at)
                else:
                    value, at = _parse(data, at, 0)
            except _Incomplete as incomplete:
                self._need = incomplete.need - at
                break
            found.append(value)
            self._need = 0
        self._data = data[at:]
        return found


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\r\n", at)
    if end < 0:
        if len(data) - at > MAX_LINE:
            raise ProtocolError("line too long")
        raise _Incomplete(0)
    return data[at:end], end + 2


def _inline(data: bytes, at: int) -> tuple[object, int]:
    end = data.find(b"\n", at)
    if end < 0:
        if len(data) - at > MAX_LINE:
            raise ProtocolError("line too long")
        raise _Incomplete(0)
    words: list[object] = list(data[at:end].split())
    return words, end + 1


def _number(text: bytes) -> int:
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    if not digits.isdigit() or len(digits) > 19:
        raise ProtocolError("invalid integer")
    return int(text)


def _parse(data: bytes, at: int, depth: int) -> tuple[object, int]:
    if depth > MAX_DEPTH:
        raise ProtocolError("nested too deeply")
    if at >= len(data):
        raise _Incomplete(0)
    kind = data[at]
    line, position = _line(data, at + 1)
    if kind == 0x24:  # $
        length = _number(line)
        if length < -1:
            raise ProtocolError("negative length")
        if length < 0:
            return None, position
        if length > MAX_BULK:
            raise ProtocolError("bulk string too long")
        end = position + length
        if end + 2 > len(data):
            raise _Incomplete(end + 2)
        if data[end : end + 2] != b"\r\n":
            raise ProtocolError("bulk string without end")
        return data[position:end], end + 2
    if kind == 0x2A:  # *
        count = _number(line)
        if count < -1:
            raise ProtocolError("negative length")
        if count < 0:
            return None, position
        if count > MAX_ELEMENTS:
            raise ProtocolError("too many elements")
        values: list[object] = []
        for _ in range(count):
            value, position = _parse(data, position, depth + 1)
            values.append(value)
        return values, position
    if kind == 0x2B:  # +
        return Simple(line), position
    if kind == 0x2D:  # -
        return Failure(line), position
    if kind == 0x3A:  # :
        return _number(line), position
    raise ProtocolError("unknown type")
