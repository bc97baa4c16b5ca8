"""The two messages of the gRPC health checking protocol, as bytes."""

from __future__ import annotations

import pytest

from outrider.upstream.control.health.grpc_probe import decode_status, encode_request


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def test_request() -> None:
    assert encode_request("") == b""
    assert encode_request("a.B") == b"\x0a\x03a.B"
    assert encode_request("x" * 300) == b"\x0a\xac\x02" + b"x" * 300


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (framed(b"\x08\x01"), 1), (framed(b"\x08\x02"), 2), (framed(b""), 0), (b"", -1), (b"\0\0\0\0", -1),
        (framed(b"\x08"), -1), (framed(b"\x10\x01"), -1), (framed(b"\x08\x01") * 2, -1), (b"\x01\0\0\0\x02\x08\x01", -1),
        (b"\0\xff\xff\xff\xff\x08\x01", -1),
    ],
)  # fmt: skip
def test_status(body: bytes, status: int) -> None:
    assert decode_status(body) == status
