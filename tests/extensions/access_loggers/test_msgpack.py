"""MessagePack of JSON values; the expected bytes are examples of the specification's formats."""

from __future__ import annotations

import pytest

from outrider.extensions.access_loggers.msgpack import pack


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (None, b"\xc0"), (True, b"\xc3"), (False, b"\xc2"), (0, b"\0"), (127, b"\x7f"), (128, b"\xcc\x80"), (256, b"\xcd\x01\0"),
        (65536, b"\xce\0\x01\0\0"), (1 << 32, b"\xcf\0\0\0\x01\0\0\0\0"), (-1, b"\xff"), (-32, b"\xe0"), (-33, b"\xd0\xdf"),
        (-129, b"\xd1\xff\x7f"), (-32769, b"\xd2\xff\xff\x7f\xff"), (-(1 << 31) - 1, b"\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),
        (1.5, b"\xca\x3f\xc0\0\0"), (0.1, b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"), (1e300, b"\xcb\x7e\x37\xe4\x3c\x88\x00\x75\x9c"),
        ("", b"\xa0"), ("a" * 31, b"\xbf" + b"a" * 31), ("a" * 32, b"\xd9\x20" + b"a" * 32), ("a" * 256, b"\xda\x01\0" + b"a" * 256),
        ("a" * 65536, b"\xdb\0\x01\0\0" + b"a" * 65536), ([], b"\x90"), ([1, "a"], b"\x92\x01\xa1a"),
        ([0] * 16, b"\xdc\0\x10" + bytes(16)), ({}, b"\x80"), ({"a": {"b": None}}, b"\x81\xa1a\x81\xa1b\xc0"),
    ],
)  # fmt: skip
def test_pack(value: object, wire: bytes) -> None:
    into = bytearray()
    pack(value, into)
    assert bytes(into) == wire


def test_other_values() -> None:
    with pytest.raises(TypeError, match="not a JSON value: bytes"):
        pack(b"x", bytearray())
