"""A small HTTP client for filters: a request and its response, each with its body; a timeout, retries. Callbacks only.

Source: Envoy's `Http::AsyncClient`. What it cannot send or what nobody answers is told as the response that Envoy's
router would give: 503 without a host or connection, 504 after the timeout.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    X_ENVOY_INTERNAL,
    X_ENVOY_RATE_LIMITED,
    X_ENVOY_UPSTREAM_CANARY,
    X_ENVOY_UPSTREAM_SERVICE_TIME,
    X_FORWARDED_FOR,
)
from outrider.event.timer import Timer
from outrider.http.codec import RESET_LOCAL, RESET_REMOTE_REFUSED_STREAM, CodecProtocolError, RequestEncoder
from outrider.router.shadow import local_address
from outrider.upstream.conn_pool import PendingStream, PoolCallbacks
from outrider.upstream.load_balancer_context import LoadBalancerContext

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.event.dispatcher import Dispatcher
    from outrider.factory_context import FactoryContext
    from outrider.network.connection import Connection
    from outrider.stats.metrics import Counter
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.cluster_manager import ClusterManager
    from outrider.upstream.host import Host

_NO_CONTEXT: Final = LoadBalancerContext()
_GRPC_STATUS: Final = b"grpc-status"
# How an attempt ended.
_COMPLETE: Final = 0
_CONNECT: Final = 1
_RESET: Final = 2
_REFUSED: Final = 3
_TIMEOUT: Final = 0
_RETRY: Final = 1
# Words of `retry_on`, and the statuses that they mean.
_RETRIED: Final[dict[str, tuple[int, ...]]] = {
    "5xx": tuple(range(500, 600)),
    "gateway-error": (502, 503, 504),
    "connect-failure": (),
    "reset": (),
    "reset-before-request": (),
    "refused-stream": (),
    "retriable-4xx": (409,),
    "envoy-ratelimited": (),
    "http3-post-connect-failure": (),
    # Without the lists that a route's policy has they name nothing.
    "retriable-status-codes": (),
    "retriable-headers": (),
    "cancelled": (),
    "deadline-exceeded": (),
    "resource-exhausted": (),
    "unavailable": (),
    "internal": (),
}
# The words among them that mean a gRPC status.
_RETRIED_GRPC: Final[dict[str, bytes]] = {
    "cancelled": b"1",
    "deadline-exceeded": b"4",
    "resource-exhausted": b"8",
    "internal": b"13",
    "unavailable": b"14",
}


@mypyc_attr(allow_interpreted_subclasses=True)
class AsyncCallbacks:
    """Told once of the outcome, unless the call was cancelled."""

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        """A complete response."""
        raise NotImplementedError

    def on_failure(self, reason: str) -> None:
        """The response broke off, or was too large."""
        raise NotImplementedError


class AsyncRetry:
    """How often and when to try again."""

    __slots__ = (
        "count", "base_ms", "max_ms", "statuses", "grpc_statuses", "on_reset", "on_connect_failure", "on_refused",
        "on_ratelimited",
    )  # fmt: skip

    def __init__(self, count: int, base_ms: int, max_ms: int, words: list[str]) -> None:
        self.count = count
        self.base_ms = base_ms
        self.max_ms = max_ms
        self.statuses: frozenset[int] = frozenset(status for word in words for status in _RETRIED[word])
        self.grpc_statuses: frozenset[bytes] = frozenset(_RETRIED_GRPC[word] for word in words if word in _RETRIED_GRPC)
        self.on_reset: bool = bool({"5xx", "reset", "gateway-error"} & set(words))
        self.on_connect_failure: bool = self.on_reset or bool({"connect-failure", "reset-before-request"} & set(words))
        self.on_refused: bool = self.on_reset or "refused-stream" in words
        self.on_ratelimited: bool = "envoy-ratelimited" in words

    def wants(self, status: int, response: ResponseHeaderMap | None) -> bool:
        """Whether a complete response is to be tried again."""
        if status in self.statuses:
            return True
        if response is None:
            return False
        if self.grpc_statuses and response.get(_GRPC_STATUS) in self.grpc_statuses:
            return True
        return self.on_ratelimited and response.get(X_ENVOY_RATE_LIMITED) is not None


def load_retry(view: View, default_on: str) -> AsyncRetry:
    """From a `core.v3.RetryPolicy`. Raises ConfigError."""
    words = [word.strip() for word in (view.text("retry_on") or default_on).split(",")]
    for word in words:
        if word not in _RETRIED:
            raise view.error(f"{word} is not supported here", "retry_on")
    back_off = view.message("retry_back_off")
    base_ms, max_ms = 25, 250
    if back_off is not None:
        base_ms = back_off.millis("base_interval") or 1
        max_ms = back_off.millis("max_interval") or base_ms * 10
        if max_ms < base_ms:
            raise back_off.error("max_interval must be greater than or equal to the base_interval", "max_interval")
    return AsyncRetry(view.integer("num_retries", 1), base_ms, max_ms, words)


class AsyncClient:
    """What calls of one process half share."""

    __slots__ = ("clusters", "dispatcher", "rq_total")

    def __init__(self, context: FactoryContext) -> None:
        self.clusters: ClusterManager = context.cluster_manager
        self.dispatcher: Dispatcher = context.dispatcher
        self.rq_total: Counter = context.root_scope.counter("http.async-client.rq_total")


class AsyncCall(PoolCallbacks):
    """One call. `start` may finish it at once; afterwards `cancel` has no effect."""

    __slots__ = (
        "client",
        "dispatcher",
        "cluster",
        "headers",
        "body",
        "timeout_ms",
        "limit",
        "retry",
        "send_xff",
        "callbacks",
        "attempts",
        "info",
        "host",
        "encoder",
        "pending",
        "timer",
        "response",
        "received",
        "size",
        "start_ns",
    )

    def __init__(
        self,
        client: AsyncClient,
        cluster: str,
        headers: RequestHeaderMap,
        body: bytes,
        timeout_ms: int,
        callbacks: AsyncCallbacks,
        limit: int = 1 << 20,
        retry: AsyncRetry | None = None,
        send_xff: bool = True,
    ) -> None:
        """`limit`: bytes of response body that are taken. `timeout_ms` 0 = none; it spans retries. `send_xff`: tell
        this host's address in x-forwarded-for."""
        self.client = client
        self.dispatcher = client.dispatcher
        self.cluster = cluster
        self.headers = headers
        self.body = body
        self.timeout_ms = timeout_ms
        self.limit = limit
        self.retry: AsyncRetry | None = retry
        self.send_xff = send_xff
        # None once the outcome has been told.
        self.callbacks: AsyncCallbacks | None = callbacks
        self.attempts: int = 0
        self.info: ClusterInfo | None = None
        self.host: Host | None = None
        self.encoder: RequestEncoder | None = None
        self.pending: PendingStream | None = None
        self.timer: Timer | None = None
        self.response: ResponseHeaderMap | None = None
        self.received: list[bytes] = []
        self.size: int = 0
        self.start_ns: int = 0

    def start(self) -> None:
        self.client.rq_total.inc()
        headers = self.headers
        headers.set(X_ENVOY_INTERNAL, b"true")
        if self.send_xff:
            headers.append(X_FORWARDED_FOR, local_address())
        if self.timeout_ms > 0:
            headers.set(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, b"%d" % self.timeout_ms)
            self.timer = self.dispatcher.timer(self, _TIMEOUT)
            self.timer.arm(self.timeout_ms)
        self._attempt()

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        if self.callbacks is not None:
            self._drop()

    def _attempt(self) -> None:
        self.attempts += 1
        self.response = None
        self.received = []
        self.size = 0
        self.start_ns = self.dispatcher.monotonic_ns()
        cluster = self.client.clusters.get(self.cluster)
        if cluster is None:
            self._tell_local(503, b"")
            return
        self.info = cluster.info
        pool = cluster.choose_pool(0, _NO_CONTEXT)
        if pool is None:
            self._charge(503, False)
            self._ended_with(503, b"no healthy upstream", _CONNECT)
            return
        pending = pool.new_stream(self, self)
        if pending is not None and self.callbacks is not None:
            self.pending = pending

    # --- the pool ---

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        self.pending = None
        self.encoder = encoder
        self.host = host
        try:
            encoder.encode_headers(self.headers.copy(), not self.body)
        except CodecProtocolError as error:
            self.encoder = None
            encoder.reset_stream(RESET_LOCAL)
            self._fail(str(error))
            return
        if self.body and self.encoder is not None:
            encoder.encode_data(self.body, True)

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.pending = None
        self.host = host
        self._charge(503, False)
        host.stats.rq_error.inc()
        self._ended_with(503, b"upstream connect error or disconnect/reset before headers", _CONNECT)

    # --- the response ---

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        pass

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        host = self.host
        if headers.status < 200 or host is None:
            return
        elapsed_ms = (self.dispatcher.monotonic_ns() - self.start_ns) // 1_000_000
        headers.set(X_ENVOY_UPSTREAM_SERVICE_TIME, b"%d" % elapsed_ms)
        self.response = headers
        if host.outlier.active:
            host.outlier.put_http_response_code(headers.status)
        self._charge(headers.status, headers.get(X_ENVOY_UPSTREAM_CANARY) == b"true" or host.canary)
        if headers.status >= 500:
            host.stats.rq_error.inc()
        else:
            host.stats.rq_success.inc()
        if end_stream:
            self._complete()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.size += len(data)
        if self.size > self.limit:
            self._fail("response too large")
            return
        self.received.append(data)
        if end_stream:
            self._complete()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._complete()

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.encoder = None
        if self.callbacks is None:
            return
        if self.host is not None:
            self.host.stats.rq_error.inc()
        if self.response is not None:
            self._fail("reset")
            return
        self._charge(503, False)
        refused = reason == RESET_REMOTE_REFUSED_STREAM
        self._ended_with(
            503, b"upstream connect error or disconnect/reset before headers", _REFUSED if refused else _RESET
        )

    def _complete(self) -> None:
        self.encoder = None
        response = self.response
        info = self.info
        if response is None or info is None:
            return
        elapsed_ms = (self.dispatcher.monotonic_ns() - self.start_ns) // 1_000_000
        info.code_stats.record_time(elapsed_ms, True, False)
        self._ended_with(response.status, b"".join(self.received), _COMPLETE)

    def _ended_with(self, status: int, body: bytes, how: int) -> None:
        if self.retry is not None and self.attempts <= self.retry.count and self._retriable(self.retry, status, how):
            retry = self.retry
            # Full jitter, as Envoy's JitteredExponentialBackOffStrategy.
            ceiling = min(retry.base_ms * (1 << min(self.attempts, 20)), retry.max_ms)
            self.host = None
            timer = self.dispatcher.timer(self, _RETRY)
            timer.arm(int(random() * ceiling))
            return
        if how != _COMPLETE or self.response is None:
            self._tell_local(status, body)
            return
        callbacks = self.callbacks
        response = self.response
        self._drop()
        if callbacks is not None:
            callbacks.on_response(response, body)

    def _retriable(self, retry: AsyncRetry, status: int, how: int) -> bool:
        if how == _COMPLETE:
            return retry.wants(status, self.response)
        if how == _CONNECT:
            return retry.on_connect_failure or status in retry.statuses
        if how == _REFUSED:
            return retry.on_refused
        return retry.on_reset

    # --- the end ---

    def on_timer(self, kind: int) -> None:
        if self.callbacks is None:
            return
        if kind == _RETRY:
            self._attempt()
            return
        if self.info is not None:
            self.info.stats.upstream_rq_timeout.inc()
        if self.host is not None:
            self.host.stats.rq_timeout.inc()
        if self.response is not None:
            self._fail("timeout")
            return
        self._charge(504, False)
        self._tell_local(504, b"upstream request timeout")

    def _charge(self, status: int, canary: bool) -> None:
        if self.info is not None:
            self.info.code_stats.charge(status, True, canary)

    def _tell_local(self, status: int, body: bytes) -> None:
        callbacks = self.callbacks
        self._drop()
        if callbacks is not None:
            callbacks.on_response(ResponseHeaderMap(status=status), body)

    def _fail(self, reason: str) -> None:
        callbacks = self.callbacks
        self._drop()
        if callbacks is not None:
            callbacks.on_failure(reason)

    def _drop(self) -> None:
        self.callbacks = None
        if self.timer is not None:
            self.timer.disarm()
            self.timer = None
        pending = self.pending
        encoder = self.encoder
        self.pending = None
        self.encoder = None
        if pending is not None:
            pending.cancel()
        if encoder is not None:
            encoder.reset_stream(RESET_LOCAL)
