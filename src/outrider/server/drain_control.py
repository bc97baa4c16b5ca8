"""`/drain_listeners`: the active listeners are asked to drain, or stopped, all or the inbound ones."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from outrider.server import messages
from outrider.server.listener_manager import STOP_DELAY_S, MainListeners

if TYPE_CHECKING:
    from outrider.factory_context import ServerInfo
    from outrider.server.supervisor import Supervisor


class DrainControl:
    """What main knows of drains that somebody has asked for."""

    def __init__(self, info: ServerInfo, listeners: MainListeners, supervisor: Supervisor) -> None:
        self.info = info
        self.listeners = listeners
        self.supervisor = supervisor
        # Numbers of listeners that were told to drain, and of those that were stopped.
        self.draining: list[int] = []
        self.stopped: list[int] = []

    def drain(self, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        """Stop at once, after the drain time (graceful), or never (skip_exit)."""
        numbers = [
            entry.number
            for entry in self.listeners.all_active()
            if not entry.stopped and (entry.inbound or not inbound_only)
        ]
        if graceful or skip_exit:
            self._start(numbers, inbound_only)
            if not skip_exit:
                asyncio.get_running_loop().call_later(self.info.drain_time_s, self._stop, inbound_only)
            return
        self._stop(inbound_only)

    def _start(self, numbers: list[int], inbound_only: bool) -> None:
        info = self.info
        if not inbound_only and not info.draining:
            info.draining = True
            info.drain_started = time.monotonic()
            self.supervisor.broadcast(messages.SERVER_DRAIN, info.drain_started)
        self.draining += [number for number in numbers if number not in self.draining]
        self.supervisor.broadcast(messages.DRAIN, numbers)

    def _stop(self, inbound_only: bool) -> None:
        numbers = self.listeners.stop(inbound_only)
        self.stopped += numbers
        self.supervisor.broadcast(messages.STOP_LISTENERS, numbers)
        # A loop that polls a socket while it is shut down sees errors: let the workers stop first.
        asyncio.get_running_loop().call_later(STOP_DELAY_S, self.listeners.shut_down, numbers)
