"""What all pools share: the queue, limits, stats, what follows from a connection's end (Envoy's `ConnPoolImplBase`).

The connections themselves are in `active_client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.network.client_connection import BIND_FAILED
from outrider.network.filter import EVENT_REMOTE_CLOSE
from outrider.upstream.active_client import BUSY, CLOSED, CONNECTING, DRAINING, ActiveClient
from outrider.upstream.host import Host

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
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
