"""What all load balancers share: random numbers, the retry loop, priorities, panic, locality weights and zones."""

from __future__ import annotations

import random as _random
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.upstream.host import Host
from outrider.upstream.load_balancer.edf import LocalityScheduler
from outrider.upstream.priority_load import DEFAULT_PANIC_THRESHOLD, PriorityLoad, compute
from outrider.upstream.priority_set import HostSet, PrioritySet

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.upstream.cluster_stats import ClusterStats
    from outrider.upstream.load_balancer.zone_aware import ZoneAware
    from outrider.upstream.load_balancer_context import LoadBalancerContext

# Where the hosts for one choice come from.
ALL_HOSTS: Final = 0
HEALTHY_HOSTS: Final = 1
DEGRADED_HOSTS: Final = 2
LOCALITY_HEALTHY_HOSTS: Final = 3
LOCALITY_DEGRADED_HOSTS: Final = 4

PANIC_RUNTIME_KEY: Final = "upstream.healthy_panic_threshold"


@mypyc_attr(allow_interpreted_subclasses=True)
class RandomSource:
    """Random numbers; tests give their own."""

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1."""
        return int(_random.random() * limit)

    def bits64(self) -> int:
        return _random.getrandbits(64)


RANDOM: Final = RandomSource()


@mypyc_attr(allow_interpreted_subclasses=True)
class LoadBalancer:
    """Chooses hosts. One per cluster and worker."""

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        """A host, None when there is none to choose."""
        raise NotImplementedError

    def refresh(self, priority: int) -> None:
        """Hosts or health of a priority have changed."""
        raise NotImplementedError


class HostSource:
    """The hosts of one choice and their identity: index into the schedulers."""

    __slots__ = ("kind", "priority", "locality", "hosts")

    def __init__(self, kind: int, priority: int, locality: int, hosts: list[Host]) -> None:
        self.kind = kind
        self.priority = priority
        self.locality = locality
        self.hosts = hosts


class CommonLbSettings:
    """`common_lb_config` and what the policies' `locality_lb_config` say in its place."""

    __slots__ = (
        "panic_threshold",
        "locality_weighted",
        "zone_aware",
        "zone_routing_percent",
        "zone_min_cluster_size",
        "fail_traffic_on_panic",
        "force_local_zone",
        "force_local_zone_min_size",
        "zone_by_healthy_hosts_weight",
    )

    def __init__(self) -> None:
        # Per cent; 0 = never panic.
        self.panic_threshold: int = DEFAULT_PANIC_THRESHOLD
        self.locality_weighted: bool = False
        self.zone_aware: bool = False
        self.zone_routing_percent: float = 100.0
        self.zone_min_cluster_size: int = 6
        self.fail_traffic_on_panic: bool = False
        self.force_local_zone: bool = False
        self.force_local_zone_min_size: int = 1
        # `locality_basis: HEALTHY_HOSTS_WEIGHT`
        self.zone_by_healthy_hosts_weight: bool = False


