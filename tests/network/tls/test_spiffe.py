"""envoy.tls.cert_validator.spiffe."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from tests.network.tls.bench import (
    Context,
    End,
    Peer,
    client,
    counters,
    inline,
    pair,
    server,
    shake,
    ssl_client,
    ssl_server,
)
from tests.network.tls.pki import Issued, authority, key_usage

CA_A, CA_B = authority("a"), authority("b")
SERVER = CA_A.issue("server", "spiffe://a.test/server", "server.test")
TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"


def validation(**more: Any) -> dict[str, Any]:
    domains = [
        {"name": "a.test", "trust_bundle": inline(CA_A.pem)}, {"name": "b.test", "trust_bundle": inline(CA_B.pem)},
    ]
    config = {"name": "envoy.tls.cert_validator.spiffe", "typed_config": {"@type": TYPE, "trust_domains": domains}}
    return {"custom_validator_config": config, **more}


def run(issued: Issued | None, **more: Any) -> tuple[End, dict[str, int]]:
    context = Context()
    end = End(server({"tls_certificates": [pair(SERVER)], "validation_context": validation(**more)}, context))
    shake(Peer(ssl_client(issued), False), end)
    return end, counters(context)


@pytest.mark.parametrize("ca", [CA_A, CA_B])
def test_each_domain_has_its_bundle(ca: Issued) -> None:
    end, counted = run(ca.issue("x", f"spiffe://{ca.certificate.subject.rfc4514_string()[3:]}.test/x"))
    info = end.socket.ssl_info()
    assert end.connected and info is not None and info.peer_validated() and counted["handshake"] == 1


@pytest.mark.parametrize(
    ("issued", "detail"),
    [
        # The other domain's authority.
        (CA_B.issue("x", "spiffe://a.test/x"), "cert verification: unable to get local issuer certificate"),
        (CA_A.issue("x", "spiffe://unknown.test/x"), "no trust bundle store"),
        (CA_A.issue("x", "a.test"), "no trust bundle store"),
        (CA_A.issue("x", "https://a.test/x"), "no trust bundle store"),
        # Authorities must not authenticate as workloads.
        (CA_A.issue("x", "spiffe://a.test/x", ca=True), "no trust bundle store"),
        (
            CA_A.issue("x", "spiffe://a.test/x", usage=key_usage(digital_signature=True, key_cert_sign=True)),
            "no trust bundle store",
        ),
        (CA_A.issue("x", "spiffe://a.test/x", expired=True), "cert verification: certificate has expired"),
    ],
)
def test_refused(issued: Issued, detail: str) -> None:
    end, counted = run(issued)
    assert end.failure == (
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: "
        f"{detail}:TLS_error_end"
    )
    assert counted == {"fail_verify_error": 1}


def test_no_certificate() -> None:
    end, counted = run(None)
    assert end.failure is not None and counted == {"fail_verify_no_cert": 1}


def test_expired_may_be_allowed() -> None:
    end, _ = run(CA_A.issue("x", "spiffe://a.test/x", expired=True), allow_expired_certificate=True)
    assert end.connected


def test_intermediates() -> None:
    middle = CA_A.issue("middle", ca=True)
    leaf = middle.issue("leaf", "spiffe://a.test/leaf")
    end = End(client({"validation_context": validation()}))
    shake(end, Peer(ssl_server(leaf, middle, highest=ssl.TLSVersion.TLSv1_2), True))
    info = end.socket.ssl_info()
    assert end.connected and info is not None and info.peer_validated()
    alone = End(client({"validation_context": validation()}))
    shake(alone, Peer(ssl_server(leaf), True))
    assert alone.failure is not None and "unable to get local issuer certificate" in alone.failure


def test_names_on_top() -> None:
    matcher = {"san_type": "URI", "matcher": {"exact": "spiffe://a.test/good"}}
    good, _ = run(CA_A.issue("x", "spiffe://a.test/good"), match_typed_subject_alt_names=[matcher])
    assert good.connected
    bad, counted = run(CA_A.issue("x", "spiffe://a.test/bad"), match_typed_subject_alt_names=[matcher])
    assert bad.failure is not None and "SAN match" in bad.failure and counted == {"fail_verify_san": 1}
