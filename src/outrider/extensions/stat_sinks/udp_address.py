"""The `address` of a sink that sends datagrams."""

from __future__ import annotations

import ipaddress

from outrider.config.view import View


def read_udp_address(config: View) -> tuple[str, int]:
    """IP address and port. Raises ConfigError for anything else."""
    address = config.message("address")
    given = address.message("socket_address") if address is not None else None
    if given is None:
        raise config.error("a UDP socket_address is required", "address")
    # Datagrams in any case, as in Envoy.
    given.accept("protocol")
    host = given.text("address")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise given.error(f"malformed IP address: {host}", "address") from None
    return host, given.integer("port_value")
