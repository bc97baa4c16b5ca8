"""What the control half tells the workers: the hosts of one cluster, as plain data that `marshal` can carry."""

from __future__ import annotations

from typing import Any

from outrider.data.address import Address
from outrider.upstream.priority_set import DEFAULT_OVERPROVISIONING_FACTOR

PlainAddress = tuple[int, str, int, str]


def plain_address(address: Address) -> PlainAddress:
    return (address.kind, address.host, address.port, address.protocol)


def address_of(plain: PlainAddress) -> Address:
    return Address(plain[0], plain[1], plain[2], plain[3])


class HostSpec:
    """All that a worker needs to know of one endpoint."""

    __slots__ = (
        "address",
        "addresses",
        "hostname",
        "weight",
        "locality",
        "priority",
        "metadata",
        "locality_metadata",
        "health_flags",
        "endpoint_name",
        "key",
        "limit_row",
    )

    def __init__(self, address: Address) -> None:
        self.address = address
        # More than one: happy eyeballs.
        self.addresses: list[Address] = []
        self.hostname: str = ""
        self.weight: int = 1
        # region, zone, sub-zone
        self.locality: tuple[str, str, str] = ("", "", "")
        self.priority: int = 0
        self.metadata: dict[str, dict[str, object]] = {}
        self.locality_metadata: dict[str, dict[str, object]] = {}
        self.health_flags: int = 0
        self.endpoint_name: str = ""
        # Identity: an update with the same key keeps the worker's Host, its pools and stats.
        self.key: str = address.text
        # Row of the shared arena that counts connections under `per_host_thresholds`, -1 for none.
        self.limit_row: int = -1

    def plain(self) -> tuple[Any, ...]:
        return (
            plain_address(self.address),
            tuple(plain_address(address) for address in self.addresses),
            self.hostname,
            self.weight,
            self.locality,
            self.priority,
            self.metadata,
            self.locality_metadata,
            self.health_flags,
            self.endpoint_name,
            self.key,
            self.limit_row,
        )

    @staticmethod
    def from_plain(plain: tuple[Any, ...]) -> HostSpec:
        spec = HostSpec(address_of(plain[0]))
        spec.addresses = [address_of(address) for address in plain[1]]
        (
            spec.hostname,
            spec.weight,
            spec.locality,
            spec.priority,
            spec.metadata,
            spec.locality_metadata,
            spec.health_flags,
            spec.endpoint_name,
            spec.key,
            spec.limit_row,
        ) = plain[2:]
        return spec

    def __repr__(self) -> str:
        return f"<HostSpec {self.address.text} p{self.priority} flags={self.health_flags:#x}>"


class HostsUpdate:
    """The complete hosts of a cluster (`full`), or only changed health flags of hosts it has."""

    __slots__ = (
        "cluster",
        "full",
        "hosts",
        "locality_weights",
        "overprovisioning_factor",
        "weighted_priority_health",
        "health_flags",
        "drop_overload",
        "drop_category",
        "failed_hosts",
    )

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.full: bool = True
        self.hosts: list[HostSpec] = []
        # (priority, region, zone, sub-zone) -> weight
        self.locality_weights: dict[tuple[int, str, str, str], int] = {}
        self.overprovisioning_factor: int = DEFAULT_OVERPROVISIONING_FACTOR
        self.weighted_priority_health: bool = False
        # key -> flags; when not `full`.
        self.health_flags: dict[str, int] = {}
        # Per cent of requests to drop, and the category to count them under.
        self.drop_overload: float = 0.0
        self.drop_category: str = ""

        # Keys of hosts that were found unhealthy just now: their connections are drained.
        self.failed_hosts: list[str] = []

    def plain(self) -> tuple[Any, ...]:
        return (
            self.cluster,
            self.full,
            tuple(host.plain() for host in self.hosts),
            self.locality_weights,
            self.overprovisioning_factor,
            self.weighted_priority_health,
            self.health_flags,
            self.drop_overload,
            self.drop_category,
            tuple(self.failed_hosts),
        )

    @staticmethod
    def from_plain(plain: tuple[Any, ...]) -> HostsUpdate:
        update = HostsUpdate(plain[0])
        update.full = plain[1]
        update.hosts = [HostSpec.from_plain(host) for host in plain[2]]
        (
            update.locality_weights,
            update.overprovisioning_factor,
            update.weighted_priority_health,
            update.health_flags,
            update.drop_overload,
            update.drop_category,
        ) = plain[3:9]
        update.failed_hosts = list(plain[9])
        return update
