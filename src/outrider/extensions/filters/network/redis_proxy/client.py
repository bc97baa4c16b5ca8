"""A connection to one Redis server: commands are pipelined, answers come in their order."""

from __future__ import annotations

from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.filters.network.redis_proxy.resp import (
    Failure,
    ProtocolError,
    RespReader,
    encode_command,
)
from outrider.network.filter import CLOSE_NO_FLUSH, EVENT_CONNECTED, EVENT_REMOTE_CLOSE, STOP, NetworkFilter

if TYPE_CHECKING:
    from outrider.extensions.filters.network.redis_proxy.pool import RedisPool
    from outrider.upstream.host import Host

UPSTREAM_FAILURE: Final = Failure(b"upstream failure")
_TIMER_CONNECT: Final = 0
_TIMER_OPERATION: Final = 1


class Reply:
    """Whoever waits for an answer."""

    __slots__ = ()

    def on_reply(self, value: object) -> None:
        """A value of `resp`; UPSTREAM_FAILURE when there is none."""
        raise NotImplementedError


class Ignored(Reply):
    """Nobody does (mirrored commands, authentication)."""

    __slots__ = ()

    def on_reply(self, value: object) -> None:
        pass


class _Pending:
    __slots__ = ("command", "arguments", "reply", "start_ns")

    def __init__(self, command: bytes, arguments: list[bytes], reply: Reply) -> None:
        self.command = command
        self.arguments = arguments
        self.reply = reply
        self.start_ns: int = monotonic_ns()


class RedisClient(NetworkFilter):
    """One connection, made when the first command needs it."""

    def __init__(self, pool: RedisPool, host: Host) -> None:
        self.pool = pool
        self.host = host
        self.closed: bool = False
        self._connected: bool = False
        self._pending: deque[_Pending] = deque()
        self._reader = RespReader(False)
        timers = _Timers(self)
        dispatcher = pool.dispatcher
        self._connect_timer: Timer = dispatcher.timer(timers, _TIMER_CONNECT)
        self._operation_timer: Timer = dispatcher.timer(timers, _TIMER_OPERATION)
        info = host.cluster
        stats = info.stats
        stats.upstream_cx_total.inc()
        stats.upstream_cx_active.inc()
        host.stats.cx_total.inc()
        host.stats.cx_active.inc()
        connection = pool.cluster.connector.connect(host, None)
        connection.stats = info.connection_stats
        connection.set_buffer_limits(info.per_connection_buffer_limit)
        connection.add_filter(self)
        connection.add_callbacks(self)
        # What is sent before there is a connection.
        self._waiting: list[bytes] = []
        if info.connect_timeout_ms > 0:
            self._connect_timer.arm(info.connect_timeout_ms)
        if pool.auth is not None:
            self.send([b"auth", *pool.auth], Ignored())
        if pool.settings.read_policy != 0:
            # Replicas answer reads on connections that say so; masters do not mind.
            self.send([b"readonly"], Ignored())

    def send(self, arguments: list[bytes], reply: Reply) -> None:
        """Send a command; its answer, or UPSTREAM_FAILURE, goes to `reply`."""
        if self.closed:
            reply.on_reply(UPSTREAM_FAILURE)
            return
        command = arguments[0].lower()
        self.pool.count(command, "total")
        self._pending.append(_Pending(command, arguments, reply))
        stats = self.host.cluster.stats
        stats.upstream_rq_total.inc()
        stats.upstream_rq_active.inc()
        self.host.stats.rq_total.inc()
        self.host.stats.rq_active.inc()
        data = encode_command(arguments)
        if self._connected:
            self.connection.write(data)
            if not self._operation_timer.armed:
                self._operation_timer.arm(self.pool.op_timeout_ms)
        else:
            self._waiting.append(data)

    @property
    def busy(self) -> bool:
        return bool(self._pending)

    def on_data(self, data: bytes, end_stream: bool) -> int:
        try:
            values = self._reader.feed(data)
        except ProtocolError:
            self.host.cluster.stats.upstream_cx_protocol_error.inc()
            self.close()
            return STOP
        for value in values:
            if not self._pending:
                self.host.cluster.stats.upstream_cx_protocol_error.inc()
                self.close()
                return STOP
            pending = self._pending.popleft()
            self._finished(pending, value)
            if self.pool.redirect(pending.arguments, pending.reply, value):
                continue
            pending.reply.on_reply(value)
        if self._pending:
            self._operation_timer.arm(self.pool.op_timeout_ms)
        else:
            self._operation_timer.disarm()
        return STOP

    def _finished(self, pending: _Pending, value: object) -> None:
        self.host.cluster.stats.upstream_rq_active.dec()
        self.host.stats.rq_active.dec()
        failed = isinstance(value, Failure)
        if value is not UPSTREAM_FAILURE:
            self.pool.count(pending.command, "failure" if failed else "success")
            (self.host.stats.rq_error if failed else self.host.stats.rq_success).inc()
        self.pool.time(pending.command, (monotonic_ns() - pending.start_ns) // 1000)

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            self._connected = True
            self._connect_timer.disarm()
            waiting = self._waiting
            self._waiting = []
            if waiting:
                self.connection.write(b"".join(waiting))
                self._operation_timer.arm(self.pool.op_timeout_ms)
            return
        self._gone(event)

    def _gone(self, event: int) -> None:
        if self.closed:
            return
        self.closed = True
        self._connect_timer.disarm()
        self._operation_timer.disarm()
        stats = self.host.cluster.stats
        stats.upstream_cx_active.dec()
        self.host.stats.cx_active.dec()
        stats.upstream_cx_destroy.inc()
        remote = event == EVENT_REMOTE_CLOSE
        (stats.upstream_cx_destroy_remote if remote else stats.upstream_cx_destroy_local).inc()
        if self._pending:
            stats.upstream_cx_destroy_with_active_rq.inc()
            (
                stats.upstream_cx_destroy_remote_with_active_rq if remote
                else stats.upstream_cx_destroy_local_with_active_rq
            ).inc()
        if not self._connected:
            stats.upstream_cx_connect_fail.inc()
            self.host.stats.cx_connect_fail.inc()
        self.pool.forget(self)
        pending = self._pending
        self._pending = deque()
        for each in pending:
            self._finished(each, UPSTREAM_FAILURE)
            each.reply.on_reply(UPSTREAM_FAILURE)

    def on_timer(self, kind: int) -> None:
        stats = self.host.cluster.stats
        if kind == _TIMER_CONNECT:
            stats.upstream_cx_connect_timeout.inc()
        else:
            stats.upstream_rq_timeout.inc()
            self.host.stats.rq_timeout.inc()
        self.close()

    def close(self) -> None:
        self.connection.close(CLOSE_NO_FLUSH)


class _Timers(TimerOwner):
    """Receives the timers of one client."""

    def __init__(self, client: RedisClient) -> None:
        self.client = client

    def on_timer(self, kind: int) -> None:
        self.client.on_timer(kind)
