"""envoy.filters.network.tcp_proxy at run time: bytes of a downstream connection go to an upstream connection and back.

Source: Envoy documentation, "TCP proxy"; `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
"""

from __future__ import annotations

import random
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final

from outrider.access_log import context as log_types
from outrider.access_log.context import FormatContext
from outrider.data import response_flag
from outrider.data.filter_state import FilterStateObject
from outrider.data.stream_info import PROTOCOL_NONE, StreamInfo, UpstreamInfo
from outrider.event.timer import Timer, TimerOwner
from outrider.native.load_sockets import can_relay
from outrider.network.connection import (
    CLOSE_TYPE_REMOTE_RESET,
    STATE_CLOSED,
    STATE_OPEN,
    Connection,
)
from outrider.network.filter import (
    CLOSE_ABORT_RESET,
    CLOSE_FLUSH_WRITE,
    CLOSE_NO_FLUSH,
    EVENT_CONNECTED,
    EVENT_REMOTE_CLOSE,
    STOP,
    NetworkFilter,
)
from outrider.network.tcp_proxy_settings import (
    CONNECT_IMMEDIATE,
    CONNECT_ON_DATA,
    FAILED_CONNECT,
    FAILED_NO_CLUSTER,
    TcpProxySettings,
)
from outrider.network.tcp_proxy_upstream import Tunnel, UpstreamReader

if TYPE_CHECKING:
    from outrider.data.address import Address

_TIMER_IDLE: Final = 0
_TIMER_MAX_DURATION: Final = 1
_TIMER_RETRY: Final = 2
_TIMER_LOG: Final = 3
_TIMER_UPSTREAM_IDLE: Final = 4
_NANOS_PER_MS: Final = 1_000_000

# Filter state that overrides the idle timeout of one connection (Envoy's well-known key), in milliseconds.
IDLE_TIMEOUT_KEY: Final = "envoy.tcp_proxy.per_connection_idle_timeout_ms"

_FINAL_FLAGS: Final[list[int]] = [
    response_flag.UPSTREAM_RETRY_LIMIT_EXCEEDED | response_flag.RETRY_LIMIT_LAST,
    response_flag.NO_HEALTHY_UPSTREAM,
    response_flag.UPSTREAM_OVERFLOW,
    response_flag.NO_CLUSTER_FOUND,
]
# Envoy's spelling.
_INITIALIZATION_FAILURE: Final = "tcp_initializion_failure:"
_CLIENT_CLOSED: Final = "closing_upstream_tcp_connection_due_to_downstream_remote_close"
_CLOSED_HERE: Final = "closing_upstream_tcp_connection_due_to_downstream_local_close"


