"""What the router counts: response codes, times, gRPC outcomes.

Source: Envoy documentation, "Cluster stats: dynamic HTTP statistics", "Virtual host stats", router filter statistics.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap
from outrider.data.header_names import GRPC_STATUS, X_ENVOY_INTERNAL
from outrider.router.timeouts import percent_used
from outrider.stats.metrics import UNIT_MILLISECONDS
from outrider.upstream.code_stats import CodeStats

if TYPE_CHECKING:
    from outrider.router.filter import RouterFilter
    from outrider.router.upstream_request import UpstreamRequest
    from outrider.stats.store import Scope
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.host import Host

# HTTP status that stands for each gRPC status (Envoy's grpcToHttpStatus); others are 500.
_HTTP_OF_GRPC: Final[dict[bytes, int]] = {
    b"0": 200,
    b"1": 499,
    b"2": 500,
    b"3": 400,
    b"4": 504,
    b"5": 404,
    b"6": 409,
    b"7": 403,
    b"8": 429,
    b"9": 400,
    b"10": 409,
    b"11": 400,
    b"12": 501,
    b"13": 500,
    b"14": 503,
    b"15": 500,
    b"16": 401,
}


def http_code_of_grpc(grpc_status: bytes | None) -> int:
    """HTTP status of a `grpc-status` value; -1 when there is none."""
    return -1 if grpc_status is None else _HTTP_OF_GRPC.get(grpc_status, 500)


def charge_code(router: RouterFilter, code: int, canary: bool, host: Host | None, dropped: bool) -> None:
    """Count a response (or a local reply in its place) on cluster, zone, virtual cluster, route and host."""
    config = router.config
    if not config.dynamic_stats or router.manager.stream_info.health_check:
        return
    cluster_info = router.cluster_info
    internal = router.headers.single.get(X_ENVOY_INTERNAL) == b"true"
    if router.grpc and config.suppress_grpc_code_stats:
        _charge_prefixed_only(cluster_info, code, internal, canary)
    else:
        cluster_info.code_stats.charge(code, internal, canary)
    zone = config.zone
    if zone and host is not None:
        cluster_info.code_stats.charge_zone(code, zone, host.locality.zone)
    virtual_cluster = router.virtual_cluster
    if virtual_cluster is not None:
        config.code_stats_of(virtual_cluster.scope).charge_basic(code)
    route_stats = router.entry.stats
    if route_stats is not None:
        config.code_stats_of(route_stats.scope).charge_basic(code)
    prefix = router.alt_stat_prefix
    if prefix:
        _charge_alternative(cluster_info.code_stats, prefix, code, internal, canary)
        if zone and host is not None and host.locality.zone:
            cluster_info.code_stats.charge_basic(code, f"{prefix}zone.{zone}.{host.locality.zone}.")
    if host is not None and code >= 500:
        host.stats.rq_error.inc()


def _charge_prefixed_only(info: ClusterInfo, code: int, internal: bool, canary: bool) -> None:
    """`suppress_grpc_request_failure_code_stats`: as in Envoy, the codes are missing from the plain names only."""
    info.stats.upstream_rq_completed.inc()
    info.code_stats.charge_basic(code, "internal." if internal else "external.")
    if canary:
        info.code_stats.charge_basic(code, "canary.")


def _charge_alternative(stats: CodeStats, prefix: str, code: int, internal: bool, canary: bool) -> None:
    stats.charge_basic(code, prefix)
    stats.charge_basic(code, prefix + ("internal." if internal else "external."))
    if canary:
        stats.charge_basic(code, prefix + "canary.")


def count_on_levels(router: RouterFilter, name: str) -> None:
    """Count `name` (as `upstream_rq_timeout`) on the virtual cluster and on a route with stats of its own."""
    if router.virtual_cluster is not None:
        router.virtual_cluster.scope.counter(name).inc()
    route_stats = router.entry.stats
    if route_stats is not None:
        route_stats.scope.counter(name).inc()


def charge_time(router: RouterFilter, request: UpstreamRequest, complete_ns: int) -> None:
    """Record how long the upstream took, from the end of the request to the end of the response."""
    config = router.config
    elapsed_ms = (request.info.last_upstream_rx_ns - complete_ns) // 1_000_000
    cluster_info = router.cluster_info
    budget = cluster_info.timeout_budget
    if budget is not None:
        budget.percent_used.record(percent_used(elapsed_ms, router.global_timeout_ms))
    if not config.dynamic_stats or router.manager.stream_info.health_check:
        return
    internal = router.headers.single.get(X_ENVOY_INTERNAL) == b"true"
    canary = request.canary
    cluster_info.code_stats.record_time(elapsed_ms, internal, canary)
    zone = config.zone
    if zone:
        cluster_info.code_stats.record_zone_time(elapsed_ms, zone, request.host.locality.zone)
    if router.virtual_cluster is not None:
        _record(router.virtual_cluster.scope, "upstream_rq_time", elapsed_ms)
    route_stats = router.entry.stats
    if route_stats is not None:
        _record(route_stats.scope, "upstream_rq_time", elapsed_ms)
    prefix = router.alt_stat_prefix
    if prefix:
        _record(cluster_info.scope, prefix + "upstream_rq_time", elapsed_ms)
        _record(cluster_info.scope, f"{prefix}{'internal' if internal else 'external'}.upstream_rq_time", elapsed_ms)
        if canary:
            _record(cluster_info.scope, prefix + "canary.upstream_rq_time", elapsed_ms)


def _record(scope: Scope, name: str, milliseconds: int) -> None:
    scope.histogram(name, UNIT_MILLISECONDS).record(milliseconds)


def charge_grpc_headers(request: UpstreamRequest, grpc_code: int, end_stream: bool) -> None:
    """A gRPC response has begun; if it ends here, its status must be among the headers."""
    if not end_stream:
        request.grpc_deferred = True
    else:
        charge_grpc_outcome(request, grpc_code)


def charge_grpc_trailers(request: UpstreamRequest, trailers: HeaderMap) -> None:
    charge_grpc_outcome(request, http_code_of_grpc(trailers.get(GRPC_STATUS)))


def charge_grpc_outcome(request: UpstreamRequest, grpc_code: int) -> None:
    """`grpc_code` is the HTTP status of the gRPC status, -1 when there was none: that is a failure, too."""
    if 0 <= grpc_code < 500:
        request.host.stats.rq_success.inc()
    else:
        request.host.stats.rq_error.inc()


def charge_abort(router: RouterFilter, request: UpstreamRequest, code: int, dropped: bool) -> None:
    """An attempt ended without a (whole) response, which is answered by `code` if nothing has been sent."""
    if router.response_started:
        if request.grpc_deferred:
            request.host.stats.rq_error.inc()
            router.config.stats.rq_reset_after_downstream_response_started.inc()
        return
    if request.info.host is None:
        charge_code(router, code, False, None, dropped)
        return
    charge_code(router, code, request.host.canary, request.host, dropped)
    if code < 500:
        # The answer to a timeout may be 204; it is a failure of the host all the same.
        request.host.stats.rq_error.inc()


def record_attempt(router: RouterFilter, request: UpstreamRequest) -> None:
    """Histograms of one attempt that clusters may ask for (`track_cluster_stats`)."""
    info = router.cluster_info
    budget = info.timeout_budget
    if budget is not None and request.record_budget:
        elapsed_ms = (monotonic_ns() - request.start_ns) // 1_000_000
        budget.per_try_percent_used.record(percent_used(elapsed_ms, router.per_try_timeout_ms))
    sizes = info.size_stats
    if sizes is not None:
        sizes.upstream_rq_headers_size.record(router.headers.byte_size())
        sizes.upstream_rq_headers_count.record(router.headers.count())
        sizes.upstream_rq_body_size.record(request.bytes_sent)
        headers = request.response_headers
        if headers is not None:
            sizes.upstream_rs_headers_size.record(headers.byte_size())
            sizes.upstream_rs_headers_count.record(headers.count())
            sizes.upstream_rs_body_size.record(request.bytes_received)
