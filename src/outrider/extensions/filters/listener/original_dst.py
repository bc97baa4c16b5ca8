"""envoy.filters.listener.original_dst: restores the address that a connection redirected by netfilter was meant for.

Source: Envoy documentation, "Original destination"; Linux, `SO_ORIGINAL_DST` in netfilter_ipv4.h and ip6_tables.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from outrider.data.address import KIND_IP, Address
from outrider.network.filter import CONTINUE
from outrider.network.listener_filter import (
    LISTENER_FILTERS,
    ListenerFilter,
    ListenerFilterChain,
    ListenerFilterFactory,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_SO_ORIGINAL_DST: Final = 80
_SOL_IP: Final = 0
_SOL_IPV6: Final = 41
# struct sockaddr_in and sockaddr_in6.
_V4_SIZE: Final = 16
_V6_SIZE: Final = 28


def original_destination(raw: Any, is_v6: bool) -> Address | None:
    """What netfilter remembers of the socket's connection; None when it was not redirected."""
    level, size = (_SOL_IPV6, _V6_SIZE) if is_v6 else (_SOL_IP, _V4_SIZE)
    try:
        name = raw.getsockopt(level, _SO_ORIGINAL_DST, size)
    except OSError:
        return None
    if len(name) < size:
        return None
    (family,) = struct.unpack_from("=H", name)
    (port,) = struct.unpack_from("!H", name, 2)
    if family == socket.AF_INET6:
        return Address(KIND_IP, str(ipaddress.IPv6Address(name[8:24])), port)
    if family == socket.AF_INET:
        return Address(KIND_IP, str(ipaddress.IPv4Address(name[4:8])), port)
    return None


class OriginalDst(ListenerFilter):
    """A connection that was not redirected keeps its address."""

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        info = callbacks.info
        local = info.local_address
        if local.kind == KIND_IP:
            raw = callbacks.connection.transport.get_extra_info("socket")
            if raw is not None:
                found = original_destination(raw, local.is_v6)
                if found is not None:
                    info.local_address = found
        return CONTINUE


class OriginalDstFactory(ListenerFilterFactory):
    def create(self) -> ListenerFilter:
        return OriginalDst()


@LISTENER_FILTERS.register(
    "envoy.filters.listener.original_dst",
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    "envoy.listener.original_dst",
)
def create(config: View, context: FactoryContext) -> ListenerFilterFactory:
    return OriginalDstFactory()
