"""Subject alternative names and the matchers for them (`SubjectAltNameMatcher`)."""

from __future__ import annotations

import ipaddress
from typing import Final

from cryptography import x509

from outrider.matching.string_matcher import ExactString, StringMatcher

DNS: Final = "DNS"
URI: Final = "URI"
EMAIL: Final = "EMAIL"
IP_ADDRESS: Final = "IP_ADDRESS"
OTHER_NAME: Final = "OTHER_NAME"


def san_values(certificate: x509.Certificate) -> list[tuple[str, str, str]]:
    """(type, value, OID of an other name), in the certificate's order. Broken extensions have none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    found: list[tuple[str, str, str]] = []
    for name in names:
        if isinstance(name, x509.DNSName):
            found.append((DNS, name.value, ""))
        elif isinstance(name, x509.UniformResourceIdentifier):
            found.append((URI, name.value, ""))
        elif isinstance(name, x509.RFC822Name):
            found.append((EMAIL, name.value, ""))
        elif isinstance(name, x509.IPAddress):
            found.append((IP_ADDRESS, str(name.value), ""))
        elif isinstance(name, x509.OtherName):
            found.append((OTHER_NAME, _der_text(name.value), name.type_id.dotted_string))
    return found


def _der_text(value: bytes) -> str:
    """The content of a DER string (short or long length), as far as it is text."""
    if len(value) < 2:
        return ""
    length = value[1]
    start = 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(value[2 : 2 + count], "big")
        start = 2 + count
    return value[start : start + length].decode("utf-8", "replace")


def dns_name_matches(name: str, pattern: str) -> bool:
    """RFC 6125 section 6.4.3: a wildcard is part of the leftmost label, which then must not be an A-label."""
    name = name.lower()
    pattern = pattern.lower()
    if pattern == name:
        return True
    label, dot, rest = pattern.partition(".")
    name_label, name_dot, name_rest = name.partition(".")
    if not dot or not name_dot or rest != name_rest or "*" in rest or label.startswith("xn--"):
        return False
    if label.count("*") != 1:
        return False
    before, _, after = label.partition("*")
    return len(name_label) >= len(before) + len(after) and name_label.startswith(before) and name_label.endswith(after)


def is_oid(text: str) -> bool:
    try:
        x509.ObjectIdentifier(text)
    except ValueError:
        return False
    return True


class SanMatcher:
    """One `SubjectAltNameMatcher`."""

    __slots__ = ("kind", "matcher", "oid", "exact")

    def __init__(self, kind: str, matcher: StringMatcher, oid: str = "") -> None:
        self.kind = kind
        self.matcher = matcher
        self.oid = oid
        # Exact DNS names also match a wildcard in the certificate.
        self.exact: str | None = matcher.text.decode() if isinstance(matcher, ExactString) else None

    def matches(self, sans: list[tuple[str, str, str]]) -> bool:
        for kind, value, oid in sans:
            if kind != self.kind or (self.oid and oid != self.oid):
                continue
            if kind == DNS and self.exact is not None:
                if dns_name_matches(self.exact, value):
                    return True
            elif self.matcher.matches(value.encode()):
                return True
        return False


def verify_san_list(wanted: tuple[str, ...], sans: list[tuple[str, str, str]]) -> bool:
    """Whether one of the wanted names (DNS names, URIs, IP addresses) is among them."""
    for want in wanted:
        for kind, value, _ in sans:
            if kind == DNS and dns_name_matches(want, value):
                return True
            if kind == URI and want == value:
                return True
            if kind == IP_ADDRESS and _same_ip(want, value):
                return True
    return False


def _same_ip(left: str, right: str) -> bool:
    try:
        return ipaddress.ip_address(left) == ipaddress.ip_address(right)
    except ValueError:
        return False
