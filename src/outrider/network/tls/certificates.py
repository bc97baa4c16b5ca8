"""Key material: loading, checks, names, fingerprints, expiry."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12

from outrider.config.view import View
from outrider.network.tls.data_source import LoadedData

if TYPE_CHECKING:
    from outrider.network.tls.ocsp_staple import OcspStaple

_MIN_RSA_BITS: Final = 2048
_CRL: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class KeyPair:
    """A certificate chain with its private key, PEM."""

    __slots__ = ("chain_pem", "key_pem", "leaf", "chain", "name", "dns_names", "is_ecdsa", "stat_name", "staple")

    def __init__(self, chain_pem: bytes, key_pem: bytes, chain: list[x509.Certificate], name: str) -> None:
        self.chain_pem = chain_pem
        # Unencrypted.
        self.key_pem = key_pem
        self.chain = chain
        self.leaf = chain[0]
        # Where it came from.
        self.name = name
        # What it may serve: DNS names of the SAN extension, the common name where there are none. Lower case.
        self.dns_names: list[str] = server_names(self.leaf)
        # Name of the secret that it came from, else empty.
        self.stat_name: str = ""
        self.staple: OcspStaple | None = None
        self.is_ecdsa: bool = isinstance(self.leaf.public_key(), ec.EllipticCurvePublicKey)


def pem_certificates(data: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM text. Raises ValueError when one is broken."""
    return [x509.load_pem_x509_certificate(block) for block in _CERTIFICATE.findall(data)]


def server_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
        if names:
            return [name.lower() for name in names]
    except (x509.ExtensionNotFound, ValueError):
        pass
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(attribute.value).lower() for attribute in common[:1]]


def load_key_pair(chain: LoadedData, key: LoadedData, password: bytes | None, view: View) -> KeyPair:
    """Raises ConfigError with Envoy's words where the material is unusable."""
    try:
        certificates = pem_certificates(chain.content)
    except ValueError:
        certificates = []
    if not certificates:
        raise view.error(f"Failed to load certificate chain from {chain.name}", "certificate_chain")
    _check_key(certificates[0], chain.name, view)
    try:
        private = serialization.load_pem_private_key(key.content, password)
    except (ValueError, TypeError) as error:
        raise view.error(f"Failed to load private key from {key.name}, Cause: {error}", "private_key") from None
    _check_match(certificates[0], private.public_key(), key.name, view)
    return KeyPair(chain.content, _plain(private), certificates, chain.name)


def load_pkcs12(data: LoadedData, password: bytes | None, view: View) -> KeyPair:
    """Raises ConfigError."""
    try:
        private, leaf, others = pkcs12.load_key_and_certificates(data.content, password)
    except ValueError as error:
        raise view.error(f"Failed to load pkcs12 from {data.name}, Cause: {error}", "pkcs12") from None
    if leaf is None or private is None:
        raise view.error(f"Failed to load certificate from pkcs12 {data.name}", "pkcs12")
    _check_key(leaf, data.name, view)
    chain = [leaf, *others]
    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    return KeyPair(pem, _plain(private), chain, data.name)


def _plain(private: PrivateKeyTypes) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _check_key(certificate: x509.Certificate, name: str, view: View) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise view.error(
            f"Failed to load certificate chain from {name}, only RSA certificates with 2048-bit or larger keys are "
            "supported"
        )
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
        raise view.error(
            f"Failed to load certificate chain from {name}, only P-256, P-384 or P-521 ECDSA certificates are supported"
        )


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _check_match(certificate: x509.Certificate, public: PublicKeyTypes, name: str, view: View) -> None:
    if _spki(certificate.public_key()) != _spki(public):
        raise view.error(
            f"Failed to load private key from {name}, Cause: error:0b000074:X.509 certificate "
            "routines:OPENSSL_internal:KEY_VALUES_MISMATCH",
            "private_key",
        )


def load_trusted(data: LoadedData, view: View) -> list[x509.Certificate]:
    """CA certificates. Raises ConfigError when there is none."""
    try:
        certificates = pem_certificates(data.content)
    except ValueError:
        certificates = []
    if not certificates:
        raise view.error(f"Failed to load trusted CA certificates from {data.name}", "trusted_ca")
    return certificates


def load_crls(data: LoadedData, view: View) -> list[bytes]:
    """DER of every certificate revocation list. Raises ConfigError when there is none."""
    try:
        found = [x509.load_pem_x509_crl(block) for block in _CRL.findall(data.content)]
    except ValueError:
        found = []
    if not found:
        raise view.error(f"Failed to load CRL from {data.name}", "crl")
    return [crl.public_bytes(serialization.Encoding.DER) for crl in found]


def certificate_hash(der: bytes) -> bytes:
    """SHA-256 of the certificate, as `verify_certificate_hash` pins it."""
    return hashlib.sha256(der).digest()


def spki_hash(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo, as `verify_certificate_spki` pins it."""
    return hashlib.sha256(_spki(certificate.public_key())).digest()


def parse_hash(text: str, view: View) -> bytes:
    """64 hexadecimal digits, with colons between them or not. Raises ConfigError."""
    try:
        digest = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise view.error(f"Invalid hex-encoded SHA-256 {text}", "verify_certificate_hash")
    return digest


def parse_spki(text: str, view: View) -> bytes:
    """Raises ConfigError."""
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise view.error(f"Invalid base64-encoded SHA-256 {text}", "verify_certificate_spki")
    return digest


@contextlib.contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """A path under which OpenSSL can read `content`; secrets never touch a disk where the system allows."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("outrider-tls")
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
