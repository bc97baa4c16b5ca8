"""Several certificates: by server name and by kind of key. The rules are Envoy's."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from tests.network.tls.bench import End, Peer, pair, server, shake, ssl_client
from tests.network.tls.pki import Issued, authority, rsa_key

CA = authority()
FIRST = CA.issue("first", "first.test")
EXACT = CA.issue("exact", "a.wild.test", "exact.test")
WILD = CA.issue("wild", "*.wild.test")
RSA = CA.issue("rsa", "exact.test", key=rsa_key())
RSA_FIRST = CA.issue("rsa-first", "rsa.test", key=rsa_key())
COMMON_NAME = CA.issue("named.test")

ECDSA_ONLY = "ECDHE-ECDSA-AES128-GCM-SHA256"
RSA_ONLY = "ECDHE-RSA-AES128-GCM-SHA256"


def shown(pairs: list[Issued], name: str | None, ciphers: str = "", **fields: Any) -> Issued:
    end = End(server({"tls_certificates": [pair(each) for each in pairs]}, **fields))
    peer = Peer(ssl_client(highest=ssl.TLSVersion.TLSv1_2, ciphers=ciphers), False, name)
    shake(peer, end)
    assert end.connected, end.failure
    der = peer.engine.getpeercert(True)
    info = end.socket.ssl_info()
    assert info is not None and info.local_certificate_der() == der
    return next(each for each in pairs if each.der == der)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, FIRST), ("first.test", FIRST), ("a.wild.test", EXACT), ("A.WILD.test", EXACT), ("b.wild.test", WILD),
        ("a.b.wild.test", FIRST), ("wild.test", FIRST), ("unknown.test", FIRST), ("named.test", COMMON_NAME),
    ],
)
def test_by_name(name: str | None, expected: Issued) -> None:
    assert shown([FIRST, WILD, EXACT, COMMON_NAME], name) is expected


def test_by_kind_of_key() -> None:
    pairs = [FIRST, EXACT, RSA]
    assert shown(pairs, "exact.test") is EXACT
    assert shown(pairs, "exact.test", RSA_ONLY) is RSA
    assert shown(pairs, "exact.test", ECDSA_ONLY) is EXACT


def test_without_a_name_every_certificate_counts() -> None:
    assert shown([RSA_FIRST, FIRST], None) is FIRST
    assert shown([RSA_FIRST, FIRST], None, RSA_ONLY) is RSA_FIRST


def test_unknown_name_gets_the_first_or_the_best() -> None:
    assert shown([RSA_FIRST, FIRST], "unknown.test") is RSA_FIRST
    assert shown([RSA_FIRST, FIRST], "unknown.test", full_scan_certs_on_sni_mismatch=True) is FIRST

