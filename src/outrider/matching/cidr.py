"""Address ranges in CIDR form: lists that contain an address or not, and tables that find the longest prefix."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from outrider.data.address import KIND_IP, Address

if TYPE_CHECKING:
    from outrider.config.view import View


class CidrRange:
    """One range. Host bits of the given address are cleared, as Envoy does."""

    __slots__ = ("is_v6", "length", "bits")

    def __init__(self, text: str, length: int) -> None:
        """Raises ValueError for what is not an IP address or a prefix too long for it."""
        parsed = ipaddress.ip_address(text)
        if not 0 <= length <= parsed.max_prefixlen:
            raise ValueError(f"invalid ip/mask combo '{text}/{length}' (format is <ip>/<# mask bits>)")
        self.is_v6 = parsed.version == 6
        self.length = length
        # The leading `length` bits, right-aligned.
        self.bits = int(parsed) >> (parsed.max_prefixlen - length)

    def describe(self) -> str:
        width = 128 if self.is_v6 else 32
        number = self.bits << (width - self.length)
        return f"{ipaddress.IPv6Address(number) if self.is_v6 else ipaddress.IPv4Address(number)}/{self.length}"


class CidrTable:
    """Values by address range; a look-up costs one hash probe per distinct prefix length."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, entries: list[tuple[CidrRange, object]]) -> None:
        """Of equal ranges the first counts."""
        self._v4 = _by_length([entry for entry in entries if not entry[0].is_v6], 32)
        self._v6 = _by_length([entry for entry in entries if entry[0].is_v6], 128)

    def find(self, address: Address) -> object | None:
        """The value of the longest prefix that holds the address, or None."""
        if address.kind != KIND_IP:
            return None
        number = address.packed()
        for shift, values in self._v6 if address.is_v6 else self._v4:
            found = values.get(number >> shift)
            if found is not None:
                return found
        return None

    def find_all(self, address: Address) -> list[object]:
        """The values of all prefixes that hold the address, longest first."""
        found: list[object] = []
        if address.kind == KIND_IP:
            number = address.packed()
            for shift, values in self._v6 if address.is_v6 else self._v4:
                value = values.get(number >> shift)
                if value is not None:
                    found.append(value)
        return found


def _by_length(entries: list[tuple[CidrRange, object]], width: int) -> list[tuple[int, dict[int, object]]]:
    by_shift: dict[int, dict[int, object]] = {}
    for cidr, value in entries:
        by_shift.setdefault(width - cidr.length, {}).setdefault(cidr.bits, value)
    return sorted(by_shift.items())


class CidrList:
    """Whether an address is in any of several ranges."""

    __slots__ = ("ranges", "_table")

    def __init__(self, ranges: list[CidrRange]) -> None:
        self.ranges = ranges
        self._table = CidrTable([(cidr, True) for cidr in ranges])

    def contains(self, address: Address) -> bool:
        return self._table.find(address) is not None

    def describe(self) -> str:
        return "in " + ", ".join([cidr.describe() for cidr in self.ranges])


def parse_cidr_range(view: View) -> CidrRange:
    """From a CidrRange (envoy's or xds's). Raises ConfigError."""
    text = view.text("address_prefix")
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise view.error(f"malformed IP address: {text}", "address_prefix") from None
    try:
        return CidrRange(text, view.integer("prefix_len"))
    except ValueError as error:
        raise view.error(str(error), "prefix_len") from None


def parse_cidr_list(views: list[View]) -> CidrList:
    return CidrList([parse_cidr_range(view) for view in views])
