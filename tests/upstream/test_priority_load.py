"""The tables of Envoy's manual ("Priority levels", "Degraded endpoints", "Panic threshold")."""

from __future__ import annotations

import pytest

from outrider.upstream.host import DEGRADED_EDS_HEALTH, FAILED_EDS_HEALTH, PENDING_ACTIVE_HC, Host
from outrider.upstream.priority_load import compute
from tests.upstream.fakes import make_host, make_info, make_priorities

INFO = make_info()


def level(healthy: int, total: int = 100, degraded: int = 0, base: int = 1) -> list[Host]:
    hosts = []
    for index in range(total):
        flags = 0 if index < healthy else DEGRADED_EDS_HEALTH if index < healthy + degraded else FAILED_EDS_HEALTH
        hosts.append(make_host(base + index, INFO, flags=flags))
    return hosts


@pytest.mark.parametrize(
    ("healthy", "loads"),
    [
        ([100, 100, 100], [100, 0, 0]),
        ([72, 72, 100], [100, 0, 0]),
        ([71, 71, 100], [99, 1, 0]),
        ([50, 50, 100], [70, 30, 0]),
        ([25, 100, 100], [35, 65, 0]),
        ([25, 25, 100], [35, 35, 30]),
    ],
)
def test_spill_over(healthy: list[int], loads: list[int]) -> None:
    load = compute(make_priorities(*[level(count) for count in healthy]), 50)
    assert load.healthy == loads
    assert not any(load.panic)


@pytest.mark.parametrize(
    ("healthy", "loads", "panic"),
    [
        # Normalized total health 100: nobody panics.
        ([72, 72], [100, 0], [False, False]),
        ([71, 71], [99, 1], [False, False]),
        ([25, 65], [35, 65], [False, False]),
        # Below: those under the threshold do.
        ([25, 25], [50, 50], [True, True]),
        ([5, 65], [8, 92], [True, False]),
    ],
)
def test_panic(healthy: list[int], loads: list[int], panic: list[bool]) -> None:
    load = compute(make_priorities(*[level(count) for count in healthy]), 50)
    assert load.healthy == loads
    assert load.panic == panic


def test_total_panic_goes_by_number_of_hosts() -> None:
    load = compute(make_priorities(level(0, 30), level(0, 10)), 50)
    assert load.panic == [True, True]
    assert load.healthy == [75, 25]


def test_no_panic_and_nothing_healthy_leaves_all_to_the_first() -> None:
    load = compute(make_priorities(level(0), level(0)), 0)
    assert load.healthy == [100, 0]
    assert load.panic == [False, False]


def test_no_hosts() -> None:
    assert compute(make_priorities([]), 50).healthy == [100]


def test_degraded_takes_what_healthy_cannot() -> None:
    load = compute(make_priorities(level(25, degraded=75)), 50)
    assert (load.healthy, load.degraded) == ([35], [65])


def test_degraded_of_the_first_before_healthy_of_none() -> None:
    load = compute(make_priorities(level(0, degraded=100), level(0, degraded=100)), 50)
    assert (load.healthy, load.degraded) == ([0, 0], [100, 0])


def test_healthy_of_a_lower_priority_before_degraded_of_a_higher() -> None:
    load = compute(make_priorities(level(0, degraded=100), level(100)), 50)
    assert (load.healthy, load.degraded) == ([0, 100], [0, 0])


def test_excluded_hosts_do_not_count() -> None:
    hosts = level(50)
    for host in hosts[50:]:
        host.set_health_flags(FAILED_EDS_HEALTH | PENDING_ACTIVE_HC)
    load = compute(make_priorities(hosts), 50)
    assert load.health == [100]


def test_weighted_health() -> None:
    hosts = level(1, 2)
    hosts[0].weight = 9
    priorities = make_priorities(hosts, level(100))
    priorities.sets[0].weighted_priority_health = True
    priorities.refresh_health(0)
    assert compute(priorities, 50).healthy == [100, 0]


def test_overprovisioning_factor() -> None:
    priorities = make_priorities(level(80), level(100))
    priorities.sets[0].overprovisioning_factor = 100
    assert compute(priorities, 50).healthy == [80, 20]


def test_choose_walks_the_shares() -> None:
    load = compute(make_priorities(level(25, degraded=25), level(0, degraded=100)), 50)
    assert load.healthy == [35, 0]
    assert load.degraded == [35, 30]
    assert [load.choose(roll) for roll in (0, 34, 35, 69, 70, 99)] == [0, 0, -1, -1, -2, -2]
