"""JSON Web Tokens (RFC 7519) in compact form: parsing, time limits, signatures (RFC 7515, 7518, 8037).

The texts of failures are those that Envoy answers with.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

OK: Final = "OK"
MISSING: Final = "Jwt is missing"
UNKNOWN_ISSUER: Final = "Jwt issuer is not configured"
NOT_YET_VALID: Final = "Jwt not yet valid"
EXPIRED: Final = "Jwt is expired"
BAD_FORMAT: Final = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
AUDIENCE: Final = "Audiences in Jwt are not allowed"
VERIFICATION: Final = "Jwt verification fails"
KID_ALG: Final = "Jwks doesn't have key to match kid or alg from Jwt"
FETCH_FAILED: Final = "Jwks remote fetch is failed"
NO_KEYS: Final = "Jwks is invalid"

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_HASH_NAMES: Final = {"256": "sha256", "384": "sha384", "512": "sha512"}
_CURVES: Final[dict[str, tuple[ec.EllipticCurve, str, int]]] = {
    "P-256": (ec.SECP256R1(), "ES256", 32),
    "P-384": (ec.SECP384R1(), "ES384", 48),
    "P-521": (ec.SECP521R1(), "ES512", 66),
}
ALGORITHMS: Final = frozenset(
    [family + bits for family in ("RS", "PS", "ES", "HS") for bits in ("256", "384", "512")] + ["EdDSA"]
)
_MAX_TIME: Final = 1 << 63


class TokenError(Exception):
    """A token, or a set of keys, that is not right; its text is Envoy's."""


def decode_base64url(text: str) -> bytes:
    """Without padding (RFC 7515 section 2). Raises ValueError."""
    if "=" in text or "+" in text or "/" in text:
        raise ValueError("not base64url")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _object(section: str, what: str) -> dict[str, Any]:
    try:
        raw = decode_base64url(section)
    except ValueError:
        raise TokenError(f"Jwt {what} is an invalid Base64url encoded") from None
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TokenError(f"Jwt {what} is an invalid JSON")
    return found


class Token:
    """A parsed token; its signature has not been looked at."""

    __slots__ = ("header", "payload", "payload_section", "signed", "signature", "algorithm", "key_id", "audiences")

    def __init__(self, text: str) -> None:
        """Raises TokenError."""
        sections = text.split(".")
        if len(sections) != 3:
            raise TokenError(BAD_FORMAT)
        self.header = _object(sections[0], "header")
        algorithm = self.header.get("alg")
        if not isinstance(algorithm, str):
            raise TokenError("Jwt header [alg] field is required and must be a string")
        if algorithm not in ALGORITHMS:
            raise TokenError("Jwt header [alg] is not supported")
        key_id = self.header.get("kid", "")
        if not isinstance(key_id, str):
            raise TokenError("Jwt header [kid] field is not a string")
        self.algorithm = algorithm
        self.key_id = key_id
        self.payload = _object(sections[1], "payload")
        self.payload_section = sections[1]
        for name in ("iss", "sub", "jti"):
            if not isinstance(self.payload.get(name, ""), str):
                raise TokenError(f"Jwt payload [{name}] field is not a string")
        for name in ("iat", "nbf", "exp"):
            value = self.payload.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TokenError(f"Jwt payload [{name}] field is not an integer")
            if not 0 <= value < _MAX_TIME:
                raise TokenError(f"Jwt payload [{name}] field is not a positive 64 bit integer")
        audiences = self.payload.get("aud", [])
        if isinstance(audiences, str):
            audiences = [audiences]
        if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
            raise TokenError("Jwt payload [aud] field is not a string or string list")
        self.audiences: list[str] = audiences
        try:
            self.signature = decode_base64url(sections[2])
        except ValueError:
            raise TokenError("Jwt signature is an invalid Base64url encoded") from None
        self.signed = (sections[0] + "." + sections[1]).encode()

    @property
    def issuer(self) -> str:
        return str(self.payload.get("iss", ""))

    @property
    def subject(self) -> str:
        return str(self.payload.get("sub", ""))

    def check_time(self, now: int, skew: int) -> str:
        """OK, or why the token is not valid at `now` (Unix seconds)."""
        not_before = self.payload.get("nbf", 0)
        expires = self.payload.get("exp", 0)
        if not_before and not_before > now + skew:
            return NOT_YET_VALID
        if expires and now > expires + skew:
            return EXPIRED
        return OK


