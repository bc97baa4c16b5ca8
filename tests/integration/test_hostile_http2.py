"""Hostile HTTP/2 clients against a running proxy: each one is stopped, counted, and costs others nothing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider.native import load_http2
from tests.http2.conformance.frames import (
    CONTINUATION,
    GET,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    SETTINGS,
    START,
    block,
    data,
    frame,
    headers,
    post,
    replaced,
    reset,
    settings,
    window_update,
)
from tests.integration.configuration import proxy_config
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess
from tests.support.upstream import Flood, Hang, ScriptedUpstream, answer

pytestmark = pytest.mark.skipif(not load_http2.AVAILABLE, reason="libnghttp2 was not there when this was built")

EDGE = {
    # What Envoy's documentation advises for listeners that anybody can reach.
    "http2_protocol_options": {
        "max_concurrent_streams": 100,
        "initial_stream_window_size": 65536,
        "initial_connection_window_size": 1048576,
    },
    "stream_idle_timeout": "1s",
    "common_http_protocol_options": {"idle_timeout": "30s"},
}
BIG = 4 << 20
B = block(GET)
# One entry of almost the whole table, then as many references to it as a frame holds: 4 KiB become 60 MiB.
BOMB = block(GET) + b"\x40\x03x-a\x7f\xd1\x1e" + b"y" * 4016 + b"\xbe" * 12000


def request(path: str, stream: int = 1) -> bytes:
    return headers(stream, replaced(":path", path))


class Proxy:
    """A running proxy and its upstream, which sends 4 MiB or hangs."""

    def __init__(self, folder: Path) -> None:
        self.upstream = ScriptedUpstream("up")
        self.port, admin = free_port(), free_port()
        config = proxy_config(admin, self.port, self.upstream.port, manager=EDGE)
        self.process = ProxyProcess("outrider", config, admin, folder)
        self.process.wait_ready()

    def stats(self) -> dict[str, int]:
        lines = (line.rpartition(": ") for line in self.process.admin("/stats").body.splitlines())
        return {name: int(value) for name, _, value in lines if value.isdigit()}

    def memory(self) -> int:
        """Resident bytes of the proxy's processes."""
        pids = [self.process.process.pid]
        for pid in pids:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            if children.exists():
                pids += [int(child) for child in children.read_text().split()]
        pages = 0
        for pid in pids:
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except FileNotFoundError:
                continue
        return pages * os.sysconf("SC_PAGE_SIZE")

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(10)
        return connection

    def stop(self) -> None:
        self.process.stop()
        self.upstream.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    made = Proxy(tmp_path_factory.mktemp("hostile"))
    yield made
    made.stop()


class Bystander:
    """A good client whose connection was there before."""

    def __init__(self, proxy: Proxy) -> None:
        self.connection = proxy.connect()
        self.connection.sendall(START)
        self.stream = 1

    def check(self) -> None:
        """It is served as ever. Raises AssertionError."""
        begun = time.monotonic()
        self.connection.sendall(frame(PING, 0, 0, b"bystande"))
        received = b""
        while b"bystande" not in received:
            more = self.connection.recv(65536)
            assert more, "the bystander was cut off"
            received += more
        assert time.monotonic() - begun < 5
        self.stream += 2

    def close(self) -> None:
        self.connection.close()


