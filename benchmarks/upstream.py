"""The upstream of all measurements: nginx with fixed answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

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
}}
"""


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
    """nginx on a free port: / answers 1 KiB, /big 1 MiB, /echo two bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Upstream:
        (self.folder / "big").write_bytes(os.urandom(1024 * 1024))
        path = self.folder / "upstream.conf"
        path.write_text(CONFIG.format(folder=self.folder, port=self.port, body="x" * 1024))
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self._process = subprocess.Popen([nginx, "-c", str(path), "-e", str(self.folder / "upstream.err")])
        wait_port(self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
