"""A connection, downstream or upstream: the protocol object of the loop's transport, its filters, its watermarks.

Bytes come in at `data_received`, pass the transport socket (none for plain TCP) and reach the read filters; what is
written passes the write filters and the transport socket and reaches the transport. Source: Envoy's
`Network::ConnectionImpl` and `Network::FilterManagerImpl`.
"""

from __future__ import annotations

import socket
import struct
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.data.stream_info import ConnectionInfo
from outrider.event.timer import Timer, TimerOwner
from outrider.network.filter import (
    CLOSE_ABORT_RESET,
    CLOSE_FLUSH_WRITE_AND_DELAY,
    CLOSE_NO_FLUSH,
    CONTINUE,
    EVENT_CONNECTED,
    EVENT_LOCAL_CLOSE,
    EVENT_REMOTE_CLOSE,
    ConnectionCallbacks,
    NetworkFilter,
)
from outrider.network.transport_socket import TransportSocket, TransportSocketCallbacks
from outrider.stats.metrics import Counter, Gauge

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

STATE_CONNECTING: Final = 0
STATE_OPEN: Final = 1
# Flushing what was written, then closing.
STATE_CLOSING: Final = 2
STATE_CLOSED: Final = 3

# Who ended it (`detected_close_type`).
CLOSE_TYPE_NORMAL: Final = "Normal"
CLOSE_TYPE_LOCAL_RESET: Final = "LocalReset"
CLOSE_TYPE_REMOTE_RESET: Final = "RemoteReset"

_LINGER_RESET: Final = struct.pack("ii", 1, 0)
_UNLIMITED: Final = 1 << 62

# Kinds of the connection's own timers.
_TIMER_DELAYED_CLOSE: Final = 1
_TIMER_TRANSPORT_CONNECT: Final = 2


class ConnectionStats:
    """Metrics that a connection keeps for its owner (an HCM, a cluster, a TCP proxy)."""

    __slots__ = ("rx_total", "rx_buffered", "tx_total", "tx_buffered", "delayed_close_timeout")

    def __init__(
        self,
        rx_total: Counter,
        rx_buffered: Gauge,
        tx_total: Counter,
        tx_buffered: Gauge,
        delayed_close_timeout: Counter | None = None,
    ) -> None:
        self.rx_total = rx_total
        self.rx_buffered = rx_buffered
        self.tx_total = tx_total
        self.tx_buffered = tx_buffered
        self.delayed_close_timeout = delayed_close_timeout


@mypyc_attr(allow_interpreted_subclasses=True)
class ConnectionOwner:
    """Told when the loop has made the transport of a connection (a listener, or the connecting side)."""

    def on_transport(self, connection: Connection) -> None:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class RawInspector:
    """Sees the first bytes of a connection before its transport socket and filters are chosen (listener filters)."""

    def on_raw_data(self, data: bytes) -> None:
        raise NotImplementedError

    def on_raw_eof(self) -> None:
        raise NotImplementedError


class WriteCork:
    """Gathers what connections of one loop write while bytes of some connection are being handled.

    A message head and its body, pipelined responses, the records of one TLS flush: each connection gets one write when
    the handling ends instead of one system call apiece. The poller holds it over a whole batch of ready sockets.
    """

    __slots__ = ("active", "dirty")

    def __init__(self) -> None:
        self.active: bool = False
        # Connections with bytes held back, in the order of their first write.
        self.dirty: list[Connection] = []

    def release(self) -> None:
        """Write everything out."""
        self.active = False
        while self.dirty:
            dirty = self.dirty
            self.dirty = []
            for connection in dirty:
                connection.flush_corked()


# Up to this many bytes the pieces are joined; larger ones go out as they are (writev).
_JOIN_LIMIT: Final = 16384


