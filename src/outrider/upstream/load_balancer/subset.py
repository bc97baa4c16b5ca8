"""Subset load balancing: requests that ask for metadata go to the hosts that have it.

Source: Envoy documentation, "Load Balancer Subsets". Each combination of values that hosts have for a selector's keys
is a subset with a balancer of its own. What happens when no subset fits is up to the selector, then to the fallback
policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from outrider.upstream.host import Host, Locality
from outrider.upstream.load_balancer.base import LoadBalancer
from outrider.upstream.priority_set import PrioritySet

if TYPE_CHECKING:
    from outrider.upstream.cluster_stats import ClusterStats
    from outrider.upstream.load_balancer.maker import BalancerMaker
    from outrider.upstream.load_balancer_context import LoadBalancerContext

# Fallback policies; UNDEFINED is a selector's word for "as the balancer's".
NO_FALLBACK: Final = "NO_FALLBACK"
ANY_ENDPOINT: Final = "ANY_ENDPOINT"
DEFAULT_SUBSET: Final = "DEFAULT_SUBSET"
KEYS_SUBSET: Final = "KEYS_SUBSET"
UNDEFINED: Final = "NOT_DEFINED"

LB_NAMESPACE: Final = "envoy.lb"
# Key of the alternatives that `metadata_fallback_policy: FALLBACK_LIST` tries one after the other.
FALLBACK_LIST_KEY: Final = "fallback_list"

SubsetKey = tuple[tuple[str, bytes], ...]


class SubsetSelector:
    """Keys that make subsets, sorted."""

    __slots__ = ("keys", "fallback", "fallback_keys")

    def __init__(self, keys: list[str]) -> None:
        self.keys: list[str] = sorted(set(keys))
        self.fallback: str = UNDEFINED
        self.fallback_keys: list[str] = []


class SubsetSettings:
    """`LbSubsetConfig`."""

    __slots__ = (
        "fallback", "default_subset", "selectors", "locality_weight_aware", "scale_locality_weight", "panic_mode_any",
        "list_as_any", "fallback_list",
    )

    def __init__(self) -> None:
        self.fallback: str = NO_FALLBACK
        self.default_subset: dict[str, object] = {}
        self.selectors: list[SubsetSelector] = []
        self.locality_weight_aware: bool = False
        self.scale_locality_weight: bool = False
        self.panic_mode_any: bool = False
        self.list_as_any: bool = False
        self.fallback_list: bool = False


def value_key(value: object) -> bytes:
    """Equal for equal values."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


class Subset:
    """Some hosts with their balancer."""

    __slots__ = ("priorities", "balancer", "keep")

    def __init__(self, maker: BalancerMaker, keep: bool) -> None:
        self.priorities: PrioritySet = PrioritySet()
        self.balancer: LoadBalancer = maker.make(self.priorities)
        # A fallback: it stays although it has no hosts.
        self.keep: bool = keep

    def active(self) -> bool:
        for host_set in self.priorities.sets:
            if host_set.hosts:
                return True
        return False


