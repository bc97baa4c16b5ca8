"""The cache: an entry for each `host:port`, resolved when it is first asked for, refreshed while it is in use.

Source: Envoy documentation, "Dynamic forward proxy"; `dns_cache.<name>.*` statistics. Each worker has a cache of its
own, so its limits (`max_hosts`, pending requests) are those of one worker.
"""

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.data.address import KIND_IP, Address
from outrider.network.dns.registry import DnsResolvers
from outrider.network.dns.resolver import CARES, FAILURE, DnsAnswer, DnsQuery, DnsResolver, DnsResolverConfig
from outrider.stats.metrics import Counter, Gauge

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from outrider.event.dispatcher import Dispatcher
    from outrider.stats.store import Scope

_TIMED_OUT: Final = "resolver_timeout"

# Outcome of `load`.
IN_CACHE: Final = 0
LOADING: Final = 1
OVERFLOW: Final = 2


class DnsCacheSettings:
    """Times in milliseconds."""

    __slots__ = (
        "resolver", "family", "refresh_ms", "min_refresh_ms", "host_ttl_ms", "max_hosts", "keep_on_failure",
        "failure_base_ms", "failure_max_ms", "max_pending", "query_timeout_ms",
    )  # fmt: skip

    def __init__(self, resolver: DnsResolverConfig) -> None:
        self.resolver = resolver
        self.family: str = "AUTO"
        # After a failure, and for names without a TTL.
        self.refresh_ms: int = 60_000
        self.min_refresh_ms: int = 5_000
        # An entry that nobody has asked for this long is dropped.
        self.host_ttl_ms: int = 300_000
        self.max_hosts: int = 1024
        # `disable_dns_refresh_on_failure`: an entry without an address is dropped, and asked for anew by traffic.
        self.keep_on_failure: bool = False
        self.failure_base_ms: int = 0
        self.failure_max_ms: int = 0
        self.max_pending: int = 1024
        self.query_timeout_ms: int = 5_000


