"""The loads: wrk for HTTP/1 and TLS, h2load for HTTP/2 and gRPC, datagrams from here. None of their time is counted."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


class Load:
    """Something that asks a port for a while; `units` is what a cost is given per."""

    # Command that has to be there.
    needs: str = ""

    def run(self, port: int, seconds: float) -> dict[str, float]:
        """`units`, `rps`, `p50_ms`, `p99_ms` and `errors`."""
        raise NotImplementedError


class Wrk(Load):
    """Keep-alive connections from one thread. `mib`: a unit is a MiB of the answers' bodies, not a request."""

    needs = "wrk"

    def __init__(
        self, path: str, headers: list[str], connections: int, script: str = "", tls: bool = False, mib: float = 0.0
    ) -> None:
        self.path = path
        self.headers = headers
        self.connections = connections
        self.script = script
        self.scheme = "https" if tls else "http"
        self.mib = mib

    def run(self, port: int, seconds: float) -> dict[str, float]:
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        for header in self.headers:
            command += ["-H", header]
        if self.script:
            command += ["-s", str(_HERE / self.script)]
        command.append(f"{self.scheme}://127.0.0.1:{port}{self.path}")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = parse_wrk(done.stdout)
        if self.mib:
            found["units"] *= self.mib
        return found


def parse_wrk(text: str) -> dict[str, float]:
    """Requests, rate, latencies (ms) and errors of a wrk run."""

    def latency(mark: str) -> float:
        hit = re.search(rf"{mark}%\s+([\d.]+)(us|ms|s|m)", text)
        return float(hit.group(1)) * _UNITS[hit.group(2)] if hit else 0.0

    total = re.search(r"(\d+) requests in ([\d.]+)s", text)
    assert total is not None, text
    errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if refused:
        errors += int(refused.group(1))
    requests = float(total.group(1))
    return {
        "units": requests,
        "rps": requests / float(total.group(2)),
        "p50_ms": latency("50"),
        "p99_ms": latency("99"),
        "errors": float(errors),
    }


class H2Load(Load):
    """HTTP/2 with prior knowledge: `connections`, each with `streams` requests at a time."""

    needs = "h2load"

    def __init__(self, path: str, connections: int, streams: int, grpc: bool = False) -> None:
        self.path = path
        self.connections = connections
        self.streams = streams
        self.grpc = grpc

    def run(self, port: int, seconds: float) -> dict[str, float]:
        log = _temporary("h2load.log")
        command = ["h2load", "-t1", f"-c{self.connections}", f"-m{self.streams}", "-D", str(max(1, round(seconds)))]
        command += ["--warm-up-time", "0", "--log-file", str(log)]
        if self.grpc:
            body = _temporary("grpc.body")
            # One uncompressed message of 32 bytes (gRPC over HTTP/2: Length-Prefixed-Message).
            body.write_bytes(b"\0" + (32).to_bytes(4, "big") + b"\x0a\x1e" + b"x" * 30)
            command += ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(body)]
        command.append(f"http://127.0.0.1:{port}{self.path}")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return parse_h2load(done.stdout, log.read_text())


def _temporary(name: str) -> Path:
    import tempfile

    folder = Path(tempfile.gettempdir()) / "outrider-bench-load"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.unlink(missing_ok=True)
    return path


def parse_h2load(text: str, log: str) -> dict[str, float]:
    """h2load gives no percentiles: they come from its log (start, status, microseconds)."""
    finished = re.search(r"finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s", text)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    assert finished is not None and counts is not None and codes is not None, text
    times = sorted(int(line.rsplit("\t", 1)[1]) for line in log.splitlines())
    ok = float(codes.group(1))
    return {
        "units": ok,
        "rps": float(finished.group(3)),
        "p50_ms": times[len(times) // 2] / 1000 if times else 0.0,
        "p99_ms": times[len(times) * 99 // 100] / 1000 if times else 0.0,
        # h2load's manual: those that errored, timed out or were answered with an error are all among the failed.
        "errors": float(counts.group(2)),
    }


class Datagrams(Load):
    """`sockets` clients with a window of datagrams each, echoed by the upstream."""

    def __init__(self, sockets: int, window: int, size: int) -> None:
        self.sockets = sockets
        self.window = window
        self.size = size

    def run(self, port: int, seconds: float) -> dict[str, float]:
        clients = []
        for _ in range(self.sockets):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.setblocking(False)
            client.connect(("127.0.0.1", port))
            clients.append(client)
        poller = select.epoll()
        by_fd = {client.fileno(): client for client in clients}
        for number in by_fd:
            poller.register(number, select.EPOLLIN)
        padding = b"x" * (self.size - 8)
        clock = time.monotonic_ns
        end = clock() + int(seconds * 1e9)
        times: list[int] = []
        sent = 0
        outstanding = 0
        for client in clients:
            for _ in range(self.window):
                client.send(clock().to_bytes(8, "big") + padding)
                sent += 1
                outstanding += 1
        while outstanding:
            events = poller.poll(0.5)
            if not events:
                break
            for number, _ in events:
                client = by_fd[number]
                for _ in range(self.window):
                    try:
                        data = client.recv(65536)
                    except (BlockingIOError, ConnectionRefusedError):
                        break
                    now = clock()
                    outstanding -= 1
                    times.append(now - int.from_bytes(data[:8], "big"))
                    if now < end:
                        client.send(now.to_bytes(8, "big") + padding)
                        sent += 1
                        outstanding += 1
        poller.close()
        for client in clients:
            client.close()
        times.sort()
        return {
            "units": float(len(times)),
            "rps": len(times) / seconds,
            "p50_ms": times[len(times) // 2] / 1e6 if times else 0.0,
            "p99_ms": times[len(times) * 99 // 100] / 1e6 if times else 0.0,
            "errors": float(outstanding),
        }
