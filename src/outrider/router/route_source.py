"""The route provider that a connection manager's `route_specifier` asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.http.conn_manager_settings import RouteProvider
from outrider.router.config.route_config import RouteConfig
from outrider.router.rds import discover_routes
from outrider.router.route_provider import StaticRouteProvider

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


def create_route_provider(config: View, context: FactoryContext) -> RouteProvider:
    """Raises ConfigError."""
    kind = config.which("route_specifier")
    if kind == "rds":
        rds = config.message("rds")
        assert rds is not None
        return discover_routes(rds, context)
    routes = config.message("route_config")
    if routes is None:
        return StaticRouteProvider(RouteConfig(""))
    return StaticRouteProvider(RouteConfig.from_view(routes, context))
