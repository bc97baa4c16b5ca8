"""The proxies that are measured: how each is configured, started and looked at."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.configs import Place
from benchmarks.scenarios import Scenario
from benchmarks.upstream import Upstream, free_port, wait_port

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

    def __init__(self, scenario: Scenario, upstream: Upstream, workers: int = 0) -> None:
        self.scenario = scenario
        self.folder = upstream.folder
        self.workers = workers or scenario.workers
        self.port = free_port()
        who = type(self).__name__.lower()
        self.place = Place(self.port, upstream.port, upstream.h2_port, upstream.udp_port, self.folder, who)
        self.process: subprocess.Popen[bytes] | None = None

    def config_path(self, suffix: str, text: str) -> Path:
        path = self.folder / f"{self.place.who}-{self.scenario.name}.{suffix}"
        path.write_text(text)
        return path

    def supported(self) -> bool:
        return True

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> float:
        """Start it; returns after how many seconds it took connections. Raises OSError when it does not."""
        log = (self.folder / f"{self.place.who}-{self.scenario.name}.log").open("wb")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        command = self.command()
        begin = time.monotonic()
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment
        )
        if self.scenario.udp:
            self._wait_datagrams()
        else:
            wait_port(self.port)
        return time.monotonic() - begin

    def _wait_datagrams(self) -> None:
        """An echo comes back: it is ready."""
        assert self.process is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.05)
            probe.connect(("127.0.0.1", self.port))
            for _ in range(100):
                try:
                    probe.send(b"ready?")
                    probe.recv(100)
                    return
                except OSError:
                    if self.process.poll() is not None:
                        break
                    time.sleep(0.05)
        raise OSError(f"{self.place.who} does not echo datagrams")

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
        path = self.config_path("yaml", self.scenario.config(self.place))
        return [sys.executable, "-m", "outrider", "-c", str(path), "--concurrency", str(self.workers), "-l", "error"]


class Envoy(Proxy):
    def command(self) -> list[str]:
        path = self.config_path("yaml", self.scenario.config(self.place))
        envoy = find_envoy()
        assert envoy is not None
        workers = str(self.workers)
        return [envoy, "-c", str(path), "--concurrency", workers, "-l", "error", "--disable-hot-restart"]


class Nginx(Proxy):
    def supported(self) -> bool:
        return self.scenario.nginx is not None and shutil.which("nginx") is not None

    def command(self) -> list[str]:
        assert self.scenario.nginx is not None
        text = f"""
worker_processes 1; daemon off; master_process off;
pid {self.folder}/nginx-{self.scenario.name}.pid; error_log {self.folder}/nginx.err;
events {{ worker_connections 4096; }}
{self.scenario.nginx(self.place)}
"""
        path = self.config_path("conf", text)
        return [shutil.which("nginx") or "nginx", "-c", str(path), "-e", str(self.folder / "nginx.err")]


PROXIES: dict[str, type[Proxy]] = {"outrider": Outrider, "envoy": Envoy, "nginx": Nginx}
