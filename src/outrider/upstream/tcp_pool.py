"""The pool of raw connections (Envoy's `Tcp::ConnPoolImpl`): a connection is given away and used once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.upstream.active_client import ActiveClient
from outrider.upstream.conn_pool import TcpConnPool, TcpPoolCallbacks
from outrider.upstream.host import Host
from outrider.upstream.pool_base import POOL_OVERFLOW, ConnPoolBase, PendingStream, PoolOwner

if TYPE_CHECKING:
    from outrider.network.connection import Connection
    from outrider.network.transport_socket import TransportSocketOptions
    from outrider.upstream.connector import Connector


class TcpPending(PendingStream):
    """Someone who waits for a connection."""

    __slots__ = ("pool", "callbacks")

    def __init__(self, pool: ConnPoolBase, callbacks: TcpPoolCallbacks) -> None:
        self.pool = pool
        self.callbacks = callbacks

    def fail(self, reason: int, details: str, host: Host) -> None:
        self.callbacks.on_pool_failure(reason, details, host)


class TcpClient(ActiveClient):
    """Counts a connection for as long as it lives; filters and further callbacks are its user's."""

    __slots__ = ("taken",)

    def __init__(self, pool: ConnPoolBase) -> None:
        super().__init__(pool)
        # A second stream would make it BUSY instead of DRAINING, and count no `upstream_cx_max_requests`.
        self.remaining_streams = 2
        self.taken: bool = False

    def begin(self, connection: Connection) -> None:
        info = self.pool.info
        self.connection = connection
        connection.stats = info.connection_stats
        connection.set_buffer_limits(info.per_connection_buffer_limit)
        # Until it is taken nothing is read, so nothing is lost.
        connection.read_disable(True)
        connection.add_callbacks(self)

    def on_idle(self) -> None:
        """`TcpProtocolOptions.idle_timeout` belongs to connections that nobody took."""
        timeout = self.pool.info.tcp_idle_timeout_ms
        if timeout > 0 and not self.taken:
            self.arm_idle(timeout)

    def on_dead(self, event: int) -> None:
        if self.active_streams > 0:
            self.pool.end_stream(self)


class TcpConnPoolImpl(TcpConnPool):
    """Raw connections to one host."""

    def __init__(
        self,
        host: Host,
        priority: int,
        connector: Connector,
        owner: PoolOwner,
        key: str,
        options: TransportSocketOptions | None,
    ) -> None:
        super().__init__(host, priority, connector, owner, key)
        self.options: TransportSocketOptions | None = options

    def new_connection(self, callbacks: TcpPoolCallbacks) -> PendingStream | None:
        if self.ready:
            self._attach(self.ready[-1], callbacks)
            return None
        return self.enqueue(TcpPending(self, callbacks))

    def attach(self, client: ActiveClient, pending: PendingStream) -> None:
        assert isinstance(pending, TcpPending)
        self._attach(client, pending.callbacks)

    def _attach(self, client: ActiveClient, callbacks: TcpPoolCallbacks) -> None:
        assert isinstance(client, TcpClient)
        if not self.can_attach():
            callbacks.on_pool_failure(POOL_OVERFLOW, "", self.host)
            return
        self.begin_stream(client)
        client.taken = True
        connection = client.connection
        callbacks.on_pool_ready(connection, self.host)
        connection.read_disable(False)

    def new_client(self) -> ActiveClient:
        client = TcpClient(self)
        client.begin(self.connector.connect(self.host, self.options))
        return client
