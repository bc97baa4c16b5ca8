"""The listeners of a worker: connections, and what main says about listeners that come, change and go."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from outrider.data.address import Address
from outrider.network.filter_chain import FilterChain
from outrider.network.listen_socket import ListenSocket
from outrider.network.listener import ConnectionLimits, Listener
from outrider.network.listener_config import ListenerConfig
from outrider.server.channel import close_descriptors
from outrider.server.drain import ListenerDrain
from outrider.server.listener_entry import (
    ListenerEntry,
    build_entry,
    chains_by_message,
    split_chains,
    unpack_listener,
)
from outrider.upstream.hosts_update import address_of

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext

_log: Final = logging.getLogger("outrider.main")

Opened = list[tuple[Address, socket.socket, int]]
"""Address, bound and listening socket, backlog."""


class WorkerListeners:
    """By number. What must wait (the loop's servers are started by coroutines) is done in the order in which it came.
    """

    def __init__(self, built: list[ListenerEntry], context: FactoryContext, monitor_limit: int | None) -> None:
        self.context = context
        self.limits = ConnectionLimits(context.runtime, context.arena, context.worker_index, monitor_limit)
        self.limits.overload = context.overload
        self._handler = f"worker_{context.worker_index}"
        self.entries: dict[int, ListenerEntry] = {}
        self.listeners: dict[int, Listener] = {}
        # By the number of the entry that has replaced them: what an update in place has dropped.
        self._dropped: dict[int, tuple[Listener, ListenerConfig, list[FilterChain]]] = {}
        # Numbers that were told to drain, perhaps before the listener came.
        self._draining: set[int] = set()
        # Tells whether new listeners are to leave connections alone for now (overload).
        self.is_paused: Callable[[], bool] | None = None
        self._waiting: deque[Coroutine[Any, Any, None]] = deque()
        self._running = False
        for entry in built:
            self._adopt(entry)

    def _adopt(self, entry: ListenerEntry) -> Listener:
        listener = Listener(entry.config, self.context.dispatcher, self.limits, self._handler)
        self.entries[entry.number] = entry
        self.listeners[entry.number] = listener
        return listener

    # --- in order ---

    def enqueue(self, step: Coroutine[Any, Any, None]) -> None:
        self._waiting.append(step)
        if not self._running:
            self._running = True
            self.context.dispatcher.spawn(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                step = self._waiting.popleft()
                try:
                    await step
                except OSError as error:
                    _log.critical("%s cannot listen: %s", self._handler, error)
        finally:
            self._running = False

    async def _start(self, listener: Listener, opened: Opened) -> None:
        await listener.start(opened)
        paused = self.is_paused
        if paused is not None and paused() and not listener.config.bypass_overload_manager:
            listener.pause()

    async def _stop(self, listener: Listener) -> None:
        listener.stop()

    # --- what main says ---

    def start_static(
        self, sockets: dict[int, list[ListenSocket]], on_started: Callable[[], Awaitable[None]]
    ) -> None:
        """Accept on this worker's sockets of the static listeners, by number."""
        for number, listener in list(self.listeners.items()):
            opened = [
                (each.address, each.for_worker(self.context.worker_index), each.settings.backlog)
                for each in sockets.get(number, [])
                if each.sockets
            ]
            self.enqueue(self._start(listener, opened))
        self.enqueue(_call(on_started))

    def apply(self, payload: Any, descriptors: list[int]) -> None:
        """A LISTENER message: a new listener, or new filter chains for one that there is."""
        number, packed, replaced, addresses = payload
        view = unpack_listener(packed)
        try:
            if replaced >= 0:
                self._update_in_place(number, view, replaced)
                close_descriptors(descriptors)
                return
            entry = build_entry(view, self.context, number)
        except Exception:
            # Main has built it: this is a fault of ours, and what serves must go on.
            _log.exception("cannot build listener '%s'", view.text("name"))
            close_descriptors(descriptors)
            return
        if number in self._draining:
            entry.drain.start()
        opened: Opened = [
            (address_of(plain), socket.socket(fileno=descriptor), backlog)
            for (plain, backlog), descriptor in zip(addresses, descriptors, strict=True)
        ]
        self.enqueue(self._start(self._adopt(entry), opened))

    def _update_in_place(self, number: int, view: Any, replaced: int) -> None:
        old = self.entries[replaced]
        entry = build_entry(view, self.context, number, old.drain, chains_by_message(old.config))
        listener = self.listeners.pop(replaced)
        del self.entries[replaced]
        self.entries[number] = entry
        self.listeners[number] = listener
        listener.replace_config(entry.config)
        dropped = split_chains(old.config, entry.config)
        for chain in dropped:
            if isinstance(chain.drain, ListenerDrain):
                chain.drain.start()
        self._dropped[number] = (listener, old.config, dropped)

    def close_chains(self, number: int) -> None:
        """The drain of the chains that the update in place to this number has dropped is over."""
        found = self._dropped.pop(number, None)
        if found is not None:
            listener, config, chains = found
            listener.close_chains(chains)
            config.close()

    def drain_and_stop(self, number: int) -> None:
        """The listener is removed or replaced: no new connections, and those there are to go away."""
        entry = self.entries.get(number)
        if entry is not None:
            entry.drain.start()
            self.enqueue(self._stop(self.listeners[number]))

    def close_listener(self, number: int) -> None:
        """The drain is over."""
        entry = self.entries.pop(number, None)
        if entry is not None:
            listener = self.listeners.pop(number)
            self.enqueue(self._end(listener, entry))

    async def _end(self, listener: Listener, entry: ListenerEntry) -> None:
        listener.stop()
        listener.close_connections()
        entry.config.close()

    def stop(self, numbers: list[int]) -> None:
        for number in numbers:
            listener = self.listeners.get(number)
            if listener is not None:
                self.enqueue(self._stop(listener))

    def drain(self, numbers: list[int]) -> None:
        """Ask the connections of these listeners to go away."""
        self._draining.update(numbers)
        for number in numbers:
            entry = self.entries.get(number)
            if entry is not None:
                entry.drain.start()

    def close(self) -> None:
        for step in self._waiting:
            step.close()
        self._waiting.clear()
        for listener in self.listeners.values():
            with contextlib.suppress(OSError):
                listener.stop()
            listener.close_connections()

    def connections(self) -> int:
        return sum(len(listener.connections) for listener in self.listeners.values())


async def _call(function: Callable[[], Awaitable[None]]) -> None:
    await function()
