"""Discovered resources from main to the workers: what each subscription there hears, and when."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.subscriptions import resource

from outrider.config.errors import ConfigError
from outrider.config.subscription import Resource, Subscription, SubscriptionCallbacks, SubscriptionFactory
from outrider.config.view import View
from outrider.server import messages
from outrider.server.relay import RelaySubscriptions
from outrider.server.worker_subscriptions import WorkerSubscriptions
from outrider.stats.store import Scope, Store

ROUTES = "envoy.config.route.v3.RouteConfiguration"
HOSTS = "envoy.config.route.v3.VirtualHost"


class Heard(SubscriptionCallbacks):
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.refuse = False

    def on_state(self, resources: list[Resource], version: str) -> None:
        if self.refuse:
            raise ConfigError("no")
        self.events.append(([each.view.text("name") for each in resources], version))

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        if self.refuse:
            raise ConfigError("no")
        self.events.append(([each.name for each in added], removed, version))


class Source(Subscription):
    def __init__(self, callbacks: SubscriptionCallbacks) -> None:
        self.callbacks = callbacks
        self.said: list[Any] = []

    def start(self, names: Any) -> None:
        self.said.append(("start", names))

    def update_interest(self, names: Any) -> None:
        self.said.append(("interest", names))

    def request_on_demand(self, names: Any) -> None:
        self.said.append(("demand", names))

    def close(self) -> None:
        self.said.append("close")


class Sources(SubscriptionFactory):
    def __init__(self) -> None:
        self.made: list[Source] = []

    def subscribe(
        self, source: View | None, type_name: str, callbacks: SubscriptionCallbacks, scope: Scope, path_key: str = ""
    ) -> Subscription:
        made = Source(callbacks)
        self.made.append(made)
        return made


class World:
    """Main's relay and one worker, connected directly."""

    def __init__(self) -> None:
        self.sources = Sources()
        self.relay = RelaySubscriptions(self.sources)
        self.worker = WorkerSubscriptions()
        self.relay.send = self.deliver
        self.worker.ask = self.relay.request_on_demand
        self.store = Store()

    def deliver(self, kind: str, payload: Any) -> None:
        if kind == messages.RELAY:
            self.worker.apply(payload)
        else:
            assert kind == messages.RELAY_FORGET
            self.worker.forget(payload)

    def in_main(self, names: list[str] | None, type_name: str = ROUTES) -> tuple[Heard, Subscription, Source]:
        heard = Heard()
        subscription = self.relay.subscribe(None, type_name, heard, self.store)
        subscription.start(names)
        return heard, subscription, self.sources.made[-1]

    def in_worker(self, names: list[str] | None, type_name: str = ROUTES) -> tuple[Heard, Subscription]:
        heard = Heard()
        subscription = self.worker.subscribe(None, type_name, heard, self.store)
        subscription.start(names)
        return heard, subscription


def routes(*names: str) -> list[Resource]:
    return [resource(ROUTES, {"name": name}) for name in names]


def test_what_main_accepts_reaches_whom_it_concerns() -> None:
    world = World()
    heard, _, source = world.in_main(["a", "b"])
    in_a, _ = world.in_worker(["a"])
    in_c, _ = world.in_worker(["c"])
    source.callbacks.on_state(routes("a"), "1")
    assert heard.events == [(["a"], "1")]
    assert in_a.events == [(["a"], "1")]
    assert in_c.events == []


def test_what_is_known_is_told_at_the_start() -> None:
    world = World()
    _, _, source = world.in_main(["a", "b"])
    source.callbacks.on_state(routes("a", "b"), "1")
    late, _ = world.in_worker(["b"])
    assert late.events == [(["b"], "1")]


def test_a_worker_that_starts_late_gets_all() -> None:
    world = World()
    _, _, source = world.in_main(["a"])
    _, _, hosts = world.in_main(None, HOSTS)
    source.callbacks.on_state(routes("a"), "1")
    hosts.callbacks.on_delta([resource(HOSTS, {"name": "x", "domains": ["x"]})], [], "2")
    other = WorkerSubscriptions()
    for payload in world.relay.snapshot():
        other.apply(payload)
    heard = Heard()
    other.subscribe(None, ROUTES, heard, world.store).start(["a"])
    assert heard.events == [(["a"], "1")]
    everything = Heard()
    other.subscribe(None, HOSTS, everything, world.store).start(None)
    assert everything.events == [(["x"], [], "2")]


def test_what_main_refuses_stays_there() -> None:
    world = World()
    heard, _, source = world.in_main(["a"])
    in_worker, _ = world.in_worker(["a"])
    source.callbacks.on_state(routes("a"), "1")
    heard.refuse = True
    with pytest.raises(ConfigError):
        source.callbacks.on_state(routes("a"), "2")
    assert in_worker.events == [(["a"], "1")]
    assert world.relay.snapshot()[0][4] == "1"


def test_a_wildcard_forgets_what_is_gone() -> None:
    world = World()
    _, _, source = world.in_main(None)
    in_worker, _ = world.in_worker(None)
    source.callbacks.on_state(routes("a", "b"), "1")
    source.callbacks.on_state(routes("b"), "2")
    source.callbacks.on_state([], "3")
    assert in_worker.events == [(["a", "b"], "1"), (["b"], "2"), ([], "3")]
    assert world.worker.table((ROUTES, b"", "")).resources == {}


def test_the_end_of_the_last_user_forgets() -> None:
    world = World()
    _, first, source = world.in_main(["a", "b"])
    _, second, _ = world.in_main(["b"])
    source.callbacks.on_state(routes("a", "b"), "1")
    first.close()
    assert source.said[-1] == "close"
    assert list(world.worker.table((ROUTES, b"", "")).resources) == ["b"]
    source.callbacks.on_state(routes("a"), "2")
    second.close()
    assert world.worker.tables == {} and world.relay.tables == {}


def test_interest_that_grows_is_told_what_is_known() -> None:
    world = World()
    _, _, source = world.in_main(["a", "b"])
    source.callbacks.on_state(routes("a", "b"), "1")
    heard, subscription = world.in_worker(["a"])
    subscription.update_interest(["a", "b"])
    assert heard.events == [(["a"], "1"), (["b"], "1")]


def test_workers_ask_for_more() -> None:
    world = World()
    _, _, one = world.in_main(["one"], HOSTS)
    _, _, two = world.in_main(["two"], HOSTS)
    heard, subscription = world.in_worker(["two"], HOSTS)
    subscription.request_on_demand(["two/host"])
    assert two.said[-1] == ("demand", ["two/host"])
    assert one.said == [("start", ["one"])]
    found = resource(HOSTS, {"name": "two_host", "domains": ["host"]}, "two/host")
    two.callbacks.on_delta([found], [], "5")
    assert heard.events == [(["two/host"], [], "5")]
    two.callbacks.on_delta([], ["two/host"], "6")
    assert heard.events[-1] == ([], ["two/host"], "6")


def test_a_worker_survives_callbacks_that_fail() -> None:
    world = World()
    _, _, source = world.in_main(["a"])
    broken, _ = world.in_worker(["a"])
    sound, _ = world.in_worker(["a"])
    broken.refuse = True
    source.callbacks.on_state(routes("a"), "1")
    assert sound.events == [(["a"], "1")]


def test_nothing_is_told_after_close() -> None:
    world = World()
    _, _, source = world.in_main(["a"])
    heard, subscription = world.in_worker(["a"])
    subscription.close()
    source.callbacks.on_state(routes("a"), "1")
    assert heard.events == []
