"""What the consistent-hashing policies share (Envoy's ThreadAwareLoadBalancerBase)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.upstream.host import Host
from outrider.upstream.load_balancer.base import PANIC_RUNTIME_KEY, CommonLbSettings, LoadBalancer, RandomSource
from outrider.upstream.load_balancer.bounded_load import BoundedTable
from outrider.upstream.load_balancer.hash_table import HashTable
from outrider.upstream.priority_load import PriorityLoad, compute
from outrider.upstream.priority_set import HostSet, PrioritySet

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.upstream.cluster_stats import ClusterStats
    from outrider.upstream.load_balancer_context import LoadBalancerContext

_MASK64: Final = (1 << 64) - 1
_LB_NAMESPACE: Final = "envoy.lb"


@mypyc_attr(allow_interpreted_subclasses=True)
class HashLoadBalancer(LoadBalancer):
    """Chooses a priority, then a host of that priority's table."""

    def __init__(
        self,
        priorities: PrioritySet,
        stats: ClusterStats,
        settings: CommonLbSettings,
        runtime: Runtime,
        random: RandomSource,
        hash_hostname: bool,
    ) -> None:
        self.priorities = priorities
        self.stats = stats
        self.settings = settings
        self.runtime = runtime
        self.random = random
        self.hash_hostname = hash_hostname
        # `hash_balance_factor` in per cent; 0 = no bound. To be set before `start`.
        self.balance_factor: int = 0
        self.load: PriorityLoad = PriorityLoad(1)
        self.tables: list[HashTable | None] = []

    def start(self) -> None:
        self.refresh(0)

    def refresh(self, priority: int) -> None:
        threshold = min(100, self.runtime.get_integer(PANIC_RUNTIME_KEY, self.settings.panic_threshold))
        self.load = compute(self.priorities, threshold)
        tables: list[HashTable | None] = []
        for host_set in self.priorities.sets:
            weights = self._weights(host_set, self.load.panic[host_set.priority])
            tables.append(self._table(weights) if weights else None)
        self.tables = tables

    def _table(self, weights: list[tuple[Host, float]]) -> HashTable:
        table = self.build(weights)
        if self.balance_factor > 0:
            return BoundedTable(table, weights, self.balance_factor, self.stats)
        return table

    def build(self, weights: list[tuple[Host, float]]) -> HashTable:
        """A table over hosts with their share of the load, 1.0 in sum."""
        raise NotImplementedError

    def _weights(self, host_set: HostSet, panic: bool) -> list[tuple[Host, float]]:
        if self.settings.locality_weighted and any(host_set.locality_weights):
            groups = host_set.per_locality if panic else host_set.healthy_per_locality
            total = sum([weight for weight, hosts in zip(host_set.locality_weights, groups, strict=True) if hosts])
            found: list[tuple[Host, float]] = []
            for index, hosts in enumerate(groups):
                weight = host_set.locality_weights[index]
                inner = sum([host.weight for host in hosts])
                if weight and inner:
                    found.extend([(host, weight / total * host.weight / inner) for host in hosts])
            return found
        hosts = host_set.hosts if panic else host_set.healthy
        total = sum([host.weight for host in hosts])
        return [(host, host.weight / total) for host in hosts]

    def hash_key(self, host: Host) -> bytes:
        """What identifies a host: metadata envoy.lb/hash_key, its name, or its address."""
        own = host.metadata.get(_LB_NAMESPACE)
        if own is not None:
            key = own.get("hash_key")
            if isinstance(key, str) and key:
                return key.encode()
        if self.hash_hostname:
            return host.hostname.encode()
        return host.address.text.encode()

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        key: int | None = None
        if context is not None:
            key = context.compute_hash_key()
        number = self.random.bits64() if key is None else key & _MASK64
        load = self.load
        if context is not None and len(load.healthy) > 1:
            load = context.determine_priority_load(load)
        chosen = load.choose(number % 100)
        priority = -1 - chosen if chosen < 0 else chosen
        if self.load.panic[priority]:
            self.stats.lb_healthy_panic.inc()
        table = self.tables[priority]
        if table is None:
            return None
        attempts = 1 if context is None else context.host_selection_retry_count() + 1
        host: Host | None = None
        for attempt in range(attempts):
            host = table.choose(number, attempt)
            if host is None or context is None or not context.should_select_another_host(host):
                return host
        return host
