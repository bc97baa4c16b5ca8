"""The hosts of a cluster by priority, sorted by health and locality (Envoy's HostSet and PrioritySet)."""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from outrider.upstream.host import DEGRADED, HEALTHY, Host, Locality, excluded

DEFAULT_OVERPROVISIONING_FACTOR: Final = 140


class HostSet:
    """The hosts of one priority. The lists are replaced as a whole, never changed: holders may keep them for a turn."""

    __slots__ = (
        "priority",
        "hosts",
        "healthy",
        "degraded",
        "excluded",
        "localities",
        "locality_weights",
        "per_locality",
        "healthy_per_locality",
        "degraded_per_locality",
        "excluded_per_locality",
        "overprovisioning_factor",
        "weighted_priority_health", "has_local_locality",
    )

    def __init__(self, priority: int) -> None:
        self.priority: int = priority
        self.hosts: list[Host] = []
        self.healthy: list[Host] = []
        self.degraded: list[Host] = []
        # Neither healthy nor counted: not yet checked, or told to go away.
        self.excluded: list[Host] = []
        # One entry per locality, all parallel; the local locality comes first when there is one.
        self.localities: list[Locality] = []
        # Weights of the localities, 0 where none is configured.
        self.locality_weights: list[int] = []
        self.per_locality: list[list[Host]] = []
        self.healthy_per_locality: list[list[Host]] = []
        self.degraded_per_locality: list[list[Host]] = []
        self.excluded_per_locality: list[list[Host]] = []
        # The first locality is the proxy's own.
        self.has_local_locality: bool = False
        # Per cent.
        self.overprovisioning_factor: int = DEFAULT_OVERPROVISIONING_FACTOR
        # Health counts weights instead of hosts.
        self.weighted_priority_health: bool = False

    def set_hosts(self, hosts: list[Host], weights: dict[Locality, int], local: Locality | None) -> None:
        """Replace the hosts. `local` is the proxy's own locality when zone-aware routing is possible."""
        order: list[Locality] = []
        groups: dict[Locality, list[Host]] = {}
        for host in hosts:
            group = groups.get(host.locality)
            if group is None:
                groups[host.locality] = [host]
                order.append(host.locality)
            else:
                group.append(host)
        # Envoy sorts by region, zone, sub-zone, with the local locality in front.
        keys = sorted([locality.key for locality in order])
        by_key = {locality.key: locality for locality in order}
        localities = [by_key[key] for key in keys]
        self.has_local_locality = local is not None and local in groups
        if local is not None and self.has_local_locality:
            localities = [local] + [locality for locality in localities if locality != local]
        self.hosts = hosts
        self.localities = localities
        self.locality_weights = [weights.get(locality, 0) for locality in localities]
        self.per_locality = [groups[locality] for locality in localities]
        self.refresh_health()

    def refresh_health(self) -> None:
        """Sort by health anew, after flags have changed."""
        self.healthy = [host for host in self.hosts if host.health == HEALTHY]
        self.degraded = [host for host in self.hosts if host.health == DEGRADED]
        self.excluded = [host for host in self.hosts if excluded(host.health_flags)]
        self.healthy_per_locality = [[host for host in group if host.health == HEALTHY] for group in self.per_locality]
        self.degraded_per_locality = [
            [host for host in group if host.health == DEGRADED] for group in self.per_locality
        ]
        self.excluded_per_locality = [
            [host for host in group if excluded(host.health_flags)] for group in self.per_locality
        ]

    def __repr__(self) -> str:
        return f"<HostSet {self.priority}: {len(self.healthy)}/{len(self.hosts)} healthy>"


@mypyc_attr(allow_interpreted_subclasses=True)
class PrioritySetObserver:
    """Told of changes of hosts or of their health."""

    def on_priority_update(self, priority: int, added: list[Host], removed: list[Host]) -> None:
        """One priority changed. A change of health alone has empty lists."""


class PrioritySet:
    """All priorities of a cluster; there is always at least priority 0."""

    __slots__ = ("sets", "by_address", "observers")

    def __init__(self) -> None:
        self.sets: list[HostSet] = [HostSet(0)]
        # Every host by the text of its address, over all priorities (override host).
        self.by_address: dict[str, Host] = {}
        self.observers: list[PrioritySetObserver] = []

    def host_set(self, priority: int) -> HostSet:
        """The set of a priority, made when it does not exist."""
        sets = self.sets
        while len(sets) <= priority:
            made = HostSet(len(sets))
            made.overprovisioning_factor = sets[0].overprovisioning_factor
            made.weighted_priority_health = sets[0].weighted_priority_health
            sets.append(made)
        return sets[priority]

    def all_hosts(self) -> list[Host]:
        hosts: list[Host] = []
        for host_set in self.sets:
            hosts.extend(host_set.hosts)
        return hosts

    def update(
        self, priority: int, hosts: list[Host], weights: dict[Locality, int], local: Locality | None = None
    ) -> None:
        """Replace the hosts of a priority and tell the observers."""
        host_set = self.host_set(priority)
        old = host_set.hosts
        new_set = set(hosts)
        old_set = set(old)
        removed = [host for host in old if host not in new_set]
        added = [host for host in hosts if host not in old_set]
        host_set.set_hosts(hosts, weights, local)
        self.by_address = {}
        for each in self.sets:
            for host in each.hosts:
                self.by_address[host.address.text] = host
        for observer in self.observers:
            observer.on_priority_update(priority, added, removed)

    def refresh_health(self, priority: int) -> None:
        """Flags of some hosts of a priority have changed."""
        self.host_set(priority).refresh_health()
        for observer in self.observers:
            observer.on_priority_update(priority, [], [])
