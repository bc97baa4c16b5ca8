"""What is asked of the peer's certificate. The expectations are those of Envoy 1.40 with the same configurations."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from cryptography import x509

from outrider.config.errors import ConfigError
from outrider.network.transport_socket import TransportSocketOptions
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
from tests.network.tls.pki import Issued, authority

CA = authority()
MIDDLE = CA.issue("middle", ca=True)
OTHER = authority("other")
SERVER = CA.issue("server", "server.test", "*.wild.test", "127.0.0.1")
CLIENT = CA.issue("client", "client.test", "spiffe://a.test/client", "me@a.test")
EVIL = OTHER.issue("evil", "evil.test")
OLD = CA.issue("old", "old.test", expired=True)
CERTIFICATES = {"none": None, "client": CLIENT, "evil": EVIL, "old": OLD}

NO_CERT = (
    "TLS_error:|268435648:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:"
    "peer did not provide required client certificate:TLS_error_end"
)


def failed(detail: str) -> str:
    return (
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: "
        f"{detail}:TLS_error_end"
    )


def chain_error(text: str, depth: int = 0) -> str:
    return failed(f"X509_verify_cert: certificate verification error at depth {depth}: {text}")


UNKNOWN = chain_error("unable to get local issuer certificate")
EXPIRED = chain_error("certificate has expired")
SAN = failed("SAN matcher, certificate SANs are [client.test, spiffe://a.test/client, me@a.test]")
PIN = failed("cert hash and spki")
VALIDATED = "validated"
PRESENTED = "presented"
NOTHING = "nothing"


def san(kind: str, value: str, how: str = "exact", **more: str) -> dict[str, Any]:
    return {"san_type": kind, "matcher": {how: value}, **more}


TRUSTED = {"trusted_ca": inline(CA.pem)}
ACCEPT = {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
WRONG_HASH = {"verify_certificate_hash": ["00" * 32]}
GOOD_SAN = {"match_typed_subject_alt_names": [san("URI", "spiffe://a.test/client")]}
BAD_SAN = {"match_typed_subject_alt_names": [san("DNS", "nobody.test")]}

# name: require_client_certificate, validation context, results for no, a good, a foreign, an expired certificate
SERVER_CASES: dict[str, tuple[bool, dict[str, Any] | None, list[str]]] = {
    "required": (True, TRUSTED, [NO_CERT, VALIDATED, UNKNOWN, EXPIRED]),
    "optional": (False, TRUSTED, [NOTHING, VALIDATED, UNKNOWN, EXPIRED]),
    "wrong san": (True, {**TRUSTED, **BAD_SAN}, [NO_CERT, SAN, UNKNOWN, EXPIRED]),
    "right san": (True, {**TRUSTED, **GOOD_SAN}, [NO_CERT, VALIDATED, UNKNOWN, EXPIRED]),
    "san asks for one": (False, {**TRUSTED, **GOOD_SAN}, [NO_CERT, VALIDATED, UNKNOWN, EXPIRED]),
    "hash only": (False, WRONG_HASH, [NO_CERT, PIN, PIN, PIN]),
    "hash and chain": (True, {**TRUSTED, **WRONG_HASH}, [NO_CERT, PIN, UNKNOWN, EXPIRED]),
    "spki": (True, {**TRUSTED, "verify_certificate_spki": ["A" * 43 + "="]}, [NO_CERT, PIN, UNKNOWN, EXPIRED]),
    "accept untrusted": (False, {**TRUSTED, **ACCEPT}, [NOTHING, VALIDATED, PRESENTED, PRESENTED]),
    "accept anything": (False, ACCEPT, [NOTHING, PRESENTED, PRESENTED, PRESENTED]),
    "accept, required": (True, {**TRUSTED, **ACCEPT, **GOOD_SAN}, [NO_CERT, VALIDATED, PRESENTED, PRESENTED]),
    "nothing to check": (True, None, [NOTHING, NOTHING, NOTHING, NOTHING]),
    "expired allowed": (
        True, {**TRUSTED, "allow_expired_certificate": True}, [NO_CERT, VALIDATED, UNKNOWN, VALIDATED],
    ),
}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("case", SERVER_CASES)
def test_server(case: str, version: ssl.TLSVersion) -> None:
    required, validation, expected = SERVER_CASES[case]
    context = Context()
    common: dict[str, Any] = {"tls_certificates": [pair(SERVER)]}
    if validation is not None:
        common["validation_context"] = validation
    factory = server(common, context, require_client_certificate=required)
    found = []
    for issued in CERTIFICATES.values():
        end = End(factory)
        shake(Peer(ssl_client(issued, version), False), end)
        found.append(outcome(end))
    assert found == expected
    wanted = {
        "fail_verify_no_cert": expected.count(NO_CERT),
        "fail_verify_error": expected.count(UNKNOWN) + expected.count(EXPIRED),
        "fail_verify_san": expected.count(SAN),
        "fail_verify_cert_hash": expected.count(PIN),
        "no_certificate": expected.count(NOTHING),
        "handshake": sum(expected.count(each) for each in (VALIDATED, PRESENTED, NOTHING)),
    }
    if case.startswith("accept") and "trusted_ca" in (validation or {}):
        # The failures are counted, and let through.
        wanted["fail_verify_error"] = 2
    counted = counters(context)
    assert {name: counted.get(name, 0) for name in wanted} == wanted
    assert "connection_error" not in counted


def outcome(end: End) -> str:
    if end.failure is not None:
        return end.failure
    assert end.connected == 1
    info = end.socket.ssl_info()
    assert info is not None
    if info.peer_validated():
        return VALIDATED
    return PRESENTED if info.peer_presented() else NOTHING


@pytest.mark.parametrize(
    ("case", "alert"),
    [
        ("required", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        ("wrong san", "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
        ("hash only", "SSLV3_ALERT_BAD_CERTIFICATE"),
    ],
)
def test_the_client_hears_why(case: str, alert: str) -> None:
    required, validation, _ = SERVER_CASES[case]
    common = {"tls_certificates": [pair(SERVER)], "validation_context": validation}
    peer = Peer(ssl_client(None if case == "required" else CLIENT, ssl.TLSVersion.TLSv1_2), False)
    shake(peer, End(server(common, require_client_certificate=required)))
    assert peer.failure == alert


def run_client(
    validation: dict[str, Any] | None,
    issued: Issued = SERVER,
    *chain: Issued,
    options: TransportSocketOptions | None = None,
    **fields: Any,
) -> End:
    common = {} if validation is None else {"validation_context": validation}
    end = End(client(common, **fields), options)
    shake(end, Peer(ssl_server(issued, *chain), True))
    return end


def test_client_chain() -> None:
    assert outcome(run_client(None)) == PRESENTED
    assert outcome(run_client(TRUSTED)) == VALIDATED
    assert outcome(run_client({"trusted_ca": inline(OTHER.pem)})) == UNKNOWN
    assert outcome(run_client(TRUSTED, OLD)) == EXPIRED
    assert outcome(run_client({**TRUSTED, "allow_expired_certificate": True}, OLD)) == VALIDATED
    assert outcome(run_client({"trusted_ca": inline(OTHER.pem), **ACCEPT})) == PRESENTED


def test_self_signed() -> None:
    own = authority("own")
    assert outcome(run_client(TRUSTED, own)) == chain_error("self signed certificate")
    assert outcome(run_client({"trusted_ca": inline(own.pem)}, own)) == VALIDATED


def test_intermediates() -> None:
    leaf = MIDDLE.issue("leaf", "leaf.test")
    assert outcome(run_client(TRUSTED, leaf, MIDDLE)) == VALIDATED
    assert outcome(run_client(TRUSTED, leaf)) == UNKNOWN
    # A trusted intermediate, or the certificate itself, is enough.
    assert outcome(run_client({"trusted_ca": inline(MIDDLE.pem)}, leaf)) == VALIDATED
    assert outcome(run_client({"trusted_ca": inline(leaf.pem)}, leaf)) == VALIDATED


def test_max_verify_depth() -> None:
    leaf = MIDDLE.issue("leaf", "leaf.test")
    assert outcome(run_client({**TRUSTED, "max_verify_depth": 2}, leaf, MIDDLE)) == VALIDATED
    short = outcome(run_client({**TRUSTED, "max_verify_depth": 1}, leaf, MIDDLE))
    assert short == chain_error("certificate chain too long", 2)
    assert outcome(run_client({**TRUSTED, "max_verify_depth": 0})) == chain_error("certificate chain too long", 1)
    assert outcome(run_client({"trusted_ca": inline(SERVER.pem), "max_verify_depth": 0})) == VALIDATED
    assert outcome(run_client({**TRUSTED, "max_verify_depth": 1}, SERVER)) == VALIDATED


@pytest.mark.parametrize(
    ("matcher", "good"),
    [
        (san("DNS", "server.test"), True),
        (san("DNS", "SERVER.test"), True),
        (san("DNS", "a.wild.test"), True),
        (san("DNS", "a.b.wild.test"), False),
        (san("DNS", "wild.test"), False),
        # Wildcards are honoured for exact names only.
        (san("DNS", "a.wild.test", "prefix"), False),
        (san("DNS", "server", "prefix"), True),
        (san("IP_ADDRESS", "127.0.0.1"), True),
        (san("IP_ADDRESS", "127.0.0.2"), False),
        (san("DNS", "127.0.0.1"), False),
        (san("URI", "server.test"), False),
    ],
)
def test_typed_names(matcher: dict[str, Any], good: bool) -> None:
    end = run_client({**TRUSTED, "match_typed_subject_alt_names": [matcher]})
    if good:
        assert outcome(end) == VALIDATED
    else:
        assert outcome(end) == failed("SAN matcher, certificate SANs are [server.test, *.wild.test, 127.0.0.1]")


def test_other_name_and_email() -> None:
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
    issued = CA.issue("u", x509.OtherName(oid, b"\x0c\x06u@corp"), "me@mail.test")

    def run(*matchers: dict[str, Any]) -> str:
        return outcome(run_client({**TRUSTED, "match_typed_subject_alt_names": list(matchers)}, issued))

    assert run(san("OTHER_NAME", "u@corp", oid=oid.dotted_string)) == VALIDATED
    assert run(san("OTHER_NAME", "u@corp", oid="1.2.3")) != VALIDATED
    assert run(san("EMAIL", "me@mail.test")) == VALIDATED
    assert run(san("URI", "x"), san("EMAIL", "@mail.test", "suffix")) == VALIDATED


def test_untyped_names(caplog: pytest.LogCaptureFixture) -> None:
    for value, good in (("server.test", True), ("b.wild.test", True), ("127.0.0.1", True), ("x.test", False)):
        end = run_client({**TRUSTED, "match_subject_alt_names": [{"exact": value}]})
        assert (outcome(end) == VALIDATED) is good


def test_names_of_the_request_replace_the_configured() -> None:
    wrong = {**TRUSTED, "match_typed_subject_alt_names": [san("DNS", "other.test")]}
    options = TransportSocketOptions(verify_sans=("nope.test", "c.wild.test"))
    assert outcome(run_client(wrong, options=options)) == VALIDATED
    assert outcome(run_client(TRUSTED, options=TransportSocketOptions(verify_sans=("nope.test",)))) != VALIDATED


def test_auto_sni_san_validation() -> None:
    good = run_client(TRUSTED, sni="x.wild.test", auto_sni_san_validation=True)
    assert outcome(good) == VALIDATED
    bad = run_client(TRUSTED, sni="x.y.wild.test", auto_sni_san_validation=True)
    assert "SAN matcher" in outcome(bad)
    with pytest.raises(ConfigError, match="configured without a validation context"):
        client(sni="a", auto_sni_san_validation=True)


def test_pins() -> None:
    import base64
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    digest = hashlib.sha256(SERVER.der).hexdigest()
    colons = ":".join(digest[index : index + 2] for index in range(0, 64, 2)).upper()
    spki = hashlib.sha256(
        SERVER.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()
    key = base64.b64encode(spki).decode()
    for pins in (
        {"verify_certificate_hash": [digest]}, {"verify_certificate_hash": ["11" * 32, colons]},
        {"verify_certificate_spki": [key]}, {"verify_certificate_hash": ["11" * 32], "verify_certificate_spki": [key]},
    ):
        assert outcome(run_client(pins)) == VALIDATED
    assert outcome(run_client({"verify_certificate_hash": ["11" * 32]})) == PIN


def test_crl() -> None:
    revoked = CA.issue("revoked", "revoked.test")
    crl = {**TRUSTED, "crl": inline(CA.revoke(revoked))}
    assert outcome(run_client(crl, revoked)) == chain_error("certificate revoked")
    assert outcome(run_client(crl)) == VALIDATED
    leaf = MIDDLE.issue("leaf", "leaf.test")
    whole = {**TRUSTED, "crl": inline(CA.revoke())}
    # Every authority of the chain needs a CRL, unless only the first certificate is looked up.
    assert outcome(run_client(whole, leaf, MIDDLE)) == chain_error("unable to get certificate CRL")
    both = {**TRUSTED, "crl": inline(CA.revoke() + MIDDLE.revoke())}
    assert outcome(run_client(both, leaf, MIDDLE)) == VALIDATED
    leaf_only = {**TRUSTED, "crl": inline(MIDDLE.revoke()), "only_verify_leaf_cert_crl": True}
    assert outcome(run_client(leaf_only, leaf, MIDDLE)) == VALIDATED


def test_authorities_are_announced_unless_hidden() -> None:
    certificates = [pair(OTHER.issue("server"))]
    common = {"tls_certificates": certificates, "validation_context": TRUSTED}
    hidden = {"tls_certificates": certificates, "validation_context": {**TRUSTED, "suppress_client_ca_list": True}}
    name = CA.certificate.subject.public_bytes()
    for tree, shown in ((common, True), (hidden, False)):
        peer, end = Peer(ssl_client(highest=ssl.TLSVersion.TLSv1_2), False), End(server(tree))
        peer.begin()
        end.feed(peer.take())
        assert (name in end.take()) is shown


def test_purpose_of_the_certificate() -> None:
    """An authority's own certificate that may not sign handshakes; a client certificate without the usage."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    from tests.network.tls.pki import NOW

    builder = (
        x509.CertificateBuilder()
        .subject_name(CLIENT.certificate.subject)
        .issuer_name(CA.certificate.subject)
        .public_key(CLIENT.key.public_key())
        .serial_number(77)
        .not_valid_before(NOW.replace(year=NOW.year - 1))
        .not_valid_after(NOW.replace(year=NOW.year + 1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    )
    only_client = Issued(builder.sign(CA.key, hashes.SHA256()), CLIENT.key, CA)
    # BoringSSL and OpenSSL word the refusal differently.
    assert "CERTIFICATE_VERIFY_FAILED" in outcome(run_client(TRUSTED, only_client))
    end = End(server({"tls_certificates": [pair(SERVER)], "validation_context": TRUSTED}))
    shake(Peer(ssl_client(only_client), False), end)
    assert outcome(end) == VALIDATED
