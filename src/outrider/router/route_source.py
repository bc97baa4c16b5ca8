"""The route provider that a connection manager's `route_specifier` asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.http.conn_manager_settings import RouteProvider
from outrider.router.config.route_config import RouteConfig
from outrider.router.rds import discover_routes
from outrider.router.route_provider import StaticRouteProvider
from outrider.router.scoped_routes import create_scoped_routes

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
    if kind == "scoped_routes":
        scoped = config.message("scoped_routes")
        assert scoped is not None
        return create_scoped_routes(scoped, context)
    routes = config.message("route_config")
    if routes is None:
        return StaticRouteProvider(RouteConfig(""))
    return StaticRouteProvider(RouteConfig.from_view(routes, context))
