"""Virtual hosts by domain: exact, then the longest suffix wildcard, then the longest prefix wildcard, then `*`.

Source: `config.route.v3.VirtualHost.domains`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.router.config.virtual_host import VirtualHost


class _Wildcards:
    """Wildcard domains of one side, by the length of their fixed part, longest first."""

    __slots__ = ("by_length", "lengths")

    def __init__(self) -> None:
        self.by_length: dict[int, dict[bytes, VirtualHost]] = {}
        self.lengths: list[int] = []

    def add(self, fixed: bytes, host: VirtualHost) -> bool:
        size = len(fixed)
        hosts = self.by_length.get(size)
        if hosts is None:
            hosts = self.by_length[size] = {}
            self.lengths.append(size)
            self.lengths.sort(reverse=True)
        if fixed in hosts:
            return False
        hosts[fixed] = host
        return True


class DomainTable:
    """One look-up costs a hash probe, and with wildcards one more for each distinct length of theirs."""

    __slots__ = ("exact", "suffixes", "prefixes", "default", "only_default")

    def __init__(self) -> None:
        self.exact: dict[bytes, VirtualHost] = {}
        self.suffixes = _Wildcards()
        self.prefixes = _Wildcards()
        self.default: VirtualHost | None = None
        # True while `*` is the only domain: the authority need not be looked at.
        self.only_default: bool = True

    def add(self, domain: str, host: VirtualHost) -> str:
        """Returns what is wrong with it, "" for nothing."""
        lowered = domain.lower().encode()
        if lowered == b"*":
            if self.default is not None:
                return "Only a single wildcard domain is permitted"
            self.default = host
            return ""
        self.only_default = False
        if lowered[:1] == b"*":
            unique = self.suffixes.add(lowered[1:], host)
        elif lowered[-1:] == b"*":
            unique = self.prefixes.add(lowered[:-1], host)
        else:
            unique = lowered not in self.exact
            self.exact.setdefault(lowered, host)
        if unique:
            return ""
        return f"Only unique values for domains are permitted. Duplicate entry of domain {lowered.decode()}"

    def find(self, authority: bytes) -> VirtualHost | None:
        """The virtual host of an authority, in any case."""
        found = self.exact.get(authority)
        if found is not None:
            return found
        lowered = authority.lower()
        found = self.exact.get(lowered)
        if found is not None:
            return found
        # A wildcard stands for at least one character.
        size = len(lowered)
        for length in self.suffixes.lengths:
            if length < size:
                found = self.suffixes.by_length[length].get(lowered[size - length :])
                if found is not None:
                    return found
        for length in self.prefixes.lengths:
            if length < size:
                found = self.prefixes.by_length[length].get(lowered[:length])
                if found is not None:
                    return found
        return self.default


def host_without_port(authority: bytes) -> bytes:
    """An authority without what follows its last colon; IPv6 literals keep their colons."""
    colon = authority.rfind(b":")
    if colon < 0 or authority.rfind(b"]") > colon:
        return authority
    return authority[:colon]
