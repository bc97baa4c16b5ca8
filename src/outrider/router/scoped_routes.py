"""Scoped routes: a route table for each value of some request headers, listed in place or discovered (SRDS).

A scope holds its routes itself or names a route configuration (RDS), which an `on_demand` scope asks for only when the
first request needs it. Source: Envoy documentation, "Scoped route discovery service (SRDS)";
`ScopedRdsConfigSubscription`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outrider.config.discovered import check_node, pack, source_key, stamp
from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitManager, InitTarget
from outrider.config.subscription import CONNECTION_FAILURE, Resource, Subscription, SubscriptionCallbacks
from outrider.http.conn_manager_settings import RouteUpdateWaiter
from outrider.router.scope import SCOPED_ROUTE_CONFIGURATION, Scope, read_key_builder, read_scope_list
from outrider.router.scope_keys import OnDemandScopes, ScopedRouteProvider, ScopeTable

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class ScopeDiscovery(SubscriptionCallbacks):
    """The scopes of one `scoped_rds`, shared by the connection managers that have the same."""

    def __init__(self, view: View, context: FactoryContext, name: str, key: str) -> None:
        """`view` is a ScopedRoutes. Raises ConfigError."""
        self.context = context.owned_by([])
        self.name = name
        self.key = key
        self.stat_prefix = context.stat_prefix
        self.table = ScopeTable()
        self.scopes: dict[str, Scope] = {}
        source = view.message("rds_config_source")
        scoped = view.message("scoped_rds")
        assert scoped is not None
        scopes_source = scoped.message("scoped_rds_config_source")
        if source is None:
            # Envoy: routes come from where the scopes come from.
            source = scopes_source
        assert source is not None
        self.routes_source: View = source
        check_node(context, "SRDS", scoped)
        self.scope = context.root_scope.scope(f"{context.stat_prefix}scoped_rds.{name}")
        scope = self.scope
        self.config_reload = scope.counter("config_reload")
        self.update_empty = scope.counter("update_empty")
        self.config_reload_time_ms = scope.gauge("config_reload_time_ms", accumulate=False)
        self.all_scopes = scope.gauge("all_scopes", accumulate=False)
        self.on_demand_scopes = scope.gauge("on_demand_scopes", accumulate=False)
        self.active_scopes = scope.gauge("active_scopes", accumulate=False)
        self.version = ""
        self.updated = 0.0
        self.users = 0
        self.answered = False
        self._started = False
        self._targets: list[InitTarget] = []
        # The routes of the first answer's scopes, which are waited for, too.
        self._first_routes = InitManager(f"SRDS {name}")
        self.waiters = ScopeWaiters(self)
        self.table.on_demand = self.waiters
        self.subscription: Subscription | None = None
        if context.subscriptions is not None:
            self.subscription = context.subscriptions.subscribe(
                scopes_source, SCOPED_ROUTE_CONFIGURATION, self, scope, scoped.text("srds_resources_locator")
            )
        else:
            view.accept("scoped_rds")
        # Read here, so that a fault shows when the listener is built; each route configuration subscribes later.
        source.take()
        _known(context)[key] = self
        self._untrack: Callable[[], None] | None = None
        if context.config_tracker is not None:
            self._untrack = context.config_tracker.add("scoped_routes", self.show)

    # --- users ---

    def use(self, context: FactoryContext) -> None:
        """A connection manager needs the scopes until `context.on_close`."""
        self.users += 1
        context.on_close.append(self.release)
        manager = context.init_manager
        if manager is None:
            self.start()
            return
        target = InitTarget("ConfigSubscriptionCommonBase init target 'SRDS'", self.start)
        if self.answered:
            target.is_ready = True
        else:
            self._targets.append(target)
        manager.add(target)

    def start(self) -> None:
        if self.subscription is None:
            self._be_ready()
        elif not self._started:
            self._started = True
            self.subscription.start(None)

    def release(self) -> None:
        self.users -= 1
        if self.users > 0:
            return
        _known(self.context).pop(self.key, None)
        if self._untrack is not None:
            self._untrack()
        if self.subscription is not None:
            self.subscription.close()
        for scope in self.scopes.values():
            scope.close()
        self.waiters.give_up()
        self.scope.close()

    # --- from the subscription ---

    def on_state(self, resources: list[Resource], version: str) -> None:
        present = {resource.name for resource in resources}
        self.on_delta(resources, [name for name in self.scopes if name not in present], version)

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        scopes = dict(self.scopes)
        for name in removed:
            scopes.pop(name, None)
        made: list[Scope] = []
        for resource in added:
            before = self.scopes.get(resource.name)
            if before is not None and before.packed == resource.packed:
                continue
            scope = Scope(resource.view.text("name"), resource.view, resource.packed, self.context)
            if self.context.support is not None:
                self.context.support.check(resource.view)
            made.append(scope)
            scopes[resource.name] = scope
        by_key: dict[bytes, Scope] = {}
        for scope in scopes.values():
            other = by_key.setdefault(scope.key, scope)
            if other is not scope:
                raise ConfigError(
                    "Error adding/updating scoped route(s): scope key conflict found, first scope is "
                    f"'{other.name}', second scope is '{scope.name}'"
                )
        self._apply(scopes, made, version)

    def _apply(self, scopes: dict[str, Scope], made: list[Scope], version: str) -> None:
        first = not self.version and not self.updated
        gone = [scope for name, scope in self.scopes.items() if scopes.get(name) is not scope]
        changed = first or bool(gone) or bool(made)
        self.scopes = scopes
        waits = None if self.answered or self.context.init_manager is None else self._first_routes
        for scope in made:
            if not scope.on_demand:
                self._ask(scope, waits)
        # What replaces a scope may have the same routes: they are let go of only now.
        for scope in gone:
            scope.close()
        if changed:
            self.version = version
            self.updated = time.time()
            self.config_reload.inc()
            self.config_reload_time_ms.set(int(self.updated * 1000))
        self.refresh()
        if not self.answered:
            self._first_routes.initialize(self._be_ready)

    def on_failed(self, reason: int, error: str) -> None:
        if reason != CONNECTION_FAILURE:
            self._be_ready()

    def refresh(self) -> None:
        """Put the scopes that there are in force, each with the table that it has."""
        self.table.replace({scope.key: scope.holder for scope in self.scopes.values()})
        self.all_scopes.set(len(self.scopes))
        self.active_scopes.set(len([scope for scope in self.scopes.values() if scope.routes is not None]))
        self.on_demand_scopes.set(len([scope for scope in self.scopes.values() if scope.on_demand]))

    def demand(self, scope: Scope) -> None:
        """A request needs a scope's routes now."""
        if scope.routes is None and not scope.in_place:
            self._ask(scope, None)
            self.refresh()

    def on_demand(self, names: list[str]) -> bool:
        # In main: requests of the workers wait for these scopes.
        for name in names:
            scope = self.scopes.get(name)
            if scope is not None:
                self.demand(scope)
        return True

    def _ask(self, scope: Scope, init_manager: InitManager | None) -> None:
        scope.ask(self.routes_source, self.stat_prefix, _RoutesArrived(self, scope).run, init_manager)

    def routes_arrived(self, scope: Scope) -> None:
        self.table.refresh()
        self.waiters.tell(scope.key, True)

    def _be_ready(self) -> None:
        self.answered = True
        targets = self._targets
        self._targets = []
        for target in targets:
            target.ready()

    def show(self, dump: Any, matches: Callable[[str], bool]) -> None:
        """/config_dump"""
        if not self.updated or not matches(self.name):
            return
        entry = dump.dynamic_scoped_route_configs.add()
        entry.name = self.name
        entry.version_info = self.version
        for name in sorted(self.scopes):
            pack(entry.scoped_route_configs.add(), SCOPED_ROUTE_CONFIGURATION, self.scopes[name].packed)
        stamp(entry.last_updated, self.updated)


