"""envoy.filters.network.tcp_proxy at run time: bytes of a downstream connection go to an upstream connection and back.

Source: Envoy documentation, "TCP proxy"; `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
"""

from __future__ import annotations

import random
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.access_log import context as log_types
from outrider.access_log.access_log import AccessLog
from outrider.access_log.context import FormatContext
from outrider.data import response_flag
from outrider.data.stream_info import PROTOCOL_NONE, StreamInfo, UpstreamInfo
from outrider.event.timer import Timer, TimerOwner
from outrider.network.connection import STATE_CLOSED, STATE_OPEN, Connection, ConnectionStats
from outrider.network.filter import (
    CLOSE_FLUSH_WRITE,
    CLOSE_NO_FLUSH,
    EVENT_CONNECTED,
    EVENT_REMOTE_CLOSE,
    STOP,
    NetworkFilter,
)
from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.data.address import Address

_TIMER_IDLE: Final = 0
_TIMER_MAX_DURATION: Final = 1
_TIMER_RETRY: Final = 2
_TIMER_LOG: Final = 3
_TIMER_UPSTREAM_IDLE: Final = 4
_NANOS_PER_MS: Final = 1_000_000

# Why there is no upstream connection (`on_failed`).
FAILED_NO_CLUSTER: Final = 0
FAILED_NO_HOST: Final = 1
FAILED_OVERFLOW: Final = 2
FAILED_CONNECT: Final = 3


class TcpProxyStats:
    """`tcp.<stat_prefix>.*`."""

    __slots__ = (
        "cx_total", "cx_no_route", "cx_drain_close", "cx_overload_close", "flow_control_paused", "flow_control_resumed",
        "idle_timeout", "max_duration", "upstream_flush_active", "upstream_flush_total", "early_data", "route_delayed",
        "connection",
    )

    def __init__(self, scope: Scope) -> None:
        counter = scope.counter
        self.cx_total: Counter = counter("downstream_cx_total")
        self.cx_no_route: Counter = counter("downstream_cx_no_route")
        self.cx_drain_close: Counter = counter("downstream_cx_drain_close")
        self.cx_overload_close: Counter = counter("downstream_cx_overload_close")
        self.flow_control_paused: Counter = counter("downstream_flow_control_paused_reading_total")
        self.flow_control_resumed: Counter = counter("downstream_flow_control_resumed_reading_total")
        self.idle_timeout: Counter = counter("idle_timeout")
        self.max_duration: Counter = counter("max_downstream_connection_duration")
        self.upstream_flush_active: Gauge = scope.gauge("upstream_flush_active")
        self.upstream_flush_total: Counter = counter("upstream_flush_total")
        self.early_data: Counter = counter("early_data_received_count_total")
        self.route_delayed: Counter = counter("route_delayed_total")
        self.connection = ConnectionStats(
            counter("downstream_cx_rx_bytes_total"),
            scope.gauge("downstream_cx_rx_bytes_buffered"),
            counter("downstream_cx_tx_bytes_total"),
            scope.gauge("downstream_cx_tx_bytes_buffered"),
        )


@mypyc_attr(allow_interpreted_subclasses=True)
class UpstreamConnector:
    """Finds and opens upstream connections. The cluster manager's side of the filter, given by the factory."""

    def connect(self, proxy: TcpProxy) -> None:
        """Pick cluster and host; `proxy.on_connected` or `proxy.on_failed` follows, perhaps at once."""
        raise NotImplementedError

    def cancel(self, proxy: TcpProxy) -> None:
        """The downstream connection is gone while an upstream one is awaited."""

    def on_attempts_exceeded(self, proxy: TcpProxy) -> None:
        """Count a connection that no attempt could serve."""


class TcpProxySettings:
    """What the filter was configured to do; times in milliseconds, 0 = off."""

    def __init__(self, stats: TcpProxyStats, connector: UpstreamConnector) -> None:
        self.stats = stats
        self.connector = connector
        self.access_logs: list[AccessLog] = []
        self.idle_timeout_ms: int = 3_600_000
        self.downstream_idle_timeout_ms: int = 0
        self.upstream_idle_timeout_ms: int = 0
        self.max_connect_attempts: int = 1
        # Base and maximum of the back-off between attempts; 0: at once.
        self.backoff_base_ms: int = 0
        self.backoff_max_ms: int = 0
        self.max_duration_ms: int = 0
        self.max_duration_jitter: float = 0.0
        self.log_flush_interval_ms: int = 0
        self.log_on_connected: bool = False
        self.log_on_start: bool = False


