"""One named resource that is followed on behalf of all who want it: a route table, a secret, a filter's configuration.

In a half of the server there is one `DiscoveredResource` for each source and name, however many listeners ask for it.
It subscribes when the first of them starts, and lets them wait for the first answer (`init_manager`); it ends with the
last of them. In a worker the source is main, and nobody waits.

Source: Envoy's RdsRouteConfigSubscription, SdsApi and FilterConfigSubscription, which share this life.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitTarget
from outrider.config.subscription import CONNECTION_FAILURE, Resource, Subscription, SubscriptionCallbacks

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

T = TypeVar("T", bound="DiscoveredResource")


def known_resources(context: FactoryContext, kind: type[T]) -> dict[str, T]:
    """Those of one kind that are in use in this half, by key."""
    found: dict[str, T] = context.singletons.setdefault(f"discovered:{kind.__name__}", {})  # type: ignore[assignment]
    return found


def source_key(name: str, source: View | None) -> str:
    """Equal for equal names from equal sources."""
    return f"{name}\0{source.message_bytes().hex()}" if source is not None else name


def pack(field: Any, type_name: str, packed: bytes) -> None:
    """Put a serialized message into an Any."""
    field.type_url = f"{api.TYPE_URL_PREFIX}{type_name}"
    field.value = packed


def stamp(field: Any, seconds: float) -> None:
    """Set a Timestamp, to the millisecond as Envoy's."""
    field.seconds = int(seconds)
    field.nanos = int(seconds * 1000) % 1000 * 1_000_000


def check_node(context: FactoryContext, who: str, view: View) -> None:
    """Raises ConfigError, in Envoy's words, where the node that is to ask has no name."""
    server = context.server
    if not (server.node_id and server.node_cluster):
        raise view.error(
            f"{who}: node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and "
            "--service-cluster options."
        )


def run_all(callbacks: list[Callable[[], None]]) -> None:
    """Call each once, and forget them."""
    taken = list(callbacks)
    callbacks.clear()
    for callback in taken:
        callback()


class _Release:
    """One user's end, for `FactoryContext.on_close`."""

    __slots__ = ("on_update", "resource")

    def __init__(self, resource: DiscoveredResource, on_update: Callable[[], None] | None) -> None:
        self.resource = resource
        self.on_update = on_update

    def run(self) -> None:
        self.resource.release(self.on_update)


class DiscoveredResource(SubscriptionCallbacks):
    """Base. Subclasses build what the resource describes in `accept`, and say what their users do without one."""

    # Kind of `server.admin.config_tracker` that `show` adds to, "" for none.
    dump_kind = ""

    def __init__(
        self,
        context: FactoryContext,
        source: View | None,
        type_name: str,
        name: str,
        scope: Scope,
        key: str,
        title: str,
    ) -> None:
        """Raises ConfigError: the source is not usable. `key` is unique among those of its kind, `title` what
        `/init_dump` shows while somebody waits."""
        self.context = context
        self.name = name
        self.scope = scope
        self.key = key
        self.title = title
        # As it arrived last: serialized message, its version, and Unix time of its arrival.
        self.packed: bytes | None = None
        self.version: str = ""
        self.updated: float = 0.0
        self.users = 0
        self.started = False
        # The first answer came, or none will come soon: nobody waits any more.
        self.answered = False
        self._targets: list[InitTarget] = []
        self._listeners: list[Callable[[], None]] = []
        self.subscription: Subscription | None = None
        if context.subscriptions is not None:
            self.subscription = context.subscriptions.subscribe(source, type_name, self, scope)
        elif source is not None:
            # Validation: the source is not asked.
            source.take()
        known_resources(context, type(self))[key] = self
        self._untrack: Callable[[], None] | None = None
        if context.config_tracker is not None and self.dump_kind:
            self._untrack = context.config_tracker.add(self.dump_kind, self.show)

    # --- users ---

    def use(self, context: FactoryContext, on_update: Callable[[], None] | None = None) -> None:
        """Somebody needs the resource until `context.on_close`; it waits with `context.init_manager`.

        `on_update` is called after each change, and may raise ConfigError to refuse it.
        """
        self.hold(context, on_update)
        manager = context.init_manager
        if manager is None:
            self.start()
            return
        target = InitTarget(self.title, self.start)
        if self.answered:
            target.is_ready = True
        else:
            self._targets.append(target)
        manager.add(target)

    def hold(self, context: FactoryContext, on_update: Callable[[], None] | None = None) -> None:
        """As `use`, of somebody who does not wait and calls `start` when it is time."""
        self.users += 1
        if on_update is not None:
            self._listeners.append(on_update)
        context.on_close.append(_Release(self, on_update).run)

    def start(self) -> None:
        """Begin to ask, once."""
        if self.started or self.subscription is None:
            if self.subscription is None:
                self.be_ready()
            return
        self.started = True
        self.subscription.start([self.name])

    def release(self, on_update: Callable[[], None] | None) -> None:
        """One user less."""
        if on_update is not None and on_update in self._listeners:
            self._listeners.remove(on_update)
        self.users -= 1
        if self.users > 0:
            return
        known = known_resources(self.context, type(self))
        if known.get(self.key) is self:
            del known[self.key]
        if self.subscription is not None:
            self.subscription.close()
        if self._untrack is not None:
            self._untrack()
        self.on_released()
        # What was built here may have begun things of its own.
        run_all(self.context.on_close)
        self.scope.close()

    def on_released(self) -> None:
        """The last user is gone."""

    def be_ready(self) -> None:
        """Nobody need wait any more."""
        self.answered = True
        targets = self._targets
        self._targets = []
        for target in targets:
            target.ready()

    def tell(self) -> None:
        """Call everybody's `on_update`. Raises ConfigError: of the first who refuses."""
        for listener in list(self._listeners):
            listener()

    # --- for subclasses ---

    def show(self, dump: Any, matches: Callable[[str], bool]) -> None:
        """Add to the dump of the kind `dump_kind` what is in force, or waited for."""

    def wrong_count(self, count: int) -> str:
        """What is wrong with an answer of so many resources, "" when it is only empty."""
        raise NotImplementedError

    def wrong_name(self, name: str) -> str:
        """What is wrong with a resource of another name."""
        raise NotImplementedError

    def accept(self, resource: Resource) -> None:
        """Build from a resource that differs from the last one. Raises ConfigError; then the last one stays."""
        raise NotImplementedError

    def on_removed(self) -> None:
        """The source says that the resource is gone (incremental)."""

    def on_empty(self) -> None:
        """An answer without resources, which is no error."""

    # --- from the subscription ---

    def on_state(self, resources: list[Resource], version: str) -> None:
        if len(resources) != 1:
            problem = self.wrong_count(len(resources))
            if problem:
                raise ConfigError(problem)
            self.on_empty()
            self.be_ready()
            return
        resource = resources[0]
        if resource.name != self.name:
            raise ConfigError(self.wrong_name(resource.name))
        if resource.packed != self.packed:
            self.accept(resource)
            if self.context.support is not None:
                self.context.support.check(resource.view)
            self.packed = resource.packed
            self.version = version
            self.updated = time.time()
            self.applied()
        self.be_ready()

    def applied(self) -> None:
        """`accept` has been through: put what it made in force."""

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        if added:
            # As in Envoy, what is shown is the version of the resource, not that of the answer.
            self.on_state(added, added[0].version or version)
        elif removed:
            self.on_removed()

    def on_failed(self, reason: int, error: str) -> None:
        if reason != CONNECTION_FAILURE:
            # With a bad configuration, or none, one has to go on.
            self.be_ready()
