"""Clusters whose hosts a worker makes when traffic asks for them (original destination, dynamic forward proxy).

Main is told of them, so that it can count, show and check them; its word on their health comes back like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from outrider.data.address import Address
from outrider.upstream.cluster import Cluster
from outrider.upstream.connector import HostConnector
from outrider.upstream.host import Host, Locality
from outrider.upstream.hosts_update import HostSpec, HostsUpdate, PlainAddress, plain_address

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.control_link import ControlLink


@mypyc_attr(allow_interpreted_subclasses=True)
class DynamicCluster(Cluster):
    """`choose_host` of the subclass adds hosts with `add_host`."""

    def __init__(self, info: ClusterInfo, context: FactoryContext, link: ControlLink) -> None:
        server = context.server
        own = Locality(server.node_region, server.node_zone, server.node_sub_zone)
        super().__init__(
            info, HostConnector(context.dispatcher, info.config.bind), context.runtime, link,
            arena=context.arena, column=context.worker_index, own_locality=own if any(own.key) else None,
        )
        self._added: list[tuple[str, PlainAddress, str]] = []
        self._dropped: list[str] = []

    def add_host(self, key: str, address: Address, hostname: str) -> Host:
        """Make a host and tell main of it."""
        spec = HostSpec(address)
        spec.key = key
        spec.hostname = hostname
        host = self._make_host(spec)
        self._describe_host(host, spec)
        # Counts the transport socket that it was given, as Envoy does for each new host.
        self.info.transport_socket_matcher.resolve(spec.metadata, spec.locality_metadata, True)
        self.hosts[key] = host
        self._added.append((key, plain_address(address), hostname))
        self._tell_soon()
        return host

    def drop_host(self, key: str) -> None:
        """Forget a host; its connections drain."""
        host = self.hosts.pop(key, None)
        if host is not None:
            self._dropped.append(key)
            self._tell_soon()
            self._remove_host(host)

    def _tell_soon(self) -> None:
        if len(self._added) + len(self._dropped) == 1:
            self.connector.dispatcher.post(self._tell)

    def _tell(self) -> None:
        added = self._added
        dropped = self._dropped
        self._added = []
        self._dropped = []
        self.link.report_hosts(self.info.name, added, dropped)

    def _override(self, address: str) -> Host | None:
        return self.hosts.get(address)

    def _replace_hosts(self, update: HostsUpdate) -> None:
        """Main's list is the union of what all workers have; only the health of our own hosts is news."""
        self._begin()
        for spec in update.hosts:
            host = self.hosts.get(spec.key)
            if host is not None and host.health_flags != spec.health_flags:
                self._set_health(host, spec.health_flags)