class TcpProxy(NetworkFilter):
    """One proxied connection."""

    def __init__(self, settings: TcpProxySettings) -> None:
        self.settings = settings
        self.upstream: Connection | None = None
        self.info: StreamInfo | None = None
        self.cluster_name: str = ""
        # Handle of the pool's pending request; belongs to the connector.
        self.pending: object = None
        self.host: object = None
        self._reader: UpstreamReader | None = None
        self._attempts: int = 0
        self._closed: bool = False
        self._downstream_ended: bool = False
        self._paused_downstream: bool = False
        self._paused_upstream: bool = False
        self._waiting: bool = True
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
        # Nothing is read before there is somebody to give it to.
        connection.read_disable(True)
        self.info = StreamInfo(connection.info, time_ns(), monotonic_ns(), PROTOCOL_NONE)

    def on_new_connection(self) -> int:
        settings = self.settings
        settings.stats.cx_total.inc()
        self._timers = _Timers(self)
        now = monotonic_ns()
        self._last_activity_ns = self._last_upstream_ns = self._last_downstream_ns = now
        dispatcher = self.connection.dispatcher
        if settings.max_duration_ms > 0:
            delay = settings.max_duration_ms
            if settings.max_duration_jitter > 0:
                delay += int(delay * settings.max_duration_jitter * random.random())
            self._duration = dispatcher.timer(self._timers, _TIMER_MAX_DURATION)
            self._duration.arm(delay)
        if settings.log_on_start:
            self._log(log_types.NOT_SET)
        if settings.log_flush_interval_ms > 0 and settings.access_logs:
            self._log_timer = dispatcher.timer(self._timers, _TIMER_LOG)
            self._log_timer.arm(settings.log_flush_interval_ms)
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
        return STOP

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED or self._closed:
            return
        info = self.info
        upstream = self.upstream
        if upstream is not None and upstream.state != STATE_CLOSED:
            if info is not None and event == EVENT_REMOTE_CLOSE and self.connection.detected_close_type != "Normal":
                info.response_flags |= response_flag.DOWNSTREAM_REMOTE_RESET
            if event == EVENT_REMOTE_CLOSE and upstream.above_high_watermark:
                # What the client sent last still goes out.
                self._drain(upstream)
            else:
                upstream.close(CLOSE_FLUSH_WRITE if event == EVENT_REMOTE_CLOSE else CLOSE_NO_FLUSH)
        elif self.pending is not None:
            if info is not None:
                info.response_flags |= response_flag.DOWNSTREAM_CONNECTION_TERMINATION
            self.settings.connector.cancel(self)
            self.pending = None
        self._finish()

    def _drain(self, upstream: Connection) -> None:
        stats = self.settings.stats
        stats.upstream_flush_total.inc()
        stats.upstream_flush_active.inc()
        if self._reader is not None:
            self._reader.flush_active = stats.upstream_flush_active
        upstream.close(CLOSE_FLUSH_WRITE)

    def on_above_write_buffer_high_watermark(self) -> None:
        upstream = self.upstream
        if upstream is not None and not self._paused_upstream:
            self._paused_upstream = True
            upstream.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        upstream = self.upstream
        if upstream is not None and self._paused_upstream:
            self._paused_upstream = False
            upstream.read_disable(False)

    # --- upstream ---

    def _connect(self) -> None:
        self._attempts += 1
        info = self.info
        if info is not None:
            if info.upstream is None:
                info.upstream = UpstreamInfo()
            info.attempt_count = self._attempts
            info.upstream.request_attempt_count = self._attempts
        self.settings.connector.connect(self)

    def on_connected(self, upstream: Connection, host: object, address: Address, cluster_name: str) -> None:
        """An upstream connection is ours."""
        self.pending = None
        if self._closed:
            upstream.close(CLOSE_NO_FLUSH)
            return
        self.upstream = upstream
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
        reader = UpstreamReader(self)
        self._reader = reader
        upstream.enable_half_close(True)
        upstream.add_callbacks(reader)
        upstream.add_filter(reader)
        upstream.start_filters()
        settings = self.settings
        idle = self._shortest_idle()
        if idle > 0 and self._timers is not None:
            self._idle = self.connection.dispatcher.timer(self._timers, _TIMER_IDLE)
            self._last_activity_ns = monotonic_ns()
            self._idle.arm(idle)
        if settings.log_on_connected:
            self._log(log_types.TCP_UPSTREAM_CONNECTED)
        self._waiting = False
        self.connection.read_disable(False)

    def on_failed(self, kind: int, details: str, host: object) -> None:
        """No connection this time; try again or give up."""
        self.pending = None
        if self._closed:
            return
        info = self.info
        settings = self.settings
        if info is not None:
            if kind == FAILED_NO_CLUSTER:
                info.response_flags |= response_flag.NO_CLUSTER_FOUND
            elif kind == FAILED_NO_HOST:
                info.response_flags |= response_flag.NO_HEALTHY_UPSTREAM
            elif kind == FAILED_OVERFLOW:
                info.response_flags |= response_flag.UPSTREAM_OVERFLOW
            else:
                info.response_flags |= response_flag.UPSTREAM_CONNECTION_FAILURE
                if info.upstream is not None:
                    info.upstream.transport_failure_reason = details
                    info.upstream.host = host
        if kind == FAILED_NO_CLUSTER:
            settings.stats.cx_no_route.inc()
        if kind == FAILED_CONNECT or kind == FAILED_OVERFLOW:
            if self._attempts < settings.max_connect_attempts:
                if settings.backoff_base_ms > 0 and self._timers is not None:
                    bound = min(settings.backoff_base_ms << min(self._attempts - 1, 30), settings.backoff_max_ms)
                    self._retry = self.connection.dispatcher.timer(self._timers, _TIMER_RETRY)
                    self._retry.arm(random.randrange(bound) if bound > 0 else 0)
                else:
                    self._connect()
                return
            settings.connector.on_attempts_exceeded(self)
            if info is not None and kind == FAILED_CONNECT:
                info.response_flags |= response_flag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        self.connection.close(CLOSE_NO_FLUSH, "tcp_proxy_initialization_failure:_no_upstream")

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
            if event == EVENT_REMOTE_CLOSE and upstream.detected_close_type != "Normal":
                info.response_flags |= response_flag.UPSTREAM_REMOTE_RESET
        self.upstream = None
        self._keep_upstream_bytes(upstream)
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

    def _shortest_idle(self) -> int:
        shortest = 0
        settings = self.settings
        for limit in (
            settings.idle_timeout_ms, settings.downstream_idle_timeout_ms, settings.upstream_idle_timeout_ms
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
            (settings.idle_timeout_ms, self._last_activity_ns),
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
            self._keep_upstream_bytes(upstream)
            upstream.close(CLOSE_NO_FLUSH, reason)
        self.connection.close(CLOSE_NO_FLUSH, reason)

    # --- the end ---

    def _keep_upstream_bytes(self, upstream: Connection) -> None:
        info = self.info
        if info is not None and info.upstream is not None:
            info.upstream.wire_bytes_sent = upstream.bytes_sent
            info.upstream.wire_bytes_received = upstream.bytes_received

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
            info.wire_bytes_received = self.connection.bytes_received
            info.wire_bytes_sent = self.connection.bytes_sent
            if self.upstream is not None:
                self._keep_upstream_bytes(self.upstream)
            self._log(log_types.TCP_CONNECTION_END)
        self.upstream = None

    def _log(self, log_type: str) -> None:
        info = self.info
        if info is not None and self.settings.access_logs:
            context = FormatContext(info, None, None, None, b"", log_type)
            for log in self.settings.access_logs:
                log.log(context)

    def on_destroy(self) -> None:
        self._finish()
        self._timers = None
        self._reader = None


class UpstreamReader(NetworkFilter):
    """The filter on the upstream connection."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.proxy: TcpProxy | None = proxy
        # Counted down when the last bytes of a vanished client have been flushed.
        self.flush_active: Gauge | None = None

    def on_data(self, data: bytes, end_stream: bool) -> int:
        proxy = self.proxy
        if proxy is not None:
            proxy.on_upstream_data(data, end_stream)
        return STOP

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            return
        if self.flush_active is not None:
            self.flush_active.dec()
            self.flush_active = None
        proxy = self.proxy
        if proxy is not None:
            self.proxy = None
            proxy.on_upstream_closed(event, self.connection)

    def on_above_write_buffer_high_watermark(self) -> None:
        if self.proxy is not None:
            self.proxy.on_upstream_high()

    def on_below_write_buffer_low_watermark(self) -> None:
        if self.proxy is not None:
            self.proxy.on_upstream_low()


class _Timers(TimerOwner):
    """Receives the timers of one proxied connection."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.proxy = proxy

    def on_timer(self, kind: int) -> None:
        self.proxy.on_timer(kind)
