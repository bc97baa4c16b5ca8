"""Request mirroring: a copy of the request goes to another cluster, its response is read and forgotten.

Source: Envoy documentation, "HTTP routing: request mirroring", `RouteAction.RequestMirrorPolicy`. The copy carries what
Envoy's internal client adds: `x-envoy-internal: true` and this host in `x-forwarded-for`.
"""

from __future__ import annotations

import socket
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import UPGRADE, X_ENVOY_INTERNAL, X_ENVOY_UPSTREAM_CANARY, X_FORWARDED_FOR
from outrider.event.timer import Timer
from outrider.http.codec import RESET_LOCAL, RESET_PROTOCOL_ERROR, CodecProtocolError, RequestEncoder
from outrider.router.config.shadow_policy import ShadowPolicy
from outrider.upstream.conn_pool import PendingStream, PoolCallbacks
from outrider.upstream.host import Host
from outrider.upstream.load_balancer_context import LoadBalancerContext

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.network.connection import Connection
    from outrider.router.filter import RouterFilter
    from outrider.upstream.cluster_info import ClusterInfo

_UNLIMITED: Final = 1 << 62
_NO_CONTEXT: Final = LoadBalancerContext()
_LOCAL_ADDRESS: Final[list[bytes]] = []


def local_address() -> bytes:
    """The address this host speaks from, as Envoy's local info has it; found once. No packet is sent."""
    if not _LOCAL_ADDRESS:
        text = "127.0.0.1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # TEST-NET-1 (RFC 5737): only the route is looked up.
                probe.connect(("192.0.2.1", 9))
                text = probe.getsockname()[0]
            except OSError:
                pass
        _LOCAL_ADDRESS.append(text.encode())
    return _LOCAL_ADDRESS[0]


def shadow_host(authority: bytes) -> bytes:
    """`-shadow` behind the host name, before the port."""
    parts = authority.split(b":")
    if len(parts) == 2 and parts[0] and parts[1]:
        return parts[0] + b"-shadow:" + parts[1]
    return authority + b"-shadow"


def start_shadows(router: RouterFilter, headers: RequestHeaderMap, end_stream: bool) -> list[ShadowStream] | None:
    """Begin the copies of a request that its route asks for; those to which body has to be sent."""
    if headers.method == b"CONNECT" or UPGRADE in headers.single:
        return None
    streams: list[ShadowStream] = []
    for policy in router.entry.shadow_policies:
        if not policy.applies(router.config.random_value()):
            continue
        cluster = router.config.clusters.get(policy.cluster_name(headers))
        if cluster is None:
            continue
        router.config.shadow_stats.rq_total.inc()
        stream = ShadowStream(router, cluster.info)
        copy = _copy_headers(router, policy, headers)
        pool = cluster.choose_pool(0, _NO_CONTEXT, router.manager.stream_info.protocol)
        if pool is None:
            stream.charge(503, False)
            continue
        stream.headers = copy
        stream.end_sent = end_stream
        pending = pool.new_stream(stream, stream)
        if pending is not None:
            stream.pending = pending
        if end_stream:
            stream.on_request_complete()
        elif not stream.over:
            streams.append(stream)
    return streams if streams else None


def _copy_headers(router: RouterFilter, policy: ShadowPolicy, headers: RequestHeaderMap) -> RequestHeaderMap:
    copy = headers.copy()
    if policy.host_rewrite:
        copy.authority = policy.host_rewrite
    elif policy.append_host_suffix:
        copy.authority = shadow_host(copy.authority)
    if policy.request_edits:
        context = FormatContext(router.manager.stream_info, copy)
        for edit in policy.request_edits:
            edit.evaluate_headers(copy, context)
    copy.set(X_ENVOY_INTERNAL, b"true")
    copy.append(X_FORWARDED_FOR, local_address())
    return copy