class _RoutesArrived:
    """Told when a scope's routes have come or changed."""

    __slots__ = ("discovery", "scope")

    def __init__(self, discovery: ScopeDiscovery, scope: Scope) -> None:
        self.discovery = discovery
        self.scope = scope

    def run(self) -> None:
        self.discovery.routes_arrived(self.scope)


class ScopeWaiters(OnDemandScopes):
    """Requests that wait for a scope's routes."""

    def __init__(self, discovery: ScopeDiscovery) -> None:
        self.discovery = discovery
        self.waiting: dict[bytes, list[RouteUpdateWaiter]] = {}

    def request(self, key: bytes, waiter: RouteUpdateWaiter) -> None:
        found: Scope | None = None
        for scope in self.discovery.scopes.values():
            if scope.key == key:
                found = scope
        if found is None:
            waiter.on_route_update(False)
            return
        if found.holder.config is not None:
            waiter.on_route_update(True)
            return
        self.waiting.setdefault(key, []).append(waiter)
        self.discovery.demand(found)
        subscription = self.discovery.subscription
        if not self.discovery.context.is_main and subscription is not None:
            # Main is who talks to the source: it asks, and hands the routes on.
            subscription.request_on_demand([found.name])

    def forget(self, waiter: RouteUpdateWaiter) -> None:
        for key, waiters in list(self.waiting.items()):
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self.waiting[key]

    def tell(self, key: bytes, found: bool) -> None:
        for waiter in self.waiting.pop(key, []):
            waiter.on_route_update(found)

    def give_up(self) -> None:
        for key in list(self.waiting):
            self.tell(key, False)


def _known(context: FactoryContext) -> dict[str, ScopeDiscovery]:
    found: dict[str, ScopeDiscovery] = context.singletons.setdefault("scoped_routes", {})  # type: ignore[assignment]
    return found


def create_scoped_routes(view: View, context: FactoryContext) -> ScopedRouteProvider:
    """The provider of a connection manager's `scoped_routes`. Raises ConfigError."""
    name = view.text("name")
    builder = read_key_builder(view)
    if view.which("config_specifier") == "scoped_route_configurations_list":
        return ScopedRouteProvider(builder, read_scope_list(view, context, name))
    key = f"{context.stat_prefix}\0{name}\0{source_key(name, view.message('rds_config_source'))}"
    scoped = view.message("scoped_rds")
    assert scoped is not None
    key = f"{key}\0{scoped.message_bytes().hex()}"
    found = _known(context).get(key)
    if found is None:
        found = ScopeDiscovery(view, context, name, key)
    else:
        view.accept("rds_config_source", "scoped_rds")
    found.use(context)
    return ScopedRouteProvider(builder, found.table)
