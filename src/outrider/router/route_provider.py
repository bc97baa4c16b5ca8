"""Where a connection manager's routes come from: written in its configuration, for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.http.conn_manager_settings import RouteProvider
from outrider.router.config.route_config import RouteConfig

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class StaticRouteProvider(RouteProvider):
    """`route_config` given in place."""

    def __init__(self, config: RouteConfig) -> None:
        self.config = config

    def match(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> object:
        return self.config.route(headers, info, random_value)

    def internal_only_headers(self) -> list[bytes]:
        return self.config.internal_only_headers


def create_route_provider(config: View, context: FactoryContext) -> RouteProvider:
    """The provider that an HttpConnectionManager's `route_specifier` asks for. Raises ConfigError.

    `rds` and `scoped_routes` are not read, and therefore refused by the check for unsupported fields.
    """
    routes = config.message("route_config")
    if routes is None:
        return StaticRouteProvider(RouteConfig(""))
    return StaticRouteProvider(RouteConfig.from_view(routes, context))
