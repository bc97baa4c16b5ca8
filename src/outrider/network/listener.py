"""A listener at work: takes connections, gives each its filter chain, counts (Envoy's ActiveTcpListener)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final

from outrider.data.address import KIND_IP, Address, from_sockname
from outrider.data.response_flag import NO_ROUTE_FOUND
from outrider.data.shared_limit import SharedArena, SharedGauge
from outrider.data.stream_info import PROTOCOL_NONE, ConnectionInfo, StreamInfo
from outrider.native.load_sockets import new_acceptor, new_transport
from outrider.network.connection import STATE_CLOSED, Connection, ConnectionOwner
from outrider.network.filter import CLOSE_FLUSH_WRITE, CLOSE_NO_FLUSH, EVENT_CONNECTED, ConnectionCallbacks
from outrider.network.filter_chain import FilterChain
from outrider.network.internal_connection import CLIENT, InternalAcceptor, Metadata
from outrider.network.listener_filter import ListenerFilter, ListenerFilterChain, ListenerFilterOwner
from outrider.network.listener_stats import ListenerStats
from outrider.network.transport_socket import NO_OPTIONS
from outrider.network.udp_listener import UdpAddress
from outrider.overload.settings import TCP_LISTENER_ACCEPT
from outrider.overload.state import OverloadState, sheds

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.event.dispatcher import Dispatcher
    from outrider.native.sockets import Acceptor, Poller
    from outrider.network.listener_config import ListenerConfig

GLOBAL_ROW: Final = "downstream_cx"
GLOBAL_LIMIT_KEY: Final = "overload.global_downstream_max_connections"
_UNSET: Final = Address(KIND_IP, "0.0.0.0", 0)
_UNLIMITED: Final = (1 << 63) - 1


class ConnectionLimits:
    """How many downstream connections there may be, over all workers: in all, and per listener."""

    __slots__ = ("runtime", "total", "monitor_limit", "overload", "_arena", "_column")

    def __init__(
        self, runtime: Runtime, arena: SharedArena | None, column: int, monitor_limit: int | None = None
    ) -> None:
        self.runtime = runtime
        # `envoy.resource_monitors.global_downstream_max_connections`; None without one.
        self.monitor_limit = monitor_limit
        # How far overload actions are on in this worker.
        self.overload: OverloadState = OverloadState()
        self._arena = arena
        self._column = column
        self.total = self.gauge(GLOBAL_ROW)

    def gauge(self, row: str) -> SharedGauge:
        """The shared count called `row`. Main makes the rows before it forks."""
        if self._arena is None:
            return SharedGauge(None)
        return SharedGauge(self._arena, self._arena.row(row), self._column)

    def allows(self, bypass_monitor: bool) -> bool:
        """Whether one more connection is within the global limit."""
        if self.monitor_limit is not None:
            return bypass_monitor or self.total.total() < self.monitor_limit
        limit = self.runtime.get_integer(GLOBAL_LIMIT_KEY, _UNLIMITED)
        return limit == _UNLIMITED or self.total.total() < limit


class Listener(ConnectionOwner):
    """One configured listener in one worker, on all its addresses."""

    __slots__ = (
        "config", "dispatcher", "stats", "limits", "connections", "_open_here", "_limit_key", "_sockets", "_handler",
        "_datagrams",
    )  # fmt: skip

    def __init__(
        self, config: ListenerConfig, dispatcher: Dispatcher, limits: ConnectionLimits, handler: str
    ) -> None:
        self.config = config
        self.dispatcher = dispatcher
        self._handler = handler
        self.stats = ListenerStats(config.scope, handler)
        self.limits = limits
        self.connections: dict[int, ActiveConnection] = {}
        self._open_here: SharedGauge = limits.gauge(f"listener_cx:{config.name}")
        self._limit_key: str = f"envoy.resource_limits.listener.{config.name}.connection_limit"
        self._sockets: list[ListeningAddress] = []
        # Of a UDP listener.
        self._datagrams: list[UdpAddress] = []

    async def start(self, opened: list[tuple[Address, socket.socket, int]]) -> None:
        """Accept on these sockets (address, bound and listening socket, backlog), which are then this listener's."""
        if self.config.internal:
            self.dispatcher.internal[self.config.name] = InternalAddress(self)
        for address, each, backlog in opened:
            if self.config.udp is not None:
                datagrams = UdpAddress(self, self.config.udp, address, each)
                self._datagrams.append(datagrams)
                datagrams.start()
                continue
            listening = ListeningAddress(self, address, each)
            self._sockets.append(listening)
            await listening.start(backlog)

    def stop(self) -> None:
        """Take no new connections; those there are go on."""
        if self.config.internal:
            acceptor = self.dispatcher.internal.get(self.config.name)
            if isinstance(acceptor, InternalAddress) and acceptor.listener is self:
                del self.dispatcher.internal[self.config.name]
        for listening in self._sockets:
            listening.stop()
        self._sockets.clear()
        for datagrams in self._datagrams:
            datagrams.stop()
        self._datagrams.clear()

    def close_connections(self) -> None:
        """End of the drain, or of the process."""
        for active in list(self.connections.values()):
            active.connection.close(CLOSE_NO_FLUSH)

    def close_chains(self, chains: list[FilterChain]) -> None:
        """End of the drain of some filter chains: their connections are closed."""
        for active in list(self.connections.values()):
            if active.chain is not None and active.chain in chains:
                active.connection.close(CLOSE_NO_FLUSH)

    def replace_config(self, config: ListenerConfig) -> None:
        """An update in place: new connections are served by this configuration; sockets and connections stay."""
        self.config = config
        self.stats = ListenerStats(config.scope, self._handler)

    @property
    def listening(self) -> bool:
        return bool(self._sockets or self._datagrams)

    def admit(self, connection: Connection) -> bool:
        """Check the limits; a connection above one is closed at once."""
        limits = self.limits
        limit = limits.runtime.get_integer(self._limit_key, _UNLIMITED)
        if limit != _UNLIMITED and self._open_here.total() >= limit:
            self.stats.cx_overflow.inc()
            connection.close(CLOSE_NO_FLUSH)
            return False
        if not self.config.ignore_global_limit and not limits.allows(self.config.bypass_overload_manager):
            self.stats.global_cx_overflow.inc()
            connection.close(CLOSE_NO_FLUSH)
            return False
        if not self.config.bypass_overload_manager and self._overloaded(limits.overload):
            self.stats.cx_overload_reject.inc()
            connection.close(CLOSE_NO_FLUSH)
            return False
        return True

    def _overloaded(self, overload: OverloadState) -> bool:
        point = overload.points.get(TCP_LISTENER_ACCEPT)
        return (point is not None and point.should_shed()) or sheds(overload.reject_incoming_connections)

    def pause(self) -> None:
        """Leave new connections in the kernel's queue for a while (`stop_accepting_connections`)."""
        for listening in self._sockets:
            listening.pause()

    async def resume(self) -> None:
        """Take connections again."""
        for listening in self._sockets:
            await listening.resume()

    def serve(self, connection: Connection) -> None:
        """A connection with a transport: count, check, inspect, choose the chain."""
        info = connection.info
        info.start_time_ns = self.dispatcher.wall_ns()
        config = self.config
        info.listener_name = config.name
        info.listener_info = config.info
        connection.owner = None
        if not self.admit(connection):
            return
        active = ActiveConnection(self, connection)
        connection.add_callbacks(active)
        self.connections[connection.connection_id] = active
        self.opened()
        if config.listener_filters:
            active.inspect()
        else:
            active.establish(b"")

    def opened(self) -> None:
        self._open_here.inc()
        if not self.config.ignore_global_limit:
            self.limits.total.inc()

    def closed(self, active: ActiveConnection) -> None:
        self.connections.pop(active.connection.connection_id, None)
        self._open_here.dec()
        if not self.config.ignore_global_limit:
            self.limits.total.dec()


