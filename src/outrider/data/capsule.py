"""HTTP datagrams: capsules (RFC 9297 section 3) with UDP payloads (RFC 9298 section 5)."""

from __future__ import annotations

from typing import Final

DATAGRAM: Final = 0
# No datagram is longer; a capsule that claims to be is skipped without being kept.
MAX_KEPT: Final = 65_536 + 16


def encode_varint(value: int) -> bytes:
    """RFC 9000 section 16."""
    if value < 1 << 6:
        return bytes((value,))
    if value < 1 << 14:
        return (value | 1 << 14).to_bytes(2, "big")
    if value < 1 << 30:
        return (value | 2 << 30).to_bytes(4, "big")
    return (value | 3 << 62).to_bytes(8, "big")


def encode_datagram(payload: bytes) -> bytes:
    """A DATAGRAM capsule with a UDP payload (context 0)."""
    return b"\x00" + encode_varint(len(payload) + 1) + b"\x00" + payload


class CapsuleReader:
    """Takes the bytes of a stream apart. Other capsules and contexts are ignored, as the RFCs say."""

    __slots__ = ("_data", "_skip")

    def __init__(self) -> None:
        self._data: bytes = b""
        # Bytes of a capsule that is not wanted, still to come.
        self._skip: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The UDP payloads that are complete with `data`."""
        found: list[bytes] = []
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        data = self._data + data
        at = 0
        while True:
            kind, position = _varint(data, at)
            if position < 0:
                break
            length, position = _varint(data, position)
            if position < 0:
                break
            end = position + length
            if kind != DATAGRAM or length > MAX_KEPT:
                if end > len(data):
                    self._skip = end - len(data)
                    at = len(data)
                    break
                at = end
                continue
            if end > len(data):
                break
            context, start = _varint(data, position)
            if 0 <= start <= end and context == 0:
                found.append(data[start:end])
            at = end
        self._data = data[at:]
        return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer at a position, and where it ends; -1 when it is incomplete."""
    if at >= len(data):
        return 0, -1
    first = data[at]
    size = 1 << (first >> 6)
    if at + size > len(data):
        return 0, -1
    value = first & 0x3F
    for index in range(at + 1, at + size):
        value = value << 8 | data[index]
    return value, at + size