def closes(connection: socket.socket, seconds: float) -> bool:
    """Whether the proxy closes within the time; what it sends is thrown away."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            if not connection.recv(1 << 20):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def send(connection: socket.socket, payload: bytes) -> None:
    """As much as the proxy takes."""
    connection.settimeout(5)
    try:
        connection.sendall(payload)
    except OSError:
        pass


CLIENT_ERROR = "http.main.downstream_cx_protocol_error"

# What is sent after START, whether answers are read, the statistic that must grow.
ATTACKS = {
    "rapid_reset": (b"".join(request("/hang", n) + reset(n) for n in range(1, 4001, 2)), "http.main.downstream_rq_too_many_premature_resets"),
    "ping_flood": (frame(PING, 0, 0, bytes(8)) * 200_000, "http2.outbound_control_flood"),
    "settings_flood": (frame(SETTINGS) * 400_000, "http2.outbound_control_flood"),
    "reset_flood": (b"".join(post(n) + window_update(n, 0) for n in range(1, 20001, 2)), CLIENT_ERROR),
    "empty_data": (post(1) + data(1) * 5, "http2.inbound_empty_frames_flood"),
    "empty_headers": (frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 100, "http2.inbound_empty_frames_flood"),
    "only_padding": (headers(1, replaced(":path", "/hang"), 4) + frame(0, PADDED, 1, b"\x01\0") * 20, "http2.inbound_empty_frames_flood"),
    "priority_flood": (frame(PRIORITY, 0, 1, bytes(4) + b"\x10") * 1000, "http2.inbound_priority_frames_flood"),
    "window_update_flood": (window_update(0, 1) * 1000, "http2.inbound_window_update_frames_flood"),
    "continuation_flood": (frame(HEADERS, 1, 1, B) + frame(CONTINUATION, 0, 1, block([("x-a", "a" * 100)])) * 100_000, CLIENT_ERROR),
    "hpack_bomb": (frame(HEADERS, 5, 1, BOMB), "http2.header_list_size_too_large"),
    "header_list": (frame(HEADERS, 1, 1, block([*GET, ("x-a", "a" * 16000)])) + frame(CONTINUATION, 0, 1, block([("x-b", "b" * 16000)])) * 4 + frame(CONTINUATION, 4, 1, b""), "http2.header_list_size_too_large"),
    "many_fields": (headers(1, [*GET, *[(f"x-{n}", "1") for n in range(200)]]), "http2.header_overflow"),
    "stream_exhaustion": (frame(SETTINGS, 1) + b"".join(request("/hang", n) for n in range(1, 401, 2)), CLIENT_ERROR),
    "data_after_end": (request("/hang") + data(1, b"x" * 100), CLIENT_ERROR),
    "no_http": (b"\xff" * 100_000, CLIENT_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(proxy: Proxy, name: str) -> None:
    payload, stat = ATTACKS[name]
    proxy.upstream.play([[Hang()]])
    bystander = Bystander(proxy)
    before = proxy.stats()
    memory = proxy.memory()
    attacker = proxy.connect()
    try:
        send(attacker, START + payload)
        bystander.check()
        closed = closes(attacker, 3.0)
        if name not in ("hpack_bomb", "header_list", "many_fields"):
            assert closed, "the attacker is still there"
    finally:
        attacker.close()
    bystander.check()
    bystander.close()
    deadline = time.monotonic() + 3
    while (after := proxy.stats()).get(stat, 0) <= before.get(stat, 0):
        assert time.monotonic() < deadline, f"{stat} did not grow: {[k for k in after if after[k] > before.get(k, 0)]}"
        time.sleep(0.05)
    assert proxy.memory() - memory < 24 << 20


def test_zero_window_stall(proxy: Proxy) -> None:
    """50 responses of 4 MiB to a client that takes nothing: little is held, and not for long."""
    proxy.upstream.play([[answer("200 OK", ("content-length", str(BIG)), body=b"", framed=False), Flood(BIG)]])
    bystander = Bystander(proxy)
    memory = proxy.memory()
    before = proxy.stats()
    attacker = proxy.connect()
    attacker.sendall(PREFACE + settings((4, 0)) + b"".join(request("/big", n) for n in range(1, 101, 2)))
    time.sleep(0.6)
    # Each stream holds its window and what was read from the upstream meanwhile.
    assert proxy.memory() - memory < 120 << 20
    assert proxy.stats()["http.main.downstream_rq_active"] == 50
    bystander.check()
    time.sleep(1.2)
    after = proxy.stats()
    given_up = after["http.main.downstream_rq_idle_timeout"] - before.get("http.main.downstream_rq_idle_timeout", 0)
    assert given_up == 50
    assert after["http.main.downstream_rq_active"] == 0
    bystander.check()
    attacker.close()
    bystander.close()


def test_window_held_back_after_the_end(proxy: Proxy) -> None:
    """Complete responses that nobody takes are dropped after the idle timeout."""
    proxy.upstream.play([[answer(body=b"x" * 30000)]])
    before = proxy.stats()
    attacker = proxy.connect()
    attacker.sendall(PREFACE + settings((4, 10)) + b"".join(request("/a", n) for n in range(1, 21, 2)))
    deadline = time.monotonic() + 5
    while proxy.stats()["http2.tx_flush_timeout"] - before["http2.tx_flush_timeout"] < 10:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert proxy.stats()["http2.pending_send_bytes"] == before["http2.pending_send_bytes"]
    attacker.close()


def test_half_open_requests_time_out(proxy: Proxy) -> None:
    proxy.upstream.play([[answer()]])
    before = proxy.stats()
    attacker = proxy.connect()
    attacker.sendall(START + b"".join(post(n) for n in range(1, 101, 2)))
    time.sleep(1.8)
    after = proxy.stats()
    assert after["http.main.downstream_rq_active"] == 0
    assert after["http.main.downstream_rq_idle_timeout"] - before.get("http.main.downstream_rq_idle_timeout", 0) == 50
    attacker.close()
