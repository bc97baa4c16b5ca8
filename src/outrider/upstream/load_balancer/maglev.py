"""envoy.load_balancing_policies.maglev: the same table as Envoy's (Maglev paper, section 3.4, with weights)."""

from __future__ import annotations

import xxhash

from outrider.stats.metrics import Gauge
from outrider.stats.store import Scope
from outrider.upstream.host import Host
from outrider.upstream.load_balancer.hash_table import HashTable
from outrider.upstream.load_balancer.hashing import HashLoadBalancer

_MASK = (1 << 64) - 1


class MaglevTable(HashTable):
    """One host per slot."""

    __slots__ = ("slots", "hosts")

    def __init__(self, slots: list[int], hosts: list[Host]) -> None:
        self.slots: list[int] = slots
        self.hosts: list[Host] = hosts

    def choose(self, key: int, attempt: int) -> Host | None:
        if attempt > 0:
            # Another place, for a host that was refused.
            key ^= (_MASK - attempt + 1) & _MASK
        return self.hosts[self.slots[key % len(self.slots)]]


class MaglevLoadBalancer(HashLoadBalancer):
    """Maglev."""

    table_size: int = 65537
    min_entries: Gauge | None = None
    max_entries: Gauge | None = None

    def configure(self, table_size: int, scope: Scope) -> None:
        self.table_size = table_size
        self.min_entries = scope.gauge("maglev_lb.min_entries_per_host", False)
        self.max_entries = scope.gauge("maglev_lb.max_entries_per_host", False)

    def build(self, weights: list[tuple[Host, float]]) -> HashTable:
        size = self.table_size
        # Envoy goes through the hosts in the order of their keys, so all proxies build the same table.
        ordered = sorted([(self.hash_key(host), index) for index, (host, _) in enumerate(weights)])
        heaviest = max([weight for _, weight in weights])
        hosts = [weights[index][0] for _, index in ordered]
        shares = [weights[index][1] for _, index in ordered]
        offsets = [xxhash.xxh64_intdigest(key) % size for key, _ in ordered]
        skips = [xxhash.xxh64_intdigest(key, 1) % (size - 1) + 1 for key, _ in ordered]
        targets = [0.0] * len(hosts)
        counts = [0] * len(hosts)
        positions = offsets
        slots = [-1] * size
        filled = 0
        iteration = 0
        while filled < size:
            iteration += 1
            for index, share in enumerate(shares):
                if filled == size:
                    break
                # The heaviest host takes a slot each time, one of half its weight every other time.
                if iteration * share < targets[index]:
                    continue
                targets[index] += heaviest
                position = positions[index]
                skip = skips[index]
                while slots[position] >= 0:
                    position = (position + skip) % size
                slots[position] = index
                positions[index] = (position + skip) % size
                counts[index] += 1
                filled += 1
        if self.min_entries is not None and self.max_entries is not None:
            self.min_entries.set(min(counts))
            self.max_entries.set(max(counts))
        return MaglevTable(slots, hosts)
