"""Trees of `MatcherTree.custom_match`: by address range and by domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.address import Address, ip_address
from outrider.matching.cidr import CidrRange, CidrTable
from outrider.matching.tree import MatchTree, OnMatch

if TYPE_CHECKING:
    from outrider.matching.data import DataInput, MatchingData


class IpRangeBranch:
    """Where a range leads; `exclusive`: only as the most specific range that holds the address."""

    __slots__ = ("on_match", "exclusive")

    def __init__(self, on_match: OnMatch, exclusive: bool) -> None:
        self.on_match = on_match
        self.exclusive = exclusive


class IpTree(MatchTree):
    """`envoy.matching.custom_matchers.ip_range_matcher`: the longest prefix that leads somewhere."""

    def __init__(
        self, data_input: DataInput, ranges: list[tuple[CidrRange, IpRangeBranch]], on_no_match: OnMatch | None
    ) -> None:
        super().__init__(on_no_match)
        self.input = data_input
        # Equal ranges are tried in the order in which they stand.
        grouped: dict[tuple[bool, int, int], list[IpRangeBranch]] = {}
        entries: list[tuple[CidrRange, object]] = []
        for cidr, branch in ranges:
            key = (cidr.is_v6, cidr.length, cidr.bits)
            if key not in grouped:
                grouped[key] = []
                entries.append((cidr, grouped[key]))
            grouped[key].append(branch)
        self.table = CidrTable(entries)

    def search(self, data: MatchingData, noted: list[object] | None) -> object | None:
        address = self.input.address(data)
        if address is None:
            value = self.input.get(data)
            if not isinstance(value, bytes):
                return None
            try:
                address = ip_address(value.decode("ascii", "replace"), 0)
            except ValueError:
                return None
        if not isinstance(address, Address):
            return None
        first = True
        for branches in self.table.find_all(address):
            assert isinstance(branches, list)
            for branch in branches:
                assert isinstance(branch, IpRangeBranch)
                if branch.exclusive and not first:
                    continue
                found = branch.on_match.resolve(data, noted)
                if found is not None:
                    return found
                first = False
        return None


class DomainTree(MatchTree):
    """`envoy.matching.custom_matchers.domain_matcher`: exact, then `*.suffix` (longest first), then `*`."""

    def __init__(self, data_input: DataInput, branches: dict[bytes, OnMatch], on_no_match: OnMatch | None) -> None:
        super().__init__(on_no_match)
        self.input = data_input
        # Keys: a domain, a suffix with its leading dot, or "*".
        self.branches = branches

    def search(self, data: MatchingData, noted: list[object] | None) -> object | None:
        value = self.input.get(data)
        if not isinstance(value, bytes) or not value:
            return None
        name = value
        # Names are compared as they are; Envoy folds no case here.
        on_match = self.branches.get(name) if name[:1] not in (b".", b"*") else None
        if on_match is not None:
            found = on_match.resolve(data, noted)
            if found is not None:
                return found
        dot = name.find(b".")
        while dot >= 0:
            on_match = self.branches.get(name[dot:])
            if on_match is not None:
                found = on_match.resolve(data, noted)
                if found is not None:
                    return found
            dot = name.find(b".", dot + 1)
        on_match = self.branches.get(b"*")
        return None if on_match is None else on_match.resolve(data, noted)
