"""One attempt to have a request answered by one upstream host (Envoy's `Router::UpstreamRequest`).

It asks the pool for a stream, sends what the router filter hands it, keeps body back while there is no connection or an
upgrade is not accepted yet, times the attempt, and hands the response to the filter. One object per attempt.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import UPGRADE
from outrider.data.response_flag import STREAM_IDLE_TIMEOUT, UPSTREAM_REQUEST_TIMEOUT
from outrider.data.stream_info import PROTOCOL_NONE, UpstreamInfo
from outrider.event.timer import Timer
from outrider.http.codec import (
    RESET_CONNECTION_TIMEOUT,
    RESET_LOCAL,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_OVERFLOW,
    RESET_REMOTE_CONNECTION_FAILURE,
    CodecProtocolError,
    RequestEncoder,
)
from outrider.router import charge, local_answer, recovery, response, upgrade, upstream_log
from outrider.router.config.route_entry import update_authority
from outrider.router.reset_reason import reset_flag
from outrider.router.upgrade import PAUSE_CONNECT, PAUSE_NONE
from outrider.tracing.span import Span
from outrider.upstream.conn_pool import POOL_OVERFLOW, PendingStream, PoolCallbacks
from outrider.upstream.host import LOCAL_ORIGIN_CONNECT_SUCCESS, Host

if TYPE_CHECKING:
    from outrider.network.connection import Connection
    from outrider.router.filter import RouterFilter

# Kinds of timers.
TIMER_PER_TRY: Final = 1
TIMER_PER_TRY_IDLE: Final = 2
TIMER_MAX_DURATION: Final = 3
TIMER_LOG: Final = 4

# Reset reason of each POOL_* failure.
_POOL_RESETS: Final[list[int]] = [
    RESET_OVERFLOW,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_REMOTE_CONNECTION_FAILURE,
    RESET_CONNECTION_TIMEOUT,
]


class UpstreamRequest(PoolCallbacks):
    """One attempt. The filter drops it with `finish` when it is over, or `reset` and `finish` when it gives it up."""

    # Defaults stand in the class (see RouterFilter): making a request writes four attributes.
    encoder: RequestEncoder | None = None
    pending: PendingStream | None = None
    awaiting_headers: bool = True
    # The router has handed over the end of the request.
    end_sent: bool = False
    # What waits for a connection, or for an upgrade to be accepted.
    body: list[bytes] | None = None
    body_size: int = 0
    trailers: HeaderMap | None = None
    pause: int = PAUSE_NONE
    per_try_timer: Timer | None = None
    per_try_idle_timer: Timer | None = None
    duration_timer: Timer | None = None
    log_timer: Timer | None = None
    # The per-try timers start when the request has been received whole.
    per_try_on_complete: bool = False
    # A second attempt has been made beside this one (hedging): it is never retried again.
    retried: bool = False
    # Outlier detection has been told of this attempt's timeout already.
    timeout_recorded: bool = False
    # The per-try timeout played a part, so that its share used means something.
    record_budget: bool = True
    # Success or failure of a gRPC request is known with its trailers.
    grpc_deferred: bool = False
    canary: bool = False
    had_upstream: bool = False
    # How often this side stopped downstream from being read, and upstream from being read.
    backed_up: int = 0
    read_disabled: int = 0
    body_blocked: bool = False
    finished: bool = False
    # For the upstream log.
    flags: int = 0
    status: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    response_headers: ResponseHeaderMap | None = None
    response_trailers: HeaderMap | None = None
    seen_1xx: bool = False
    # Of a request that is traced, when upstream requests have spans of their own.
    span: Span | None = None

    def __init__(self, router: RouterFilter, host: Host, start_ns: int) -> None:
        self.router = router
        self.host = host
        self.info = UpstreamInfo()
        self.start_ns: int = start_ns

    # --- towards upstream ---

    def accept_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        """Begin; may end in any callback of the pool before it returns."""
        self.end_sent = end_stream
        if headers.method == b"CONNECT" or UPGRADE in headers.single:
            upgrade.hold_body(self, headers, end_stream)
        router = self.router
        if router.config.log_flush_interval_ms > 0 and router.config.upstream_logs:
            self._arm_log_timer()
        pending = router.new_upstream_stream(self)
        if pending is not None:
            self.pending = pending

    def accept_data(self, data: bytes, end_stream: bool) -> None:
        """The next body chunk of the request."""
        self.end_sent = end_stream
        encoder = self.encoder
        if encoder is not None and self.pause == PAUSE_NONE:
            self.bytes_sent += len(data)
            if end_stream:
                self.info.last_upstream_tx_ns = monotonic_ns()
            encoder.encode_data(data, end_stream)
            return
        if data and self.pause == PAUSE_CONNECT and self.router.config.reject_connect_early_data:
            router = self.router
            recovery.reset_all(router)
            local_answer.early_connect_data(router)
            return
        if self.body is None:
            self.body = []
        if data:
            self.body.append(data)
            self.body_size += len(data)
            limit = self.router.manager.buffer_limit
            if limit > 0 and self.body_size > limit and not self.body_blocked:
                # Nobody takes the body yet: stop reading it, as Envoy's filter manager does for a stopped chain.
                self.body_blocked = True
                self.router.manager.on_decoder_filter_above_write_buffer_high_watermark()

    def accept_trailers(self, trailers: HeaderMap) -> None:
        self.end_sent = True
        encoder = self.encoder
        if encoder is not None and self.pause == PAUSE_NONE:
            self.info.last_upstream_tx_ns = monotonic_ns()
            encoder.encode_trailers(trailers)
        else:
            self.trailers = trailers

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        router = self.router
        manager = router.manager
        now = monotonic_ns()
        self.pending = None
        self.encoder = encoder
        self.host = host
        self.had_upstream = True
        info = self.info
        connection_info = connection.info
        info.protocol = protocol
        info.connection_id = connection.connection_id
        info.local_address = connection_info.local_address
        info.remote_address = connection_info.remote_address
        info.ssl = connection_info.ssl
        info.connect_start_ns = connection.connect_start_ns
        info.connect_end_ns = connection.connect_end_ns
        info.tls_end_ns = connection.tls_end_ns
        info.pool_ready_ns = now
        if protocol == PROTOCOL_NONE:
            # A raw connection takes the payload at once.
            self.pause = PAUSE_NONE
        info.first_upstream_tx_ns = now
        if host.outlier.active:
            host.outlier.put_result(LOCAL_ORIGIN_CONNECT_SUCCESS)
        router.on_host_selected(self, host, True)
        if router.request_complete_ns:
            self.start_per_try_timers()
        else:
            self.per_try_on_complete = True
        duration = router.stream_duration_ms
        if duration < 0:
            duration = host.cluster.max_stream_duration_ms
        if duration > 0:
            timer = manager.dispatcher.timer(self, TIMER_MAX_DURATION)
            timer.arm(duration)
            self.duration_timer = timer
        headers = router.headers
        entry = router.entry
        if entry.auto_host_rewrite and host.hostname:
            update_authority(
                headers, host.hostname.encode(), entry.append_x_forwarded_host, not router.config.suppress_envoy_headers
            )
        if router.config.log_on_pool_ready:
            upstream_log.write(router, self, "UpstreamPoolReady")
        trace = manager.trace
        if trace is not None:
            name = router.cluster_info.observability_name
            self.span = trace.upstream_span(headers, manager.stream_info, name, now, router.config.start_child_span)
        ended = self.end_sent and self.body is None and self.trailers is None
        if ended:
            info.last_upstream_tx_ns = now
        try:
            encoder.encode_headers(headers, ended)
        except CodecProtocolError as error:
            local_answer.required_headers_missing(router, str(error))
            return
        if not self.finished and self.pause == PAUSE_NONE and not ended:
            self.send_held()

    def send_held(self) -> None:
        """Send the body that has waited."""
        encoder = self.encoder
        assert encoder is not None
        info = self.info
        if self.body_blocked:
            self.body_blocked = False
            self.router.manager.on_decoder_filter_below_write_buffer_low_watermark()
        body = self.body
        trailers = self.trailers
        if self.end_sent and (body is not None or trailers is not None):
            info.last_upstream_tx_ns = monotonic_ns()
        if body is not None:
            self.body = None
            data = body[0] if len(body) == 1 else b"".join(body)
            self.bytes_sent += len(data)
            encoder.encode_data(data, self.end_sent and trailers is None)
        if trailers is not None and not self.finished:
            self.trailers = None
            encoder.encode_trailers(trailers)

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.pending = None
        router = self.router
        info = self.info
        info.transport_failure_reason = details
        limits = router.cluster_info.resource_manager(router.entry.priority)
        if reason == POOL_OVERFLOW and limits.requests.can_create():
            # There was no place in the queue: the request never got as far as a host.
            info.host = None
            info.host_address = None
            info.host_name = ""
        else:
            router.on_host_selected(self, host, False)
        self.on_reset_stream(_POOL_RESETS[reason], details)

    # --- from upstream ---

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        # A filter chain takes one informational response only.
        if not self.seen_1xx:
            self.seen_1xx = True
            response.on_1xx(self.router, self, headers)

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        router = self.router
        now = monotonic_ns()
        info = self.info
        info.first_upstream_rx_ns = now
        if end_stream:
            info.last_upstream_rx_ns = now
        if self.per_try_idle_timer is not None:
            self.per_try_idle_timer.arm(router.per_try_idle_timeout_ms)
        status = headers.status
        if self.pause != PAUSE_NONE and not upgrade.resume(self, headers, status):
            return
        if status < 200 and status != 101:
            # An informational response that the codec did not report as one: not for the filters.
            return
        self.awaiting_headers = False
        self.status = status
        if router.config.upstream_logs or router.cluster_info.size_stats is not None:
            self.response_headers = headers
        response.on_headers(router, self, headers, end_stream, now)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        router = self.router
        info = self.info
        if info.first_rx_body_ns == 0:
            info.first_rx_body_ns = info.first_upstream_rx_ns
        if self.per_try_idle_timer is not None:
            self.per_try_idle_timer.arm(router.per_try_idle_timeout_ms)
        self.bytes_received += len(data)
        if end_stream:
            info.last_upstream_rx_ns = monotonic_ns()
            response.on_body_end(router, self)
        router.manager.encode_data_from(router, data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        router = self.router
        self.info.last_upstream_rx_ns = monotonic_ns()
        if router.config.upstream_logs:
            self.response_trailers = trailers
        response.on_trailers(router, self, trailers)

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.flags |= reset_flag(reason)
        self.take_bytes()
        self.encoder = None
        self.awaiting_headers = False
        recovery.on_upstream_reset(self.router, self, reason, details)

    # --- flow control ---

    def on_above_write_buffer_high_watermark(self) -> None:
        self.backed_up += 1
        self.router.cluster_info.stats.upstream_flow_control_backed_up_total.inc()
        self.router.manager.on_decoder_filter_above_write_buffer_high_watermark()

    def on_below_write_buffer_low_watermark(self) -> None:
        if self.backed_up > 0:
            self.backed_up -= 1
            self.router.cluster_info.stats.upstream_flow_control_drained_total.inc()
            self.router.manager.on_decoder_filter_below_write_buffer_low_watermark()

    def read_disable(self, disable: bool) -> None:
        """Stop or resume taking the response; counted."""
        encoder = self.encoder
        if encoder is None:
            return
        stats = self.router.cluster_info.stats
        if disable:
            self.read_disabled += 1
            stats.upstream_flow_control_paused_reading_total.inc()
            encoder.read_disable(True)
        elif self.read_disabled > 0:
            self.read_disabled -= 1
            stats.upstream_flow_control_resumed_reading_total.inc()
            encoder.read_disable(False)

    # --- timers ---

    def start_per_try_timers(self) -> None:
        router = self.router
        if router.per_try_timeout_ms > 0 and self.per_try_timer is None:
            timer = router.manager.dispatcher.timer(self, TIMER_PER_TRY)
            timer.arm(router.per_try_timeout_ms)
            self.per_try_timer = timer
        if router.per_try_idle_timeout_ms > 0 and self.per_try_idle_timer is None:
            timer = router.manager.dispatcher.timer(self, TIMER_PER_TRY_IDLE)
            timer.arm(router.per_try_idle_timeout_ms)
            self.per_try_idle_timer = timer

    def stop_per_try_timers(self) -> None:
        if self.per_try_timer is not None:
            self.per_try_timer.disarm()
            self.per_try_timer = None
        if self.per_try_idle_timer is not None:
            self.per_try_idle_timer.disarm()
            self.per_try_idle_timer = None

    def _arm_log_timer(self) -> None:
        timer = self.router.manager.dispatcher.timer(self, TIMER_LOG)
        timer.arm(self.router.config.log_flush_interval_ms)
        self.log_timer = timer

    def on_timer(self, kind: int) -> None:
        router = self.router
        if kind == TIMER_PER_TRY:
            if self.per_try_idle_timer is not None:
                self.per_try_idle_timer.disarm()
                self.per_try_idle_timer = None
            # Once something went downstream, only the whole request's timeout counts.
            if not router.response_started:
                self.flags |= UPSTREAM_REQUEST_TIMEOUT
                recovery.on_per_try_timeout(router, self, False)
        elif kind == TIMER_PER_TRY_IDLE:
            if self.per_try_timer is not None:
                self.per_try_timer.disarm()
            self.flags |= STREAM_IDLE_TIMEOUT
            recovery.on_per_try_timeout(router, self, True)
        elif kind == TIMER_MAX_DURATION:
            self.host.cluster.stats.upstream_rq_max_duration_reached.inc()
            recovery.on_max_duration(router, self)
        elif not self.finished:
            upstream_log.write(router, self, "UpstreamPeriodic")
            self._arm_log_timer()

    # --- the end ---

    def encode_complete(self) -> bool:
        """The request has been sent whole."""
        return self.info.last_upstream_tx_ns != 0

    def take_bytes(self) -> None:
        """Copy the codec's wire byte counts, while there is a codec stream."""
        encoder = self.encoder
        if encoder is not None:
            info = self.info
            info.wire_bytes_sent = encoder.wire_bytes_sent
            info.wire_bytes_received = encoder.wire_bytes_received
            info.header_bytes_sent = encoder.header_bytes_sent
            info.header_bytes_received = encoder.header_bytes_received

    def reset(self) -> None:
        """Give the attempt up: leave the pool's queue, or reset the stream unless both directions are complete."""
        pending = self.pending
        if pending is not None:
            self.pending = None
            pending.cancel()
        encoder = self.encoder
        if encoder is None or (self.info.last_upstream_tx_ns and self.info.last_upstream_rx_ns):
            return
        self.take_bytes()
        self.encoder = None
        encoder.reset_stream(RESET_LOCAL)

    def _finish_span(self, span: Span) -> None:
        self.span = None
        router = self.router
        trace = router.manager.trace
        if trace is not None:
            context = FormatContext(
                router.manager.stream_info, router.headers, self.response_headers, self.response_trailers
            )
            trace.finish_upstream(span, context, self.info, self.status, monotonic_ns())

    def finish(self) -> None:
        """The attempt is over: stop its timers, log it, let downstream be read again. Idempotent."""
        if self.finished:
            return
        self.finished = True
        self.take_bytes()
        self.encoder = None
        self.body = None
        self.trailers = None
        self.stop_per_try_timers()
        if self.duration_timer is not None:
            self.duration_timer.disarm()
            self.duration_timer = None
        if self.log_timer is not None:
            self.log_timer.disarm()
            self.log_timer = None
        router = self.router
        cluster_info = router.cluster_info
        if cluster_info.timeout_budget is not None or cluster_info.size_stats is not None:
            charge.record_attempt(router, self)
        if router.config.upstream_logs:
            upstream_log.write(router, self, "UpstreamEnd")
        if self.span is not None:
            self._finish_span(self.span)
        if self.body_blocked:
            self.body_blocked = False
            router.manager.on_decoder_filter_below_write_buffer_low_watermark()
        while self.backed_up > 0:
            self.on_below_write_buffer_low_watermark()
