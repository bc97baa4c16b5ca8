"""Where a connection manager's routes come from, as its streams see it: fixed, or in a holder that discovery fills."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.http.conn_manager_settings import RouteProvider, RouteUpdateWaiter
from outrider.router.config.route_config import RouteConfig


class StaticRouteProvider(RouteProvider):
    """`route_config` given in place."""

    def __init__(self, config: RouteConfig) -> None:
        self.config = config

    def match(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> object:
        return self.config.route(headers, info, random_value)

    def internal_only_headers(self) -> list[bytes]:
        return self.config.internal_only_headers


@mypyc_attr(allow_interpreted_subclasses=True)
class OnDemandHosts:
    """Virtual hosts that are asked for when the first request for them comes (VHDS)."""

    def request(self, host: str, waiter: RouteUpdateWaiter) -> None:
        """Ask for the virtual host of an authority; `waiter` is told when the answer is in force."""
        raise NotImplementedError

    def forget(self, waiter: RouteUpdateWaiter) -> None:
        """The request is over."""
        raise NotImplementedError


class RouteHolder:
    """The route table of one name, whichever it is at the moment; requests that have their route keep it."""

    __slots__ = ("config", "on_demand_hosts", "internal_only_headers")

    def __init__(self) -> None:
        # None: nothing has arrived yet.
        self.config: RouteConfig | None = None
        # There while the route configuration says `vhds`.
        self.on_demand_hosts: OnDemandHosts | None = None
        # One list for good, so that it can be shared; changed in place.
        self.internal_only_headers: list[bytes] = []

    def replace(self, config: RouteConfig | None) -> None:
        """Put another table in force."""
        self.config = config
        self.internal_only_headers[:] = config.internal_only_headers if config is not None else []


class DiscoveredRouteProvider(RouteProvider):
    """`rds`: the table comes later, and changes."""

    def __init__(self, holder: RouteHolder) -> None:
        self.holder = holder

    def match(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> object:
        config = self.holder.config
        return None if config is None else config.route(headers, info, random_value)

    def internal_only_headers(self) -> list[bytes]:
        return self.holder.internal_only_headers

    def request_update(self, headers: RequestHeaderMap, waiter: RouteUpdateWaiter) -> bool:
        return request_host(self.holder, headers, waiter)

    def forget(self, waiter: RouteUpdateWaiter) -> None:
        hosts = self.holder.on_demand_hosts
        if hosts is not None:
            hosts.forget(waiter)


def request_host(holder: RouteHolder, headers: RequestHeaderMap, waiter: RouteUpdateWaiter) -> bool:
    """Ask for the virtual host of a request, where its table discovers them on demand."""
    hosts = holder.on_demand_hosts
    if hosts is None:
        return False
    hosts.request(headers.authority.decode("utf-8", "replace").lower(), waiter)
    return True
