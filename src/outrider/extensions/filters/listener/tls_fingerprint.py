"""Fingerprints of TLS clients: JA3 and JA4, from the ClientHello.

Source: the published descriptions of JA3 (github.com/salesforce/ja3) and JA4 (FoxIO, technical details); values of
RFC 8701 (GREASE) are left out.
"""

from __future__ import annotations

import hashlib
from typing import Final

_SERVER_NAME: Final = 0
_GROUPS: Final = 10
_POINT_FORMATS: Final = 11
_SIGNATURES: Final = 13
_ALPN: Final = 16
_VERSIONS: Final = 43
_VERSION_TEXT: Final = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}


def is_grease(value: int) -> bool:
    """RFC 8701: 0x0a0a, 0x1a1a, ... 0xfafa."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def _numbers(content: bytes, start: int, step: int) -> list[int]:
    """The numbers of a list behind its length field, without GREASE."""
    found: list[int] = []
    for position in range(start, len(content) - step + 1, step):
        value = int.from_bytes(content[position : position + step], "big")
        if step == 1 or not is_grease(value):
            found.append(value)
    return found


class HelloFacts:
    """What both fingerprints are made of."""

    __slots__ = ("version", "ciphers", "extensions", "contents", "protocols", "named")

    def __init__(self, version: int, ciphers: bytes, protocols: list[str], named: bool) -> None:
        self.version = version
        self.ciphers: list[int] = _numbers(ciphers, 0, 2)
        # Types in their order, without GREASE, and the contents of those that matter.
        self.extensions: list[int] = []
        self.contents: dict[int, bytes] = {}
        self.protocols = protocols
        self.named = named

    def add(self, kind: int, content: bytes) -> None:
        if not is_grease(kind):
            self.extensions.append(kind)
            self.contents[kind] = content


def ja3(facts: HelloFacts) -> str:
    """The MD5 in hex."""
    contents = facts.contents
    fields = (
        [facts.version],
        facts.ciphers,
        facts.extensions,
        _numbers(contents.get(_GROUPS, b""), 2, 2),
        _numbers(contents.get(_POINT_FORMATS, b""), 1, 1),
    )
    text = ",".join(["-".join([str(value) for value in values]) for values in fields])
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def ja4(facts: HelloFacts) -> str:
    """The three parts, joined."""
    contents = facts.contents
    versions = _numbers(contents.get(_VERSIONS, b""), 1, 2)
    version = max(versions) if versions else facts.version
    first = facts.protocols[0] if facts.protocols else ""
    alpn = "00"
    if first:
        ends = first[0] + first[-1]
        alpn = ends if ends.isascii() and ends.isalnum() else first.encode("latin-1").hex()[0] + first.encode(
            "latin-1"
        ).hex()[-1]
    head = (
        f"t{_VERSION_TEXT.get(version, '00')}{'d' if facts.named else 'i'}"
        f"{min(len(facts.ciphers), 99):02d}{min(len(facts.extensions), 99):02d}{alpn}"
    )
    ciphers = ",".join(sorted([f"{value:04x}" for value in facts.ciphers]))
    kinds = ",".join(sorted([f"{kind:04x}" for kind in facts.extensions if kind not in (_SERVER_NAME, _ALPN)]))
    signatures = ",".join([f"{value:04x}" for value in _numbers(contents.get(_SIGNATURES, b""), 2, 2)])
    tail = f"{kinds}_{signatures}" if signatures else kinds
    return f"{head}_{_short(ciphers)}_{_short(tail)}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "000000000000"
