"""A slow peer on either side must not make the proxy's memory grow: watermarks hold the fast side back."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from tests.integration.configuration import proxy_config
from tests.integration.conftest import Starter
from tests.support.ports import bind_free, free_port
from tests.support.proxy_process import ProxyProcess

MIB = 1 << 20
# The whole body; nobody ever takes more than a fraction of it.
BODY = 1 << 30
# The stated limits (1 MiB a connection and direction), the sockets' own buffers and the interpreter's slack.
ALLOWED_GROWTH = 40 * MIB


def tree_rss(root: int) -> int:
    """Resident bytes of a process and its descendants."""
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        sizes[int(entry.name)] = int(fields[21]) * 4096
    total = 0
    for process in parents:
        at = process
        while at > 1 and at != root:
            at = parents.get(at, 0)
        if at == root:
            total += sizes[process]
    return total


class FastServer:
    """Answers one request with BODY bytes as fast as they are taken; counts them."""

    def __init__(self) -> None:
        self._listener = bind_free()
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        block = bytes(65536)
        try:
            connection, _ = self._listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BODY)
                while self.sent < BODY:
                    connection.sendall(block)
                    self.sent += len(block)
        except OSError:
            # The proxy has hung up: the test is over.
            return


class SlowServer:
    """Takes a request's head and then reads nothing until told."""

    def __init__(self) -> None:
        self._listener = bind_free()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self.read = 0
        self.resume = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.resume.set()
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
            with connection:
                self.read = len(connection.recv(1000))
                self.resume.wait()
                while data := connection.recv(1 << 18):
                    self.read += len(data)
        except OSError:
            return


def settled(proxy: ProxyProcess, seconds: float) -> int:
    """The largest memory seen during so many seconds."""
    peak = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        peak = max(peak, tree_rss(proxy.process.pid))
        time.sleep(0.1)
    return peak


def test_a_slow_reader_of_a_large_response(start: Starter) -> None:
    server = FastServer()
    admin, port = free_port(), free_port()
    proxy = start(proxy_config(admin, port, server.port), admin)
    before = tree_rss(proxy.process.pid)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        first = client.recv(1000)
        assert first.startswith(b"HTTP/1.1 200 OK")
        peak = settled(proxy, 2.0)
        stuck = server.sent
        # It goes on as soon as the reader does.
        taken = 0
        client.settimeout(10)
        while taken < 64 * MIB:
            taken += len(client.recv(1 << 18))
        peak = max(peak, settled(proxy, 0.5))
        assert server.sent > stuck
    server.close()
    assert peak - before < ALLOWED_GROWTH, f"{(peak - before) / MIB:.0f} MiB more"
    assert stuck < 32 * MIB, f"{stuck / MIB:.0f} MiB were taken from the upstream"
    stats = proxy.admin("/stats?filter=flow_control&usedonly").body
    assert "cluster.up.upstream_flow_control_paused_reading_total" in stats
    assert "cluster.up.upstream_flow_control_resumed_reading_total" in stats


def test_a_slow_upstream_of_a_large_request(start: Starter) -> None:
    server = SlowServer()
    admin, port = free_port(), free_port()
    proxy = start(proxy_config(admin, port, server.port), admin)
    before = tree_rss(proxy.process.pid)
    sent = 0
    with socket.socket() as client:
        client.connect(("127.0.0.1", port))
        client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % BODY)
        client.settimeout(1.0)
        block = bytes(65536)
        try:
            while sent < BODY:
                sent += client.send(block)
        except TimeoutError:
            pass
        assert sent < 64 * MIB, f"{sent / MIB:.0f} MiB were taken from the client"
        peak = settled(proxy, 1.5)
        server.resume.set()
        client.settimeout(10)
        more = 0
        while more < 64 * MIB:
            more += client.send(block)
        peak = max(peak, settled(proxy, 0.5))
    server.close()
    assert peak - before < ALLOWED_GROWTH, f"{(peak - before) / MIB:.0f} MiB more"
    assert server.read > 32 * MIB
    stats = proxy.admin("/stats?filter=flow_control&usedonly").body
    assert "http.main.downstream_flow_control_paused_reading_total" in stats
    assert "http.main.downstream_flow_control_resumed_reading_total" in stats


def test_slow_reader_of_a_tunnel(start: Starter) -> None:
    """The same holds after an upgrade."""
    listener = bind_free()
    listener.listen()
    admin, port = free_port(), free_port()
    config = proxy_config(
        admin, port, listener.getsockname()[1], manager={"upgrade_configs": [{"upgrade_type": "websocket"}]}
    )
    proxy = start(config, admin)
    before = tree_rss(proxy.process.pid)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        upstream, _ = listener.accept()
        with upstream:
            upstream.recv(65536)
            upstream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            assert b" 101 " in client.recv(1000)
            upstream.settimeout(1.0)
            sent = 0
            try:
                while sent < BODY:
                    sent += upstream.send(bytes(65536))
            except TimeoutError:
                pass
            peak = settled(proxy, 1.0)
    listener.close()
    assert sent < 64 * MIB, f"{sent / MIB:.0f} MiB were taken from the upstream"
    assert peak - before < ALLOWED_GROWTH, f"{(peak - before) / MIB:.0f} MiB more"
