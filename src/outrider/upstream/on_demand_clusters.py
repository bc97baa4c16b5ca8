"""ODCDS: clusters that are discovered when the first request wants them.

A worker asks main, which asks the config source and takes the cluster over like one of CDS; the request goes on when
the worker has heard of it, when the source says that there is none, or after a while.

Source: `envoy.extensions.filters.http.on_demand.v3.OnDemandCds`; Envoy's `OdCdsApiImpl`, `ClusterDiscoveryManager`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.config.discovered import source_key
from outrider.config.errors import ConfigError
from outrider.config.subscription import CONNECTION_FAILURE, Resource, Subscription, SubscriptionCallbacks
from outrider.event.timer import Timer, TimerOwner
from outrider.upstream.cluster_manager import ClusterCallbacks

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
DEFAULT_TIMEOUT_MS: Final = 5000
MAX_ASKED: Final = 10_000
"""Different clusters that are asked for on demand, of one source: their names may come from clients."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ClusterWaiter:
    """Somebody who needs a cluster that is not there yet."""

    def on_cluster_discovery(self, found: bool) -> None:
        """`found` False: there is none, or it did not come in time."""
        raise NotImplementedError


class OnDemandClusters:
    """What a filter keeps of its `odcds`: where to ask, and how long to wait."""

    __slots__ = ("discovery", "timeout_ms")

    def __init__(self, discovery: ClusterDiscovery, timeout_ms: int) -> None:
        self.discovery = discovery
        self.timeout_ms = timeout_ms

    def request(self, name: str, waiter: ClusterWaiter) -> ClusterWait:
        """Ask; `waiter` is told once, unless the wait is cancelled."""
        return self.discovery.request(name, waiter, self.timeout_ms)


class ClusterWait(TimerOwner):
    """One wait for one cluster."""

    def __init__(self, discovery: ClusterDiscovery, name: str, waiter: ClusterWaiter) -> None:
        self.discovery = discovery
        self.name = name
        self.waiter: ClusterWaiter | None = waiter
        self.timer: Timer | None = None
        self.timed_out = False

    def on_timer(self, kind: int) -> None:
        self.timed_out = True
        self.discovery.leave(self)
        self.end(False)

    def cancel(self) -> None:
        """The request is over."""
        self.discovery.leave(self)
        self.waiter = None
        self._disarm()

    def end(self, found: bool) -> None:
        waiter = self.waiter
        self.waiter = None
        self._disarm()
        if waiter is not None:
            waiter.on_cluster_discovery(found)

    def _disarm(self) -> None:
        if self.timer is not None:
            self.timer.disarm()
            self.timer = None


class _Arrivals(ClusterCallbacks):
    """Tells the discovery of clusters that this half has heard of."""

    def __init__(self, discovery: ClusterDiscovery) -> None:
        self.discovery = discovery

    def on_cluster_available(self, name: str) -> None:
        self.discovery.tell(name, True)


