"""envoy.filters.http.on_demand: a request waits for routes (VHDS, scopes on demand) or a cluster that it is the first
to need.

Source: Envoy documentation, "On-demand VHDS, S/RDS and CDS Updates"; `OnDemandRouteUpdate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.http.active_stream import ActiveStream
from outrider.http.conn_manager_settings import RouteUpdateWaiter
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_WATERMARK,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.route import HttpRoute
from outrider.router.config.route_entry import RouteEntry
from outrider.upstream.on_demand_clusters import ClusterWait, ClusterWaiter, OnDemandClusters, discover_clusters

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster_manager import ClusterManager


class OnDemandSettings:
    """`clusters` None: routes only."""

    __slots__ = ("clusters", "manager")

    def __init__(self, clusters: OnDemandClusters | None, manager: ClusterManager) -> None:
        self.clusters = clusters
        self.manager = manager


class _RouteWait(RouteUpdateWaiter):
    """Hands the answer on to the filter."""

    def __init__(self, owner: OnDemandFilter) -> None:
        self.owner: OnDemandFilter | None = owner

    def on_route_update(self, found: bool) -> None:
        owner = self.owner
        self.owner = None
        if owner is not None:
            owner.go_on()


class _ClusterAnswer(ClusterWaiter):
    """Hands the answer on to the filter."""

    def __init__(self, owner: OnDemandFilter) -> None:
        self.owner = owner

    def on_cluster_discovery(self, found: bool) -> None:
        self.owner.go_on()


class OnDemandFilter(HttpFilter):
    """Stops a request while something is discovered for it."""

    __slots__ = ("settings", "waiting", "cluster_wait", "_route_wait", "_in_headers")

    def __init__(self, settings: OnDemandSettings) -> None:
        self.settings = settings
        self.waiting = False
        self.cluster_wait: ClusterWait | None = None
        self._route_wait: _RouteWait | None = None
        self._in_headers = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        self._in_headers = True
        route = self.manager.route()
        if route is None:
            self._ask_for_route(headers)
            # The answer may have been there at once.
            route = None if self.waiting else self.manager.route()
        if route is not None:
            self._ask_for_cluster(route)
        self._in_headers = False
        return HEADERS_STOP_ITERATION if self.waiting else HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return DATA_STOP_AND_WATERMARK if self.waiting else DATA_CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> int:
        return TRAILERS_STOP if self.waiting else TRAILERS_CONTINUE

    def on_destroy(self) -> None:
        self.waiting = False
        if self._route_wait is not None:
            self._route_wait.owner = None
            stream = self.manager
            if isinstance(stream, ActiveStream):
                stream.settings.routes.forget(self._route_wait)
            self._route_wait = None
        if self.cluster_wait is not None:
            self.cluster_wait.cancel()
            self.cluster_wait = None

    def go_on(self) -> None:
        """Serve the request with what there is now; what was asked for is there, or will not come.

        As in Envoy, the filters before this one have seen the request without its route.
        """
        self.waiting = False
        self._route_wait = None
        self.cluster_wait = None
        self.manager.clear_route_cache()
        # Within `decode_headers` it goes on by itself.
        if not self._in_headers:
            self.continue_decoding()

    def _ask_for_route(self, headers: RequestHeaderMap) -> None:
        stream = self.manager
        if not isinstance(stream, ActiveStream):
            return
        wait = _RouteWait(self)
        self._route_wait = wait
        self.waiting = True
        if not stream.settings.routes.request_update(headers, wait):
            self.waiting = False
            self._route_wait = None

    def _ask_for_cluster(self, route: HttpRoute) -> None:
        if not isinstance(route, RouteEntry) or not route.cluster_name:
            return
        settings = self.settings
        by_route = route.per_filter_config(self.config_name)
        if isinstance(by_route, OnDemandSettings):
            settings = by_route
        clusters = settings.clusters
        if clusters is None or settings.manager.has(route.cluster_name):
            return
        self.waiting = True
        wait = clusters.request(route.cluster_name, _ClusterAnswer(self))
        if self.waiting:
            self.cluster_wait = wait


class OnDemandFilterFactory(HttpFilterFactory):
    def __init__(self, settings: OnDemandSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return OnDemandFilter(self.settings)


def read_settings(config: View, context: FactoryContext) -> OnDemandSettings:
    """Of the filter, or of a route. Raises ConfigError."""
    odcds = config.message("odcds")
    clusters: OnDemandClusters | None = None
    if odcds is not None:
        clusters = discover_clusters(
            odcds.message("source"), odcds.text("resources_locator"), odcds.millis("timeout"), context
        )
    return OnDemandSettings(clusters, context.cluster_manager)


@HTTP_FILTERS.register("envoy.filters.http.on_demand", "envoy.extensions.filters.http.on_demand.v3.OnDemand")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return OnDemandFilterFactory(read_settings(config, context))


@route_config("envoy.extensions.filters.http.on_demand.v3.PerRouteConfig")
def create_for_route(config: View, context: FactoryContext) -> OnDemandSettings:
    return read_settings(config, context)
