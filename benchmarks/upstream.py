"""The upstream of all measurements: nginx with fixed answers, over HTTP/1 and HTTP/2, and an echo of datagrams."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent

CONFIG = """
worker_processes 1;
pid {folder}/upstream.pid;
error_log {folder}/upstream.err;
daemon off;
master_process off;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 100m;
  client_body_buffer_size 256k;
  keepalive_requests 1000000000;
  sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /big {{ alias {folder}/big; }}
    location /echo {{ return 200 "ok"; }}
    location / {{ return 200 "{body}"; }}
  }}
  server {{
    listen 127.0.0.1:{h2_port} http2 backlog=4096;
    http2_max_concurrent_streams 1024;
    location /big {{ alias {folder}/big; }}
    location /bench.Echo/ {{
      default_type application/grpc;
      add_trailer grpc-status 0;
      return 200 "{message}";
    }}
    location / {{ return 200 "{body}"; }}
  }}
}}
"""

# The gRPC scenario's answer: proxies do not look into messages, and a zero byte cannot be written in the file above.
MESSAGE = "x" * 37


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_port(port: int, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


class Upstream:
    """nginx on free ports: / answers 1 KiB, /big 1 MiB, /echo two bytes, /bench.Echo/ a gRPC response.

    The folder gets a key and a certificate for the proxies too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.h2_port = free_port()
        self.udp_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._echo: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Upstream:
        (self.folder / "big").write_bytes(os.urandom(1024 * 1024))
        path = self.folder / "upstream.conf"
        path.write_text(
            CONFIG.format(
                folder=self.folder, port=self.port, h2_port=self.h2_port, body="x" * 1024, message=MESSAGE
            )
        )
        self._make_certificate()
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self._process = subprocess.Popen([nginx, "-c", str(path), "-e", str(self.folder / "upstream.err")])
        self._echo = subprocess.Popen([sys.executable, "-m", "benchmarks.echo", str(self.udp_port)], cwd=ROOT)
        wait_port(self.port)
        return self

    def _make_certificate(self) -> None:
        """P-256, which is what servers use who count handshakes."""
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "30", "-subj", "/CN=localhost", "-keyout", str(self.folder / "server.key")]
        command += ["-out", str(self.folder / "server.crt")]
        subprocess.run(command, check=True, capture_output=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self._process, self._echo):
            if process is not None:
                process.kill()
                process.wait()
