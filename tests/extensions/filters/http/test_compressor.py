"""envoy.filters.http.compressor: the choice of a coding. Traffic is in tests/parity."""

from __future__ import annotations

import pytest

from outrider.extensions.filters.http.accept_encoding import (
    BY_IDENTITY,
    BY_NAME,
    BY_WILDCARD,
    NOT_VALID,
    choose_coding,
)


@pytest.mark.parametrize(
    ("accepted", "choose_first", "coding", "reason"),
    [
        (b"gzip", False, b"gzip", BY_NAME),
        (b"br, gzip", False, b"br", BY_NAME),
        (b"br, gzip", True, b"gzip", BY_NAME),
        (b"br;q=1, gzip;q=0.9", True, b"br", BY_NAME),
        (b"GZIP ; Q=0.5", False, b"gzip", BY_NAME),
        (b"*", False, b"gzip", BY_WILDCARD),
        (b"gzip;q=0, *", False, b"br", BY_WILDCARD),
        (b"gzip;q=0, br;q=0, *", False, b"identity", NOT_VALID),
        (b"identity", False, b"identity", BY_IDENTITY),
        (b"zstd", False, b"identity", NOT_VALID),
        (b"", False, b"identity", NOT_VALID),
    ],
)
def test_choice(accepted: bytes, choose_first: bool, coding: bytes, reason: int) -> None:
    assert choose_coding(accepted, {b"gzip": 0, b"br": 1}, choose_first) == (coding, reason)
