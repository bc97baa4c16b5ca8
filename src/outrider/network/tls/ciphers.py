"""Cipher suites, curves and versions: Envoy's (BoringSSL's) names and defaults, for OpenSSL."""

from __future__ import annotations

import ssl
from typing import Final

# What BoringSSL knows below TLS 1.3. TLS 1.3 suites cannot be configured there.
_KNOWN: Final = {
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA256", "ECDHE-PSK-AES128-CBC-SHA", "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
    "PSK-AES128-CBC-SHA", "PSK-AES256-CBC-SHA", "DES-CBC3-SHA",
}
# Keywords that BoringSSL's cipher strings may hold.
_KEYWORDS: Final = {"ALL", "DEFAULT", "HIGH", "ECDHE", "AES", "AES128", "AES256", "AESGCM", "CHACHA20", "ECDSA", "RSA"}

DEFAULT_CIPHERS: Final = [
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
]

VERSIONS: Final[dict[str, ssl.TLSVersion]] = {
    "TLSv1_0": ssl.TLSVersion.TLSv1,
    "TLSv1_1": ssl.TLSVersion.TLSv1_1,
    "TLSv1_2": ssl.TLSVersion.TLSv1_2,
    "TLSv1_3": ssl.TLSVersion.TLSv1_3,
}

# OpenSSL's names of single curves; several at once cannot be set through the `ssl` module.
CURVES: Final[dict[str, str]] = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
_ALL_CURVES: Final = {"P-224", "P-256", "P-384", "P-521", "X25519", "X25519MLKEM768", "X25519Kyber768Draft00"}
DEFAULT_CURVES: Final = (["X25519MLKEM768", "X25519", "P-256"], ["X25519", "P-256"])

# TLS supported_groups registry -> BoringSSL's name.
GROUP_NAMES: Final[dict[int, str]] = {
    23: "P-256", 24: "P-384", 25: "P-521", 29: "X25519", 30: "X448", 4588: "X25519MLKEM768",
}
# TLS SignatureScheme registry -> BoringSSL's name.
SIGALG_NAMES: Final[dict[int, str]] = {
    0x0201: "rsa_pkcs1_sha1", 0x0203: "ecdsa_sha1", 0x0401: "rsa_pkcs1_sha256", 0x0501: "rsa_pkcs1_sha384",
    0x0601: "rsa_pkcs1_sha512", 0x0403: "ecdsa_secp256r1_sha256", 0x0503: "ecdsa_secp384r1_sha384",
    0x0603: "ecdsa_secp521r1_sha512", 0x0804: "rsa_pss_rsae_sha256", 0x0805: "rsa_pss_rsae_sha384",
    0x0806: "rsa_pss_rsae_sha512", 0x0807: "ed25519",
}


def openssl_ciphers(suites: list[str]) -> tuple[str, list[str]]:
    """OpenSSL's cipher string for a list of Envoy's, and those that are unknown."""
    names: list[str] = []
    unknown: list[str] = []
    for entry in suites:
        for part in entry.split(":"):
            # A group of equal preference: OpenSSL has no such thing, so the order in it decides.
            for name in part.strip("[]").split("|"):
                bare = name.lstrip("!-+")
                if bare in _KNOWN or bare in _KEYWORDS:
                    names.append(name)
                else:
                    unknown.append(name)
    return ":".join(names), unknown


def unknown_curves(curves: list[str]) -> bool:
    return any(curve not in _ALL_CURVES for entry in curves for curve in entry.split(":"))
