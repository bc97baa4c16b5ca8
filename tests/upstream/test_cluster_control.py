"""The control half of a cluster: membership, hosts that outlive discovery, merged updates."""

from __future__ import annotations

from typing import Any

from outrider.config.runtime import NO_RUNTIME
from outrider.data.address import ip_address
from outrider.data.shared_limit import SharedArena
from outrider.stats.store import Store
from outrider.upstream.config.cluster_config import ClusterConfig
from outrider.upstream.config.endpoints import EndpointAddress, EndpointConfig
from outrider.upstream.config.health_check import HealthCheckConfig
from outrider.upstream.config.outlier import OutlierConfig
from outrider.upstream.control.cluster_control import ClusterControl
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.discovery import host_for
from outrider.upstream.control.update_merger import MergeStats
from outrider.upstream.host import (
    DEGRADED_EDS_HEALTH,
    EDS_STATUS_DRAINING,
    FAILED_ACTIVE_HC,
    FAILED_EDS_HEALTH,
    FAILED_OUTLIER_CHECK,
    PENDING_DYNAMIC_REMOVAL,
)
from outrider.upstream.hosts_update import HostsUpdate
from outrider.upstream.outlier_reporter import REPORT_HTTP_CODE
from tests.config.messages import view_of
from tests.upstream.fakes import FakeDispatcher, make_info

ENDPOINT = "envoy.config.endpoint.v3.Endpoint"


class Context:
    def __init__(self, dispatcher: FakeDispatcher, arena: SharedArena | None) -> None:
        self.dispatcher = dispatcher
        self.arena = arena
        self.runtime = NO_RUNTIME
        self.access_log_manager = None


def endpoint(port: int, flags: int = 0, priority: int = 0) -> EndpointConfig:
    address = EndpointAddress()
    address.host = "10.0.0.1"
    address.port = port
    config = EndpointConfig(address, view_of(ENDPOINT, {}))
    config.health_flags = flags
    config.priority = priority
    return config


class World:
    def __init__(self, *endpoints: EndpointConfig, arena: SharedArena | None = None, **settings: Any) -> None:
        config = ClusterConfig("c")
        for name, value in settings.items():
            setattr(config, name, value)
        config.assignment.endpoints = list(endpoints)
        self.config = config
        self.dispatcher = FakeDispatcher()
        self.store = Store()
        self.updates: list[HostsUpdate] = []
        self.ready = 0
        context: Any = Context(self.dispatcher, arena)
        self.control = ClusterControl(
            make_info(config, self.store), context, None, self.updates.append, MergeStats(self.store)
        )
        self.control.start(self._on_ready)

    def _on_ready(self) -> None:
        self.ready += 1

    def gauges(self) -> tuple[int, int, int, int]:
        stats = self.control.info.stats
        return (
            stats.membership_total.value,
            stats.membership_healthy.value,
            stats.membership_degraded.value,
            stats.membership_excluded.value,
        )

    def host(self, port: int) -> ControlHost:
        return self.control.hosts[f"10.0.0.1:{port}"]

    def count(self, name: str) -> int:
        return self.store.counters[name].value


def test_static_hosts() -> None:
    world = World(
        endpoint(1),
        endpoint(2, FAILED_EDS_HEALTH),
        endpoint(3, DEGRADED_EDS_HEALTH),
        endpoint(4, EDS_STATUS_DRAINING),
        endpoint(1),
    )
    assert world.ready == 1
    assert world.gauges() == (5, 2, 1, 1)
    assert world.control.info.stats.membership_change.value == 1
    assert [spec.key for spec in world.updates[-1].hosts][-1] == "10.0.0.1:1#"
    assert world.store.counters["cluster.c.default.total_match_count"].value == 5


def test_membership_is_counted_by_priority() -> None:
    world = World(endpoint(1), endpoint(2, priority=1))
    assert world.control.info.stats.membership_change.value == 2


def test_snapshot_for_a_late_worker() -> None:
    world = World(endpoint(1))
    world.host(1).set_flag(FAILED_OUTLIER_CHECK)
    snapshot = world.control.snapshot()
    assert snapshot.full
    assert snapshot.hosts[0].health_flags == FAILED_OUTLIER_CHECK


def test_health_changes_merge_within_the_window() -> None:
    world = World(endpoint(1), endpoint(2), update_merge_window_ms=1000)
    before = len(world.updates)
    first, second = world.host(1), world.host(2)
    first.set_flag(FAILED_ACTIVE_HC)
    world.control.on_health_changed(first)
    assert len(world.updates) == before + 1
    second.set_flag(FAILED_ACTIVE_HC)
    world.control.on_health_changed(second)
    first.clear_flag(FAILED_ACTIVE_HC)
    world.control.on_health_changed(first)
    assert len(world.updates) == before + 1
    assert world.gauges()[1] == 1
    world.dispatcher.advance(1100)
    assert len(world.updates) == before + 2
    assert world.updates[-1].health_flags == {"10.0.0.1:1": 0, "10.0.0.1:2": FAILED_ACTIVE_HC}
    assert (world.count("cluster_updated_via_merge"), world.count("update_out_of_merge_window")) == (1, 1)


