"""RouteConfig: virtual hosts by domain; the entry point of route matching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.router.config.domain_table import DomainTable, host_without_port
from outrider.router.config.path_match import path_only, without_parameters

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.factory_context import FactoryContext
    from outrider.router.config.route import Route
    from outrider.router.config.virtual_host import VirtualHost

_QUESTION_MARK: Final = 0x3F
_HASH: Final = 0x23
_SEMICOLON: Final = 0x3B


class RouteConfig:
    """A route table, immutable once built."""

    __slots__ = (
        "name",
        "virtual_hosts",
        "domains",
        "internal_only_headers",
        "metadata",
        "ignore_port",
        "vhost_header",
        "ignore_path_parameters",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.virtual_hosts: list[VirtualHost] = []
        self.domains = DomainTable()
        # Lower-case names that the connection manager strips from external requests.
        self.internal_only_headers: list[bytes] = []
        self.metadata: dict[str, dict[str, object]] = {}
        self.ignore_port: bool = False
        # Header that takes the place of the authority in the choice of the virtual host; empty when not set.
        self.vhost_header: bytes = b""
        self.ignore_path_parameters: bool = False

    @classmethod
    def from_view(cls, view: View, context: FactoryContext, validate_clusters_default: bool = True) -> RouteConfig:
        """Build from an `envoy.config.route.v3.RouteConfiguration`. Raises ConfigError.

        `validate_clusters_default`: meaning of an unset `validate_clusters`; True for inline configurations, False for
        those from RDS.
        """
        from outrider.router.config.route_config_loader import load_route_config

        return load_route_config(view, context, validate_clusters_default)

    def with_hosts(self, hosts: list[VirtualHost]) -> RouteConfig:
        """The same table with these virtual hosts instead of its own. Raises ValueError: a domain comes twice."""
        twin = RouteConfig(self.name)
        twin.internal_only_headers = self.internal_only_headers
        twin.metadata = self.metadata
        twin.ignore_port = self.ignore_port
        twin.vhost_header = self.vhost_header
        twin.ignore_path_parameters = self.ignore_path_parameters
        twin.virtual_hosts = hosts
        for host in hosts:
            for domain in host.domains:
                problem = twin.domains.add(domain, host)
                if problem:
                    raise ValueError(f"{problem} in route {self.name}")
        return twin

    def find_virtual_host(self, headers: RequestHeaderMap) -> VirtualHost | None:
        domains = self.domains
        if domains.only_default:
            return domains.default
        if self.vhost_header:
            value = headers.get(self.vhost_header)
            if value is None:
                return None
        else:
            value = headers.authority
            if not value:
                return None
        if self.ignore_port:
            value = host_without_port(value)
        return domains.find(value)

    def match_path(self, path: bytes) -> bytes:
        """The part of a path that routes are matched against."""
        # Numbers: to look for bytes in bytes, Python first makes and drops an exception.
        if _QUESTION_MARK in path or _HASH in path:
            path = path_only(path)
        if self.ignore_path_parameters and _SEMICOLON in path:
            path = without_parameters(path)
        return path

    def route(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route | None:
        """The route of a request, its cluster resolved; None when nothing matches."""
        virtual_host = self.find_virtual_host(headers)
        return None if virtual_host is None else virtual_host.route(headers, info, random_value)

    def explain(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> list[str]:
        """How the route of a request comes about, line by line, for a person."""
        host = self.find_virtual_host(headers)
        authority = headers.authority.decode("utf-8", "replace")
        if host is None:
            return [f"no virtual host for {authority!r}"]
        return [f"virtual host {host.name!r} for {authority!r}", *host.explain(headers, info, random_value)]

    def __repr__(self) -> str:
        return f"<RouteConfig {self.name!r}: {len(self.virtual_hosts)} virtual hosts>"
