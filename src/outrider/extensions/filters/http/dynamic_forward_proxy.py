"""envoy.filters.http.dynamic_forward_proxy: resolves the name that a request is for before it is routed on.

Source: Envoy documentation, "Dynamic forward proxy"; response code details and bodies are Envoy's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data import response_flag
from outrider.data.filter_state import StringState
from outrider.extensions.clusters.dynamic_forward_proxy import (
    HOST_KEY,
    DynamicForwardProxyCluster,
    state_port,
    state_text,
)
from outrider.extensions.dns_cache.cache import IN_CACHE, OVERFLOW, CacheWaiter, DnsCache, DnsEntry, split_host
from outrider.extensions.dns_cache.config import read_cache
from outrider.http.filter import (
    HEADERS_CONTINUE,
    HEADERS_STOP_ALL_AND_WATERMARK,
    HEADERS_STOP_ITERATION,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.router.config.route_entry import RouteEntry

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import RequestHeaderMap
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster_manager import ClusterManager

# Filter state with the address that `save_upstream_address` leaves for others.
UPSTREAM_ADDRESS_KEY: Final = "envoy.stream.upstream_address"


class HostRewrite:
    """The per-route configuration."""

    __slots__ = ("literal", "header")

    def __init__(self, literal: bytes, header: bytes) -> None:
        self.literal = literal
        # Name of the header that has the host.
        self.header = header


class DynamicForwardProxySettings:
    """What the filter was configured to do."""

    __slots__ = ("cache", "clusters", "save_address", "from_state")

    def __init__(self, cache: DnsCache, clusters: ClusterManager, save_address: bool, from_state: bool) -> None:
        self.cache = cache
        self.clusters = clusters
        self.save_address = save_address
        self.from_state = from_state


class DynamicForwardProxyFilter(HttpFilter):
    """One request."""

    def __init__(self, settings: DynamicForwardProxySettings) -> None:
        self.settings = settings
        self._wait: _Wait | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        manager = self.manager
        route = manager.route()
        if not isinstance(route, RouteEntry):
            return HEADERS_CONTINUE
        cluster = settings.clusters.get(route.cluster_name)
        if not isinstance(cluster, DynamicForwardProxyCluster):
            return HEADERS_CONTINUE
        cache = settings.cache
        if not cache.begin_request():
            manager.send_local_reply(
                503, "Dynamic forward proxy pending request overflow", "dynamic_forward_proxy_pending_request_overflow"
            )
            return HEADERS_STOP_ITERATION
        rewrite = route.per_filter_config(self.config_name)
        if isinstance(rewrite, HostRewrite):
            if rewrite.literal:
                headers.authority = rewrite.literal
            elif rewrite.header:
                value = headers.get(rewrite.header)
                if value:
                    headers.authority = value
        name = headers.authority.decode("latin-1")
        default_port = cluster.default_port
        if settings.from_state:
            name = state_text(manager.stream_info, HOST_KEY) or name
        host, port = split_host(name, default_port)
        if settings.from_state:
            port = state_port(manager.stream_info, port)
        wait = _Wait(self)
        status, entry = cache.load(host, port, wait)
        if status == IN_CACHE:
            cache.end_request()
            assert entry is not None
            return HEADERS_CONTINUE if self._settled(entry) else HEADERS_STOP_ITERATION
        if status == OVERFLOW:
            cache.end_request()
            manager.send_local_reply(503, "DNS cache overflow", "dns_cache_overflow")
            return HEADERS_STOP_ITERATION
        self._wait = wait
        return HEADERS_STOP_ALL_AND_WATERMARK

    def _settled(self, entry: DnsEntry) -> bool:
        """The name is resolved: False when it has no address and the request has been answered."""
        info = self.manager.stream_info
        if not entry.addresses:
            info.response_flags |= response_flag.DNS_RESOLUTION_FAILURE
            details = "dns_resolution_failure"
            if entry.details:
                details += "{" + entry.details + "}"
            self.manager.send_local_reply(503, "DNS resolution failure", details)
            return False
        if self.settings.save_address:
            if info.filter_state is None:
                info.filter_state = {}
            info.filter_state[UPSTREAM_ADDRESS_KEY] = StringState(entry.addresses[0].text)
        return True

    def on_resolved(self, entry: DnsEntry) -> None:
        """The answer that the request has waited for."""
        self._wait = None
        self.settings.cache.end_request()
        if self._settled(entry):
            self.continue_decoding()

    def on_destroy(self) -> None:
        wait = self._wait
        if wait is not None:
            self._wait = None
            wait.owner = None
            self.settings.cache.end_request()


class _Wait(CacheWaiter):
    """The filter's place among those who wait for a name."""

    __slots__ = ("owner",)

    def __init__(self, owner: DynamicForwardProxyFilter) -> None:
        self.owner: DynamicForwardProxyFilter | None = owner

    def on_resolved(self, entry: DnsEntry) -> None:
        owner = self.owner
        if owner is not None:
            self.owner = None
            owner.on_resolved(entry)


class DynamicForwardProxyFactory(HttpFilterFactory):
    """Makes the filter of each request."""

    def __init__(self, settings: DynamicForwardProxySettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return DynamicForwardProxyFilter(self.settings)


@HTTP_FILTERS.register(
    "envoy.filters.http.dynamic_forward_proxy", "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"
)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    cache_view = config.message("dns_cache_config")
    if cache_view is None:
        raise config.error("dns_cache_config is required", "dns_cache_config")
    return DynamicForwardProxyFactory(
        DynamicForwardProxySettings(
            read_cache(cache_view, context), context.cluster_manager, config.flag("save_upstream_address"),
            config.flag("allow_dynamic_host_from_filter_state"),
        )
    )


@route_config("envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig")
def create_route_config(config: View, context: FactoryContext) -> object:
    return HostRewrite(
        config.text("host_rewrite_literal").encode(), config.text("host_rewrite_header").lower().encode()
    )
