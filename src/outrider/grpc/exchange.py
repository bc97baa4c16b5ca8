"""The HTTP half of our gRPC client: one POST over a cluster, what is counted for it, and when it is tried again.

This is what the router does for Envoy's `Http::AsyncClient`; an end without a whole response is told as the gRPC status
that the router's local reply would carry.
"""

from __future__ import annotations

import time
from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.data import grpc_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    GRPC_STATUS,
    X_ENVOY_DEGRADED,
    X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL,
    X_ENVOY_INTERNAL,
    X_ENVOY_UPSTREAM_CANARY,
    X_FORWARDED_FOR,
)
from outrider.event.timer import Timer
from outrider.grpc.exchange_reader import ExchangeReader
from outrider.grpc.placement import Placement
from outrider.http.codec import (
    RESET_CONNECTION_TIMEOUT,
    RESET_LOCAL,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_OVERFLOW,
    RESET_PROTOCOL_ERROR,
    RESET_REMOTE_CONNECTION_FAILURE,
    CodecProtocolError,
    RequestEncoder,
)
from outrider.router.charge import http_code_of_grpc
from outrider.router.reset_reason import reset_body
from outrider.router.retry_state import RETRY_NO_LIMIT_EXCEEDED, RETRY_NO_OVERFLOW, RETRY_YES, RetryState
from outrider.router.shadow import local_address
from outrider.upstream.conn_pool import PendingStream, PoolCallbacks
from outrider.upstream.host import LOCAL_ORIGIN_CONNECT_FAILED, LOCAL_ORIGIN_CONNECT_SUCCESS, LOCAL_ORIGIN_TIMEOUT

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.grpc.service import EnvoyGrpcService
    from outrider.network.connection import Connection
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.host import Host

_TIMEOUT: Final = 0
_PER_TRY_TIMEOUT: Final = 1
_RETRY: Final = 2
_BASE_RETRY_MS: Final = 25
# Bytes of unsent messages from which the stream says that it is full (Envoy's default buffer of a stream is as large).
HIGH_WATERMARK: Final = 1 << 20
# Bytes kept for another try; beyond there is none.
_RETRY_BUFFER: Final = 1 << 16

# Reset reason of each POOL_* failure.
_POOL_RESETS: Final[list[int]] = [
    RESET_OVERFLOW,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_REMOTE_CONNECTION_FAILURE,
    RESET_CONNECTION_TIMEOUT,
]


