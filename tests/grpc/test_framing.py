"""Length-prefixed messages and `grpc-timeout`."""

from __future__ import annotations

import pytest

from outrider.data import grpc_status
from outrider.grpc.framing import FrameError, FrameReader, frame, timeout_value

MESSAGES = [b"", b"a", b"bc" * 40, b"", b"\0" * 7]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 50, 1000])
def test_messages_in_pieces(step: int) -> None:
    wire = b"".join(frame(message) for message in MESSAGES)
    reader = FrameReader(100)
    found: list[bytes] = []
    for start in range(0, len(wire), step):
        found += reader.feed(wire[start : start + step])
    assert found == MESSAGES


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"\x02\0\0\0\0", grpc_status.INTERNAL),
        (b"\x01\0\0\0\x01x", grpc_status.INTERNAL),
        (b"\0\0\0\0\x0bxx", grpc_status.RESOURCE_EXHAUSTED),
        (b"\0\xff\xff\xff\xff", grpc_status.RESOURCE_EXHAUSTED),
    ],
)
def test_faults(wire: bytes, status: int) -> None:
    with pytest.raises(FrameError) as caught:
        FrameReader(10).feed(wire)
    assert caught.value.status == status


def test_an_empty_message_may_be_marked_as_compressed() -> None:
    assert FrameReader(10).feed(b"\x01\0\0\0\0") == [b""]


def test_nothing_is_joined_before_it_is_needed() -> None:
    """A large message in many pieces costs one copy, not one a piece."""
    reader = FrameReader(1 << 24)
    message = b"x" * (1 << 20)
    wire = frame(message)
    found: list[bytes] = []
    for start in range(0, len(wire), 1000):
        assert found == []
        found = reader.feed(wire[start : start + 1000])
    assert found == [message]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (1, b"1m"), (99_999_999, b"99999999m"), (100_000_000, b"100000S"), (99_999_999_000, b"99999999S"),
        (100_000_000_000, b"1666666M"), (6_000_000_000_000, b"1666666H"), (10**18, b"99999999H"),
    ],
)  # fmt: skip
def test_timeout(milliseconds: int, text: bytes) -> None:
    assert timeout_value(milliseconds) == text
