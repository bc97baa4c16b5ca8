"""Hash slots, and what servers say of them."""

from __future__ import annotations

import pytest

from outrider.data.address import ip_address
from outrider.extensions.clusters.redis import SLOTS, crc16, read_slots

ASKED = ip_address("10.0.0.9", 7000)


def test_the_specification_s_value() -> None:
    # Redis cluster specification, appendix A.
    assert crc16(b"123456789") == 0x31C3
    assert crc16(b"foo") % SLOTS == 12182


def test_servers() -> None:
    servers = read_slots(
        [
            [0, 100, [b"10.0.0.1", 7001, b"id"], [b"10.0.0.2", 7002, b"id"]],
            [101, 16383, [b"", 7003]],
            [200, 201, [b"10.0.0.1", 7001]],
        ],
        ASKED,
    )
    assert [(each.address.text, each.master, each.ranges) for each in servers] == [
        ("10.0.0.1:7001", True, [(0, 100), (200, 201)]),
        ("10.0.0.2:7002", False, [(0, 100)]),
        ("10.0.0.9:7003", True, [(101, 16383)]),
    ]


@pytest.mark.parametrize(
    "value",
    [None, b"x", [[0, 1]], [[0, 99999, [b"10.0.0.1", 1]]], [[b"0", 1, [b"10.0.0.1", 1]]], [[0, 1, [b"name", 1]]], [[0, 1, 5]]],
)
def test_nonsense(value: object) -> None:
    with pytest.raises(ValueError, match=r"slot|server"):
        read_slots(value, ASKED)
