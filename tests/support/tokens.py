"""JSON Web Tokens for tests: keys made anew for each run, and what they sign."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

_RSA = rsa.generate_private_key(65537, 2048)
_OTHER = rsa.generate_private_key(65537, 2048)
_EC = {
    "ES256": (ec.generate_private_key(ec.SECP256R1()), "P-256", 32),
    "ES384": (ec.generate_private_key(ec.SECP384R1()), "P-384", 48),
    "ES512": (ec.generate_private_key(ec.SECP521R1()), "P-521", 66),
}
_ED = ed25519.Ed25519PrivateKey.generate()
_SECRET = b"a secret of thirty-two characters"
_HASH: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int = 0) -> str:
    return encode(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def _rsa_key(key: rsa.RSAPrivateKey, name: str) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": name, "n": _number(numbers.n), "e": _number(numbers.e)}


def _keys() -> list[dict[str, str]]:
    keys = [_rsa_key(_RSA, "rsa")]
    for name, (key, curve, size) in _EC.items():
        numbers = key.public_key().public_numbers()
        x, y = _number(numbers.x, size), _number(numbers.y, size)
        keys.append({"kty": "EC", "kid": name, "alg": name, "crv": curve, "x": x, "y": y})
    point = encode(_ED.public_key().public_bytes_raw())
    keys.append({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "alg": "EdDSA", "x": point})
    keys.append({"kty": "oct", "kid": "secret", "k": encode(_SECRET)})
    return keys


JWKS = json.dumps({"keys": _keys()})
OTHER_JWKS = json.dumps({"keys": [_rsa_key(_OTHER, "rsa")]})


def token(payload: Mapping[str, Any], algorithm: str = "RS256", header: Mapping[str, Any] | None = None) -> str:
    """A signed token; `header` adds and replaces fields, None removes them."""
    family, bits = algorithm[:2], algorithm[2:]
    names = {"RS": "rsa", "PS": "rsa", "HS": "secret", "ES": algorithm, "Ed": "ed"}
    fields: dict[str, Any] = {"alg": algorithm, "kid": names[family], **(header or {})}
    fields = {name: value for name, value in fields.items() if value is not None}
    signed = encode(json.dumps(fields).encode()) + "." + encode(json.dumps(dict(payload)).encode())
    raw = signed.encode()
    if family == "RS":
        signature = _RSA.sign(raw, padding.PKCS1v15(), _HASH[bits])
    elif family == "PS":
        signature = _RSA.sign(raw, padding.PSS(padding.MGF1(_HASH[bits]), _HASH[bits].digest_size), _HASH[bits])
    elif family == "HS":
        signature = hmac.digest(_SECRET, raw, "sha" + bits)
    elif family == "ES":
        key, _, size = _EC[algorithm]
        r, s = decode_dss_signature(key.sign(raw, ec.ECDSA(_HASH[bits])))
        signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    else:
        signature = _ED.sign(raw)
    return signed + "." + encode(signature)
