"""How load is divided among priorities, and when a priority panics.

Source: Envoy documentation, "Priority levels", "Degraded endpoints", "Panic threshold"; their tables are test cases.
"""

from __future__ import annotations

from typing import Final

from outrider.upstream.priority_set import HostSet, PrioritySet

DEFAULT_PANIC_THRESHOLD: Final = 50


class PriorityLoad:
    """Shares of the load in per cent: `healthy` and `degraded` by priority, 100 in sum.

    `health` and `degraded_health` (0 to 100) are what the shares were made from, for retry priorities that leave some
    priorities out.
    """

    __slots__ = ("healthy", "degraded", "health", "degraded_health", "panic")

    def __init__(self, count: int) -> None:
        self.healthy: list[int] = [0] * count
        self.degraded: list[int] = [0] * count
        self.health: list[int] = [0] * count
        self.degraded_health: list[int] = [0] * count
        # Priorities of which all hosts are used, healthy or not.
        self.panic: list[bool] = [False] * count

    def choose(self, roll: int) -> int:
        """The priority for `roll` (0 to 99); a degraded choice is returned as -1 - priority."""
        point = roll + 1
        reached = 0
        for priority, load in enumerate(self.healthy):
            reached += load
            if point <= reached:
                return priority
        for priority, load in enumerate(self.degraded):
            reached += load
            if point <= reached:
                return -1 - priority
        return 0

    def __repr__(self) -> str:
        return f"<PriorityLoad healthy={self.healthy} degraded={self.degraded} panic={self.panic}>"


def host_set_in_panic(host_set: HostSet, threshold: int) -> bool:
    """Whether less than `threshold` per cent of the hosts can be used."""
    count = len(host_set.hosts) - len(host_set.excluded)
    if count <= 0:
        return threshold > 0
    return 100.0 * (len(host_set.healthy) + len(host_set.degraded)) / count < threshold


def _availability(host_set: HostSet, load: PriorityLoad) -> None:
    priority = host_set.priority
    total = len(host_set.hosts) - len(host_set.excluded)
    if total <= 0:
        return
    healthy = len(host_set.healthy)
    degraded = len(host_set.degraded)
    if host_set.weighted_priority_health:
        healthy = sum([host.weight for host in host_set.healthy])
        degraded = sum([host.weight for host in host_set.degraded])
        total = sum([host.weight for host in host_set.hosts]) - sum([host.weight for host in host_set.excluded])
        if total <= 0:
            return
    factor = host_set.overprovisioning_factor
    load.health[priority] = min(100, factor * healthy // total)
    load.degraded_health[priority] = min(100, factor * degraded // total)


def _distribute(into: list[int], availability: list[int], remaining: int, normalized: int) -> tuple[int, int]:
    """Assign load by availability, highest priority first; the first available priority and what is left."""
    first = -1
    for priority, available in enumerate(availability):
        if first < 0 and available > 0:
            first = priority
        share = min(remaining, available * 100 // normalized)
        into[priority] = share
        remaining -= share
    return first, remaining


def distribute(load: PriorityLoad) -> int:
    """Fill the shares from `health` and `degraded_health`; the normalized total availability (0: nothing was done)."""
    normalized = min(100, sum(load.health) + sum(load.degraded_health))
    if normalized == 0:
        return 0
    first_healthy, remaining = _distribute(load.healthy, load.health, 100, normalized)
    first_degraded, remaining = _distribute(load.degraded, load.degraded_health, remaining, normalized)
    # What is left are rounding errors.
    if remaining:
        if first_healthy >= 0:
            load.healthy[first_healthy] += remaining
        else:
            load.degraded[first_degraded] += remaining
    return normalized


def compute(priorities: PrioritySet, panic_threshold: int) -> PriorityLoad:
    """The regular shares. `panic_threshold` is in per cent, 0 switches panic off."""
    sets = priorities.sets
    load = PriorityLoad(len(sets))
    for host_set in sets:
        _availability(host_set, load)
    normalized = distribute(load)
    if panic_threshold == 0 and normalized == 0:
        load.healthy[0] = 100
        return load
    total_panic = True
    for host_set in sets:
        panics = normalized < 100 and host_set_in_panic(host_set, panic_threshold)
        load.panic[host_set.priority] = panics
        total_panic = total_panic and panics
    if total_panic:
        _total_panic(sets, load)
    return load


def _total_panic(sets: list[HostSet], load: PriorityLoad) -> None:
    """All priorities panic: load goes by the number of hosts."""
    total = sum([len(host_set.hosts) for host_set in sets])
    if total == 0:
        load.healthy[0] = 100
        return
    remaining = 100
    first = -1
    for host_set in sets:
        count = len(host_set.hosts)
        if first < 0 and count:
            first = host_set.priority
        share = 100 * count // total
        load.healthy[host_set.priority] = share
        load.degraded[host_set.priority] = 0
        remaining -= share
    load.healthy[first] += remaining
