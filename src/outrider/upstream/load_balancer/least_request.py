"""envoy.load_balancing_policies.least_request"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.upstream.host import Host
from outrider.upstream.load_balancer.base import CommonLbSettings, HostSource, RandomSource
from outrider.upstream.load_balancer.weighted import SlowStart, WeightedLoadBalancer
from outrider.upstream.priority_set import PrioritySet

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.event.timer import WheelClock
    from outrider.upstream.cluster_stats import ClusterStats
    from outrider.upstream.load_balancer_context import LoadBalancerContext


class LeastRequestLoadBalancer(WeightedLoadBalancer):
    """Equal weights: the least loaded of `choices` random hosts (or of all). Otherwise EDF, weights shrunk by load."""

    def __init__(
        self,
        priorities: PrioritySet,
        stats: ClusterStats,
        settings: CommonLbSettings,
        runtime: Runtime,
        random: RandomSource,
        clock: WheelClock,
        slow_start: SlowStart | None,
        choices: int = 2,
        bias: float = 1.0,
        full_scan: bool = False,
        bias_key: str = "",
    ) -> None:
        # Before the base class asks for weights.
        self.choices: int = choices
        # `active_request_bias`: 0 ignores the load where weights differ.
        self.bias: float = bias
        self.bias_default: float = bias
        # Runtime key that overrides the default; empty = none.
        self.bias_key: str = bias_key
        self.full_scan: bool = full_scan
        super().__init__(priorities, stats, settings, runtime, random, clock, slow_start)

    def refresh(self, priority: int) -> None:
        if self.bias_key:
            given = self.runtime.get_number(self.bias_key, self.bias_default)
            self.bias = given if given >= 0 else 1.0
        super().refresh(priority)

    def host_weight(self, host: Host) -> float:
        active = host.stats.rq_active.value
        if self.bias == 1.0:
            return host.weight / (active + 1)
        if self.bias == 0.0:
            return float(host.weight)
        return float(host.weight / (active + 1) ** self.bias)

    def pick_unweighted(self, source: HostSource, context: LoadBalancerContext | None) -> Host:
        hosts = source.hosts
        if self.full_scan:
            return self._pick_full_scan(hosts)
        count = len(hosts)
        random = self.random
        best = hosts[random.below(count)]
        least = best.stats.rq_active.value
        for _ in range(self.choices - 1):
            sampled = hosts[random.below(count)]
            active = sampled.stats.rq_active.value
            if active < least:
                best = sampled
                least = active
        return best

    def _pick_full_scan(self, hosts: list[Host]) -> Host:
        """The least loaded of all; a tie is decided by lot (reservoir sampling)."""
        best = hosts[0]
        least = best.stats.rq_active.value
        ties = 1
        for host in hosts[1:]:
            active = host.stats.rq_active.value
            if active < least:
                best = host
                least = active
                ties = 1
            elif active == least:
                ties += 1
                if self.random.below(ties) == 0:
                    best = host
        return best
