"""One pooled connection: its states, timers and what it holds of limits and gauges (Envoy's `ActiveClient`).

A connection is CONNECTING, READY (can take a stream), BUSY, DRAINING (closes when its streams end) or CLOSED. Each is
in one place of its pool: `connecting`, `ready` (a stack: the connection used last is used first) or `busy` (busy and
draining). `ActiveClient.set_state` is the one place that moves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.event.timer import Timer, TimerOwner
from outrider.network.filter import (
    CLOSE_NO_FLUSH,
    EVENT_CONNECTED,
    EVENT_LOCAL_CLOSE,
    EVENT_REMOTE_CLOSE,
    NetworkFilter,
)
from outrider.upstream.host import Host

if TYPE_CHECKING:
    from outrider.network.connection import Connection
    from outrider.upstream.pool_base import ConnPoolBase

CONNECTING: Final = 0
READY: Final = 1
BUSY: Final = 2
DRAINING: Final = 3
CLOSED: Final = 4

_TIMER_CONNECT: Final = 0
_TIMER_IDLE: Final = 1
_TIMER_DURATION: Final = 2


class _ClientTimers(TimerOwner):
    """Receives the timers of one connection."""

    __slots__ = ("client",)

    def __init__(self, client: ActiveClient) -> None:
        self.client: ActiveClient | None = client

    def on_timer(self, kind: int) -> None:
        client = self.client
        if client is None:
            return
        if kind == _TIMER_CONNECT:
            client.on_connect_timeout()
        elif kind == _TIMER_IDLE:
            client.on_idle_timer()
        else:
            client.on_max_duration()


@mypyc_attr(allow_interpreted_subclasses=True)
class ActiveClient(NetworkFilter):
    """One pooled connection. It is the connection's filter and hears its events."""

    __slots__ = (
        "pool", "host", "state", "remaining_streams", "timed_out", "started_ms", "streams", "released", "timers",
        "connect_timer", "idle_timer", "duration_timer", "idle_since_ms", "idle_timeout_ms", "active_streams",
    )

    def __init__(self, pool: ConnPoolBase) -> None:
        self.pool: ConnPoolBase = pool
        self.host: Host = pool.host
        self.state: int = CONNECTING
        info = pool.info
        self.remaining_streams: int = info.max_requests_per_connection
        self.timed_out: bool = False
        # Streams begun, and those not yet ended.
        self.streams: int = 0
        self.active_streams: int = 0
        self.released: bool = False
        self.started_ms: int = pool.dispatcher.clock.now_ms()
        self.timers: _ClientTimers = _ClientTimers(self)
        self.idle_timer: Timer | None = None
        self.duration_timer: Timer | None = None
        self.idle_since_ms: int = 0
        self.idle_timeout_ms: int = 0
        pool.resources.connections.inc()
        limit = self.host.connection_limit
        if limit is not None:
            limit.inc()
        stats = info.stats
        stats.upstream_cx_total.value += 1
        stats.upstream_cx_active.inc()
        self.host.stats.cx_total.value += 1
        self.host.stats.cx_active.inc()
        self.connect_timer: Timer | None = None
        if info.connect_timeout_ms > 0:
            self.connect_timer = pool.dispatcher.timer(self.timers, _TIMER_CONNECT)
            self.connect_timer.arm(info.connect_timeout_ms)

    # --- what subclasses say ---

    def on_established(self) -> None:
        """The connection is up: prepare it for its first stream."""

    def on_remote_close(self) -> None:
        """The peer has closed: what ends with the connection is complete."""

    def on_dead(self, event: int) -> None:
        """The connection is gone: end its streams."""

    def incomplete_stream(self) -> bool:
        """Whether a stream would be cut off by closing now."""
        return self.active_streams > 0

    # --- life ---

    def begin(self, connection: Connection) -> None:
        """Take over a connection that is being established."""
        info = self.pool.info
        connection.stats = info.connection_stats
        connection.set_buffer_limits(info.per_connection_buffer_limit)
        connection.add_filter(self)
        connection.add_callbacks(self)

    def set_state(self, state: int) -> None:
        """Move to the place of `state` in the pool."""
        pool = self.pool
        old = self.state
        if old == CONNECTING:
            pool.connecting.pop(self, None)
        elif old == READY:
            ready = pool.ready
            if ready[-1] is self:
                ready.pop()
            else:
                ready.remove(self)
        elif old != CLOSED:
            pool.busy.pop(self, None)
        self.state = state
        if state == READY:
            pool.ready.append(self)
        elif state != CLOSED:
            pool.busy[self] = None

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            self._on_connected()
        elif self.state != CLOSED and (event == EVENT_REMOTE_CLOSE or event == EVENT_LOCAL_CLOSE):
            self.pool.on_client_closed(self, event)

    def _on_connected(self) -> None:
        pool = self.pool
        if self.connect_timer is not None:
            self.connect_timer.disarm()
            self.connect_timer = None
        info = pool.info
        info.stats.upstream_cx_connect_ms.record(pool.dispatcher.clock.now_ms() - self.started_ms)
        if info.max_connection_duration_ms > 0:
            self.duration_timer = pool.dispatcher.timer(self.timers, _TIMER_DURATION)
            self.duration_timer.arm(pool.connector.connection_duration_ms(info))
        self.connection.start_filters()
        if self.state == CLOSED:
            return
        self.on_established()
        self.set_state(READY)
        self.on_idle()
        pool.on_upstream_ready()

    def close(self) -> None:
        self.connection.close(CLOSE_NO_FLUSH)

    def drain(self) -> None:
        """Take no more streams; close when there is none."""
        if self.state == CLOSED:
            return
        if self.active_streams == 0:
            self.close()
        elif self.state != DRAINING:
            self.set_state(DRAINING)

    # --- timers ---

    def on_connect_timeout(self) -> None:
        self.pool.info.stats.upstream_cx_connect_timeout.inc()
        self.timed_out = True
        self.close()

    def on_idle(self) -> None:
        """No stream is left: the idle time begins. The timer that runs is left alone; it looks at the clock itself."""
        timeout = self.pool.info.idle_timeout_ms
        if timeout > 0:
            self.arm_idle(timeout)

    def arm_idle(self, timeout_ms: int) -> None:
        self.idle_timeout_ms = timeout_ms
        self.idle_since_ms = self.pool.dispatcher.clock.now_ms()
        timer = self.idle_timer
        if timer is None:
            timer = self.pool.dispatcher.timer(self.timers, _TIMER_IDLE)
            self.idle_timer = timer
            timer.arm(timeout_ms)
        elif not timer.armed:
            timer.arm(timeout_ms)

    def on_idle_timer(self) -> None:
        if self.active_streams > 0 or self.state == CLOSED:
            # Armed anew when it becomes idle.
            return
        left = self.idle_since_ms + self.idle_timeout_ms - self.pool.dispatcher.clock.now_ms()
        if left > 0:
            if self.idle_timer is not None:
                self.idle_timer.arm(left)
            return
        self.pool.info.stats.upstream_cx_idle_timeout.inc()
        self.close()

    def on_max_duration(self) -> None:
        if self.state == CLOSED or self.state == DRAINING:
            return
        self.pool.info.stats.upstream_cx_max_duration_reached.inc()
        self.drain()

    def release(self) -> None:
        """Give back what the connection holds of limits and gauges."""
        if self.released:
            return
        self.released = True
        for timer in (self.connect_timer, self.idle_timer, self.duration_timer):
            if timer is not None:
                timer.disarm()
        # No cycle is left for the garbage collector.
        self.timers.client = None
        pool = self.pool
        stats = pool.info.stats
        pool.resources.connections.dec()
        limit = self.host.connection_limit
        if limit is not None:
            limit.dec()
        stats.upstream_cx_active.dec()
        self.host.stats.cx_active.dec()
        stats.upstream_cx_length_ms.record(pool.dispatcher.clock.now_ms() - self.started_ms)
