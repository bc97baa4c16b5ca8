"""RESP: values of the protocol's documentation, any division of the bytes, and what breaks the rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.extensions.filters.network.redis_proxy.resp import (
    MAX_BULK,
    Failure,
    ProtocolError,
    RespReader,
    Simple,
    encode,
    encode_command,
)

VALUES = st.recursive(
    st.none() | st.binary(max_size=30) | st.integers(-(1 << 62), 1 << 62), lambda inner: st.lists(inner, max_size=4)
)


@given(VALUES, st.integers(1, 7))
def test_any_division_gives_the_same_value(value: object, size: int) -> None:
    data = encode(value)
    reader = RespReader(False)
    found: list[object] = []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    assert found == [value]


def test_lines() -> None:
    found = RespReader(False).feed(b"+OK\r\n-ERR x\r\n:1000\r\n$-1\r\n*-1\r\n")
    assert isinstance(found[0], Simple) and found[0].text == b"OK"
    assert isinstance(found[1], Failure) and found[1].text == b"ERR x"
    assert found[2:] == [1000, None, None]


def test_inline_commands() -> None:
    assert RespReader(True).feed(b"GET  key\r\nPING\n") == [[b"GET", b"key"], [b"PING"]]


def test_commands() -> None:
    assert encode_command([b"GET", b"k"]) == b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"$abc\r\n",
        b"$-2\r\n",
        b"*-7\r\n",
        b"$%d\r\n" % (MAX_BULK + 1),
        b"*99999999\r\n",
        b"$1\r\nabc\r\n",
        b":1x\r\n",
        b"*1\r\n" * 40 + b":1\r\n",
        b"+" + b"a" * 70_000,
        b"?\r\n",
    ],
)
def test_broken(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        RespReader(False).feed(data)


def test_a_long_string_is_not_looked_at_until_it_is_there() -> None:
    reader = RespReader(False)
    assert reader.feed(b"$1000000\r\n") == []
    for _ in range(99):
        assert reader.feed(b"x" * 10_000) == []
    assert reader.feed(b"x" * 10_000 + b"\r\n") == [b"x" * 1_000_000]
