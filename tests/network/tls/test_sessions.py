"""Session resumption, both ways."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from outrider.network.transport_socket import TransportSocketOptions
from tests.network.tls.bench import Context, End, Peer, client, counters, inline, pair, pump, server, shake, ssl_client
from tests.network.tls.pki import authority

CA = authority()
SERVER = CA.issue("server", "server.test", "a.test", "b.test")
CLIENT = CA.issue("client", "client.test")
TLS_1_3 = {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}}


def exchange(left: End, right: End) -> bool:
    """A handshake, some data both ways, and an end; whether the session was resumed."""
    shake(left, right)
    assert left.connected and right.connected, (left.failure, right.failure)
    left.socket.write(b"question", False)
    pump(left, right)
    right.socket.write(b"answer", False)
    pump(left, right)
    assert bytes(left.received) == b"answer"
    left.socket.shutdown()
    left.socket.on_closed()
    return _reused(left)


def _reused(end: End) -> bool:
    from outrider.network.tls.openssl import lib

    return lib.SSL_session_reused(end.socket.ssl) == 1  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("params", [{}, TLS_1_3])
def test_client_resumes(params: dict[str, Any]) -> None:
    context = Context()
    factory = client(params, context)
    other = server({"tls_certificates": [pair(SERVER)]})
    assert [exchange(End(factory), End(other)) for _ in range(4)] == [False, True, True, True]
    assert counters(context)["session_reused"] == 3


@pytest.mark.parametrize("params", [{}, TLS_1_3])
def test_client_without_a_cache(params: dict[str, Any]) -> None:
    factory = client(params, max_session_keys=0)
    other = server({"tls_certificates": [pair(SERVER)]})
    assert [exchange(End(factory), End(other)) for _ in range(3)] == [False, False, False]


def test_tickets_of_tls_1_3_are_used_once() -> None:
    factory = client(TLS_1_3, max_session_keys=5)
    other = server({"tls_certificates": [pair(SERVER)]})
    exchange(End(factory), End(other))
    first, second = End(factory), End(factory)
    shake(first, End(other))
    shake(second, End(other))
    assert _reused(first) and not _reused(second)


def test_sessions_belong_to_their_name() -> None:
    common = {"validation_context": {"trusted_ca": inline(CA.pem)}}
    factory = client(common, max_session_keys=3, sni="a.test")
    other = server({"tls_certificates": [pair(SERVER)]})
    assert not exchange(End(factory), End(other))
    assert not exchange(End(factory, TransportSocketOptions(server_name="b.test")), End(other))
    # Nor does a session stand for names that were not checked.
    assert not exchange(End(factory, TransportSocketOptions(verify_sans=("b.test",))), End(other))
    assert exchange(End(factory), End(other))
    assert exchange(End(factory, TransportSocketOptions(server_name="b.test")), End(other))


def test_the_number_of_sessions_is_bounded() -> None:
    factory = client(max_session_keys=2)
    other = server({"tls_certificates": [pair(SERVER)]})
    for name in ("a.test", "b.test", "c.test"):
        exchange(End(factory, TransportSocketOptions(server_name=name)), End(other))
    reused = [
        exchange(End(factory, TransportSocketOptions(server_name=name)), End(other)) for name in ("c.test", "b.test")
    ]
    assert reused == [True, True]
    assert not exchange(End(factory, TransportSocketOptions(server_name="a.test")), End(other))


def resume(factory: Any, highest: ssl.TLSVersion) -> bool:
    context = ssl_client(CLIENT, highest)
    peer, end = Peer(context, False, "server.test"), End(factory)
    shake(peer, end)
    end.socket.write(b"x", False)
    pump(peer, end)
    again = Peer(context, False, "server.test")
    again.engine.session = peer.engine.session
    second = End(factory)
    shake(again, second)
    assert again.connected and second.connected, second.failure
    info = second.socket.ssl_info()
    assert info is not None
    if factory.settings.validation is not None:
        # The certificate comes out of the session; as in Envoy it counts as presented, not as validated.
        assert info.peer_certificate_der() == CLIENT.der
        assert info.peer_validated() is not again.engine.session_reused
    return again.engine.session_reused is True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("mutual", [False, True])
def test_server_resumes(version: ssl.TLSVersion, mutual: bool) -> None:
    common: dict[str, Any] = {"tls_certificates": [pair(SERVER)]}
    if mutual:
        common["validation_context"] = {"trusted_ca": inline(CA.pem)}
    context = Context()
    assert resume(server(common, context, require_client_certificate=mutual), version)
    assert counters(context)["session_reused"] == 1
    # Without tickets TLS 1.2 has its cache, which can be turned off as well.
    stateful = resume(server(common, disable_stateless_session_resumption=True), version)
    assert not stateful
    assert resume(server(common, disable_stateful_session_resumption=True), version)
    neither = server(
        common, disable_stateless_session_resumption=True, disable_stateful_session_resumption=True
    )
    assert not resume(neither, version)


def test_a_session_is_bound_to_its_context() -> None:
    common = {"tls_certificates": [pair(SERVER)]}
    context = ssl_client(highest=ssl.TLSVersion.TLSv1_2)
    peer, end = Peer(context, False, "server.test"), End(server(common))
    shake(peer, end)
    again = Peer(context, False, "server.test")
    again.engine.session = peer.engine.session
    shake(again, End(server(common)))
    assert again.connected and not again.engine.session_reused
