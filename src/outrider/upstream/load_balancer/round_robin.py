"""envoy.load_balancing_policies.round_robin"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.upstream.host import Host
from outrider.upstream.load_balancer.base import CommonLbSettings, HostSource, RandomSource
from outrider.upstream.load_balancer.weighted import SlowStart, WeightedLoadBalancer, source_key
from outrider.upstream.priority_set import PrioritySet

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.event.timer import WheelClock
    from outrider.upstream.cluster_stats import ClusterStats
    from outrider.upstream.load_balancer_context import LoadBalancerContext


class RoundRobinLoadBalancer(WeightedLoadBalancer):
    """One after the other, from a random start; by EDF when weights differ."""

    def __init__(
        self,
        priorities: PrioritySet,
        stats: ClusterStats,
        settings: CommonLbSettings,
        runtime: Runtime,
        random: RandomSource,
        clock: WheelClock,
        slow_start: SlowStart | None,
    ) -> None:
        super().__init__(priorities, stats, settings, runtime, random, clock, slow_start)
        self._positions: dict[int, int] = {}

    def reset_source(self, key: int) -> None:
        self._positions.setdefault(key, self._seed)

    def pick_unweighted(self, source: HostSource, context: LoadBalancerContext | None) -> Host:
        key = source_key(source)
        position = self._positions[key]
        self._positions[key] = position + 1
        hosts = source.hosts
        return hosts[position % len(hosts)]
