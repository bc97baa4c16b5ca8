"""The connection of the statsd sink over TCP: to a host of a cluster of our own, made again when it breaks.

Source: Envoy's `Common::Statsd::TcpStatsdSink`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.network.filter import CLOSE_NO_FLUSH, CONTINUE, EVENT_CONNECTED, NetworkFilter
from outrider.upstream.conn_pool import PendingStream, TcpPoolCallbacks
from outrider.upstream.load_balancer_context import LoadBalancerContext

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.network.connection import Connection
    from outrider.upstream.host import Host

# As Envoy's: what a connection that does not drain may hold.
MAX_BUFFERED_BYTES: Final = 16 * 1024 * 1024


class _Reader(NetworkFilter):
    """Tells of the end; a statsd server sends nothing that matters."""

    def __init__(self, owner: TcpStatsdConnection) -> None:
        self.owner = owner

    def on_data(self, data: bytes, end_stream: bool) -> int:
        return CONTINUE

    def on_event(self, event: int) -> None:
        if event != EVENT_CONNECTED:
            self.owner.on_closed()


class TcpStatsdConnection(TcpPoolCallbacks):
    """Takes lines, as bytes."""

    def __init__(self, context: FactoryContext, cluster: str) -> None:
        self._clusters = context.cluster_manager
        self._cluster = cluster
        self._overflow = context.root_scope.counter("statsd.cx_overflow")
        self._connection: Connection | None = None
        self._pending: PendingStream | None = None
        self._reader: _Reader | None = None
        # Lines that came while the connection is being made.
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def send(self, data: bytes) -> None:
        """Hand on some lines; they are lost when nobody takes them."""
        if self._connection is None and self._pending is None:
            self._connect()
        if self._pending is not None:
            if self._waiting_bytes + len(data) > MAX_BUFFERED_BYTES:
                self._overflow.inc()
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
        elif self._connection is not None:
            self._write(self._connection, data)

    def close(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._connection is not None:
            self._connection.close(CLOSE_NO_FLUSH)

    def on_pool_ready(self, connection: Connection, host: Host) -> None:
        self._pending = None
        self._connection = connection
        self._reader = _Reader(self)
        connection.add_filter(self._reader)
        connection.add_callbacks(self._reader)
        waiting = b"".join(self._waiting)
        self._forget()
        if waiting:
            self._write(connection, waiting)

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self._pending = None
        self._forget()

    def on_closed(self) -> None:
        self._connection = None
        self._reader = None

    def _connect(self) -> None:
        cluster = self._clusters.get(self._cluster)
        pool = None if cluster is None else cluster.choose_tcp_pool(0, LoadBalancerContext())
        if pool is None:
            return
        pending = pool.new_connection(self)
        if self._connection is None:
            self._pending = pending

    def _write(self, connection: Connection, data: bytes) -> None:
        if connection.waiting_bytes() > MAX_BUFFERED_BYTES:
            self._overflow.inc()
            connection.close(CLOSE_NO_FLUSH)
            return
        connection.write(data)

    def _forget(self) -> None:
        self._waiting = []
        self._waiting_bytes = 0
