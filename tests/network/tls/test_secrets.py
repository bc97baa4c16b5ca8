"""Secrets in files, replaced while running."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from outrider.config.errors import ConfigError
from tests.network.tls.bench import Context, End, Peer, inline, pair, pump, server, shake, ssl_client
from tests.network.tls.pki import Issued, authority

CA = authority()
ONE = CA.issue("one", "server.test")
TWO = CA.issue("two", "server.test")
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def write(path: Path, *trees: dict[str, Any]) -> None:
    """As Envoy asks for it: a new file moved over the old one."""
    new = path.with_suffix(".new")
    new.write_bytes(orjson.dumps({"version_info": "1", "resources": [{"@type": SECRET, **tree} for tree in trees]}))
    os.rename(new, path)


def by_path(path: Path, name: str) -> dict[str, Any]:
    config = {"path_config_source": {"path": str(path)}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"}
    return {"name": name, "sds_config": config}


def shown(factory: Any) -> bytes:
    # The pause between two looks at the files is over.
    factory._next_look = 0.0
    end = End(factory)
    peer = Peer(ssl_client(), False)
    shake(peer, end)
    assert end.connected
    return peer.engine.getpeercert(True) or b""


def test_certificate_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sds.json"
    write(path, {"name": "other", "validation_context": {}}, {"name": "cert", "tls_certificate": pair(ONE)})
    context = Context()
    factory = server({"tls_certificate_sds_secret_configs": [by_path(path, "cert")]}, context)
    assert shown(factory) == ONE.der
    old = End(factory)
    old_peer = Peer(ssl_client(), False)
    shake(old_peer, old)
    write(path, {"name": "cert", "tls_certificate": pair(TWO)})
    assert shown(factory) == TWO.der
    updates = context.store.counters["server_ssl_socket_factory.ssl_context_update_by_sds"]
    assert updates.value == 2
    # A connection that is open goes on.
    old_peer.write(b"still here")
    pump(old_peer, old)
    assert bytes(old.received) == b"still here"
    # What is broken changes nothing, and is reported once.
    write(path, {"name": "cert", "tls_certificate": {**pair(ONE), "private_key": inline("garbage")}})
    assert shown(factory) == TWO.der
    assert shown(factory) == TWO.der
    assert [record.message for record in caplog.records if "secrets not updated" in record.message] != []
    assert updates.value == 2
    write(path, {"name": "cert", "tls_certificate": pair(ONE)})
    assert shown(factory) == ONE.der


def test_files_named_by_a_secret_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "sds.json"
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(ONE.pem)
    key.write_text(ONE.key_pem())
    tree = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
    write(path, {"name": "cert", "tls_certificate": tree})
    factory = server({"tls_certificate_sds_secret_configs": [by_path(path, "cert")]})
    assert shown(factory) == ONE.der
    # Half of the change is there: the old pair stays.
    chain.write_text(TWO.pem)
    assert shown(factory) == ONE.der
    key.write_text(TWO.key_pem())
    assert shown(factory) == TWO.der


def test_looks_are_rare(tmp_path: Path) -> None:
    path = tmp_path / "sds.json"
    write(path, {"name": "cert", "tls_certificate": pair(ONE)})
    factory = server({"tls_certificate_sds_secret_configs": [by_path(path, "cert")]})
    assert shown(factory) == ONE.der
    write(path, {"name": "cert", "tls_certificate": pair(TWO)})
    end = End(factory)
    peer = Peer(ssl_client(), False)
    shake(peer, end)
    assert peer.engine.getpeercert(True) == ONE.der
    factory.refresh()
    end = End(factory)
    peer = Peer(ssl_client(), False)
    shake(peer, end)
    assert peer.engine.getpeercert(True) == TWO.der


def test_validation_context_is_replaced(tmp_path: Path) -> None:
    other = authority("other")
    path = tmp_path / "sds.json"
    write(path, {"name": "ca", "validation_context": {"trusted_ca": inline(CA.pem)}})
    common = {"tls_certificates": [pair(ONE)], "validation_context_sds_secret_config": by_path(path, "ca")}
    factory = server(common, require_client_certificate=True)

    def accepted(issued: Issued) -> bool:
        factory._next_look = 0.0
        end = End(factory)
        shake(Peer(ssl_client(issued), False), end)
        return end.connected == 1

    assert accepted(TWO) and not accepted(other.issue("x"))
    write(path, {"name": "ca", "validation_context": {"trusted_ca": inline(other.pem)}})
    assert not accepted(TWO) and accepted(other.issue("x"))


def test_refused_at_load(tmp_path: Path) -> None:
    path = tmp_path / "sds.json"

    def load(reference: dict[str, Any]) -> None:
        server({"tls_certificate_sds_secret_configs": [reference]})

    with pytest.raises(ConfigError, match="does not exist"):
        load(by_path(path, "cert"))
    write(path, {"name": "cert", "tls_certificate": pair(ONE)})
    nameless = Context()
    nameless.server.node_id = ""
    with pytest.raises(ConfigError, match="node 'id' and 'cluster' are required"):
        server({"tls_certificate_sds_secret_configs": [by_path(path, "cert")]}, nameless)
    with pytest.raises(ConfigError, match="Unknown static secret: nope"):
        load(by_path(path, "nope"))
    with pytest.raises(ConfigError, match="secrets can only come from files"):
        load({"name": "cert", "sds_config": {"ads": {}, "resource_api_version": "V3"}})
    write(path, {"name": "cert", "tls_certificate": {**pair(ONE), "tls_params": {"ecdh_curves": ["P-256"]}}})
    with pytest.raises(ConfigError, match="tls_params' is set but not supported"):
        load(by_path(path, "cert"))
