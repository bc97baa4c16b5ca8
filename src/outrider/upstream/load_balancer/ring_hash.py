"""envoy.load_balancing_policies.ring_hash: the same ring as Envoy's, so the same key finds the same host."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Final

import xxhash

from outrider.stats.metrics import Gauge
from outrider.stats.store import Scope
from outrider.upstream.host import Host
from outrider.upstream.load_balancer.hash_table import HashTable
from outrider.upstream.load_balancer.hashing import HashLoadBalancer

_MASK: Final = (1 << 64) - 1
# libstdc++'s std::hash seed.
_SEED: Final = 0xC70F6907


def murmur2_64(data: bytes, seed: int = _SEED) -> int:
    """MurmurHash64A as libstdc++ has it."""
    mul = 0xC6A4A7935BD1E995
    size = len(data)
    value = seed ^ (size * mul & _MASK)
    whole = size & ~7
    for start in range(0, whole, 8):
        word = int.from_bytes(data[start : start + 8], "little") * mul & _MASK
        word = (word ^ (word >> 47)) * mul & _MASK
        value = (value ^ word) * mul & _MASK
    if size & 7:
        value = (value ^ int.from_bytes(data[whole:], "little")) * mul & _MASK
    value = (value ^ (value >> 47)) * mul & _MASK
    return value ^ (value >> 47)


class Ring(HashTable):
    """Hosts at the points of a circle."""

    __slots__ = ("points", "hosts")

    def __init__(self, entries: list[tuple[int, int]], hosts: list[Host]) -> None:
        entries.sort()
        self.points: list[int] = [point for point, _ in entries]
        self.hosts: list[Host] = [hosts[index] for _, index in entries]

    def choose(self, key: int, attempt: int) -> Host | None:
        count = len(self.points)
        if not count:
            return None
        index = bisect_left(self.points, key)
        return self.hosts[(index + attempt) % count]


class RingHashLoadBalancer(HashLoadBalancer):
    """Ketama."""

    murmur: bool = False
    min_ring: int = 1024
    max_ring: int = 8388608
    size: Gauge | None = None
    min_hashes: Gauge | None = None
    max_hashes: Gauge | None = None

    def configure(self, murmur: bool, min_ring: int, max_ring: int, scope: Scope) -> None:
        self.murmur = murmur
        self.min_ring = min_ring
        self.max_ring = max_ring
        self.size = scope.gauge("ring_hash_lb.size", False)
        self.min_hashes = scope.gauge("ring_hash_lb.min_hashes_per_host", False)
        self.max_hashes = scope.gauge("ring_hash_lb.max_hashes_per_host", False)

    def build(self, weights: list[tuple[Host, float]]) -> HashTable:
        # Scaled so that the lightest host has a whole number of points.
        lightest = min([weight for _, weight in weights])
        scale = min(math.ceil(lightest * self.min_ring) / lightest, float(self.max_ring))
        entries: list[tuple[int, int]] = []
        done = 0.0
        target = 0.0
        fewest = math.ceil(scale)
        most = 0
        for index, (host, weight) in enumerate(weights):
            key = self.hash_key(host) + b"_"
            target += scale * weight
            number = 0
            while done < target:
                text = key + str(number).encode()
                entries.append((murmur2_64(text) if self.murmur else xxhash.xxh64_intdigest(text), index))
                number += 1
                done += 1
            fewest = min(fewest, number)
            most = max(most, number)
        if self.size is not None and self.min_hashes is not None and self.max_hashes is not None:
            self.size.set(len(entries))
            self.min_hashes.set(fewest)
            self.max_hashes.set(most)
        return Ring(entries, [host for host, _ in weights])
