"""Policies that pick by weight, by load and by lot; panic, localities, retries, slow start."""

from __future__ import annotations

from collections import Counter

import pytest

from outrider.config.runtime import NO_RUNTIME, Runtime, make_entry
from outrider.stats.store import Store
from outrider.upstream.cluster_stats import ClusterStats
from outrider.upstream.host import DEGRADED_EDS_HEALTH, FAILED_EDS_HEALTH, Host, Locality
from outrider.upstream.load_balancer.base import CommonLbSettings, LoadBalancer, RandomSource
from outrider.upstream.load_balancer.least_request import LeastRequestLoadBalancer
from outrider.upstream.load_balancer.random import RandomLoadBalancer
from outrider.upstream.load_balancer.round_robin import RoundRobinLoadBalancer
from outrider.upstream.load_balancer.weighted import SlowStart
from outrider.upstream.load_balancer_context import LoadBalancerContext
from outrider.upstream.priority_load import PriorityLoad
from outrider.upstream.priority_set import PrioritySet
from tests.upstream.fakes import FakeClock, Rolls, make_host, make_info, make_priorities

STATS = ClusterStats(Store())
INFO = make_info()


def round_robin(
    priorities: PrioritySet,
    settings: CommonLbSettings | None = None,
    rolls: RandomSource | None = None,
    slow_start: SlowStart | None = None,
    clock: FakeClock | None = None,
    runtime: Runtime = NO_RUNTIME,
) -> RoundRobinLoadBalancer:
    balancer = RoundRobinLoadBalancer(
        priorities, STATS, settings or CommonLbSettings(), runtime, rolls or Rolls(0), clock or FakeClock(), slow_start
    )
    balancer.start()
    return balancer


def ports(balancer: LoadBalancer, count: int, context: LoadBalancerContext | None = None) -> list[int]:
    picked = []
    for _ in range(count):
        host = balancer.choose_host(context)
        assert host is not None
        picked.append(host.address.port)
    return picked


def hosts(*weights: int) -> list[Host]:
    return [make_host(index + 1, INFO, weight=weight) for index, weight in enumerate(weights)]


def test_round_robin_takes_turns() -> None:
    assert ports(round_robin(make_priorities(hosts(1, 1, 1))), 7) == [1, 2, 3, 1, 2, 3, 1]


def test_round_robin_begins_anywhere() -> None:
    assert ports(round_robin(make_priorities(hosts(1, 1, 1)), rolls=Rolls(2)), 4) == [3, 1, 2, 3]


def test_weights_are_exact_over_a_cycle() -> None:
    picked = ports(round_robin(make_priorities(hosts(3, 1))), 40)
    assert Counter(picked) == {1: 30, 2: 10}
    # Spread out, not in blocks.
    assert [1, 1, 1, 1, 1] not in [picked[start : start + 5] for start in range(36)]


def test_weights_without_common_measure() -> None:
    assert Counter(ports(round_robin(make_priorities(hosts(5, 3, 2))), 100)) == {1: 50, 2: 30, 3: 20}


def test_no_host() -> None:
    assert round_robin(make_priorities([])).choose_host(None) is None


def test_unhealthy_hosts_are_left_out() -> None:
    group = hosts(1, 1, 1)
    group[1].set_health_flags(FAILED_EDS_HEALTH)
    assert set(ports(round_robin(make_priorities(group)), 6)) == {1, 3}


def test_panic_uses_all_and_is_counted() -> None:
    group = hosts(1, 1, 1)
    for host in group[1:]:
        host.set_health_flags(FAILED_EDS_HEALTH)
    before = STATS.lb_healthy_panic.value
    assert set(ports(round_robin(make_priorities(group)), 6)) == {1, 2, 3}
    assert STATS.lb_healthy_panic.value == before + 6


def test_fail_traffic_on_panic() -> None:
    group = hosts(1)
    group[0].set_health_flags(FAILED_EDS_HEALTH)
    settings = CommonLbSettings()
    settings.fail_traffic_on_panic = True
    assert round_robin(make_priorities(group), settings).choose_host(None) is None


def test_panic_threshold_of_the_runtime() -> None:
    group = hosts(1, 1, 1, 1)
    for host in group[1:]:
        host.set_health_flags(FAILED_EDS_HEALTH)
    runtime = Runtime({"upstream.healthy_panic_threshold": make_entry(10)})
    assert set(ports(round_robin(make_priorities(group), runtime=runtime), 5)) == {1}


def test_degraded_only_when_chosen() -> None:
    group = hosts(1, 1)
    group[1].set_health_flags(DEGRADED_EDS_HEALTH)
    # 70 of 100 go to the healthy one.
    balancer = round_robin(make_priorities(group), rolls=Rolls(0, 0, 69, 70, 99))
    assert ports(balancer, 4) == [1, 1, 2, 2]


def test_health_changes_reach_the_balancer() -> None:
    group = hosts(1, 1, 1)
    priorities = make_priorities(group)
    balancer = round_robin(priorities)
    group[0].set_health_flags(FAILED_EDS_HEALTH)
    priorities.refresh_health(0)
    balancer.refresh(0)
    assert set(ports(balancer, 4)) == {2, 3}


class Picky(LoadBalancerContext):
    def __init__(self, refused: set[int], attempts: int) -> None:
        self.refused = refused
        self.attempts = attempts

    def host_selection_retry_count(self) -> int:
        return self.attempts

    def should_select_another_host(self, host: Host) -> bool:
        return host.address.port in self.refused


