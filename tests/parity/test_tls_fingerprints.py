"""JA3 and JA4 of the same client, as both proxies log them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log
from tests.parity.harness.side import Side, SideConfig

INSPECTOR: Json = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {
        "@type": TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector",
        "enable_ja3_fingerprinting": True,
        "enable_ja4_fingerprinting": True,
    },
}
LISTENER: Json = {
    "name": "main",
    "address": {"socket_address": {"address": "127.0.0.1", "port_value": "<<port:main>>"}},
    "listener_filters": [INSPECTOR],
    "filter_chains": [
        {
            "filters": [
                {
                    "name": "tcp",
                    "typed_config": {
                        "@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy",
                        "stat_prefix": "main",
                        "cluster": "dead",
                        "access_log": [
                            file_log("%REQUESTED_SERVER_NAME% %TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%\n")
                        ],
                    },
                }
            ]
        }
    ],
}


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Side]]:
    config = bootstrap([LISTENER], [cluster("dead", "<<refused:a>>")])
    folder = tmp_path_factory.mktemp("fingerprints")
    made = [Side(kind, SideConfig(config), folder / kind) for kind in ("envoy", "outrider")]
    try:
        for side in made:
            side.start()
        yield made
    finally:
        for side in made:
            side.stop()


def hello(context: ssl.SSLContext, name: str | None) -> bytes:
    """The ClientHello that a client sends."""
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def _context(alpn: list[str], highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, ciphers: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = highest
    if alpn:
        context.set_alpn_protocols(alpn)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


HELLOS = {
    "plain": hello(_context([]), "name.test"),
    "alpn": hello(_context(["h2", "http/1.1"]), "name.test"),
    "nameless": hello(_context(["http/1.1"]), None),
    "tls12": hello(_context(["h2"], ssl.TLSVersion.TLSv1_2), "name.test"),
    "few_ciphers": hello(_context([], ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256"), "name.test"),
}


@pytest.mark.parametrize("name", list(HELLOS))
def test_fingerprints(sides: list[Side], name: str) -> None:
    logged: list[list[str]] = []
    for side in sides:
        side.mark()
        with socket.create_connection(("127.0.0.1", side.port_of("port:main"))) as client:
            client.settimeout(3)
            client.sendall(HELLOS[name])
            with contextlib.suppress(OSError):
                client.recv(100)
        deadline = time.monotonic() + 12
        while not side.new_log_lines() and time.monotonic() < deadline:
            time.sleep(0.1)
        logged.append(side.new_log_lines())
    assert len(logged[0][0].split()) == 3
    assert logged[1] == logged[0]
