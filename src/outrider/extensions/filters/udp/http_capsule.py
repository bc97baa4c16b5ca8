"""envoy.filters.udp.session.http_capsule: datagrams in capsules towards a tunnel, and out of them on the way back.

Source: Envoy documentation, "UDP session filters: HTTP capsule"; RFC 9297.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.capsule import CapsuleReader, encode_datagram
from outrider.extensions.filters.udp.session_filter import (
    STOP,
    UDP_SESSION_FILTERS,
    UdpSessionFilter,
    UdpSessionFilterFactory,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class HttpCapsuleFilter(UdpSessionFilter):
    """One session."""

    def __init__(self) -> None:
        self._reader = CapsuleReader()

    def on_data(self, data: bytes) -> int:
        self.session.inject_to_upstream(self, encode_datagram(data))
        return STOP

    def on_write(self, data: bytes) -> int:
        for payload in self._reader.feed(data):
            self.session.inject_to_downstream(self, payload)
        return STOP


class HttpCapsuleFactory(UdpSessionFilterFactory):
    def create(self) -> UdpSessionFilter:
        return HttpCapsuleFilter()


@UDP_SESSION_FILTERS.register(
    "envoy.filters.udp.session.http_capsule",
    "envoy.extensions.filters.udp.udp_proxy.session.http_capsule.v3.FilterConfig",
)
def create(config: View, context: FactoryContext) -> UdpSessionFilterFactory:
    return HttpCapsuleFactory()
