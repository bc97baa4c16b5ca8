"""The cache of the forward proxies: one query for many who wait, limits, refresh, expiry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from outrider.extensions.dns_cache.cache import (
    IN_CACHE,
    LOADING,
    OVERFLOW,
    CacheObserver,
    CacheWaiter,
    DnsCache,
    DnsCacheSettings,
    DnsEntry,
    entry_key,
    split_host,
)
from outrider.network.dns.resolver import EMPTY, FAILURE, SUCCESS, DnsAnswer, DnsQuery, DnsResolver, cares_config
from outrider.stats.store import Store
from tests.upstream.fakes import FakeDispatcher


class Resolver(DnsResolver):
    def __init__(self) -> None:
        self.queries: list[tuple[str, DnsQuery]] = []

    def resolve(self, name: str, family: str, callback: Callable[[DnsAnswer], None]) -> DnsQuery:
        query = DnsQuery(callback)
        self.queries.append((name, query))
        return query

    def get(self, config: Any) -> DnsResolver:
        """It is its own registry."""
        return self

    def answer(self, *addresses: str, ttl: int = 60, status: int = SUCCESS) -> None:
        _, query = self.queries.pop(0)
        query.answer(DnsAnswer(status, [(address, ttl) for address in addresses]))


class Waiter(CacheWaiter):
    def __init__(self) -> None:
        self.entry: DnsEntry | None = None

    def on_resolved(self, entry: DnsEntry) -> None:
        self.entry = entry


class Observer(CacheObserver):
    def __init__(self) -> None:
        self.events: list[str] = []

    def on_host_changed(self, entry: DnsEntry) -> None:
        self.events.append(f"{entry.key}={','.join(address.text for address in entry.addresses)}")

    def on_host_removed(self, key: str) -> None:
        self.events.append(f"-{key}")


def make(**settings: Any) -> tuple[DnsCache, Resolver, FakeDispatcher, Store]:
    configured = DnsCacheSettings(cares_config([]))
    for name, value in settings.items():
        setattr(configured, name, value)
    resolver, dispatcher, store = Resolver(), FakeDispatcher(), Store()
    cache = DnsCache(configured, cast(Any, resolver), cast(Any, dispatcher), store.scope("c."))
    return cache, resolver, dispatcher, store


def test_hosts_and_ports() -> None:
    assert split_host("a.test", 80) == ("a.test", 80)
    assert split_host("a.test:81", 80) == ("a.test", 81)
    assert split_host("[::1]:81", 80) == ("::1", 81)
    assert split_host("[::1]", 80) == ("::1", 80)
    assert split_host("::1", 80) == ("::1", 80)
    assert split_host("a.test:99999", 80) == ("a.test", 80)
    assert entry_key("::1", 80) == "[::1]:80"


def test_many_wait_for_one_query() -> None:
    cache, resolver, _, _ = make()
    waiters = [Waiter(), Waiter()]
    assert [cache.load("a.test", 80, each)[0] for each in waiters] == [LOADING, LOADING]
    assert [name for name, _ in resolver.queries] == ["a.test"]
    resolver.answer("10.0.0.1", "10.0.0.2")
    for each in waiters:
        assert each.entry is not None
        assert [address.text for address in each.entry.addresses] == ["10.0.0.1:80", "10.0.0.2:80"]
    assert cache.load("a.test", 80, Waiter())[0] == IN_CACHE
    assert cache.stats.query_attempt.value == 1


def test_no_more_hosts_than_allowed() -> None:
    cache, _, _, _ = make(max_hosts=1)
    assert cache.load("a.test", 80, Waiter())[0] == LOADING
    assert cache.load("b.test", 80, Waiter()) == (OVERFLOW, None)
    assert cache.stats.host_overflow.value == 1


def test_no_more_waiting_requests_than_allowed() -> None:
    cache, _, _, _ = make(max_pending=1)
    assert cache.begin_request()
    assert not cache.begin_request()
    cache.end_request()
    assert cache.begin_request()
    assert cache.stats.pending_overflow.value == 1


def test_refreshed_by_its_ttl_and_followed() -> None:
    cache, resolver, dispatcher, _ = make()
    observer = Observer()
    cache.observers.append(observer)
    cache.load("a.test", 80, Waiter())
    resolver.answer("10.0.0.1", ttl=10)
    dispatcher.advance(9_000)
    assert not resolver.queries
    dispatcher.advance(2_000)
    resolver.answer("10.0.0.9", ttl=10)
    assert observer.events == ["a.test:80=10.0.0.1:80", "a.test:80=10.0.0.9:80"]


def test_an_answer_without_addresses_keeps_those_known() -> None:
    cache, resolver, dispatcher, _ = make()
    cache.load("a.test", 80, Waiter())
    resolver.answer("10.0.0.1", ttl=6)
    dispatcher.advance(7_000)
    resolver.answer(status=FAILURE)
    entry = cache.get("a.test:80")
    assert entry is not None and entry.addresses[0].text == "10.0.0.1:80"
    assert cache.stats.query_failure.value == 1


def test_dropped_when_nobody_asks() -> None:
    cache, resolver, dispatcher, _ = make(host_ttl_ms=5_000)
    observer = Observer()
    cache.observers.append(observer)
    cache.load("a.test", 80, Waiter())
    resolver.answer("10.0.0.1", ttl=10)
    dispatcher.advance(11_000)
    assert cache.entries == {}
    assert observer.events[-1] == "-a.test:80"
    assert cache.stats.num_hosts.value == 0


def test_a_silent_server_is_given_up() -> None:
    cache, _, dispatcher, _ = make(query_timeout_ms=1_000)
    waiter = Waiter()
    cache.load("a.test", 80, waiter)
    dispatcher.advance(1_100)
    assert waiter.entry is not None and waiter.entry.addresses == []
    assert cache.stats.query_timeout.value == 1


def test_no_such_name() -> None:
    cache, resolver, _, _ = make()
    waiter = Waiter()
    cache.load("a.test", 80, waiter)
    resolver.answer(status=EMPTY)
    assert waiter.entry is not None and waiter.entry.details == "cares_norecords"


def test_literals_are_not_asked_for() -> None:
    cache, resolver, dispatcher, _ = make()
    waiter = Waiter()
    cache.load("10.1.1.1", 80, waiter)
    assert not resolver.queries
    dispatcher.turn()
    assert waiter.entry is not None and waiter.entry.addresses[0].text == "10.1.1.1:80"
