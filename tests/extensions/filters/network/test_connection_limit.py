"""envoy.filters.network.connection_limit: counting, refusing, giving back."""

from __future__ import annotations

from typing import Any, cast

from outrider.config.runtime import Runtime
from outrider.data.address import ip_address
from outrider.data.shared_limit import SharedArena, SharedGauge
from outrider.data.stream_info import ConnectionInfo
from outrider.extensions.filters.network.connection_limit import ConnectionLimit, LimitSettings
from outrider.extensions.filters.network.runtime_switch import RuntimeSwitch
from outrider.network.connection import Connection
from outrider.network.filter import CONTINUE, EVENT_REMOTE_CLOSE, STOP, ConnectionCallbacks
from outrider.stats.store import Store
from tests.support.dispatcher import idle_dispatcher


class FakeConnection(Connection):
    def __init__(self) -> None:
        here = ip_address("127.0.0.1", 80)
        super().__init__(idle_dispatcher(), ConnectionInfo(1, here, here))
        self.callbacks: list[ConnectionCallbacks] = []
        self.closed = ""

    def add_callbacks(self, callbacks: ConnectionCallbacks) -> None:
        self.callbacks.append(callbacks)

    def close(self, close_type: int, details: str = "") -> None:
        self.closed = details
        for callbacks in self.callbacks:
            callbacks.on_event(EVENT_REMOTE_CLOSE)


def limits(store: Store, arena: SharedArena, column: int) -> LimitSettings:
    count = SharedGauge(arena, arena.row("limit"), column)
    return LimitSettings(1, 0, RuntimeSwitch(Runtime(), "", True), count, store.scope("cl."))


def connect(settings: LimitSettings) -> tuple[int, FakeConnection]:
    connection = FakeConnection()
    made = ConnectionLimit(settings)
    made.initialize(cast(Any, connection))
    return made.on_new_connection(), connection


def test_the_limit_holds_over_all_workers() -> None:
    store = Store()
    arena = SharedArena(2)
    one, other = limits(store, arena, 0), limits(store, arena, 1)
    status, first = connect(one)
    assert status == CONTINUE
    status, refused = connect(other)
    assert (status, refused.closed) == (STOP, "over_connection_limit")
    assert store.counter("cl.limited_connections").value == 1
    assert store.gauge("cl.active_connections").value == 1
    first.close(0)
    assert store.gauge("cl.active_connections").value == 0
    assert connect(other)[0] == CONTINUE
