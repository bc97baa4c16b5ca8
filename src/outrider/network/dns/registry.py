"""Resolvers that exist: clusters with equal configuration share one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.network.dns.resolver import CARES, DnsResolver, DnsResolverConfig
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher


class DnsResolvers:
    """Made on first use, closed together."""

    def __init__(self, dispatcher: Dispatcher, scope: Scope) -> None:
        self.dispatcher = dispatcher
        self.scope = scope
        self._made: dict[tuple[object, ...], DnsResolver] = {}

    def get(self, config: DnsResolverConfig) -> DnsResolver:
        key = config.key()
        found = self._made.get(key)
        if found is None:
            # c-ares starts a thread when it is first used: imported only where names are resolved.
            if config.kind == CARES:
                from outrider.network.dns.cares import CaresResolver

                found = CaresResolver(self.dispatcher, config, self.scope)
            else:
                from outrider.network.dns.system import SystemResolver

                found = SystemResolver(self.dispatcher, config)
            self._made[key] = found
        return found

    def close(self) -> None:
        for resolver in self._made.values():
            resolver.close()
        self._made.clear()