class ShadowStream(PoolCallbacks):
    """One copy. It lives until its response is complete, whatever becomes of the original."""

    __slots__ = (
        "router",
        "dispatcher",
        "info",
        "headers",
        "host",
        "encoder",
        "pending",
        "body",
        "body_size",
        "limit",
        "trailers",
        "end_sent",
        "over",
        "started",
        "backed_up",
        "timeout_ms",
        "timer",
        "complete_ns",
        "zone",
        "canary",
    )

    def __init__(self, router: RouterFilter, info: ClusterInfo) -> None:
        # Dropped when the whole request has been handed over.
        self.router: RouterFilter | None = router
        self.dispatcher: Dispatcher = router.manager.dispatcher
        self.info = info
        self.headers: RequestHeaderMap = router.headers
        self.host: Host | None = None
        self.encoder: RequestEncoder | None = None
        self.pending: PendingStream | None = None
        self.body: list[bytes] = []
        self.body_size: int = 0
        self.limit: int = router.manager.buffer_limit if router.manager.buffer_limit > 0 else _UNLIMITED
        self.trailers: HeaderMap | None = None
        self.end_sent: bool = False
        self.over: bool = False
        # The response has begun.
        self.started: bool = False
        self.backed_up: int = 0
        self.timeout_ms: int = router.global_timeout_ms
        self.timer: Timer | None = None
        self.complete_ns: int = 0
        self.zone: str = router.config.zone
        self.canary: bool = False

    # --- the request ---

    def send_data(self, data: bytes, end_stream: bool) -> None:
        if self.over:
            return
        self.end_sent = end_stream
        encoder = self.encoder
        if encoder is not None:
            encoder.encode_data(data, end_stream)
        else:
            self.body.append(data)
            self.body_size += len(data)
            if self.body_size > self.limit:
                # Too much for a copy that has no connection yet.
                self._give_up()
                return
        if end_stream and not self.over:
            self.on_request_complete()

    def send_trailers(self, trailers: HeaderMap) -> None:
        if self.over:
            return
        self.end_sent = True
        self.trailers = trailers.copy()
        if self.encoder is not None:
            self.encoder.encode_trailers(self.trailers)
        if not self.over:
            self.on_request_complete()

    def on_request_complete(self) -> None:
        """The copy goes on without the original."""
        self._let_go()
        if self.over:
            return
        self.complete_ns = monotonic_ns()
        if self.timeout_ms > 0:
            timer = self.dispatcher.timer(self, 0)
            timer.arm(self.timeout_ms)
            self.timer = timer

    def abandon(self) -> None:
        """The original ended before its request was complete."""
        if self.router is not None:
            self._give_up()

    def _let_go(self) -> None:
        router = self.router
        if router is not None:
            self.router = None
            while self.backed_up > 0:
                self.backed_up -= 1
                router.manager.on_decoder_filter_below_write_buffer_low_watermark()

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        self.pending = None
        self.encoder = encoder
        self.host = host
        body = self.body
        trailers = self.trailers
        try:
            encoder.encode_headers(self.headers, self.end_sent and not body and trailers is None)
        except CodecProtocolError:
            self._give_up()
            return
        if body and not self.over:
            self.body = []
            encoder.encode_data(b"".join(body), self.end_sent and trailers is None)
        if trailers is not None and not self.over:
            encoder.encode_trailers(trailers)

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.pending = None
        self.host = host
        self.on_reset_stream(RESET_LOCAL, details)

    # --- the response ---

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        pass

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        host = self.host
        if headers.status < 200 or host is None:
            return
        self.started = True
        status = headers.status
        if host.outlier.active:
            host.outlier.put_http_response_code(status)
        self.canary = headers.get(X_ENVOY_UPSTREAM_CANARY) == b"true" or host.canary
        self.charge(status, self.canary)
        if status >= 500:
            host.stats.rq_error.inc()
        else:
            host.stats.rq_success.inc()
        if end_stream:
            self._complete()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if end_stream:
            self._complete()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._complete()

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.encoder = None
        host = self.host
        if not self.started:
            self.charge(502 if reason == RESET_PROTOCOL_ERROR else 503, False)
        if host is not None:
            host.stats.rq_error.inc()
        self._finish()

    def charge(self, status: int, canary: bool) -> None:
        """Count the answer of the copy; it counts as internal."""
        stats = self.info.code_stats
        stats.charge(status, True, canary)
        if self.zone and self.host is not None:
            stats.charge_zone(status, self.zone, self.host.locality.zone)

    # --- flow control and the end ---

    def on_above_write_buffer_high_watermark(self) -> None:
        if self.router is not None:
            self.backed_up += 1
            self.router.manager.on_decoder_filter_above_write_buffer_high_watermark()

    def on_below_write_buffer_low_watermark(self) -> None:
        if self.router is not None and self.backed_up > 0:
            self.backed_up -= 1
            self.router.manager.on_decoder_filter_below_write_buffer_low_watermark()

    def on_timer(self, kind: int) -> None:
        """The timeout of the copy."""
        self.info.stats.upstream_rq_timeout.inc()
        if self.host is not None:
            self.host.stats.rq_timeout.inc()
        if not self.started:
            self.charge(504, False)
        self._give_up()

    def _complete(self) -> None:
        if self.complete_ns:
            elapsed_ms = (monotonic_ns() - self.complete_ns) // 1_000_000
            self.info.code_stats.record_time(elapsed_ms, True, self.canary)
        elif self.encoder is not None:
            # Answered early: what is left of the request has no taker.
            encoder = self.encoder
            self.encoder = None
            encoder.reset_stream(RESET_LOCAL)
        self._finish()

    def _give_up(self) -> None:
        pending = self.pending
        encoder = self.encoder
        self._finish()
        if pending is not None:
            pending.cancel()
        if encoder is not None:
            encoder.reset_stream(RESET_LOCAL)

    def _finish(self) -> None:
        self.over = True
        self.encoder = None
        self.pending = None
        self.body = []
        if self.timer is not None:
            self.timer.disarm()
            self.timer = None
        self._let_go()
