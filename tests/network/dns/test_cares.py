"""Resolving with c-ares against a name server of the test's own, and with the system."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from outrider.event.dispatcher import Dispatcher, new_event_loop
from outrider.network.dns.cares import lookup_families
from outrider.network.dns.config import DNS_RESOLVERS
from outrider.network.dns.registry import DnsResolvers
from outrider.network.dns.resolver import (
    EMPTY,
    FAILURE,
    SUCCESS,
    SYSTEM,
    DnsAnswer,
    DnsResolver,
    DnsResolverConfig,
    cares_config,
)
from outrider.stats.store import Store
from tests.config.messages import TYPE_URL, view_of
from tests.support.dns_server import TYPE_A, DnsServer, Zone


class World:
    def __init__(self) -> None:
        self.loop = new_event_loop()
        self.dispatcher = Dispatcher("test", self.loop)
        self.store = Store()
        self.resolvers = DnsResolvers(self.dispatcher, self.store)
        self.server = DnsServer(
            {
                "a.test": Zone(["10.0.0.1", "10.0.0.2", "::5"], ttl=30),
                "four.test": Zone(["10.0.0.4"], ttl=7),
                "fail.test": Zone(failing=True),
                "silent.test": Zone(silent=True),
                "empty.test": Zone([]),
            }
        )

    def config(self, **fields: object) -> DnsResolverConfig:
        config = cares_config([("127.0.0.1", self.server.port)], no_search=True)
        for name, value in fields.items():
            setattr(config, name, value)
        return config

    def resolve(self, name: str, family: str = "AUTO", resolver: DnsResolver | None = None) -> DnsAnswer:
        used = resolver if resolver is not None else self.resolvers.get(self.config())

        async def wait() -> DnsAnswer:
            future: asyncio.Future[DnsAnswer] = self.loop.create_future()
            used.resolve(name, family, future.set_result)
            return await asyncio.wait_for(future, 10)

        return self.loop.run_until_complete(wait())

    def counter(self, name: str) -> int:
        return self.store.counters["dns.cares." + name].value


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.resolvers.close()
    made.server.close()
    made.loop.run_until_complete(made.dispatcher.shutdown())
    made.loop.close()


def test_addresses_with_ttl_in_the_order_of_the_answer(world: World) -> None:
    answer = world.resolve("a.test", "V4_ONLY")
    assert answer.status == SUCCESS
    assert answer.addresses == [("10.0.0.1", 30), ("10.0.0.2", 30)]
    assert world.server.queries == [("a.test", TYPE_A)]


@pytest.mark.parametrize(
    ("family", "name", "found"),
    [
        ("AUTO", "a.test", ["::5"]),
        ("AUTO", "four.test", ["10.0.0.4"]),
        ("V6_ONLY", "four.test", []),
        ("V4_PREFERRED", "a.test", ["10.0.0.1", "10.0.0.2"]),
        ("ALL", "a.test", ["10.0.0.1", "10.0.0.2", "::5"]),
    ],
)
def test_families(world: World, family: str, name: str, found: list[str]) -> None:
    assert sorted(address for address, _ in world.resolve(name, family).addresses) == sorted(found)


def test_answers_are_not_kept(world: World) -> None:
    world.resolve("a.test", "V4_ONLY")
    world.server.table["a.test"] = Zone(["10.0.0.9"])
    assert world.resolve("a.test", "V4_ONLY").addresses == [("10.0.0.9", 60)]
    assert world.counter("resolve_total") == 2


def test_no_such_name_and_no_such_record(world: World) -> None:
    assert world.resolve("none.test").status == EMPTY
    assert world.resolve("empty.test").status == EMPTY
    assert world.resolve("four.test", "V6_ONLY").status == EMPTY
    assert world.counter("not_found") == 5


def test_failure(world: World) -> None:
    answer = world.resolve("fail.test", "V4_ONLY")
    assert answer.status == FAILURE
    assert answer.details
    assert world.counter("get_addr_failure") == 1


def test_silence(world: World) -> None:
    resolver = world.resolvers.get(world.config(timeout_s=0.1, tries=1))
    assert world.resolve("silent.test", "V4_ONLY", resolver).status == FAILURE
    assert world.counter("timeouts") == 1


def test_hosts_file_and_literals(world: World) -> None:
    assert world.resolve("localhost", "V4_ONLY").addresses[0][0] == "127.0.0.1"
    assert world.resolve("127.0.0.7", "V4_ONLY").addresses[0][0] == "127.0.0.7"
    assert world.server.queries == []


def test_tcp(world: World) -> None:
    resolver = world.resolvers.get(world.config(use_tcp=True))
    assert world.resolve("four.test", "V4_ONLY", resolver).addresses == [("10.0.0.4", 7)]


def test_cancel(world: World) -> None:
    heard: list[DnsAnswer] = []
    query = world.resolvers.get(world.config()).resolve("a.test", "AUTO", heard.append)
    query.cancel()
    world.loop.run_until_complete(asyncio.sleep(0.05))
    assert heard == []
    assert world.store.gauges["dns.cares.pending_resolutions"].value == 0


def test_equal_configurations_share_a_resolver(world: World) -> None:
    assert world.resolvers.get(world.config()) is world.resolvers.get(world.config())
    assert world.resolvers.get(world.config()) is not world.resolvers.get(world.config(use_tcp=True))


def test_the_system(world: World) -> None:
    resolver = world.resolvers.get(DnsResolverConfig(SYSTEM))
    assert world.resolve("localhost", "V4_ONLY", resolver).addresses == [("127.0.0.1", 60)]
    assert world.resolve("no-such-name.invalid", "V4_ONLY", resolver).addresses == []


def test_lookup_families() -> None:
    assert len(lookup_families("AUTO")) == 2
    assert lookup_families("AUTO") == list(reversed(lookup_families("V4_PREFERRED")))
    assert lookup_families("V4_ONLY") != lookup_families("V6_ONLY")
    # Asking only for what can be reached leaves at least one.
    assert len(lookup_families("AUTO", True)) in (1, 2)


def test_configuration() -> None:
    type_name = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
    view = view_of(
        "envoy.config.core.v3.TypedExtensionConfig",
        {"name": "x", "typed_config": {"@type": TYPE_URL + type_name, "num_retries": 2, "num_resolver_threads": 3}},
    )
    config = DNS_RESOLVERS.create(view, None)
    assert (config.kind, config.retries, config.threads) == (SYSTEM, 2, 3)
    assert view.unread() == []
