"""A config source that says what the test says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from outrider.config import api
from outrider.config.load import LoadPolicy, load_message
from outrider.config.source import Source
from outrider.config.subscription import Resource, Subscription, SubscriptionCallbacks, SubscriptionFactory
from outrider.config.view import View
from outrider.stats.store import Scope


def resource(type_name: str, tree: dict[str, Any], name: str = "", aliases: Sequence[str] = ()) -> Resource:
    """A resource from JSON-like data; `name` where the message's own field is not what counts."""
    view = load_message([Source("test.json", "json", orjson.dumps(tree))], type_name, LoadPolicy())
    return Resource(
        name or str(tree.get("name", "")), "1", type_name, view.message_bytes(), View(view.proto), aliases
    )


def missing(type_name: str, name: str, aliases: Sequence[str] = ()) -> Resource:
    """The word of a delta server that there is no such thing: a resource without content."""
    return Resource(name, "1", type_name, b"", View(api.new(type_name)), aliases)


class FakeSubscription(Subscription):
    def __init__(self, source: View | None, type_name: str, callbacks: SubscriptionCallbacks, scope: Scope) -> None:
        self.source = source
        if source is not None:
            source.take()
        self.type_name = type_name
        self.callbacks = callbacks
        self.scope = scope
        self.names: list[str] | None = None
        self.started = False
        self.closed = False
        self.on_demand: list[str] = []

    def start(self, names: Sequence[str] | None) -> None:
        assert not self.started
        self.started = True
        self.names = None if names is None else list(names)

    def update_interest(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def request_on_demand(self, names: Sequence[str]) -> None:
        self.on_demand += names

    def close(self) -> None:
        self.closed = True

    # --- the test's side ---

    def send(self, *trees: dict[str, Any], version: str = "1") -> None:
        """State of the world: these resources, as the server's answer."""
        self.callbacks.on_state([resource(self.type_name, tree) for tree in trees], version)

    def send_delta(self, *added: Resource, removed: Sequence[str] = (), version: str = "1") -> None:
        self.callbacks.on_delta(list(added), list(removed), version)


class FakeSubscriptions(SubscriptionFactory):
    """All that were made, in order."""

    def __init__(self) -> None:
        self.made: list[FakeSubscription] = []

    def subscribe(
        self, source: View | None, type_name: str, callbacks: SubscriptionCallbacks, scope: Scope, path_key: str = ""
    ) -> Subscription:
        made = FakeSubscription(source, type_name, callbacks, scope)
        self.made.append(made)
        return made

    def of(self, type_name: str) -> list[FakeSubscription]:
        """Those of a type (its last part) that are not closed."""
        return [each for each in self.made if each.type_name.endswith("." + type_name) and not each.closed]
