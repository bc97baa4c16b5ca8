"""Connections within the process: from a cluster to an internal listener of the same worker, without sockets.

Source: Envoy documentation, "Internal listener"; a pair of transports in memory, with watermarks like those of sockets.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.data.address import KIND_INTERNAL, Address
from outrider.network.transport_socket import TransportSocket, TransportSocketFactory, TransportSocketOptions

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.network.connection import Connection

# What a connection that comes from this process has for a peer (so does Envoy).
CLIENT: Final = Address(KIND_INTERNAL, "internal_client_address/", 0)
_HIGH: Final = 1024 * 1024
# What the pair itself holds beside the connections' own buffers (`InternalListener.buffer_size_kb`), in bytes.
_PIPE_BYTES: Final[list[int]] = [0]

Metadata = dict[str, dict[str, object]]


def set_pipe_bytes(size: int) -> None:
    """How much pairs that are made from now on hold."""
    _PIPE_BYTES[0] = size


def listener_name(address: Address) -> str:
    """The name in `envoy://name/endpoint`."""
    return address.host.partition("/")[0]


@mypyc_attr(allow_interpreted_subclasses=True)
class InternalAcceptor:
    """Takes connections from within; known to its dispatcher by the listener's name."""

    def accept_internal(self, address: Address, metadata: Metadata | None) -> Connection:
        """A new connection, towards `address`; its transport follows."""
        raise NotImplementedError


class InternalTransport:
    """One end of a pair: the part of an asyncio transport that connections use."""

    def __init__(self, dispatcher: Dispatcher, protocol: Connection) -> None:
        self.dispatcher = dispatcher
        self.protocol = protocol
        self.peer: InternalTransport | None = None
        # What the peer has written and this end has not taken; None is its end.
        self._queue: deque[bytes | None] = deque()
        self._size: int = 0
        self._high: int = _HIGH
        self._low: int = _HIGH // 2
        self._writer_paused: bool = False
        self._reading_paused: bool = False
        self._scheduled: bool = False
        self._eof_sent: bool = False
        self._closing: bool = False
        self._lost: bool = False

    # --- the writing side ---

    def write(self, data: bytes) -> None:
        peer = self.peer
        if self._closing or self._eof_sent or not data:
            return
        if peer is None or peer._closing:
            self._lose(ConnectionResetError())
            return
        peer._queue.append(data)
        peer._size += len(data)
        if peer._size > self._high and not self._writer_paused:
            self._writer_paused = True
            self.protocol.pause_writing()
        peer._schedule()

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def write_eof(self) -> None:
        if self._eof_sent or self._closing:
            return
        self._eof_sent = True
        if self.peer is not None:
            self.peer._queue.append(None)
            self.peer._schedule()

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self._high = high + _PIPE_BYTES[0]
        self._low = low + _PIPE_BYTES[0] // 2

    def get_write_buffer_size(self) -> int:
        return 0 if self.peer is None else self.peer._size

    # --- the reading side ---

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        self._reading_paused = False
        if self._queue:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._reading_paused:
            self._scheduled = True
            self.dispatcher.post(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        while self._queue and not self._reading_paused and not self._closing:
            data = self._queue.popleft()
            if data is None:
                if not self.protocol.eof_received():
                    self.close()
                return
            self._size -= len(data)
            writer = self.peer
            if writer is not None and writer._writer_paused and self._size <= writer._low:
                writer._writer_paused = False
                writer.protocol.resume_writing()
            self.protocol.data_received(data)

    # --- the end ---

    def close(self) -> None:
        """What was written still arrives."""
        if self._closing:
            return
        self.write_eof()
        self._closing = True
        self.dispatcher.post(self._lose, None)

    def abort(self) -> None:
        """The peer sees a reset."""
        if self._closing:
            return
        self._closing = True
        peer = self.peer
        if peer is not None and not peer._closing:
            self.dispatcher.post(peer._lose, ConnectionResetError())
        self.dispatcher.post(self._lose, None)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._closing = True
        self._queue.clear()
        self._size = 0
        writer = self.peer
        if writer is not None and writer._writer_paused:
            writer._writer_paused = False
            writer.protocol.resume_writing()
        self.protocol.connection_lost(error)

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """There is no socket, and no name of one."""
        return default


class InternalUpstreamFactory(TransportSocketFactory):
    """envoy.transport_sockets.internal_upstream: hands metadata on to the internal listener."""

    def __init__(self, inner: TransportSocketFactory, names: list[tuple[str, str]]) -> None:
        self.inner = inner
        # Kind (host, cluster) and namespace.
        self.names = names
        self.implements_secure_transport = inner.implements_secure_transport
        self.names_client = inner.names_client

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return self.inner.create(options)

    def create_for(self, options: TransportSocketOptions | None, hostname: str) -> TransportSocket | None:
        return self.inner.create_for(options, hostname)

    def default_server_name(self) -> str:
        return self.inner.default_server_name()

    def supports_alpn(self) -> bool:
        return self.inner.supports_alpn()

    def pool_key(self, options: TransportSocketOptions | None) -> str:
        return self.inner.pool_key(options)

    def passthrough(self, host: Metadata, cluster: Metadata) -> Metadata | None:
        """The metadata that a connection to this host takes along."""
        found: Metadata = {}
        for kind, name in self.names:
            values = (host if kind == "host" else cluster).get(name)
            if values is not None:
                found[name] = values
        return found or None


def connect_internal(dispatcher: Dispatcher, client: Connection, address: Address, metadata: Metadata | None) -> bool:
    """Join `client` to the internal listener; False when there is none of that name. To be called from the loop."""
    acceptor = dispatcher.internal.get(listener_name(address))
    if not isinstance(acceptor, InternalAcceptor):
        return False
    server = acceptor.accept_internal(address, metadata)
    near = InternalTransport(dispatcher, client)
    far = InternalTransport(dispatcher, server)
    near.peer = far
    far.peer = near
    server.connection_made(far)
    client.connection_made(near)
    return True
