"""Secrets that are discovered, come late, and are replaced while running."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitManager
from outrider.config.subscription import FETCH_TIMEOUT
from outrider.event.dispatcher import Dispatcher
from outrider.network.tls.factory import TlsFactory
from outrider.network.tls.secrets import NOT_READY
from outrider.server.admin.config_tracker import SECRETS
from outrider.server.certificates import certificate_trees
from tests.network.tls.bench import Context, End, Peer, client, inline, pair, pump, secrets, server, shake, ssl_client
from tests.network.tls.pki import Issued, authority
from tests.support.subscriptions import FakeSubscriptions

CA = authority()
ONE = CA.issue("one", "server.test")
TWO = CA.issue("two", "server.test")
ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}


def by_ads(name: str) -> dict[str, Any]:
    return {"name": name, "sds_config": ADS}


def by_cert(context: Context, name: str = "cert") -> TlsFactory:
    return server({"tls_certificate_sds_secret_configs": [by_ads(name)]}, context)


def shown(factory: TlsFactory) -> bytes:
    """The certificate that a new connection gets."""
    end = End(factory)
    peer = Peer(ssl_client(), False)
    shake(peer, end)
    assert end.connected
    return peer.engine.getpeercert(True) or b""


def counter(context: Context, name: str) -> int:
    return context.store.counters[name].value


SERVER = "server_ssl_socket_factory."


def test_certificate_comes_and_is_replaced() -> None:
    subscriptions = FakeSubscriptions()
    context = Context(subscriptions=subscriptions)
    factory = by_cert(context)
    [subscription] = subscriptions.made
    assert subscription.names == ["cert"] and subscription.scope.prefix == "sds.cert."
    # Nothing can be served yet.
    end = End(factory)
    end.begin()
    assert end.failure is None
    end.feed(b"\x16")
    assert end.failure == NOT_READY and not end.connected
    assert counter(context, SERVER + "downstream_context_secrets_not_ready") == 1
    assert certificate_trees([factory]) == []
    subscription.send({"name": "cert", "tls_certificate": pair(ONE)})
    assert shown(factory) == ONE.der
    old, old_peer = End(factory), Peer(ssl_client(), False)
    shake(old_peer, old)
    subscription.send({"name": "cert", "tls_certificate": pair(ONE)}, version="2")
    assert counter(context, SERVER + "ssl_context_update_by_sds") == 1
    subscription.send({"name": "cert", "tls_certificate": pair(TWO)}, version="3")
    assert shown(factory) == TWO.der
    assert counter(context, SERVER + "ssl_context_update_by_sds") == 2
    # A connection that is open goes on.
    old_peer.write(b"still here")
    pump(old_peer, old)
    assert bytes(old.received) == b"still here"
    assert len(certificate_trees([factory])) == 1


@pytest.mark.parametrize(
    ("trees", "text"),
    [
        ([], r"Missing SDS resources for cert in onConfigUpdate\(\)"),
        ([{"name": "cert"}, {"name": "b"}], "Unexpected SDS secrets length for cert, number of added resources 2"),
        ([{"name": "other"}], r"Unexpected SDS secret \(expecting cert\): other"),
        ([{"name": "cert", "tls_certificate": {**pair(ONE), "private_key": inline(TWO.key_pem())}}], "KEY_VALUES_MISMATCH"),
        ([{"name": "cert", "validation_context": {"trusted_ca": inline(CA.pem)}}], "Failed to load incomplete"),
        ([{"name": "cert", "tls_certificate": {**pair(TWO), "private_key_provider": {"provider_name": "p", "fallback": True}}}], "private_key_provider' is set but not supported"),
    ],
)  # fmt: skip
def test_refused_and_the_old_stays(trees: list[dict[str, Any]], text: str) -> None:
    subscriptions = FakeSubscriptions()
    context = Context(subscriptions=subscriptions)
    factory = by_cert(context)
    with pytest.raises(ConfigError, match=text):
        subscriptions.made[0].send(*trees)
    assert factory.context is None or shown(factory) == TWO.der
    subscriptions.made[0].send({"name": "cert", "tls_certificate": pair(ONE)})
    with pytest.raises(ConfigError, match=text):
        subscriptions.made[0].send(*trees)
    assert shown(factory) == ONE.der


def test_one_subscription_for_all_who_use_a_secret() -> None:
    subscriptions = FakeSubscriptions()
    context = Context(subscriptions=subscriptions)
    first = by_cert(context)
    second = by_cert(context)
    by_cert(context, "other")
    assert len(subscriptions.made) == 2
    subscriptions.made[0].send({"name": "cert", "tls_certificate": pair(ONE)})
    assert shown(first) == shown(second) == ONE.der
    # One that comes later has it at once.
    assert shown(by_cert(context)) == ONE.der
    for callback in context.on_close:
        callback()
    assert subscriptions.made[0].closed


def test_validation_context_is_replaced() -> None:
    other = authority("other")
    subscriptions = FakeSubscriptions()
    common = {"tls_certificates": [pair(ONE)], "validation_context_sds_secret_config": by_ads("ca")}
    factory = server(common, Context(subscriptions=subscriptions), require_client_certificate=True)

    def accepted(issued: Issued) -> bool:
        end = End(factory)
        shake(Peer(ssl_client(issued), False), end)
        return end.connected == 1

    subscriptions.made[0].send({"name": "ca", "validation_context": {"trusted_ca": inline(CA.pem)}})
    assert accepted(TWO) and not accepted(other.issue("x"))
    subscriptions.made[0].send({"name": "ca", "validation_context": {"trusted_ca": inline(other.pem)}})
    assert not accepted(TWO) and accepted(other.issue("x"))


def test_client_waits_for_all_its_secrets() -> None:
    subscriptions = FakeSubscriptions()
    context = Context(subscriptions=subscriptions)
    combined = {
        "default_validation_context": {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "server.test"}}]},
        "validation_context_sds_secret_config": by_ads("ROOTCA"),
    }
    factory = client({"tls_certificate_sds_secret_configs": [by_ads("default")], "combined_validation_context": combined}, context)
    assert [each.names for each in subscriptions.made] == [["default"], ["ROOTCA"]]
    subscriptions.made[0].send({"name": "default", "tls_certificate": pair(ONE)})
    end = End(factory)
    end.begin()
    assert end.failure == NOT_READY
    assert counter(context, "client_ssl_socket_factory.upstream_context_secrets_not_ready") == 1
    subscriptions.made[1].send({"name": "ROOTCA", "validation_context": {"trusted_ca": inline(CA.pem)}})
    made = factory.context
    assert made is not None and made.settings.validation is not None and made.settings.validation.stat_name == "ROOTCA"
    assert len(made.settings.validation.san_matchers) == 1


def test_listener_waits() -> None:
    subscriptions = FakeSubscriptions()
    context = Context(subscriptions=subscriptions)
    context.init_manager = InitManager("listener")
    by_cert(context)
    by_cert(context, "late")
    context.init_manager.initialize(lambda: None)
    subscriptions.made[0].send({"name": "cert", "tls_certificate": pair(ONE)})
    assert context.init_manager.unready() == ["SdsApi late"]
    subscriptions.made[1].callbacks.on_failed(FETCH_TIMEOUT, "")
    assert context.init_manager.initialized


def test_secrets_of_the_bootstrap() -> None:
    context = Context(secrets(cert={"tls_certificate": pair(ONE)}))
    factory = server({"tls_certificate_sds_secret_configs": [{"name": "cert"}]}, context)
    assert shown(factory) == ONE.der
    with pytest.raises(ConfigError, match="Unknown static secret: nope"):
        server({"tls_certificate_sds_secret_configs": [{"name": "nope"}]}, context)
    with pytest.raises(ConfigError, match="Unknown static certificate validation context: cert"):
        client({"validation_context_sds_secret_config": {"name": "cert"}}, context)


def test_needs_a_node() -> None:
    context = Context(subscriptions=FakeSubscriptions())
    context.server.node_id = ""
    with pytest.raises(ConfigError, match="TlsCertificateSdsApi: node 'id' and 'cluster' are required"):
        by_cert(context)
    with pytest.raises(ConfigError, match="CertificateValidationContextSdsApi: node 'id' and 'cluster' are required"):
        client({"validation_context_sds_secret_config": by_ads("ca")}, context)


def test_validation_asks_nobody() -> None:
    factory = by_cert(Context())
    assert factory.context is None


def test_dump() -> None:
    subscriptions = FakeSubscriptions()
    context = Context(subscriptions=subscriptions)
    by_cert(context)
    by_cert(context, "late")
    subscriptions.made[0].send({"name": "cert", "tls_certificate": pair(ONE)}, version="v3")
    dump: Any = api.new("envoy.admin.v3.SecretsConfigDump")
    assert context.config_tracker is not None
    context.config_tracker.fill(SECRETS, dump, lambda name: True)
    [active] = dump.dynamic_active_secrets
    assert (active.name, active.version_info) == ("cert", "v3")
    [warming] = dump.dynamic_warming_secrets
    assert (warming.name, warming.version_info) == ("late", "uninitialized")
    assert warming.secret.type_url.endswith("tls.v3.Secret")


def move(path: Path, text: str) -> None:
    """As who rotates certificates does it: a new file moved over the old one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.rename(new, path)