def test_refused_hosts_are_chosen_anew() -> None:
    balancer = round_robin(make_priorities(hosts(1, 1, 1)))
    assert ports(balancer, 3, Picky({1, 3}, 5)) == [2, 2, 2]


def test_the_last_is_taken_when_attempts_run_out() -> None:
    assert ports(round_robin(make_priorities(hosts(1, 1))), 1, Picky({1, 2}, 3)) == [2]


class OnlySecond(LoadBalancerContext):
    def determine_priority_load(self, load: PriorityLoad) -> PriorityLoad:
        other = PriorityLoad(2)
        other.healthy = [0, 100]
        return other


def test_a_request_may_change_the_priorities() -> None:
    priorities = make_priorities(hosts(1), [make_host(9, INFO)])
    balancer = round_robin(priorities)
    assert ports(balancer, 1) == [1]
    assert ports(balancer, 1, OnlySecond()) == [9]


def located(weights: dict[str, int], **zones: list[Host]) -> PrioritySet:
    priorities = PrioritySet()
    everyone = []
    for zone, group in zones.items():
        for host in group:
            host.locality = Locality("", zone, "")
        everyone.extend(group)
    priorities.update(0, everyone, {Locality("", zone, ""): weight for zone, weight in weights.items()})
    return priorities


def test_locality_weights() -> None:
    settings = CommonLbSettings()
    settings.locality_weighted = True
    priorities = located({"a": 1, "b": 3}, a=[make_host(1, INFO), make_host(2, INFO)], b=[make_host(3, INFO)])
    picked = Counter(ports(round_robin(priorities, settings), 80))
    assert picked[3] == 60
    assert picked[1] + picked[2] == 20


def test_an_unhealthy_locality_gets_less() -> None:
    settings = CommonLbSettings()
    settings.locality_weighted = True
    sick = [make_host(port, INFO, flags=FAILED_EDS_HEALTH if port > 5 else 0) for port in range(1, 11)]
    priorities = located({"a": 1, "b": 1}, a=sick, b=[make_host(port, INFO) for port in range(21, 31)])
    picked = Counter("a" if port < 20 else "b" for port in ports(round_robin(priorities, settings), 170))
    # Half of it is healthy: weight 0.7 against 1.
    assert picked == {"a": 70, "b": 100}


def test_slow_start_ramps_up() -> None:
    slow_start = SlowStart(1000)
    assert slow_start.factor(0) == pytest.approx(0.1)
    assert slow_start.factor(500) == pytest.approx(0.5)
    assert slow_start.factor(1000) == 1.0
    assert SlowStart(1000, aggression=2.0).factor(250) == pytest.approx(0.5)
    assert SlowStart(1000, min_percent=0).factor(0) == pytest.approx(0.001)


def test_a_new_host_gets_little_at_first() -> None:
    clock = FakeClock()
    old, new = hosts(1, 1)
    old.last_healthy_ms = clock.now - 10_000
    new.last_healthy_ms = clock.now - 100
    balancer = round_robin(make_priorities([old, new]), slow_start=SlowStart(1000), clock=clock)
    picked = Counter(ports(balancer, 110))
    assert picked[2] == pytest.approx(10, abs=1)


def least_request(priorities: PrioritySet, rolls: RandomSource, **options: float) -> LeastRequestLoadBalancer:
    balancer = LeastRequestLoadBalancer(
        priorities,
        STATS,
        CommonLbSettings(),
        NO_RUNTIME,
        rolls,
        FakeClock(),
        None,
        int(options.get("choices", 2)),
        options.get("bias", 1.0),
        bool(options.get("full_scan", False)),
    )
    balancer.start()
    return balancer


def test_least_request_takes_the_less_loaded_of_two() -> None:
    group = hosts(1, 1, 1)
    group[0].stats.rq_active.set(5)
    group[1].stats.rq_active.set(2)
    group[2].stats.rq_active.set(9)
    # The first roll is the seed.
    balancer = least_request(make_priorities(group), Rolls(0, 0, 1, 2, 0, 1, 2))
    assert ports(balancer, 3) == [2, 1, 2]


def test_least_request_full_scan() -> None:
    group = hosts(1, 1, 1)
    group[0].stats.rq_active.set(5)
    group[1].stats.rq_active.set(2)
    group[2].stats.rq_active.set(9)
    assert ports(least_request(make_priorities(group), Rolls(0), full_scan=1), 3) == [2, 2, 2]


def test_least_request_shrinks_weights_by_load() -> None:
    group = hosts(2, 1)
    group[0].stats.rq_active.set(3)
    # 2 / 4 against 1 / 1.
    assert Counter(ports(least_request(make_priorities(group), Rolls(0)), 30)) == {1: 10, 2: 20}


def test_least_request_bias_zero_is_plain_weights() -> None:
    group = hosts(2, 1)
    group[0].stats.rq_active.set(3)
    assert Counter(ports(least_request(make_priorities(group), Rolls(0), bias=0.0), 30)) == {1: 20, 2: 10}


def test_random_is_uniform_and_ignores_weights() -> None:
    balancer = RandomLoadBalancer(make_priorities(hosts(100, 1)), STATS, CommonLbSettings(), NO_RUNTIME, RandomSource())
    balancer.start()
    picked = Counter(ports(balancer, 2000))
    assert 800 < picked[1] < 1200


def test_random_source_is_in_range() -> None:
    source = RandomSource()
    assert {source.below(3) for _ in range(200)} == {0, 1, 2}
    assert 0 <= source.bits64() < 1 << 64
