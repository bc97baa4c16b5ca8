"""Outlier detection: counts, ejections, returns; time moved by hand."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.runtime import NO_RUNTIME, Runtime, make_entry
from outrider.data.address import ip_address
from outrider.stats.store import Store
from outrider.upstream.config.outlier import OutlierConfig
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.outlier_detector import OutlierDetector, ejection_threshold
from outrider.upstream.control.outlier_stats import (
    CONSECUTIVE_5XX,
    CONSECUTIVE_GATEWAY_FAILURE,
    CONSECUTIVE_LOCAL_ORIGIN_FAILURE,
    FAILURE_PERCENTAGE,
    SUCCESS_RATE,
)
from outrider.upstream.host import (
    EXT_ORIGIN_REQUEST_FAILED,
    FAILED_OUTLIER_CHECK,
    LOCAL_ORIGIN_CONNECT_FAILED,
    LOCAL_ORIGIN_CONNECT_SUCCESS_FINAL,
    LOCAL_ORIGIN_TIMEOUT,
)
from outrider.upstream.outlier_reporter import REPORT_HTTP_CODE
from tests.upstream.fakes import FakeDispatcher, make_info


class Control:
    """What the detector asks of its ClusterControl."""

    def __init__(self, store: Store) -> None:
        self.info = make_info(store=store)
        self.changes: list[tuple[str, bool, bool]] = []

    def on_health_changed(self, host: ControlHost, failed: bool = False) -> None:
        self.changes.append((host.key, host.has_flag(FAILED_OUTLIER_CHECK), failed))


class Context:
    def __init__(self, dispatcher: FakeDispatcher, runtime: Runtime) -> None:
        self.dispatcher = dispatcher
        self.runtime = runtime
        self.access_log_manager = None


class World:
    def __init__(self, hosts: int = 2, runtime: Runtime = NO_RUNTIME, chance: float = 0.0, **settings: Any) -> None:
        config = OutlierConfig()
        config.max_ejection_percent = 100
        for name, value in settings.items():
            setattr(config, name, value)
        self.dispatcher = FakeDispatcher()
        self.store = Store()
        self.control = Control(self.store)
        context: Any = Context(self.dispatcher, runtime)
        control: Any = self.control
        self.detector = OutlierDetector(control, config, context, lambda: chance)
        self.hosts = [ControlHost(f"h{index}", ip_address("10.0.0.1", index + 1)) for index in range(hosts)]
        self.detector.on_hosts(self.hosts, [])

    def codes(self, host: int, *codes: int) -> None:
        self.detector.take([(f"h{host}", REPORT_HTTP_CODE, code) for code in codes])

    def result(self, host: int, result: int, code: int = 0) -> None:
        self.detector.take([(f"h{host}", result, code)])

    def ejected(self) -> list[int]:
        return [index for index, host in enumerate(self.hosts) if host.has_flag(FAILED_OUTLIER_CHECK)]

    def interval(self) -> None:
        self.detector.on_interval(self.dispatcher.clock.now)


def test_consecutive_5xx() -> None:
    world = World()
    world.codes(0, 500, 501, 502, 503)
    assert world.ejected() == []
    world.codes(0, 599)
    assert world.ejected() == [0]
    stats = world.detector.stats
    assert stats.detected[CONSECUTIVE_5XX].value == stats.enforced[CONSECUTIVE_5XX].value == 1
    assert (stats.ejections_active.value, stats.ejections_total.value) == (1, 1)
    assert stats.ejections_enforced_total.value == 1
    assert world.control.changes == [("h0", True, True)]


def test_a_success_starts_the_count_anew() -> None:
    world = World()
    world.codes(0, 500, 500, 500, 500, 200, 500, 500, 500, 500)
    assert world.ejected() == []


def test_hosts_are_counted_apart() -> None:
    world = World()
    for _ in range(4):
        world.codes(0, 500)
        world.codes(1, 500)
    assert world.ejected() == []


def test_gateway_failures_only_detected_by_default() -> None:
    world = World(consecutive_5xx=100)
    world.codes(0, 502, 503, 504, 502, 503)
    assert world.ejected() == []
    assert world.detector.stats.detected[CONSECUTIVE_GATEWAY_FAILURE].value == 1
    world.codes(0, 500)
    enforcing = World(consecutive_5xx=100, enforcing_consecutive_gateway_failure=100)
    enforcing.codes(0, 502, 503, 504, 502)
    enforcing.codes(0, 500)
    enforcing.codes(0, 502, 503, 504, 502)
    assert enforcing.ejected() == []
    enforcing.codes(0, 502)
    assert enforcing.ejected() == [0]


def test_local_failures_count_as_responses_unless_split() -> None:
    world = World(consecutive_5xx=2)
    world.result(0, LOCAL_ORIGIN_CONNECT_FAILED)
    world.result(0, LOCAL_ORIGIN_TIMEOUT)
    assert world.ejected() == [0]


def test_split() -> None:
    world = World(consecutive_5xx=2, split_external_local=True, consecutive_local_origin_failure=3)
    world.result(0, LOCAL_ORIGIN_CONNECT_FAILED)
    world.result(0, LOCAL_ORIGIN_CONNECT_FAILED)
    world.result(0, LOCAL_ORIGIN_CONNECT_SUCCESS_FINAL)
    world.result(0, LOCAL_ORIGIN_TIMEOUT)
    world.result(0, LOCAL_ORIGIN_TIMEOUT)
    assert world.ejected() == []
    world.result(0, LOCAL_ORIGIN_TIMEOUT)
    assert world.ejected() == [0]
    assert world.detector.stats.enforced[CONSECUTIVE_LOCAL_ORIGIN_FAILURE].value == 1
    world.result(1, EXT_ORIGIN_REQUEST_FAILED)
    world.result(1, EXT_ORIGIN_REQUEST_FAILED)
    assert world.ejected() == [0, 1]


def test_a_timeout_may_carry_its_own_code() -> None:
    world = World(consecutive_5xx=1)
    world.result(0, LOCAL_ORIGIN_TIMEOUT, 204)
    assert world.ejected() == []


def test_max_ejection_percent() -> None:
    world = World(hosts=10, consecutive_5xx=1, max_ejection_percent=25)
    for host in range(3):
        world.codes(host, 500)
    assert world.ejected() == [0, 1]
    assert world.detector.stats.ejections_overflow.value == 1


@pytest.mark.parametrize(("always", "ejected"), [(False, []), (True, [0])])
def test_one_host(always: bool, ejected: list[int]) -> None:
    world = World(hosts=1, consecutive_5xx=1, max_ejection_percent=10, always_eject_one_host=always)
    world.codes(0, 500)
    assert world.ejected() == ejected


def test_enforcing_percentage() -> None:
    world = World(consecutive_5xx=1, enforcing_consecutive_5xx=40, chance=0.5)
    world.codes(0, 500)
    assert world.ejected() == []
    assert world.detector.stats.detected[CONSECUTIVE_5XX].value == 1


def test_runtime_overrides() -> None:
    runtime = Runtime({"outlier_detection.consecutive_5xx": make_entry(2)})
    world = World(runtime=runtime)
    world.codes(0, 500, 500)
    assert world.ejected() == [0]


def test_ejection_time_grows_and_shrinks() -> None:
    world = World(consecutive_5xx=1, base_ejection_ms=1000, max_ejection_ms=2500)
    lengths = []
    for _ in range(4):
        world.codes(0, 500)
        start = world.dispatcher.clock.now
        while world.ejected():
            world.dispatcher.clock.now += 100
            world.interval()
        lengths.append(world.dispatcher.clock.now - start)
    assert lengths == [1000, 2000, 2500, 2500]
    for _ in range(10):
        world.interval()
    world.codes(0, 500)
    assert world.detector.records["h0"].backoff == 1


def test_active_health_success_brings_it_back() -> None:
    world = World(consecutive_5xx=1)
    world.codes(0, 500)
    world.detector.on_active_health_success(world.hosts[0])
    assert world.ejected() == []
    assert world.detector.stats.ejections_active.value == 0
    kept = World(consecutive_5xx=1, uneject_on_health_success=False)
    kept.codes(0, 500)
    kept.detector.on_active_health_success(kept.hosts[0])
    assert kept.ejected() == [0]


def test_success_rate() -> None:
    world = World(hosts=5, success_rate_request_volume=10, consecutive_5xx=1000)
    for host in range(5):
        world.codes(host, *([200] * 10))
    world.codes(4, *([500] * 10))
    world.interval()
    assert world.ejected() == [4]
    assert world.detector.stats.enforced[SUCCESS_RATE].value == 1
    rates = world.control.info.outlier_rates
    # Rates 100, 100, 100, 100, 50: mean 90, deviation 20.
    assert rates is not None
    assert rates[:2] == (90.0, 90.0 - 1.9 * 20.0)
    assert world.hosts[0].success_rate == 100.0
    world.interval()
    assert world.hosts[0].success_rate == -1.0


def test_success_rate_needs_hosts_and_volume() -> None:
    few = World(hosts=4, success_rate_request_volume=10, consecutive_5xx=1000)
    quiet = World(hosts=5, success_rate_request_volume=100, consecutive_5xx=1000)
    for world in (few, quiet):
        for host in range(len(world.hosts)):
            world.codes(host, *([200] * 20))
        world.codes(0, *([500] * 40))
        world.interval()
        assert world.ejected() == []


def test_failure_percentage() -> None:
    world = World(
        hosts=5,
        failure_percentage_request_volume=10,
        enforcing_failure_percentage=100,
        enforcing_success_rate=0,
        consecutive_5xx=1000,
    )
    for host in range(5):
        world.codes(host, *([200] * 10))
    world.codes(3, *([500] * 90))
    world.codes(4, *([500] * 40))
    world.interval()
    assert world.ejected() == [3]
    assert world.detector.stats.enforced[FAILURE_PERCENTAGE].value == 1


def test_removed_hosts_are_forgotten() -> None:
    world = World(consecutive_5xx=1)
    world.codes(0, 500)
    world.detector.on_hosts([], [world.hosts[0]])
    assert world.detector.stats.ejections_active.value == 0
    world.codes(0, 500)


def test_threshold() -> None:
    mean, threshold = ejection_threshold([100.0, 100.0, 70.0], 1.0)
    assert mean == 90.0
    assert threshold == pytest.approx(90.0 - 14.142, abs=0.001)
