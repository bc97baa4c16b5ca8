"""Clusters that are discovered on demand: a worker's side and main's."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.config.subscription import CONNECTION_FAILURE, UPDATE_REJECTED
from outrider.config.view import View
from outrider.factory_context import FactoryContext
from outrider.upstream.cluster import Cluster
from outrider.upstream.cluster_manager import ClusterManager, ClusterSource
from outrider.upstream.on_demand_clusters import CLUSTER, ClusterWaiter, OnDemandClusters, discover_clusters
from tests.router.config.support import make_context, view_of
from tests.support.dispatcher import idle_dispatcher
from tests.support.subscriptions import FakeSubscriptions, resource


class Source(ClusterSource):
    """Main's clusters, by name."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.dropped: list[str] = []

    def has(self, name: str) -> bool:
        return name in [taken for taken, _ in self.taken]

    def make(self, name: str) -> Cluster | None:
        return None

    def take_discovered(self, view: View, version: str) -> None:
        name = view.text("name")
        if name == "bad":
            raise ConfigError("no good")
        self.taken.append((name, version))

    def drop_discovered(self, name: str) -> None:
        self.dropped.append(name)


class Waiter(ClusterWaiter):
    def __init__(self) -> None:
        self.told: list[bool] = []

    def on_cluster_discovery(self, found: bool) -> None:
        self.told.append(found)


def context_of(subscriptions: FakeSubscriptions, is_main: bool = False) -> tuple[FactoryContext, Source]:
    context = make_context()
    context.subscriptions = subscriptions
    context.is_main = is_main
    context.dispatcher = idle_dispatcher()
    context.cluster_manager = ClusterManager()
    source = Source()
    context.cluster_manager.source = source
    return context, source


def clusters(context: FactoryContext, locator: str = "", timeout_ms: int | None = None) -> OnDemandClusters:
    view = view_of("envoy.extensions.filters.http.on_demand.v3.OnDemandCds", {"source": {"ads": {}}})
    return discover_clusters(view.message("source"), locator, timeout_ms, context)


def cluster(name: str, **more: Any) -> Any:
    return resource(CLUSTER, {"name": name, **more})


def test_worker_waits_until_it_has_heard_of_the_cluster() -> None:
    subscriptions = FakeSubscriptions()
    context, _ = context_of(subscriptions)
    on_demand = clusters(context)
    first, second, other = Waiter(), Waiter(), Waiter()
    on_demand.request("a", first)
    on_demand.request("a", second)
    on_demand.request("b", other)
    [subscription] = subscriptions.made
    assert subscription.names == ["a", "b"] and subscription.on_demand == ["a", "b"]
    # Main has it; that this worker hears of it is another matter.
    subscription.send_delta(cluster("a"))
    assert first.told == []
    context.cluster_manager.announce("a")
    assert first.told == second.told == [True] and other.told == []
    subscription.send_delta(removed=["b"])
    assert other.told == [False]
    # Asked for again, main is told again.
    on_demand.request("b", other)
    assert subscription.on_demand == ["a", "b", "b"]


def test_waits_end() -> None:
    subscriptions = FakeSubscriptions()
    context, _ = context_of(subscriptions)
    on_demand = clusters(context, timeout_ms=100)
    late, gone, refused, last = Waiter(), Waiter(), Waiter(), Waiter()
    on_demand.request("a", late).on_timer(0)
    on_demand.request("a", gone).cancel()
    assert late.told == [False] and gone.told == []
    on_demand.request("a", refused)
    subscriptions.made[0].callbacks.on_failed(CONNECTION_FAILURE, "")
    assert refused.told == []
    subscriptions.made[0].callbacks.on_failed(UPDATE_REJECTED, "")
    assert refused.told == [False]
    on_demand.request("a", last)
    for callback in context.on_close:
        callback()
    assert last.told == [False] and subscriptions.made[0].closed
    context.cluster_manager.announce("a")
    assert last.told == [False]


def test_main_asks_and_takes_over() -> None:
    subscriptions = FakeSubscriptions()
    context, source = context_of(subscriptions, is_main=True)
    clusters(context)
    [subscription] = subscriptions.made
    assert not subscription.started
    assert subscription.callbacks.on_demand(["a"])
    assert subscription.names == ["a"]
    subscription.callbacks.on_demand(["b"])
    assert subscription.names == ["a", "b"]
    subscription.send_delta(cluster("a"), version="7")
    assert source.taken == [("a", "1")]
    with pytest.raises(ConfigError, match=r"Error adding/updating cluster\(s\) bad: no good"):
        subscription.send_delta(cluster("bad"), cluster("c"))
    assert source.taken == [("a", "1"), ("c", "1")]
    subscription.send_delta(removed=["b"])
    assert source.dropped == ["b"]
    # What is there need not be asked for; what was not is asked for again.
    subscription.callbacks.on_demand(["a", "b"])
    assert subscription.names == ["a", "b"] and subscription.on_demand == ["b"]


def test_names_below_a_locator() -> None:
    subscriptions = FakeSubscriptions()
    context, source = context_of(subscriptions, is_main=True)
    clusters(context, "xdstp://authority/envoy.config.cluster.v3.Cluster/folder")
    subscription = subscriptions.made[0]
    subscription.callbacks.on_demand(["a"])
    name = "xdstp://authority/envoy.config.cluster.v3.Cluster/folder/a"
    assert subscription.names == [name]
    subscription.send_delta(removed=[name])
    assert source.dropped == ["a"]


def test_one_discovery_for_equal_sources() -> None:
    subscriptions = FakeSubscriptions()
    context, _ = context_of(subscriptions)
    first, second = clusters(context), clusters(context, timeout_ms=1)
    assert first.discovery is second.discovery and len(subscriptions.made) == 1
    assert (first.timeout_ms, second.timeout_ms) == (5000, 1)