class TcpProxy(NetworkFilter):
    """One proxied connection."""

    def __init__(self, settings: TcpProxySettings) -> None:
        self.settings = settings
        self.upstream: Connection | None = None
        # In place of `upstream`: the stream that carries the bytes.
        self.tunnel: Tunnel | None = None
        self.info: StreamInfo | None = None
        self.cluster_name: str = ""
        # Handle of the pool's pending request; belongs to the connector.
        self.pending: object = None
        self.host: object = None
        self._reader: UpstreamReader | None = None
        self.attempts: int = 0
        self._closed: bool = False
        self._downstream_ended: bool = False
        self._paused_downstream: bool = False
        self._paused_upstream: bool = False
        # No way to the upstream has been asked for yet.
        self._dormant: bool = True
        # What came before there was an upstream, with `max_early_data_bytes`.
        self._early: list[bytes] = []
        self._early_size: int = 0
        self._reading_held: bool = True
        self._idle_ms: int = settings.idle_timeout_ms
        self._last_activity_ns: int = 0
        self._last_upstream_ns: int = 0
        self._last_downstream_ns: int = 0
        self._timers: _Timers | None = None
        self._idle: Timer | None = None
        self._duration: Timer | None = None
        self._retry: Timer | None = None
        self._log_timer: Timer | None = None

    # --- downstream ---

    def initialize(self, connection: Connection) -> None:
        NetworkFilter.initialize(self, connection)
        connection.add_callbacks(self)
        connection.enable_half_close(True)
        connection.stats = self.settings.stats.connection
        self._reading_held = self.settings.max_early_data < 0
        if self._reading_held:
            # Nothing is read before there is somebody to give it to.
            connection.read_disable(True)
        info = StreamInfo(connection.info, time_ns(), monotonic_ns(), PROTOCOL_NONE)
        info.upstream = UpstreamInfo()
        info.upstream.detected_close_type = "Normal"
        self.info = info

    def on_new_connection(self) -> int:
        settings = self.settings
        settings.stats.cx_total.inc()
        self._timers = _Timers(self)
        now = monotonic_ns()
        self._last_activity_ns = self._last_upstream_ns = self._last_downstream_ns = now
        self._idle_ms = self._own_idle_timeout()
        dispatcher = self.connection.dispatcher
        if settings.max_duration_ms > 0:
            delay = settings.max_duration_ms
            if settings.max_duration_jitter > 0:
                delay += int(delay * settings.max_duration_jitter * random.random())
            self._duration = dispatcher.timer(self._timers, _TIMER_MAX_DURATION)
            self._duration.arm(delay)
        if settings.log_on_start:
            self._log(log_types.TCP_CONNECTION_START)
        if settings.log_flush_interval_ms > 0 and settings.access_logs:
            self._log_timer = dispatcher.timer(self._timers, _TIMER_LOG)
            self._log_timer.arm(settings.log_flush_interval_ms)
        mode = settings.connect_mode
        if mode == CONNECT_IMMEDIATE or (mode != CONNECT_ON_DATA and self.connection.transport_socket is None):
            self._connect()
        return STOP

    def on_data(self, data: bytes, end_stream: bool) -> int:
        info = self.info
        if info is not None:
            info.bytes_received += len(data)
        now = monotonic_ns()
        self._last_activity_ns = now
        self._last_downstream_ns = now
        upstream = self.upstream
        if end_stream:
            self._downstream_ended = True
        if upstream is not None:
            upstream.write(data, end_stream)
        elif self.tunnel is not None:
            self.tunnel.write(data, end_stream)
        else:
            self._keep_early(data)
        return STOP

    def _keep_early(self, data: bytes) -> None:
        """Bytes that nobody can take yet; the first ones may be what the connection has waited for."""
        if self._closed:
            return
        if data:
            if not self._early:
                self.settings.stats.early_data.inc()
            self._early.append(data)
            self._early_size += len(data)
            if self._early_size > self.settings.max_early_data and not self._reading_held:
                self._reading_held = True
                self.connection.read_disable(True)
        if self._dormant and self.settings.connect_mode == CONNECT_ON_DATA:
            self._connect()

    def _send_early(self) -> None:
        early = self._early
        self._early = []
        if not early and not self._downstream_ended:
            return
        data = b"".join(early)
        if self.upstream is not None:
            self.upstream.write(data, self._downstream_ended)
        elif self.tunnel is not None:
            self.tunnel.write(data, self._downstream_ended)

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED and not self._closed and self._dormant and self._timers is not None:
            # The downstream handshake is over.
            if self.settings.connect_mode != CONNECT_ON_DATA:
                self._connect()
            return
        if event == EVENT_CONNECTED or self._closed:
            return
        info = self.info
        upstream = self.upstream
        if upstream is not None and upstream.state != STATE_CLOSED:
            if event != EVENT_REMOTE_CLOSE:
                self._end_upstream(upstream, CLOSE_NO_FLUSH, _CLOSED_HERE)
            elif self.connection.detected_close_type == CLOSE_TYPE_REMOTE_RESET:
                self._end_upstream(upstream, CLOSE_ABORT_RESET, "")
            else:
                transport = upstream.transport
                if self._reader is not None and transport is not None and transport.get_write_buffer_size() > 0:
                    # What the client sent last still goes out.
                    self._reader.drain(self.settings, self._shortest_idle())
                # When both directions had ended before, nobody closed it here.
                self._end_upstream(upstream, CLOSE_FLUSH_WRITE, "" if self._downstream_ended else _CLIENT_CLOSED)
        elif self.tunnel is not None:
            tunnel = self.tunnel
            self.tunnel = None
            self._keep_tunnel_bytes(tunnel)
            tunnel.close()
        elif self.pending is not None:
            if info is not None:
                info.response_flags |= response_flag.DOWNSTREAM_CONNECTION_TERMINATION
            self.settings.connector.cancel(self)
            self.pending = None
        self._finish()

    def _end_upstream(self, upstream: Connection, close_type: int, reason: str) -> None:
        self.upstream = None
        self._keep_upstream_bytes(upstream)
        if self.info is not None and self.info.upstream is not None:
            self.info.upstream.local_close_reason = reason
        upstream.close(close_type, reason)

    def on_above_write_buffer_high_watermark(self) -> None:
        upstream = self.upstream
        if self._paused_upstream:
            return
        if upstream is not None:
            self._paused_upstream = True
            upstream.read_disable(True)
        elif self.tunnel is not None:
            self._paused_upstream = True
            self.tunnel.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        upstream = self.upstream
        if not self._paused_upstream:
            return
        self._paused_upstream = False
        if upstream is not None:
            upstream.read_disable(False)
        elif self.tunnel is not None:
            self.tunnel.read_disable(False)

    # --- upstream ---

    def _connect(self) -> None:
        self._dormant = False
        if not self._closed:
            self.settings.connector.connect(self)

    def begin_attempt(self) -> None:
        """A host is being tried."""
        self.attempts += 1
        info = self.info
        if info is not None and info.upstream is not None:
            info.attempt_count = self.attempts
            info.upstream.request_attempt_count = self.attempts

    def on_connected(self, upstream: Connection, host: object, address: Address, cluster_name: str) -> None:
        """An upstream connection is ours."""
        self.pending = None
        if self._closed:
            upstream.close(CLOSE_NO_FLUSH)
            return
        self.upstream = upstream
        self._note_upstream(upstream, host, address, cluster_name)
        reader = UpstreamReader(self)
        self._reader = reader
        upstream.enable_half_close(True)
        upstream.add_callbacks(reader)
        upstream.add_filter(reader)
        upstream.start_filters()
        self._relay(upstream)
        self._start()

    def on_tunnel(
        self, tunnel: Tunnel, upstream: Connection, host: object, address: Address, cluster_name: str
    ) -> None:
        """A tunnel is ours: a stream of the connection `upstream`, which others may share."""
        self.pending = None
        if self._closed:
            tunnel.close()
            return
        self.tunnel = tunnel
        self._note_upstream(upstream, host, address, cluster_name)
        self._start()

    def _note_upstream(self, upstream: Connection, host: object, address: Address, cluster_name: str) -> None:
        self.host = host
        info = self.info
        if info is not None and info.upstream is not None:
            facts = info.upstream
            facts.host = host
            facts.host_address = address
            facts.cluster_name = cluster_name
            facts.connection_id = upstream.connection_id
            facts.local_address = upstream.info.local_address
            facts.remote_address = upstream.info.remote_address
            facts.ssl = upstream.info.ssl
            facts.connect_start_ns = upstream.connect_start_ns
            facts.connect_end_ns = upstream.connect_end_ns
            facts.pool_ready_ns = monotonic_ns()
            info.cluster_name = cluster_name

    def _start(self) -> None:
        settings = self.settings
        idle = self._shortest_idle()
        if idle > 0 and self._timers is not None:
            self._idle = self.connection.dispatcher.timer(self._timers, _TIMER_IDLE)
            self._last_activity_ns = monotonic_ns()
            self._idle.arm(idle)
        if settings.log_on_connected:
            self._log(log_types.TCP_UPSTREAM_CONNECTED)
        self._send_early()
        if self._reading_held and not self._closed:
            self._reading_held = False
            self.connection.read_disable(False)

    def _relay(self, upstream: Connection) -> None:
        """Let bulk pass within the kernel where nobody else has to see it."""
        downstream = self.connection
        if not (can_relay(downstream.transport) and can_relay(upstream.transport)):
            return
        if downstream.passes_raw() and upstream.passes_raw():
            downstream.transport.relay_to(upstream.transport, _Relay(self, True))
            upstream.transport.relay_to(downstream.transport, _Relay(self, False))

    def on_relayed(self, count: int, upwards: bool) -> None:
        """Bytes that were not seen, and are counted as if they had been."""
        info = self.info
        upstream = self.upstream
        now = monotonic_ns()
        self._last_activity_ns = now
        if upwards:
            self._last_downstream_ns = now
            if info is not None:
                info.bytes_received += count
            if upstream is not None:
                self.connection.count_relayed(count, upstream)
        else:
            self._last_upstream_ns = now
            if info is not None:
                info.bytes_sent += count
            if upstream is not None:
                upstream.count_relayed(count, self.connection)

    def on_failed(self, kind: int, details: str = "", host: object = None, address: Address | None = None) -> None:
        """No connection this time (FAILED_*): try again or give up."""
        self.pending = None
        if self._closed:
            return
        info = self.info
        settings = self.settings
        if kind < FAILED_CONNECT:
            if info is not None:
                info.response_flags |= _FINAL_FLAGS[kind]
            if kind == FAILED_NO_CLUSTER:
                settings.stats.cx_no_route.inc()
            self.connection.close(CLOSE_NO_FLUSH, f"{_INITIALIZATION_FAILURE}{kind}")
            return
        if info is not None and info.upstream is not None:
            if kind == FAILED_CONNECT:
                info.response_flags |= response_flag.UPSTREAM_CONNECTION_FAILURE
            info.upstream.transport_failure_reason = details
            info.upstream.host = host
            info.upstream.host_address = address
        timers = self._timers
        if timers is None:
            return
        delay = 0
        if settings.backoff_base_ms > 0 and self.attempts < settings.max_connect_attempts:
            bound = min(settings.backoff_base_ms << min(self.attempts - 1, 30), settings.backoff_max_ms)
            delay = random.randrange(bound) if bound > 0 else 0
        if delay > 0:
            if self._retry is None:
                self._retry = self.connection.dispatcher.timer(timers, _TIMER_RETRY)
            self._retry.arm(delay)
        else:
            # Not from within the pool's callback: a row of immediate failures would nest.
            self.connection.dispatcher.post(self._connect)

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        info = self.info
        if info is not None:
            info.bytes_sent += len(data)
        now = monotonic_ns()
        self._last_activity_ns = now
        self._last_upstream_ns = now
        self.connection.write(data, end_stream)

    def on_upstream_closed(self, event: int, upstream: Connection) -> None:
        if self._closed or self.upstream is not upstream:
            return
        info = self.info
        if info is not None and info.upstream is not None:
            info.upstream.detected_close_type = upstream.detected_close_type
        reset = event == EVENT_REMOTE_CLOSE and upstream.detected_close_type == CLOSE_TYPE_REMOTE_RESET
        if reset and info is not None:
            info.response_flags |= response_flag.UPSTREAM_REMOTE_RESET
        self.upstream = None
        self._keep_upstream_bytes(upstream)
        if self.connection.state == STATE_OPEN:
            # The client learns of a reset by a reset.
            self.connection.close(CLOSE_ABORT_RESET if reset else CLOSE_FLUSH_WRITE)

    def on_tunnel_closed(self, reset: bool) -> None:
        """The tunnel is over: the upstream has ended it, or `reset`."""
        tunnel = self.tunnel
        if self._closed or tunnel is None:
            return
        self.tunnel = None
        self._keep_tunnel_bytes(tunnel)
        if reset and self.info is not None:
            self.info.response_flags |= response_flag.UPSTREAM_REMOTE_RESET
        if self.connection.state == STATE_OPEN:
            self.connection.close(CLOSE_FLUSH_WRITE)

    def on_upstream_high(self) -> None:
        if not self._paused_downstream and not self._closed and self.connection.state == STATE_OPEN:
            self._paused_downstream = True
            self.settings.stats.flow_control_paused.inc()
            self.connection.read_disable(True)

    def on_upstream_low(self) -> None:
        if self._paused_downstream and not self._closed and self.connection.state == STATE_OPEN:
            self._paused_downstream = False
            self.settings.stats.flow_control_resumed.inc()
            self.connection.read_disable(False)

    # --- time ---

    def _own_idle_timeout(self) -> int:
        """The configured one, or that which filter state gives this connection."""
        state = self.connection.info.filter_state
        value = None if state is None else state.get(IDLE_TIMEOUT_KEY)
        if isinstance(value, FilterStateObject):
            text = value.serialize() or ""
            if text.isascii() and text.isdigit():
                return int(text)
        return self.settings.idle_timeout_ms

    def _shortest_idle(self) -> int:
        shortest = 0
        settings = self.settings
        for limit in (
            self._idle_ms, settings.downstream_idle_timeout_ms, settings.upstream_idle_timeout_ms
        ):
            if limit > 0 and (shortest == 0 or limit < shortest):
                shortest = limit
        return shortest

    def on_timer(self, kind: int) -> None:
        if self._closed:
            return
        if kind == _TIMER_IDLE:
            self._check_idle()
        elif kind == _TIMER_MAX_DURATION:
            self.settings.stats.max_duration.inc()
            if self.info is not None:
                self.info.response_flags |= response_flag.DURATION_TIMEOUT
            self._close_both("max_connection_duration_reached")
        elif kind == _TIMER_RETRY:
            self._connect()
        elif kind == _TIMER_LOG:
            self._log(log_types.TCP_PERIODIC)
            if self._log_timer is not None:
                self._log_timer.arm(self.settings.log_flush_interval_ms)

    def _check_idle(self) -> None:
        settings = self.settings
        now = monotonic_ns()
        least = 0
        for limit, since in (
            (self._idle_ms, self._last_activity_ns),
            (settings.downstream_idle_timeout_ms, self._last_downstream_ns),
            (settings.upstream_idle_timeout_ms, self._last_upstream_ns),
        ):
            if limit <= 0:
                continue
            left = limit - (now - since) // _NANOS_PER_MS
            if left <= 0:
                settings.stats.idle_timeout.inc()
                self._close_both("tcp_session_idle_timeout")
                return
            if least == 0 or left < least:
                least = left
        if least > 0 and self._idle is not None:
            self._idle.arm(least)

    def _close_both(self, reason: str) -> None:
        upstream = self.upstream
        self.upstream = None
        if upstream is not None:
            self._end_upstream(upstream, CLOSE_NO_FLUSH, reason)
        tunnel = self.tunnel
        if tunnel is not None:
            self.tunnel = None
            self._keep_tunnel_bytes(tunnel)
            tunnel.close()
        self.connection.close(CLOSE_NO_FLUSH, reason)

    # --- the end ---

    def _keep_upstream_bytes(self, upstream: Connection) -> None:
        info = self.info
        if info is not None and info.upstream is not None:
            info.upstream.wire_bytes_sent = upstream.bytes_sent
            info.upstream.wire_bytes_received = upstream.bytes_received

    def _keep_tunnel_bytes(self, tunnel: Tunnel) -> None:
        info = self.info
        if info is not None and info.upstream is not None:
            info.upstream.wire_bytes_sent = tunnel.wire_bytes_sent
            info.upstream.wire_bytes_received = tunnel.wire_bytes_received

    def _finish(self) -> None:
        if self._closed:
            return
        self._closed = True
        for timer in (self._idle, self._duration, self._retry, self._log_timer):
            if timer is not None:
                timer.disarm()
        info = self.info
        if info is not None:
            info.end_ns = monotonic_ns()
            self._log(log_types.TCP_CONNECTION_END)
        self.upstream = None

    def _log(self, log_type: str) -> None:
        info = self.info
        if info is not None and self.settings.access_logs:
            info.wire_bytes_received = self.connection.bytes_received
            info.wire_bytes_sent = self.connection.bytes_sent
            if self.upstream is not None:
                self._keep_upstream_bytes(self.upstream)
            elif self.tunnel is not None:
                self._keep_tunnel_bytes(self.tunnel)
            facts = self.connection.info
            if info.metadata is None:
                info.metadata = facts.metadata
            info.response_flags |= facts.response_flags
            if not info.response_code_details:
                info.response_code_details = facts.response_code_details
            context = FormatContext(info, None, None, None, b"", log_type)
            for log in self.settings.access_logs:
                log.log(context)

    def on_destroy(self) -> None:
        self._finish()
        self._timers = None
        self._reader = None


class _Relay:
    """Told by a transport of the bytes of one direction that passed within the kernel."""

    __slots__ = ("proxy", "upwards")

    def __init__(self, proxy: TcpProxy, upwards: bool) -> None:
        self.proxy = proxy
        self.upwards = upwards

    def on_relayed(self, count: int) -> None:
        self.proxy.on_relayed(count, self.upwards)


class _Timers(TimerOwner):
    """Receives the timers of one proxied connection."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.proxy = proxy

    def on_timer(self, kind: int) -> None:
        self.proxy.on_timer(kind)
