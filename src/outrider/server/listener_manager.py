"""Main's listeners: which serve, warm and drain; their sockets; what the workers are told.

Source: Envoy documentation, "Listener discovery service", "Draining"; `ListenerManagerImpl`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitManager
from outrider.data.address import Address
from outrider.network.listen_socket import BindError, ListenSocket
from outrider.server import messages
from outrider.server.listener_entry import (
    ListenerEntry,
    build_entry,
    chains_by_message,
    differs_in_chains_only,
    next_number,
    split_chains,
)
from outrider.server.listener_manager_stats import ListenerManagerStats
from outrider.server.listener_wire import ListenerWorkers, listener_message
from outrider.server.static_listeners import duplicate_address

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_log: Final = logging.getLogger("outrider.config")

# Workers stop accepting first: a loop that polls a socket while it is shut down sees errors.
STOP_DELAY_S: Final = 0.05


class MainListeners:
    """Static listeners from the start; dynamic ones through `add_or_update` and `remove`."""

    def __init__(self, built: list[ListenerEntry], stats: ListenerManagerStats, context: FactoryContext) -> None:
        self.stats = stats
        self.context = context
        self.workers = ListenerWorkers()
        # How many there are, 1 at least.
        self.worker_count = 1
        # Requests are served: what comes from now on warms first.
        self.workers_started = False
        self.active: dict[str, ListenerEntry] = {entry.name: entry for entry in built}
        self.warming: dict[str, ListenerEntry] = {}
        self.draining: list[ListenerEntry] = []
        # Sockets of listeners that are gone, until the workers have let go of them.
        self._closing: list[ListenSocket] = []
        self._timers: set[asyncio.TimerHandle] = set()
        stats.listener_added.add(len(built))
        self._update_gauges()

    def open(self, workers: int) -> None:
        """Open and bind all sockets of static listeners. Raises BindError; nothing stays open then."""
        self.worker_count = max(workers, 1)
        try:
            for entry in self.active.values():
                self._open_sockets(entry)
        except BindError:
            self.close()
            raise

    def listen(self) -> None:
        """Take connections. Raises BindError."""
        for entry in self.active.values():
            for opened in entry.sockets:
                opened.listen()

    # --- dynamic listeners ---

    def add_or_update(self, view: View, version_info: str) -> bool:
        """A listener as LDS gives it. False when nothing changes, or nothing may: static listeners stay.

        Raises ConfigError; what was there before stays then.
        """
        name = view.text("name")
        packed = view.message_bytes()
        active = self.active.get(name)
        warming = self.warming.get(name)
        if (active is not None and active.blocks(packed)) or (warming is not None and warming.blocks(packed)):
            _log.debug("duplicate/locked listener '%s'. no add/update", name)
            return False
        init_manager = None
        if self.workers_started:
            digest = int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "big")
            init_manager = InitManager(f"Listener-local-init-manager {name} {digest}")
        context = self.context
        if init_manager is not None:
            context = context.with_scope(context.scope)
            context.init_manager = init_manager
        in_place = active is not None and self._may_update_in_place(active, view)
        if active is not None and in_place:
            entry = build_entry(view, context, next_number(), active.drain, chains_by_message(active.config))
        else:
            entry = build_entry(view, context, next_number())
        entry.packed, entry.version_info, entry.added_via_api = packed, version_info, True
        entry.init_manager = init_manager
        entry.in_place = in_place
        if active is not None and in_place:
            # As in Envoy: what is updated in place shows the version that it had.
            entry.version_info = active.version_info
        try:
            if context.support is not None:
                context.support.check(view)
            self._find_sockets(entry, active, warming)
        except BaseException:
            self._abandon(entry)
            raise
        if active is None and warming is None:
            self.stats.listener_added.inc()
        else:
            self.stats.listener_modified.inc()
        if warming is not None:
            del self.warming[name]
            self._abandon(warming)
        if init_manager is None:
            self.active[name] = entry
            if active is not None:
                self._abandon(active)
            self._update_gauges()
            return True
        self.warming[name] = entry
        self._update_gauges()
        init_manager.initialize(lambda: self._on_warm(entry))
        return True

    def remove(self, name: str) -> bool:
        """Remove a listener that came through LDS; its connections drain. False when there is none."""
        active = self.active.get(name)
        warming = self.warming.get(name)
        if (active is None and warming is None) or (active is not None and not active.added_via_api):
            _log.debug("unknown/locked listener '%s'. no remove", name)
            return False
        if warming is not None:
            del self.warming[name]
            self._abandon(warming)
        if active is not None:
            del self.active[name]
            if self.workers_started:
                self._drain(active)
            else:
                self._abandon(active)
        self.stats.listener_removed.inc()
        self._update_gauges()
        return True

    def _may_update_in_place(self, active: ListenerEntry, view: View) -> bool:
        if not self.workers_started or active.stopped:
            return False
        return differs_in_chains_only(active.config.view, view)

    def _on_warm(self, entry: ListenerEntry) -> None:
        name = entry.name
        del self.warming[name]
        old = self.active.get(name)
        try:
            for opened in entry.sockets:
                opened.listen()
        except BindError as error:
            _log.error("listener '%s' failed to listen: %s", name, error)
            self.stats.listener_create_failure.add(self.worker_count)
            self._abandon(entry)
            self._update_gauges()
            return
        self.active[name] = entry
        if entry.in_place and old is not None:
            self.stats.listener_in_place_updated.inc()
            self.workers.tell(messages.LISTENER, listener_message(entry, old.number))
            self.stats.listener_create_success.add(self.worker_count)
            self._drain_chains(old, entry)
        else:
            self.workers.tell_listener(entry)
            self.stats.listener_create_success.add(self.worker_count)
            if old is not None:
                self._drain(old)
        self._update_gauges()

    # --- the end of a listener ---

    def _abandon(self, entry: ListenerEntry) -> None:
        """It never served: nothing need drain."""
        if entry.init_manager is not None:
            entry.init_manager.cancel()
        if entry.in_place:
            # Its unchanged chains are those of the active listener.
            active = self.active.get(entry.name)
            if active is not None:
                split_chains(entry.config, active.config)
        sockets = entry.sockets
        entry.release()
        self._close_unused(sockets)

    def _drain(self, entry: ListenerEntry) -> None:
        self.draining.append(entry)
        self._update_gauges()
        self.workers.tell(messages.DRAIN_LISTENER, entry.number)
        sockets = entry.sockets
        entry.sockets = []
        for opened in sockets:
            opened.holders -= 1
        self._closing += sockets
        self._later(STOP_DELAY_S, lambda: self._close_unused(sockets))
        self._later(self.context.server.drain_time_s, lambda: self._end_drain(entry))

    def _end_drain(self, entry: ListenerEntry) -> None:
        self.draining.remove(entry)
        self._update_gauges()
        self.workers.tell(messages.CLOSE_LISTENER, entry.number)
        entry.release()

    def _drain_chains(self, old: ListenerEntry, entry: ListenerEntry) -> None:
        dropped = split_chains(old.config, entry.config)
        for opened in old.sockets:
            opened.holders -= 1
        old.sockets = []
        self.stats.total_filter_chains_draining.add(len(dropped))

        def end() -> None:
            self.stats.total_filter_chains_draining.sub(len(dropped))
            self.workers.tell(messages.CLOSE_CHAINS, entry.number)
            old.release()

        self._later(self.context.server.drain_time_s, end)

    def _later(self, seconds: float, callback: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(handle)
            callback()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(handle)

    # --- sockets ---

    def _close_unused(self, sockets: list[ListenSocket]) -> None:
        for opened in sockets:
            if opened in self._closing:
                self._closing.remove(opened)
            if opened.holders <= 0:
                opened.shut_down()

    def _open_sockets(self, entry: ListenerEntry) -> None:
        for settings in entry.config.sockets:
            opened = ListenSocket(settings, self.worker_count)
            opened.holders += 1
            entry.sockets.append(opened)

    def _find_sockets(
        self, entry: ListenerEntry, active: ListenerEntry | None, warming: ListenerEntry | None
    ) -> None:
        """The sockets of the listener that is updated, when its addresses stay; else new ones. Raises ConfigError."""
        for before in (warming, active):
            if before is not None and before.sockets and not before.stopped and _same_sockets(before, entry):
                entry.sockets = list(before.sockets)
                for opened in entry.sockets:
                    opened.holders += 1
                return
        taken = {
            address
            for others in (self.active, self.warming)
            for name, other in others.items()
            if name != entry.name
            for address in other.addresses
        }
        for settings in entry.config.sockets:
            address = settings.address.address
            if settings.bind and settings.place in taken and (address.port or not address.host):
                raise ConfigError(duplicate_address(entry.name, address))
        # Their address may be wanted again.
        addresses = set(entry.addresses)
        self._close_unused([each for each in self._closing if each.settings.place in addresses])
        try:
            self._open_sockets(entry)
        except BindError as error:
            self.stats.listener_create_failure.inc()
            raise ConfigError(str(error)) from None

    # --- the whole server ---

    def unready(self) -> list[tuple[str, list[str]]]:
        """Init managers of listeners that warm, and what they wait for."""
        return [
            (entry.init_manager.name, entry.init_manager.unready())
            for entry in self.warming.values()
            if entry.init_manager is not None
        ]

    def all_active(self) -> list[ListenerEntry]:
        return list(self.active.values())

    def stop(self, inbound_only: bool) -> list[int]:
        """Count some or all listeners as stopped and give their numbers; `shut_down` follows."""
        numbers = []
        for entry in self.active.values():
            if entry.stopped or (inbound_only and not entry.inbound):
                continue
            entry.stopped = True
            numbers.append(entry.number)
            self.stats.listener_stopped.inc()
        return numbers

    def shut_down(self, numbers: list[int]) -> None:
        """Close the sockets of these listeners, when their workers have let go of them."""
        for entry in self.active.values():
            if entry.number in numbers:
                for opened in entry.sockets:
                    opened.shut_down()

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for opened in self._closing:
            opened.close()
        for entry in [*self.active.values(), *self.warming.values()]:
            for opened in entry.sockets:
                opened.close()

    def addresses(self) -> list[tuple[str, list[Address]]]:
        """Name and bound addresses of every listener that serves."""
        return [
            (
                entry.name,
                [opened.address for opened in entry.sockets]
                or [settings.address.address for settings in entry.config.sockets],
            )
            for entry in self.active.values()
        ]

    def _update_gauges(self) -> None:
        self.stats.total_listeners_active.set(len(self.active))
        self.stats.total_listeners_warming.set(len(self.warming))
        self.stats.total_listeners_draining.set(len(self.draining))


def _same_sockets(one: ListenerEntry, other: ListenerEntry) -> bool:
    """Whether two versions of a listener are bound in the same way."""
    return [each.key() for each in one.config.sockets] == [each.key() for each in other.config.sockets]
