"""Makes the load balancer that a cluster is configured to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.stats.store import Scope
from outrider.upstream.config.lb_policy import LEAST_REQUEST, MAGLEV, RANDOM, RING_HASH, LbPolicy
from outrider.upstream.load_balancer.base import LoadBalancer, PriorityLoadBalancer, RandomSource
from outrider.upstream.load_balancer.least_request import LeastRequestLoadBalancer
from outrider.upstream.load_balancer.maglev import MaglevLoadBalancer
from outrider.upstream.load_balancer.maker import BalancerMaker
from outrider.upstream.load_balancer.random import RandomLoadBalancer
from outrider.upstream.load_balancer.ring_hash import RingHashLoadBalancer
from outrider.upstream.load_balancer.round_robin import RoundRobinLoadBalancer
from outrider.upstream.load_balancer.subset import SubsetLoadBalancer
from outrider.upstream.load_balancer.zone_aware import ZoneAware
from outrider.upstream.priority_set import PrioritySet

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.event.timer import WheelClock
    from outrider.upstream.cluster_stats import ClusterStats


class PolicyMaker(BalancerMaker):
    """Makes balancers of one policy for one cluster."""

    def __init__(
        self,
        policy: LbPolicy,
        stats: ClusterStats,
        scope: Scope,
        runtime: Runtime,
        random: RandomSource,
        clock: WheelClock,
        local: PrioritySet | None,
    ) -> None:
        self.policy = policy
        self.stats = stats
        self.scope = scope
        self.runtime = runtime
        self.random = random
        self.clock = clock
        # The hosts of the cluster that this proxy belongs to, for zone-aware routing.
        self.local = local

    def make(self, priorities: PrioritySet) -> LoadBalancer:
        policy = self.policy
        common = policy.common
        if policy.kind == RING_HASH:
            ring = RingHashLoadBalancer(
                priorities, self.stats, common, self.runtime, self.random, policy.hash_hostname
            )
            ring.configure(policy.murmur, policy.min_ring, policy.max_ring, self.scope)
            ring.balance_factor = policy.balance_factor
            ring.start()
            return ring
        if policy.kind == MAGLEV:
            maglev = MaglevLoadBalancer(priorities, self.stats, common, self.runtime, self.random, policy.hash_hostname)
            maglev.configure(policy.table_size, self.scope)
            maglev.balance_factor = policy.balance_factor
            maglev.start()
            return maglev
        balancer = self._plain(priorities)
        if common.zone_aware and self.local is not None:
            balancer.zone_aware = ZoneAware(
                priorities, self.local, self.stats, common, self.runtime, self.random
            )
        balancer.start()
        return balancer

    def _plain(self, priorities: PrioritySet) -> PriorityLoadBalancer:
        policy = self.policy
        common = policy.common
        if policy.kind == RANDOM:
            return RandomLoadBalancer(priorities, self.stats, common, self.runtime, self.random)
        if policy.kind == LEAST_REQUEST:
            return LeastRequestLoadBalancer(
                priorities, self.stats, common, self.runtime, self.random, self.clock, policy.slow_start,
                policy.choices, policy.bias, policy.full_scan, policy.bias_key,
            )
        return RoundRobinLoadBalancer(
            priorities, self.stats, common, self.runtime, self.random, self.clock, policy.slow_start
        )


def make_load_balancer(
    policy: LbPolicy,
    priorities: PrioritySet,
    stats: ClusterStats,
    scope: Scope,
    runtime: Runtime,
    random: RandomSource,
    clock: WheelClock,
    local: PrioritySet | None = None,
) -> LoadBalancer:
    """The cluster's balancer over `priorities`; `local`: see PolicyMaker."""
    maker = PolicyMaker(policy, stats, scope, runtime, random, clock, local)
    if policy.subset is not None:
        scope.gauge("lb_subsets_single_host_per_subset_duplicate", False)
        return SubsetLoadBalancer(priorities, stats, policy.subset, maker)
    return maker.make(priorities)