@pytest.mark.parametrize("watched", [False, True])
def test_files_of_a_secret_are_followed(tmp_path: Path, watched: bool) -> None:
    asyncio.run(_files_are_followed(tmp_path, watched))


async def _files_are_followed(tmp_path: Path, watched: bool) -> None:
    subscriptions = FakeSubscriptions()
    context = Context(subscriptions=subscriptions)
    context.dispatcher = Dispatcher("test", asyncio.get_running_loop())
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(ONE.pem)
    key.write_text(ONE.key_pem())
    tree: dict[str, Any] = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
    signal = tmp_path / "signal"
    if watched:
        signal.mkdir()
        tree["watched_directory"] = {"path": str(signal)}
    factory = by_cert(context)
    subscriptions.made[0].send({"name": "cert", "tls_certificate": tree})
    assert shown(factory) == ONE.der

    async def until(done: Any) -> None:
        for _ in range(200):
            if done():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nothing happened")

    # Half of the change is there: the old pair stays.
    move(chain, TWO.pem)
    if not watched:
        await until(lambda: counter(context, "sds.cert.key_rotation_failed") >= 1)
    assert shown(factory) == ONE.der
    move(key, TWO.key_pem())
    if watched:
        await asyncio.sleep(0.05)
        assert shown(factory) == ONE.der
        move(signal / "now", "")
    await until(lambda: shown(factory) == TWO.der)
    assert counter(context, SERVER + "ssl_context_update_by_sds") == 2
    # Nobody looks any more at the end.
    for callback in context.on_close:
        callback()
    move(chain, ONE.pem)
    move(key, ONE.key_pem())
    if watched:
        move(signal / "now", "")
    await asyncio.sleep(0.05)
    assert shown(factory) == TWO.der
