"""TCP proxy between two connections that only remember: ends, resets, back-pressure, attempts, timers, logs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from outrider.access_log.access_log import AccessLog
from outrider.access_log.context import FormatContext
from outrider.data import response_flag
from outrider.data.address import ip_address
from outrider.data.stream_info import ConnectionInfo
from outrider.network.connection import STATE_CLOSED, STATE_CLOSING, STATE_OPEN, Connection
from outrider.network.tcp_proxy import TcpProxy
from outrider.network.tcp_proxy_settings import (
    FAILED_ATTEMPTS,
    FAILED_CONNECT,
    FAILED_NO_CLUSTER,
    FAILED_NO_HOST,
    FAILED_OVERFLOW,
    TcpProxySettings,
    TcpProxyStats,
    UpstreamConnector,
)
from outrider.stats.store import Store
from tests.upstream.fakes import FakeDispatcher

CLIENT = ip_address("10.0.0.9", 999)
HERE = ip_address("10.0.0.1", 80)
HOST = ip_address("10.0.0.2", 90)


class Wire:
    """A transport that keeps what is written until `take`; `high` is the watermark given to it."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.sent: list[bytes] = []
        self.unsent = 0
        self.blocked = False
        self.high = 1 << 30
        self.reading = True
        self.eof = False
        self.aborted = False
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        if self.blocked:
            self.unsent += len(data)
            if self.unsent > self.high and self.connection is not None:
                self.connection.pause_writing()

    def writelines(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.write(piece)

    def take(self) -> None:
        self.blocked = False
        self.unsent = 0
        if self.connection is not None:
            self.connection.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.high = high

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write_eof(self) -> None:
        self.eof = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def get_extra_info(self, name: str) -> None:
        return None


class Log(AccessLog):
    def __init__(self) -> None:
        self.lines: list[tuple[str, int, int, str]] = []

    def log(self, context: FormatContext) -> None:
        info = context.stream_info
        flags = response_flag.short_text(info.response_flags)
        self.lines.append((context.log_type, info.bytes_received, info.bytes_sent, flags))


class Connector(UpstreamConnector):
    """Fails as told, in order, and then connects when the test says so."""

    def __init__(self, failures: list[int]) -> None:
        self.failures = failures
        self.calls = 0
        self.cancelled = 0

    def connect(self, proxy: TcpProxy) -> None:
        self.calls += 1
        if self.failures:
            kind = self.failures.pop(0)
            if kind >= FAILED_CONNECT:
                proxy.begin_attempt()
            proxy.on_failed(kind, "why", None, HOST)
            return
        proxy.begin_attempt()
        proxy.pending = self

    def cancel(self, proxy: TcpProxy) -> None:
        self.cancelled += 1


class Bench:
    def __init__(self, *failures: int, connect: bool = True, **options: Any) -> None:
        self.store = Store()
        self.dispatcher = FakeDispatcher()
        self.dispatcher.cork = None  # type: ignore[attr-defined]
        self.connector = Connector(list(failures))
        self.settings = TcpProxySettings(TcpProxyStats(self.store.scope("tcp.x.")), self.connector)
        self.log = Log()
        self.settings.access_logs = [self.log]
        for name, value in options.items():
            assert hasattr(self.settings, name)
            setattr(self.settings, name, value)
        self.wire = Wire()
        self.client = self._connection(CLIENT, self.wire)
        self.proxy = TcpProxy(self.settings)
        self.client.add_filter(self.proxy)
        self.client.raise_connected()
        self.client.start_filters()
        self.up_wire = Wire()
        self.up = self._connection(HOST, self.up_wire)
        if connect and not failures:
            self.connected()

    def _connection(self, remote: Any, wire: Wire) -> Connection:
        info = ConnectionInfo(self.dispatcher.next_connection_id(), HERE, remote)
        connection = Connection(self.dispatcher, info)  # type: ignore[arg-type]
        connection.set_buffer_limits(1000)
        wire.connection = connection
        connection.connection_made(wire)
        return connection

    def connected(self) -> None:
        self.up.connected = True
        self.proxy.on_connected(self.up, "host", HOST, "c")

    def counter(self, name: str) -> int:
        return self.store.counter(f"tcp.x.{name}").value

    @property
    def flags(self) -> str:
        assert self.proxy.info is not None
        return response_flag.short_text(self.proxy.info.response_flags)


def test_bytes_pass_as_they_are_without_a_copy() -> None:
    bench = Bench()
    request, reply = b"r" * 100, b"a" * 200
    bench.client.data_received(request)
    bench.up.data_received(reply)
    assert bench.up_wire.sent[0] is request
    assert bench.wire.sent[0] is reply
    assert bench.counter("downstream_cx_total") == 1
    assert bench.counter("downstream_cx_rx_bytes_total") == 100
    assert bench.counter("downstream_cx_tx_bytes_total") == 200


def test_nothing_is_read_before_there_is_an_upstream() -> None:
    bench = Bench(connect=False)
    assert not bench.wire.reading
    bench.client.data_received(b"early")
    assert bench.up_wire.sent == []
    bench.connected()
    bench.dispatcher.turn()
    assert bench.wire.reading
    assert bench.up_wire.sent == [b"early"]


def test_half_close_of_the_client_leaves_the_answer_open() -> None:
    bench = Bench()
    assert bench.client.eof_received()
    assert bench.up_wire.eof
    bench.up.data_received(b"late")
    assert bench.wire.sent == [b"late"]
    assert bench.client.state == STATE_OPEN
    bench.up.eof_received()
    assert bench.wire.eof
    assert bench.wire.closed
    bench.client.connection_lost(None)
    assert [line[0] for line in bench.log.lines] == ["TcpConnectionEnd"]


def test_half_close_of_the_upstream_leaves_the_request_open() -> None:
    bench = Bench()
    assert bench.up.eof_received()
    assert bench.wire.eof
    bench.client.data_received(b"more")
    assert bench.up_wire.sent == [b"more"]
    assert bench.log.lines == []


def test_a_reset_upstream_resets_the_client() -> None:
    bench = Bench()
    bench.up.connection_lost(ConnectionResetError())
    assert bench.client.state == STATE_CLOSED
    assert bench.wire.aborted
    assert bench.flags == "UR"
    assert bench.client.detected_close_type == "LocalReset"


def test_a_reset_client_resets_the_upstream() -> None:
    bench = Bench()
    bench.client.connection_lost(ConnectionResetError())
    assert bench.up.state == STATE_CLOSED
    assert bench.up_wire.aborted
    assert bench.flags == "-"
    assert bench.store.gauge("tcp.x.upstream_flush_active").value == 0


def test_an_upstream_that_closes_gets_the_rest_delivered() -> None:
    bench = Bench()
    bench.wire.blocked = True
    bench.up.data_received(b"x" * 10)
    bench.up.connection_lost(None)
    assert bench.client.state == STATE_CLOSING
    assert not bench.wire.aborted


def test_a_slow_client_stops_the_upstream_and_memory_is_bounded() -> None:
    bench = Bench()
    bench.wire.blocked = True
    pieces = 0
    while bench.up_wire.reading and pieces < 1000:
        bench.up.data_received(b"x" * 400)
        pieces += 1
    assert pieces == 3
    assert bench.wire.unsent == 1200
    bench.wire.take()
    assert bench.up_wire.reading


def test_a_slow_upstream_stops_the_client() -> None:
    bench = Bench()
    bench.up_wire.blocked = True
    bench.client.data_received(b"x" * 1001)
    assert not bench.wire.reading
    assert bench.counter("downstream_flow_control_paused_reading_total") == 1
    bench.up_wire.take()
    assert bench.wire.reading
    assert bench.counter("downstream_flow_control_resumed_reading_total") == 1


def test_a_vanished_client_has_its_bytes_flushed_within_the_idle_time() -> None:
    bench = Bench(idle_timeout_ms=100)
    bench.up_wire.blocked = True
    bench.client.data_received(b"x" * 600)
    bench.client.connection_lost(None)
    assert bench.counter("upstream_flush_total") == 1
    assert bench.store.gauge("tcp.x.upstream_flush_active").value == 1
    assert bench.up.state == STATE_CLOSING
    bench.up_wire.unsent = 300
    bench.dispatcher.advance(150)
    assert bench.up.state == STATE_CLOSING
    bench.dispatcher.advance(150)
    assert bench.up.state == STATE_CLOSED
    assert bench.up_wire.aborted
    assert bench.store.gauge("tcp.x.upstream_flush_active").value == 0
    assert bench.counter("idle_timeout") == 1


@pytest.mark.parametrize(
    ("kind", "flags"),
    [(FAILED_NO_CLUSTER, "NC"), (FAILED_NO_HOST, "UH"), (FAILED_OVERFLOW, "UO"), (FAILED_ATTEMPTS, "URX")],
)
def test_failures_that_end_it(kind: int, flags: str) -> None:
    bench = Bench(kind)
    assert bench.client.state == STATE_CLOSED
    assert bench.flags == flags
    assert bench.client.local_close_reason == f"tcp_initializion_failure:{kind}"
    assert bench.counter("downstream_cx_no_route") == (1 if kind == FAILED_NO_CLUSTER else 0)


def test_the_retry_limit_is_named_after_the_failure() -> None:
    bench = Bench(FAILED_CONNECT, FAILED_ATTEMPTS)
    bench.dispatcher.turn()
    assert bench.flags == "UF,URX"
    assert bench.log.lines == [("TcpConnectionEnd", 0, 0, "UF,URX")]


def test_many_immediate_failures_do_not_nest() -> None:
    bench = Bench(*[FAILED_CONNECT] * 5000, max_connect_attempts=6000)
    for _ in range(5000):
        bench.dispatcher.turn()
    assert bench.connector.calls == 5001
    assert bench.proxy.attempts == 5001
    bench.connected()
    bench.client.data_received(b"x")
    assert bench.up_wire.sent == [b"x"]


def test_back_off_waits_between_attempts() -> None:
    bench = Bench(FAILED_CONNECT, max_connect_attempts=2, backoff_base_ms=5000, backoff_max_ms=5000)
    assert bench.connector.calls == 1
    bench.dispatcher.advance(5200)
    assert bench.connector.calls == 2


def test_the_longest_life() -> None:
    bench = Bench(max_duration_ms=100)
    bench.dispatcher.advance(120)
    assert bench.client.state == STATE_CLOSED
    assert bench.up.state == STATE_CLOSED
    assert bench.flags == "DT"
    assert bench.counter("max_downstream_connection_duration") == 1


def test_idle_connections_end() -> None:
    bench = Bench(idle_timeout_ms=1)
    time.sleep(0.003)
    bench.dispatcher.advance(20)
    assert bench.client.state == STATE_CLOSED
    assert bench.counter("idle_timeout") == 1


def test_a_busy_connection_is_not_idle() -> None:
    bench = Bench(idle_timeout_ms=10_000)
    bench.dispatcher.advance(10_200)
    assert bench.client.state == STATE_OPEN
    assert bench.dispatcher.wheel.pending() == 1


def test_the_end_while_waiting_for_an_upstream() -> None:
    bench = Bench(connect=False, max_duration_ms=100)
    bench.dispatcher.advance(120)
    assert bench.connector.cancelled == 1
    assert bench.flags == "DC,DT" or bench.flags == "DT,DC"
    late = bench.up
    bench.proxy.on_connected(late, "host", HOST, "c")
    assert late.state == STATE_CLOSED


def test_log_lines_of_a_life() -> None:
    bench = Bench(log_on_start=True, log_on_connected=True, log_flush_interval_ms=100)
    # The interval's timer is armed when the connection begins.
    bench.client.data_received(b"12345")
    bench.dispatcher.advance(120)
    bench.client.connection_lost(None)
    assert [line[0] for line in bench.log.lines] == [
        "TcpConnectionStart", "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd",
    ]  # fmt: skip
    assert bench.log.lines[2][1] == 5
    assert bench.dispatcher.wheel.pending() == 0
