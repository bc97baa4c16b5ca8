"""`envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig`, and the cache that a name in it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.extensions.dns_cache.cache import DnsCache, DnsCacheSettings
from outrider.network.dns.config import DNS_RESOLVERS, resolver_addresses
from outrider.network.dns.registry import DnsResolvers
from outrider.network.dns.resolver import DnsResolverConfig, cares_config

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_SINGLETON: Final = "dns_cache"
_RESOLVERS: Final = "dns_cache_resolvers"


class _Known:
    """A cache and the configuration it was first named with."""

    __slots__ = ("cache", "text")

    def __init__(self, cache: DnsCache, text: bytes) -> None:
        self.cache = cache
        self.text = text


def worker_resolvers(context: FactoryContext) -> DnsResolvers:
    """The resolvers of this process half for names that traffic asks for."""
    found = context.singletons.get(_RESOLVERS)
    if not isinstance(found, DnsResolvers):
        found = DnsResolvers(context.dispatcher, context.root_scope)
        context.singletons[_RESOLVERS] = found
    return found


def read_cache(view: View, context: FactoryContext) -> DnsCache:
    """The cache of that name; made when it is first named. Raises ConfigError, also for another configuration."""
    caches = context.singletons.setdefault(_SINGLETON, {})
    assert isinstance(caches, dict)
    name = view.text("name")
    settings = _read_settings(view)
    text = view.message_bytes()
    known = caches.get(name)
    if known is not None:
        if known.text != text:
            raise view.error(f"config specified DNS cache with name '{name}' with different settings", "name")
        cache: DnsCache = known.cache
        return cache
    scope = context.root_scope.scope(f"dns_cache.{name}.")
    cache = DnsCache(settings, worker_resolvers(context), context.dispatcher, scope)
    caches[name] = _Known(cache, text)
    preresolve: list[tuple[str, int]] = []
    for each in view.messages("preresolve_hostnames"):
        each.accept("protocol")
        preresolve.append((each.text("address"), each.integer("port_value")))
    if len(preresolve) > settings.max_hosts:
        raise view.error(
            f"DNS Cache [{name}] configured with preresolve_hostnames={len(preresolve)} larger than "
            f"max_hosts={settings.max_hosts}",
            "preresolve_hostnames",
        )
    if not context.is_main:
        cache.begin()
        cache.preresolve(preresolve)
    return cache


def _read_settings(view: View) -> DnsCacheSettings:
    settings = DnsCacheSettings(_resolver(view))
    settings.family = view.enum("dns_lookup_family")
    refresh = view.millis("dns_refresh_rate")
    if refresh is not None:
        settings.refresh_ms = refresh
    minimum = view.millis("dns_min_refresh_rate")
    if minimum is not None:
        settings.min_refresh_ms = minimum
    ttl = view.millis("host_ttl")
    if ttl is not None:
        settings.host_ttl_ms = ttl
    settings.max_hosts = view.integer("max_hosts", settings.max_hosts)
    settings.keep_on_failure = view.flag("disable_dns_refresh_on_failure")
    rate = view.message("dns_failure_refresh_rate")
    if rate is not None:
        settings.failure_base_ms = rate.millis("base_interval") or 0
        longest = rate.millis("max_interval")
        settings.failure_max_ms = settings.failure_base_ms * 10 if longest is None else longest
        if settings.failure_max_ms < settings.failure_base_ms:
            raise rate.error(
                "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval"
            )
    breakers = view.message("dns_cache_circuit_breaker")
    if breakers is not None:
        settings.max_pending = breakers.integer("max_pending_requests", settings.max_pending)
    timeout = view.millis("dns_query_timeout")
    if timeout is not None:
        settings.query_timeout_ms = timeout
    return settings


def _resolver(view: View) -> DnsResolverConfig:
    typed = view.message("typed_dns_resolver_config")
    if typed is not None:
        view.accept("dns_resolution_config", "use_tcp_for_dns_lookups")
        return DNS_RESOLVERS.create(typed, None)
    older = view.message("dns_resolution_config")
    if older is not None:
        view.accept("use_tcp_for_dns_lookups")
        options = older.message("dns_resolver_options")
        return cares_config(
            resolver_addresses(older.messages("resolvers")),
            use_tcp=options is not None and options.flag("use_tcp_for_dns_lookups"),
            no_search=options is not None and options.flag("no_default_search_domain"),
        )
    return cares_config([], use_tcp=view.flag("use_tcp_for_dns_lookups"))
