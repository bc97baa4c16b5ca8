"""What the handshake says in the clear and the `ssl` module does not tell: the group, and the server's signature.

RFC 8446 section 4.1.3 (key_share of ServerHello), RFC 8422 section 5.4 (ServerKeyExchange). Only the server's flight is
read, at most 32 KiB of it; whatever does not parse is simply not known.
"""

from __future__ import annotations

from typing import Final

_MAX: Final = 32 * 1024
_HANDSHAKE: Final = 22
_SERVER_HELLO: Final = 2
_SERVER_KEY_EXCHANGE: Final = 12
_KEY_SHARE: Final = 51


class HandshakePeek:
    """Collects the server's first bytes."""

    __slots__ = ("data", "full")

    def __init__(self) -> None:
        self.data: bytes = b""
        self.full: bool = False

    def add(self, data: bytes) -> None:
        if not self.full:
            self.data += data
            self.full = len(self.data) >= _MAX

    def read(self) -> tuple[int, int]:
        """(group, signature scheme), 0 for what is not known."""
        try:
            return _parse(_messages(self.data))
        except IndexError:
            return 0, 0


def _messages(data: bytes) -> bytes:
    """The handshake messages of the plain records at the beginning."""
    position = 0
    found: list[bytes] = []
    while position + 5 <= len(data):
        kind = data[position]
        size = (data[position + 3] << 8) | data[position + 4]
        if kind == _HANDSHAKE:
            found.append(data[position + 5 : position + 5 + size])
        elif found:
            break
        position += 5 + size
    return b"".join(found)


def _parse(stream: bytes) -> tuple[int, int]:
    group = scheme = 0
    position = 0
    while position + 4 <= len(stream):
        kind = stream[position]
        size = int.from_bytes(stream[position + 1 : position + 4], "big")
        body = stream[position + 4 : position + 4 + size]
        if len(body) < size:
            break
        if kind == _SERVER_HELLO:
            group = _key_share(body) or group
        elif kind == _SERVER_KEY_EXCHANGE and body[0] == 3:
            group = (body[1] << 8) | body[2]
            after = 4 + body[3]
            scheme = (body[after] << 8) | body[after + 1]
        position += 4 + size
    return group, scheme


def _key_share(body: bytes) -> int:
    position = 34
    position += 1 + body[position]
    position += 3
    if position + 2 > len(body):
        return 0
    position += 2
    while position + 4 <= len(body):
        kind = (body[position] << 8) | body[position + 1]
        size = (body[position + 2] << 8) | body[position + 3]
        if kind == _KEY_SHARE and size >= 2:
            return (body[position + 4] << 8) | body[position + 5]
        position += 4 + size
    return 0
