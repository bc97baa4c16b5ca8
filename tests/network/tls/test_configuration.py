"""What is refused when configuration loads, in Envoy's words; what is accepted, and what it does."""

from __future__ import annotations

import base64
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from outrider.config.errors import ConfigError
from tests.network.tls.bench import (
    Context,
    End,
    Peer,
    client,
    inline,
    pair,
    secrets,
    server,
    shake,
    ssl_client,
    ssl_server,
)
from tests.network.tls.pki import authority, issue, rsa_key

CA = authority()
SERVER = CA.issue("server", "server.test")
OTHER = CA.issue("other", "other.test")
RSA = CA.issue("rsa", "server.test", key=rsa_key())
GOOD = pair(SERVER)
CHAIN, KEY = GOOD["certificate_chain"], GOOD["private_key"]
TRUSTED = {"trusted_ca": inline(CA.pem)}
STRUCT = "type.googleapis.com/google.protobuf.Struct"
SPIFFE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"


def certificates(*trees: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tls_certificates": list(trees), **more}


def parameters(**fields: Any) -> dict[str, Any]:
    return certificates(GOOD, tls_params=fields)


def validation(**fields: Any) -> dict[str, Any]:
    return certificates(GOOD, validation_context=fields)


def spiffe(**fields: Any) -> dict[str, Any]:
    config = {"name": "envoy.tls.cert_validator.spiffe", "typed_config": {"@type": SPIFFE, **fields}}
    return validation(custom_validator_config=config)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "No TLS certificates found for server context"),
    (certificates({"certificate_chain": {"filename": "/nope.pem"}, "private_key": KEY}), "Invalid path: /nope.pem"),
    (
        certificates({"certificate_chain": CHAIN, "private_key": {"filename": "/nope.key"}}),
        "Failed to load incomplete private key from path: /nope.key",
    ),
    (certificates({"certificate_chain": CHAIN}), "Failed to load incomplete private key from path: "),
    (certificates({"private_key": KEY}), "Failed to load incomplete certificate from : certificate chain not set"),
    (
        certificates({"certificate_chain": CHAIN, "private_key": inline(OTHER.key_pem())}),
        "Failed to load private key from <inline>, Cause: error:0b000074:X.509 certificate "
        "routines:OPENSSL_internal:KEY_VALUES_MISMATCH",
    ),
    (
        certificates({"certificate_chain": inline("garbage"), "private_key": KEY}),
        "Failed to load certificate chain from <inline>",
    ),
    (
        certificates({"certificate_chain": inline(SERVER.pem.replace("M", "!", 5)), "private_key": KEY}),
        "Failed to load certificate chain from <inline>",
    ),
    (
        certificates({"certificate_chain": CHAIN, "private_key": inline("garbage")}),
        "Failed to load private key from <inline>, Cause: ",
    ),
    (
        certificates({"certificate_chain": CHAIN, "private_key": inline(SERVER.key_pem(b"pw"))}),
        "Failed to load private key from <inline>, Cause: ",
    ),
    (
        certificates(
            {"certificate_chain": CHAIN, "private_key": inline(SERVER.key_pem(b"pw")), "password": inline("wrong")}
        ),
        "Failed to load private key from <inline>, Cause: ",
    ),
    (certificates({"pkcs12": inline("zz")}), "Failed to load pkcs12 from <inline>"),
    (
        certificates({**GOOD, "pkcs12": inline("zz")}),
        "Certificate configuration can't have both pkcs12 and certificate_chain",
    ),
    (
        parameters(cipher_suites=["NOPE", "ECDHE-RSA-AES128-GCM-SHA256"]),
        "Failed to initialize cipher suites NOPE:ECDHE-RSA-AES128-GCM-SHA256. The following ciphers were rejected when "
        "tried individually: NOPE",
    ),
    (
        parameters(cipher_suites=["TLS_AES_128_GCM_SHA256"]),
        "The following ciphers were rejected when tried individually: TLS_AES_128_GCM_SHA256",
    ),
    (parameters(ecdh_curves=["X25519", "nope"]), "Failed to initialize ECDH curves X25519:nope"),
    (parameters(ecdh_curves=["P-224"]), "Failed to initialize ECDH curves P-224"),
    (parameters(signature_algorithms=["nope"]), "Failed to initialize TLS signature algorithms nope"),
    (certificates(GOOD, alpn_protocols=["x" * 256]), "Invalid ALPN protocol string"),
    (validation(trusted_ca=inline("zzz")), "Failed to load trusted CA certificates from <inline>"),
    (validation(trusted_ca={"filename": "/nope"}), "Invalid path: /nope"),
    (validation(crl=inline("zzz")), "Failed to load CRL from <inline> without trusted CA"),
    (validation(**TRUSTED, crl=inline("zzz")), "Failed to load CRL from <inline>"),
    (
        validation(match_typed_subject_alt_names=[{"san_type": "DNS", "matcher": {"exact": "a"}}]),
        "SAN-based verification of peer certificates without trusted CA is insecure and not allowed",
    ),
    (
        validation(
            **TRUSTED,
            match_typed_subject_alt_names=[{"san_type": "OTHER_NAME", "oid": "zz", "matcher": {"exact": "a"}}],
        ),
        "Failed to create SAN matcher for OTHER_NAME with OID: zz",
    ),
    (validation(verify_certificate_hash=["z" * 64]), f"Invalid hex-encoded SHA-256 {'z' * 64}"),
    (validation(verify_certificate_spki=["z" * 44]), f"Invalid base64-encoded SHA-256 {'z' * 44}"),
    (
        validation(allow_expired_certificate=True),
        "Certificate validity period is always ignored without trusted CA",
    ),
    (
        {"tls_certificate_sds_secret_configs": [{"name": "missing"}]},
        "Unknown static secret: missing",
    ),
    (
        certificates(GOOD, validation_context_sds_secret_config={"name": "missing"}),
        "Unknown static certificate validation context: missing",
    ),
    (
        spiffe(trust_domains=[{"name": "a", "trust_bundle": inline(CA.pem)}] * 2),
        "Multiple trust bundles are given for one trust domain for a",
    ),
    (
        spiffe(trust_domains=[{"name": "a", "trust_bundle": inline("x")}]),
        "Failed to load trusted CA certificate for a",
    ),
]


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_refused(index: int) -> None:
    tree, text = REFUSED[index]
    with pytest.raises(ConfigError, match=re.escape(text)) as caught:
        server(tree)
    # Every fault names its field, but for the context that is empty altogether.
    assert caught.value.path or not tree


