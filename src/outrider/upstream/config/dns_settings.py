"""Name resolution of a cluster: the fields of `Cluster` and of `DnsCluster`, and the resolver's own configuration."""

from __future__ import annotations

from typing import Final

from outrider.config.view import View
from outrider.network.dns.config import DNS_RESOLVERS, resolver_addresses
from outrider.network.dns.resolver import DnsResolverConfig, cares_config

AUTO: Final = "AUTO"
V4_ONLY: Final = "V4_ONLY"
V6_ONLY: Final = "V6_ONLY"
V4_PREFERRED: Final = "V4_PREFERRED"
ALL: Final = "ALL"

DEFAULT_REFRESH_MS: Final = 5000


class DnsSettings:
    """Times in milliseconds."""

    __slots__ = (
        "refresh_ms", "min_refresh_ms", "failure_base_ms", "failure_max_ms", "respect_ttl", "jitter_ms", "family",
        "resolver", "single_endpoint",
    )

    def __init__(self, resolver: DnsResolverConfig) -> None:
        self.refresh_ms: int = DEFAULT_REFRESH_MS
        # Lower bound for TTLs.
        self.min_refresh_ms: int = 1000
        # After a failure; base 0 = the ordinary refresh rate.
        self.failure_base_ms: int = 0
        self.failure_max_ms: int = 0
        self.respect_ttl: bool = False
        self.jitter_ms: int = 0
        self.family: str = AUTO
        self.resolver = resolver
        # LOGICAL_DNS, `all_addresses_in_single_endpoint`: one host, whatever the number of addresses.
        self.single_endpoint: bool = False


def _failure_rate(view: View, settings: DnsSettings) -> None:
    rate = view.message("dns_failure_refresh_rate")
    if rate is None:
        return
    base = rate.millis("base_interval") or 0
    maximum = rate.millis("max_interval") if rate.has("max_interval") else base * 10
    if maximum is None or maximum < base:
        raise rate.error(
            "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval"
        )
    settings.failure_base_ms = base
    settings.failure_max_ms = maximum


def read_cluster_dns(view: View, default: View | None) -> DnsSettings:
    """From the fields of `Cluster`; `default` is the bootstrap's resolver. Raises ConfigError."""
    settings = DnsSettings(_cluster_resolver(view, default))
    refresh = view.millis("dns_refresh_rate")
    settings.refresh_ms = refresh if refresh is not None else DEFAULT_REFRESH_MS
    _failure_rate(view, settings)
    settings.respect_ttl = view.flag("respect_dns_ttl")
    settings.jitter_ms = view.millis("dns_jitter") or 0
    settings.family = view.enum("dns_lookup_family")
    return settings


def read_dns_cluster(view: View, default: View | None) -> DnsSettings:
    """From `envoy.extensions.clusters.dns.v3.DnsCluster`. Raises ConfigError."""
    if view.has("typed_dns_resolver_config"):
        given = view.message("typed_dns_resolver_config")
        assert given is not None
        resolver = DNS_RESOLVERS.create(given, None)
    else:
        resolver = _default_resolver(default)
    settings = DnsSettings(resolver)
    refresh = view.millis("dns_refresh_rate")
    settings.refresh_ms = refresh if refresh is not None else DEFAULT_REFRESH_MS
    minimum = view.millis("dns_min_refresh_rate")
    if minimum is not None:
        settings.min_refresh_ms = minimum
    _failure_rate(view, settings)
    settings.respect_ttl = view.flag("respect_dns_ttl")
    settings.jitter_ms = view.millis("dns_jitter") or 0
    family = view.enum("dns_lookup_family")
    settings.family = AUTO if family == "UNSPECIFIED" else family
    settings.single_endpoint = view.flag("all_addresses_in_single_endpoint")
    return settings


def accept_unused_dns(view: View) -> None:
    """For clusters that resolve nothing: Envoy ignores these fields, too."""
    view.accept(
        "dns_refresh_rate", "dns_failure_refresh_rate", "respect_dns_ttl", "dns_jitter", "dns_lookup_family",
        "dns_resolvers", "use_tcp_for_dns_lookups", "dns_resolution_config", "typed_dns_resolver_config",
    )


def _cluster_resolver(view: View, default: View | None) -> DnsResolverConfig:
    # The newest form wins over the older ones.
    if view.has("typed_dns_resolver_config"):
        given = view.message("typed_dns_resolver_config")
        assert given is not None
        view.accept("dns_resolution_config", "dns_resolvers", "use_tcp_for_dns_lookups")
        return DNS_RESOLVERS.create(given, None)
    if view.has("dns_resolution_config"):
        older = view.message("dns_resolution_config")
        assert older is not None
        view.accept("dns_resolvers", "use_tcp_for_dns_lookups")
        options = older.message("dns_resolver_options")
        return cares_config(
            resolver_addresses(older.messages("resolvers")),
            use_tcp=options is not None and options.flag("use_tcp_for_dns_lookups"),
            no_search=options is not None and options.flag("no_default_search_domain"),
        )
    servers = resolver_addresses(view.messages("dns_resolvers"))
    use_tcp = view.flag("use_tcp_for_dns_lookups")
    if servers or use_tcp:
        return cares_config(servers, use_tcp=use_tcp)
    return _default_resolver(default)


def _default_resolver(default: View | None) -> DnsResolverConfig:
    """The bootstrap's `typed_dns_resolver_config`, or c-ares with the system's servers."""
    if default is None:
        return cares_config([])
    return DNS_RESOLVERS.create(default, None)
