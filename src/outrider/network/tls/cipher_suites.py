"""BoringSSL's cipher strings, turned into a list of suite names for OpenSSL.

The language: names and aliases separated by `:`, `,`, space or `;`; `A+B` for suites that are both; `!`, `-` and `+`
before one to ban, remove or move to the end; `[A|B]` for a group of equal preference. TLS 1.3 suites are fixed.
Source: BoringSSL, "SSL_CTX_set_cipher_list"; Envoy documentation, `TlsParameters.cipher_suites`.
"""

from __future__ import annotations

import re
from typing import Final

DEFAULT_SUITES: Final = [
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
]
"""What Envoy offers by default, on both sides."""

# Name, name in RFCs, properties; in BoringSSL's order of preference.
_TABLE: Final[list[tuple[str, str, frozenset[str]]]] = []


def _suite(name: str, standard: str, properties: str) -> None:
    _TABLE.append((name, standard, frozenset((*properties.split(), "ALL"))))


_suite(
    "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE ECDSA AES128 AESGCM AES TLSv1.2 HIGH FIPS",
)
_suite(
    "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE aRSA AES128 AESGCM AES TLSv1.2 HIGH FIPS",
)
_suite(
    "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "ECDHE ECDSA AES256 AESGCM AES TLSv1.2 HIGH FIPS",
)
_suite(
    "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE aRSA AES256 AESGCM AES TLSv1.2 HIGH FIPS",
)
_suite(
    "ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE ECDSA CHACHA20 TLSv1.2 HIGH",
)
_suite(
    "ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE aRSA CHACHA20 TLSv1.2 HIGH",
)
_suite(
    "ECDHE-PSK-CHACHA20-POLY1305", "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE PSK CHACHA20 TLSv1.2 HIGH",
)
_suite("ECDHE-ECDSA-AES128-SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE ECDSA AES128 AES SHA1 TLSv1 HIGH")
_suite("ECDHE-RSA-AES128-SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE aRSA AES128 AES SHA1 TLSv1 HIGH")
_suite("ECDHE-PSK-AES128-CBC-SHA", "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA", "ECDHE PSK AES128 AES SHA1 TLSv1 HIGH")
_suite("ECDHE-ECDSA-AES256-SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE ECDSA AES256 AES SHA1 TLSv1 HIGH")
_suite("ECDHE-RSA-AES256-SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE aRSA AES256 AES SHA1 TLSv1 HIGH")
_suite("ECDHE-PSK-AES256-CBC-SHA", "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA", "ECDHE PSK AES256 AES SHA1 TLSv1 HIGH")
# Known by name, never part of an alias.
_TABLE.append(("ECDHE-ECDSA-AES128-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", frozenset()))
_TABLE.append(("ECDHE-RSA-AES128-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", frozenset()))
_suite("AES128-GCM-SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256", "kRSA aRSA RSA AES128 AESGCM AES TLSv1.2 HIGH FIPS")
_suite("AES256-GCM-SHA384", "TLS_RSA_WITH_AES_256_GCM_SHA384", "kRSA aRSA RSA AES256 AESGCM AES TLSv1.2 HIGH FIPS")
_suite("AES128-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA", "kRSA aRSA RSA AES128 AES SHA1 SSLv3 TLSv1 HIGH")
_suite("PSK-AES128-CBC-SHA", "TLS_PSK_WITH_AES_128_CBC_SHA", "kPSK PSK AES128 AES SHA1 TLSv1 HIGH")
_suite("AES256-SHA", "TLS_RSA_WITH_AES_256_CBC_SHA", "kRSA aRSA RSA AES256 AES SHA1 SSLv3 TLSv1 HIGH")
_suite("PSK-AES256-CBC-SHA", "TLS_PSK_WITH_AES_256_CBC_SHA", "kPSK PSK AES256 AES SHA1 TLSv1 HIGH")
_TABLE.append(("DES-CBC3-SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", frozenset(("3DES",))))

_SYNONYMS: Final[dict[str, str]] = {
    "kECDHE": "ECDHE",
    "kEECDH": "ECDHE",
    "EECDH": "ECDHE",
    "aECDSA": "ECDSA",
    "aPSK": "PSK",
    "SHA": "SHA1",
}
_BY_NAME: Final[dict[str, str]] = {each: name for name, standard, _ in _TABLE for each in (name, standard)}
_ALIASES: Final[frozenset[str]] = frozenset(_SYNONYMS).union(*(properties for _, _, properties in _TABLE))
_SEPARATORS: Final = re.compile(r"[:,; |\[\]]+")

# What OpenSSL cannot serve: pre-shared keys are not configurable, triple DES is not built in.
UNSERVED: Final = frozenset(("DES-CBC3-SHA",))


class CipherError(ValueError):
    """`rejected` names the parts that mean nothing; empty when the string leaves no suite over."""

    def __init__(self, rejected: list[str]) -> None:
        super().__init__(", ".join(rejected))
        self.rejected = rejected


def expand(strings: list[str]) -> list[str]:
    """The suites that a `cipher_suites` list selects, in order of preference. Raises CipherError."""
    rejected: list[str] = []
    chosen: list[str] = []
    banned: set[str] = set()
    for rule in _SEPARATORS.split(":".join(strings)):
        if not rule:
            continue
        operator = rule[0] if rule[0] in "!-+" else ""
        found = _select(rule[len(operator) :])
        if found is None:
            rejected.append(rule[len(operator) :])
        elif operator == "!":
            banned.update(found)
            chosen = [name for name in chosen if name not in found]
        elif operator == "-":
            chosen = [name for name in chosen if name not in found]
        elif operator == "+":
            moved = [name for name in chosen if name in found]
            chosen = [name for name in chosen if name not in found] + moved
        else:
            chosen += [name for name in found if name not in chosen and name not in banned]
    if rejected or not chosen:
        raise CipherError(rejected)
    return chosen


def _select(rule: str) -> list[str] | None:
    """Suites that a name, an alias or a conjunction of them means; None where a part of it means nothing."""
    name = _BY_NAME.get(rule)
    if name is not None:
        return [name]
    wanted: set[str] = set()
    for part in rule.split("+"):
        if part not in _ALIASES:
            return None
        wanted.add(_SYNONYMS.get(part, part))
    return [name for name, _, properties in _TABLE if wanted <= properties]
