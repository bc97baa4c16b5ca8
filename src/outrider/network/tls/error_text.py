"""OpenSSL's errors in BoringSSL's words, as Envoy's logs and failure reasons show them.

`TLS_error:|<code>:SSL routines:OPENSSL_internal:<REASON>:TLS_error_end`; the code is BoringSSL's: the library's number
(16 for SSL) in the top byte, the reason below. OpenSSL has other numbers and now and then other names for the same.
"""

from __future__ import annotations

from typing import Final

from outrider.network.tls.openssl import OpenSslError

_SSL_LIBRARY: Final = 16 << 24
_ALERTS_FROM: Final = 1000

# BoringSSL's numbers of the reasons that a peer can cause.
_REASONS: Final[dict[str, int]] = {
    "APP_DATA_IN_HANDSHAKE": 100,
    "BAD_ALERT": 102,
    "BAD_CHANGE_CIPHER_SPEC": 103,
    "BAD_DIGEST_LENGTH": 106,
    "BAD_ECPOINT": 108,
    "BAD_HANDSHAKE_RECORD": 109,
    "BAD_HELLO_REQUEST": 110,
    "BAD_LENGTH": 111,
    "BAD_PACKET_LENGTH": 112,
    "BAD_SIGNATURE": 114,
    "CCS_RECEIVED_EARLY": 124,
    "CERTIFICATE_VERIFY_FAILED": 125,
    "CERT_CB_ERROR": 126,
    "CERT_LENGTH_MISMATCH": 127,
    "CLIENTHELLO_PARSE_FAILED": 131,
    "CLIENTHELLO_TLSEXT": 132,
    "DATA_LENGTH_TOO_LONG": 136,
    "DECODE_ERROR": 137,
    "DECRYPTION_FAILED": 138,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 139,
    "DIGEST_CHECK_FAILED": 142,
    "ENCRYPTED_LENGTH_TOO_LONG": 146,
    "ERROR_PARSING_EXTENSION": 149,
    "EXCESSIVE_MESSAGE_SIZE": 150,
    "HANDSHAKE_FAILURE_ON_CLIENT_HELLO": 154,
    "HTTPS_PROXY_REQUEST": 155,
    "HTTP_REQUEST": 156,
    "INAPPROPRIATE_FALLBACK": 157,
    "INVALID_MESSAGE": 159,
    "LENGTH_MISMATCH": 162,
    "MISSING_EXTENSION": 164,
    "NO_CERTIFICATE_SET": 174,
    "NO_CIPHERS_AVAILABLE": 175,
    "NO_CIPHERS_PASSED": 176,
    "NO_COMPRESSION_SPECIFIED": 178,
    "NO_RENEGOTIATION": 182,
    "NO_SHARED_CIPHER": 184,
    "PARSE_TLSEXT": 190,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192,
    "PROTOCOL_IS_SHUTDOWN": 194,
    "RENEGOTIATION_MISMATCH": 202,
    "RESUMED_EMS_SESSION_WITHOUT_EMS_EXTENSION": 204,
    "SERVERHELLO_TLSEXT": 207,
    "SSL_HANDSHAKE_FAILURE": 215,
    "TOO_MANY_EMPTY_FRAGMENTS": 219,
    "TOO_MANY_WARNING_ALERTS": 220,
    "UNEXPECTED_EXTENSION": 222,
    "UNEXPECTED_MESSAGE": 223,
    "UNEXPECTED_RECORD": 225,
    "UNKNOWN_ALERT_TYPE": 227,
    "UNKNOWN_CIPHER_RETURNED": 229,
    "UNKNOWN_PROTOCOL": 233,
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": 236,
    "UNSUPPORTED_COMPRESSION_ALGORITHM": 238,
    "UNSUPPORTED_PROTOCOL": 240,
    "WRONG_CERTIFICATE_TYPE": 241,
    "WRONG_CIPHER_RETURNED": 242,
    "WRONG_CURVE": 243,
    "WRONG_SIGNATURE_TYPE": 245,
    "WRONG_SSL_VERSION": 246,
    "WRONG_VERSION_NUMBER": 247,
    "NO_COMMON_SIGNATURE_ALGORITHMS": 253,
    "DOWNGRADE_DETECTED": 254,
    "EXCESS_HANDSHAKE_DATA": 255,
    "DUPLICATE_EXTENSION": 257,
    "MISSING_KEY_SHARE": 258,
    "INVALID_ALPN_PROTOCOL": 259,
    "TOO_MANY_KEY_UPDATES": 260,
    "NO_SHARED_GROUP": 266,
    "KEY_USAGE_BIT_INCORRECT": 302,
    "NO_APPLICATION_PROTOCOL": 307,
}