class DnsCacheStats:
    """`dns_cache.<name>.*`"""

    __slots__ = (
        "query_attempt", "query_success", "query_failure", "query_timeout", "host_added", "host_removed",
        "host_address_changed", "host_overflow", "pending_overflow", "num_hosts", "pending_open", "pending_remaining",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.query_attempt: Counter = scope.counter("dns_query_attempt")
        self.query_success: Counter = scope.counter("dns_query_success")
        self.query_failure: Counter = scope.counter("dns_query_failure")
        self.query_timeout: Counter = scope.counter("dns_query_timeout")
        self.host_added: Counter = scope.counter("host_added")
        self.host_removed: Counter = scope.counter("host_removed")
        self.host_address_changed: Counter = scope.counter("host_address_changed")
        self.host_overflow: Counter = scope.counter("host_overflow")
        self.pending_overflow: Counter = scope.counter("dns_rq_pending_overflow")
        self.num_hosts: Gauge = scope.gauge("num_hosts")
        self.pending_open: Gauge = scope.gauge("circuit_breakers.rq_pending_open")
        self.pending_remaining: Gauge = scope.gauge("circuit_breakers.rq_pending_remaining")
        # Of features that are refused: there, and zero.
        scope.counter("cache_load")
        scope.counter("dns_address_filter_out")


@mypyc_attr(allow_interpreted_subclasses=True)
class CacheWaiter:
    """Whoever waits for a name."""

    def on_resolved(self, entry: DnsEntry) -> None:
        """The first answer has come; `entry.addresses` is empty when there is no address."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class CacheObserver:
    """A cluster that follows the entries."""

    def on_host_changed(self, entry: DnsEntry) -> None:
        """New, or at other addresses."""

    def on_host_removed(self, key: str) -> None:
        """Not in use any more."""


class DnsEntry:
    """One `host:port`."""

    __slots__ = ("key", "host", "port", "addresses", "resolved", "details", "last_used_ms", "waiters", "query", "timer",
                 "deadline", "failure_step_ms", "ttl_ms")  # fmt: skip

    def __init__(self, key: str, host: str, port: int, now_ms: int) -> None:
        self.key = key
        self.host = host
        self.port = port
        self.addresses: list[Address] = []
        # A first answer has come, whatever it said.
        self.resolved: bool = False
        # Why there is no address.
        self.details: str = ""
        self.last_used_ms: int = now_ms
        self.waiters: list[CacheWaiter] = []
        self.query: DnsQuery | None = None
        # Of the refresh, and of the query's timeout.
        self.timer: TimerHandle | None = None
        self.deadline: TimerHandle | None = None
        self.failure_step_ms: int = 0
        self.ttl_ms: int = 0


def split_host(authority: str, default_port: int) -> tuple[str, int]:
    """Host and port of an authority: `name`, `name:80`, `[::1]`, `[::1]:80`, `::1`."""
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else ""
    elif authority.count(":") == 1:
        host, _, port = authority.partition(":")
    else:
        host, port = authority, ""
    if port.isascii() and port.isdigit() and int(port) <= 65535:
        return host, int(port)
    return host, default_port


def entry_key(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class DnsCache:
    """All entries of one name."""

    def __init__(
        self, settings: DnsCacheSettings, resolvers: DnsResolvers, dispatcher: Dispatcher, scope: Scope
    ) -> None:
        self.settings = settings
        self.resolvers = resolvers
        self.dispatcher = dispatcher
        self.stats = DnsCacheStats(scope)
        self.entries: dict[str, DnsEntry] = {}
        self.observers: list[CacheObserver] = []
        # Requests that wait for a name.
        self.pending: int = 0

    def begin(self) -> None:
        """This cache is one that serves: its limit shows."""
        self.stats.pending_remaining.set(self.settings.max_pending)

    # --- pending requests ---

    def begin_request(self) -> bool:
        """Take a place among the waiting requests; False when there is none left."""
        if self.pending >= self.settings.max_pending:
            self.stats.pending_overflow.inc()
            return False
        self.pending += 1
        self._show_pending()
        return True

    def end_request(self) -> None:
        self.pending -= 1
        self._show_pending()

    def _show_pending(self) -> None:
        left = self.settings.max_pending - self.pending
        self.stats.pending_remaining.set(left)
        self.stats.pending_open.set(0 if left > 0 else 1)

    # --- entries ---

    def load(self, host: str, port: int, waiter: CacheWaiter) -> tuple[int, DnsEntry | None]:
        """IN_CACHE with the entry, LOADING (the waiter will be called) or OVERFLOW."""
        key = entry_key(host, port)
        entry = self.entries.get(key)
        if entry is None:
            if len(self.entries) >= self.settings.max_hosts:
                self.stats.host_overflow.inc()
                return OVERFLOW, None
            entry = self._add(key, host, port)
            self._resolve(entry)
        entry.last_used_ms = self.dispatcher.clock.now_ms()
        if entry.resolved:
            return IN_CACHE, entry
        entry.waiters.append(waiter)
        return LOADING, entry

    def get(self, key: str) -> DnsEntry | None:
        """A known entry, which is then in use."""
        entry = self.entries.get(key)
        if entry is not None:
            entry.last_used_ms = self.dispatcher.clock.now_ms()
        return entry

    def preresolve(self, names: list[tuple[str, int]]) -> None:
        """Begin with these, as soon as the loop turns."""
        for host, port in names:
            key = entry_key(host, port)
            if key not in self.entries:
                self.dispatcher.post(self._resolve, self._add(key, host, port))

    def _add(self, key: str, host: str, port: int) -> DnsEntry:
        entry = DnsEntry(key, host, port, self.dispatcher.clock.now_ms())
        self.entries[key] = entry
        self.stats.host_added.inc()
        self.stats.num_hosts.inc()
        return entry

    def _remove(self, entry: DnsEntry) -> None:
        if self.entries.get(entry.key) is entry:
            del self.entries[entry.key]
            self.stats.host_removed.inc()
            self.stats.num_hosts.dec()
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        for observer in self.observers:
            observer.on_host_removed(entry.key)

    # --- resolving ---

    def _resolve(self, entry: DnsEntry) -> None:
        entry.timer = None
        self.stats.query_attempt.inc()
        try:
            literal = str(ipaddress.ip_address(entry.host))
        except ValueError:
            literal = ""
        if literal:
            # Nothing to ask; answered from the loop, like any other.
            entry.query = DnsQuery(_Answer(self, entry).take)
            self.dispatcher.post(entry.query.answer, DnsAnswer(0, [(literal, 0)]))
            return
        resolver: DnsResolver = self.resolvers.get(self.settings.resolver)
        family = self.settings.family
        if self.settings.query_timeout_ms > 0:
            entry.deadline = self.dispatcher.call_later(
                self.settings.query_timeout_ms / 1000, self._on_timeout, entry
            )
        entry.query = resolver.resolve(entry.host, family, _Answer(self, entry).take)

    def _on_timeout(self, entry: DnsEntry) -> None:
        entry.deadline = None
        if entry.query is not None:
            entry.query.cancel()
            entry.query = None
        self.stats.query_timeout.inc()
        self.on_answer(entry, DnsAnswer(FAILURE, [], _TIMED_OUT))

    def on_answer(self, entry: DnsEntry, answer: DnsAnswer) -> None:
        """Take over what came, tell those who wait, and see to the next refresh."""
        entry.query = None
        if entry.deadline is not None:
            entry.deadline.cancel()
            entry.deadline = None
        if answer.status == FAILURE:
            self.stats.query_failure.inc()
        else:
            self.stats.query_success.inc()
        first = not entry.resolved
        entry.resolved = True
        found: list[Address] = []
        for host, _ in answer.addresses:
            address = Address(KIND_IP, host, entry.port)
            if address not in found:
                found.append(address)
        changed = False
        # An answer without addresses does not take away those that are known.
        if found:
            entry.details = ""
            changed = found != entry.addresses
            if changed:
                entry.addresses = found
                self.stats.host_address_changed.inc()
        elif not entry.addresses:
            entry.details = self._failure_text(answer)
        if changed:
            for observer in self.observers:
                observer.on_host_changed(entry)
        if first:
            waiters = entry.waiters
            entry.waiters = []
            for waiter in waiters:
                waiter.on_resolved(entry)
        if not found and self.settings.keep_on_failure and not entry.addresses:
            self._remove(entry)
            return
        self._schedule(entry, answer)

    def _failure_text(self, answer: DnsAnswer) -> str:
        """As Envoy's resolvers put it."""
        if self.settings.resolver.kind != CARES or answer.details == _TIMED_OUT:
            return answer.details or "no_address"
        kind = "cares_failure" if answer.status == FAILURE else "cares_norecords"
        return f"{kind}:{answer.details}" if answer.details else kind

    def _schedule(self, entry: DnsEntry, answer: DnsAnswer) -> None:
        settings = self.settings
        if answer.addresses:
            entry.failure_step_ms = 0
            ttl_ms = answer.addresses[0][1] * 1000
            delay = max(ttl_ms or settings.refresh_ms, settings.min_refresh_ms)
        elif settings.failure_base_ms:
            step = entry.failure_step_ms or settings.failure_base_ms
            entry.failure_step_ms = min(step * 2, settings.failure_max_ms)
            delay = max(1, min(random.randrange(step) + 1, settings.failure_max_ms))
        else:
            delay = settings.refresh_ms
        entry.timer = self.dispatcher.call_later(delay / 1000, self._refresh, entry)

    def _refresh(self, entry: DnsEntry) -> None:
        entry.timer = None
        if self.dispatcher.clock.now_ms() - entry.last_used_ms > self.settings.host_ttl_ms:
            self._remove(entry)
        else:
            self._resolve(entry)


class _Answer:
    """Hands the resolver's answer on with its entry."""

    __slots__ = ("cache", "entry")

    def __init__(self, cache: DnsCache, entry: DnsEntry) -> None:
        self.cache = cache
        self.entry = entry

    def take(self, answer: DnsAnswer) -> None:
        self.cache.on_answer(self.entry, answer)
