"""The router: the terminal HTTP filter that sends a request to a cluster and its response back.

Source: Envoy documentation, "HTTP filters: router". What happens once or seldom is elsewhere: answers without an
upstream in `local_answer`, the way of the response in `response`, charging of stats in `charge`, failures, retries and
timeouts in `recovery`, internal redirects in `internal_redirect`, mirroring in `shadow`.

Defaults of the per-request state stand in the class: making a filter writes one attribute.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import (
    CONTENT_TYPE,
    X_ENVOY_ATTEMPT_COUNT,
    X_ENVOY_UPSTREAM_ALT_STAT_NAME,
    X_FORWARDED_PROTO,
)
from outrider.event.timer import Timer
from outrider.http.filter import DATA_STOP_NO_BUFFER, HEADERS_STOP_ITERATION, TRAILERS_STOP, HttpFilter
from outrider.router import charge, local_answer, recovery
from outrider.router.config.retry_policy import RetryPolicy
from outrider.router.config.route_entry import RouteEntry
from outrider.router.header_steering import is_steered, remove_retry_headers
from outrider.router.request_timeouts import set_timeouts
from outrider.router.retry_state import DEFAULT_BASE_INTERVAL_MS, RetryState, is_retriable_request
from outrider.router.shadow import ShadowStream, start_shadows
from outrider.router.tcp_upstream import RawStream, TcpStream, wants_tcp
from outrider.router.udp_upstream import UdpStream, wants_udp
from outrider.router.upstream_request import UpstreamRequest
from outrider.upstream.conn_pool import HttpConnPool, PendingStream

if TYPE_CHECKING:
    from outrider.router.config.virtual_host import VirtualCluster
    from outrider.router.router_config import RouterConfig
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.host import Host

NO_RETRY_POLICY: Final = RetryPolicy()
_UNLIMITED: Final = 1 << 62


def is_grpc(headers: RequestHeaderMap) -> bool:
    """Whether the request is gRPC by its content type (`application/grpc` or `application/grpc+...`)."""
    content_type = headers.single.get(CONTENT_TYPE)
    if content_type is None or not content_type.startswith(b"application/grpc"):
        return False
    return len(content_type) == 16 or content_type[16] == 43


class RouterFilter(HttpFilter):
    """One request. Attributes without underscore are read by the parts of the router, not by other filters."""

    headers: RequestHeaderMap
    entry: RouteEntry
    cluster: Cluster
    cluster_info: ClusterInfo
    trailers: HeaderMap | None = None
    # The newest attempt, and with hedging the older ones.
    upstream: UpstreamRequest | None = None
    others: list[UpstreamRequest] | None = None
    # The pool that the next UpstreamRequest will ask; a terminated CONNECT or CONNECT-UDP uses `raw_stream` instead.
    pool: HttpConnPool | None = None
    raw_stream: RawStream | None = None
    retry: RetryState | None = None
    virtual_cluster: VirtualCluster | None = None
    # `x-envoy-upstream-alt-stat-name`.
    alt_stat_prefix: str = ""
    global_timeout_ms: int = 0
    per_try_timeout_ms: int = 0
    per_try_idle_timeout_ms: int = 0
    # `x-envoy-upstream-stream-duration-ms`; -1: the cluster's.
    stream_duration_ms: int = -1
    timeout_code: int = 504
    hedging: bool = False
    grpc: bool = False
    attempt: int = 1
    pending_retries: int = 0
    retry_is_timeout: bool = False
    # An attempt was made, or was about to be.
    attempted: bool = False
    # When the request had been received whole; 0 before.
    request_complete_ns: int = 0
    response_started: bool = False
    # The request body is kept for a retry, an internal redirect.
    buffering: bool = False
    buffer_limit: int = 0
    kept: int = 0
    buffer_overflowed: bool = False
    response_timer: Timer | None = None
    retry_timer: Timer | None = None
    shadows: list[ShadowStream] | None = None
    # Reasons why downstream takes no more now.
    downstream_blocked: int = 0
    # Hosts and connections of all attempts that got a connection (for the log).
    hosts: list[object] | None = None
    connection_ids: list[int] | None = None
    # Set-Cookie values of the hash policy.
    cookies: list[bytes] | None = None
    # Finished or destroyed: nothing more is to happen.
    done: bool = False

    def __init__(self, config: RouterConfig) -> None:
        self.config = config

    # --- the request ---

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        config = self.config
        manager = self.manager
        self.headers = headers
        config.stats.rq_total.inc()
        entry = manager.route()
        if not isinstance(entry, RouteEntry):
            local_answer.answer_without_upstream(self, entry)
            return HEADERS_STOP_ITERATION
        self.entry = entry
        cluster = config.clusters.get(entry.cluster_name)
        if cluster is None:
            local_answer.no_cluster(self)
            return HEADERS_STOP_ITERATION
        info = cluster.info
        self.cluster = cluster
        self.cluster_info = info
        stream_info = manager.stream_info
        stream_info.cluster = info
        stream_info.cluster_name = info.name
        virtual_host = entry.virtual_host
        if virtual_host.catch_all_cluster is not None:
            virtual_cluster = virtual_host.virtual_cluster(headers)
            if virtual_cluster is not None:
                self.virtual_cluster = virtual_cluster
                if virtual_cluster is not virtual_host.catch_all_cluster:
                    stream_info.virtual_cluster_name = virtual_cluster.name
        content_type = headers.single.get(CONTENT_TYPE)
        if content_type is not None and content_type.startswith(b"application/grpc"):
            self.grpc = is_grpc(headers)
        if config.strict_headers is not None and local_answer.refuse_invalid_header(self, config.strict_headers):
            return HEADERS_STOP_ITERATION
        steered = is_steered(headers)
        if steered:
            alt_name = headers.get(X_ENVOY_UPSTREAM_ALT_STAT_NAME)
            if alt_name is not None:
                self.alt_stat_prefix = alt_name.decode("latin-1") + "."
                headers.remove(X_ENVOY_UPSTREAM_ALT_STAT_NAME)
        if config.runtime.has(info.maintenance_key) and local_answer.under_maintenance(self):
            return HEADERS_STOP_ITERATION
        if info.drop_overload > 0 and local_answer.dropped_for_overload(self):
            return HEADERS_STOP_ITERATION
        stream_info.attempt_count = 1
        self.attempted = True
        if not self.choose_host():
            local_answer.no_healthy_upstream(self)
            return HEADERS_STOP_ITERATION
        set_timeouts(self, headers, steered)
        if virtual_host.include_attempt_count_in_request:
            headers.set(X_ENVOY_ATTEMPT_COUNT, b"1")
        entry.finalize_request_headers(headers, stream_info, not config.suppress_envoy_headers)
        if not headers.scheme:
            self._set_scheme(headers)
        policy = entry.retry_policy
        if (policy is not None and policy.retry_on != 0) or steered:
            self._set_retry(headers, NO_RETRY_POLICY if policy is None else policy)
        if entry.shadow_policies:
            self.shadows = start_shadows(self, headers, end_stream)
        if entry.internal_redirect_policy is not None:
            self.buffering = True
        if self.buffering and not end_stream:
            limit = manager.buffer_limit if manager.buffer_limit > 0 else _UNLIMITED
            own = entry.request_body_buffer_limit
            self.buffer_limit = own if 0 <= own < limit else limit
        self.start_attempt(end_stream)
        if end_stream and not self.done:
            self._on_request_complete()
        return HEADERS_STOP_ITERATION

    def _set_scheme(self, headers: RequestHeaderMap) -> None:
        """Only when a filter has removed the scheme: the best guess."""
        forwarded = headers.get(X_FORWARDED_PROTO)
        if forwarded in (b"http", b"https"):
            headers.scheme = forwarded
        else:
            headers.scheme = b"http" if self.manager.stream_info.connection.ssl is None else b"https"

    def _set_retry(self, headers: RequestHeaderMap, policy: RetryPolicy) -> None:
        if is_retriable_request(policy, headers):
            config = self.config
            base = config.runtime.get_integer("upstream.base_retry_backoff_ms", DEFAULT_BASE_INTERVAL_MS)
            retry = RetryState(policy, headers, self.cluster_info.resource_manager(self.entry.priority).retries, base)
            self.retry = retry
            self.buffering = retry.enabled()
        remove_retry_headers(headers)

    def choose_host(self) -> bool:
        """Have the cluster choose a host and its pool; False when none is healthy."""
        entry = self.entry
        context = self.config.context
        context.router = self
        connect = entry.connect_config
        if connect is not None and wants_tcp(connect, self.headers):
            tcp_pool = self.cluster.choose_tcp_pool(entry.priority, context)
            self.raw_stream = None if tcp_pool is None else TcpStream(tcp_pool, connect)
            chosen = tcp_pool is not None
        elif connect is not None and wants_udp(self.headers):
            host = self.cluster.choose_host(context)
            self.raw_stream = None if host is None else UdpStream(host, self.cluster.info.config.bind)
            chosen = host is not None
            if not chosen:
                self.cluster_info.stats.upstream_cx_none_healthy.inc()
        else:
            pool = self.cluster.choose_pool(entry.priority, context, self.manager.stream_info.protocol)
            self.pool = pool
            chosen = pool is not None
        context.router = None
        return chosen

    def new_upstream_stream(self, request: UpstreamRequest) -> PendingStream | None:
        """Ask the pool that was chosen for a stream."""
        raw_stream = self.raw_stream
        if raw_stream is not None:
            return raw_stream.start(request)
        pool = self.pool
        assert pool is not None
        self.pool = None
        return pool.new_stream(request, request)

    def start_attempt(self, end_stream: bool) -> None:
        """Send the request (again) to the host that was chosen."""
        manager = self.manager
        pool = self.pool
        raw_stream = self.raw_stream
        if pool is not None:
            host = pool.host
        else:
            assert raw_stream is not None
            host = raw_stream.host
        request = UpstreamRequest(self, host, 0)
        older = self.upstream
        if older is not None:
            if self.hosts is None and older.had_upstream:
                self._note(older)
            if self.others is None:
                self.others = []
            self.others.append(older)
        self.upstream = request
        info = request.info
        info.host = host
        info.host_address = host.address
        info.host_name = host.hostname
        info.cluster_name = self.cluster_info.name
        info.attempted_hosts = self.hosts
        info.attempted_connection_ids = self.connection_ids
        manager.stream_info.upstream = info
        if self.cluster_info.timeout_budget is not None or self.config.upstream_logs:
            request.start_ns = monotonic_ns()
        request.accept_headers(self.headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if self.done:
            return DATA_STOP_NO_BUFFER
        shadows = self.shadows
        if shadows is not None:
            for shadow in shadows:
                shadow.send_data(data, end_stream)
        if self.buffering and not self._keep(data):
            return DATA_STOP_NO_BUFFER
        request = self.upstream
        if request is not None:
            request.accept_data(data, end_stream)
        if end_stream and not self.done:
            self._on_request_complete()
        return DATA_STOP_NO_BUFFER

    def _keep(self, data: bytes) -> bool:
        """Keep body for another attempt; past the limit there will be none. False when the request had to be ended."""
        manager = self.manager
        if self.kept + len(data) <= self.buffer_limit:
            self.kept += len(data)
            manager.add_decoded_data(self, data, True)
            return True
        self.cluster_info.stats.retry_or_shadow_abandoned.inc()
        recovery.drop_retry(self)
        self.buffering = False
        self.buffer_overflowed = True
        if self.upstream is None:
            # The first attempt has failed and the next was being waited for: its body is incomplete now.
            recovery.cleanup(self)
            local_answer.request_exceeded_retry_buffer(self)
            return False
        return True

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self.done:
            return TRAILERS_STOP
        self.trailers = trailers
        shadows = self.shadows
        if shadows is not None:
            for shadow in shadows:
                shadow.send_trailers(trailers)
        request = self.upstream
        if request is not None:
            request.accept_trailers(trailers)
        if not self.done:
            self._on_request_complete()
        return TRAILERS_STOP

    def _on_request_complete(self) -> None:
        """The request has been received whole: its timeouts begin."""
        self.request_complete_ns = monotonic_ns()
        request = self.upstream
        # Without an attempt it was reset at once; a retry may be pending.
        if request is None:
            return
        if self.global_timeout_ms > 0:
            self.start_response_timer()
        if self.per_try_timeout_ms or self.per_try_idle_timeout_ms:
            if request.per_try_on_complete:
                request.start_per_try_timers()

    def start_response_timer(self) -> None:
        """Begin the timeout of the whole request, unless it runs."""
        if self.response_timer is None:
            timer = self.manager.dispatcher.timer(self, recovery.TIMER_RESPONSE)
            timer.arm(self.global_timeout_ms)
            self.response_timer = timer

    def stop_response_timer(self) -> None:
        if self.response_timer is not None:
            self.response_timer.disarm()
            self.response_timer = None

    def on_timer(self, kind: int) -> None:
        if self.done:
            return
        if kind == recovery.TIMER_RESPONSE:
            recovery.on_response_timeout(self)
        else:
            recovery.retry_now(self)

    def retry_in_next_iteration(self) -> None:
        """A retry without back-off; the loop calls."""
        if not self.done and self.pending_retries > 0:
            recovery.retry_now(self)

    # --- attempts ---

    def on_host_selected(self, request: UpstreamRequest, host: Host, pool_success: bool) -> None:
        """The pool has settled on `host` (which may differ from the first choice)."""
        info = request.info
        if info.host is not host:
            info.host = host
            info.host_address = host.address
            info.host_name = host.hostname
        request.host = host
        if self.retry is not None:
            self.retry.on_host_attempted(host)
        if not pool_success:
            return
        if self.hosts is not None:
            # For the log; a single attempt needs no lists.
            self._note(request)
        if self.virtual_cluster is not None or self.entry.stats is not None:
            charge.count_on_levels(self, "upstream_rq_total")

    def _note(self, request: UpstreamRequest) -> None:
        """Keep host and connection of an attempt for the log."""
        hosts = self.hosts
        ids = self.connection_ids
        if hosts is None or ids is None:
            hosts = []
            ids = []
            self.hosts = hosts
            self.connection_ids = ids
        info = request.info
        hosts.append(request.host)
        ids.append(info.connection_id)
        info.attempted_hosts = hosts
        info.attempted_connection_ids = ids

    def remove_attempt(self, request: UpstreamRequest) -> None:
        """Forget an attempt that is over."""
        others = self.others
        if self.upstream is request:
            self.upstream = others.pop() if others else None
        elif others is not None and request in others:
            others.remove(request)
        if self.hosts is None and request.had_upstream:
            self._note(request)
        request.finish()

    def attempts_awaiting_headers(self) -> int:
        count = 0
        if self.upstream is not None and self.upstream.awaiting_headers:
            count += 1
        if self.others is not None:
            for request in self.others:
                if request.awaiting_headers:
                    count += 1
        return count

    # --- flow control ---

    def on_above_write_buffer_high_watermark(self) -> None:
        self.downstream_blocked += 1
        if self.response_started and self.upstream is not None:
            self.upstream.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        if self.downstream_blocked > 0:
            self.downstream_blocked -= 1
        if self.response_started and self.upstream is not None:
            self.upstream.read_disable(False)

    # --- the end ---

    def on_destroy(self) -> None:
        self.done = True
        if self.upstream is not None or self.others is not None:
            recovery.reset_all(self)
        shadows = self.shadows
        if shadows is not None:
            self.shadows = None
            for shadow in shadows:
                shadow.abandon()
        recovery.cleanup(self)
