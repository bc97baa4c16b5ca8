from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.config.errors import ConfigError
from outrider.data.address import ip_address, pipe_address
from outrider.matching.cidr import CidrList, CidrRange, CidrTable, parse_cidr_range
from tests.matching.support import view_of

RANGE = "envoy.config.core.v3.CidrRange"


@pytest.mark.parametrize(
    ("config", "address", "expected"),
    [
        ({"address_prefix": "10.1.0.0", "prefix_len": 16}, "10.1.255.255", True),
        ({"address_prefix": "10.1.2.3", "prefix_len": 16}, "10.1.9.9", True),
        ({"address_prefix": "10.1.0.0", "prefix_len": 16}, "10.2.0.0", False),
        ({"address_prefix": "10.1.0.0", "prefix_len": 0}, "1.1.1.1", True),
        ({"address_prefix": "10.1.0.0"}, "1.1.1.1", True),
        ({"address_prefix": "::", "prefix_len": 0}, "1.1.1.1", False),
        ({"address_prefix": "fd00::", "prefix_len": 8}, "fdff::1", True),
    ],
)
def test_contains(config: dict[str, object], address: str, expected: bool) -> None:
    cidr = parse_cidr_range(view_of(RANGE, config))
    assert CidrList([cidr]).contains(ip_address(address, 1)) is expected


@pytest.mark.parametrize(
    "config", [{"address_prefix": "x", "prefix_len": 1}, {"address_prefix": "1.1.1.1", "prefix_len": 33}]
)
def test_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_cidr_range(view_of(RANGE, config))


def test_other_addresses_are_in_no_range() -> None:
    assert not CidrList([CidrRange("0.0.0.0", 0)]).contains(pipe_address("/x"))


networks = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=12)


@given(networks, st.integers(0, 2**32 - 1))
def test_longest_prefix(entries: list[tuple[int, int]], number: int) -> None:
    table = CidrTable(
        [(CidrRange(str(ipaddress.IPv4Address(bits)), size), index) for index, (bits, size) in enumerate(entries)]
    )
    address = ipaddress.IPv4Address(number)
    holding: dict[int, int] = {}
    for index, (bits, size) in enumerate(entries):
        if address in ipaddress.IPv4Network((bits, size), strict=False):
            holding.setdefault(size, index)
    expected = [holding[size] for size in sorted(holding, reverse=True)]
    assert table.find_all(ip_address(str(address), 0)) == expected
    assert table.find(ip_address(str(address), 0)) == (expected[0] if expected else None)
