"""What the peer's key says about its signature: the algorithm used, and whether the key may sign at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

if TYPE_CHECKING:
    from outrider.network.tls.info import TlsInfo

# In TLS 1.3 the curve decides (RFC 8446 section 4.2.3); with TLS 1.2 other hashes are allowed, and nobody uses them.
_ECDSA: Final = {
    "secp256r1": "ecdsa_secp256r1_sha256",
    "secp384r1": "ecdsa_secp384r1_sha384",
    "secp521r1": "ecdsa_secp521r1_sha512",
}
# (algorithm or empty, may sign, may encrypt keys) by the certificate; peers are few, and the number is bounded.
_KNOWN: Final[dict[bytes, tuple[str, bool, bool]]] = {}
_LIMIT: Final = 256


def _facts(der: bytes) -> tuple[str, bool, bool]:
    found = _KNOWN.get(der)
    if found is None:
        if len(_KNOWN) >= _LIMIT:
            _KNOWN.clear()
        found = _KNOWN[der] = _read(der)
    return found


def _read(der: bytes) -> tuple[str, bool, bool]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
    except (ValueError, TypeError):
        return "", True, True
    algorithm = ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        algorithm = _ECDSA.get(key.curve.name, "")
    elif isinstance(key, ed25519.Ed25519PublicKey):
        algorithm = "ed25519"
    elif isinstance(key, rsa.RSAPublicKey):
        algorithm = "rsa"
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return algorithm, True, True
    return algorithm, usage.digital_signature, usage.key_encipherment


def signature_algorithm(info: TlsInfo) -> str:
    """What the peer signed with, as far as its key tells; empty for RSA, with which several are in use."""
    algorithm = _facts(info.peer_certificate_der())[0]
    return "" if algorithm == "rsa" else algorithm


def key_usage_fits(info: TlsInfo) -> bool:
    """BoringSSL's check: a key that only encrypts must not sign, and the other way round (RFC 5280 section 4.2.1.3)."""
    der = info.peer_certificate_der()
    if not der:
        return True
    _, signs, encrypts = _facts(der)
    if signs and encrypts:
        return True
    static_rsa = info.tls_version() != "TLSv1.3" and not info.cipher().startswith("ECDHE")
    return encrypts if static_rsa else signs