# OpenSSL's name for the same thing.
_ALIASES: Final[dict[str, str]] = {
    "DATA_BETWEEN_CCS_AND_FINISHED": "UNEXPECTED_RECORD",
    "PACKET_LENGTH_TOO_LONG": "ENCRYPTED_LENGTH_TOO_LONG",
    "BAD_RECORD_TYPE": "UNEXPECTED_RECORD",
    "LENGTH_TOO_LONG": "EXCESSIVE_MESSAGE_SIZE",
    "LENGTH_TOO_SHORT": "CLIENTHELLO_PARSE_FAILED",
    "NO_SUITABLE_KEY_SHARE": "NO_SHARED_GROUP",
    "NO_SUITABLE_GROUPS": "NO_SHARED_GROUP",
    "NO_SHARED_GROUPS": "NO_SHARED_GROUP",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "NO_COMMON_SIGNATURE_ALGORITHMS",
    "NO_SHARED_SIGNATURE_ALGORITHMS": "NO_COMMON_SIGNATURE_ALGORITHMS",
    "BAD_EXTENSION": "ERROR_PARSING_EXTENSION",
    "VERSION_TOO_LOW": "UNSUPPORTED_PROTOCOL",
    "VERSION_TOO_HIGH": "UNSUPPORTED_PROTOCOL",
    "BAD_PROTOCOL_VERSION_NUMBER": "WRONG_VERSION_NUMBER",
    "UNEXPECTED_CCS_MESSAGE": "CCS_RECEIVED_EARLY",
    "APPLICATION_DATA_AFTER_CLOSE_NOTIFY": "PROTOCOL_IS_SHUTDOWN",
}

# Alerts by number (RFC 8446 section 6).
_ALERTS: Final[dict[int, str]] = {
    0: "SSLV3_ALERT_CLOSE_NOTIFY",
    10: "SSLV3_ALERT_UNEXPECTED_MESSAGE",
    20: "SSLV3_ALERT_BAD_RECORD_MAC",
    21: "TLSV1_ALERT_DECRYPTION_FAILED",
    22: "TLSV1_ALERT_RECORD_OVERFLOW",
    30: "SSLV3_ALERT_DECOMPRESSION_FAILURE",
    40: "SSLV3_ALERT_HANDSHAKE_FAILURE",
    41: "SSLV3_ALERT_NO_CERTIFICATE",
    42: "SSLV3_ALERT_BAD_CERTIFICATE",
    43: "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    44: "SSLV3_ALERT_CERTIFICATE_REVOKED",
    45: "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    46: "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    47: "SSLV3_ALERT_ILLEGAL_PARAMETER",
    48: "TLSV1_ALERT_UNKNOWN_CA",
    49: "TLSV1_ALERT_ACCESS_DENIED",
    50: "TLSV1_ALERT_DECODE_ERROR",
    51: "TLSV1_ALERT_DECRYPT_ERROR",
    60: "TLSV1_ALERT_EXPORT_RESTRICTION",
    70: "TLSV1_ALERT_PROTOCOL_VERSION",
    71: "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    80: "TLSV1_ALERT_INTERNAL_ERROR",
    86: "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
    90: "TLSV1_ALERT_USER_CANCELLED",
    100: "TLSV1_ALERT_NO_RENEGOTIATION",
    110: "TLSV1_ALERT_UNSUPPORTED_EXTENSION",
    111: "TLSV1_ALERT_CERTIFICATE_UNOBTAINABLE",
    112: "TLSV1_ALERT_UNRECOGNIZED_NAME",
    113: "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE",
    114: "TLSV1_ALERT_BAD_CERTIFICATE_HASH_VALUE",
    115: "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
    116: "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    120: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
    121: "TLSV1_ALERT_ECH_REQUIRED",
}

# What OpenSSL adds on top of the reason.
_NOISE: Final = ("record layer failure",)

NO_CLIENT_CERTIFICATE: Final = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
VERIFY_FAILED: Final = "CERTIFICATE_VERIFY_FAILED"
KEY_USAGE: Final = "KEY_USAGE_BIT_INCORRECT"


def reason_name(error: OpenSslError) -> str:
    """BoringSSL's name of an SSL error's reason."""
    if _ALERTS_FROM <= error.reason < _ALERTS_FROM + 256:
        alert = _ALERTS.get(error.reason - _ALERTS_FROM)
        if alert is not None:
            return alert
    name = error.text.upper().replace(" ", "_").replace("-", "_").replace("/", "_")
    return _ALIASES.get(name, name)


def error_code(error: OpenSslError, name: str) -> int:
    """The number that BoringSSL would give."""
    if _ALERTS_FROM <= error.reason < _ALERTS_FROM + 256:
        return _SSL_LIBRARY | error.reason
    return _SSL_LIBRARY | _REASONS.get(name, error.reason)


def failure_text(errors: list[OpenSslError], detail: str) -> str:
    """The failure reason of a connection; `detail` follows the verification or certificate error it belongs to."""
    parts: list[str] = []
    ours = [error for error in errors if error.library == "SSL routines" and error.text not in _NOISE]
    for error in ours or errors:
        name = reason_name(error)
        part = f"|{error_code(error, name)}:{error.library or 'SSL routines'}:OPENSSL_internal:{name}"
        if name == NO_CLIENT_CERTIFICATE:
            part += ":peer did not provide required client certificate"
        elif name == VERIFY_FAILED and detail:
            part += f":verify cert failed: {detail}"
        parts.append(part)
    return f"TLS_error:{''.join(parts)}:TLS_error_end"


# An errno (ECONNRESET) of BoringSSL's "system library", number 2.
RESET_TEXT: Final = f"TLS_error:|{2 << 24 | 104}:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"


def key_usage_text() -> str:
    """The failure that BoringSSL finds itself and OpenSSL does not look for."""
    return f"TLS_error:|{_SSL_LIBRARY | _REASONS[KEY_USAGE]}:SSL routines:OPENSSL_internal:{KEY_USAGE}:TLS_error_end"
