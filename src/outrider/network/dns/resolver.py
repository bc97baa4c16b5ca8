"""The interface of name resolution: names in, addresses with their time to live out, never blocking the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

CARES: Final = "cares"
SYSTEM: Final = "getaddrinfo"

# Outcome of a query.
SUCCESS: Final = 0
# An answer that says there is no such name or no such record: a success with no addresses.
EMPTY: Final = 1
FAILURE: Final = 2


class DnsResolverConfig:
    """Which resolver, and how. Equal configurations share one resolver (see `key`)."""

    __slots__ = (
        "kind", "servers", "servers_as_fallback", "use_tcp", "no_search", "timeout_s", "tries",
        "rotate", "filter_unroutable", "retries", "threads",
    )

    def __init__(self, kind: str) -> None:
        self.kind = kind
        # (IP, port); empty = the system's.
        self.servers: list[tuple[str, int]] = []
        # Only when the system has none of its own.
        self.servers_as_fallback: bool = False
        self.use_tcp: bool = False
        self.no_search: bool = False
        self.timeout_s: int = 5
        self.tries: int = 4
        self.rotate: bool = False
        # Ask only for the address families that have an interface.
        self.filter_unroutable: bool = False
        # getaddrinfo: how often EAI_AGAIN is tried again (-1 = for ever), and threads.
        self.retries: int = -1
        self.threads: int = 1

    def key(self) -> tuple[object, ...]:
        return (
            self.kind, tuple(self.servers), self.servers_as_fallback, self.use_tcp, self.no_search,
            self.timeout_s, self.tries, self.rotate, self.filter_unroutable, self.retries, self.threads,
        )


def cares_config(servers: list[tuple[str, int]], use_tcp: bool = False, no_search: bool = False) -> DnsResolverConfig:
    config = DnsResolverConfig(CARES)
    config.servers = servers
    config.use_tcp = use_tcp
    config.no_search = no_search
    return config


class DnsAnswer:
    """Addresses of one name, of both families in the order to try, each with its TTL in seconds."""

    __slots__ = ("status", "addresses", "details")

    def __init__(self, status: int, addresses: list[tuple[str, int]], details: str = "") -> None:
        self.status = status
        self.addresses = addresses
        # Why it failed.
        self.details = details

    def __repr__(self) -> str:
        return f"<DnsAnswer {self.status} {self.addresses} {self.details}>"


class DnsQuery:
    """A query under way."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[DnsAnswer], None]) -> None:
        self.callback: Callable[[DnsAnswer], None] | None = callback

    def cancel(self) -> None:
        """The callback will not be called."""
        self.callback = None

    def answer(self, answer: DnsAnswer) -> None:
        callback = self.callback
        if callback is not None:
            self.callback = None
            callback(answer)


class DnsResolver:
    """Resolves names. `family` is AUTO, V4_ONLY, V6_ONLY, V4_PREFERRED or ALL, with Envoy's meanings."""

    def resolve(self, name: str, family: str, callback: Callable[[DnsAnswer], None]) -> DnsQuery:
        """`callback` is called later, once, from the loop."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up what is under way; callbacks are not called."""
