"""A worker's subscriptions: main is its only management server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from outrider.config import api
from outrider.config.subscription import Resource, Subscription, SubscriptionCallbacks, SubscriptionFactory
from outrider.config.view import View
from outrider.server.relay import DELTA, PlainResource, RelayKey, concerns, relay_key
from outrider.stats.store import Scope

_log: Final = logging.getLogger("outrider.config")


class WorkerTable:
    """What main has sent of one source and type, and who wants to hear of it."""

    __slots__ = ("mode", "resources", "users", "version")

    def __init__(self) -> None:
        self.mode = 0
        self.version = ""
        self.resources: dict[str, PlainResource] = {}
        self.users: list[WorkerSubscription] = []


class WorkerSubscriptions(SubscriptionFactory):
    """Fed by main's messages. What is known already is given to a subscription when it starts."""

    def __init__(self) -> None:
        self.tables: dict[RelayKey, WorkerTable] = {}
        # Asks main for further resources: key, names.
        self.ask: Callable[[RelayKey, list[str]], None] | None = None

    def subscribe(
        self, source: View | None, type_name: str, callbacks: SubscriptionCallbacks, scope: Scope, path_key: str = ""
    ) -> Subscription:
        key = relay_key(source, type_name, path_key)
        if source is not None:
            source.take()
        return WorkerSubscription(self, key, callbacks)

    def table(self, key: RelayKey) -> WorkerTable:
        found = self.tables.get(key)
        if found is None:
            found = self.tables[key] = WorkerTable()
        return found

    def apply(self, payload: Any) -> None:
        """A RELAY message: take it over and tell whom it concerns."""
        key, mode, resources, removed, version = payload
        table = self.table(key)
        table.mode, table.version = mode, version
        for name in removed:
            table.resources.pop(name, None)
        for plain in resources:
            table.resources[plain[0]] = plain
        for user in list(table.users):
            user.deliver(mode, resources, removed, version)

    def forget(self, payload: Any) -> None:
        """A RELAY_FORGET message: nobody in main asks for these any more."""
        key, names = payload
        table = self.tables.get(key)
        if table is None:
            return
        for name in names:
            table.resources.pop(name, None)
        if not table.resources and not table.users:
            del self.tables[key]


class WorkerSubscription(Subscription):
    """One subscription."""

    __slots__ = ("callbacks", "factory", "key", "names", "open")

    def __init__(self, factory: WorkerSubscriptions, key: RelayKey, callbacks: SubscriptionCallbacks) -> None:
        self.factory = factory
        self.key = key
        self.callbacks = callbacks
        self.names: frozenset[str] | None = frozenset()
        self.open = True

    def start(self, names: Sequence[str] | None) -> None:
        self.names = None if names is None else frozenset(names)
        table = self.factory.table(self.key)
        table.users.append(self)
        if table.resources or (names is None and table.version):
            self.deliver(table.mode, list(table.resources.values()), [], table.version)

    def update_interest(self, names: Sequence[str]) -> None:
        before = self.names
        self.names = frozenset(names)
        table = self.factory.table(self.key)
        known = [
            plain
            for plain in table.resources.values()
            if before is not None and not concerns(self.key[0], before, plain[0], plain[3])
        ]
        self.deliver(table.mode, known, [], table.version)

    def request_on_demand(self, names: Sequence[str]) -> None:
        if self.factory.ask is not None:
            self.factory.ask(self.key, list(names))

    def close(self) -> None:
        self.open = False
        table = self.factory.tables.get(self.key)
        if table is not None and self in table.users:
            table.users.remove(self)

    def deliver(self, mode: int, resources: list[PlainResource], removed: list[str], version: str) -> None:
        """Tell the callbacks what concerns them."""
        type_name = self.key[0]
        wanted = [plain for plain in resources if concerns(type_name, self.names, plain[0], plain[3])]
        gone = [name for name in removed if concerns(type_name, self.names, name, ())]
        if not self.open or (self.names is not None and not wanted and not gone):
            return
        try:
            unpacked = [_resource(type_name, plain) for plain in wanted]
            if mode == DELTA:
                self.callbacks.on_delta(unpacked, gone, version)
            elif unpacked or self.names is None:
                self.callbacks.on_state(unpacked, version)
        except Exception:
            # Main has accepted it: this is a fault of ours, and what serves must go on.
            _log.exception("cannot apply an update of %s", type_name)


def _resource(type_name: str, plain: PlainResource) -> Resource:
    name, version, packed, aliases = plain
    message = api.new(type_name)
    message.ParseFromString(packed)
    return Resource(name, version, type_name, packed, View(message), aliases)
