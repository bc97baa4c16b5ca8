"""What is not per request: start-up times and memory (PSS) of whole process trees, beside Envoy's."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import time

from benchmarks import configs
from benchmarks.loads import Wrk
from benchmarks.proxies import PROXIES, ROOT, Proxy
from benchmarks.scenarios import NO_GOAL, Scenario
from benchmarks.upstream import Upstream

IDLE_CONNECTIONS = 1000
_ROUNDS = 3
_SMALL = Scenario("footprint", configs.small, Wrk("/", [], 8), NO_GOAL)
_LARGE = Scenario("footprint-large", configs.many_clusters, Wrk("/service-1/", [], 8), NO_GOAL)

TITLES = {
    "validate_s": "--mode validate, small file, s",
    "ready_s": "ready to serve, small file, s",
    "large_ready_s": "ready to serve, 1,000 clusters and 5,000 routes, s",
    "idle_mib": "idle, one worker, MiB",
    "worker_mib": "each further worker, MiB",
    "connections_mib": "1,000 idle keep-alive connections, MiB",
}


def measure(names: list[str], upstream: Upstream) -> dict[str, dict[str, float]]:
    return {name: measure_one(name, upstream) for name in names}


def measure_one(name: str, upstream: Upstream) -> dict[str, float]:
    ready: list[float] = []
    validate: list[float] = []
    for _ in range(_ROUNDS):
        proxy = PROXIES[name](_SMALL, upstream)
        validate.append(validation_time(proxy))
        try:
            ready.append(proxy.start())
        finally:
            proxy.stop()
    found = {"validate_s": statistics.median(validate), "ready_s": statistics.median(ready)}
    large = PROXIES[name](_LARGE, upstream)
    try:
        found["large_ready_s"] = large.start()
    finally:
        large.stop()
    found["idle_mib"], found["connections_mib"] = memory(PROXIES[name](_SMALL, upstream))
    third, _ = memory(PROXIES[name](_SMALL, upstream, workers=3))
    found["worker_mib"] = (third - found["idle_mib"]) / 2
    return {key: round(value, 3) for key, value in found.items()}


def validation_time(proxy: Proxy) -> float:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [*proxy.command(), "--mode", "validate"]
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
    return time.monotonic() - begin


def memory(proxy: Proxy) -> tuple[float, float]:
    """PSS when idle after a little work, and what 1,000 connections that have had one answer each add to it."""
    clients: list[socket.socket] = []
    try:
        proxy.start()
        ask(clients, proxy.port, 20 * proxy.workers)
        idle = settled(proxy)
        ask(clients, proxy.port, IDLE_CONNECTIONS)
        full = settled(proxy)
    finally:
        for client in clients:
            client.close()
        proxy.stop()
    return idle, full - idle


def ask(clients: list[socket.socket], port: int, count: int) -> None:
    """`count` more connections, one request on each."""
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), 10)
        clients.append(client)
        client.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        got = b""
        while not got.endswith(b"x" * 1024):
            piece = client.recv(65536)
            if not piece:
                raise OSError("the proxy closed a connection")
            got += piece


def settled(proxy: Proxy) -> float:
    time.sleep(1.0)
    return proxy.pss_mib()


def show(notes: dict[str, dict[str, float]]) -> None:
    print()
    for key, title in TITLES.items():
        line = f"{title:<52}"
        for name, cell in notes.items():
            line += f" {name} {cell[key]:8.3f} |"
        if {"outrider", "envoy"} <= set(notes) and notes["envoy"][key] > 0:
            line += f" ratio {notes['outrider'][key] / notes['envoy'][key]:.2f}"
        print(line, flush=True)
