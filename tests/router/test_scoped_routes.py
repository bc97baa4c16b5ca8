"""Scoped routes: keys, scopes listed in place, SRDS, scopes on demand."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitManager
from outrider.config.subscription import FETCH_TIMEOUT
from outrider.factory_context import FactoryContext
from outrider.http.conn_manager_settings import RouteProvider
from outrider.router.config.route import Route
from outrider.router.route_source import create_route_provider
from outrider.router.scope_keys import HeaderFragment, ScopeKeyBuilder
from outrider.server.admin.config_tracker import SCOPED_ROUTES
from tests.router.config.support import request, stream_info, view_of
from tests.router.test_rds import ADS, HCM, Waiter, context_of, table
from tests.support.subscriptions import FakeSubscriptions, resource

SCOPED = "envoy.config.route.v3.ScopedRouteConfiguration"
BUILDER = {
    "fragments": [
        {"header_value_extractor": {"name": "X-Tenant", "element_separator": ",", "index": 1}},
        {"header_value_extractor": {"name": "x-zone", "element_separator": ";", "element": {"separator": "=", "key": "z"}}},
    ]
}


def scope(name: str, *key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "key": {"fragments": [{"string_key": part} for part in key]}, **more}


def provider(context: FactoryContext, **specifier: Any) -> RouteProvider:
    view = view_of(HCM, {"scoped_routes": {"name": "scopes", "scope_key_builder": BUILDER, **specifier}})
    made = create_route_provider(view, context)
    assert view.unread() == []
    return made


def discovered(context: FactoryContext) -> RouteProvider:
    return provider(context, rds_config_source=ADS, scoped_rds={"scoped_rds_config_source": ADS})


def asking(tenant: str | None, zone: str | None = "z=1") -> Any:
    headers = [("x-tenant", f"any,{tenant}")] if tenant is not None else []
    return request(headers=[*headers, *([("x-zone", zone)] if zone is not None else [])])


def routed(routes: RouteProvider, tenant: str | None, zone: str | None = "z=1") -> str:
    found = routes.match(asking(tenant, zone), stream_info(), 0)
    return found.name if isinstance(found, Route) else ""


def gauge(context: FactoryContext, name: str) -> int:
    return context.root_scope.root().gauges[f"http.h.scoped_rds.scopes.{name}"].value


@pytest.mark.parametrize(
    ("tenant", "zone", "key"),
    [
        ("any,a", "z=1", b"a\0" b"1"),
        ("any,a,b", "y=2;z=1=2;z=3", b"a\0" b"1=2"),
        ("any,", "z=", b"\0"),
        ("any", "z=1", None),
        ("any,a", "zz=1", None),
        ("any,a", "z", b"a\0"),
    ],
)
def test_keys(tenant: str, zone: str, key: bytes | None) -> None:
    builder = ScopeKeyBuilder([HeaderFragment(b"x-tenant", b",", 1), HeaderFragment(b"x-zone", b";", -1, b"=", b"z")])
    assert builder.key(request(headers=[("x-tenant", tenant), ("x-zone", zone)])) == key
    assert builder.key(request()) is None


def test_whole_value_without_separator() -> None:
    builder = ScopeKeyBuilder([HeaderFragment(b"x-tenant", b"", 0)])
    assert builder.key(request(headers=[("x-tenant", "a,b")])) == b"a,b"


def listed(*scopes: dict[str, Any]) -> dict[str, Any]:
    return {"scoped_route_configurations_list": {"scoped_route_configurations": list(scopes)}, "rds_config_source": ADS}


def test_list_in_place() -> None:
    context = context_of(None)
    routes = provider(
        context,
        **listed(
            scope("one", "a", "1", route_configuration=table(201, internal_only_headers=["x-a"])),
            scope("two", "b", "1", route_configuration=table(202, internal_only_headers=["x-b"])),
        ),
    )
    assert routed(routes, "a") == "to201" and routed(routes, "b") == "to202"
    assert routed(routes, "c") == routed(routes, None) == routed(routes, "a", "z=2") == ""
    assert routes.internal_only_headers() == [b"x-a", b"x-b"]
    assert not routes.request_update(asking("a"), Waiter())
    dump: Any = api.new("envoy.admin.v3.ScopedRoutesConfigDump")
    assert context.config_tracker is not None
    context.config_tracker.fill(SCOPED_ROUTES, dump, lambda name: True)
    [entry] = dump.inline_scoped_route_configs
    assert entry.name == "scopes" and len(entry.scoped_route_configs) == 2


@pytest.mark.parametrize(
    ("specifier", "text"),
    [
        (listed(scope("one", "a", "1", route_configuration_name="r")), "is not supported with inline scoped routes"),
        (listed(scope("one", "a", "1", route_configuration=table(201)), scope("two", "a", "1", route_configuration=table(201))), "scope key conflict found, first scope is 'one', second scope is 'two'"),
        (listed(scope("one", "a", "1")), "route_configuration_name is empty"),
    ],
)  # fmt: skip
def test_list_refused(specifier: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        provider(context_of(None), **specifier)


def test_index_needs_a_separator() -> None:
    builder = {"fragments": [{"header_value_extractor": {"name": "a", "index": 1}}]}
    view = view_of(HCM, {"scoped_routes": {"name": "s", "scope_key_builder": builder, **listed()}})
    with pytest.raises(ConfigError, match="Index > 0 for empty string element separator"):
        create_route_provider(view, context_of(None))


def test_needs_a_node() -> None:
    context = context_of(FakeSubscriptions())
    context.server.node_id = ""
    with pytest.raises(ConfigError, match="SRDS: node 'id' and 'cluster' are required"):
        discovered(context)


def test_scopes_come_change_and_go() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    routes = discovered(context)
    [scopes] = subscriptions.made
    assert scopes.started and scopes.names is None and routed(routes, "a") == ""
    scopes.send(scope("one", "a", "1", route_configuration=table(201)), scope("two", "b", "1", route_configuration_name="r"))
    [tables] = subscriptions.of("RouteConfiguration")
    assert tables.names == ["r"] and tables.scope.prefix == "http.h.rds.r."
    assert routed(routes, "a") == "to201" and routed(routes, "b") == ""
    tables.send(table(202))
    assert routed(routes, "b") == "to202"
    assert (gauge(context, "all_scopes"), gauge(context, "active_scopes"), gauge(context, "on_demand_scopes")) == (2, 1, 0)
    # The key of a scope changes, its routes stay; the other scope goes.
    scopes.send(scope("two", "c", "1", route_configuration_name="r"), version="2")
    assert routed(routes, "c") == "to202" and routed(routes, "a") == routed(routes, "b") == ""
    assert not tables.closed and len(subscriptions.of("RouteConfiguration")) == 1
    reload = context.root_scope.counter("http.h.scoped_rds.scopes.config_reload")
    assert reload.value == 2
    scopes.send(scope("two", "c", "1", route_configuration_name="r"), version="3")
    assert reload.value == 2
    scopes.send_delta(resource(SCOPED, scope("three", "d", "1", route_configuration=table(203))), removed=["two"])
    assert routed(routes, "d") == "to203" and routed(routes, "c") == "" and tables.closed
    for callback in context.on_close:
        callback()
    assert scopes.closed


@pytest.mark.parametrize(
    ("trees", "text"),
    [
        ([scope("x", "a", "1", route_configuration_name="r"), scope("y", "a", "1", route_configuration_name="r")], r"Error adding/updating scoped route\(s\): scope key conflict found, first scope is 'x', second scope is 'y'"),
        ([scope("x", "a", "1")], "route_configuration_name is empty."),
        ([scope("x", "a", "1", route_configuration={"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*", "*"]}]})], "Only a single wildcard domain"),
    ],
)  # fmt: skip
def test_refused_and_the_old_stays(trees: list[dict[str, Any]], text: str) -> None:
    subscriptions = FakeSubscriptions()
    routes = discovered(context_of(subscriptions))
    subscriptions.made[0].send(scope("one", "a", "1", route_configuration=table(201)))
    with pytest.raises(ConfigError, match=text):
        subscriptions.made[0].send(*trees)
    assert routed(routes, "a") == "to201" and not subscriptions.of("RouteConfiguration")


def test_listener_waits_for_scopes_and_their_routes() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    discovered(context)
    discovered(context)
    context.init_manager.initialize(lambda: None)
    [scopes] = subscriptions.made
    scopes.send(scope("one", "a", "1", route_configuration_name="r"), scope("two", "b", "1", route_configuration_name="s", on_demand=True))
    assert not context.init_manager.initialized
    [tables] = subscriptions.of("RouteConfiguration")
    tables.callbacks.on_failed(FETCH_TIMEOUT, "")
    assert context.init_manager.initialized
    # Later scopes are not waited for by anybody.
    scopes.send(scope("three", "c", "1", route_configuration_name="t"))
    assert [each.names for each in subscriptions.of("RouteConfiguration")] == [["t"]]


def test_listener_goes_on_without_scopes() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    discovered(context)
    context.init_manager.initialize(lambda: None)
    subscriptions.made[0].callbacks.on_failed(FETCH_TIMEOUT, "")
    assert context.init_manager.initialized


def test_routes_on_demand() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    routes = discovered(context)
    scopes = subscriptions.made[0]
    scopes.send(scope("one", "a", "1", route_configuration_name="r", on_demand=True), scope("two", "b", "1", route_configuration=table(200)))
    assert gauge(context, "on_demand_scopes") == 1 and gauge(context, "active_scopes") == 0
    assert not subscriptions.of("RouteConfiguration") and routed(routes, "a") == ""
    first, second, gone, other = Waiter(), Waiter(), Waiter(), Waiter()
    assert routes.request_update(asking("a"), first) and routes.request_update(asking("a"), second)
    routes.request_update(asking("a"), gone)
    routes.forget(gone)
    [tables] = subscriptions.of("RouteConfiguration")
    # In a worker main is told, too: it talks to the source.
    assert scopes.on_demand == ["one", "one", "one"] and first.told == []
    tables.send(table(201))
    assert first.told == second.told == [True] and gone.told == [] and routed(routes, "a") == "to201"
    routes.request_update(asking("a"), other)
    routes.request_update(asking("nobody"), other)
    assert other.told == [True, False]
    assert not routes.request_update(asking(None), other)


def test_main_asks_for_what_workers_wait_for() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.is_main = True
    discovered(context)
    scopes = subscriptions.made[0]
    scopes.send(scope("one", "a", "1", route_configuration_name="r", on_demand=True))
    assert scopes.callbacks.on_demand(["one", "unknown"])
    assert [each.names for each in subscriptions.of("RouteConfiguration")] == [["r"]]
    assert scopes.on_demand == [] and gauge(context, "active_scopes") == 1


def test_dump() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    discovered(context)
    subscriptions.made[0].send(scope("one", "a", "1", route_configuration=table(201)), version="v4")
    dump: Any = api.new("envoy.admin.v3.ScopedRoutesConfigDump")
    assert context.config_tracker is not None
    context.config_tracker.fill(SCOPED_ROUTES, dump, lambda name: True)
    [entry] = dump.dynamic_scoped_route_configs
    assert (entry.name, entry.version_info, len(entry.scoped_route_configs)) == ("scopes", "v4", 1)
