"""Addresses that traffic gives to an original destination cluster."""

from __future__ import annotations

import pytest

from outrider.extensions.clusters.original_dst import parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.2.3.4:80", "1.2.3.4:80"), ("[::1]:443", "[::1]:443"), ("[2001:DB8::1]:1", "[2001:db8::1]:1")],
)
def test_addresses(text: str, expected: str) -> None:
    address = parse_address(text)
    assert address is not None and address.text == expected


@pytest.mark.parametrize(
    "text", ["", "1.2.3.4", "1.2.3.4:", "1.2.3.4:99999", "1.2.3.4:-1", "name:80", "::1:80", "1.2.3:80", "1.2.3.4:٣"]
)
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None
