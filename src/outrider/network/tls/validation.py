"""Judging a peer's certificate beyond its chain: pinned hashes and subject alternative names."""

from __future__ import annotations

from cryptography import x509

from outrider.network.tls.certificates import certificate_hash, spki_hash
from outrider.network.tls.san_matcher import san_values, verify_san_list
from outrider.network.tls.settings import ValidationSettings
from outrider.network.tls.stats import SslStats


def check_peer(
    der: bytes, validation: ValidationSettings | None, wanted: tuple[str, ...], stats: SslStats
) -> str:
    """Why the certificate is refused, empty when it is not. `wanted`: names of which one must be in it."""
    pins = validation is not None and bool(validation.hashes or validation.spki_hashes)
    matchers = validation.san_matchers if validation is not None else []
    if not pins and not matchers and not wanted:
        return ""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        stats.fail_verify_error.inc()
        return "malformed certificate"
    if wanted or matchers:
        sans = san_values(certificate)
        # Names that the request asks for replace those of the configuration.
        if wanted:
            good = verify_san_list(wanted, sans)
        else:
            good = any(matcher.matches(sans) for matcher in matchers)
        if not good:
            stats.fail_verify_san.inc()
            listed = ", ".join(value for _, value, _ in sans)
            return f"SAN matcher, certificate SANs are [{listed}]"
    if pins and validation is not None and not _pinned(der, certificate, validation):
        stats.fail_verify_cert_hash.inc()
        return "cert hash and spki"
    return ""


def _pinned(der: bytes, certificate: x509.Certificate, validation: ValidationSettings) -> bool:
    if validation.hashes and certificate_hash(der) in validation.hashes:
        return True
    return bool(validation.spki_hashes) and spki_hash(certificate) in validation.spki_hashes
