"""Capsules: RFC 9297 section 3, variable-length integers of RFC 9000 section 16 and its appendix A.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.data.capsule import CapsuleReader, encode_datagram, encode_varint


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (37, "25"),
        (15293, "7bbd"),
        (494878333, "9d7f3e7d"),
        (151288809941952652, "c2197c5eff14e88c"),
    ],
)
def test_integers_of_the_rfc(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40))
def test_any_division_gives_the_same_payloads(payloads: list[bytes], size: int) -> None:
    data = b"".join(encode_datagram(each) for each in payloads)
    reader = CapsuleReader()
    found: list[bytes] = []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    assert found == payloads


def test_other_capsules_and_contexts_are_skipped() -> None:
    reader = CapsuleReader()
    unknown = encode_varint(0x1234) + encode_varint(5) + b"aaaaa"
    other_context = b"\x00" + encode_varint(3) + b"\x02xy"
    assert reader.feed(unknown + other_context + encode_datagram(b"ok")) == [b"ok"]


def test_a_spoofed_length_is_not_kept() -> None:
    reader = CapsuleReader()
    huge = 1 << 40
    assert reader.feed(b"\x00" + encode_varint(huge) + b"x" * 1000) == []
    for _ in range(100):
        assert reader.feed(b"y" * 10_000) == []
    assert len(reader._data) == 0
