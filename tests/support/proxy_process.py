"""Outrider or the real Envoy as a child process with a configuration of the test's."""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0


def find_envoy() -> str:
    """Path of the real Envoy, or "": OUTRIDER_ENVOY_BINARY, or the one in .venv-envoy."""
    given = os.environ.get("OUTRIDER_ENVOY_BINARY", "")
    if given:
        return given
    found = sorted(ROOT.glob(".venv-envoy/lib/python*/site-packages/envoy/_bin/envoy"))
    return str(found[-1]) if found else ""


def child_environment(further: dict[str, str] | None = None) -> dict[str, str]:
    """Ours, with a PYTHONPATH that also holds in another working directory."""
    environment = {**os.environ, **(further or {})}
    if "PYTHONPATH" in environment:
        parts = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in parts)
    return environment


def outrider_command() -> list[str]:
    return [sys.executable, "-m", "outrider"]


def proxy_command(kind: str) -> list[str]:
    """`kind` is envoy or outrider."""
    return [find_envoy()] if kind == "envoy" else outrider_command()


class AdminAnswer:
    __slots__ = ("status", "headers", "body")

    def __init__(self, status: int, headers: list[tuple[str, str]], body: str) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def ask_admin(port: int, path: str, method: str = "GET", timeout: float = 10.0) -> AdminAnswer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return AdminAnswer(response.status, response.getheaders(), response.read().decode("utf-8", "replace"))
    finally:
        connection.close()


class ProxyFailed(Exception):
    """The proxy ended or did not become ready; the text ends with what it printed."""


class ProxyProcess:
    """A running proxy. The configuration must have its admin interface on 127.0.0.1:`admin_port`."""

    def __init__(
        self, kind: str, config: str, admin_port: int, folder: Path, *, arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None, concurrency: int = 1,
    ) -> None:
        self.kind = kind
        self.admin_port = admin_port
        self.folder = folder
        self.output_file = folder / f"{kind}.out"
        self.error_file = folder / f"{kind}.err"
        config_file = folder / f"{kind}.yaml"
        config_file.write_text(config)
        command = [
            *proxy_command(kind), "-c", str(config_file), "--concurrency", str(concurrency),
            "--base-id", str(random.randint(1000, 2_000_000)), "--file-flush-interval-msec", "20", *arguments,
        ]
        with self.output_file.open("wb") as output, self.error_file.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=folder, start_new_session=True,
                env=child_environment(environment),
            )

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Raises ProxyFailed."""
        deadline = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise ProxyFailed(f"{self.kind} ended with {self.process.returncode}\n{self.printed()}")
            try:
                if ask_admin(self.admin_port, "/ready", timeout=2.0).status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() > deadline:
                raise ProxyFailed(f"{self.kind} was not ready after {timeout} s\n{self.printed()}")
            time.sleep(0.03)

    def printed(self) -> str:
        text = self.output_file.read_text(errors="replace") + self.error_file.read_text(errors="replace")
        return "\n".join(line for line in text.splitlines() if "][info][" not in line)[-3000:]

    def admin(self, path: str, method: str = "GET") -> AdminAnswer:
        return ask_admin(self.admin_port, path, method)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM, then SIGKILL to the whole group. The exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.process.wait(5)


class Finished:
    """A proxy command that ran to its end."""

    __slots__ = ("status", "output", "errors")

    def __init__(self, status: int, output: str, errors: str) -> None:
        self.status = status
        self.output = output
        self.errors = errors


def run_to_end(kind: str, arguments: Sequence[str], *, timeout: float = 30.0, folder: Path | None = None) -> Finished:
    base = ["--base-id", str(random.randint(1000, 2_000_000))]
    done = subprocess.run(
        [*proxy_command(kind), *arguments, *base], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
        check=False, cwd=folder, env=child_environment(),
    )
    return Finished(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
