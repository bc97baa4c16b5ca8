"""What all pools share: connections by state, the queue, limits, timers, stats (Envoy's `ConnPoolImplBase`).

A connection is CONNECTING, READY (can take a stream), BUSY, DRAINING (closes when its streams end) or CLOSED. Each is
in one place of its pool: `connecting`, `ready` (a stack: the connection used last is used first) or `busy` (busy and
draining). `ActiveClient.set_state` is the one place that moves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.event.timer import Timer, TimerOwner
from outrider.network.client_connection import BIND_FAILED
from outrider.network.filter import (
    CLOSE_NO_FLUSH,
    EVENT_CONNECTED,
    EVENT_LOCAL_CLOSE,
    EVENT_REMOTE_CLOSE,
    NetworkFilter,
)
from outrider.upstream.host import Host

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.network.connection import Connection
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.connector import Connector
    from outrider.upstream.resource_manager import ResourceManager

# Why no connection could be had (Envoy's PoolFailureReason).
POOL_OVERFLOW: Final = 0
POOL_LOCAL_CONNECTION_FAILURE: Final = 1
POOL_REMOTE_CONNECTION_FAILURE: Final = 2
POOL_TIMEOUT: Final = 3

# How to cancel (`PendingStream.cancel`): keep a connection that is being made for others, or drop it if in excess.
CANCEL_DEFAULT: Final = 0
CANCEL_CLOSE_EXCESS: Final = 1

CONNECTING: Final = 0
READY: Final = 1
BUSY: Final = 2
DRAINING: Final = 3
CLOSED: Final = 4

_TIMER_CONNECT: Final = 0
_TIMER_IDLE: Final = 1
_TIMER_DURATION: Final = 2

# No more than this many connections are begun at a time by preconnecting.
_MAX_PRECONNECTS: Final = 3


@mypyc_attr(allow_interpreted_subclasses=True)
class PendingStream:
    """A place in the queue."""

    pool: ConnPoolBase

    def cancel(self, policy: int = CANCEL_DEFAULT) -> None:
        """Leave the queue; no callback will come."""
        self.pool.cancel_pending(self, policy)

    def fail(self, reason: int, details: str, host: Host) -> None:
        """Tell the one who waits."""
        raise NotImplementedError


class _ClientTimers(TimerOwner):
    """Receives the timers of one connection."""

    __slots__ = ("client",)

    def __init__(self, client: ActiveClient) -> None:
        self.client = client

    def on_timer(self, kind: int) -> None:
        if kind == _TIMER_CONNECT:
            self.client.on_connect_timeout()
        elif kind == _TIMER_IDLE:
            self.client.on_idle_timer()
        else:
            self.client.on_max_duration()


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
        pool = self.pool
        stats = pool.info.stats
        pool.resources.connections.dec()
        limit = self.host.connection_limit
        if limit is not None:
            limit.dec()
        stats.upstream_cx_active.dec()
        self.host.stats.cx_active.dec()
        stats.upstream_cx_length_ms.record(pool.dispatcher.clock.now_ms() - self.started_ms)


@mypyc_attr(allow_interpreted_subclasses=True)
class PoolOwner:
    """Told when a pool may be forgotten."""

    def on_pool_idle(self, pool: ConnPoolBase) -> None:
        """No connection is left and nobody waits."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ConnPoolBase:
    """The pool's machinery; subclasses attach streams to connections."""

    def __init__(self, host: Host, priority: int, connector: Connector, owner: PoolOwner, key: str) -> None:
        self.host: Host = host
        self.priority: int = priority
        self.info: ClusterInfo = host.cluster
        self.dispatcher: Dispatcher = connector.dispatcher
        self.connector: Connector = connector
        self.owner: PoolOwner = owner
        self.key: str = key
        self.resources: ResourceManager = host.cluster.resource_manager(priority)
        self.connecting: dict[ActiveClient, None] = {}
        self.ready: list[ActiveClient] = []
        self.busy: dict[ActiveClient, None] = {}
        # In order of arrival.
        self.pending: dict[PendingStream, None] = {}
        self.active_streams: int = 0
        self.draining: bool = False

    # --- what subclasses do ---

    def new_client(self) -> ActiveClient:
        """Begin a connection."""
        raise NotImplementedError

    def attach(self, client: ActiveClient, pending: PendingStream) -> None:
        """Give the stream that waited to a ready connection."""
        raise NotImplementedError

    # --- state ---

    def is_idle(self) -> bool:
        """No connection and nobody waiting."""
        return not self.ready and not self.busy and not self.connecting and not self.pending

    def has_active_connections(self) -> bool:
        """Streams are running, or waiting."""
        return self.active_streams > 0 or bool(self.pending)

    # --- streams ---

    def enqueue(self, pending: PendingStream) -> PendingStream | None:
        """Have a stream wait for a connection, beginning one if needed. None: it failed at once, and has been told."""
        stats = self.info.stats
        if not self.resources.pending_requests.can_create():
            pending.fail(POOL_OVERFLOW, "", self.host)
            stats.upstream_rq_pending_overflow.inc()
            return None
        pending.pool = self
        self.pending[pending] = None
        stats.upstream_rq_pending_total.value += 1
        stats.upstream_rq_pending_active.inc()
        self.host.stats.rq_pending_active.inc()
        self.resources.pending_requests.inc()
        self.create_connections()
        return pending

    def _leave_queue(self, pending: PendingStream) -> None:
        del self.pending[pending]
        self.info.stats.upstream_rq_pending_active.dec()
        self.host.stats.rq_pending_active.dec()
        self.resources.pending_requests.dec()

    def cancel_pending(self, pending: PendingStream, policy: int) -> None:
        if pending not in self.pending:
            return
        self._leave_queue(pending)
        self.info.stats.upstream_rq_cancelled.inc()
        if policy == CANCEL_CLOSE_EXCESS and len(self.connecting) > len(self.pending):
            for client in self.connecting:
                client.close()
                break
        self.check_idle()

    def can_attach(self) -> bool:
        """Whether the circuit breaker allows one more request; counts the overflow otherwise."""
        if self.resources.requests.can_create():
            return True
        self.info.stats.upstream_rq_active_overflow.inc()
        return False

    def begin_stream(self, client: ActiveClient) -> None:
        """Count a stream on its way to `client`, which is READY."""
        client.streams += 1
        client.active_streams += 1
        client.remaining_streams -= 1
        if client.remaining_streams == 0:
            self.info.stats.upstream_cx_max_requests.inc()
            client.set_state(DRAINING)
        else:
            client.set_state(BUSY)
        self.active_streams += 1
        stats = self.info.stats
        stats.upstream_rq_total.value += 1
        stats.upstream_rq_active.inc()
        host_stats = self.host.stats
        host_stats.rq_total.value += 1
        host_stats.rq_active.inc()
        self.resources.requests.inc()

    def end_stream(self, client: ActiveClient) -> None:
        """A stream of `client` is over, in whatever way."""
        client.active_streams -= 1
        self.active_streams -= 1
        self.info.stats.upstream_rq_active.dec()
        self.host.stats.rq_active.dec()
        self.resources.requests.dec()

    def on_upstream_ready(self) -> None:
        """Connections are ready: serve the queue."""
        while self.ready and self.pending:
            pending = next(iter(self.pending))
            self._leave_queue(pending)
            self.attach(self.ready[-1], pending)
        if self.pending:
            self.create_connections()
        if self.draining:
            self._close_idle()

    # --- connections ---

    def wants_connection(self) -> bool:
        """Whether the connections that are being made are too few for those who wait, or for preconnecting."""
        preconnect = self.info.preconnect_ratio
        if preconnect <= 1.0:
            return len(self.pending) > len(self.connecting)
        have = len(self.connecting) + len(self.ready) + self.active_streams
        return (len(self.pending) + self.active_streams) * preconnect > have

    def create_connections(self) -> None:
        """Begin as many connections as needed and allowed."""
        for _ in range(_MAX_PRECONNECTS):
            if self.draining and not self.pending:
                break
            if not self.wants_connection():
                break
            allowed = self.host.can_create_connection(self.priority)
            if not allowed:
                self.info.stats.upstream_cx_overflow.inc()
                # A pool without any connection always gets one: nothing else would ever serve its queue.
                if self.ready or self.busy or self.connecting:
                    break
            client = self.new_client()
            if client.state == CONNECTING:
                self.connecting[client] = None
            if not allowed or self.info.preconnect_ratio <= 1.0:
                break

    def on_client_closed(self, client: ActiveClient, event: int) -> None:
        """The connection is gone (or was never made)."""
        info = self.info
        stats = info.stats
        was_connecting = client.state == CONNECTING
        client.set_state(CLOSED)
        client.release()
        stats.upstream_cx_destroy.inc()
        if event == EVENT_REMOTE_CLOSE:
            client.on_remote_close()
        incomplete = client.incomplete_stream()
        if event == EVENT_REMOTE_CLOSE:
            stats.upstream_cx_destroy_remote.inc()
            if incomplete:
                stats.upstream_cx_destroy_remote_with_active_rq.inc()
        else:
            stats.upstream_cx_destroy_local.inc()
            if incomplete:
                stats.upstream_cx_destroy_local_with_active_rq.inc()
        if incomplete:
            stats.upstream_cx_destroy_with_active_rq.inc()
        client.on_dead(event)
        if was_connecting:
            self._on_connect_failed(client, event)
        elif self.pending:
            self.create_connections()
        self.check_idle()

    def _on_connect_failed(self, client: ActiveClient, event: int) -> None:
        stats = self.info.stats
        stats.upstream_cx_connect_fail.inc()
        self.host.stats.cx_connect_fail.inc()
        details = client.connection.info.transport_failure_reason
        if client.timed_out:
            reason = POOL_TIMEOUT
        elif details.startswith(BIND_FAILED):
            stats.bind_errors.inc()
            reason = POOL_LOCAL_CONNECTION_FAILURE
        elif event == EVENT_REMOTE_CLOSE or details:
            reason = POOL_REMOTE_CONNECTION_FAILURE
        else:
            reason = POOL_LOCAL_CONNECTION_FAILURE
        # Everyone who waits is told, and may go elsewhere; new streams that they ask for are not failed with them.
        waiting = list(self.pending)
        for pending in waiting:
            if pending in self.pending:
                self._leave_queue(pending)
                stats.upstream_rq_pending_failure_eject.inc()
                pending.fail(reason, details, self.host)
        if self.pending or self.info.preconnect_ratio > 1.0:
            self.create_connections()

    # --- the end ---

    def check_idle(self) -> None:
        if self.is_idle():
            self.owner.on_pool_idle(self)

    def _close_idle(self) -> None:
        while self.ready:
            self.ready[-1].close()
        if not self.pending:
            for client in list(self.connecting):
                client.close()

    def drain(self, delete: bool) -> None:
        """Close idle connections now and the others when they become idle; with `delete` no new one is kept either."""
        if delete:
            self.draining = True
        self._close_idle()
        for client in list(self.busy):
            client.drain()
        self.check_idle()

    def close_all(self) -> None:
        """Close every connection at once."""
        for client in list(self.ready) + list(self.busy) + list(self.connecting):
            client.close()