UNSUPPORTED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (parameters(compliance_policies=["FIPS_202205"]), {}, "compliance_policies"),
    (validation(**TRUSTED, require_signed_certificate_timestamp=True), {}, "require_signed_certificate_timestamp"),
    (certificates({**GOOD, "tls_params": {}}), {}, "tls_params"),
    (certificates(GOOD), {"session_ticket_keys": {"keys": [inline("x" * 80)]}}, "session_ticket_keys"),
    (certificates(GOOD), {"ocsp_staple_policy": "MUST_STAPLE"}, "ocsp_staple_policy"),
    (
        certificates(GOOD, custom_handshaker={"name": "x", "typed_config": {"@type": STRUCT}}), {},
        "custom_handshaker",
    ),
]


@pytest.mark.parametrize("index", range(len(UNSUPPORTED)))
def test_unsupported_fields_are_refused_by_path(index: int) -> None:
    common, fields, path = UNSUPPORTED[index]
    with pytest.raises(ConfigError, match=r"not supported|only LENIENT") as caught:
        server(common, **fields)
    assert path in str(caught.value)


def test_client_refusals() -> None:
    with pytest.raises(ConfigError, match="Multiple TLS certificates are not supported for client contexts"):
        client(certificates(GOOD, pair(RSA)))
    with pytest.raises(ConfigError, match="SNI names containing NULL-byte are not allowed"):
        client(sni="a\0b")
    with pytest.raises(ConfigError, match="allow_renegotiation"):
        client(allow_renegotiation=True)


