"""What the router tells load balancers about the request that it places."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import StringState
from outrider.data.header_map import RequestHeaderMap
from outrider.network.proxy_protocol import options_for
from outrider.network.shared_options import with_filter_state
from outrider.network.transport_socket import TransportSocketOptions
from outrider.upstream.load_balancer_context import LoadBalancerContext
from outrider.upstream.priority_load import PriorityLoad

if TYPE_CHECKING:
    from outrider.data.stream_info import StreamInfo
    from outrider.network.connection import Connection
    from outrider.router.filter import RouterFilter
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.host import Host

# Options for host names that were seen; the peer chooses the names, so their number is bounded.
_MAX_KNOWN_OPTIONS: Final = 1024

# Filter state with the address of the host that the request is to go to (stateful sessions); "!" before it: no other.
OVERRIDE_HOST_KEY: Final = "envoy.upstream.override_host"


def name_of_authority(authority: bytes) -> str:
    """The host name in `host:port`; empty for an IP address."""
    text = authority.decode("latin-1")
    if text.startswith("["):
        return ""
    host = text.partition(":")[0]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return ""


class RouterContext(LoadBalancerContext):
    """One for all requests of a worker: choosing a host is synchronous, so it serves one request after the other."""

    __slots__ = ("router", "_options")

    def __init__(self) -> None:
        # The request that is being placed.
        self.router: RouterFilter | None = None
        self._options: dict[tuple[bytes, bool, bool], TransportSocketOptions] = {}

    def compute_hash_key(self) -> int | None:
        router = self.router
        if router is None:
            return None
        policy = router.entry.hash_policy
        if policy is None:
            return None
        cookies: list[bytes] = []
        key = policy.compute(router.headers, router.manager.stream_info, cookies)
        if cookies and router.cookies is None:
            router.cookies = cookies
        return key

    def metadata_match(self) -> dict[str, object] | None:
        return None if self.router is None else self.router.entry.metadata_match

    def downstream_connection(self) -> Connection | None:
        return None if self.router is None else self.router.manager.connection

    def request_headers(self) -> RequestHeaderMap | None:
        return None if self.router is None else self.router.headers

    def stream_info(self) -> StreamInfo | None:
        return None if self.router is None else self.router.manager.stream_info

    def attempt(self) -> int:
        return 1 if self.router is None else self.router.attempt

    def host_selection_retry_count(self) -> int:
        router = self.router
        # Only retries avoid hosts.
        if router is None or router.attempt == 1 or router.retry is None:
            return 0
        return router.retry.policy.host_selection_max_attempts

    def should_select_another_host(self, host: Host) -> bool:
        router = self.router
        if router is None or router.attempt == 1 or router.retry is None:
            return False
        return router.retry.should_select_another_host(host)

    def determine_priority_load(self, load: PriorityLoad) -> PriorityLoad:
        router = self.router
        if router is None or router.attempt == 1 or router.retry is None:
            return load
        retry_priority = router.retry.retry_priority
        return load if retry_priority is None else retry_priority.determine_priority_load(load)

    def override_host(self) -> str | None:
        router = self.router
        state = None if router is None else router.manager.stream_info.filter_state
        if state is None:
            return None
        wanted = state.get(OVERRIDE_HOST_KEY)
        return wanted.text if isinstance(wanted, StringState) else None

    def transport_socket_options(self) -> TransportSocketOptions | None:
        """`auto_sni` and `auto_san_validation`: the name from the request's authority, or another header."""
        router = self.router
        if router is None:
            return None
        info = router.cluster_info
        named: TransportSocketOptions | None = None
        if info.auto_sni or info.auto_san_validation:
            named = self._named_options(router.headers, info)
        own = router.manager.stream_info.filter_state
        shared = router.manager.connection.info.filter_state
        if shared is not None:
            named = with_filter_state(shared, named)
        if own is not None:
            named = with_filter_state(own, named)
        if info.transport_socket_matcher.names_client:
            facts = router.manager.connection.info
            return options_for(facts.filter_state, facts.remote_address, facts.local_address, [], named)
        return named

    def _named_options(self, headers: RequestHeaderMap, info: ClusterInfo) -> TransportSocketOptions | None:
        authority = headers.authority
        if info.override_auto_sni_header:
            value = headers.get_joined(info.override_auto_sni_header)
            if value:
                authority = value
        key = (authority, info.auto_sni, info.auto_san_validation)
        options = self._options.get(key)
        if options is None:
            host = name_of_authority(authority)
            subject = host or authority.decode("latin-1").partition("]")[0].lstrip("[").partition(":")[0]
            sans = (subject,) if info.auto_san_validation else ()
            options = TransportSocketOptions(host if info.auto_sni else "", sans)
            if len(self._options) >= _MAX_KNOWN_OPTIONS:
                self._options.clear()
            self._options[key] = options
        return options
