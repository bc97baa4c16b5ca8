"""Draining: when the connections of a listener, or of one of its filter chains, are asked to go away.

Source: Envoy documentation, "Draining". A listener drains when the server does (`/drain_listeners?graceful`), when it
is told to by itself, and while the server fails its health check.
"""

from __future__ import annotations

import random
import time

from outrider.factory_context import ServerInfo
from outrider.http.conn_manager_settings import DrainDecision


class ListenerDrain(DrainDecision):
    """The decision for one listener's connections, or for those of one filter chain of it."""

    __slots__ = ("server", "on_health_failure", "parent", "_started")

    def __init__(self, server: ServerInfo, drain_type: str, parent: ListenerDrain | None = None) -> None:
        self.server = server
        self.on_health_failure = drain_type == "DEFAULT"
        # That of the listener, when this is a chain's.
        self.parent = parent
        # Monotonic seconds; below zero: this listener or chain is not draining by itself.
        self._started: float = -1.0

    def start(self) -> None:
        """Begin to drain."""
        if self._started < 0:
            self._started = time.monotonic()

    def for_chain(self) -> ListenerDrain:
        """A decision for one filter chain, which drains with the listener, or alone when an update has dropped it."""
        return ListenerDrain(self.server, "DEFAULT" if self.on_health_failure else "MODIFY_ONLY", self)

    def drain_close(self) -> bool:
        server = self.server
        if server.health_check_failed and self.on_health_failure:
            return True
        started = server.drain_started if server.draining else self._started
        if started < 0 and self.parent is not None:
            started = self.parent._started
        if started < 0:
            return False
        if not server.drain_gradual or server.drain_time_s <= 0:
            return True
        # The share of connections that are asked grows with the whole seconds that have gone by.
        elapsed = int(time.monotonic() - started)
        return elapsed >= server.drain_time_s or elapsed > random.randrange(int(server.drain_time_s))
