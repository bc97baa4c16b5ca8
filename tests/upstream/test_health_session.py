"""Active health checks: thresholds, intervals, jitter, events; the probe is played by the test."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.runtime import NO_RUNTIME
from outrider.data.address import ip_address
from outrider.data.header_map import RequestHeaderMap
from outrider.stats.store import Store
from outrider.upstream.config.cluster_config import ClusterConfig
from outrider.upstream.config.health_check import KIND_TCP, HealthCheckConfig
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.health.checkers import HealthChecks
from outrider.upstream.host import (
    DEGRADED_ACTIVE_HC,
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL,
    FAILED_ACTIVE_HC,
    PENDING_ACTIVE_HC,
)
from tests.upstream.fakes import FakeCodec, FakeConnection, FakeConnector, FakeDispatcher, make_info


class LogFile:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


class Logs:
    def __init__(self) -> None:
        self.only = LogFile()

    def file(self, path: str) -> LogFile:
        return self.only


class Context:
    def __init__(self, dispatcher: FakeDispatcher) -> None:
        self.dispatcher = dispatcher
        self.runtime = NO_RUNTIME
        self.access_log_manager = Logs()


class Control:
    def __init__(self, config: ClusterConfig, store: Store) -> None:
        self.info = make_info(config, store)
        self.outliers = None
        self.changes: list[tuple[str, int, bool]] = []
        self.first_round = 0

    def on_health_changed(self, host: ControlHost, failed: bool = False) -> None:
        self.changes.append((host.key, host.flags, failed))

    def on_first_checks_done(self) -> None:
        self.first_round += 1


def settings(**fields: Any) -> HealthCheckConfig:
    config = HealthCheckConfig()
    config.timeout_ms = 500
    config.interval_ms = config.unhealthy_interval_ms = 1000
    config.unhealthy_edge_interval_ms = config.healthy_edge_interval_ms = 1000
    config.no_traffic_interval_ms = config.no_traffic_healthy_interval_ms = 1000
    config.unhealthy_threshold = 2
    config.healthy_threshold = 2
    config.path = "/healthz"
    for name, value in fields.items():
        setattr(config, name, value)
    return config


class World:
    def __init__(self, *checks: HealthCheckConfig, hosts: int = 1, flags: int = FAILED_ACTIVE_HC) -> None:
        config = ClusterConfig("c")
        config.health_checks = list(checks) or [settings()]
        self.store = Store()
        self.dispatcher = FakeDispatcher()
        self.connector = FakeConnector(self.dispatcher)
        self.control = Control(config, self.store)
        self.context = Context(self.dispatcher)
        control: Any = self.control
        context: Any = self.context
        self.checks = HealthChecks(control, context, self.connector)
        for checker in self.checks.checkers:
            checker.below = lambda limit: limit - 1
        self.hosts = [ControlHost(f"h{index}", ip_address("10.0.0.1", index + 1)) for index in range(hosts)]
        for host in self.hosts:
            host.flags = flags
        self.checks.on_hosts(self.hosts, [])

    @property
    def host(self) -> ControlHost:
        return self.hosts[0]

    def connection(self) -> FakeConnection:
        return self.connector.connections[-1]

    def codec(self) -> FakeCodec:
        return self.connector.codecs[-1]

    def request(self) -> RequestHeaderMap:
        encoder = self.codec().encoder
        assert encoder is not None and encoder.headers is not None
        return encoder.headers

    def answer(self, status: int = 200, fields: dict[bytes, bytes] | None = None, body: bytes = b"") -> None:
        """To the check under way, connecting first if need be."""
        if not self.connector.codecs or self.connector.codecs[-1].connection is not self.connection():
            self.connection().connect()
        self.codec().respond(status, fields, body)

    def check(self, status: int = 200, fields: dict[bytes, bytes] | None = None, body: bytes = b"") -> None:
        """Wait for the next check and answer it."""
        self.wait()
        self.answer(status, fields, body)

    def wait(self) -> int:
        """Until the next check begins; the time it took."""
        attempts = self.count("attempt")
        start = self.dispatcher.clock.now
        while self.count("attempt") == attempts:
            self.dispatcher.advance(10)
            assert self.dispatcher.clock.now - start < 200_000
        return self.dispatcher.clock.now - start

    def count(self, name: str) -> int:
        full = "cluster.c.health_check." + name
        return self.store.counters[full].value if full in self.store.counters else self.store.gauges[full].value

    def healthy(self) -> bool:
        return not self.host.flags & FAILED_ACTIVE_HC

    def events(self) -> list[str]:
        import json

        kinds = []
        for line in self.context.access_log_manager.only.lines:
            kinds += [key.removesuffix("_event") for key in json.loads(line) if "event" in key or "degraded" in key]
        return kinds


def test_the_request() -> None:
    world = World()
    world.connection().connect()
    request = world.request()
    assert (request.method, request.path, request.authority) == (b"GET", b"/healthz", b"c")
    assert request.get(b"user-agent") == b"Envoy/HC"


def test_host_header() -> None:
    world = World(settings(host="service"))
    world.connection().connect()
    assert world.request().authority == b"service"
    named = World(settings(host="service"), hosts=2)
    named.host.hc_hostname = "own"
    named.connector.connections[0].connect()
    encoder = named.connector.codecs[0].encoder
    assert encoder is not None and encoder.headers is not None
    assert encoder.headers.authority == b"own"


def test_one_success_is_enough_at_first() -> None:
    world = World()
    assert not world.healthy()
    world.answer()
    assert world.healthy()
    assert world.control.first_round == 1
    assert (world.count("success"), world.count("attempt"), world.count("healthy")) == (1, 1, 1)


def test_a_failed_first_check_ends_the_wait_too() -> None:
    world = World()
    world.connection().remote_close("refused")
    assert world.control.first_round == 1
    assert world.count("network_failure") == 1


def test_healthy_threshold() -> None:
    world = World()
    world.answer(503)
    world.check()
    assert not world.healthy()
    world.check()
    assert world.healthy()


def test_status_counts_at_once_and_network_after_some() -> None:
    world = World()
    world.answer()
    world.check(503)
    assert not world.healthy()
    assert world.control.changes[-1] == ("h0", FAILED_ACTIVE_HC, True)
    other = World()
    other.answer()
    other.wait()
    other.connection().remote_close()
    assert other.healthy()
    other.wait()
    other.connection().remote_close()
    assert not other.healthy()


def test_retriable_statuses_need_the_threshold() -> None:
    world = World(settings(retriable=[(503, 504)]))
    world.answer()
    world.check(503)
    assert world.healthy()
    world.check(503)
    assert not world.healthy()


def test_expected_statuses() -> None:
    world = World(settings(expected=[(200, 300), (503, 504)]))
    world.answer(503)
    assert world.healthy()
    world.check(204)
    assert world.healthy()
    world.check(404)
    assert not world.healthy()


def test_timeout() -> None:
    world = World(settings(unhealthy_threshold=1))
    world.answer()
    world.wait()
    world.dispatcher.advance(400)
    assert world.healthy()
    world.dispatcher.advance(150)
    assert not world.healthy()
    assert not world.connection().open
    assert world.count("network_failure") == 1


def test_intervals() -> None:
    world = World(
        settings(
            interval_ms=1000,
            unhealthy_interval_ms=2000,
            healthy_edge_interval_ms=300,
            unhealthy_edge_interval_ms=400,
            no_traffic_interval_ms=60_000,
            no_traffic_healthy_interval_ms=30_000,
        )
    )
    world.answer()
    assert world.wait() == pytest.approx(30_000, abs=110)
    world.control.info.stats.upstream_cx_total.inc()
    world.answer()
    assert world.wait() == pytest.approx(1000, abs=20)
    world.connection().remote_close()
    assert world.wait() == pytest.approx(400, abs=20)
    world.connection().remote_close()
    assert not world.healthy()
    assert world.wait() == pytest.approx(2000, abs=20)
    world.answer()
    assert world.wait() == pytest.approx(300, abs=20)
    world.answer()
    assert world.healthy()
    assert world.wait() == pytest.approx(1000, abs=20)


def test_jitter() -> None:
    world = World(settings(interval_jitter_ms=500, interval_jitter_percent=20))
    world.answer()
    assert world.wait() == pytest.approx(1000 + 199 + 499, abs=20)
    delayed = World(settings(initial_jitter_ms=700))
    assert delayed.connector.connections == []
    delayed.checks.stop()
    assert delayed.store.gauges["cluster.c.health_check.healthy"].value == 0


def test_connections_are_kept_unless_told_otherwise() -> None:
    world = World()
    world.answer()
    world.check()
    assert len(world.connector.connections) == 1
    world.check(200, {b"connection": b"close"})
    world.check()
    assert len(world.connector.connections) == 2
    each = World(settings(reuse_connection=False))
    each.answer()
    each.check()
    assert len(each.connector.connections) == 2


def test_degraded() -> None:
    world = World(settings(event_log_paths=["x"]))
    world.answer(200, {b"x-envoy-degraded": b"1"})
    assert world.host.flags == DEGRADED_ACTIVE_HC
    world.check()
    assert world.host.flags == 0
    assert world.events() == ["add_healthy", "degraded_healthy_host", "no_longer_degraded_host"]


def test_immediate_failure_by_traffic() -> None:
    world = World()
    world.answer()
    world.host.set_flag(EXCLUDED_VIA_IMMEDIATE_HC_FAIL)
    world.checks.set_unhealthy(world.host)
    assert not world.healthy()
    assert (world.count("passive_failure"), world.count("failure")) == (1, 1)
    world.check()
    world.check()
    assert world.host.flags == 0


def test_excluded_by_the_check_itself() -> None:
    world = World()
    world.answer(503, {b"x-envoy-immediate-health-check-fail": b"1"})
    assert world.host.flags & EXCLUDED_VIA_IMMEDIATE_HC_FAIL


def test_pending_until_checked() -> None:
    world = World(flags=FAILED_ACTIVE_HC | PENDING_ACTIVE_HC)
    world.answer(503)
    assert world.host.flags == FAILED_ACTIVE_HC
    assert len(world.control.changes) == 1


def test_body_must_contain_the_payloads_in_order() -> None:
    world = World(settings(receive=[b"one", b"two"], response_buffer_size=20))
    world.answer(200, None, b"..one..two")
    assert world.healthy()
    world.check(200, None, b"two one")
    assert not world.healthy()


def test_a_request_with_body() -> None:
    world = World(settings(method="POST", body=b"abc"))
    world.connection().connect()
    encoder = world.codec().encoder
    assert encoder is not None and encoder.body == b"abc"
    assert world.request().get(b"content-length") == b"3"


def test_several_checkers_must_agree() -> None:
    world = World(settings(name="a"), settings(name="b"))
    first, second = world.connector.connections
    first.connect()
    world.connector.codecs[0].respond(200)
    assert not world.healthy()
    second.connect()
    world.connector.codecs[1].respond(200)
    assert world.healthy()


def test_events_as_envoy_writes_them() -> None:
    world = World(settings(event_log_paths=["x"], always_log_failures=True))
    world.answer(503)
    line = world.context.access_log_manager.only.lines[0].decode()
    stamp = line.split('"timestamp":"')[1].split('"')[0]
    assert line == (
        '{"health_checker_type":"HTTP","host":{"socket_address":{"protocol":"TCP","address":"10.0.0.1","port_value":1,'
        '"resolver_name":"","ipv4_compat":false,"network_namespace_filepath":""}},"cluster_name":"c","timestamp":"'
        + stamp
        + '","health_check_failure_event":{"failure_type":"ACTIVE","first_check":true,"http_status_code":503},'
        '"locality":{"region":"","zone":"","sub_zone":""}}\n'
    )
    world.check()
    world.check()
    world.check(500)
    assert world.events() == [
        "health_check_failure",
        "add_healthy",
        "eject_unhealthy",
        "health_check_failure",
    ]


def test_tcp_connect_only() -> None:
    world = World(settings(kind=KIND_TCP))
    world.connection().connect()
    assert world.healthy()
    assert not world.connection().open


def test_tcp_payloads() -> None:
    world = World(settings(kind=KIND_TCP, send=b"ping", receive=[b"po", b"ng"]))
    world.connection().connect()
    assert world.connection().written == b"ping"
    world.connection().receive(b"p")
    assert not world.healthy()
    world.connection().receive(b"ong")
    assert world.healthy()
    assert world.connection().open
    world.wait()
    assert world.connection().written == b"pingping"
    world.connection().receive(b"nope")
    world.dispatcher.advance(600)
    assert world.count("network_failure") == 1


def test_a_removed_host_is_left_alone() -> None:
    world = World()
    world.answer()
    world.checks.on_hosts([], [world.host])
    assert not world.connection().open
    world.dispatcher.advance(10_000)
    assert world.count("attempt") == 1
    assert world.count("healthy") == 0


def test_disabled_for_an_endpoint() -> None:
    world = World(hosts=1)
    disabled = ControlHost("x", ip_address("10.0.0.1", 9))
    disabled.hc_disabled = True
    world.checks.on_hosts([disabled], [])
    assert len(world.connector.connections) == 1


def test_alternative_port() -> None:
    world = World(settings(alt_port=8080))
    assert world.connector.hosts[0].address.text == "10.0.0.1:8080"