class ListeningAddress(ConnectionOwner):
    """One listening socket of a listener."""

    __slots__ = (
        "listener", "address", "_socket", "_server", "_local", "_batch", "_reading", "_backlog", "_paused", "_acceptor",
        "_poller",
    )  # fmt: skip

    def __init__(self, listener: Listener, address: Address, opened: socket.socket) -> None:
        self.listener = listener
        self.address = address
        self._socket: socket.socket | None = opened
        self._server: Any = None
        # The local address of every connection, unless the socket is bound to a wildcard.
        wildcard = address.kind == KIND_IP and address.packed() == 0
        self._local: Address | None = None if wildcard else address
        self._batch: int = 0
        self._reading: bool = False
        self._backlog: int = 0
        self._paused: bool = False
        self._acceptor: Acceptor | None = None
        self._poller: Poller | None = None

    async def start(self, backlog: int) -> None:
        self._backlog = backlog
        loop = self.listener.dispatcher.loop
        opened = self._socket
        assert opened is not None
        opened.setblocking(False)
        self._poller = self.listener.dispatcher.poller() if self.address.kind == KIND_IP else None
        if self._poller is not None:
            opened.listen(backlog)
            limit = self.listener.config.max_accepts_per_event
            self._acceptor = new_acceptor(self._poller, opened.fileno(), self, limit)
        elif self.listener.config.max_accepts_per_event > 0:
            # Envoy's limit per event: our own accept loop, as libuv's takes all there are.
            opened.listen(backlog)
            loop.add_reader(opened.fileno(), self._accept_some)
            self._reading = True
        elif self.address.kind == KIND_IP:
            self._server = await loop.create_server(self.make_connection, sock=opened, backlog=backlog)  # type: ignore[arg-type]
        else:
            self._server = await loop.create_unix_server(self.make_connection, sock=opened, backlog=backlog)  # type: ignore[arg-type]

    def stop(self) -> None:
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None
        if self._server is not None:
            self._server.close()
            self._server = None
        opened = self._socket
        if opened is not None:
            if self._reading:
                self.listener.dispatcher.loop.remove_reader(opened.fileno())
                self._reading = False
            opened.close()
            self._socket = None

    def pause(self) -> None:
        opened = self._socket
        if opened is None or self._paused:
            return
        self._paused = True
        # The server closes its descriptor; ours keeps the socket and its queue.
        kept = opened.dup()
        self.stop()
        self._socket = kept

    async def resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._socket is not None:
                await self.start(self._backlog)

    def make_connection(self) -> Connection:
        """The protocol of a connection that the loop has accepted."""
        if self._batch == 0:
            self.listener.dispatcher.post(self._record_batch)
        self._batch += 1
        return self._new_connection()

    def _new_connection(self) -> Connection:
        dispatcher = self.listener.dispatcher
        info = ConnectionInfo(dispatcher.next_connection_id(), self.address, _UNSET)
        info.start_mono_ns = monotonic_ns()
        return Connection(dispatcher, info, self)

    def _record_batch(self) -> None:
        self.listener.stats.accepted_per_event.record(self._batch)
        self._batch = 0

    def on_accepted(self, fd: int, peer: tuple[str, int] | None) -> None:
        """The poller has accepted a connection, which is this side's from now on."""
        poller = self._poller
        assert poller is not None
        connection = self._new_connection()
        transport = new_transport(poller, fd, connection, peer)
        transport.start()
        connection.connection_made(transport)

    def on_accepted_batch(self, count: int) -> None:
        self.listener.stats.accepted_per_event.record(count)

    def _accept_some(self) -> None:
        opened = self._socket
        for _ in range(self.listener.config.max_accepts_per_event):
            if opened is None:
                return
            try:
                accepted, _ = opened.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # The peer is gone already, or there are no descriptors left: the next event tries again.
                return
            accepted.setblocking(False)
            self.listener.dispatcher.spawn(self._adopt(accepted))

    async def _adopt(self, accepted: socket.socket) -> None:
        loop = self.listener.dispatcher.loop
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await loop.connect_accepted_socket(self.make_connection, accepted)  # type: ignore[type-var]

    def on_transport(self, connection: Connection) -> None:
        """The loop has made the transport."""
        listener = self.listener
        info = connection.info
        transport = connection.transport
        local = self._local
        if local is None:
            name = transport.get_extra_info("sockname")
            local = from_sockname(name) if name else self.address
            info.local_address = info.direct_local_address = local
        peer = transport.get_extra_info("peername")
        info.remote_address = info.direct_remote_address = from_sockname(peer if peer else "")
        listener.serve(connection)


