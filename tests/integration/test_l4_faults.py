"""What peers may do to the L4 proxy: resets at every point, silence, slowness, garbage, and very many connections."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from outrider.testing import TestProxy, running

TYPE = "type.googleapis.com/envoy."
_RESET = struct.pack("ii", 1, 0)


class Backend:
    """Echoes; `mode` changes what it does with new connections: echo, reset, hang (reads nothing), sink."""

    def __init__(self) -> None:
        self.mode = "echo"
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.listening.getsockname()[1]
        self.held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self.listening.accept()
            except OSError:
                return
            if self.mode == "reset":
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                accepted.close()
            elif self.mode == "hang":
                self.held.append(accepted)
            else:
                threading.Thread(target=self._echo, args=(accepted,), daemon=True).start()

    def _echo(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                while data := accepted.recv(65536):
                    accepted.sendall(data)
            except OSError:
                return

    def release(self) -> None:
        for each in self.held:
            each.close()
        self.held.clear()

    def close(self) -> None:
        self.listening.close()
        self.release()


def listener(name: str, *listener_filters: dict[str, Any], **options: Any) -> dict[str, Any]:
    tcp = {
        "name": "tcp",
        "typed_config": {
            "@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": "up",
        },
    }  # fmt: skip
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": list(listener_filters),
        "filter_chains": [{"filters": [tcp]}],
        **options,
    }


PROXY_PROTOCOL = {
    "name": "envoy.filters.listener.proxy_protocol",
    "typed_config": {"@type": TYPE + "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"},
}
INSPECTOR = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {"@type": TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"},
}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.close()


@pytest.fixture(scope="module")
def proxy(backend: Backend) -> Iterator[TestProxy]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": backend.port}}}}
    config = {
        "static_resources": {
            "listeners": [
                listener("plain"),
                listener("proxied", PROXY_PROTOCOL, listener_filters_timeout="0.3s"),
                listener("inspected", INSPECTOR, listener_filters_timeout="0.3s"),
            ],
            "clusters": [
                {
                    "name": "up", "type": "STATIC", "connect_timeout": "2s",
                    "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }  # fmt: skip
    with running(config) as started:
        yield started


@pytest.fixture(autouse=True)
def _echo_again(backend: Backend) -> Iterator[None]:
    yield
    backend.mode = "echo"
    backend.release()


def connect(proxy: TestProxy, name: str = "plain") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy.port(name)))
    client.settimeout(5)
    return client


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()


def works(proxy: TestProxy, name: str = "plain", head: bytes = b"") -> bool:
    with connect(proxy, name) as client:
        client.sendall(head + b"hello")
        return client.recv(100) == b"hello"


def ended(client: socket.socket) -> bool:
    """The proxy has closed, in whatever way."""
    try:
        while client.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def settled(proxy: TestProxy, stat: str, value: int = 0) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if proxy.stats(stat).get(stat) == value:
            return True
        time.sleep(0.05)
    return False


def test_client_resets_at_once(proxy: TestProxy) -> None:
    for _ in range(50):
        reset(connect(proxy))
    assert works(proxy)
    assert settled(proxy, "cluster.up.upstream_cx_active")


def test_client_resets_amid_its_bytes(proxy: TestProxy) -> None:
    for _ in range(20):
        client = connect(proxy)
        client.sendall(b"x" * 200_000)
        reset(client)
    assert works(proxy)
    assert settled(proxy, "cluster.up.upstream_cx_active")


def test_client_resets_while_it_is_inspected(proxy: TestProxy) -> None:
    for name, first in (("proxied", b"PROXY TCP4 1."), ("inspected", b"\x16\x03\x01\x02\x00\x01")):
        for _ in range(20):
            client = connect(proxy, name)
            client.sendall(first)
            reset(client)
    assert works(proxy, "proxied", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n")
    assert works(proxy, "inspected")


def test_upstream_resets_at_once(proxy: TestProxy, backend: Backend) -> None:
    backend.mode = "reset"
    for _ in range(20):
        with connect(proxy) as client:
            assert ended(client)
    backend.mode = "echo"
    assert works(proxy)
    assert settled(proxy, "cluster.up.upstream_cx_active")


def test_half_open_peers(proxy: TestProxy) -> None:
    """Each side may have finished and still hear the other."""
    with connect(proxy) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"last words"
        assert client.recv(100) == b""
    assert settled(proxy, "cluster.up.upstream_cx_active")


def test_slow_reader_does_not_grow_the_proxy(proxy: TestProxy, backend: Backend) -> None:
    """An upstream that reads nothing: the client is stopped when the buffers are full."""
    backend.mode = "hang"
    with connect(proxy) as client:
        client.settimeout(1)
        sent = 0
        try:
            while sent < 256 * 1024 * 1024:
                sent += client.send(b"x" * 65536)
        except TimeoutError:
            pass
        # Buffers of the kernel (tens of megabytes when it likes) on both sides and one watermark, not what was asked for.
        assert sent < 96 * 1024 * 1024
        reset(client)
    backend.release()
    backend.mode = "echo"
    assert works(proxy)


def test_listener_filter_that_never_gets_its_bytes(proxy: TestProxy) -> None:
    with connect(proxy, "proxied") as client:
        client.sendall(b"PROXY ")
        start = time.monotonic()
        assert ended(client)
        assert time.monotonic() - start < 3
    assert settled(proxy, "cluster.up.upstream_cx_active")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 999.1.1.1 1.1.1.1 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 99999 2\r\n",
        b"PROXY " + b"A" * 200 + b"\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x05abcde",
        b"\r\n\r\n\x00\r\nQUIT\n\x91\x11\x00\x0cabcdabcdaabb",
        # Spoofed lengths: more extensions than there are bytes, a body longer than any header.
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x10" + b"\x7f\x00\x00\x01" * 2 + b"\x00\x01\x00\x02" + b"\x03\xff\xff\x00",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\xff\xff\xff" + b"A" * 300,
    ],
)
def test_garbage_proxy_header(proxy: TestProxy, garbage: bytes) -> None:
    with connect(proxy, "proxied") as client:
        client.sendall(garbage)
        assert ended(client)
    assert works(proxy, "proxied", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n")


def test_spoofed_client_hello_lengths(proxy: TestProxy) -> None:
    """Not TLS after all: it goes on as what it is, or ends with the timeout; nothing hangs."""
    for first in (b"\x16\x03\x01\xff\xff" + b"\x01\xff\xff\xff", b"\x16\x03\x01\x00\x04\x01\x00\xff\xff"):
        with connect(proxy, "inspected") as client:
            client.sendall(first)
            client.shutdown(socket.SHUT_WR)
            assert ended(client)
    assert works(proxy, "inspected")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_ten_thousand_connections_leak_no_descriptor(proxy: TestProxy, backend: Backend) -> None:
    backend.mode = "reset"
    for _ in range(20):
        with connect(proxy) as client:
            ended(client)
    assert settled(proxy, "cluster.up.upstream_cx_active")
    before = descriptors()
    for count in range(10_000):
        client = connect(proxy)
        if count % 3 == 0:
            reset(client)
        else:
            ended(client)
            client.close()
    assert settled(proxy, "cluster.up.upstream_cx_active")
    deadline = time.monotonic() + 5
    while descriptors() > before + 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert descriptors() <= before + 5
