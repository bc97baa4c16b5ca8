"""Consistent hashing with bounded loads: `hash_balance_factor`.

No host takes more than that many per cent of the average load (arXiv:1608.01350). When the host of a key is full,
others are tried in an order that depends on the key alone (arXiv:1908.08762), the same as Envoy's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from outrider.upstream.host import Host
from outrider.upstream.load_balancer.hash_table import HashTable

if TYPE_CHECKING:
    from outrider.upstream.cluster_stats import ClusterStats

_SIZE: Final = 624
_MIDDLE: Final = 397
_MASK: Final = 0xFFFFFFFF


class MersenneTwister:
    """MT19937 as `std::mt19937` seeds it; Python's own seeds it in another way."""

    __slots__ = ("state", "position")

    def __init__(self, seed: int) -> None:
        value = seed & _MASK
        state = [value]
        for index in range(1, _SIZE):
            value = (1812433253 * (value ^ (value >> 30)) + index) & _MASK
            state.append(value)
        self.state: list[int] = state
        self.position: int = 0

    def next(self) -> int:
        """32 bits."""
        state = self.state
        position = self.position
        following = (position + 1) % _SIZE
        mixed = (state[position] & 0x80000000) | (state[following] & 0x7FFFFFFF)
        value = state[(position + _MIDDLE) % _SIZE] ^ (mixed >> 1)
        if mixed & 1:
            value ^= 0x9908B0DF
        state[position] = value
        self.position = following
        value ^= value >> 11
        value ^= (value << 7) & 0x9D2C5680
        value ^= (value << 15) & 0xEFC60000
        return value ^ (value >> 18)

    def below(self, limit: int) -> int:
        """Uniform."""
        step = (_MASK + 1) // limit
        while True:
            value = self.next() // step
            if value < limit:
                return value


class BoundedTable(HashTable):
    """A table that looks at the load of what another table chose."""

    def __init__(
        self, inner: HashTable, weights: list[tuple[Host, float]], factor: int, stats: ClusterStats
    ) -> None:
        self.inner = inner
        self.weights = weights
        self.shares: dict[Host, float] = dict(weights)
        # Per cent of the average.
        self.factor = factor
        self.stats = stats

    def overload(self, host: Host, share: float) -> float:
        """Above 1: full."""
        total = ((self.stats.upstream_rq_active.value + 1) * self.factor + 99) // 100
        slots = max(math.ceil(total * share), 1)
        return host.stats.rq_active.value / slots

    def choose(self, key: int, attempt: int) -> Host | None:
        host = self.inner.choose(key, attempt)
        if host is None:
            return None
        least = self.overload(host, self.shares.get(host, 0.0))
        if least <= 1.0:
            return host
        best = host
        random = MersenneTwister(key)
        order = list(range(len(self.weights)))
        for index in range(len(order)):
            # A shuffle that goes only as far as it must.
            other = index + random.below(len(order) - index)
            order[index], order[other] = order[other], order[index]
            candidate, share = self.weights[order[index]]
            if candidate is host:
                continue
            overload = self.overload(candidate, share)
            if overload <= 1.0:
                return candidate
            if overload < least:
                best = candidate
                least = overload
        return best
