"""`BindConfig` and `UpstreamConnectionOptions`."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Final

from outrider.config.view import View
from outrider.data.address import KIND_IP, Address
from outrider.network.address_config import read_keepalive, read_socket_options
from outrider.upstream.upstream_bind import Source, UpstreamBind

if TYPE_CHECKING:
    from outrider.network.client_connection import SocketOption

_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78


def _source_address(view: View) -> Address:
    host = view.text("address")
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        raise view.error(f"malformed IP address: {host}", "address") from None
    view.accept("protocol", "ipv4_compat")
    return Address(KIND_IP, str(parsed), view.integer("port_value"))


def _options(views: list[View]) -> list[SocketOption]:
    return [(option.level, option.name, option.value) for option in read_socket_options(views)]


def _freebind(address: Address) -> SocketOption:
    if address.is_v6:
        return (socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    return (socket.IPPROTO_IP, _IP_FREEBIND, 1)


def read_bind(cluster: str, bind: View | None, connection_options: View | None, fallback: View | None) -> UpstreamBind:
    """Of a cluster; `fallback` is the cluster manager's `upstream_bind_config`. Raises ConfigError."""
    keepalive: list[SocketOption] = []
    if connection_options is not None:
        keepalive = [
            (option.level, option.name, option.value)
            for option in read_keepalive(connection_options.message("tcp_keepalive"))
        ]
    if bind is None:
        bind = fallback
    if bind is None:
        plain = Source(None, keepalive)
        return UpstreamBind(plain, plain, plain)
    common = keepalive + _options(bind.messages("socket_options"))
    unbound = Source(None, common)
    extras = bind.messages("extra_source_addresses")
    older = bind.messages("additional_source_addresses")
    first = bind.message("source_address")
    if first is None:
        if extras or older:
            raise bind.error(
                f"Cluster {cluster}'s upstream binding config has extra/additional source addresses but no "
                "source_address. Extra/additional addresses cannot be specified if source_address is not set."
            )
        bind.flag("freebind")
        return UpstreamBind(unbound, unbound, unbound)
    if extras and older:
        raise bind.error(
            f"Can't specify both `extra_source_addresses` and `additional_source_addresses` in the {cluster}'s "
            "upstream binding config"
        )
    freebind = bind.flag("freebind")
    sources: list[tuple[Address, list[SocketOption]]] = [(_source_address(first), common)]
    for extra in extras:
        given = extra.message("address")
        if given is None:
            raise extra.error("is required", "address")
        own = extra.message("socket_options")
        options = common if own is None else keepalive + _options(own.messages("socket_options"))
        sources.append((_source_address(given), options))
    sources.extend((_source_address(given), common) for given in older)
    if len(sources) > 2:
        raise bind.error(
            f"Cluster {cluster}'s upstream binding config has more than one extra/additional source addresses. Only "
            "one extra/additional source can be supported in BindConfig's "
            "extra_source_addresses/additional_source_addresses field"
        )
    if len(sources) == 2 and sources[0][0].is_v6 == sources[1][0].is_v6:
        raise bind.error(
            f"Cluster {cluster}'s upstream binding config has two same IP version source addresses. Only two different "
            "IP version source addresses can be supported in BindConfig's source_address and "
            "extra_source_addresses/additional_source_addresses fields"
        )
    v4 = v6 = None
    for address, options in sources:
        source = Source(address, [*options, _freebind(address)] if freebind else options)
        if address.is_v6:
            v6 = source
        else:
            v4 = source
    # One address alone is used for every target, also one of the other version: that connect fails, as in Envoy.
    only = v4 or v6
    assert only is not None
    return UpstreamBind(v4 or only, v6 or only, unbound)