@mypyc_attr(allow_interpreted_subclasses=True)
class PriorityLoadBalancer(LoadBalancer):
    """Chooses priority and locality; the policy picks among the hosts of that source."""

    def __init__(
        self,
        priorities: PrioritySet,
        stats: ClusterStats,
        settings: CommonLbSettings,
        runtime: Runtime,
        random: RandomSource,
    ) -> None:
        self.priorities = priorities
        self.stats = stats
        self.settings = settings
        self.runtime = runtime
        self.random = random
        self.zone_aware: ZoneAware | None = None
        self.load: PriorityLoad = PriorityLoad(1)
        # By priority; None without locality weights.
        self._healthy_localities: list[LocalityScheduler | None] = []
        self._degraded_localities: list[LocalityScheduler | None] = []
        # Sources by priority: [all, healthy, degraded], then those by locality.
        self._sources: list[list[HostSource]] = []
        self._healthy_locality_sources: list[list[HostSource]] = []
        self._degraded_locality_sources: list[list[HostSource]] = []
        # Set while every choice ends in the same source: one priority, no panic, no localities, nothing degraded.
        self._only: HostSource | None = None

    def start(self) -> None:
        """Build everything for the hosts that exist; to be called once by the maker."""
        for priority in range(len(self.priorities.sets)):
            self._rebuild(priority)
        self._recalculate()

    def refresh(self, priority: int) -> None:
        self._rebuild(priority)
        self._recalculate()

    def panic_threshold(self) -> int:
        return min(100, self.runtime.get_integer(PANIC_RUNTIME_KEY, self.settings.panic_threshold))

    def _rebuild(self, priority: int) -> None:
        sets = self.priorities.sets
        while len(self._sources) < len(sets):
            self._sources.append([])
            self._healthy_locality_sources.append([])
            self._degraded_locality_sources.append([])
            self._healthy_localities.append(None)
            self._degraded_localities.append(None)
        host_set = sets[priority]
        self._sources[priority] = [
            HostSource(ALL_HOSTS, priority, 0, host_set.hosts),
            HostSource(HEALTHY_HOSTS, priority, 0, host_set.healthy),
            HostSource(DEGRADED_HOSTS, priority, 0, host_set.degraded),
        ]
        self._healthy_locality_sources[priority] = [
            HostSource(LOCALITY_HEALTHY_HOSTS, priority, index, hosts)
            for index, hosts in enumerate(host_set.healthy_per_locality)
        ]
        self._degraded_locality_sources[priority] = [
            HostSource(LOCALITY_DEGRADED_HOSTS, priority, index, hosts)
            for index, hosts in enumerate(host_set.degraded_per_locality)
        ]
        if self.settings.locality_weighted:
            self._healthy_localities[priority] = _locality_scheduler(host_set, host_set.healthy_per_locality)
            self._degraded_localities[priority] = _locality_scheduler(host_set, host_set.degraded_per_locality)
        for source in self._sources[priority]:
            self.refresh_source(source)
        if self.settings.locality_weighted or self.settings.zone_aware:
            for source in self._healthy_locality_sources[priority]:
                self.refresh_source(source)
            for source in self._degraded_locality_sources[priority]:
                self.refresh_source(source)

    def _recalculate(self) -> None:
        self.load = compute(self.priorities, self.panic_threshold())
        if self.zone_aware is not None:
            self.zone_aware.recalculate()
        load = self.load
        self._only = None
        if (
            len(self._sources) == 1
            and load.healthy[0] == 100
            and not load.panic[0]
            and self._healthy_localities[0] is None
            and (self.zone_aware is None or not self.zone_aware.routes(0))
        ):
            self._only = self._sources[0][1]

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        if context is None:
            source = self.choose_source(None)
            return None if source is None else self.pick(source, None)
        attempts = context.host_selection_retry_count() + 1
        host: Host | None = None
        while attempts > 0:
            attempts -= 1
            source = self.choose_source(context)
            host = None if source is None else self.pick(source, context)
            if host is None or not context.should_select_another_host(host):
                return host
        # Nothing better was found: the last one.
        return host

    def choose_source(self, context: LoadBalancerContext | None) -> HostSource | None:
        """The hosts to pick from, None when none may be used (`fail_traffic_on_panic`)."""
        only = self._only
        if only is not None:
            return only
        load = self.load
        if context is not None and len(load.healthy) > 1:
            load = context.determine_priority_load(load)
        chosen = load.choose(self.random.below(100))
        degraded = chosen < 0
        priority = -1 - chosen if degraded else chosen
        sources = self._sources[priority]
        if self.load.panic[priority]:
            self.stats.lb_healthy_panic.inc()
            return None if self.settings.fail_traffic_on_panic else sources[ALL_HOSTS]
        localities = self._degraded_localities[priority] if degraded else self._healthy_localities[priority]
        if localities is not None:
            index = localities.pick()
            if index >= 0:
                if degraded:
                    return self._degraded_locality_sources[priority][index]
                return self._healthy_locality_sources[priority][index]
        source = sources[DEGRADED_HOSTS if degraded else HEALTHY_HOSTS]
        if self.zone_aware is not None and self.zone_aware.routes(priority):
            return self._choose_zone(self.zone_aware, priority, degraded, source)
        return source

    def _choose_zone(
        self, zone_aware: ZoneAware, priority: int, degraded: bool, source: HostSource
    ) -> HostSource | None:
        if not zone_aware.enabled_now():
            return source
        if zone_aware.local_cluster_in_panic():
            self.stats.lb_local_cluster_not_ok.inc()
            return None if self.settings.fail_traffic_on_panic else source
        index = zone_aware.choose_locality(priority)
        if degraded:
            return self._degraded_locality_sources[priority][index]
        return self._healthy_locality_sources[priority][index]

    def refresh_source(self, source: HostSource) -> None:
        """The hosts of a source are new: prepare for picking from them."""

    def pick(self, source: HostSource, context: LoadBalancerContext | None) -> Host | None:
        """The policy's choice among `source.hosts`."""
        raise NotImplementedError


def _locality_scheduler(host_set: HostSet, eligible: list[list[Host]]) -> LocalityScheduler | None:
    """Over the localities' effective weights; None when there are no weights or no eligible hosts."""
    if not any(host_set.locality_weights) or not any(eligible):
        return None
    weights: list[float] = []
    for index, hosts in enumerate(eligible):
        count = len(host_set.per_locality[index]) - len(host_set.excluded_per_locality[index])
        if count <= 0:
            weights.append(0.0)
            continue
        available = host_set.overprovisioning_factor / 100.0 * len(hosts) / count
        weights.append(host_set.locality_weights[index] * min(1.0, available))
    return LocalityScheduler(weights)
