"""Opening upstream connections: non-blocking connect with socket options, source address and happy eyeballs.

The coroutine ends when the connection is established; nothing of it runs per request.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data.address import KIND_INTERNAL, KIND_IP, KIND_PIPE, Address, from_sockname
from outrider.data.stream_info import ConnectionInfo
from outrider.native.load_sockets import connect as native_connect
from outrider.network.connection import STATE_CLOSED, Connection, ConnectionOwner
from outrider.network.filter import CLOSE_NO_FLUSH, EVENT_LOCAL_CLOSE, ConnectionCallbacks
from outrider.network.internal_connection import CLIENT, Metadata, connect_internal
from outrider.network.transport_socket import TransportSocket

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.native.sockets import Poller, SocketTransport

# (level, option, value) as for `socket.setsockopt`.
SocketOption = tuple[int, int, int | bytes]

# RFC 8305 section 8: the recommended connection attempt delay.
HAPPY_EYEBALLS_DELAY_S: Final = 0.3
NO_ADDRESS: Final = Address(KIND_IP, "0.0.0.0", 0)


class ConnectPlan:
    """Where and how to connect: one address, or several to be raced (RFC 8305)."""

    __slots__ = ("addresses", "options", "source", "delay_s", "metadata")

    def __init__(
        self,
        addresses: list[Address],
        options: list[SocketOption] | None = None,
        source: Address | None = None,
        delay_s: float = HAPPY_EYEBALLS_DELAY_S,
    ) -> None:
        self.addresses = addresses
        self.options = options or []
        self.source = source
        self.delay_s = delay_s
        # Taken along to an internal listener.
        self.metadata: Metadata | None = None

    def is_plain(self) -> bool:
        """One IP address and nothing else asked for."""
        return len(self.addresses) == 1 and self.addresses[0].kind == KIND_IP and not self.options and (
            self.source is None
        )


class _Establisher(ConnectionOwner):
    """Turns a made transport into a connected Connection."""

    __slots__ = ("transport_socket",)

    def __init__(self, transport_socket: TransportSocket | None) -> None:
        self.transport_socket = transport_socket

    def on_transport(self, connection: Connection) -> None:
        transport = connection.transport
        local = transport.get_extra_info("sockname")
        if local:
            connection.info.local_address = connection.info.direct_local_address = from_sockname(local)
        connection.connect_end_ns = monotonic_ns()
        connection.owner = None
        connection.set_transport_socket(self.transport_socket)


class _ConnectGuard(ConnectionCallbacks):
    """Cancels the connect when its Connection is closed first (a connect timeout, a removed host)."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    def on_event(self, event: int) -> None:
        if event == EVENT_LOCAL_CLOSE and self.task is not None and not self.task.done():
            self.task.cancel()


class _Attempt(ConnectionCallbacks):
    """A connect by the poller: ends with the connection's transport, here with a failure, or when it is not wanted."""

    __slots__ = ("connection", "address", "transport")

    def __init__(self, connection: Connection, address: Address) -> None:
        self.connection = connection
        self.address = address
        self.transport: SocketTransport | None = None

    def begin(self, poller: Poller) -> bool:
        """False: the host is no literal that the poller knows (one with a zone)."""
        connection = self.connection
        address = self.address
        try:
            self.transport = native_connect(poller, address.host, address.port, connection, self)
        except ValueError:
            return False
        except OSError as error:
            # Not from within the caller, who does not have the connection yet.
            connection.dispatcher.post(fail, connection, _reason(error, address))
        return True

    def on_connect_failed(self, number: int) -> None:
        self.transport = None
        fail(self.connection, _reason(OSError(number, os.strerror(number)), self.address))

    def on_event(self, event: int) -> None:
        transport = self.transport
        self.transport = None
        if event == EVENT_LOCAL_CLOSE and transport is not None and self.connection.transport is None:
            transport.abort()


def connect(dispatcher: Dispatcher, plan: ConnectPlan, transport_socket: TransportSocket | None) -> Connection:
    """Begin to connect; returns at once. EVENT_CONNECTED follows when transport and TLS are up, or a close event.

    After a failure `connection.info.transport_failure_reason` holds Envoy's text for it.
    """
    remote = plan.addresses[0]
    info = ConnectionInfo(dispatcher.next_connection_id(), NO_ADDRESS, remote)
    connection = Connection(dispatcher, info, _Establisher(transport_socket))
    connection.connect_start_ns = monotonic_ns()
    if remote.kind == KIND_INTERNAL:
        dispatcher.post(_connect_inside, connection, remote, plan.metadata)
        return connection
    if plan.is_plain():
        # The usual case, at a fraction of the cost.
        poller = dispatcher.poller()
        if poller is not None:
            attempt = _Attempt(connection, remote)
            connection.add_callbacks(attempt)
            if attempt.begin(poller):
                return connection
    guard = _ConnectGuard()
    connection.add_callbacks(guard)
    guard.task = dispatcher.spawn(_establish(dispatcher, plan, connection))
    return connection


