"""Scoped routes at run time: the key of a request, and the route table of its scope.

Source: `ScopedRoutes.ScopeKeyBuilder`; Envoy documentation, "Scoped route discovery service (SRDS)".
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.http.conn_manager_settings import RouteProvider, RouteUpdateWaiter
from outrider.router.route_provider import RouteHolder, request_host


class HeaderFragment:
    """A `header_value_extractor`: one part of the key from a request header."""

    __slots__ = ("name", "separator", "index", "element_separator", "element_key")

    def __init__(
        self, name: bytes, separator: bytes, index: int, element_separator: bytes = b"", element_key: bytes = b""
    ) -> None:
        self.name = name
        # Of elements; empty: the whole value is one.
        self.separator = separator
        # -1: the first element with `element_key`.
        self.index = index
        self.element_separator = element_separator
        self.element_key = element_key

    def extract(self, headers: RequestHeaderMap) -> bytes | None:
        """None: the request has no such part, and therefore no scope."""
        value = headers.get(self.name)
        if value is None:
            return None
        elements = value.split(self.separator) if self.separator else [value]
        if self.index >= 0:
            return elements[self.index] if self.index < len(elements) else None
        for element in elements:
            key, _, rest = element.partition(self.element_separator)
            if key == self.element_key:
                return rest
        return None


class ScopeKeyBuilder:
    """All fragments of a key."""

    __slots__ = ("fragments",)

    def __init__(self, fragments: list[HeaderFragment]) -> None:
        self.fragments = fragments

    def key(self, headers: RequestHeaderMap) -> bytes | None:
        """The key of a request; None when a part is missing."""
        parts: list[bytes] = []
        for fragment in self.fragments:
            part = fragment.extract(headers)
            if part is None:
                return None
            parts.append(part)
        return join_key(parts)


def join_key(parts: list[bytes]) -> bytes:
    """One key of several fragments. No header holds the byte between them."""
    return b"\0".join(parts)


@mypyc_attr(allow_interpreted_subclasses=True)
class OnDemandScopes:
    """Scopes whose routes are asked for when the first request comes."""

    def request(self, key: bytes, waiter: RouteUpdateWaiter) -> None:
        """`waiter` is told when the scope's routes are in force, or that there is no such scope."""
        raise NotImplementedError

    def forget(self, waiter: RouteUpdateWaiter) -> None:
        """The request is over."""


class ScopeTable:
    """The route tables of all scopes; shared and changed in place."""

    __slots__ = ("holders", "on_demand", "internal_only_headers")

    def __init__(self) -> None:
        self.holders: dict[bytes, RouteHolder] = {}
        self.on_demand: OnDemandScopes | None = None
        self.internal_only_headers: list[bytes] = []

    def replace(self, holders: dict[bytes, RouteHolder]) -> None:
        self.holders = holders
        self.refresh()

    def refresh(self) -> None:
        """Gather anew what the tables have in common."""
        names: list[bytes] = []
        for holder in self.holders.values():
            for name in holder.internal_only_headers:
                if name not in names:
                    names.append(name)
        self.internal_only_headers[:] = names


class ScopedRouteProvider(RouteProvider):
    """`scoped_routes`"""

    def __init__(self, builder: ScopeKeyBuilder, table: ScopeTable) -> None:
        self.builder = builder
        self.table = table

    def holder(self, headers: RequestHeaderMap) -> RouteHolder | None:
        key = self.builder.key(headers)
        return None if key is None else self.table.holders.get(key)

    def match(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> object:
        holder = self.holder(headers)
        if holder is None:
            return None
        config = holder.config
        return None if config is None else config.route(headers, info, random_value)

    def internal_only_headers(self) -> list[bytes]:
        return self.table.internal_only_headers

    def request_update(self, headers: RequestHeaderMap, waiter: RouteUpdateWaiter) -> bool:
        holder = self.holder(headers)
        if holder is not None and request_host(holder, headers, waiter):
            return True
        on_demand = self.table.on_demand
        key = self.builder.key(headers)
        if on_demand is None or key is None:
            return False
        on_demand.request(key, waiter)
        return True

    def forget(self, waiter: RouteUpdateWaiter) -> None:
        if self.table.on_demand is not None:
            self.table.on_demand.forget(waiter)
        for holder in self.table.holders.values():
            if holder.on_demand_hosts is not None:
                holder.on_demand_hosts.forget(waiter)