def test_small_and_odd_keys_are_refused() -> None:
    small = issue("small", CA, key=rsa.generate_private_key(65537, 1024))
    with pytest.raises(ConfigError, match="only RSA certificates with 2048-bit or larger keys are supported"):
        server(certificates(pair(small)))
    odd = issue("odd", CA, key=ec.generate_private_key(ec.SECP256K1()))
    with pytest.raises(ConfigError, match="only P-256, P-384 or P-521 ECDSA certificates are supported"):
        server(certificates(pair(odd)))


def works(common: dict[str, Any], context: Context | None = None, **fields: Any) -> End:
    end = End(server(common, context, **fields))
    peer = Peer(ssl_client(), False, "server.test")
    shake(peer, end)
    assert end.connected and peer.connected
    return end


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chain.pem").write_text(SERVER.pem)
    (tmp_path / "key.pem").write_text(SERVER.key_pem(b"pw"))
    monkeypatch.setenv("OUTRIDER_TEST_KEY", SERVER.key_pem())
    encoded = base64.b64encode(SERVER.pem.encode()).decode()
    works(
        certificates(
            {
                "certificate_chain": {"filename": str(tmp_path / "chain.pem")},
                "private_key": {"filename": str(tmp_path / "key.pem")},
                "password": inline("pw"),
            }
        )
    )
    works(
        certificates(
            {
                "certificate_chain": {"inline_bytes": encoded},
                "private_key": {"environment_variable": "OUTRIDER_TEST_KEY"},
            }
        )
    )


@pytest.mark.parametrize("password", [None, b"pw"])
def test_pkcs12(password: bytes | None) -> None:
    bundle: dict[str, Any] = {"pkcs12": {"inline_bytes": base64.b64encode(SERVER.pkcs12(password)).decode()}}
    if password is not None:
        bundle["password"] = inline("pw")
    info = works(certificates(bundle)).socket.ssl_info()
    assert info is not None and info.local_certificate_der() == SERVER.der


def test_static_secrets() -> None:
    context = Context(
        secrets(
            cert={"tls_certificate": GOOD},
            ca={"validation_context": TRUSTED},
            pins={"validation_context": {"verify_certificate_hash": ["00" * 32]}},
        )
    )
    common = {"tls_certificate_sds_secret_configs": [{"name": "cert"}]}
    works({**common, "validation_context_sds_secret_config": {"name": "ca"}}, context)
    gauges = {name: gauge.value for name, gauge in context.store.gauges.items()}
    until = int(SERVER.certificate.not_valid_after_utc.timestamp())
    assert gauges["ssl.certificate.cert.expiration_unix_time_seconds"] == until
    assert gauges["ssl.certificate.ca.expiration_unix_time_seconds"] == until
    with pytest.raises(ConfigError, match="Unknown static secret: ca"):
        server({"tls_certificate_sds_secret_configs": [{"name": "ca"}]}, context)
    # Both halves of a combined context count.
    combined = {"default_validation_context": TRUSTED, "validation_context_sds_secret_config": {"name": "pins"}}
    end = End(server({**common, "combined_validation_context": combined}, context))
    shake(Peer(ssl_client(OTHER), False), end)
    assert end.failure is not None and "cert hash and spki" in end.failure


def test_expiry_without_names() -> None:
    context = Context()
    server(validation(**TRUSTED), context)
    client({"validation_context": {"verify_certificate_hash": ["00" * 32]}}, context)
    names = sorted(name for name in context.store.gauges if name.startswith("ssl.certificate."))
    assert names == [
        "ssl.certificate.unnamed_ca_cert.expiration_unix_time_seconds",
        "ssl.certificate.unnamed_ca_cert_e3b0c442.expiration_unix_time_seconds",
        "ssl.certificate.unnamed_cert_e3b0c442.expiration_unix_time_seconds",
    ]
    assert context.store.gauges[names[0]].value == 2**63 - 1


def test_counters_exist_from_the_start() -> None:
    context = Context()
    server(certificates(GOOD), context)
    assert {
        "ssl.connection_error", "ssl.fail_verify_cert_hash", "ssl.fail_verify_error", "ssl.fail_verify_no_cert",
        "ssl.fail_verify_san", "ssl.handshake", "ssl.no_certificate", "ssl.ocsp_staple_failed",
        "ssl.ocsp_staple_omitted", "ssl.ocsp_staple_requests", "ssl.ocsp_staple_responses", "ssl.session_reused",
        "server_ssl_socket_factory.downstream_context_secrets_not_ready",
        "server_ssl_socket_factory.ssl_context_update_by_sds",
        "server_ssl_socket_factory.upstream_context_secrets_not_ready",
    } == set(context.store.counters)