def test_no_window_no_merging() -> None:
    world = World(endpoint(1), update_merge_window_ms=0)
    before = len(world.updates)
    for _ in range(3):
        world.control.on_health_changed(world.host(1))
    assert len(world.updates) == before + 3


def test_membership_takes_waiting_changes_with_it() -> None:
    world = World(endpoint(1), update_merge_window_ms=1000)
    host = world.host(1)
    for _ in range(2):
        world.control.on_health_changed(host)
    world.control.set_hosts([host, host_for(world.control, ip_address("10.0.0.1", 9), endpoint(9))])
    assert world.count("update_merge_cancelled") == 1
    seen = len(world.updates)
    world.dispatcher.advance(2000)
    assert len(world.updates) == seen


def test_failed_hosts_drain_at_once() -> None:
    world = World(endpoint(1), update_merge_window_ms=1000)
    host = world.host(1)
    world.control.on_health_changed(host)
    host.set_flag(FAILED_ACTIVE_HC)
    world.control.on_health_changed(host, True)
    assert world.updates[-1].failed_hosts == ["10.0.0.1:1"]


class NoChecks:
    """Health checks that the test plays."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    def on_hosts(self, added: list[ControlHost], removed: list[ControlHost]) -> None:
        self.removed += [host.key for host in removed]

    def stop(self) -> None:
        pass


def checked(**settings: Any) -> World:
    world = World(endpoint(1), endpoint(2), **settings)
    checks: Any = NoChecks()
    world.control.health_checks = checks
    world.config.health_checks = [HealthCheckConfig()]
    return world


def test_a_host_that_passes_its_checks_outlives_discovery() -> None:
    world = checked()
    first, second = world.host(1), world.host(2)
    world.control.set_hosts([first])
    assert second.has_flag(PENDING_DYNAMIC_REMOVAL)
    assert world.gauges()[0] == 2
    second.set_flag(FAILED_ACTIVE_HC)
    world.control.on_health_changed(second, True)
    assert list(world.control.hosts) == ["10.0.0.1:1"]
    assert [spec.key for spec in world.updates[-1].hosts] == ["10.0.0.1:1"]


def test_it_may_come_back() -> None:
    world = checked()
    first, second = world.host(1), world.host(2)
    world.control.set_hosts([first])
    world.control.set_hosts([first, second])
    assert not second.has_flag(PENDING_DYNAMIC_REMOVAL)


def test_unless_health_is_to_be_ignored() -> None:
    world = checked(ignore_health_on_host_removal=True)
    world.control.set_hosts([world.host(1)])
    assert list(world.control.hosts) == ["10.0.0.1:1"]


def test_new_hosts_wait_for_their_first_check() -> None:
    world = checked(ignore_new_hosts_until_first_hc=True)
    fresh = host_for(world.control, ip_address("10.0.0.1", 9), endpoint(9))
    world.control.set_hosts([world.host(1), world.host(2), fresh])
    assert fresh.has_flag(FAILED_ACTIVE_HC)
    assert world.gauges() == (3, 2, 0, 1)


def test_outlier_reports() -> None:
    config = OutlierConfig()
    config.max_ejection_percent = 100
    config.consecutive_5xx = 1
    world = World(endpoint(1), endpoint(2), outlier_detection=config)
    assert world.control.outliers is not None
    world.control.outliers.take([("10.0.0.1:1", REPORT_HTTP_CODE, 500), ("gone", REPORT_HTTP_CODE, 500)])
    assert world.host(1).has_flag(FAILED_OUTLIER_CHECK)
    assert world.gauges()[1] == 1
    world.control.stop()


def test_rows_for_limits_per_host() -> None:
    arena = SharedArena(2)
    world = World(endpoint(1), endpoint(2), arena=arena, per_host_max_connections=5)
    rows = [spec.limit_row for spec in world.updates[-1].hosts]
    assert len(set(rows)) == 2 and min(rows) >= 0
    world.control.set_hosts([world.host(1)])
    # The row of the host that went away is free again, once nothing is counted in it.
    arena.cells[max(rows) * 2] = 1
    arena.sweep()
    arena.cells[max(rows) * 2] = 0
    arena.sweep()
    world.control.set_hosts([world.host(1), host_for(world.control, ip_address("10.0.0.1", 9), endpoint(9))])
    assert {spec.limit_row for spec in world.updates[-1].hosts} == set(rows)
