"""The proxies that are measured: how each is configured, started and looked at."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.scenarios import Scenario
from benchmarks.upstream import free_port, wait_port

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")


def find_envoy() -> str | None:
    """The real Envoy: OUTRIDER_ENVOY_BINARY, or the one in .venv-envoy."""
    given = os.environ.get("OUTRIDER_ENVOY_BINARY")
    if given:
        return given
    found = glob.glob(str(ROOT / ".venv-envoy/lib/python*/site-packages/envoy/_bin/envoy"))
    return found[0] if found else None


class Proxy:
    """One proxy serving one scenario."""

    def __init__(self, scenario: Scenario, upstream_port: int, folder: Path) -> None:
        self.scenario = scenario
        self.upstream_port = upstream_port
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def supported(self) -> bool:
        return True

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        log = (self.folder / f"{type(self).__name__}-{self.scenario.name}.log").open("wb")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT)
        wait_port(self.port)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def pids(self) -> list[int]:
        """The process and all its descendants."""
        assert self.process is not None
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                children.setdefault(int(fields[1]), []).append(int(entry))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """User and system time of the tree so far, from the scheduler's nanosecond clock where there is one."""
        total = 0.0
        for pid in self.pids():
            for task in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                try:
                    total += int(Path(task).read_text().split()[0]) / 1e9
                except (OSError, ValueError, IndexError):
                    continue
        return total

    def pss_mib(self) -> float:
        total = 0
        for pid in self.pids():
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                continue
        return total / 1024


class Outrider(Proxy):
    def command(self) -> list[str]:
        path = self.folder / f"outrider-{self.scenario.name}.yaml"
        path.write_text(self.scenario.config(self.port, self.upstream_port, self.folder, "outrider"))
        return [sys.executable, "-m", "outrider", "-c", str(path), "--concurrency", "1", "-l", "error"]


class Envoy(Proxy):
    def command(self) -> list[str]:
        path = self.folder / f"envoy-{self.scenario.name}.yaml"
        path.write_text(self.scenario.config(self.port, self.upstream_port, self.folder, "envoy"))
        envoy = find_envoy()
        assert envoy is not None
        return [envoy, "-c", str(path), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


class Nginx(Proxy):
    def supported(self) -> bool:
        return self.scenario.nginx and shutil.which("nginx") is not None

    def command(self) -> list[str]:
        path = self.folder / f"nginx-{self.scenario.name}.conf"
        path.write_text(
            f"""
worker_processes 1; daemon off; master_process off;
pid {self.folder}/nginx-{self.scenario.name}.pid; error_log {self.folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 100m; client_body_buffer_size 256k;
  client_body_temp_path {self.folder}/nb; proxy_temp_path {self.folder}/np; fastcgi_temp_path {self.folder}/nf;
  uwsgi_temp_path {self.folder}/nu; scgi_temp_path {self.folder}/ns;
  upstream up {{ server 127.0.0.1:{self.upstream_port}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering on; }}
  }}
}}
"""
        )
        return [shutil.which("nginx") or "nginx", "-c", str(path), "-e", str(self.folder / "nginx.err")]


PROXIES: dict[str, type[Proxy]] = {"outrider": Outrider, "envoy": Envoy, "nginx": Nginx}
