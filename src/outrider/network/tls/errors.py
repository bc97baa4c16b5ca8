"""Failures in BoringSSL's words: `TLS_error:|<code>:SSL routines:OPENSSL_internal:<REASON>:TLS_error_end`.

Codes are the library number (16, SSL) in the top byte and the reason below; reasons of received alerts are 1000 plus
the alert's number. Users search for these texts, so they are worth keeping.
"""

from __future__ import annotations

import ssl
from typing import Final

_LIBRARY: Final = 16 << 24

_REASONS: Final[dict[str, int]] = {
    "BAD_DECRYPT": 100, "BAD_PACKET_LENGTH": 105, "CERTIFICATE_VERIFY_FAILED": 125, "CLIENTHELLO_TLSEXT": 127,
    "DECODE_ERROR": 137, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 139, "DIGEST_CHECK_FAILED": 141,
    "ENCRYPTED_LENGTH_TOO_LONG": 143, "EXCESSIVE_MESSAGE_SIZE": 145, "HANDSHAKE_FAILURE_ON_CLIENT_HELLO": 154,
    "HTTPS_PROXY_REQUEST": 155, "HTTP_REQUEST": 156, "INAPPROPRIATE_FALLBACK": 157, "NO_CERTIFICATES_RETURNED": 172,
    "NO_CIPHERS_AVAILABLE": 177, "NO_RENEGOTIATION": 182, "NO_SHARED_CIPHER": 184,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192, "PROTOCOL_IS_SHUTDOWN": 194, "RECORD_TOO_LARGE": 197,
    "UNEXPECTED_EXTENSION": 222, "UNEXPECTED_MESSAGE": 223, "UNEXPECTED_RECORD": 225, "UNKNOWN_PROTOCOL": 234,
    "UNSUPPORTED_PROTOCOL": 240, "WRONG_CIPHER_RETURNED": 242, "WRONG_VERSION_NUMBER": 247, "NO_SHARED_GROUP": 266,
    "NO_COMMON_SIGNATURE_ALGORITHMS": 253,
}
_ALERTS: Final[dict[str, int]] = {
    "SSLV3_ALERT_CLOSE_NOTIFY": 0, "SSLV3_ALERT_UNEXPECTED_MESSAGE": 10, "SSLV3_ALERT_BAD_RECORD_MAC": 20,
    "TLSV1_ALERT_DECRYPTION_FAILED": 21, "TLSV1_ALERT_RECORD_OVERFLOW": 22, "SSLV3_ALERT_DECOMPRESSION_FAILURE": 30,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": 40, "SSLV3_ALERT_NO_CERTIFICATE": 41, "SSLV3_ALERT_BAD_CERTIFICATE": 42,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": 43, "SSLV3_ALERT_CERTIFICATE_REVOKED": 44,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": 45, "SSLV3_ALERT_CERTIFICATE_UNKNOWN": 46, "SSLV3_ALERT_ILLEGAL_PARAMETER": 47,
    "TLSV1_ALERT_UNKNOWN_CA": 48, "TLSV1_ALERT_ACCESS_DENIED": 49, "TLSV1_ALERT_DECODE_ERROR": 50,
    "TLSV1_ALERT_DECRYPT_ERROR": 51, "TLSV1_ALERT_EXPORT_RESTRICTION": 60, "TLSV1_ALERT_PROTOCOL_VERSION": 70,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": 71, "TLSV1_ALERT_INTERNAL_ERROR": 80,
    "TLSV1_ALERT_INAPPROPRIATE_FALLBACK": 86, "TLSV1_ALERT_USER_CANCELLED": 90, "TLSV1_ALERT_NO_RENEGOTIATION": 100,
    "TLSV1_UNSUPPORTED_EXTENSION": 110, "TLSV1_CERTIFICATE_UNOBTAINABLE": 111, "TLSV1_UNRECOGNIZED_NAME": 112,
    "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE": 113, "TLSV1_BAD_CERTIFICATE_HASH_VALUE": 114,
    "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY": 115, "TLSV1_ALERT_CERTIFICATE_REQUIRED": 116,
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": 120,
}
# Where OpenSSL and BoringSSL have different words for the same thing.
_SYNONYMS: Final[dict[str, str]] = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
    "TLSV1_ALERT_UNRECOGNIZED_NAME": "TLSV1_UNRECOGNIZED_NAME",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "NO_COMMON_SIGNATURE_ALGORITHMS",
    "NO_SUITABLE_KEY_SHARE": "NO_SHARED_GROUP",
    "RECORD_LAYER_FAILURE": "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    "PACKET_LENGTH_TOO_LONG": "ENCRYPTED_LENGTH_TOO_LONG",
}
_ON_CLIENT_HELLO: Final = "SSLV3_ALERT_HANDSHAKE_FAILURE"


def _one(reason: str) -> str:
    number = _REASONS.get(reason)
    if number is None:
        alert = _ALERTS.get(reason)
        number = 0 if alert is None else 1000 + alert
    return f"|{_LIBRARY | number}:SSL routines:OPENSSL_internal:{reason}"


def tls_error(reason: str, detail: str = "", on_client_hello: bool = False) -> str:
    """The text for a reason; `detail` is appended (`verify cert failed: ...`)."""
    text = _one(reason)
    if detail:
        text += ":" + detail
    if on_client_hello and reason == _ON_CLIENT_HELLO:
        text += _one("HANDSHAKE_FAILURE_ON_CLIENT_HELLO")
    return f"TLS_error:{text}:TLS_error_end"


def failure_text(error: ssl.SSLError, first_flight: bool) -> str:
    """For an error of the `ssl` module; `first_flight`: nothing but this answer has come from the peer."""
    reason = error.reason or "DECODE_ERROR"
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = error.verify_message or "certificate verify failed"
        return verify_failed(f"X509_verify_cert: certificate verification error at depth 0: {detail}")
    return tls_error(_SYNONYMS.get(reason, reason), on_client_hello=first_flight)


def verify_failed(detail: str) -> str:
    """The peer's certificate was refused."""
    return tls_error("CERTIFICATE_VERIFY_FAILED", "verify cert failed: " + detail)

