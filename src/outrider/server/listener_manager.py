"""The listeners of a half: in main their configuration and sockets, in a worker their connections.

Source: Envoy documentation, "Listener manager" statistics; `ListenerManagerImpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.config.errors import ConfigError, raise_all
from outrider.network.listen_socket import BindError, ListenSocket
from outrider.network.listener import ConnectionLimits, Listener
from outrider.network.listener_config import ListenerConfig
from outrider.server.drain import ListenerDrain
from outrider.stats.metrics import Counter, Gauge

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope


class ListenerManagerStats:
    """`listener_manager.*`"""

    def __init__(self, scope: Scope) -> None:
        scope = scope.scope("listener_manager")
        self.listener_added: Counter = scope.counter("listener_added")
        self.listener_modified: Counter = scope.counter("listener_modified")
        self.listener_removed: Counter = scope.counter("listener_removed")
        self.listener_stopped: Counter = scope.counter("listener_stopped")
        self.listener_in_place_updated: Counter = scope.counter("listener_in_place_updated")
        self.listener_create_success: Counter = scope.counter("listener_create_success")
        self.listener_create_failure: Counter = scope.counter("listener_create_failure")
        self.total_listeners_active: Gauge = scope.gauge("total_listeners_active", accumulate=False)
        self.total_listeners_warming: Gauge = scope.gauge("total_listeners_warming", accumulate=False)
        self.total_listeners_draining: Gauge = scope.gauge("total_listeners_draining", accumulate=False)
        self.total_filter_chains_draining: Gauge = scope.gauge("total_filter_chains_draining", accumulate=False)
        self.workers_started: Gauge = scope.gauge("workers_started", accumulate=False)
        self.workers_pinned: Gauge = scope.gauge("workers_pinned", accumulate=False)


class BuiltListener:
    """A listener's configuration with its drain decision and, in main, its sockets."""

    __slots__ = ("config", "drain", "sockets", "stopped")

    def __init__(self, config: ListenerConfig, drain: ListenerDrain) -> None:
        self.config = config
        self.drain = drain
        self.sockets: list[ListenSocket] = []
        self.stopped = False

    @property
    def inbound(self) -> bool:
        return self.config.direction == "INBOUND"


def build_listeners(views: list[View], context: FactoryContext) -> list[BuiltListener]:
    """Build every listener. Raises ConfigError(s): those of all listeners together."""
    built: list[BuiltListener] = []
    names: dict[str, View] = {}
    addresses: set[str] = set()
    errors: list[ConfigError] = []
    for view in views:
        drain = ListenerDrain(context.server, view.enum("drain_type"))
        narrowed = context.with_scope(context.scope)
        narrowed.drain_decision = drain
        try:
            config = ListenerConfig(view, narrowed)
            if config.name in names:
                raise view.error(f"duplicate listener name '{config.name}'", "name")
            names[config.name] = view
            for settings in config.sockets:
                address = settings.address.address
                if address.text in addresses and (address.port or not address.host) and settings.bind:
                    raise view.error(
                        f"error adding listener: '{config.name}' has duplicate address '{address.text}' as existing "
                        "listener",
                        "address",
                    )
            addresses.update(settings.address.address.text for settings in config.sockets if settings.bind)
            built.append(BuiltListener(config, drain))
        except ConfigError as error:
            errors += error.errors
    raise_all(errors)
    return built


class MainListeners:
    """Main's half: sockets and what `/listeners` shows."""

    def __init__(self, built: list[BuiltListener], stats: ListenerManagerStats) -> None:
        self.built = built
        self.stats = stats
        stats.total_listeners_active.set(len(built))
        stats.listener_added.add(len(built))

    def open(self, workers: int) -> None:
        """Open and bind all sockets. Raises BindError; nothing stays open then."""
        try:
            for each in self.built:
                for settings in each.config.sockets:
                    each.sockets.append(ListenSocket(settings, max(workers, 1)))
        except BindError:
            self.close()
            raise

    def listen(self) -> None:
        """Take connections. Raises BindError."""
        for each in self.built:
            for opened in each.sockets:
                opened.listen()

    def stop(self, inbound_only: bool) -> list[str]:
        """Count some or all listeners as stopped and give their names; `shut_down` follows."""
        names = []
        for each in self.built:
            if each.stopped or (inbound_only and not each.inbound):
                continue
            each.stopped = True
            names.append(each.config.name)
            self.stats.listener_stopped.inc()
        return names

    def shut_down(self, names: list[str]) -> None:
        """Close the sockets of these listeners, when their workers have let go of them."""
        for each in self.built:
            if each.config.name in names:
                for opened in each.sockets:
                    opened.shut_down()

    def close(self) -> None:
        for each in self.built:
            for opened in each.sockets:
                opened.close()

    def addresses(self) -> list[tuple[str, list[Any]]]:
        """Name and bound addresses (`data.address.Address`) of every listener."""
        return [
            (
                each.config.name,
                [opened.address for opened in each.sockets]
                or [settings.address.address for settings in each.config.sockets],
            )
            for each in self.built
        ]


class WorkerListeners:
    """A worker's half: connections."""

    def __init__(self, built: list[BuiltListener], context: FactoryContext, monitor_limit: int | None) -> None:
        self.context = context
        limits = ConnectionLimits(context.runtime, context.arena, context.worker_index, monitor_limit)
        limits.overload = context.overload
        handler = f"worker_{context.worker_index}"
        self.listeners: dict[str, Listener] = {}
        self.drains: dict[str, BuiltListener] = {}
        for each in built:
            self.listeners[each.config.name] = Listener(each.config, context.dispatcher, limits, handler)
            self.drains[each.config.name] = each

    async def start(self, sockets: dict[str, list[ListenSocket]]) -> None:
        """Accept on this worker's sockets of each listener, by name."""
        for name, listener in self.listeners.items():
            opened = [
                (each.address, each.for_worker(self.context.worker_index), each.settings.backlog)
                for each in sockets.get(name, [])
                if each.sockets
            ]
            await listener.start(opened)

    def stop(self, names: list[str]) -> None:
        for name in names:
            listener = self.listeners.get(name)
            if listener is not None:
                listener.stop()

    def drain(self, names: list[str]) -> None:
        """Ask the connections of these listeners to go away."""
        for name in names:
            each = self.drains.get(name)
            if each is not None:
                each.drain.start()

    def close(self) -> None:
        for listener in self.listeners.values():
            listener.stop()
            listener.close_connections()

    def connections(self) -> int:
        return sum(len(listener.connections) for listener in self.listeners.values())
