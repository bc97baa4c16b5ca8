"""What the DNS filter knows by itself: names with addresses, clusters or services (`envoy.data.dns.v3.DnsTable`)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outrider.config.view import View

DEFAULT_TTL: Final = 300
_PROTOCOLS: Final = {6: "tcp", 17: "udp"}


class Target:
    """One target of a service."""

    __slots__ = ("host", "cluster", "priority", "weight", "port")

    def __init__(self, host: str, cluster: str, priority: int, weight: int, port: int) -> None:
        self.host = host
        self.cluster = cluster
        self.priority = priority
        self.weight = weight
        self.port = port


class Service:
    __slots__ = ("ttl", "targets")

    def __init__(self, ttl: int, targets: list[Target]) -> None:
        self.ttl = ttl
        self.targets = targets


class Domain:
    """One name. One of addresses, cluster and services."""

    __slots__ = ("ttl", "addresses", "cluster", "services")

    def __init__(self, ttl: int) -> None:
        self.ttl = ttl
        self.addresses: list[str] = []
        self.cluster: str = ""
        # By `_service._protocol`.
        self.services: dict[str, Service] = {}


class DnsTable:
    """By name; a name `*.x` stands for all below x that have no entry of their own."""

    def __init__(self, ignore_case: bool) -> None:
        self.ignore_case = ignore_case
        self.domains: dict[str, Domain] = {}

    def add(self, name: str, domain: Domain) -> None:
        self.domains[name.lower() if self.ignore_case else name] = domain

    def find(self, name: str) -> Domain | None:
        if self.ignore_case:
            name = name.lower()
        domain = self.domains.get(name)
        while domain is None:
            _, dot, name = name.partition(".")
            if not dot:
                return None
            domain = self.domains.get(f"*.{name}")
        return domain

    def find_service(self, name: str) -> tuple[Domain | None, Service | None]:
        """For `_service._protocol.domain`: the domain, and the service when it has it."""
        service, _, rest = name.partition(".")
        protocol, _, rest = rest.partition(".")
        domain = self.find(rest) if service.startswith("_") and protocol.startswith("_") else self.find(name)
        if domain is None:
            return None, None
        key = f"{service}.{protocol}"
        return domain, domain.services.get(key.lower() if self.ignore_case else key)


def read_table(view: View, ignore_case: bool) -> DnsTable:
    """Raises ConfigError."""
    table = DnsTable(ignore_case)
    # Deprecated, and without effect: all names that are not here are asked for elsewhere.
    view.accept("known_suffixes", "external_retry_count")
    for each in view.messages("virtual_domains"):
        ttl = each.millis("answer_ttl")
        domain = Domain(DEFAULT_TTL if ttl is None else ttl // 1000)
        endpoint = each.message("endpoint")
        if endpoint is not None:
            _read_endpoint(endpoint, domain)
        table.add(each.text("name"), domain)
    return table


def _read_endpoint(view: View, domain: Domain) -> None:
    addresses = view.message("address_list")
    if addresses is not None:
        for text in addresses.texts("address"):
            try:
                domain.addresses.append(str(ipaddress.ip_address(text)))
            except ValueError:
                raise addresses.error(f"malformed IP address: {text}", "address") from None
    domain.cluster = view.text("cluster_name")
    services = view.message("service_list")
    for each in [] if services is None else services.messages("services"):
        protocol = each.message("protocol")
        name = "" if protocol is None else protocol.text("name")
        if protocol is not None and protocol.which("protocol_config") == "number":
            name = _PROTOCOLS.get(protocol.integer("number"), "")
        if not name:
            raise each.error("unknown protocol", "protocol")
        ttl = each.millis("ttl")
        targets: list[Target] = []
        for target in each.messages("targets"):
            targets.append(
                Target(
                    target.text("host_name"), target.text("cluster_name"), target.integer("priority"),
                    target.integer("weight"), target.integer("port"),
                )
            )
        service = each.text("service_name")
        key = f"{service if service.startswith('_') else '_' + service}.{name if name.startswith('_') else '_' + name}"
        domain.services[key] = Service(DEFAULT_TTL if ttl is None else ttl // 1000, targets)


def is_v6(address: str) -> bool:
    """Of a literal that has been checked."""
    return ":" in address
