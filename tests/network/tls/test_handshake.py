"""Handshakes, data and endings against the `ssl` module's engine, without sockets."""

from __future__ import annotations

import ssl

import pytest

from outrider.network.transport_socket import TransportSocketOptions
from tests.network.tls.bench import (
    Context,
    End,
    Peer,
    client,
    counters,
    inline,
    pair,
    pump,
    server,
    shake,
    ssl_client,
    ssl_server,
)
from tests.network.tls.pki import authority, key_usage, rsa_key

CA = authority()
SERVER = CA.issue("server", "server.test", "127.0.0.1")
TLS_1_2 = ssl.TLSVersion.TLSv1_2
TLS_1_3 = ssl.TLSVersion.TLSv1_3


def both_versions(**params: str) -> dict[str, object]:
    return {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3", **params}}


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_server(version: ssl.TLSVersion, piece: int) -> None:
    context = Context()
    peer = Peer(ssl_client(highest=version), False, "server.test")
    end = End(server({"tls_certificates": [pair(SERVER)]}, context))
    shake(peer, end, piece)
    assert (peer.connected, end.connected, end.failure) == (1, 1, None)
    name = "TLSv1.2" if version == TLS_1_2 else "TLSv1.3"
    info = end.socket.ssl_info()
    assert info is not None
    assert (info.tls_version(), info.sni(), info.group()) == (name, "server.test", "X25519")
    assert info.local_certificate_der() == SERVER.der
    assert not info.peer_presented() and info.peer_chain_der() == []
    assert counters(context) == {
        f"ciphers.{info.cipher()}": 1, "curves.X25519": 1, "handshake": 1, "no_certificate": 1, f"versions.{name}": 1,
    }
    # Sessions live in tickets.
    assert info.session_id() == ""
    peer.write(b"question" * 1000)
    pump(peer, end, piece)
    assert bytes(end.received) == b"question" * 1000
    end.socket.write(b"answer" * 5000, False)
    pump(peer, end, piece)
    assert bytes(peer.received) == b"answer" * 5000


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_client(version: ssl.TLSVersion) -> None:
    context = Context()
    peer = Peer(ssl_server(SERVER, highest=version), True)
    end = End(client(both_versions(), context, sni="server.test"))
    shake(end, peer)
    assert (peer.connected, end.connected) == (1, 1)
    info = end.socket.ssl_info()
    assert info is not None
    assert info.peer_certificate_der() == SERVER.der and info.peer_presented() and not info.peer_validated()
    assert info.peer_chain_der() == [SERVER.der]
    assert info.local_certificate_der() == b"" and info.sni() == "server.test"
    assert len(bytes.fromhex(info.session_id())) == (32 if version == TLS_1_2 else 0)
    assert counters(context)["sigalgs.ecdsa_secp256r1_sha256"] == 1


def test_clients_speak_tls_1_2_by_default() -> None:
    end = End(client())
    shake(end, Peer(ssl_server(SERVER), True))
    info = end.socket.ssl_info()
    assert info is not None and info.tls_version() == "TLSv1.2"
    refused = End(client())
    shake(refused, Peer(ssl_server(SERVER, lowest=TLS_1_3), True))
    assert refused.failure == (
        "TLS_error:|268436526:SSL routines:OPENSSL_internal:TLSV1_ALERT_PROTOCOL_VERSION:TLS_error_end"
    )


def test_server_name_is_sent_and_overridden() -> None:
    seen: list[str | None] = []
    context = ssl_server(SERVER)

    def on_name(engine: object, name: str | None, _: object) -> None:
        seen.append(name)

    context.sni_callback = on_name
    factory = client(sni="configured.test")
    assert factory.default_server_name() == "configured.test"
    shake(End(factory), Peer(context, True))
    shake(End(factory, TransportSocketOptions(server_name="asked.test")), Peer(context, True))
    shake(End(client()), Peer(context, True))
    assert seen == ["configured.test", "asked.test", None]


def test_auto_host_sni() -> None:
    factory = client(sni="configured.test", auto_host_sni=True)
    socket = factory.create_for(None, "host.test")
    assert socket is not None
    assert socket.server_name == "host.test"  # type: ignore[attr-defined]
    without = factory.create_for(None, "")
    assert without is not None and without.server_name == "configured.test"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (["http/1.1", "foo"], ["foo", "http/1.1"], "http/1.1"),
        (["foo"], ["bar", "foo"], "foo"),
        (["foo"], ["bar"], ""),
        (["foo"], None, ""),
    ],
)
def test_server_alpn(ours: list[str], theirs: list[str] | None, agreed: str) -> None:
    end = End(server({"tls_certificates": [pair(SERVER)], "alpn_protocols": ours}))
    peer = Peer(ssl_client(alpn=theirs), False)
    shake(peer, end)
    assert end.connected and end.socket.protocol() == agreed
    assert (peer.engine.selected_alpn_protocol() or "") == agreed
    info = end.socket.ssl_info()
    assert info is not None and info.alpn() == agreed


