"""A fixed replay against one proxy, and what counts its instructions: perf, or valgrind's callgrind.

One process serves (main and worker on one loop, `--concurrency 0`): requests one after the other, the same bytes each
time, so that two runs of the same build differ by less than a per cent.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks import configs
from benchmarks.configs import Place
from benchmarks.proxies import ROOT
from benchmarks.scenarios import RICH_HEADERS
from benchmarks.upstream import free_port, wait_port

WARM_UP = 100
COUNTED = 200
BODY = b"x" * 1024
RESPONSE = b"HTTP/1.1 200 OK\r\nServer: replay\r\nContent-Length: 1024\r\n\r\n" + BODY
GET = b"GET / HTTP/1.1\r\nHost: replay\r\n\r\n"
RICH = "\r\n".join(["GET /items?page=5 HTTP/1.1", "Host: shop.example.com", *RICH_HEADERS]).encode() + b"\r\n\r\n"


class Replay:
    """What is sent `COUNTED` times: over one connection, or each over one of its own."""

    def __init__(self, name: str, port: int, request: bytes, each_anew: bool = False, tls: bool = False) -> None:
        self.name = name
        self.port = port
        self.request = request
        self.each_anew = each_anew
        self.tls = tls

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), 20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return plain
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain)

    def run(self, count: int) -> None:
        client = self.connect()
        for number in range(count):
            if self.each_anew and number:
                client.close()
                client = self.connect()
            client.sendall(self.request)
            got = b""
            while not got.endswith(BODY):
                piece = client.recv(65536)
                if not piece:
                    raise SystemExit(f"replay: {self.name}: the proxy closed the connection")
                got += piece
            if b" 200 " not in got[:20]:
                raise SystemExit(f"replay: {self.name}: {got[:60]!r}")
        client.close()


class Counter:
    """Counts the instructions of a process between `start` and `stop`."""

    def command(self, command: list[str]) -> list[str]:
        return command

    def start(self, pid: int) -> None:
        raise NotImplementedError

    def stop(self) -> int:
        raise NotImplementedError


class PerfCounter(Counter):
    """The processor's counter."""

    def start(self, pid: int) -> None:
        command = ["perf", "stat", "-x", ",", "-e", "instructions:u", "-p", str(pid)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        _, text = self.process.communicate()
        return int(text.split(",", 1)[0])


class CallgrindCounter(Counter):
    """A simulated processor."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "callgrind.out"
        # The last one's text.
        self.dump = ""

    def command(self, command: list[str]) -> list[str]:
        mine = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--quiet", f"--callgrind-out-file={self.out}"]
        return [*mine, *command]

    def start(self, pid: int) -> None:
        self.pid = str(pid)
        self._control("--instr=on")
        self._control("--zero")

    def stop(self) -> int:
        for old in self.out.parent.glob("callgrind.out.*"):
            old.unlink()
        self._control("--dump")
        self._control("--instr=off")
        for path in self.out.parent.glob("callgrind.out.*"):
            self.dump = path.read_text()
            found = re.search(r"^(?:totals|summary): (\d+)", self.dump, re.MULTILINE)
            if found:
                return int(found.group(1))
        raise SystemExit("callgrind wrote nothing")

    def _control(self, option: str) -> None:
        subprocess.run(["callgrind_control", option, self.pid], check=True, capture_output=True)


def choose_counter(folder: Path) -> Counter | None:
    if shutil.which("perf") is not None:
        tried = subprocess.run(
            ["perf", "stat", "-x", ",", "-e", "instructions:u", "true"], capture_output=True, text=True, check=False
        )
        if tried.returncode == 0 and tried.stderr.split(",", 1)[0].isdigit():
            return PerfCounter()
    if shutil.which("valgrind") is not None and shutil.which("callgrind_control") is not None:
        return CallgrindCounter(folder)
    return None


def serve(listening: socket.socket) -> None:
    """The upstream: one thread a connection, a fixed answer."""
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(client,), daemon=True).start()


def answer(client: socket.socket) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            piece = client.recv(262144)
            if not piece:
                client.close()
                return
            buffer += piece
        head, buffer = buffer.split(b"\r\n\r\n", 1)
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        wanted = int(length.group(1)) if length else 0
        while len(buffer) < wanted:
            buffer += client.recv(262144)
        buffer = buffer[wanted:]
        client.sendall(RESPONSE)


def configuration(place: Place, ports: dict[str, int]) -> str:
    hcm, hosts = configs.rich_parts(place)
    return configs.document(
        configs.http_listener("small", ports["small"])
        + configs.http_listener("rich", ports["rich"], hcm, hosts)
        + configs.http_listener("tls", ports["tls"], chain=configs.tls_socket(place))
        + configs.tcp_listener("tcp", ports["tcp"]),
        configs.cluster("upstream", place.upstream),
    )


def make_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost"]
    command += ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
    subprocess.run(command, check=True, capture_output=True)


class Bench:
    """The proxy with a listener for each kind of replay, and its upstream, under a counter."""

    def __init__(self, counter: Counter, folder: Path) -> None:
        self.counter = counter
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        threading.Thread(target=serve, args=(self._listening,), daemon=True).start()
        make_certificate(folder)
        ports = {name: free_port() for name in ("small", "rich", "tls", "tcp")}
        place = Place(0, self._listening.getsockname()[1], 0, 0, folder, "replay")
        path = folder / "replay.yaml"
        path.write_text(configuration(place, ports))
        command = [sys.executable, "-m", "outrider", "-c", str(path), "--concurrency", "0", "-l", "error"]
        # Hashing of strings, and with it the shape of dictionaries, is the same each time.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen(counter.command(command), cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        self.replays = [
            Replay("small", ports["small"], GET),
            Replay("rich", ports["rich"], RICH),
            Replay("new-connection", ports["small"], GET, each_anew=True),
            Replay("tls-keepalive", ports["tls"], GET, tls=True),
            Replay("tls-handshake", ports["tls"], GET, each_anew=True, tls=True),
            Replay("tcp-small", ports["tcp"], GET),
            Replay("tcp-new-connection", ports["tcp"], GET, each_anew=True),
        ]
        for port in ports.values():
            wait_port(port, 60)

    def count(self, replay: Replay, times: int = 3) -> int:
        """Instructions of one request: the least of some counts, since periodic work may fall into one of them."""
        replay.run(WARM_UP)
        counts: list[int] = []
        for _ in range(times):
            self.counter.start(self.process.pid)
            replay.run(COUNTED)
            counts.append(self.counter.stop() // COUNTED)
        return min(counts)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listening.close()