class SubsetLoadBalancer(LoadBalancer):
    """See the module."""

    def __init__(
        self, priorities: PrioritySet, stats: ClusterStats, settings: SubsetSettings, maker: BalancerMaker
    ) -> None:
        self.priorities = priorities
        self.stats = stats
        self.settings = settings
        self.maker = maker
        self.subsets: dict[SubsetKey, Subset] = {}
        self.selectors: dict[tuple[str, ...], SubsetSelector] = {}
        for selector in settings.selectors:
            # The first of equal selectors counts.
            self.selectors.setdefault(tuple(selector.keys), selector)
        self.everyone: Subset = Subset(maker, True)
        default = [(key, value_key(value)) for key, value in settings.default_subset.items()]
        self.default_key: SubsetKey = tuple(sorted(default))
        self.default: Subset = Subset(maker, True)
        for priority in range(len(priorities.sets)):
            self.refresh(priority)

    # --- hosts ---

    def refresh(self, priority: int) -> None:
        host_set = self.priorities.sets[priority]
        members: dict[SubsetKey, list[Host]] = {}
        defaults: list[Host] = []
        for host in host_set.hosts:
            metadata = host.metadata.get(LB_NAMESPACE) or {}
            for selector in self.settings.selectors:
                for key in self._keys_of(metadata, selector.keys):
                    group = members.get(key)
                    if group is None:
                        members[key] = [host]
                    elif group[-1] is not host:
                        group.append(host)
            if self._has_default(metadata):
                defaults.append(host)
        for key in members:
            if key not in self.subsets:
                self.subsets[key] = Subset(self.maker, False)
                self.stats.lb_subsets_created.inc()
                self.stats.lb_subsets_active.inc()
        for key, subset in list(self.subsets.items()):
            self._update(subset, priority, members.get(key, []))
            if not subset.active():
                del self.subsets[key]
                self.stats.lb_subsets_removed.inc()
                self.stats.lb_subsets_active.dec()
        self._update(self.everyone, priority, list(host_set.hosts))
        self._update(self.default, priority, defaults)

    def _keys_of(self, metadata: dict[str, object], keys: list[str]) -> list[SubsetKey]:
        """The subsets of a selector that a host belongs to: none, one, or several when lists count as any."""
        found: list[SubsetKey] = [()]
        for key in keys:
            if key not in metadata:
                return []
            value = metadata[key]
            values: list[object] = [value]
            if self.settings.list_as_any and isinstance(value, list):
                values = value
            found = [(*start, (key, value_key(each))) for start in found for each in values]
        return found

    def _has_default(self, metadata: dict[str, object]) -> bool:
        for key, wanted in self.default_key:
            if key not in metadata or value_key(metadata[key]) != wanted:
                return False
        return True

    def _update(self, subset: Subset, priority: int, hosts: list[Host]) -> None:
        source = self.priorities.sets[priority]
        target = subset.priorities.host_set(priority)
        target.overprovisioning_factor = source.overprovisioning_factor
        target.weighted_priority_health = source.weighted_priority_health
        weights: dict[Locality, int] = {}
        if self.settings.locality_weight_aware:
            for index, locality in enumerate(source.localities):
                weight = source.locality_weights[index]
                if self.settings.scale_locality_weight:
                    total = len(source.per_locality[index])
                    mine = len([host for host in hosts if host.locality == locality])
                    weight = max(round(weight * mine / total), 1) if total and mine and weight else 0
                weights[locality] = weight
        local = source.localities[0] if source.has_local_locality else None
        subset.priorities.update(priority, hosts, weights, local)
        subset.balancer.refresh(priority)

    # --- choice ---

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        criteria: dict[str, object] | None = None
        if context is not None:
            criteria = context.metadata_match()
        if criteria is not None and self.settings.fallback_list:
            return self._choose_from_list(context, criteria)
        return self._choose(context, criteria)

    def _choose_from_list(self, context: LoadBalancerContext | None, criteria: dict[str, object]) -> Host | None:
        """`FALLBACK_LIST`: alternatives are laid over the request's own criteria, the first with a host wins."""
        alternatives = criteria.get(FALLBACK_LIST_KEY)
        own = {key: value for key, value in criteria.items() if key != FALLBACK_LIST_KEY}
        if isinstance(alternatives, list):
            for each in alternatives:
                if isinstance(each, dict):
                    host = self._choose(context, own | each)
                    if host is not None:
                        return host
            return None
        return self._choose(context, own)

    def _choose(self, context: LoadBalancerContext | None, criteria: dict[str, object] | None) -> Host | None:
        if criteria is not None:
            names = sorted(criteria)
            subset = self.subsets.get(tuple([(name, value_key(criteria[name])) for name in names]))
            if subset is not None:
                self.stats.lb_subsets_selected.inc()
                return subset.balancer.choose_host(context)
            selector = self.selectors.get(tuple(names))
            if selector is not None and selector.fallback != UNDEFINED:
                return self._fall_back_as(selector, context, criteria)
        return self._fall_back(self.settings.fallback, context)

    def _fall_back_as(
        self, selector: SubsetSelector, context: LoadBalancerContext | None, criteria: dict[str, object]
    ) -> Host | None:
        if selector.fallback == KEYS_SUBSET:
            return self._choose(context, {key: criteria[key] for key in selector.fallback_keys if key in criteria})
        # Not counted, as Envoy does not count it.
        if selector.fallback == ANY_ENDPOINT:
            return self.everyone.balancer.choose_host(context)
        if selector.fallback == DEFAULT_SUBSET:
            return self.default.balancer.choose_host(context)
        return None

    def _fall_back(self, policy: str, context: LoadBalancerContext | None) -> Host | None:
        subset: Subset | None = None
        if policy == ANY_ENDPOINT:
            subset = self.everyone
        elif policy == DEFAULT_SUBSET:
            subset = self.default
        if subset is not None and subset.active():
            self.stats.lb_subsets_fallback.inc()
            return subset.balancer.choose_host(context)
        if self.settings.panic_mode_any:
            self.stats.lb_subsets_fallback_panic.inc()
            return self.everyone.balancer.choose_host(context)
        return None