@pytest.mark.parametrize(
    ("fields", "version", "cipher"),
    [
        ({}, "TLSv1.3", ""),
        ({"tls_maximum_protocol_version": "TLSv1_2"}, "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (
            {"tls_maximum_protocol_version": "TLSv1_2", "cipher_suites": ["ECDHE-ECDSA-AES256-GCM-SHA384", "HIGH"]},
            "TLSv1.2",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ),
        (
            {"tls_maximum_protocol_version": "TLSv1_2", "cipher_suites": ["[ECDHE-ECDSA-CHACHA20-POLY1305|CHACHA20]"]},
            "TLSv1.2",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
        ({"tls_minimum_protocol_version": "TLSv1_3"}, "TLSv1.3", ""),
    ],
)
def test_versions_and_ciphers(fields: dict[str, Any], version: str, cipher: str) -> None:
    info = works(parameters(**fields)).socket.ssl_info()
    assert info is not None and info.tls_version() == version
    assert not cipher or info.cipher() == cipher


def test_client_ciphers_may_decide() -> None:
    common = parameters(tls_maximum_protocol_version="TLSv1_2")
    order = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
    found = []
    for prefer in (False, True):
        end = End(server(common, prefer_client_ciphers=prefer))
        shake(Peer(ssl_client(ciphers=order), False), end)
        info = end.socket.ssl_info()
        assert info is not None
        found.append(info.cipher())
    assert found == ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"]


@pytest.mark.parametrize(
    ("curves", "group"),
    [
        (["P-384"], "P-384"), (["P-521", "P-384"], "P-521"), (["X25519"], "X25519"), (["prime256v1"], "P-256"),
        (["X25519MLKEM768", "P-256"], "P-256"),
    ],
)
def test_curves(curves: list[str], group: str) -> None:
    context = Context()
    end = End(server(parameters(ecdh_curves=curves), context))
    shake(Peer(ssl_client(), False), end)
    info = end.socket.ssl_info()
    assert info is not None and info.group() == group
    assert context.store.counters[f"ssl.curves.{group}"].value == 1


def test_hybrid_group_between_our_own_ends() -> None:
    left = End(client({"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}}))
    shake(left, End(server(certificates(GOOD))))
    info = left.socket.ssl_info()
    assert info is not None and info.group() == "X25519MLKEM768"


def test_signature_algorithms() -> None:
    def connects(*algorithms: str) -> bool:
        params = {"tls_maximum_protocol_version": "TLSv1_3", "signature_algorithms": list(algorithms)}
        end = End(client({"tls_params": params}))
        shake(end, Peer(ssl_server(SERVER), True))
        return end.connected == 1

    assert not connects("ecdsa_secp384r1_sha384")
    assert connects("ecdsa_secp384r1_sha384", "ecdsa_secp256r1_sha256")


def test_tls_1_0() -> None:
    common = parameters(
        tls_minimum_protocol_version="TLSv1_0", tls_maximum_protocol_version="TLSv1_1", cipher_suites=["ALL"]
    )
    outgoing = {"tls_params": common["tls_params"]}
    left, right = End(client(outgoing)), End(server(common))
    shake(left, right)
    info = right.socket.ssl_info()
    assert info is not None and info.tls_version() == "TLSv1.1", right.failure


def test_full_chain_is_sent() -> None:
    middle = CA.issue("middle", ca=True)
    leaf = middle.issue("leaf", "leaf.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CA.pem)
    peer = Peer(context, False, "leaf.test")
    end = End(server(certificates(pair(leaf, middle))))
    shake(peer, end)
    assert peer.connected and end.connected
    seen = End(client({"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}}))
    shake(seen, End(server(certificates(pair(leaf, middle)))))
    info = seen.socket.ssl_info()
    assert info is not None and info.peer_chain_der() == [leaf.der, middle.der]
