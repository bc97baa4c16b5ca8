"""Makes balancers over priority sets: what a balancer of balancers (subsets) is given."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.upstream.load_balancer.base import LoadBalancer
from outrider.upstream.priority_set import PrioritySet


@mypyc_attr(allow_interpreted_subclasses=True)
class BalancerMaker:
    """One policy, ready to be used for any hosts."""

    def make(self, priorities: PrioritySet) -> LoadBalancer:
        raise NotImplementedError
