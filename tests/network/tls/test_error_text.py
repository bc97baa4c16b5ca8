"""OpenSSL's errors in BoringSSL's words."""

from __future__ import annotations

import pytest

from outrider.network.tls.error_text import failure_text
from outrider.network.tls.openssl import OpenSslError


def text_of(reason: int, text: str, detail: str = "", library: str = "SSL routines") -> str:
    whole = failure_text([OpenSslError(library, reason, text)], detail)
    assert whole.startswith("TLS_error:|") and whole.endswith(":TLS_error_end")
    return whole[len("TLS_error:|") : -len(":TLS_error_end")]


@pytest.mark.parametrize(
    ("reason", "text", "expected"),
    [
        (134, "certificate verify failed", "268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED"),
        (267, "wrong version number", "268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER"),
        (1070, "tlsv1 alert protocol version", "268436526:SSL routines:OPENSSL_internal:TLSV1_ALERT_PROTOCOL_VERSION"),
        (1040, "ssl/tls alert", "268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE"),
        (1048, "tlsv1 alert unknown ca", "268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA"),
        (101, "no suitable key share", "268435722:SSL routines:OPENSSL_internal:NO_SHARED_GROUP"),
        # Unknown to BoringSSL: OpenSSL's own.
        (499, "brand new reason", "268435955:SSL routines:OPENSSL_internal:BRAND_NEW_REASON"),
    ],
)
def test_reasons(reason: int, text: str, expected: str) -> None:
    assert text_of(reason, text) == expected


def test_details() -> None:
    assert text_of(134, "certificate verify failed", "SAN matcher").endswith(":verify cert failed: SAN matcher")
    assert text_of(199, "peer did not return a certificate").endswith(
        ":peer did not provide required client certificate"
    )


def test_other_libraries_and_noise_are_left_out() -> None:
    errors = [
        OpenSslError("Provider routines", 102, "cipher operation failed"),
        OpenSslError("SSL routines", 281, "decryption failed or bad record mac"),
        OpenSslError("SSL routines", 313, "record layer failure"),
    ]
    assert failure_text(errors, "") == (
        "TLS_error:|268435595:SSL routines:OPENSSL_internal:DECRYPTION_FAILED_OR_BAD_RECORD_MAC:TLS_error_end"
    )
    assert "CIPHER_OPERATION_FAILED" in failure_text(errors[:1], "")