class Key:
    """One key of a set (RFC 7517)."""

    __slots__ = ("key_id", "algorithm", "kind", "public", "size")

    def __init__(self, fields: dict[str, Any]) -> None:
        """Raises ValueError, KeyError or TypeError for keys that cannot be used."""
        self.key_id = str(fields.get("kid", ""))
        self.algorithm = str(fields.get("alg", ""))
        self.kind = str(fields["kty"])
        self.public: Any
        self.size = 0
        if self.kind == "RSA":
            self.public = rsa.RSAPublicNumbers(_number(fields["e"]), _number(fields["n"])).public_key()
        elif self.kind == "EC":
            curve, algorithm, self.size = _CURVES[str(fields["crv"])]
            self.algorithm = self.algorithm or algorithm
            self.public = ec.EllipticCurvePublicNumbers(_number(fields["x"]), _number(fields["y"]), curve).public_key()
        elif self.kind == "oct":
            self.public = decode_base64url(str(fields["k"]).rstrip("="))
        elif self.kind == "OKP" and fields["crv"] == "Ed25519":
            self.public = ed25519.Ed25519PublicKey.from_public_bytes(decode_base64url(str(fields["x"])))
        else:
            raise ValueError(f"unknown kind of key {self.kind}")

    def verifies(self, token: Token) -> bool:
        family, bits = token.algorithm[:2], token.algorithm[2:]
        try:
            if family == "HS":
                return self.kind == "oct" and hmac.compare_digest(
                    hmac.digest(self.public, token.signed, _HASH_NAMES[bits]), token.signature
                )
            if family == "RS" and self.kind == "RSA":
                self.public.verify(token.signature, token.signed, padding.PKCS1v15(), _HASHES[bits])
                return True
            if family == "PS" and self.kind == "RSA":
                digest = _HASHES[bits]
                pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
                self.public.verify(token.signature, token.signed, pss, digest)
                return True
            if family == "ES" and self.kind == "EC":
                size = self.size
                if len(token.signature) != 2 * size:
                    return False
                r = int.from_bytes(token.signature[:size], "big")
                s = int.from_bytes(token.signature[size:], "big")
                self.public.verify(encode_dss_signature(r, s), token.signed, ec.ECDSA(_HASHES[bits]))
                return True
            if token.algorithm == "EdDSA" and self.kind == "OKP":
                self.public.verify(token.signature, token.signed)
                return True
        except (InvalidSignature, ValueError):
            return False
        return False


def _number(text: object) -> int:
    return int.from_bytes(decode_base64url(str(text).rstrip("=")), "big")


def parse_keys(text: bytes) -> list[Key]:
    """The usable keys of a JSON Web Key Set. Raises TokenError when there is none."""
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TokenError("Jwks is an invalid JSON") from None
    found: list[Key] = []
    for fields in keys if isinstance(keys, list) else []:
        try:
            found.append(Key(fields))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    if not found:
        raise TokenError("Jwks doesn't have any valid public key")
    return found


def check_signature(token: Token, keys: list[Key]) -> str:
    """OK, or why no key verifies it."""
    matched = False
    for key in keys:
        if token.key_id and key.key_id and token.key_id != key.key_id:
            continue
        if key.algorithm and key.algorithm != token.algorithm:
            continue
        matched = True
        if key.verifies(token):
            return OK
    return VERIFICATION if matched else KID_ALG
