"""Outrider between real clients and real servers: curl, httpx, nginx; slow readers; many short connections."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess

pytestmark = pytest.mark.integration

MIB = 1024 * 1024

CONFIG = """
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    per_connection_buffer_limit_bytes: 65536
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: up, timeout: 0s}}
  clusters:
  - name: up
    type: STATIC
    per_connection_buffer_limit_bytes: 65536
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {up}}}}}}}
"""


class Running:
    """A proxy before an upstream port."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.port = free_port()
        self.admin_port = free_port()
        config = CONFIG.format(admin=self.admin_port, port=self.port, up=upstream_port)
        self.process = ProxyProcess("outrider", config, self.admin_port, folder)
        self.process.wait_ready()

    def pids(self) -> list[int]:
        """The process and all below it."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    parent = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
                except OSError:
                    continue
                children.setdefault(parent, []).append(int(entry))
        found = [self.process.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def memory(self) -> int:
        """Private bytes of all processes together."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Dirty:", "Private_Clean:")):
                    total += int(line.split()[1]) * 1024
        return total

    def descriptors(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[int]:
    """The port of an nginx that serves a file of 4 MiB, echoes nothing, and counts on keep-alive."""
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(binary).exists():
        pytest.skip("nginx is not installed")
    port = free_port()
    (tmp_path / "file").write_bytes(os.urandom(4 * MIB))
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"""
daemon off; master_process off; worker_processes 1; pid {tmp_path}/nginx.pid; error_log {tmp_path}/nginx.err;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {tmp_path}/a; proxy_temp_path {tmp_path}/b; fastcgi_temp_path {tmp_path}/c;
  uwsgi_temp_path {tmp_path}/d; scgi_temp_path {tmp_path}/e; client_max_body_size 64m; keepalive_requests 100000;
  server {{
    listen 127.0.0.1:{port};
    location /file {{ alias {tmp_path}/file; }}
    location / {{ return 200 "hello from nginx"; }}
  }}
}}
"""
    )
    process = subprocess.Popen([binary, "-c", str(config), "-e", str(tmp_path / "nginx.err")])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield port
    process.kill()
    process.wait()


def test_curl_and_httpx_through_nginx(tmp_path: Path, nginx: int) -> None:
    proxy = Running(tmp_path, nginx)
    try:
        shown = subprocess.run(
            ["curl", "-s", "-w", "%{http_code} %{size_download}", f"http://127.0.0.1:{proxy.port}/x"],
            capture_output=True, text=True, timeout=20, check=True,
        )
        assert shown.stdout == "hello from nginx200 16"
        expected = (tmp_path / "file").read_bytes()
        with httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}", timeout=20) as client:
            for _ in range(20):
                assert client.get("/").text == "hello from nginx"
            assert client.get("/file").content == expected
            assert client.get("/file", headers={"range": "bytes=10-19"}).content == expected[10:20]
            assert client.head("/file").headers["content-length"] == str(4 * MIB)
            assert client.post("/", content=b"x" * MIB).status_code == 200

            def chunks() -> Iterator[bytes]:
                for _ in range(64):
                    yield b"y" * 16384

            assert client.post("/", content=chunks()).status_code == 200
    finally:
        assert proxy.process.stop() == 0


class Endless:
    """An upstream that sends a body of 1 GiB as fast as it is taken, or takes one without reading it."""

    def __init__(self, reads: bool) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.reads = reads
        self.sent = 0
        self.over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self.listener:
            connection, _ = self.listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            if self.reads:
                # Reads nothing more of the request; answers nothing.
                self.over.wait(60)
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (1024 * MIB))
            block = b"z" * 65536
            try:
                while self.sent < 1024 * MIB:
                    connection.sendall(block)
                    self.sent += len(block)
            except OSError:
                pass  # the client has seen enough


def test_a_slow_reader_of_a_large_body_costs_no_memory(tmp_path: Path) -> None:
    upstream = Endless(reads=False)
    proxy = Running(tmp_path, upstream.port)
    try:
        before = proxy.memory()
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            for _ in range(20):
                client.recv(65536)
                time.sleep(0.05)
            grown = proxy.memory() - before
            assert grown < 8 * MIB
            # Kernel buffers and the proxy's watermarks hold the rest back at its source.
            assert upstream.sent < 64 * MIB
    finally:
        assert proxy.process.stop() == 0


def test_a_slow_upstream_of_a_large_request_costs_no_memory(tmp_path: Path) -> None:
    upstream = Endless(reads=True)
    proxy = Running(tmp_path, upstream.port)
    try:
        before = proxy.memory()
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.settimeout(1.0)
            client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (1024 * MIB))
            sent = 0
            try:
                while sent < 256 * MIB:
                    sent += client.send(b"q" * 65536)
            except TimeoutError:
                pass
            assert sent < 64 * MIB
            assert proxy.memory() - before < 8 * MIB
    finally:
        upstream.over.set()
        assert proxy.process.stop() == 0


def test_short_connections_leak_nothing(tmp_path: Path, nginx: int) -> None:
    proxy = Running(tmp_path, nginx)
    try:
        request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"

        def once(ending: bytes) -> None:
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.sendall(ending)
                while client.recv(65536):
                    pass

        for _ in range(100):
            once(request)
        descriptors, memory = proxy.descriptors(), proxy.memory()
        for number in range(3000):
            if number % 10 == 0:
                # Gone in the middle of its request.
                with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nhost")
            else:
                once(request)
        deadline = time.monotonic() + 5
        while proxy.descriptors() > descriptors + 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert proxy.descriptors() <= descriptors + 2
        assert proxy.memory() - memory < 8 * MIB
    finally:
        assert proxy.process.stop() == 0
