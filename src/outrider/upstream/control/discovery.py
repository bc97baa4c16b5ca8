"""Where hosts come from: the interface, and the hosts that the configuration lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.address import Address
from outrider.upstream.config.endpoints import EndpointConfig
from outrider.upstream.control.control_host import ControlHost

if TYPE_CHECKING:
    from outrider.upstream.control.cluster_control import ClusterControl


class Discovery:
    """Finds hosts and hands them to `ClusterControl.set_hosts`, now and whenever they change."""

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """No further calls."""


def host_for(control: ClusterControl, address: Address, config: EndpointConfig, key: str = "") -> ControlHost:
    """The host that is known at that address (or by that key), or a new one, with its endpoint's attributes."""
    key = key or address.text
    host = control.hosts.get(key)
    if host is None:
        host = ControlHost(key, address)
    host.describe(config)
    host.hc_address = check_address(address, config)
    return host


def check_address(address: Address, config: EndpointConfig) -> Address:
    """Where health checks of an endpoint go."""
    if config.hc_address is not None:
        own = config.hc_address.literal()
        if own is not None:
            return Address(own.kind, own.host, config.hc_port, own.protocol) if config.hc_port else own
    if config.hc_port:
        return Address(address.kind, address.host, config.hc_port, address.protocol)
    return address


class StaticDiscovery(Discovery):
    """The hosts of `load_assignment`."""

    def __init__(self, control: ClusterControl) -> None:
        self.control = control

    def start(self) -> None:
        hosts: dict[str, ControlHost] = {}
        for config in self.control.info.config.assignment.endpoints:
            address = config.address.literal()
            # The configuration was checked when it was read.
            assert address is not None
            self.control.count_matches(config, 1)
            key = address.text
            while key in hosts:
                # Listed twice is twice the share, and two hosts.
                key += "#"
            host = host_for(self.control, address, config, key)
            more = [literal for each in config.additional if (literal := each.literal()) is not None]
            if more:
                host.addresses = order_addresses([address, *more], self.control)
            hosts[host.key] = host
        self.control.set_hosts(list(hosts.values()))


def order_addresses(addresses: list[Address], control: ClusterControl) -> list[Address]:
    """For happy eyeballs: families in turn (RFC 8305 section 4), beginning with the configured or the first one."""
    config = control.info.config
    first_is_v6 = addresses[0].is_v6 if config.first_family == 0 else config.first_family == 6
    first = [address for address in addresses if address.is_v6 == first_is_v6]
    other = [address for address in addresses if address.is_v6 != first_is_v6]
    ordered: list[Address] = []
    while first or other:
        ordered.extend(first[: config.first_family_count])
        del first[: config.first_family_count]
        if other:
            ordered.append(other.pop(0))
    return ordered
