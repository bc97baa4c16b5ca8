"""`importPublicKey` and `verifySignature`."""

from __future__ import annotations

from typing import Final

# `cryptography` is imported when a script first asks for it: it loads slowly.
_HASHES: Final[dict[bytes, str]] = {
    b"sha1": "SHA1",
    b"sha224": "SHA224",
    b"sha256": "SHA256",
    b"sha384": "SHA384",
    b"sha512": "SHA512",
}


class PublicKey:
    """`key` is what scripts pass to `verifySignature`; empty when it could not be read."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        self.key = key

    def get(self) -> bytes | None:
        return self.key or None


class KeyStore:
    """The keys that one stream has imported, by their DER form."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[bytes, object] = {}

    def add(self, der: bytes) -> bool:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            self._keys[der] = load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm):
            return False
        return True

    def find(self, der: bytes) -> object | None:
        return self._keys.get(der)


def verify_signature(hash_name: bytes, key: object, signature: bytes, text: bytes) -> str:
    """Empty: the signature is the text's; otherwise what is wrong."""
    name = _HASHES.get(hash_name.lower())
    if name is None:
        return f"{hash_name.decode('utf-8', 'replace')} is not supported."
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    algorithm: type[hashes.HashAlgorithm] = getattr(hashes, name)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, padding.PKCS1v15(), algorithm())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, text, ec.ECDSA(algorithm()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, text)
        else:
            return "Failed to initialize digest verify."
    except InvalidSignature:
        return "Failed to verify digest. Error code: 0"
    return ""
