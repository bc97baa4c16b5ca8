"""BoringSSL's cipher strings. Which are accepted was asked of Envoy 1.40."""

from __future__ import annotations

import pytest

from outrider.network.tls.cipher_suites import DEFAULT_SUITES, CipherError, expand


def test_default() -> None:
    assert expand(DEFAULT_SUITES) == [
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "ALL", "HIGH", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA", "ECDHE-RSA-AES128-SHA256",
        "ECDHE-ECDSA-AES128-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "PSK-AES128-CBC-SHA", "ECDHE",
        "ECDHE+AESGCM", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "AESGCM", "CHACHA20", "RSA", "kRSA", "FIPS",
        "TLSv1.2", "aRSA", "SHA1",
    ],
)
def test_accepted(text: str) -> None:
    assert expand([text])


@pytest.mark.parametrize(
    ("text", "rejected"),
    [
        ("AES128-SHA256", ["AES128-SHA256"]), ("AES256-SHA256", ["AES256-SHA256"]),
        ("ECDHE-RSA-AES256-SHA384", ["ECDHE-RSA-AES256-SHA384"]), ("DHE-RSA-AES128-SHA", ["DHE-RSA-AES128-SHA"]),
        ("TLS_AES_128_GCM_SHA256", ["TLS_AES_128_GCM_SHA256"]), ("NULL-SHA", ["NULL-SHA"]), ("!AES", []),
        ("HIGH:!aNULL", ["aNULL"]), ("@STRENGTH", ["@STRENGTH"]), ("ECDHE-RSA-AES128-GCM-SHA256:-ALL", []),
    ],
)
def test_rejected(text: str, rejected: list[str]) -> None:
    with pytest.raises(CipherError) as caught:
        expand([text])
    assert caught.value.rejected == rejected


def test_operators() -> None:
    both = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
    assert expand([both, "+ECDSA"]) == ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"]
    assert expand([both, "-ECDSA", "ECDHE-ECDSA-AES128-GCM-SHA256"])[-1] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert expand([both, "!ECDSA", "ECDHE-ECDSA-AES128-GCM-SHA256"]) == ["ECDHE-RSA-AES128-GCM-SHA256"]
    assert expand(["kRSA+AESGCM"]) == ["AES128-GCM-SHA256", "AES256-GCM-SHA384"]
    assert expand(["AES128-SHA,AES256-SHA;AES128-SHA"]) == ["AES128-SHA", "AES256-SHA"]
    assert not any("PSK" in name for name in expand(["ALL:!PSK"]))
