"""The way of the response through the router: from an attempt to the downstream filters.

Source: Envoy documentation, router filter: response headers, "x-envoy-upstream-service-time", "x-envoy-attempt-count".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    GRPC_STATUS,
    SET_COOKIE,
    X_ENVOY_ATTEMPT_COUNT,
    X_ENVOY_DEGRADED,
    X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL,
    X_ENVOY_UPSTREAM_CANARY,
    X_ENVOY_UPSTREAM_SERVICE_TIME,
)
from outrider.router import charge, internal_redirect, recovery
from outrider.router.request_timeouts import decimal

if TYPE_CHECKING:
    from outrider.router.filter import RouterFilter
    from outrider.router.upstream_request import UpstreamRequest


def on_1xx(router: RouterFilter, request: UpstreamRequest, headers: ResponseHeaderMap) -> None:
    """An informational response: passed on, and from here on no other attempt can answer."""
    charge.charge_code(router, headers.status, headers.get(X_ENVOY_UPSTREAM_CANARY) == b"true", request.host, False)
    _begin(router, request)
    # Another attempt might send it a second time.
    recovery.drop_retry(router)
    router.manager.encode_1xx_from(router, headers)


def on_headers(
    router: RouterFilter, request: UpstreamRequest, headers: ResponseHeaderMap, end_stream: bool, now_ns: int
) -> None:
    """The final response begins: retry, redirect, or forward it."""
    entry = router.entry
    manager = router.manager
    single = headers.single
    status = headers.status
    host = request.host
    grpc_code = -1
    if router.grpc:
        grpc_code = charge.http_code_of_grpc(headers.get(GRPC_STATUS))
    if host.outlier.active:
        if X_ENVOY_DEGRADED in single:
            host.outlier.put_degraded()
        host.outlier.put_http_response_code(status if grpc_code < 0 else grpc_code)
    if X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL in single:
        router.cluster.immediate_health_check_fail(host)
    retry = router.retry
    could_not_retry = False
    if retry is not None:
        verdict = recovery.judge_headers(router, request, retry, headers, end_stream)
        if verdict == recovery.RETRYING:
            return
        could_not_retry = verdict == recovery.REFUSED
    redirect_policy = entry.internal_redirect_policy
    if redirect_policy is not None and redirect_policy.should_redirect(status):
        if internal_redirect.follow(router, redirect_policy, headers):
            return
    if could_not_retry and (router.attempts_awaiting_headers() > 0 or router.pending_retries > 0):
        # A bad answer while another attempt may still bring a good one.
        host.stats.rq_error.inc()
        request.reset()
        router.remove_attempt(request)
        return
    if retry is not None:
        recovery.drop_retry(router)
    config = router.config
    if router.request_complete_ns and not config.suppress_envoy_headers:
        headers.set(X_ENVOY_UPSTREAM_SERVICE_TIME, decimal((now_ns - router.request_complete_ns) // 1_000_000))
    canary = host.canary or single.get(X_ENVOY_UPSTREAM_CANARY) == b"true"
    request.canary = canary
    charge.charge_code(router, status, canary, host, False)
    if status < 500:
        if router.grpc:
            charge.charge_grpc_headers(request, grpc_code, end_stream)
        else:
            host.stats.rq_success.inc()
    cookies = router.cookies
    if cookies is not None:
        for cookie in cookies:
            headers.add(SET_COOKIE, cookie)
    stream_info = manager.stream_info
    stream_info.response_code_details = "via_upstream"
    stream_info.response_code = status
    entry.finalize_response_headers(headers, router.headers, stream_info)
    if entry.virtual_host.include_attempt_count_in_response:
        headers.set(X_ENVOY_ATTEMPT_COUNT, decimal(router.attempt))
    stream_info.upstream = request.info
    _begin(router, request)
    if end_stream:
        on_complete(router, request)
    manager.encode_headers_from(router, headers, end_stream)


def _begin(router: RouterFilter, request: UpstreamRequest) -> None:
    """From here on this attempt alone counts."""
    router.response_started = True
    if router.others is not None:
        recovery.reset_others(router, request)
    # Downstream filled up before there was a response to hold back.
    blocked = router.downstream_blocked - request.read_disabled
    while blocked > 0:
        request.read_disable(True)
        blocked -= 1


def on_body_end(router: RouterFilter, request: UpstreamRequest) -> None:
    """The last body chunk has come, without trailers behind it."""
    if request.grpc_deferred:
        # A gRPC response has its status in trailers.
        request.host.stats.rq_error.inc()
    on_complete(router, request)


def on_trailers(router: RouterFilter, request: UpstreamRequest, trailers: HeaderMap) -> None:
    """The response ends with trailers."""
    if request.grpc_deferred:
        charge.charge_grpc_trailers(request, trailers)
    on_complete(router, request)
    router.manager.encode_trailers_from(router, trailers)


def on_complete(router: RouterFilter, request: UpstreamRequest) -> None:
    """The response has been received whole."""
    complete_ns = router.request_complete_ns
    if complete_ns == 0:
        # An early response: what is left of the request has no taker.
        request.reset()
    else:
        charge.charge_time(router, request, complete_ns)
    router.upstream = None
    request.finish()
    router.done = True
    recovery.cleanup(router)