def test_client_alpn() -> None:
    server_context = ssl_server(SERVER, alpn=["h2", "foo", "http/1.1"])
    configured = client({"alpn_protocols": ["http/1.1"]})
    silent = client()
    override = TransportSocketOptions(alpn=("foo",))
    fallback = TransportSocketOptions(alpn_fallback=("h2",))
    found = []
    for factory, options in (
        (configured, None), (configured, override), (configured, fallback), (silent, fallback), (silent, None),
    ):
        end = End(factory, options)
        shake(end, Peer(server_context, True))
        found.append(end.socket.protocol())
    assert found == ["http/1.1", "foo", "http/1.1", "h2", ""]


def test_garbage_instead_of_tls() -> None:
    context = Context()
    end = End(server({"tls_certificates": [pair(SERVER)]}, context))
    end.begin()
    end.feed(b"\x00garbage that is not TLS at all")
    assert end.failure == "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"
    assert counters(context) == {"connection_error": 1}
    end.feed(b"more")
    end.socket.on_raw_eof()
    assert end.connected == 0 and not end.received


def test_plain_http_request() -> None:
    end = End(server({"tls_certificates": [pair(SERVER)]}))
    end.begin()
    end.feed(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert end.failure == "TLS_error:|268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end"


def test_plain_answer() -> None:
    context = Context()
    end = End(client(None, context))
    end.begin()
    assert end.take()
    end.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert end.failure == "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"
    assert counters(context) == {"connection_error": 1}


def test_no_shared_cipher() -> None:
    context = Context()
    end = End(server({"tls_certificates": [pair(SERVER)]}, context))
    peer = Peer(ssl_client(highest=TLS_1_2, ciphers="ECDHE-ECDSA-AES256-SHA384"), False)
    shake(peer, end)
    assert end.failure == "TLS_error:|268435640:SSL routines:OPENSSL_internal:NO_SHARED_CIPHER:TLS_error_end"
    assert peer.failure == "SSLV3_ALERT_HANDSHAKE_FAILURE"


def test_alert_on_client_hello() -> None:
    end = End(client())
    shake(end, Peer(ssl_server(SERVER, highest=TLS_1_2, ciphers="ECDHE-ECDSA-AES256-SHA384"), True))
    assert end.failure == (
        "TLS_error:|268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE"
        "|268435610:SSL routines:OPENSSL_internal:HANDSHAKE_FAILURE_ON_CLIENT_HELLO:TLS_error_end"
    )


def test_end_during_the_handshake_has_no_reason() -> None:
    context = Context()
    factory = server({"tls_certificates": [pair(SERVER)]}, context)
    end = End(factory)
    end.begin()
    end.feed(b"\x16\x03\x01")
    end.socket.on_raw_eof()
    assert end.failure == ""
    outgoing = End(client(None, context))
    outgoing.begin()
    outgoing.socket.on_raw_eof()
    assert outgoing.failure == "" and not outgoing.connected
    assert counters(context) == {}


def test_early_writes_wait_for_the_handshake() -> None:
    end = End(client())
    end.socket.write(b"early ", False)
    end.socket.write(b"bird", True)
    assert end.socket.pending_bytes() == 10
    peer = Peer(ssl_server(SERVER), True)
    shake(end, peer)
    assert bytes(peer.received) == b"early bird" and peer.ended
    assert end.socket.pending_bytes() == 0 and end.write_closed
    end.socket.write(b"late", False)
    pump(end, peer)
    assert bytes(peer.received) == b"early bird"


def test_close_notify_ends_the_stream_once() -> None:
    left, right = End(client()), End(server({"tls_certificates": [pair(SERVER)]}))
    shake(left, right)
    left.socket.write(b"last words", True)
    pump(left, right)
    assert right.ended and bytes(right.received) == b"last words"
    deliveries = right.deliveries
    right.socket.on_raw_eof()
    assert right.deliveries == deliveries
    # The other direction is still open.
    right.socket.write(b"answer", False)
    pump(left, right)
    assert bytes(left.received) == b"answer" and not left.ended
    right.socket.shutdown()
    right.socket.shutdown()
    pump(left, right)
    assert left.ended


def test_end_without_close_notify_is_an_end() -> None:
    left, right = End(client()), End(server({"tls_certificates": [pair(SERVER)]}))
    shake(left, right)
    left.socket.write(b"cut", False)
    data = left.take()
    right.feed(data[:-1])
    right.socket.on_raw_eof()
    assert right.ended and not right.received and right.failure is None


def test_broken_record() -> None:
    context = Context()
    left, right = End(client(None, context)), End(server({"tls_certificates": [pair(SERVER)]}, context))
    shake(left, right)
    left.socket.write(b"one", False)
    whole = left.take()
    left.socket.write(b"two", False)
    broken = bytearray(left.take())
    broken[-1] ^= 1
    right.feed(whole + bytes(broken))
    assert bytes(right.received) == b"one"
    assert right.failure == (
        "TLS_error:|268435595:SSL routines:OPENSSL_internal:DECRYPTION_FAILED_OR_BAD_RECORD_MAC:TLS_error_end"
    )
    assert counters(context)["connection_error"] == 1
    # Upstream it counts as a connection lost: there is no reason to show.
    left.feed(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert left.failure == "" and "BAD_RECORD_MAC" in left.socket.failure_reason()


def test_large_data_both_ways() -> None:
    left, right = End(client(both_versions())), End(server({"tls_certificates": [pair(SERVER)]}))
    shake(left, right)
    data = bytes(range(256)) * 20000
    writes = left.writes
    left.socket.write(data, False)
    # Records of 16 KiB leave in few pieces.
    assert left.writes - writes <= len(data) // (128 * 1024) + 1
    pump(left, right)
    assert bytes(right.received) == data
    assert right.deliveries <= len(data) // (256 * 1024) + 1
    right.socket.write(data, False)
    pump(left, right, 65536)
    assert bytes(left.received) == data


def test_records_are_whole_for_a_foreign_reader() -> None:
    end = End(server({"tls_certificates": [pair(SERVER)]}))
    peer = Peer(ssl_client(), False)
    shake(peer, end)
    data = b"".join(bytes([index % 251]) * 1000 for index in range(700))
    end.socket.write(data, False)
    pump(peer, end)
    assert bytes(peer.received) == data


class ClosesItself(End):
    """Closes from within the delivery, as a filter may do."""

    def deliver(self, data: bytes, end_stream: bool) -> None:
        super().deliver(data, end_stream)
        self.socket.shutdown()
        self.socket.on_closed()


def test_close_from_within_a_delivery() -> None:
    left, right = End(client()), ClosesItself(server({"tls_certificates": [pair(SERVER)]}))
    shake(left, right)
    left.socket.write(b"x" * 2_000_000, False)
    right.feed(left.take())
    assert right.deliveries == 1
    right.socket.write(b"nobody hears this", False)
    right.feed(b"nor that")
    left.feed(right.take())
    assert left.ended and not left.received


def test_handshake_flood_is_bounded() -> None:
    context = Context()
    end = End(server({"tls_certificates": [pair(SERVER)]}, context))
    end.begin()
    # Fragments of one handshake message that never ends: a ClientHello must not be that long.
    record = b"\x16\x03\x01\x40\x00" + b"\x01\x0f\xff\xff" + b"\x00" * (16384 - 4)
    for _ in range(100):
        if end.failure is None:
            end.feed(record)
    assert end.failure is not None and counters(context)["connection_error"] == 1


def test_key_usage() -> None:
    """BoringSSL refuses an RSA key that is for encryption only; OpenSSL does not look."""
    only_encrypts = CA.issue("enc", "enc.test", key=rsa_key(), usage=key_usage(key_encipherment=True))
    context = Context()
    end = End(client(None, context, enforce_rsa_key_usage=False))
    shake(end, Peer(ssl_server(only_encrypts), True))
    assert end.failure == "TLS_error:|268435758:SSL routines:OPENSSL_internal:KEY_USAGE_BIT_INCORRECT:TLS_error_end"
    assert counters(context) == {"connection_error": 1}
    signs = CA.issue("sign", "sign.test", key=rsa_key(), usage=key_usage(digital_signature=True))
    fine = End(client())
    shake(fine, Peer(ssl_server(signs), True))
    assert fine.connected


def test_rsa_key_exchange_needs_the_other_bit() -> None:
    suites = {"tls_params": {"cipher_suites": ["AES128-GCM-SHA256"]}}
    signs = CA.issue("sign", "sign.test", key=rsa_key(), usage=key_usage(digital_signature=True))
    end = End(client(suites))
    shake(end, Peer(ssl_server(signs, highest=TLS_1_2, ciphers="AES128-GCM-SHA256"), True))
    assert end.failure is not None and "KEY_USAGE" in end.failure


def test_failure_shows_what_is_known() -> None:
    factory = server(
        {"tls_certificates": [pair(SERVER)], "validation_context": {"trusted_ca": inline(CA.pem)}},
    )
    evil = authority("evil").issue("mallory")
    end = End(factory)
    shake(Peer(ssl_client(evil), False, "server.test"), end)
    info = end.socket.ssl_info()
    assert end.failure and info is not None
    assert info.peer_certificate_der() == evil.der and not info.peer_validated()
    assert info.sni() == "server.test"