class Exchange(PoolCallbacks):
    """One request and its response."""

    __slots__ = (
        "service", "dispatcher", "headers", "timeout_ms", "reader", "cluster", "host", "encoder", "pending", "retry",
        "attempts", "kept", "kept_size", "ended", "had_upstream", "response_started", "grpc_deferred", "canary",
        "timer", "per_try_timer", "retry_timer", "complete_ns", "blocked", "over", "wire_sent", "wire_received",
    )  # fmt: skip

    def __init__(
        self, service: EnvoyGrpcService, headers: RequestHeaderMap, timeout_ms: int, reader: ExchangeReader
    ) -> None:
        self.service = service
        self.dispatcher: Dispatcher = service.dispatcher
        self.headers = headers
        self.timeout_ms = timeout_ms
        self.reader = reader
        self.cluster: Cluster | None = None
        self.host: Host | None = None
        self.encoder: RequestEncoder | None = None
        self.pending: PendingStream | None = None
        self.retry: RetryState | None = None
        self.attempts: int = 0
        # What waits for a connection, or may be sent again; None once neither can be.
        self.kept: list[bytes] | None = []
        self.kept_size: int = 0
        # The request has been handed over whole.
        self.ended: bool = False
        self.had_upstream: bool = False
        self.response_started: bool = False
        self.grpc_deferred: bool = False
        self.canary: bool = False
        self.timer: Timer | None = None
        self.per_try_timer: Timer | None = None
        self.retry_timer: Timer | None = None
        self.complete_ns: int = 0
        self.blocked: bool = False
        self.over: bool = False
        # Bytes of the last attempt, once it is over.
        self.wire_sent: int = 0
        self.wire_received: int = 0

    # --- the request ---

    def begin(self, cluster: Cluster) -> None:
        """Send the headers and what `send` was given already; may be over before this returns."""
        service = self.service
        headers = self.headers
        service.rq_total.inc()
        if service.send_envoy_headers:
            headers.set(X_ENVOY_INTERNAL, b"true")
            headers.append(X_FORWARDED_FOR, local_address())
        timeout_ms = self.timeout_ms
        policy = service.retry_policy
        if policy is not None:
            per_try = policy.per_try_timeout_ms
            if per_try > 0 and (timeout_ms == 0 or per_try < timeout_ms):
                timeout_ms = per_try
            resource = cluster.info.resource_manager(0).retries
            self.retry = RetryState(policy, headers, resource, _BASE_RETRY_MS)
        if timeout_ms > 0:
            headers.set(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, b"%d" % timeout_ms)
        if self.timeout_ms > 0:
            self.timer = self.dispatcher.timer(self, _TIMEOUT)
            self.timer.arm(self.timeout_ms)
        if self._dropped(cluster):
            return
        self._attempt(cluster)

    def send(self, data: bytes, end_stream: bool) -> None:
        """A piece of the request's body."""
        if self.over or self.ended:
            return
        if end_stream:
            self.ended = True
            self.complete_ns = self.dispatcher.monotonic_ns()
        kept = self.kept
        if kept is not None and data:
            kept.append(data)
            self.kept_size += len(data)
            if self.kept_size > _RETRY_BUFFER and self.encoder is not None:
                self._keep_no_more()
        encoder = self.encoder
        if encoder is not None:
            if end_stream:
                self._arm_per_try()
            encoder.encode_data(data, end_stream)

    def is_full(self) -> bool:
        """More should not be sent for now."""
        return self.blocked or (self.encoder is None and self.kept_size > HIGH_WATERMARK)

    def cancel(self) -> None:
        """Break it off; nothing is told."""
        if not self.over:
            self._finish()

    def _keep_no_more(self) -> None:
        self.kept = None
        self.kept_size = 0
        if self.retry is not None:
            self.retry.release()
            self.retry = None

    def _dropped(self, cluster: Cluster) -> bool:
        """Runtime's maintenance mode, and `drop_overloads` of the endpoints."""
        info = cluster.info
        runtime = self.service.runtime
        text = ""
        if runtime.has(info.maintenance_key) and runtime.feature_enabled(info.maintenance_key, 0, getrandbits(63)):
            info.stats.upstream_rq_maintenance_mode.inc()
            text = "maintenance mode"
        elif info.drop_overload > 0 and getrandbits(63) % 1_000_000 < int(info.drop_overload * 10_000):
            text = "unconditional drop overload" if info.drop_overload >= 100.0 else "drop overload"
        if not text:
            return False
        self.cluster = cluster
        self._charge(503, False)
        self._end_without(503, text)
        return True

    def _attempt(self, cluster: Cluster) -> None:
        self.attempts += 1
        self.cluster = cluster
        self.host = None
        self.had_upstream = False
        retry = self.retry
        pool = cluster.choose_pool(0, Placement(retry if self.attempts > 1 else None, self.headers))
        if pool is None:
            self._charge(503, False)
            self._end_without(503, "no healthy upstream")
            return
        pending = pool.new_stream(self, self)
        # A callback may have come already.
        if pending is not None and not self.over:
            self.pending = pending

    # --- the pool ---

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        self.pending = None
        self.encoder = encoder
        self.host = host
        self.had_upstream = True
        if host.outlier.active:
            host.outlier.put_result(LOCAL_ORIGIN_CONNECT_SUCCESS)
        retry = self.retry
        if retry is not None:
            retry.on_host_attempted(host)
        kept = self.kept
        body = b"" if not kept else kept[0] if len(kept) == 1 else b"".join(kept)
        was_full = self.kept_size > HIGH_WATERMARK
        if retry is None:
            self.kept = None
            self.kept_size = 0
        elif self.kept_size > _RETRY_BUFFER:
            self._keep_no_more()
        if self.ended:
            self._arm_per_try()
        try:
            encoder.encode_headers(self.headers if retry is None else self.headers.copy(), self.ended and not body)
        except CodecProtocolError as error:
            self._end_without(503, str(error))
            return
        if body and self.encoder is encoder:
            encoder.encode_data(body, self.ended)
        if was_full and not self.over and not self.is_full():
            self.reader.on_drained()

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.pending = None
        info = host.cluster
        # Without a place in the queue the request never got as far as a host.
        if not (_POOL_RESETS[reason] == RESET_OVERFLOW and info.resource_manager(0).requests.can_create()):
            self.host = host
        self.on_reset_stream(_POOL_RESETS[reason], details)

    def on_above_write_buffer_high_watermark(self) -> None:
        self.blocked = True
        if self.cluster is not None:
            self.cluster.info.stats.upstream_flow_control_backed_up_total.inc()

    def on_below_write_buffer_low_watermark(self) -> None:
        if not self.blocked:
            return
        self.blocked = False
        if self.cluster is not None:
            self.cluster.info.stats.upstream_flow_control_drained_total.inc()
        if not self.over:
            self.reader.on_drained()

    # --- the response ---

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        pass

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        host = self.host
        cluster = self.cluster
        status = headers.status
        if self.over or status < 200 or host is None or cluster is None:
            return
        single = headers.single
        grpc_code = http_code_of_grpc(single.get(GRPC_STATUS))
        if host.outlier.active:
            if X_ENVOY_DEGRADED in single:
                host.outlier.put_degraded()
            host.outlier.put_http_response_code(status if grpc_code < 0 else grpc_code)
        if X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL in single:
            cluster.immediate_health_check_fail(host)
        retry = self.retry
        if retry is not None:
            verdict = retry.should_retry_headers(
                headers, False, int(time.time()), self.service.retries_enabled(), getrandbits(63)
            )
            if self._granted(retry, verdict):
                cluster.info.code_stats.charge_basic(status, "retry.")
                host.stats.rq_error.inc()
                self._drop_attempt()
                return
        self._keep_no_more()
        self.response_started = True
        self.canary = host.canary or single.get(X_ENVOY_UPSTREAM_CANARY) == b"true"
        self._charge(status, self.canary)
        if status < 500:
            if end_stream:
                self._judge(grpc_code)
            else:
                self.grpc_deferred = True
        if end_stream:
            self._complete()
        self.reader.on_response_headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if self.over:
            return
        if end_stream:
            if self.grpc_deferred:
                # A gRPC response has its status in trailers.
                self._judge(-1)
            self._complete()
        self.reader.on_response_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        if self.over:
            return
        if self.grpc_deferred:
            self._judge(http_code_of_grpc(trailers.get(GRPC_STATUS)))
        self._complete()
        self.reader.on_response_trailers(trailers)

    def on_reset_stream(self, reason: int, details: str) -> None:
        self._take_bytes()
        self.encoder = None
        if self.over:
            return
        host = self.host
        if host is not None and reason != RESET_OVERFLOW and host.outlier.active:
            host.outlier.put_result(LOCAL_ORIGIN_CONNECT_FAILED)
        if self._retried(reason):
            return
        code = 502 if reason == RESET_PROTOCOL_ERROR else 503
        self._charge_abort(code)
        self._end_without(code, reset_body(reason, self.attempts > 1))

    def _judge(self, grpc_code: int) -> None:
        """Success or failure of the host, by the HTTP status that stands for the gRPC status; -1: there is none."""
        self.grpc_deferred = False
        host = self.host
        if host is not None:
            if 0 <= grpc_code < 500:
                host.stats.rq_success.inc()
            else:
                host.stats.rq_error.inc()

    def _complete(self) -> None:
        """The response is there, whole."""
        cluster = self.cluster
        host = self.host
        if self.complete_ns and cluster is not None:
            elapsed_ms = (self.dispatcher.monotonic_ns() - self.complete_ns) // 1_000_000
            stats = cluster.info.code_stats
            stats.record_time(elapsed_ms, self.service.send_envoy_headers, self.canary)
            zone = self.service.zone
            if zone and host is not None:
                stats.record_zone_time(elapsed_ms, zone, host.locality.zone)
            self._take_bytes()
            self.encoder = None
        # An early answer: what is left of the request has no taker, and the stream is reset.
        self._finish()

    # --- trying again ---

    def _retried(self, reason: int) -> bool:
        retry = self.retry
        if retry is None or self.response_started:
            return False
        verdict = retry.should_retry_reset(
            reason, self.had_upstream, self.service.retries_enabled(), getrandbits(63)
        )
        if not self._granted(retry, verdict):
            return False
        if self.host is not None:
            self.host.stats.rq_error.inc()
        self._drop_attempt()
        return True

    def _granted(self, retry: RetryState, verdict: int) -> bool:
        cluster = self.cluster
        assert cluster is not None
        stats = cluster.info.stats
        if retry.succeeded:
            stats.upstream_rq_retry_success.inc()
        if verdict == RETRY_YES:
            stats.upstream_rq_retry.inc()
            if retry.rate_limited:
                stats.upstream_rq_retry_backoff_ratelimited.inc()
            elif retry.delay_ms >= 0:
                stats.upstream_rq_retry_backoff_exponential.inc()
            if self.retry_timer is None:
                self.retry_timer = self.dispatcher.timer(self, _RETRY)
            self.retry_timer.arm(max(retry.delay_ms, 0))
            return True
        if verdict == RETRY_NO_LIMIT_EXCEEDED:
            stats.upstream_rq_retry_limit_exceeded.inc()
        elif verdict == RETRY_NO_OVERFLOW:
            stats.upstream_rq_retry_overflow.inc()
        return False

    def _drop_attempt(self) -> None:
        """The attempt is nothing to us any more; the exchange goes on."""
        if self.per_try_timer is not None:
            self.per_try_timer.disarm()
        self.blocked = False
        self._take_bytes()
        encoder = self.encoder
        self.encoder = None
        pending = self.pending
        self.pending = None
        if pending is not None:
            pending.cancel()
        if encoder is not None:
            encoder.reset_stream(RESET_LOCAL)

    def _take_bytes(self) -> None:
        encoder = self.encoder
        if encoder is not None:
            self.wire_sent = encoder.wire_bytes_sent
            self.wire_received = encoder.wire_bytes_received

    def _arm_per_try(self) -> None:
        policy = self.service.retry_policy
        if policy is not None and policy.per_try_timeout_ms > 0 and not self.response_started:
            if self.per_try_timer is None:
                self.per_try_timer = self.dispatcher.timer(self, _PER_TRY_TIMEOUT)
            self.per_try_timer.arm(policy.per_try_timeout_ms)

    # --- the end ---

    def on_timer(self, kind: int) -> None:
        if self.over:
            return
        cluster = self.cluster
        assert cluster is not None
        if kind == _RETRY:
            # The cluster may have been replaced, or be gone.
            again = self.service.clusters.get(self.service.cluster_name)
            if again is None:
                self._charge(503, False)
                self._end_without(503, "no healthy upstream")
            else:
                self._attempt(again)
            return
        host = self.host
        stats = cluster.info.stats
        if kind == _PER_TRY_TIMEOUT:
            if self.response_started:
                return
            stats.upstream_rq_per_try_timeout.inc()
        elif self.encoder is not None or self.pending is not None:
            # Not while a retry is waited for: no attempt has timed out then.
            stats.upstream_rq_timeout.inc()
        if host is not None:
            host.stats.rq_timeout.inc()
            if not self.response_started and host.outlier.active:
                host.outlier.put_result(LOCAL_ORIGIN_TIMEOUT, 504)
        if kind == _PER_TRY_TIMEOUT:
            self._drop_attempt()
            if self._retried(RESET_LOCAL):
                return
        self._charge_abort(504)
        self._end_without(504, "upstream request timeout")

    def _charge(self, code: int, canary: bool) -> None:
        cluster = self.cluster
        if cluster is None:
            return
        stats = cluster.info.code_stats
        stats.charge(code, self.service.send_envoy_headers, canary)
        host = self.host
        if host is not None:
            zone = self.service.zone
            if zone:
                stats.charge_zone(code, zone, host.locality.zone)
            if code >= 500:
                host.stats.rq_error.inc()

    def _charge_abort(self, code: int) -> None:
        host = self.host
        if self.response_started:
            if self.grpc_deferred and host is not None:
                host.stats.rq_error.inc()
            return
        self._charge(code, host is not None and host.canary)

    def _end_without(self, code: int, text: str) -> None:
        started = self.response_started
        self._finish()
        if started:
            self.reader.on_broken()
        else:
            self.reader.on_no_response(grpc_status.from_http_status(code), text)

    def _finish(self) -> None:
        self.over = True
        self._drop_attempt()
        self._keep_no_more()
        if self.timer is not None:
            self.timer.disarm()
            self.timer = None
        if self.retry_timer is not None:
            self.retry_timer.disarm()
            self.retry_timer = None

    def __repr__(self) -> str:
        return f"<Exchange {self.headers.path.decode('latin-1')} attempts={self.attempts} over={self.over}>"