class ClusterDiscovery(SubscriptionCallbacks):
    """One source of clusters in one half of the server."""

    def __init__(self, context: FactoryContext, source: View | None, locator: str, key: str) -> None:
        """Raises ConfigError."""
        self.context = context
        self.key = key
        self.locator = locator
        self.users = 0
        self.waiting: dict[str, list[ClusterWait]] = {}
        # All that were ever asked for: the interest grows.
        self._names: dict[str, None] = {}
        self.scope = context.root_scope.scope("cluster_manager.odcds")
        self.subscription: Subscription | None = None
        if context.subscriptions is not None:
            self.subscription = context.subscriptions.subscribe(source, CLUSTER, self, self.scope, "odcds")
        elif source is not None:
            source.take()
        self._arrivals = _Arrivals(self)
        context.cluster_manager.add_callbacks(self._arrivals)

    # --- requests of a worker ---

    def request(self, name: str, waiter: ClusterWaiter, timeout_ms: int) -> ClusterWait:
        wait = ClusterWait(self, name, waiter)
        if name not in self._names and len(self._names) >= MAX_ASKED:
            wait.end(False)
            return wait
        known = self.waiting.get(name)
        if known is None:
            self.waiting[name] = [wait]
        else:
            known.append(wait)
        if timeout_ms > 0:
            wait.timer = self.context.dispatcher.timer(wait, 0)
            wait.timer.arm(timeout_ms)
        if known is None:
            self._ask([name])
            if self.subscription is not None:
                self.subscription.request_on_demand([name])
        return wait

    def leave(self, wait: ClusterWait) -> None:
        waits = self.waiting.get(wait.name)
        if waits is not None and wait in waits:
            waits.remove(wait)
            if not waits:
                del self.waiting[wait.name]

    def tell(self, name: str, found: bool) -> None:
        """The answer for a cluster is there."""
        for wait in self.waiting.pop(name, []):
            wait.end(found)

    # --- main ---

    def on_demand(self, names: list[str]) -> bool:
        manager = self.context.cluster_manager
        self._ask([name for name in names if not manager.has(name)])
        return True

    def _ask(self, names: list[str]) -> None:
        if self.subscription is None:
            return
        fresh = [name for name in names if name not in self._names][: MAX_ASKED - len(self._names)]
        again = [name for name in names if name in self._names]
        if again and self.context.is_main:
            # There was none when it was asked for before; naming it anew makes the server answer anew.
            self.subscription.request_on_demand([self._asked(name) for name in again])
        if not fresh:
            return
        begin = not self._names
        self._names.update(dict.fromkeys(fresh))
        asked = [self._asked(name) for name in self._names]
        if begin:
            self.subscription.start(asked)
        else:
            self.subscription.update_interest(asked)

    def _asked(self, name: str) -> str:
        """What the source calls a cluster."""
        return f"{self.locator}/{name}" if self.locator else name

    def on_state(self, resources: list[Resource], version: str) -> None:
        self.on_delta(resources, [], version)

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        source = self.context.cluster_manager.source
        errors: list[str] = []
        if self.context.is_main and source is not None:
            for resource in added:
                try:
                    source.take_discovered(resource.view, resource.version or version)
                except ConfigError as error:
                    errors.append(f"{resource.name}: {error}")
            for name in removed:
                source.drop_discovered(name.rpartition("/")[2] if self.locator else name)
        for name in removed:
            self.tell(name.rpartition("/")[2] if self.locator else name, False)
        if errors:
            raise ConfigError(f"Error adding/updating cluster(s) {', '.join(errors)}")

    def on_failed(self, reason: int, error: str) -> None:
        """Requests go on waiting: their own time runs."""
        if reason != CONNECTION_FAILURE and not self.context.is_main:
            for name in list(self.waiting):
                self.tell(name, False)

    def release(self) -> None:
        self.users -= 1
        if self.users > 0:
            return
        _known(self.context).pop(self.key, None)
        self.context.cluster_manager.remove_callbacks(self._arrivals)
        if self.subscription is not None:
            self.subscription.close()
        for name in list(self.waiting):
            self.tell(name, False)
        self.scope.close()


def _known(context: FactoryContext) -> dict[str, ClusterDiscovery]:
    found: dict[str, ClusterDiscovery] = context.singletons.setdefault("odcds", {})  # type: ignore[assignment]
    return found


def discover_clusters(
    source: View | None, locator: str, timeout_ms: int | None, context: FactoryContext
) -> OnDemandClusters:
    """Where to ask for clusters, until `context.on_close`. Raises ConfigError."""
    key = f"{source_key(locator, source)}"
    found = _known(context).get(key)
    if found is None:
        found = _known(context)[key] = ClusterDiscovery(context, source, locator, key)
    elif source is not None:
        source.take()
    found.users += 1
    context.on_close.append(found.release)
    return OnDemandClusters(found, DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms)
