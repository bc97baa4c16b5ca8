"""Hosts from names: what becomes of answers, failures and TTLs; time moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outrider.data.address import ip_address
from outrider.network.dns.resolver import EMPTY, FAILURE, SUCCESS, DnsAnswer, DnsQuery, DnsResolver, cares_config
from outrider.stats.store import Store
from outrider.upstream.config.cluster_config import LOGICAL_DNS, STRICT_DNS, ClusterConfig
from outrider.upstream.config.dns_settings import DnsSettings
from outrider.upstream.config.endpoints import EndpointAddress, EndpointConfig
from outrider.upstream.control.cluster_control import ClusterControl
from outrider.upstream.control.discovery import order_addresses
from outrider.upstream.control.update_merger import MergeStats
from outrider.upstream.hosts_update import HostsUpdate
from tests.config.messages import view_of
from tests.upstream.fakes import FakeDispatcher, make_info


class Resolver(DnsResolver):
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.queries: list[DnsQuery] = []

    def resolve(self, name: str, family: str, callback: Callable[[DnsAnswer], None]) -> DnsQuery:
        query = DnsQuery(callback)
        self.asked.append((name, family))
        self.queries.append(query)
        return query

    def answer(self, *addresses: str, ttl: int = 60, status: int = SUCCESS) -> None:
        """To the query that came last."""
        self.queries[-1].answer(DnsAnswer(status, [(address, ttl) for address in addresses]))


class Context:
    def __init__(self, dispatcher: FakeDispatcher) -> None:
        self.dispatcher = dispatcher
        self.arena = None


def endpoint(name: str, port: int = 80) -> EndpointConfig:
    address = EndpointAddress()
    address.host = name
    address.port = port
    return EndpointConfig(address, view_of("envoy.config.endpoint.v3.Endpoint", {}))


class World:
    def __init__(self, *names: str, logical: bool = False, **settings: Any) -> None:
        config = ClusterConfig("c")
        config.discovery = LOGICAL_DNS if logical else STRICT_DNS
        config.dns = DnsSettings(cares_config([]))
        config.dns.single_endpoint = logical
        for name, value in settings.items():
            setattr(config.dns, name, value)
        config.assignment.endpoints = [endpoint(name) for name in names]
        self.resolver = Resolver()
        self.dispatcher = FakeDispatcher()
        self.store = Store()
        self.updates: list[HostsUpdate] = []
        self.ready = 0
        context: Any = Context(self.dispatcher)
        self.control = ClusterControl(
            make_info(config, self.store), context, self.resolver, self.updates.append, MergeStats(self.store)
        )
        self.control.start(self._on_ready)

    def _on_ready(self) -> None:
        self.ready += 1

    def addresses(self) -> list[str]:
        return [spec.address.text for spec in self.updates[-1].hosts]

    def counter(self, name: str) -> int:
        return self.store.counters["cluster.c." + name].value


def test_every_address_is_a_host() -> None:
    world = World("a.test")
    assert world.resolver.asked == [("a.test", "AUTO")]
    assert world.ready == 0
    world.resolver.answer("10.0.0.1", "10.0.0.2", "10.0.0.1", "::1")
    assert world.addresses() == ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"]
    assert world.updates[-1].hosts[0].hostname == "a.test"
    assert world.ready == 1
    assert world.control.info.stats.membership_total.value == 3
    assert (world.counter("update_success"), world.counter("membership_change")) == (1, 1)


def test_refresh_keeps_what_is_the_same() -> None:
    world = World("a.test", refresh_ms=1000)
    world.resolver.answer("10.0.0.1", "10.0.0.2")
    first = world.control.hosts["10.0.0.1:80"]
    world.dispatcher.advance(1100)
    world.resolver.answer("10.0.0.2", "10.0.0.1")
    assert len(world.updates) == 1
    assert world.counter("update_no_rebuild") == 1
    world.dispatcher.advance(1100)
    world.resolver.answer("10.0.0.1", "10.0.0.3")
    assert world.addresses() == ["10.0.0.1:80", "10.0.0.3:80"]
    assert world.control.hosts["10.0.0.1:80"] is first
    assert world.counter("membership_change") == 2


def test_a_failure_keeps_the_hosts() -> None:
    world = World("a.test", refresh_ms=1000)
    world.resolver.answer("10.0.0.1")
    world.dispatcher.advance(1100)
    world.resolver.answer(status=FAILURE)
    assert world.addresses() == ["10.0.0.1:80"]
    assert world.counter("update_failure") == 1


def test_no_records_takes_them_away() -> None:
    world = World("a.test", refresh_ms=1000)
    world.resolver.answer("10.0.0.1")
    world.dispatcher.advance(1100)
    world.resolver.answer(status=EMPTY)
    assert world.addresses() == []
    assert world.counter("update_success") == 2


def test_a_first_failure_ends_the_wait() -> None:
    world = World("a.test")
    world.resolver.answer(status=FAILURE)
    assert world.ready == 1
    assert world.addresses() == []


def test_the_first_of_several_names_ends_the_wait() -> None:
    world = World("a.test", "b.test")
    world.resolver.queries[1].answer(DnsAnswer(SUCCESS, [("10.0.0.2", 1)]))
    assert world.ready == 1
    world.resolver.queries[0].answer(DnsAnswer(SUCCESS, [("10.0.0.1", 1), ("10.0.0.2", 1)]))
    assert world.addresses() == ["10.0.0.1:80", "10.0.0.2:80"]


def asked_again_after(world: World, limit_ms: int = 100_000) -> int:
    count = len(world.resolver.asked)
    start = world.dispatcher.clock.now
    while len(world.resolver.asked) == count and world.dispatcher.clock.now - start < limit_ms:
        world.dispatcher.advance(100)
    return world.dispatcher.clock.now - start


def test_ttl() -> None:
    world = World("a.test", refresh_ms=1000, respect_ttl=True)
    world.resolver.queries[-1].answer(DnsAnswer(SUCCESS, [("10.0.0.1", 30), ("10.0.0.2", 7)]))
    assert asked_again_after(world) == 7000
    world.resolver.answer("10.0.0.1", ttl=0)
    assert asked_again_after(world) == 1000


def test_least_refresh_interval_bounds_ttls() -> None:
    world = World("a.test", respect_ttl=True, min_refresh_ms=5000)
    world.resolver.answer("10.0.0.1", ttl=1)
    assert asked_again_after(world) == 5000


def test_failures_back_off() -> None:
    world = World("a.test", refresh_ms=50_000, failure_base_ms=1000, failure_max_ms=2000)
    for _ in range(5):
        world.resolver.answer(status=FAILURE)
        assert asked_again_after(world) <= 2000
    plain = World("a.test", refresh_ms=3000)
    plain.resolver.answer(status=FAILURE)
    assert asked_again_after(plain) == 3000


def test_jitter() -> None:
    world = World("a.test", refresh_ms=1000, jitter_ms=1000)
    waits = set()
    for _ in range(20):
        world.resolver.answer("10.0.0.1")
        waits.add(asked_again_after(world))
    assert min(waits) >= 1000 and max(waits) <= 2100 and len(waits) > 1


def test_literals_are_not_asked_for() -> None:
    world = World("10.0.0.9")
    assert world.resolver.asked == []
    assert world.addresses() == ["10.0.0.9:80"]
    assert world.ready == 1


def test_a_logical_host_is_one_host() -> None:
    world = World("a.test", logical=True, refresh_ms=1000)
    world.resolver.answer("10.0.0.1", "10.0.0.2")
    assert world.addresses() == ["10.0.0.1:80"]
    assert [address.text for address in world.updates[-1].hosts[0].addresses] == ["10.0.0.1:80", "10.0.0.2:80"]
    key = world.updates[-1].hosts[0].key
    world.dispatcher.advance(1100)
    world.resolver.answer("10.0.0.3")
    assert world.addresses() == ["10.0.0.3:80"]
    assert world.updates[-1].hosts[0].key == key
    assert world.updates[-1].hosts[0].addresses == []


def test_a_logical_host_without_address_is_a_failure() -> None:
    world = World("a.test", logical=True, refresh_ms=1000)
    world.resolver.answer("10.0.0.1")
    world.dispatcher.advance(1100)
    world.resolver.answer(status=EMPTY)
    assert world.addresses() == ["10.0.0.1:80"]
    assert world.counter("update_failure") == 1


def test_stop() -> None:
    world = World("a.test", refresh_ms=1000)
    world.control.stop()
    world.resolver.answer("10.0.0.1")
    assert world.updates == []
    world.dispatcher.advance(5000)
    assert len(world.resolver.asked) == 1


def test_families_take_turns() -> None:
    world = World("a.test")
    addresses = [ip_address(text, 1) for text in ("::1", "::2", "10.0.0.1", "10.0.0.2", "::3")]
    texts = [address.host for address in order_addresses(addresses, world.control)]
    assert texts == ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]
    world.control.info.config.first_family = 4
    world.control.info.config.first_family_count = 2
    texts = [address.host for address in order_addresses(addresses, world.control)]
    assert texts == ["10.0.0.1", "10.0.0.2", "::1", "::2", "::3"]
