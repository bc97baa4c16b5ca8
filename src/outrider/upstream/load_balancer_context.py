"""What a load balancer may ask of the request it places (Envoy's `Upstream::LoadBalancerContext`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.network.connection import Connection
    from outrider.network.transport_socket import TransportSocketOptions
    from outrider.upstream.host import Host
    from outrider.upstream.priority_load import PriorityLoad


@mypyc_attr(allow_interpreted_subclasses=True)
class LoadBalancerContext:
    """Base class with the answers of a request that wants nothing special; the router overrides what it knows."""

    def compute_hash_key(self) -> int | None:
        """Hash of the request (route's hash policy), as a 64-bit unsigned integer."""
        return None

    def metadata_match(self) -> dict[str, object] | None:
        """Criteria of subset load balancing (`envoy.lb` values that an endpoint must have)."""
        return None

    def downstream_connection(self) -> Connection | None:
        return None

    def request_headers(self) -> RequestHeaderMap | None:
        return None

    def stream_info(self) -> StreamInfo | None:
        """Of the request or connection that is being placed."""
        return None

    def attempt(self) -> int:
        """Which attempt this is, counted from 1."""
        return 1

    def host_selection_retry_count(self) -> int:
        """How often a host refused by `should_select_another_host` is chosen anew."""
        return 0

    def should_select_another_host(self, host: Host) -> bool:
        return False

    def determine_priority_load(self, load: PriorityLoad) -> PriorityLoad:
        """The loads of the priorities for this request; `load` is the regular one, not to be modified."""
        return load

    def override_host(self) -> str | None:
        """Address (`1.2.3.4:80`) of the host to use if it exists and its health allows; strict when prefixed `!`."""
        return None

    def transport_socket_options(self) -> TransportSocketOptions | None:
        """SNI, SANs and ALPN for the upstream connection; part of the pool's key."""
        return None
