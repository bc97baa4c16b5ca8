"""envoy.network.dns_resolver.getaddrinfo: the system's resolver, called on threads of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from outrider.network.dns.cares import lookup_families
from outrider.network.dns.resolver import EMPTY, FAILURE, SUCCESS, DnsAnswer, DnsQuery, DnsResolver, DnsResolverConfig

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

# The system tells no TTL; Envoy takes a minute.
TTL_S = 60


class SystemResolver(DnsResolver):
    """See the module."""

    def __init__(self, dispatcher: Dispatcher, config: DnsResolverConfig) -> None:
        self.dispatcher = dispatcher
        self.config = config
        self.executor = ThreadPoolExecutor(max_workers=max(config.threads, 1), thread_name_prefix="dns")

    def resolve(self, name: str, family: str, callback: Callable[[DnsAnswer], None]) -> DnsQuery:
        query = DnsQuery(callback)
        self.dispatcher.spawn(self._resolve(name, lookup_families(family), query))
        return query

    async def _resolve(self, name: str, families: list[int], query: DnsQuery) -> None:
        loop = self.dispatcher.loop
        answer = DnsAnswer(EMPTY, [])
        for family in families:
            answer = await loop.run_in_executor(self.executor, _lookup, name, family, self.config.retries)
            if answer.addresses or query.callback is None:
                break
        query.answer(answer)

    def close(self) -> None:
        self.executor.shutdown(wait=False, cancel_futures=True)


def _lookup(name: str, family: int, retries: int) -> DnsAnswer:
    attempts = 0
    while True:
        try:
            found: list[Any] = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN and (retries < 0 or attempts < retries) and attempts < 10:
                attempts += 1
                continue
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)):
                return DnsAnswer(EMPTY, [], str(error))
            return DnsAnswer(FAILURE, [], str(error))
        except (OSError, UnicodeError) as error:
            return DnsAnswer(FAILURE, [], str(error))
        return DnsAnswer(SUCCESS, [(str(entry[4][0]), TTL_S) for entry in found])
