"""envoy.load_balancing_policies.random"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.upstream.host import Host
from outrider.upstream.load_balancer.base import HostSource, PriorityLoadBalancer

if TYPE_CHECKING:
    from outrider.upstream.load_balancer_context import LoadBalancerContext


class RandomLoadBalancer(PriorityLoadBalancer):
    """Uniform over the available hosts; weights are ignored, as in Envoy."""

    def pick(self, source: HostSource, context: LoadBalancerContext | None) -> Host | None:
        hosts = source.hosts
        return hosts[self.random.below(len(hosts))] if hosts else None
