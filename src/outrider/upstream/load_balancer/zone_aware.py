"""Zone-aware routing: keep traffic in the local zone as far as capacity there allows.

Source: Envoy documentation, "Zone aware routing". Percentages are held in ten-thousandths. Only priority 0 is routed.
"""

from __future__ import annotations

import random as _random
from typing import TYPE_CHECKING, Final

from outrider.upstream.load_balancer.base import CommonLbSettings, RandomSource
from outrider.upstream.priority_load import host_set_in_panic
from outrider.upstream.priority_set import HostSet, PrioritySet

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.upstream.cluster_stats import ClusterStats

NO_ROUTING: Final = 0
DIRECT: Final = 1
RESIDUAL: Final = 2
_SCALE: Final = 10_000
_ENABLED_KEY: Final = "upstream.zone_routing.enabled"
_MIN_SIZE_KEY: Final = "upstream.zone_routing.min_cluster_size"
_PANIC_KEY: Final = "upstream.healthy_panic_threshold"


class ZoneAware:
    """The state of priority 0: whether and how to route by locality."""

    __slots__ = ("priorities", "local", "stats", "settings", "runtime", "random", "state", "local_percent", "residual")

    def __init__(
        self,
        priorities: PrioritySet,
        local: PrioritySet,
        stats: ClusterStats,
        settings: CommonLbSettings,
        runtime: Runtime,
        random: RandomSource,
    ) -> None:
        self.priorities = priorities
        self.local = local
        self.stats = stats
        self.settings = settings
        self.runtime = runtime
        self.random = random
        self.state: int = NO_ROUTING
        # Share of requests that stay in the local zone.
        self.local_percent: int = 0
        # Running sums of the capacity that other zones have to spare.
        self.residual: list[int] = []

    def routes(self, priority: int) -> bool:
        return priority == 0 and self.state != NO_ROUTING

    def enabled_now(self) -> bool:
        """The share of requests that is routed by zone at all."""
        percent = self.runtime.get_number(_ENABLED_KEY, self.settings.zone_routing_percent)
        return percent >= 100 or _random.random() * 100 < percent

    def local_cluster_in_panic(self) -> bool:
        threshold = self.runtime.get_integer(_PANIC_KEY, self.settings.panic_threshold)
        return host_set_in_panic(self.local.sets[0], min(100, threshold))

    def recalculate(self) -> None:
        """Hosts of the cluster or of the local cluster have changed."""
        self.stats.lb_recalculate_zone_structures.inc()
        self.state = NO_ROUTING
        here = self.priorities.sets[0]
        local = self.local.sets[0]
        if self._too_little(here, local):
            return
        upstream = _shares(here, self.settings.zone_by_healthy_hosts_weight)
        own = _shares(local, self.settings.zone_by_healthy_hosts_weight)
        # Localities of the cluster, beside the local cluster's share in the same locality.
        local_share = {locality.key: own[index] for index, locality in enumerate(local.localities)}
        mine = local_share.get(here.localities[0].key, 0)
        if mine and upstream[0] >= mine:
            self.state = DIRECT
            return
        if self.settings.force_local_zone and len(here.healthy_per_locality[0]) >= max(
            1, self.settings.force_local_zone_min_size
        ):
            self.state = DIRECT
            return
        self.state = RESIDUAL
        self.local_percent = upstream[0] * _SCALE // mine if mine else 0
        self.residual = [0]
        total = 0
        for index in range(1, len(upstream)):
            spare = upstream[index] - local_share.get(here.localities[index].key, 0)
            if spare > 0:
                total += spare
            self.residual.append(total)

    def _too_little(self, here: HostSet, local: HostSet) -> bool:
        """Reasons not to route by zone at all."""
        if len(here.per_locality) < 2 or not here.has_local_locality or not local.has_local_locality:
            return True
        if not here.healthy_per_locality[0]:
            return True
        minimum = self.runtime.get_integer(_MIN_SIZE_KEY, self.settings.zone_min_cluster_size)
        if len(here.healthy) < minimum:
            self.stats.lb_zone_cluster_too_small.inc()
            return True
        return False

    def choose_locality(self, priority: int) -> int:
        """Index of the locality for one request."""
        if self.state == DIRECT:
            self.stats.lb_zone_routing_all_directly.inc()
            return 0
        if self.random.below(_SCALE) < self.local_percent:
            self.stats.lb_zone_routing_sampled.inc()
            return 0
        self.stats.lb_zone_routing_cross_zone.inc()
        residual = self.residual
        total = residual[-1]
        if total == 0:
            # Nowhere is anything to spare: any locality.
            self.stats.lb_zone_no_capacity_left.inc()
            return self.random.below(len(residual))
        threshold = self.random.below(total)
        for index, reached in enumerate(residual):
            if threshold < reached:
                return index
        return 0


def _shares(host_set: HostSet, by_weight: bool) -> list[int]:
    """Each locality's share of the healthy hosts (or of their weight)."""
    if by_weight:
        parts = [sum([host.weight for host in hosts]) for hosts in host_set.healthy_per_locality]
    else:
        parts = [len(hosts) for hosts in host_set.healthy_per_locality]
    total = sum(parts)
    return [_SCALE * part // total if total else 0 for part in parts]