class InternalAddress(InternalAcceptor):
    """An internal listener's: takes connections from within the process."""

    __slots__ = ("listener",)

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def accept_internal(self, address: Address, metadata: Metadata | None) -> Connection:
        dispatcher = self.listener.dispatcher
        info = ConnectionInfo(dispatcher.next_connection_id(), address, CLIENT)
        info.start_mono_ns = monotonic_ns()
        info.metadata = metadata
        return Connection(dispatcher, info, _Inside(self.listener))


class _Inside(ConnectionOwner):
    """Told when such a connection has its transport."""

    __slots__ = ("listener",)

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def on_transport(self, connection: Connection) -> None:
        self.listener.serve(connection)


class _Inspection(ListenerFilterOwner):
    """Tells an active connection how its listener filters ended."""

    __slots__ = ("active",)

    def __init__(self, active: ActiveConnection) -> None:
        self.active = active

    def on_listener_filters_done(self, chain: ListenerFilterChain) -> None:
        self.active.inspection = None
        self.active.establish(chain.buffer)

    def on_listener_filters_closed(self, chain: ListenerFilterChain) -> None:
        self.active.inspection = None


class ActiveConnection(ConnectionCallbacks):
    """A connection in the hands of a listener, from accept to close."""

    __slots__ = ("listener", "connection", "inspection", "stream_info", "established", "chain", "_start_ns")

    def __init__(self, listener: Listener, connection: Connection) -> None:
        self.listener = listener
        self.connection = connection
        # Listener filters at work.
        self.inspection: ListenerFilterChain | None = None
        # For the listener's own access log only.
        self.stream_info: StreamInfo | None = None
        self.established: bool = False
        self.chain: FilterChain | None = None
        self._start_ns: int = monotonic_ns()
        if listener.config.access_logs:
            info = connection.info
            self.stream_info = StreamInfo(info, info.start_time_ns, self._start_ns, PROTOCOL_NONE)

    def inspect(self) -> None:
        """Run the listener filters that apply."""
        config = self.listener.config
        info = self.connection.info
        filters: list[ListenerFilter] = []
        for configured in config.listener_filters:
            if configured.disabled is None or not configured.disabled.matches(info):
                if not configured.factory.available():
                    config.scope.counter("extension_config_missing").inc()
                    self.connection.close(CLOSE_NO_FLUSH)
                    return
                filters.append(configured.factory.create())
        go_on = config.continue_on_listener_filters_timeout
        chain = ListenerFilterChain(_Inspection(self), self.connection, self.listener.stats, filters, go_on)
        self.inspection = chain
        chain.start(self.listener.dispatcher, config.listener_filters_timeout_ms)

    def establish(self, data: bytes) -> None:
        """Choose the filter chain and start it with what was read so far."""
        listener = self.listener
        connection = self.connection
        info = connection.info
        if not info.transport_protocol:
            info.transport_protocol = "raw_buffer"
        chain = listener.config.matcher.find(info)
        if chain is None:
            listener.stats.no_filter_chain_match.inc()
            if self.stream_info is not None:
                self.stream_info.response_flags |= NO_ROUTE_FOUND
                self.stream_info.response_code_details = "filter_chain_not_found"
            connection.close(CLOSE_NO_FLUSH)
            return
        stats = listener.stats
        stats.cx_total.value += 1
        stats.cx_active.inc()
        stats.handler_cx_total.value += 1
        stats.handler_cx_active.inc()
        self.established = True
        self.chain = chain
        info.filter_chain_name = chain.name
        info.filter_chain_info = chain
        self._attach(chain)
        if data and connection.state != STATE_CLOSED:
            # What the inspection has read goes the way of all bytes, but is not counted again.
            connection.bytes_received -= len(data)
            connection.data_received(data)

    def _attach(self, chain: FilterChain) -> None:
        connection = self.connection
        connection.set_buffer_limits(self.listener.config.buffer_limit)
        for factory in chain.filter_factories:
            if not factory.available():
                self.listener.config.scope.counter("network_extension_config_missing").inc()
                connection.close(CLOSE_NO_FLUSH)
                return
        for factory in chain.filter_factories:
            connection.add_filter(factory.create())
            if connection.state == STATE_CLOSED:
                return
        connection.set_transport_socket(chain.transport_socket_factory.create(NO_OPTIONS), chain.connect_timeout_ms)
        if connection.state != STATE_CLOSED and not connection.start_filters():
            connection.close(CLOSE_FLUSH_WRITE)

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            return
        listener = self.listener
        if self.inspection is not None:
            inspection = self.inspection
            self.inspection = None
            inspection.on_closed()
        if self.established:
            stats = listener.stats
            stats.cx_active.dec()
            stats.handler_cx_active.dec()
            stats.cx_destroy.value += 1
            stats.cx_length_ms.record((monotonic_ns() - self._start_ns) // 1_000_000)
            if not self.connection.connected and self.connection.local_close_reason == _HANDSHAKE_TIMEOUT:
                stats.transport_socket_connect_timeout.inc()
        listener.closed(self)
        if self.stream_info is not None:
            self._log(self.stream_info)

    def _log(self, stream_info: StreamInfo) -> None:
        from outrider.access_log.context import FormatContext

        connection = self.connection
        stream_info.end_ns = monotonic_ns()
        stream_info.bytes_received = connection.bytes_received
        stream_info.bytes_sent = connection.bytes_sent
        stream_info.protocol = connection.info.protocol
        stream_info.connection_termination_details = connection.info.termination_details
        if stream_info.metadata is None:
            stream_info.metadata = connection.info.metadata
        context = FormatContext(stream_info)
        for access_log in self.listener.config.access_logs:
            access_log.log(context)


_HANDSHAKE_TIMEOUT: Final = "transport socket timeout was reached"
