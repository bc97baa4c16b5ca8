"""Configuration of resolvers: `CaresDnsResolverConfig` and `GetAddrInfoDnsResolverConfig`."""

from __future__ import annotations

import ipaddress
from typing import Final

from outrider.config.view import View
from outrider.network.dns.resolver import SYSTEM, DnsResolverConfig, cares_config
from outrider.registry import ExtensionRegistry

DNS_RESOLVERS: Final[ExtensionRegistry[DnsResolverConfig]] = ExtensionRegistry("envoy.network.dns_resolver")


def resolver_addresses(views: list[View]) -> list[tuple[str, int]]:
    """IP addresses and ports of name servers. Raises ConfigError."""
    servers: list[tuple[str, int]] = []
    for view in views:
        given = view.message("socket_address")
        if given is None:
            raise view.error("a resolver must be a socket_address")
        host = given.text("address")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise given.error(f"malformed IP address: {host}", "address") from None
        given.accept("protocol", "ipv4_compat")
        servers.append((host, given.integer("port_value") or 53))
    return servers


@DNS_RESOLVERS.register(
    "envoy.network.dns_resolver.cares", "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
)
def create_cares(view: View, context: object) -> DnsResolverConfig:
    config = cares_config(resolver_addresses(view.messages("resolvers")))
    config.servers_as_fallback = view.flag("use_resolvers_as_fallback")
    config.filter_unroutable = view.flag("filter_unroutable_families")
    options = view.message("dns_resolver_options")
    if options is not None:
        config.use_tcp = options.flag("use_tcp_for_dns_lookups")
        config.no_search = options.flag("no_default_search_domain")
    # Each query has a socket of its own here, so any limit of queries per socket is kept.
    view.integer("udp_max_queries")
    config.timeout_s = view.integer("query_timeout_seconds", 5)
    config.tries = view.integer("query_tries", 4)
    config.rotate = view.flag("rotate_nameservers")
    # Channels live for one query only.
    view.flag("reinit_channel_on_timeout")
    view.accept("max_udp_channel_duration")
    return config


@DNS_RESOLVERS.register(
    "envoy.network.dns_resolver.getaddrinfo",
    "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig",
)
def create_getaddrinfo(view: View, context: object) -> DnsResolverConfig:
    config = DnsResolverConfig(SYSTEM)
    config.retries = view.integer("num_retries", -1)
    config.threads = view.integer("num_resolver_threads", 1)
    return config
