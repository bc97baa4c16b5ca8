"""Makes the load balancer that a cluster is configured to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.stats.store import Scope
from outrider.upstream.config.lb_policy import LEAST_REQUEST, MAGLEV, RANDOM, RING_HASH, LbPolicy
from outrider.upstream.load_balancer.base import LoadBalancer, PriorityLoadBalancer, RandomSource
from outrider.upstream.load_balancer.hashing import HashLoadBalancer
from outrider.upstream.load_balancer.least_request import LeastRequestLoadBalancer
from outrider.upstream.load_balancer.maglev import MaglevLoadBalancer
from outrider.upstream.load_balancer.random import RandomLoadBalancer
from outrider.upstream.load_balancer.ring_hash import RingHashLoadBalancer
from outrider.upstream.load_balancer.round_robin import RoundRobinLoadBalancer
from outrider.upstream.load_balancer.zone_aware import ZoneAware
from outrider.upstream.priority_set import PrioritySet

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.event.timer import WheelClock
    from outrider.upstream.cluster_stats import ClusterStats


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
    """`local` holds the hosts of the cluster that this proxy belongs to, for zone-aware routing."""
    common = policy.common
    balancer: PriorityLoadBalancer
    if policy.kind in (RING_HASH, MAGLEV):
        hashing: HashLoadBalancer
        if policy.kind == RING_HASH:
            hashing = RingHashLoadBalancer(priorities, stats, common, runtime, random, policy.hash_hostname)
            hashing.configure(policy.murmur, policy.min_ring, policy.max_ring, scope)
        else:
            hashing = MaglevLoadBalancer(priorities, stats, common, runtime, random, policy.hash_hostname)
            hashing.configure(policy.table_size, scope)
        hashing.start()
        return hashing
    if policy.kind == RANDOM:
        balancer = RandomLoadBalancer(priorities, stats, common, runtime, random)
    elif policy.kind == LEAST_REQUEST:
        balancer = LeastRequestLoadBalancer(
            priorities, stats, common, runtime, random, clock, policy.slow_start, policy.choices, policy.bias,
            policy.full_scan, policy.bias_key,
        )
    else:
        balancer = RoundRobinLoadBalancer(priorities, stats, common, runtime, random, clock, policy.slow_start)
    if common.zone_aware and local is not None:
        balancer.zone_aware = ZoneAware(priorities, local, stats, common, runtime, random)
    balancer.start()
    return balancer
