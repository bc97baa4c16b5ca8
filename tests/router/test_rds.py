"""Routes that are discovered: RDS and VHDS."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitManager
from outrider.config.subscription import CONNECTION_FAILURE, FETCH_TIMEOUT, UPDATE_REJECTED
from outrider.config.support import SupportPolicy
from outrider.event.dispatcher import Dispatcher
from outrider.extensions.all_extensions import load_extensions
from outrider.factory_context import FactoryContext
from outrider.http.conn_manager_settings import RouteProvider, RouteUpdateWaiter
from outrider.router.config.route import Route
from outrider.router.route_source import create_route_provider
from outrider.router.vhds import VirtualHostDiscovery
from outrider.server.admin.config_tracker import ROUTES, ConfigTracker
from outrider.upstream.cluster_manager import ClusterManager
from tests.router.config.support import make_context, request, stream_info, view_of
from tests.support.subscriptions import FakeSubscription, FakeSubscriptions, missing, resource

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HOST = "envoy.config.route.v3.VirtualHost"
DELTA = {"api_config_source": {"api_type": "DELTA_GRPC", "grpc_services": [{"envoy_grpc": {"cluster_name": "c1"}}]}}
ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}


def context_of(subscriptions: FakeSubscriptions | None) -> FactoryContext:
    context = make_context()
    context.stat_prefix = "http.h."
    context.server.node_id = context.server.node_cluster = "node"
    context.subscriptions = subscriptions
    context.support = SupportPolicy()
    context.config_tracker = ConfigTracker()
    return context


def provider(context: FactoryContext, name: str = "r", source: dict[str, Any] | None = None) -> RouteProvider:
    view = view_of(HCM, {"rds": {"route_config_name": name, "config_source": source or ADS}})
    made = create_route_provider(view, context)
    assert view.unread() == []
    return made


def table(status: int, name: str = "r", **more: Any) -> dict[str, Any]:
    host = {"name": "v", "domains": ["*"], "routes": [route(status)]}
    return {"name": name, "virtual_hosts": [host], **more}


def route(status: int) -> dict[str, Any]:
    return {"name": f"to{status}", "match": {"prefix": "/"}, "direct_response": {"status": status}}


def routed(routes: RouteProvider, host: str = "example.com") -> str:
    found = routes.match(request(host=host), stream_info(), 0)
    return found.name if isinstance(found, Route) else ""


def counter(context: FactoryContext, name: str) -> int:
    return context.root_scope.counter(name).value


def test_routes_come_and_change() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    routes = provider(context)
    [subscription] = subscriptions.made
    assert subscription.started and subscription.names == ["r"]
    assert routed(routes) == ""
    subscription.send(table(200))
    assert routed(routes) == "to200"
    subscription.send(table(200), version="2")
    assert counter(context, "http.h.rds.r.config_reload") == 1
    subscription.send(table(201), version="3")
    assert routed(routes) == "to201"
    assert counter(context, "http.h.rds.r.config_reload") == 2
    # A delta that takes it away changes nothing (so it is in Envoy), one that brings it does.
    subscription.send_delta(removed=["r"])
    assert routed(routes) == "to201"
    subscription.send_delta(resource(subscription.type_name, table(202)))
    assert routed(routes) == "to202"


def test_internal_only_headers_follow() -> None:
    subscriptions = FakeSubscriptions()
    routes = provider(context_of(subscriptions))
    shared = routes.internal_only_headers()
    subscriptions.made[0].send(table(200, internal_only_headers=["X-Secret"]))
    assert shared == [b"x-secret"]
    subscriptions.made[0].send(table(200))
    assert shared == []


@pytest.mark.parametrize(
    ("trees", "text"),
    [
        ([table(200, "other")], r"Unexpected RDS configuration \(expecting r\): other"),
        ([table(200), table(201, "s")], "Unexpected RDS resource length: 2"),
        ([{"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"]}, {"name": "w", "domains": ["*"]}]}], "Only a single wildcard domain"),
        ([{"name": "r", "vhds": {"config_source": {"path": "/x"}}}], "only 'DELTA_GRPC' is supported"),
    ],
)  # fmt: skip
def test_refused_and_the_old_stays(trees: list[dict[str, Any]], text: str) -> None:
    subscriptions = FakeSubscriptions()
    routes = provider(context_of(subscriptions))
    subscriptions.made[0].send(table(200))
    with pytest.raises(ConfigError, match=text):
        subscriptions.made[0].send(*trees)
    assert routed(routes) == "to200"


def test_unknown_clusters_are_no_fault_unless_asked() -> None:
    subscriptions = FakeSubscriptions()
    routes = provider(context_of(subscriptions))
    tree = table(200)
    tree["virtual_hosts"][0]["routes"] = [{"name": "away", "match": {"prefix": "/"}, "route": {"cluster": "unknown"}}]
    subscriptions.made[0].send(tree)
    assert routed(routes) == "away"
    with pytest.raises(ConfigError, match="unknown"):
        subscriptions.made[0].send({**tree, "validate_clusters": True})


def test_fields_that_nobody_reads_are_refused() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    routes = provider(context)
    subscriptions.made[0].send(table(200))

    class Strict(SupportPolicy):
        def check(self, view: Any) -> None:
            raise ConfigError("not supported")

    context.support = Strict()
    other = provider(context, "s")
    with pytest.raises(ConfigError, match="not supported"):
        subscriptions.made[1].send(table(201, "s"))
    assert routed(other) == "" and routed(routes) == "to200"


def test_shared_until_the_last_user_leaves() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    first, second = context.owned_by([]), context.owned_by([])
    one, two = provider(first), provider(second)
    provider(context, source={"path": "/routes"})
    assert len(subscriptions.made) == 2
    subscription = subscriptions.made[0]
    subscription.send(table(200))
    assert routed(one) == routed(two) == "to200"
    for callback in first.on_close:
        callback()
    assert not subscription.closed
    for callback in second.on_close:
        callback()
    assert subscription.closed
    again = provider(context)
    assert len(subscriptions.made) == 3 and routed(again) == ""


def test_large_tables_are_built_while_requests_are_served() -> None:
    asyncio.run(_built_in_slices())


async def _built_in_slices() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.dispatcher = Dispatcher("test", asyncio.get_running_loop())
    routes = provider(context)
    [subscription] = subscriptions.made

    def large(status: int, count: int = 3000) -> dict[str, Any]:
        tree = table(status)
        tree["virtual_hosts"][0]["routes"] = [
            *({"match": {"path": f"/{number}"}, "direct_response": {"status": 204}} for number in range(count)),
            route(status),
        ]
        return tree

    # The first one is there at once: nothing is served before.
    subscription.send(large(200))
    assert routed(routes) == "to200"
    subscription.send(large(201), version="2")
    assert routed(routes) == "to200"
    turns = 0
    while routed(routes) == "to200":
        await asyncio.sleep(0)
        turns += 1
        assert turns < 10_000
    assert routed(routes) == "to201" and turns > 3
    # One that is overtaken is never seen; one that takes it back leaves what is there.
    subscription.send(large(202), version="3")
    subscription.send(large(203), version="4")
    while routed(routes) == "to201":
        await asyncio.sleep(0)
    assert routed(routes) == "to203"
    subscription.send(large(204), version="5")
    subscription.send(large(203), version="6")
    for _ in range(200):
        await asyncio.sleep(0)
    assert routed(routes) == "to203" and counter(context, "http.h.rds.r.config_reload") == 3
    # Main decides at once.
    context.is_main = True
    other = provider(context.with_scope(context.scope), "s")
    subscriptions.made[1].send({**large(200), "name": "s"})
    subscriptions.made[1].send({**large(201), "name": "s"})
    assert routed(other) == "to201"


def test_what_routes_have_begun_ends_with_them() -> None:
    load_extensions()
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.cluster_manager = ClusterManager()
    provider(context)
    tree = table(200)
    per_route = {"@type": "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.PerRouteConfig", "odcds": {"source": {"ads": {}}}}
    tree["virtual_hosts"][0]["typed_per_filter_config"] = {"on_demand": per_route}
    routes = subscriptions.made[0]
    routes.send(tree)
    [clusters] = subscriptions.of("Cluster")
    routes.send({**tree, "ignore_port_in_host_matching": True})
    assert not clusters.closed
    routes.send(table(200))
    assert clusters.closed
    routes.send(tree)
    for callback in context.on_close:
        callback()
    assert not subscriptions.of("Cluster")


def test_listener_waits() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    provider(context)
    done: list[int] = []
    assert not subscriptions.made[0].started
    context.init_manager.initialize(lambda: done.append(1))
    assert subscriptions.made[0].started and not done
    assert context.init_manager.unready() == ["RdsRouteConfigSubscription RDS init r"]
    # A second listener waits for the same answer.
    twin = context.with_scope(context.scope)
    twin.init_manager = InitManager("second")
    provider(twin)
    twin.init_manager.initialize(lambda: done.append(2))
    subscriptions.made[0].callbacks.on_failed(CONNECTION_FAILURE, "")
    assert not done
    subscriptions.made[0].send(table(200))
    assert done == [1, 2]
    # A third need not.
    third = context.with_scope(context.scope)
    third.init_manager = InitManager("third")
    provider(third)
    third.init_manager.initialize(lambda: done.append(3))
    assert done == [1, 2, 3] and len(subscriptions.made) == 1


@pytest.mark.parametrize("reason", [FETCH_TIMEOUT, UPDATE_REJECTED])
def test_listener_goes_on_without(reason: int) -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    provider(context)
    context.init_manager.initialize(lambda: None)
    subscriptions.made[0].callbacks.on_failed(reason, "")
    assert context.init_manager.initialized


def test_empty_answer_ends_the_wait() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    provider(context)
    context.init_manager.initialize(lambda: None)
    subscriptions.made[0].send()
    assert context.init_manager.initialized
    assert counter(context, "http.h.rds.r.update_empty") == 1


def test_validation_asks_nobody() -> None:
    assert routed(provider(context_of(None))) == ""


def test_dump() -> None:
    from outrider.config import api

    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    provider(context)
    assert context.config_tracker is not None
    dump: Any = api.new("envoy.admin.v3.RoutesConfigDump")
    context.config_tracker.fill(ROUTES, dump, lambda name: True)
    assert not dump.dynamic_route_configs
    subscriptions.made[0].send(table(200), version="v7")
    context.config_tracker.fill(ROUTES, dump, lambda name: name == "r")
    [entry] = dump.dynamic_route_configs
    assert entry.version_info == "v7" and entry.last_updated.seconds > 0
    assert entry.route_config.type_url.endswith("RouteConfiguration")


class Waiter(RouteUpdateWaiter):
    def __init__(self) -> None:
        self.told: list[bool] = []

    def on_route_update(self, found: bool) -> None:
        self.told.append(found)


def vhds(context: FactoryContext, subscriptions: FakeSubscriptions) -> tuple[RouteProvider, FakeSubscription]:
    routes = provider(context)
    tree = {"name": "r", "vhds": {"config_source": DELTA}, "virtual_hosts": [{"name": "fixed", "domains": ["fixed"], "routes": [route(200)]}]}
    subscriptions.made[0].send(tree)
    [hosts] = subscriptions.of("VirtualHost")
    assert hosts.names == ["r"]
    return routes, hosts


def virtual_host(name: str, status: int, *aliases: str) -> Any:
    return resource(HOST, {"name": name, "domains": [name], "routes": [route(status)]}, f"r/{name}", aliases)


def test_virtual_hosts_come_and_go() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    routes, hosts = vhds(context, subscriptions)
    assert routed(routes, "fixed") == "to200" and routed(routes, "one") == ""
    hosts.send_delta(virtual_host("one", 201), virtual_host("two", 202))
    assert routed(routes, "one") == "to201" and routed(routes, "two") == "to202"
    hosts.send_delta(virtual_host("one", 203), removed=["r/two"])
    assert routed(routes, "one") == "to203" and routed(routes, "two") == "" and routed(routes, "fixed") == "to200"
    assert counter(context, "http.h.rds.vhds.r.config_reload") == 2
    with pytest.raises(ConfigError):
        hosts.send_delta(resource(HOST, {"name": "bad", "domains": ["fixed"]}, "r/bad"))
    assert routed(routes, "one") == "to203"
    # The hosts stay when the route configuration changes, and go with `vhds`.
    tree = {"name": "r", "vhds": {"config_source": {"ads": {}}}}
    subscriptions.made[0].send(tree)
    assert hosts.closed and routed(routes, "one") == ""
    subscriptions.made[0].send(table(200))
    assert routed(routes, "one") == "to200" and not subscriptions.of("VirtualHost")


def test_listener_waits_for_virtual_hosts() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    provider(context)
    context.init_manager.initialize(lambda: None)
    subscriptions.made[0].send({"name": "r", "vhds": {"config_source": {"ads": {}}}})
    assert not context.init_manager.initialized
    subscriptions.of("VirtualHost")[0].send_delta()
    assert context.init_manager.initialized


def test_virtual_hosts_on_demand() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    routes, hosts = vhds(context, subscriptions)
    first, second, third = Waiter(), Waiter(), Waiter()
    headers = request(host="New.example")
    assert routes.request_update(headers, first) and routes.request_update(headers, second)
    assert routes.request_update(headers, third)
    routes.forget(third)
    assert hosts.on_demand == ["r/new.example"]
    hosts.send_delta(virtual_host("new.example", 201))
    assert first.told == second.told == [True] and third.told == []
    # A host by another name of its.
    other = request(host="alias")
    routes.request_update(other, first)
    hosts.send_delta(virtual_host("real", 202, "r/alias", "r/real"))
    assert first.told == [True, True]
    # There is no such host.
    nowhere = request(host="nowhere")
    routes.request_update(nowhere, second)
    hosts.send_delta(missing(HOST, "r/nowhere", ["r/nowhere"]))
    assert second.told == [True, False] and routed(routes, "nowhere") == ""
    # The end of the discovery is the end of the wait.
    routes.request_update(nowhere, third)
    for callback in context.on_close:
        callback()
    assert third.told == [False] and hosts.closed


def test_unchanged_hosts_are_not_built_again() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    routes, hosts = vhds(context, subscriptions)
    hosts.send_delta(virtual_host("one", 201), virtual_host("two", 202))
    first = routes.match(request(host="one"), stream_info(), 0)
    hosts.send_delta(virtual_host("two", 203))
    assert routes.match(request(host="one"), stream_info(), 0) is first and routed(routes, "two") == "to203"
    with pytest.raises(ConfigError, match="Duplicate entry of domain one"):
        hosts.send_delta(resource(HOST, {"name": "three", "domains": ["one"]}, "r/three"))
    # A route configuration that is refused leaves hosts and routes as they were, also for the next host.
    bad = {"name": "r", "vhds": {"config_source": DELTA}, "virtual_hosts": [{"name": "v", "domains": ["one"]}]}
    with pytest.raises(ConfigError):
        subscriptions.made[0].send(bad)
    hosts.send_delta(virtual_host("four", 204))
    assert routed(routes, "four") == "to204" and routed(routes, "fixed") == "to200"


def test_hosts_that_clients_make_up_are_bounded() -> None:
    subscriptions = FakeSubscriptions()
    routes, hosts = vhds(context_of(subscriptions), subscriptions)
    assert isinstance(hosts.callbacks, VirtualHostDiscovery)
    hosts.callbacks.waiters.limit = 2
    waiters = [Waiter() for _ in range(4)]
    for waiter, host in zip(waiters, ["a", "b", "c", "a"], strict=True):
        routes.request_update(request(host=host), waiter)
    assert hosts.on_demand == ["r/a", "r/b"] and [each.told for each in waiters] == [[], [], [False], []]


def test_fixed_routes_discover_nothing() -> None:
    routes = create_route_provider(view_of(HCM, {"route_config": table(200)}), context_of(None))
    headers = request()
    assert not routes.request_update(headers, Waiter())
