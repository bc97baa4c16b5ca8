"""envoy.filters.network.connection_limit: closes connections beyond a number of active ones.

Source: Envoy documentation, "Connection limit". The number counts the connections of all workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.shared_limit import SharedGauge
from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.filters.network.runtime_switch import RuntimeSwitch, runtime_switch
from outrider.network.connection import Connection
from outrider.network.filter import (
    CLOSE_NO_FLUSH,
    CONTINUE,
    EVENT_LOCAL_CLOSE,
    EVENT_REMOTE_CLOSE,
    STOP,
    NetworkFilter,
)
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

_DETAILS: Final = "over_connection_limit"


class LimitSettings:
    __slots__ = ("max_connections", "delay_ms", "enabled", "count", "active", "limited")

    def __init__(
        self, max_connections: int, delay_ms: int, enabled: RuntimeSwitch, count: SharedGauge, scope: Scope
    ) -> None:
        self.max_connections = max_connections
        self.delay_ms = delay_ms
        self.enabled = enabled
        # Connections that passed, of all workers.
        self.count = count
        self.active = scope.gauge("active_connections")
        self.limited = scope.counter("limited_connections")


class ConnectionLimit(NetworkFilter):
    _counted: bool = False
    _rejected: bool = False
    _delay: _CloseTimer | None = None

    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings

    def initialize(self, connection: Connection) -> None:
        self.connection = connection
        connection.add_callbacks(self)

    def on_new_connection(self) -> int:
        settings = self.settings
        if not settings.enabled.on():
            return CONTINUE
        settings.active.inc()
        self._counted = True
        if settings.count.total() < settings.max_connections:
            settings.count.inc()
            return CONTINUE
        settings.limited.inc()
        self._rejected = True
        if settings.delay_ms > 0:
            # A client that is refused late comes back late.
            self._delay = _CloseTimer(self.connection)
            self._delay.start(settings.delay_ms)
        else:
            self.connection.close(CLOSE_NO_FLUSH, _DETAILS)
        return STOP

    def on_data(self, data: bytes, end_stream: bool) -> int:
        return STOP if self._rejected else CONTINUE

    def on_event(self, event: int) -> None:
        if event != EVENT_LOCAL_CLOSE and event != EVENT_REMOTE_CLOSE:
            return
        if self._delay is not None:
            self._delay.stop()
            self._delay = None
        if self._counted:
            self._counted = False
            self.settings.active.dec()
            if not self._rejected:
                self.settings.count.dec()


class _CloseTimer(TimerOwner):
    """Closes the connection after a while."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.timer: Timer | None = connection.dispatcher.timer(self, 0)

    def start(self, delay_ms: int) -> None:
        if self.timer is not None:
            self.timer.arm(delay_ms)

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.disarm()
            self.timer = None

    def on_timer(self, kind: int) -> None:
        self.timer = None
        self.connection.close(CLOSE_NO_FLUSH, _DETAILS)


class ConnectionLimitFactory(NetworkFilterFactory):
    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings

    def create(self) -> NetworkFilter:
        return ConnectionLimit(self.settings)


@NETWORK_FILTERS.register(
    "envoy.filters.network.connection_limit", "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
)
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    arena = context.arena
    row = arena.row(f"connection_limit/{config.path}") if arena is not None and arena.columns > 1 else 0
    return ConnectionLimitFactory(
        LimitSettings(
            config.integer("max_connections"),
            config.millis("delay") or 0,
            runtime_switch(config, "runtime_enabled", context.runtime),
            SharedGauge(arena, row, context.worker_index),
            context.root_scope.scope(f"connection_limit.{config.text('stat_prefix')}."),
        )
    )
