"""Which content-coding a response gets: the client's Accept-Encoding against the compressors of the chain.

Source: RFC 9110 section 12.5.3; Envoy documentation, "Compressor: how it works". No filter of its own.
"""

from __future__ import annotations

from typing import Final

from outrider.data.filter_state import FilterStateObject

IDENTITY: Final = b"identity"

# How the choice came about.
BY_NAME: Final = 0
BY_WILDCARD: Final = 1
BY_IDENTITY: Final = 2
NOT_VALID: Final = 3


class OfferedCoding:
    """A compressor filter of the chain, as far as the choice goes."""

    __slots__ = ("coding", "content_types", "choose_first")

    def __init__(self, coding: bytes, content_types: frozenset[bytes], choose_first: bool) -> None:
        self.coding = coding
        self.content_types = content_types
        self.choose_first = choose_first

    def allows(self, content_type: bytes | None) -> bool:
        if content_type is None or not self.content_types:
            return True
        return content_type.partition(b";")[0].strip().lower() in self.content_types


class OfferedCodings(FilterStateObject):
    """The compressor filters that a request has passed; they choose together."""

    __slots__ = ("offers", "_chosen")

    def __init__(self) -> None:
        self.offers: list[OfferedCoding] = []
        self._chosen: tuple[bytes, int] | None = None

    def choose(self, accepted: bytes, content_type: bytes | None, choose_first: bool) -> tuple[bytes, int]:
        """The coding and how it was chosen; the same for every filter of the chain."""
        if self._chosen is None:
            allowed: dict[bytes, int] = {}
            for offer in self.offers:
                if offer.allows(content_type):
                    allowed.setdefault(offer.coding, len(allowed))
            self._chosen = choose_coding(accepted, allowed, choose_first)
        return self._chosen


def _quality(parameters: bytes) -> float:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


def choose_coding(accepted: bytes, allowed: dict[bytes, int], choose_first: bool) -> tuple[bytes, int]:
    """`allowed` maps codings to their place in the chain, which decides among equals if `choose_first`."""
    best = b""
    best_quality = 0.0
    refused: set[bytes] = set()
    for token in accepted.split(b","):
        name, _, parameters = token.partition(b";")
        name = name.strip().lower()
        if name not in allowed and name not in (IDENTITY, b"*"):
            continue
        quality = _quality(parameters)
        if quality <= 0:
            refused.add(name)
            continue
        earlier = choose_first and name in allowed and best in allowed and allowed[name] < allowed[best]
        if quality > best_quality or (quality == best_quality and earlier):
            best = name
            best_quality = quality
    if best == IDENTITY:
        return IDENTITY, BY_IDENTITY
    if best == b"*":
        left = [coding for coding in allowed if coding not in refused]
        return (left[0], BY_WILDCARD) if left else (IDENTITY, NOT_VALID)
    if best:
        return best, BY_NAME
    return IDENTITY, NOT_VALID
