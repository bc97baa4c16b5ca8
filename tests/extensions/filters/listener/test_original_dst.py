"""original_dst: netfilter's answers, and their absence."""

from __future__ import annotations

import socket
import struct

import pytest

from outrider.extensions.filters.listener.original_dst import original_destination


class Raw:
    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.asked: tuple[int, int, int] | None = None

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        self.asked = (level, option, size)
        if self.answer is None:
            raise OSError(2, "No such file or directory")
        return self.answer


V4 = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s", 443, bytes((10, 1, 2, 3))) + bytes(8)
V6 = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", 443, 0) + bytes(15) + b"\x01" + bytes(4)


@pytest.mark.parametrize(
    ("answer", "is_v6", "address", "asked"),
    [
        (V4, False, "10.1.2.3:443", (0, 80, 16)),
        (V6, True, "[::1]:443", (41, 80, 28)),
        (V4[:6], False, None, (0, 80, 16)),
        (bytes(16), False, None, (0, 80, 16)),
        (None, False, None, (0, 80, 16)),
    ],
)
def test_answers(answer: bytes | None, is_v6: bool, address: str | None, asked: tuple[int, int, int]) -> None:
    raw = Raw(answer)
    found = original_destination(raw, is_v6)
    assert (None if found is None else found.text) == address
    assert raw.asked == asked