class _ConnectionTimers(TimerOwner):
    """Receives the timers of one connection."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def on_timer(self, kind: int) -> None:
        self.connection.on_own_timer(kind)


@mypyc_attr(allow_interpreted_subclasses=True)
class Connection(TransportSocketCallbacks):
    """One connection. All methods are called on the loop's thread."""

    __slots__ = (
        "dispatcher",
        "info",
        "connection_id",
        "state",
        "owner",
        "inspector",
        "transport",
        "transport_socket",
        "stats",
        "bytes_received",
        "bytes_sent",
        "above_high_watermark",
        "detected_close_type",
        "local_close_reason",
        "delayed_close_timeout_ms",
        "_callbacks",
        "_filters",
        "_write_filters",
        "_started",
        "_parked",
        "_parked_end",
        "_only_filter",
        "_read_disable_count",
        "_half_close",
        "_read_ended",
        "_write_ended",
        "_buffer_limit",
        "_timers",
        "_delay_timer",
        "_delay_pending",
        "_held",
        "_connect_timer",
        "_closed_event",
        "connected",
        "connect_start_ns",
        "connect_end_ns",
        "tls_end_ns",
        "_cork",
        "_corked",
    )

    def __init__(self, dispatcher: Dispatcher, info: ConnectionInfo, owner: ConnectionOwner | None = None) -> None:
        self.dispatcher = dispatcher
        self.info = info
        self.connection_id: int = info.connection_id
        self.state: int = STATE_CONNECTING
        self.owner: ConnectionOwner | None = owner
        self.inspector: RawInspector | None = None
        self.transport: Any = None
        self.transport_socket: TransportSocket | None = None
        self.stats: ConnectionStats | None = None
        # Bytes on the wire.
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self.above_high_watermark: bool = False
        self.detected_close_type: str = CLOSE_TYPE_NORMAL
        self.local_close_reason: str = ""
        # 0: a CLOSE_FLUSH_WRITE_AND_DELAY closes as soon as everything is flushed.
        self.delayed_close_timeout_ms: int = 0
        # Transport (and TLS) established.
        self.connected: bool = False
        self.connect_start_ns: int = 0
        self.connect_end_ns: int = 0
        self.tls_end_ns: int = 0
        self._callbacks: list[ConnectionCallbacks] = []
        self._filters: list[NetworkFilter] = []
        self._write_filters: list[NetworkFilter] = []
        # Number of filters that had their `on_new_connection`.
        self._started: int = 0
        self._parked: bytes = b""
        self._parked_end: bool = False
        # The one filter of a started chain of length one: the common case takes no loop.
        self._only_filter: NetworkFilter | None = None
        self._read_disable_count: int = 0
        self._half_close: bool = False
        self._read_ended: bool = False
        self._write_ended: bool = False
        self._buffer_limit: int = -1
        self._timers: _ConnectionTimers | None = None
        self._delay_timer: Timer | None = None
        # Bytes that were still to be written when the delay began, or began anew.
        self._delay_pending: int = 0
        self._connect_timer: Timer | None = None
        # What came while reading was disabled.
        self._held: list[bytes | None] | None = None
        self._closed_event: int = -1
        cork = dispatcher.cork
        if not isinstance(cork, WriteCork):
            cork = WriteCork()
            dispatcher.cork = cork
        self._cork: WriteCork = cork
        self._corked: list[bytes] = []

    # --- the loop's side ---

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.state == STATE_CLOSED:
            transport.abort()
            return
        self.state = STATE_OPEN
        if self._buffer_limit >= 0:
            self._apply_buffer_limit()
        if self._read_disable_count:
            transport.pause_reading()
        if self.owner is not None:
            self.owner.on_transport(self)

    def data_received(self, data: bytes) -> None:
        if self._read_disable_count or self._held is not None:
            self._hold(data)
            return
        size = len(data)
        self.bytes_received += size
        if self.stats is not None:
            self.stats.rx_total.value += size
        cork = self._cork
        if cork.active:
            # One of a batch of the poller, which releases at its end.
            self._take(data)
            return
        cork.active = True
        try:
            self._take(data)
        finally:
            cork.release()

    def _take(self, data: bytes) -> None:
        if self.inspector is not None:
            self.inspector.on_raw_data(data)
        elif self.transport_socket is not None:
            self.transport_socket.on_raw_data(data)
        elif self._only_filter is not None and self.state == STATE_OPEN:
            self._only_filter.on_data(data, False)
        else:
            self.deliver(data, False)

    def _hold(self, data: bytes | None) -> None:
        """Keep what arrives although reading is disabled; None stands for the peer's FIN.

        uvloop begins to read when `connection_made` returns, whatever was asked for in it: so one read may come here.
        """
        if self._held is None:
            self._held = []
        self._held.append(data)
        if self._read_disable_count and self.transport is not None:
            self.transport.pause_reading()

    def _release(self) -> None:
        held = self._held
        if held is None or self._read_disable_count:
            return
        self._held = None
        for index, data in enumerate(held):
            if self.state != STATE_OPEN:
                return
            if self._read_disable_count:
                self._held = held[index:]
                return
            if data is not None:
                self.data_received(data)
            elif not self.eof_received() and self.transport is not None:
                self.transport.close()

    def eof_received(self) -> bool:
        """The peer's FIN. True keeps the transport open for writing."""
        if self.state == STATE_OPEN and (self._read_disable_count or self._held is not None):
            self._hold(None)
            return True
        if self.inspector is not None:
            self.inspector.on_raw_eof()
            return self.state == STATE_OPEN
        if self.state == STATE_CLOSING:
            # Whatever was to be flushed goes out; the delay for the peer's FIN is over.
            if self._delay_timer is not None:
                self._closed_event = EVENT_REMOTE_CLOSE
            return False
        transport_socket = self.transport_socket
        if transport_socket is not None:
            transport_socket.on_raw_eof()
        else:
            self.deliver(b"", True)
        return self.state != STATE_CLOSED

    def connection_lost(self, error: BaseException | None) -> None:
        if self.state == STATE_CLOSED:
            self.transport = None
            return
        if self._closed_event < 0:
            if error is not None:
                self.detected_close_type = CLOSE_TYPE_REMOTE_RESET
                self._closed_event = EVENT_REMOTE_CLOSE
                if self.transport_socket is not None and not self.connected:
                    self.info.transport_failure_reason = self.transport_socket.reset_reason()
            else:
                self._closed_event = EVENT_LOCAL_CLOSE if self.state == STATE_CLOSING else EVENT_REMOTE_CLOSE
        self._finish(self._closed_event)

    def pause_writing(self) -> None:
        if self.above_high_watermark or self.state == STATE_CLOSED:
            return
        self.above_high_watermark = True
        if self.stats is not None and self.transport is not None:
            self.stats.tx_buffered.add(self.transport.get_write_buffer_size())
        for callbacks in list(self._callbacks):
            callbacks.on_above_write_buffer_high_watermark()

    def resume_writing(self) -> None:
        if not self.above_high_watermark:
            return
        self.above_high_watermark = False
        if self.state == STATE_CLOSED:
            return
        if self.stats is not None:
            self.stats.tx_buffered.set(0)
        for callbacks in list(self._callbacks):
            callbacks.on_below_write_buffer_low_watermark()

    # --- bytes that pass within the kernel ---

    def passes_raw(self) -> bool:
        """Whether what comes in, and what goes out, passes nothing here but one filter that takes all of it."""
        return (
            self.state == STATE_OPEN
            and self.transport_socket is None
            and self._only_filter is not None
            and not self._write_filters
            and self._held is None
        )

    def count_relayed(self, count: int, to: Connection) -> None:
        """`count` bytes from this peer have gone to the other's."""
        self.bytes_received += count
        if self.stats is not None:
            self.stats.rx_total.value += count
        to.bytes_sent += count
        if to.stats is not None:
            to.stats.tx_total.value += count

    # --- the transport socket's side ---

    def raw_write(self, data: bytes) -> None:
        transport = self.transport
        if transport is None or self.state == STATE_CLOSED:
            return
        size = len(data)
        self.bytes_sent += size
        if self.stats is not None:
            self.stats.tx_total.value += size
        self._to_transport(data)

    def _to_transport(self, data: bytes) -> None:
        cork = self._cork
        if cork.active:
            corked = self._corked
            if not corked:
                cork.dirty.append(self)
            corked.append(data)
        else:
            self.transport.write(data)

    def flush_corked(self) -> None:
        """Write what was held back."""
        corked = self._corked
        if not corked:
            return
        self._corked = []
        transport = self.transport
        if transport is None or self.state == STATE_CLOSED:
            return
        if len(corked) == 1:
            transport.write(corked[0])
            return
        size = 0
        for piece in corked:
            size += len(piece)
        if size <= _JOIN_LIMIT:
            transport.write(b"".join(corked))
        else:
            transport.writelines(corked)

    def waiting_bytes(self) -> int:
        """Bytes that were written and that the kernel has not taken yet."""
        waiting = 0
        for piece in self._corked:
            waiting += len(piece)
        if self.transport is not None:
            waiting += self.transport.get_write_buffer_size()
        return waiting

    def raise_connected(self) -> None:
        if self.connected or self.state == STATE_CLOSED:
            return
        self.connected = True
        if self._connect_timer is not None:
            self._connect_timer.disarm()
        if self.transport_socket is not None:
            self.tls_end_ns = monotonic_ns()
            self.info.handshake_end_ns = self.tls_end_ns
            self.info.ssl = self.transport_socket.ssl_info()
        for callbacks in list(self._callbacks):
            callbacks.on_event(EVENT_CONNECTED)

    def deliver(self, data: bytes, end_stream: bool) -> None:
        """Plain bytes from the peer, towards the filters."""
        if self.state != STATE_OPEN:
            # A delayed close waits for the peer's FIN and drops what still comes.
            if end_stream and self.state == STATE_CLOSING:
                if self._delay_timer is not None:
                    self._closed_event = EVENT_REMOTE_CLOSE
                self._close_transport()
            return
        if end_stream and not self._half_close:
            if data:
                self._run_filters(0, data, False)
            if self.state == STATE_OPEN:
                self._finish(EVENT_REMOTE_CLOSE)
            return
        if end_stream:
            if self._read_ended:
                return
            self._read_ended = True
        self._run_filters(0, data, end_stream)
        if end_stream and self._write_ended and self.state == STATE_OPEN:
            self._closed_event = EVENT_REMOTE_CLOSE
            self._finish(EVENT_REMOTE_CLOSE)

    def transport_failed(self, details: str) -> None:
        """The transport socket gave up (a failed handshake, a broken record): nothing can be flushed."""
        self.info.transport_failure_reason = details
        if self.transport_socket is not None:
            # What has become known of the peer goes into the listener's log.
            self.info.ssl = self.transport_socket.ssl_info()
        # The peer is to blame, so it counts as closed by the peer; the alert that says why still goes out to it.
        self.flush_corked()
        self._close_transport()
        self._finish(EVENT_REMOTE_CLOSE)

    # --- filters ---

    def add_callbacks(self, callbacks: ConnectionCallbacks) -> None:
        self._callbacks.append(callbacks)

    def remove_callbacks(self, callbacks: ConnectionCallbacks) -> None:
        if callbacks in self._callbacks:
            self._callbacks.remove(callbacks)

    def add_filter(self, network_filter: NetworkFilter) -> None:
        """Append to the chain; reads pass it in this order, writes in reverse."""
        network_filter.index = len(self._filters)
        self._filters.append(network_filter)
        if overrides_write(network_filter):
            self._write_filters.insert(0, network_filter)
        network_filter.initialize(self)

    def tell_overload_changed(self) -> None:
        for network_filter in list(self._filters):
            network_filter.on_overload_changed()

    def start_filters(self) -> bool:
        """Give every filter its `on_new_connection`. False when there is none: the caller closes."""
        if not self._filters:
            return False
        self._run_filters(0, b"", False)
        return True

    def continue_reading(self, network_filter: NetworkFilter, data: bytes, end_stream: bool) -> None:
        """Resume behind `network_filter` with what was parked and then `data`."""
        if self.state != STATE_OPEN:
            return
        if self._parked or self._parked_end:
            data = self._parked + data
            end_stream = end_stream or self._parked_end
            self._parked = b""
            self._parked_end = False
        self._run_filters(network_filter.index + 1, data, end_stream)

    def _run_filters(self, start: int, data: bytes, end_stream: bool) -> None:
        filters = self._filters
        index = start
        count = len(filters)
        while index < count:
            current = filters[index]
            if index >= self._started:
                self._started = index + 1
                if current.on_new_connection() != CONTINUE:
                    if data or end_stream:
                        self._parked += data
                        self._parked_end = self._parked_end or end_stream
                    if self._started == count:
                        self._set_only_filter()
                    return
                if self.state != STATE_OPEN:
                    return
            if (data or end_stream) and current.on_data(data, end_stream) != CONTINUE:
                return
            if self.state != STATE_OPEN:
                return
            index += 1
        if self._started == count:
            self._set_only_filter()

    def _set_only_filter(self) -> None:
        if len(self._filters) == 1 and self.transport_socket is None and self.inspector is None:
            self._only_filter = self._filters[0]

    # --- what filters and codecs do ---

    def write(self, data: bytes, end_stream: bool = False) -> None:
        """Send. `end_stream` half-closes after these bytes. Ignored once the connection is closing."""
        if self.state != STATE_OPEN or self._write_ended:
            return
        if self._write_filters:
            for current in self._write_filters:
                if current.on_write(data, end_stream) != CONTINUE:
                    return
        self._send(data, end_stream)

    def continue_writing(self, network_filter: NetworkFilter, data: bytes, end_stream: bool) -> None:
        """Hand bytes on from a filter whose `on_write` took them."""
        if self.state != STATE_OPEN or self._write_ended:
            return
        behind = False
        for current in self._write_filters:
            if behind:
                if current.on_write(data, end_stream) != CONTINUE:
                    return
            elif current is network_filter:
                behind = True
        self._send(data, end_stream)

    def _send(self, data: bytes, end_stream: bool) -> None:
        transport_socket = self.transport_socket
        if transport_socket is not None:
            transport_socket.write(data, end_stream)
        elif data:
            size = len(data)
            self.bytes_sent += size
            if self.stats is not None:
                self.stats.tx_total.value += size
            if self.transport is not None:
                self._to_transport(data)
        if end_stream:
            self._write_ended = True
            if transport_socket is None and self.transport is not None:
                self.flush_corked()
                self.transport.write_eof()
            if self._read_ended:
                self._closed_event = EVENT_REMOTE_CLOSE
                self._close_transport()

    def raw_close_write(self) -> None:
        """Half-close the wire (the transport socket has sent its own farewell)."""
        if self.transport is not None and self.state != STATE_CLOSED:
            self.flush_corked()
            self.transport.write_eof()

    def read_disable(self, disable: bool) -> None:
        """Counted: the peer's bytes stay in the kernel while the count is above zero."""
        if disable:
            self._read_disable_count += 1
            if self._read_disable_count == 1 and self.transport is not None and self.state == STATE_OPEN:
                self.transport.pause_reading()
        else:
            self._read_disable_count -= 1
            assert self._read_disable_count >= 0
            if self._read_disable_count == 0 and self.transport is not None and self.state == STATE_OPEN:
                self.transport.resume_reading()
                if self._held is not None:
                    self.dispatcher.post(self._release)

    @property
    def reading(self) -> bool:
        return self._read_disable_count == 0

    def set_buffer_limits(self, limit: int) -> None:
        """High watermark of the write buffer in bytes (the low one is half of it); 0 = unlimited."""
        self._buffer_limit = limit
        if self.transport is not None:
            self._apply_buffer_limit()

    def _apply_buffer_limit(self) -> None:
        limit = self._buffer_limit if self._buffer_limit > 0 else _UNLIMITED
        self.transport.set_write_buffer_limits(high=limit, low=limit // 2)

    @property
    def buffer_limit(self) -> int:
        return self._buffer_limit if self._buffer_limit > 0 else 0

    def enable_half_close(self, enabled: bool) -> None:
        """Whether the peer's FIN reaches the filters as `end_stream` instead of closing the connection."""
        self._half_close = enabled

    def set_transport_socket(self, transport_socket: TransportSocket | None, handshake_timeout_ms: int = 0) -> None:
        """Choose the transport socket and begin its handshake; None is plain TCP, connected at once."""
        self.inspector = None
        self.transport_socket = transport_socket
        if transport_socket is None:
            self.raise_connected()
            return
        if handshake_timeout_ms > 0:
            self._connect_timer = self.own_timer(_TIMER_TRANSPORT_CONNECT)
            self._connect_timer.arm(handshake_timeout_ms)
        self.info.handshake_start_ns = monotonic_ns()
        transport_socket.set_callbacks(self)
        transport_socket.on_transport_connected()

    def own_timer(self, kind: int) -> Timer:
        if self._timers is None:
            self._timers = _ConnectionTimers(self)
        return self.dispatcher.timer(self._timers, kind)

    def on_own_timer(self, kind: int) -> None:
        if kind == _TIMER_DELAYED_CLOSE:
            if self._is_flushing():
                return
            if self.stats is not None and self.stats.delayed_close_timeout is not None:
                self.stats.delayed_close_timeout.inc()
            self._shut_transport_socket()
            self._abort_transport()
            self._finish(EVENT_LOCAL_CLOSE)
        elif kind == _TIMER_TRANSPORT_CONNECT and not self.connected:
            self.info.transport_failure_reason = "transport socket timeout was reached"
            self.close(CLOSE_NO_FLUSH, "transport socket timeout was reached")

    # --- the end ---

    def close(self, close_type: int, details: str = "") -> None:
        """Close (CLOSE_*). Callbacks hear EVENT_LOCAL_CLOSE when it is done, at once unless bytes are flushed first."""
        if self.state == STATE_CLOSED or (self.state == STATE_CLOSING and close_type not in _ABRUPT):
            return
        if details and not self.local_close_reason:
            self.local_close_reason = details
        if self.transport is None or close_type == CLOSE_NO_FLUSH:
            self._shut_transport_socket()
            self.flush_corked()
            self._finish(EVENT_LOCAL_CLOSE)
            return
        if close_type == CLOSE_ABORT_RESET:
            self.detected_close_type = CLOSE_TYPE_LOCAL_RESET
            raw = self.transport.get_extra_info("socket")
            if raw is not None:
                try:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
                except OSError:
                    pass  # already gone
            self._abort_transport()
            self._finish(EVENT_LOCAL_CLOSE)
            return
        delayed = (
            close_type == CLOSE_FLUSH_WRITE_AND_DELAY and self.delayed_close_timeout_ms > 0 and not self._read_ended
        )
        if not delayed:
            self._shut_transport_socket()
        self.flush_corked()
        self.state = STATE_CLOSING
        self._closed_event = EVENT_LOCAL_CLOSE
        if delayed:
            # The peer may still be sending; closing now could reset the connection before it has read the response.
            # It has been told to close: keep on reading (and dropping) until its FIN, or the timer. Like Envoy, this
            # side sends no FIN.
            if self._read_disable_count:
                self._read_disable_count = 0
                self.transport.resume_reading()
            self._delay_pending = self.transport.get_write_buffer_size()
            self._delay_timer = self.own_timer(_TIMER_DELAYED_CLOSE)
            self._delay_timer.arm(self.delayed_close_timeout_ms)
        else:
            self._close_transport()

    def _is_flushing(self) -> bool:
        """The delayed close still makes progress in writing: give it another period."""
        if self.transport is None or self._delay_timer is None:
            return False
        pending: int = self.transport.get_write_buffer_size()
        if pending == 0 or pending >= self._delay_pending:
            return False
        self._delay_pending = pending
        self._delay_timer.arm(self.delayed_close_timeout_ms)
        return True

    def fail_connect(self) -> None:
        """The connection could not be established; `info.transport_failure_reason` says why."""
        self._finish(EVENT_REMOTE_CLOSE)

    def _shut_transport_socket(self) -> None:
        if self.transport_socket is not None and self.connected:
            self.transport_socket.shutdown()

    def _close_transport(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def _abort_transport(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _finish(self, event: int) -> None:
        if self.state == STATE_CLOSED:
            return
        self.state = STATE_CLOSED
        info = self.info
        info.end_mono_ns = monotonic_ns()
        info.local_close_reason = self.local_close_reason
        info.detected_close_type = self.detected_close_type
        if self._delay_timer is not None:
            self._delay_timer.disarm()
            self._delay_timer = None
        if self._connect_timer is not None:
            self._connect_timer.disarm()
            self._connect_timer = None
        if self.above_high_watermark and self.stats is not None:
            self.stats.tx_buffered.set(0)
        transport = self.transport
        if transport is not None and not transport.is_closing():
            if event == EVENT_REMOTE_CLOSE:
                transport.abort()
            else:
                transport.close()
        self._only_filter = None
        if self.transport_socket is not None:
            self.transport_socket.on_closed()
        callbacks = list(self._callbacks)
        self._callbacks.clear()
        for each in callbacks:
            each.on_event(event)
        filters = self._filters
        self._filters = []
        self._write_filters = []
        for network_filter in filters:
            network_filter.on_destroy()
        self.owner = None
        self.inspector = None
        self._timers = None

    def __repr__(self) -> str:
        info = self.info
        return f"<Connection {self.connection_id} {info.local_address} - {info.remote_address} state={self.state}>"


_ABRUPT: Final = (CLOSE_NO_FLUSH, CLOSE_ABORT_RESET)
_WRITES: dict[type, bool] = {}


def overrides_write(network_filter: NetworkFilter) -> bool:
    """Whether the filter's class has an `on_write` of its own."""
    kind = type(network_filter)
    known = _WRITES.get(kind)
    if known is None:
        known = getattr(kind, "on_write") is not getattr(NetworkFilter, "on_write")  # noqa: B009 - mypyc resolves `kind.on_write` statically
        _WRITES[kind] = known
    return known
