"""Discovered resources on their way from main to the workers.

Main subscribes and lets its own callbacks build each resource first. What they have accepted is kept here and sent to
the workers, whose subscriptions (`server.worker_subscriptions`) see the same resources. A worker that starts later gets
all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from outrider.config.subscription import Resource, Subscription, SubscriptionCallbacks, SubscriptionFactory
from outrider.config.view import View
from outrider.server import messages
from outrider.stats.store import Scope

STATE: Final = 0
DELTA: Final = 1

RelayKey = tuple[str, bytes, str]
"""Type, `ConfigSource` as bytes (none: ADS), key of the path."""

PlainResource = tuple[str, str, bytes, tuple[str, ...]]
"""Name, version, message, aliases."""

VIRTUAL_HOST: Final = "envoy.config.route.v3.VirtualHost"


def relay_key(source: View | None, type_name: str, path_key: str) -> RelayKey:
    return (type_name, b"" if source is None else source.message_bytes(), path_key)


def plain_resource(resource: Resource) -> PlainResource:
    return (resource.name, resource.version, resource.packed, tuple(resource.aliases))


def concerns(type_name: str, names: frozenset[str] | None, name: str, aliases: Sequence[str]) -> bool:
    """Whether a subscription to these names (None: all) wants to hear of a resource."""
    if names is None or name in names:
        return True
    if any(alias in names for alias in aliases):
        return True
    # Virtual hosts are named by their route configuration, `<route configuration>/<domain>`, and asked for by it.
    return type_name == VIRTUAL_HOST and name.rpartition("/")[0] in names


class RelayTable:
    """All accepted resources of one source and type."""

    __slots__ = ("key", "mode", "resources", "users", "version")

    def __init__(self, key: RelayKey) -> None:
        self.key = key
        self.mode = STATE
        self.version = ""
        self.resources: dict[str, PlainResource] = {}
        self.users: list[RelaySubscription] = []


class RelaySubscriptions(SubscriptionFactory):
    """Main's subscriptions for everything that workers need as well."""

    def __init__(self, inner: SubscriptionFactory) -> None:
        self.inner = inner
        self.tables: dict[RelayKey, RelayTable] = {}
        # All that are not closed, started or not.
        self.made: dict[RelayKey, list[RelaySubscription]] = {}
        self.send: Callable[[str, Any], None] | None = None

    def subscribe(
        self, source: View | None, type_name: str, callbacks: SubscriptionCallbacks, scope: Scope, path_key: str = ""
    ) -> Subscription:
        relay = RelaySubscription(self, relay_key(source, type_name, path_key), callbacks)
        relay.inner = self.inner.subscribe(source, type_name, relay, scope, path_key)
        self.made.setdefault(relay.key, []).append(relay)
        return relay

    def snapshot(self) -> list[tuple[RelayKey, int, list[PlainResource], list[str], str]]:
        """Everything, as RELAY payloads, for a worker that has just started."""
        return [
            (table.key, table.mode, list(table.resources.values()), [], table.version)
            for table in self.tables.values()
            if table.resources or table.version
        ]

    def request_on_demand(self, key: RelayKey, names: list[str]) -> None:
        """A worker wants further resources."""
        for each in self.made.get(key, []):
            if each.callbacks.on_demand(names):
                return
        table = self.tables.get(key)
        if table is None or not table.users:
            return
        chosen = table.users[0]
        for user in table.users:
            if any(concerns(key[0], user.names, name, ()) for name in names):
                chosen = user
                break
        chosen.request_on_demand(names)

    def table(self, key: RelayKey) -> RelayTable:
        found = self.tables.get(key)
        if found is None:
            found = self.tables[key] = RelayTable(key)
        return found

    def tell(
        self, table: RelayTable, mode: int, resources: Iterable[PlainResource], removed: list[str], version: str
    ) -> None:
        if self.send is not None:
            self.send(messages.RELAY, (table.key, mode, list(resources), removed, version))

    def leave(self, user: RelaySubscription) -> None:
        """A user has gone: what nobody else asks for is forgotten, here and in the workers."""
        made = self.made[user.key]
        made.remove(user)
        if not made:
            del self.made[user.key]
        table = self.tables.get(user.key)
        if table is None or user not in table.users:
            return
        table.users.remove(user)
        forgotten = [
            name
            for name, (_, _, _, aliases) in table.resources.items()
            if not any(concerns(user.key[0], other.names, name, aliases) for other in table.users)
        ]
        for name in forgotten:
            del table.resources[name]
        if not table.users:
            del self.tables[user.key]
        if forgotten and self.send is not None:
            self.send(messages.RELAY_FORGET, (user.key, forgotten))


class RelaySubscription(Subscription, SubscriptionCallbacks):
    """One subscription of main's, and what it hands on."""

    __slots__ = ("callbacks", "factory", "inner", "key", "names")

    def __init__(self, factory: RelaySubscriptions, key: RelayKey, callbacks: SubscriptionCallbacks) -> None:
        self.factory = factory
        self.key = key
        self.callbacks = callbacks
        self.inner: Subscription | None = None
        # None: all there are.
        self.names: frozenset[str] | None = frozenset()

    # --- what the user says ---

    def start(self, names: Sequence[str] | None) -> None:
        self.names = None if names is None else frozenset(names)
        self.factory.table(self.key).users.append(self)
        assert self.inner is not None
        self.inner.start(names)

    def update_interest(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)
        if self.inner is not None:
            self.inner.update_interest(names)

    def request_on_demand(self, names: Sequence[str]) -> None:
        if self.inner is not None:
            self.inner.request_on_demand(names)

    def close(self) -> None:
        inner = self.inner
        self.inner = None
        if inner is not None:
            inner.close()
            self.factory.leave(self)

    # --- what the source says ---

    def on_state(self, resources: list[Resource], version: str) -> None:
        if self.inner is None:
            return
        self.callbacks.on_state(resources, version)
        table = self.factory.table(self.key)
        table.mode, table.version = STATE, version
        fresh = {resource.name: plain_resource(resource) for resource in resources}
        removed: list[str] = []
        if self.names is None:
            removed = [name for name in table.resources if name not in fresh]
            table.resources = fresh
        else:
            table.resources.update(fresh)
        self.factory.tell(table, STATE, fresh.values(), removed, version)

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        if self.inner is None:
            return
        self.callbacks.on_delta(added, removed, version)
        table = self.factory.table(self.key)
        table.mode, table.version = DELTA, version
        fresh = {resource.name: plain_resource(resource) for resource in added}
        for name in removed:
            table.resources.pop(name, None)
        table.resources.update(fresh)
        self.factory.tell(table, DELTA, fresh.values(), list(removed), version)

    def on_failed(self, reason: int, error: str) -> None:
        self.callbacks.on_failed(reason, error)
