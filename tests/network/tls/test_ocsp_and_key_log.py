"""OCSP staples of servers; key logs."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from outrider.config.errors import ConfigError
from outrider.data.address import ip_address
from outrider.network.tls.openssl import ffi, lib
from tests.network.tls.bench import Context, End, Peer, client, counters, pair, pump, server, shake, ssl_client
from tests.network.tls.pki import NOW, Issued, authority

CA = authority()
SERVER = CA.issue("server", "server.test")
OTHER = CA.issue("other", "other.test")


def response(issued: Issued, days: int = 5) -> bytes:
    builder = ocsp.OCSPResponseBuilder().add_response(
        issued.certificate, CA.certificate, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD,
        NOW - datetime.timedelta(days=10), NOW + datetime.timedelta(days=days), None, None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, CA.certificate)
    return builder.sign(CA.key, hashes.SHA256()).public_bytes(Encoding.DER)


def stapled(issued: Issued, der: bytes) -> dict[str, Any]:
    return {**pair(issued), "ocsp_staple": {"inline_bytes": base64.b64encode(der).decode()}}


def asked(factory: Any) -> bytes:
    """What a client gets that asks for a status."""
    left, right = End(client()), End(factory)
    handle = left.socket.ssl  # type: ignore[attr-defined]
    lib.SSL_set_tlsext_status_type(handle, lib.TLSEXT_STATUSTYPE_ocsp)
    shake(left, right)
    assert left.connected
    pointer = ffi.new("unsigned char **")
    size = lib.SSL_get_tlsext_status_ocsp_resp(handle, pointer)
    return bytes(ffi.buffer(pointer[0], size)[:]) if size > 0 else b""


def test_staple() -> None:
    context = Context()
    der = response(SERVER)
    factory = server({"tls_certificates": [stapled(SERVER, der)]}, context)
    assert asked(factory) == der
    shake(Peer(ssl_client(), False), End(factory))
    assert {name: value for name, value in counters(context).items() if "ocsp" in name} == {
        "ocsp_staple_requests": 1, "ocsp_staple_responses": 1,
    }


def test_expired_staple_is_left_out() -> None:
    context = Context()
    assert asked(server({"tls_certificates": [stapled(SERVER, response(SERVER, -1))]}, context)) == b""
    assert counters(context)["ocsp_staple_omitted"] == 1


def test_wrong_staples_are_refused() -> None:
    with pytest.raises(ConfigError, match="OCSP response does not match its TLS certificate"):
        server({"tls_certificates": [stapled(SERVER, response(OTHER))]})
    with pytest.raises(ConfigError, match="Failed to load OCSP response"):
        server({"tls_certificates": [stapled(SERVER, b"garbage")]})


def test_key_log(tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    factory = server({"tls_certificates": [pair(SERVER)], "key_log": {"path": str(path)}})
    shake(Peer(ssl_client(), False), End(factory))
    lines = path.read_text().splitlines()
    assert {line.split(" ")[0] for line in lines} >= {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"}


@pytest.mark.parametrize(
    ("fields", "logged"),
    [
        ({}, True),
        ({"remote_address_range": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}, False),
        ({"remote_address_range": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}, True),
        ({"local_address_range": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}, False),
    ],
)
def test_key_log_ranges(tmp_path: Path, fields: dict[str, Any], logged: bool) -> None:
    path = tmp_path / "keys.log"
    left = End(client({"key_log": {"path": str(path), **fields}}))
    left.info.remote_address = ip_address("127.0.0.1", 443)
    shake(left, End(server({"tls_certificates": [pair(SERVER)]})))
    pump(left, left)
    assert bool(path.read_text()) is logged


def test_key_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unable to open file"):
        client({"key_log": {"path": str(tmp_path / "missing" / "keys.log")}})
