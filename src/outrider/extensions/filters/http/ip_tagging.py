"""envoy.filters.http.ip_tagging: tells in a header which networks the client belongs to.

Source: Envoy documentation, "IP Tagging".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.address import KIND_IP
from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import X_ENVOY_INTERNAL
from outrider.http.filter import HEADERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.matching.cidr import CidrList, parse_cidr_range

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter

TYPE: Final = "envoy.extensions.filters.http.ip_tagging.v3.IPTagging"
_HEADER: Final = b"x-envoy-ip-tags"


class IpTagSettings:
    """Raises ConfigError."""

    def __init__(self, config: View, context: FactoryContext) -> None:
        self.kind = config.enum("request_type")
        # (name, networks, hits)
        self.tags: list[tuple[bytes, CidrList, Counter]] = []
        scope = context.scope.scope("ip_tagging.")
        views = config.messages("ip_tags")
        if not views:
            raise config.error("HTTP IP Tagging Filter requires ip_tags to be specified.")
        for view in views:
            name = view.text("ip_tag_name")
            networks = CidrList([parse_cidr_range(each) for each in view.messages("ip_list")])
            self.tags.append((name.encode(), networks, scope.counter(f"{name}.hit")))
        self.no_hit = scope.counter("no_hit")
        self.total = scope.counter("total")
        own = config.message("ip_tag_header")
        self.header: bytes = _HEADER
        self.sanitizes = False
        if own is not None:
            self.header = own.text("header").lower().encode()
            if not self.header.startswith(b"x-"):
                raise own.error("must begin with 'x-'", "header")
            self.sanitizes = own.enum("action") == "SANITIZE"


class IpTaggingFilter(HttpFilter):
    __slots__ = ("settings",)

    def __init__(self, settings: IpTagSettings) -> None:
        self.settings = settings

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        manager = self.manager
        route = manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        if isinstance(special, IpTagSettings):
            settings = special
        internal = headers.single.get(X_ENVOY_INTERNAL) == b"true"
        if (internal and settings.kind == "EXTERNAL") or (not internal and settings.kind == "INTERNAL"):
            return HEADERS_CONTINUE
        address = manager.stream_info.connection.remote_address
        found: list[bytes] = []
        if address.kind == KIND_IP:
            for name, networks, hits in settings.tags:
                if networks.contains(address):
                    found.append(name)
                    hits.inc()
        if found:
            tags = b",".join(sorted(found))
            if settings.sanitizes:
                headers.remove(settings.header)
                headers.set(settings.header, tags)
            else:
                headers.append(settings.header, tags)
            # The route may depend on it.
            manager.clear_route_cache()
        else:
            if settings.sanitizes and headers.remove(settings.header):
                manager.clear_route_cache()
            settings.no_hit.inc()
        settings.total.inc()
        return HEADERS_CONTINUE


class IpTaggingFactory(HttpFilterFactory):
    def __init__(self, settings: IpTagSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return IpTaggingFilter(self.settings)


@HTTP_FILTERS.register("envoy.filters.http.ip_tagging", TYPE, "envoy.ip_tagging")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return IpTaggingFactory(IpTagSettings(config, context))


@route_config(TYPE)
def create_for_route(config: View, context: FactoryContext) -> IpTagSettings:
    """Raises ConfigError."""
    return IpTagSettings(config, context)
