"""RouteConfig: virtual hosts by domain; the entry point of route matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.factory_context import FactoryContext
    from outrider.router.config.route import Route
    from outrider.router.config.virtual_host import VirtualHost


class RouteConfig:
    """A route table, immutable once built."""

    __slots__ = ("name", "virtual_hosts", "internal_only_headers", "metadata")

    def __init__(self, name: str) -> None:
        self.name = name
        self.virtual_hosts: list[VirtualHost] = []
        # Lower-case names that the connection manager strips from external requests.
        self.internal_only_headers: list[bytes] = []
        self.metadata: dict[str, dict[str, object]] = {}

    @classmethod
    def from_view(cls, view: View, context: FactoryContext) -> RouteConfig:
        """Build from an `envoy.config.route.v3.RouteConfiguration`. Raises ConfigError."""
        from outrider.router.config.route_config_loader import load_route_config

        return load_route_config(view, context)

    def route(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route | None:
        """The route of a request, its cluster resolved; None when nothing matches."""
        virtual_host = self.find_virtual_host(headers)
        return None if virtual_host is None else virtual_host.route(headers, info, random_value)
