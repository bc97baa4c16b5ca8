"""Policies that schedule by weight when weights differ: slow start, and the choice between EDF and a plain pick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.upstream.host import HEALTHY, Host
from outrider.upstream.load_balancer.base import CommonLbSettings, HostSource, PriorityLoadBalancer, RandomSource
from outrider.upstream.load_balancer.edf import EdfScheduler
from outrider.upstream.priority_set import PrioritySet

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.event.timer import WheelClock
    from outrider.upstream.cluster_stats import ClusterStats
    from outrider.upstream.load_balancer_context import LoadBalancerContext

# No weight may be so small that its deadline is out of reach.
_MIN_WEIGHT: Final = 1e-6


class SlowStart:
    """`SlowStartConfig`: a host's weight grows during the first `window_ms` after it appeared or turned healthy."""

    __slots__ = ("window_ms", "aggression", "aggression_default", "aggression_key", "min_percent")

    def __init__(self, window_ms: int, aggression: float = 1.0, min_percent: float = 10.0) -> None:
        self.window_ms = window_ms
        self.aggression = aggression
        self.aggression_default = aggression
        # Runtime key that overrides the default; empty = none.
        self.aggression_key = ""
        self.min_percent = min_percent

    def factor(self, age_ms: int) -> float:
        """Share of the full weight at that age."""
        if age_ms >= self.window_ms:
            return 1.0
        time_factor = max(age_ms, 1) / self.window_ms
        grown = time_factor if self.aggression == 1.0 else time_factor ** (1.0 / self.aggression)
        return max(grown, self.min_percent / 100.0)


@mypyc_attr(allow_interpreted_subclasses=True)
class WeightedLoadBalancer(PriorityLoadBalancer):
    """Envoy's EdfLoadBalancerBase."""

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
        super().__init__(priorities, stats, settings, runtime, random)
        self.clock = clock
        self.slow_start = slow_start
        # Sources of which the weights differ (or whose hosts are in slow start): by kind, priority and locality.
        self._schedulers: dict[int, EdfScheduler] = {}
        self._seed: int = random.below(1 << 30)

    def refresh(self, priority: int) -> None:
        slow_start = self.slow_start
        if slow_start is not None and slow_start.aggression_key:
            given = self.runtime.get_number(slow_start.aggression_key, slow_start.aggression_default)
            slow_start.aggression = max(given, _MIN_WEIGHT)
        super().refresh(priority)

    def refresh_source(self, source: HostSource) -> None:
        key = source_key(source)
        self._schedulers.pop(key, None)
        self.reset_source(key)
        hosts = source.hosts
        if len(hosts) <= 1 or (not weights_differ(hosts) and not self._any_in_slow_start(hosts)):
            return
        scheduler = EdfScheduler()
        # A random place in the cycle to begin at, so that many proxies do not begin with the same host.
        for host in hosts:
            scheduler.add(host, self.effective_weight(host))
        for _ in range(self._seed % len(hosts)):
            picked = scheduler.pick()
            if picked is not None:
                scheduler.add(picked, self.effective_weight(picked))
        self._schedulers[key] = scheduler

    def _any_in_slow_start(self, hosts: list[Host]) -> bool:
        slow_start = self.slow_start
        if slow_start is None:
            return False
        now = self.clock.now_ms()
        for host in hosts:
            if host.health == HEALTHY and now - host.last_healthy_ms < slow_start.window_ms:
                return True
        return False

    def pick(self, source: HostSource, context: LoadBalancerContext | None) -> Host | None:
        if self._schedulers:
            scheduler = self._schedulers.get(source_key(source))
            if scheduler is not None:
                host = scheduler.pick()
                if host is not None:
                    scheduler.add(host, self.effective_weight(host))
                return host
        hosts = source.hosts
        if not hosts:
            return None
        if len(hosts) == 1:
            return hosts[0]
        return self.pick_unweighted(source, context)

    def effective_weight(self, host: Host) -> float:
        """The policy's weight, reduced while the host is in slow start."""
        weight = self.host_weight(host)
        slow_start = self.slow_start
        if slow_start is not None and host.health == HEALTHY:
            weight *= slow_start.factor(self.clock.now_ms() - host.last_healthy_ms)
        return weight if weight > _MIN_WEIGHT else _MIN_WEIGHT

    def host_weight(self, host: Host) -> float:
        return float(host.weight)

    def reset_source(self, key: int) -> None:
        """Forget what was remembered of a source."""

    def pick_unweighted(self, source: HostSource, context: LoadBalancerContext | None) -> Host:
        """Pick among two or more hosts of equal weight."""
        raise NotImplementedError


def source_key(source: HostSource) -> int:
    return (source.locality << 16) | (source.priority << 3) | source.kind


def weights_differ(hosts: list[Host]) -> bool:
    first = hosts[0].weight
    for host in hosts:
        if host.weight != first:
            return True
    return False
