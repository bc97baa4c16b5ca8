"""Zone-aware routing as in Envoy's manual: local first, the rest by what other zones can spare."""

from __future__ import annotations

from collections import Counter

from outrider.config.runtime import NO_RUNTIME
from outrider.stats.store import Store
from outrider.upstream.cluster_stats import ClusterStats
from outrider.upstream.host import Host, Locality
from outrider.upstream.load_balancer.base import CommonLbSettings, RandomSource
from outrider.upstream.load_balancer.round_robin import RoundRobinLoadBalancer
from outrider.upstream.load_balancer.zone_aware import DIRECT, NO_ROUTING, RESIDUAL, ZoneAware
from outrider.upstream.priority_set import PrioritySet
from tests.upstream.fakes import FakeClock, make_host, make_info

INFO = make_info()
HERE = Locality("", "a", "")


def zones(**counts: int) -> PrioritySet:
    priorities = PrioritySet()
    hosts: list[Host] = []
    for zone, count in counts.items():
        for _ in range(count):
            hosts.append(make_host(len(hosts) + 1, INFO, zone=zone))
    priorities.update(0, hosts, {}, HERE)
    return priorities


def router(upstream: PrioritySet, local: PrioritySet, minimum: int = 1) -> tuple[RoundRobinLoadBalancer, ZoneAware]:
    stats = ClusterStats(Store())
    settings = CommonLbSettings()
    settings.zone_aware = True
    settings.zone_min_cluster_size = minimum
    random = RandomSource()
    balancer = RoundRobinLoadBalancer(upstream, stats, settings, NO_RUNTIME, random, FakeClock(), None)
    zone_aware = ZoneAware(upstream, local, stats, settings, NO_RUNTIME, random)
    balancer.zone_aware = zone_aware
    balancer.start()
    return balancer, zone_aware


def spread(balancer: RoundRobinLoadBalancer, count: int) -> Counter[str]:
    picked: Counter[str] = Counter()
    for _ in range(count):
        host = balancer.choose_host(None)
        assert host is not None
        picked[host.locality.zone] += 1
    return picked


def test_all_stays_local_when_there_is_room() -> None:
    balancer, zone_aware = router(zones(a=3, b=3), zones(a=2, b=2))
    assert zone_aware.state == DIRECT
    assert spread(balancer, 50) == {"a": 50}
    assert zone_aware.stats.lb_zone_routing_all_directly.value == 50


def test_what_does_not_fit_goes_where_there_is_room() -> None:
    # Half of the proxies are here, a quarter of the capacity is.
    balancer, zone_aware = router(zones(a=1, b=2, c=1), zones(a=2, b=1, c=1))
    assert zone_aware.state == RESIDUAL
    assert zone_aware.local_percent == 5000
    picked = spread(balancer, 3000)
    assert 1350 < picked["a"] < 1650
    # c has no more than its own proxies need.
    assert picked["c"] == 0
    stats = zone_aware.stats
    assert stats.lb_zone_routing_sampled.value + stats.lb_zone_routing_cross_zone.value == 3000


def test_too_small_a_cluster() -> None:
    balancer, zone_aware = router(zones(a=1, b=1), zones(a=1, b=1), minimum=6)
    assert zone_aware.state == NO_ROUTING
    assert zone_aware.stats.lb_zone_cluster_too_small.value == 1
    assert spread(balancer, 10) == {"a": 5, "b": 5}


def test_no_host_here() -> None:
    _, zone_aware = router(zones(b=2, c=2), zones(a=1, b=1))
    assert zone_aware.state == NO_ROUTING


def test_force_local_zone() -> None:
    upstream, local = zones(a=1, b=3), zones(a=3, b=1)
    balancer, zone_aware = router(upstream, local)
    assert zone_aware.state == RESIDUAL
    zone_aware.settings.force_local_zone = True
    balancer.refresh(0)
    assert zone_aware.state == DIRECT


def test_local_cluster_in_panic() -> None:
    local = zones(a=1, b=1)
    balancer, zone_aware = router(zones(a=3, b=3), local)
    for host in local.all_hosts():
        host.set_health_flags(4)
    local.refresh_health(0)
    assert set(spread(balancer, 12)) == {"a", "b"}
    assert zone_aware.stats.lb_local_cluster_not_ok.value == 12