def _connect_inside(connection: Connection, address: Address, metadata: Metadata | None) -> None:
    if connection.state == STATE_CLOSED:
        return
    connection.info.local_address = connection.info.direct_local_address = CLIENT
    if not connect_internal(connection.dispatcher, connection, address, metadata):
        fail(connection, _reason(OSError(errno.EINVAL, os.strerror(errno.EINVAL)), address))


async def _establish(dispatcher: Dispatcher, plan: ConnectPlan, connection: Connection) -> None:
    loop = dispatcher.loop
    first = plan.addresses[0]
    if plan.is_plain():
        # The loop makes the socket itself, at half the cost.
        try:
            await loop.create_connection(lambda: connection, first.host, first.port)  # type: ignore[type-var]
        except OSError as error:
            fail(connection, _reason(error, first))
        return
    try:
        if len(plan.addresses) == 1:
            address = plan.addresses[0]
            raw = await _connect_one(loop, address, plan)
        else:
            raw, address = await _race(loop, plan)
    except BindError as error:
        if connection.state != STATE_CLOSED:
            connection.info.transport_failure_reason = str(error)
            connection.close(CLOSE_NO_FLUSH)
        return
    except OSError as error:
        fail(connection, _reason(error, plan.addresses[0]))
        return
    if connection.state == STATE_CLOSED:
        raw.close()
        return
    connection.info.remote_address = connection.info.direct_remote_address = address
    try:
        if address.kind == KIND_PIPE:
            await loop.create_unix_connection(lambda: connection, sock=raw)  # type: ignore[type-var]
        else:
            await loop.create_connection(lambda: connection, sock=raw)  # type: ignore[type-var]
    except OSError as error:
        raw.close()
        fail(connection, _reason(error, address))
        return
    if connection.state == STATE_CLOSED:
        # Closed while its transport was made: the loop has closed the descriptor, whose number may be another's by now.
        raw.detach()


def fail(connection: Connection, reason: str) -> None:
    """End a connection that was never established."""
    if connection.state != STATE_CLOSED:
        connection.info.transport_failure_reason = reason
        connection.fail_connect()


def _reason(error: OSError, address: Address) -> str:
    number = error.errno if error.errno is not None else 0
    if number in (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET):
        return f"delayed connect error: {os.strerror(number)}"
    return f"immediate connect error: {os.strerror(number)}|remote address:{address.text}" if number else str(error)


async def _connect_one(loop: asyncio.AbstractEventLoop, address: Address, plan: ConnectPlan) -> socket.socket:
    raw = open_socket(address)
    try:
        for level, option, value in plan.options:
            raw.setsockopt(level, option, value)
        if plan.source is not None and address.kind == KIND_IP:
            _bind(raw, plan.source)
        if address.kind == KIND_PIPE:
            path = address.host
            await loop.sock_connect(raw, "\0" + path[1:] if path.startswith("@") else path)
        else:
            await loop.sock_connect(raw, (address.host, address.port))
    except BaseException:
        raw.close()
        raise
    return raw


class BindError(Exception):
    """The source address cannot be had: a fault of this side, which the peer knows nothing of."""


# How the text of a BindError begins, in the transport failure reason.
BIND_FAILED: Final = "failed to bind to "


def _bind(raw: socket.socket, source: Address) -> None:
    try:
        raw.bind((source.host, source.port))
    except OSError as error:
        raise BindError(f"{BIND_FAILED}{source.text}: {os.strerror(error.errno or 0)}") from None


def open_socket(address: Address) -> socket.socket:
    """A non-blocking stream socket of the address's family."""
    if address.kind == KIND_PIPE:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        raw = socket.socket(socket.AF_INET6 if address.is_v6 else socket.AF_INET, socket.SOCK_STREAM)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setblocking(False)
    return raw


async def _race(loop: asyncio.AbstractEventLoop, plan: ConnectPlan) -> tuple[socket.socket, Address]:
    """RFC 8305 section 5: start one attempt after the other, the first that connects wins."""
    pending: dict[asyncio.Task[socket.socket], Address] = {}
    waiting = list(plan.addresses)
    error: OSError = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    try:
        while waiting or pending:
            if waiting:
                address = waiting.pop(0)
                pending[loop.create_task(_connect_one(loop, address, plan))] = address
            timeout = plan.delay_s if waiting else None
            done, _ = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                address = pending.pop(task)
                failure = task.exception()
                if failure is None:
                    return task.result(), address
                if not isinstance(failure, OSError):
                    raise failure
                error = failure
    finally:
        for task in pending:
            task.add_done_callback(_close_late)
            task.cancel()
    raise error


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
