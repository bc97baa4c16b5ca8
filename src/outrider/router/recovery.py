"""What the router does when an attempt goes wrong: timeouts, resets, retries, hedging."""

from __future__ import annotations

import time
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import ResponseHeaderMap
from outrider.data.header_names import X_ENVOY_ATTEMPT_COUNT, X_ENVOY_IS_TIMEOUT_RETRY
from outrider.data.response_flag import (
    UPSTREAM_MAX_STREAM_DURATION_REACHED,
    UPSTREAM_OVERFLOW,
    UPSTREAM_REQUEST_TIMEOUT,
    UPSTREAM_RETRY_LIMIT_EXCEEDED,
)
from outrider.http.codec import RESET_LOCAL, RESET_OVERFLOW, RESET_PROTOCOL_ERROR
from outrider.router import charge, local_answer
from outrider.router.request_timeouts import decimal, set_expected_timeout
from outrider.router.reset_reason import reset_body, reset_details, reset_flag
from outrider.router.retry_state import RETRY_NO_LIMIT_EXCEEDED, RETRY_NO_OVERFLOW, RETRY_YES, RetryState
from outrider.router.timeouts import percent_used
from outrider.upstream.host import LOCAL_ORIGIN_CONNECT_FAILED, LOCAL_ORIGIN_TIMEOUT

if TYPE_CHECKING:
    from outrider.router.filter import RouterFilter
    from outrider.router.upstream_request import UpstreamRequest

# Kinds of the filter's timers.
TIMER_RESPONSE: Final = 1
TIMER_RETRY: Final = 2

# What `judge_headers` finds.
FORWARD: Final = 0
RETRYING: Final = 1
# A retry was called for but is not allowed.
REFUSED: Final = 2

EARLY_DATA: Final = b"early-data"


# --- retries ---


def judge_headers(
    router: RouterFilter, request: UpstreamRequest, retry: RetryState, headers: ResponseHeaderMap, end_stream: bool
) -> int:
    """Whether a response is to be forwarded, or another attempt made. FORWARD, RETRYING or REFUSED."""
    if request.retried:
        # Another attempt runs already (hedging).
        return REFUSED if retry.would_retry_headers(headers) else FORWARD
    config = router.config
    early_data = router.headers.get(EARLY_DATA) is not None
    status = retry.should_retry_headers(
        headers, early_data, int(time.time()), config.retries_enabled(), config.random_value()
    )
    if not _retry_granted(router, retry, status, False):
        return FORWARD if status != RETRY_NO_OVERFLOW and status != RETRY_NO_LIMIT_EXCEEDED else REFUSED
    request.host.stats.rq_error.inc()
    if not (router.grpc and config.suppress_grpc_code_stats):
        router.cluster_info.code_stats.charge_basic(headers.status, "retry.")
    if not end_stream or not request.encode_complete():
        request.reset()
    router.remove_attempt(request)
    return RETRYING


def _retry_granted(router: RouterFilter, retry: RetryState, status: int, is_timeout: bool) -> bool:
    """Charge the retry engine's answer; on RETRY_YES the next attempt is on its way."""
    stats = router.cluster_info.stats
    if retry.succeeded:
        stats.upstream_rq_retry_success.inc()
        charge.count_on_levels(router, "upstream_rq_retry_success")
    if status == RETRY_YES:
        stats.upstream_rq_retry.inc()
        charge.count_on_levels(router, "upstream_rq_retry")
        router.pending_retries += 1
        router.retry_is_timeout = is_timeout
        if retry.delay_ms < 0:
            router.manager.dispatcher.post(router.retry_in_next_iteration)
            return True
        if retry.rate_limited:
            stats.upstream_rq_retry_backoff_ratelimited.inc()
        else:
            stats.upstream_rq_retry_backoff_exponential.inc()
        timer = router.retry_timer
        if timer is None:
            timer = router.manager.dispatcher.timer(router, TIMER_RETRY)
            router.retry_timer = timer
        timer.arm(retry.delay_ms)
        return True
    if status == RETRY_NO_LIMIT_EXCEEDED:
        stats.upstream_rq_retry_limit_exceeded.inc()
        charge.count_on_levels(router, "upstream_rq_retry_limit_exceeded")
        router.manager.stream_info.response_flags |= UPSTREAM_RETRY_LIMIT_EXCEEDED
    elif status == RETRY_NO_OVERFLOW:
        stats.upstream_rq_retry_overflow.inc()
        charge.count_on_levels(router, "upstream_rq_retry_overflow")
        router.manager.stream_info.response_flags |= UPSTREAM_OVERFLOW
    return False


def retry_now(router: RouterFilter) -> None:
    """Make the attempt that was granted."""
    router.pending_retries -= 1
    router.attempt += 1
    manager = router.manager
    manager.stream_info.attempt_count = router.attempt
    # The cluster may have gone, or have been replaced.
    cluster = router.config.clusters.get(router.entry.cluster_name)
    chosen = False
    if cluster is not None:
        router.cluster = cluster
        router.cluster_info = cluster.info
        chosen = router.choose_host()
    if not chosen:
        cleanup(router)
        local_answer.no_healthy_upstream(router)
        return
    headers = router.headers
    virtual_host = router.entry.virtual_host
    if virtual_host.include_attempt_count_in_request:
        headers.set(X_ENVOY_ATTEMPT_COUNT, decimal(router.attempt))
    if virtual_host.include_is_timeout_retry_header:
        headers.set(X_ENVOY_IS_TIMEOUT_RETRY, b"true" if router.retry_is_timeout else b"false")
    complete_ns = router.request_complete_ns
    elapsed_ms = (monotonic_ns() - complete_ns) // 1_000_000 if complete_ns else 0
    set_expected_timeout(router, headers, elapsed_ms)
    body = manager.decoding_buffer()
    trailers = router.trailers
    ended = complete_ns != 0
    router.start_attempt(ended and not body and trailers is None)
    request = router.upstream
    # It may have ended at once, even with a further retry under way.
    if request is None or request.finished or request.end_sent:
        return
    if body:
        request.accept_data(body, ended and trailers is None)
    if trailers is not None and not request.finished:
        request.accept_trailers(trailers)


def drop_retry(router: RouterFilter) -> None:
    """There will be no further attempt."""
    retry = router.retry
    if retry is not None:
        router.retry = None
        retry.release()
    if router.retry_timer is not None:
        router.retry_timer.disarm()
        router.retry_timer = None


def _retry_after_reset(router: RouterFilter, request: UpstreamRequest, reason: int, is_timeout: bool) -> bool:
    retry = router.retry
    if router.response_started or retry is None or request.retried:
        return False
    config = router.config
    # Bytes went upstream only with a connection.
    status = retry.should_retry_reset(reason, request.had_upstream, config.retries_enabled(), config.random_value())
    if not _retry_granted(router, retry, status, is_timeout):
        return False
    request.host.stats.rq_error.inc()
    router.remove_attempt(request)
    return True


# --- resets ---


def on_upstream_reset(router: RouterFilter, request: UpstreamRequest, reason: int, transport_failure: str) -> None:
    """An attempt's stream was reset, or no stream could be had."""
    overflow = reason == RESET_OVERFLOW
    host = request.host
    # A cluster that is overloaded is not the host's fault.
    if not overflow and host.outlier.active:
        host.outlier.put_result(LOCAL_ORIGIN_CONNECT_FAILED)
    if _retry_after_reset(router, request, reason, False):
        return
    code = 502 if reason == RESET_PROTOCOL_ERROR else 503
    charge.charge_abort(router, request, code, overflow)
    router.remove_attempt(request)
    if router.attempts_awaiting_headers() > 0 or router.pending_retries > 0:
        return
    body = reset_body(reason, router.attempt > 1)
    details = reset_details(reason, transport_failure, router.response_started)
    cleanup(router)
    local_answer.abort(router, code, reset_flag(reason), body, overflow, details)


def reset_others(router: RouterFilter, keep: UpstreamRequest) -> None:
    """The response is `keep`'s: give up the attempts beside it (hedging)."""
    requests = attempts(router)
    router.upstream = keep
    router.others = None
    for request in requests:
        if request is not keep:
            request.reset()
            request.finish()


def reset_all(router: RouterFilter) -> None:
    """Give up every attempt."""
    requests = attempts(router)
    router.upstream = None
    router.others = None
    for request in requests:
        request.reset()
        request.finish()


def attempts(router: RouterFilter) -> list[UpstreamRequest]:
    """All attempts in flight, oldest first."""
    requests: list[UpstreamRequest] = [] if router.others is None else list(router.others)
    if router.upstream is not None:
        requests.append(router.upstream)
    return requests


def cleanup(router: RouterFilter) -> None:
    """Stop the timers; no further attempt."""
    if router.retry is not None or router.retry_timer is not None:
        drop_retry(router)
    if router.response_timer is not None:
        router.stop_response_timer()


# --- timeouts ---


def on_response_timeout(router: RouterFilter) -> None:
    """The timeout of the whole request."""
    requests = attempts(router)
    router.upstream = None
    router.others = None
    code = router.timeout_code
    for request in requests:
        router.cluster_info.stats.upstream_rq_timeout.inc()
        charge.count_on_levels(router, "upstream_rq_timeout")
        host = request.host
        host.stats.rq_timeout.inc()
        if request.awaiting_headers:
            request.record_budget = False
            # With hedging the host has been told already.
            if not request.timeout_recorded and host.outlier.active:
                host.outlier.put_result(LOCAL_ORIGIN_TIMEOUT, code)
            charge.charge_abort(router, request, code, False)
        request.reset()
        request.finish()
    _abort_by_timeout(router, "response_timeout")


def _abort_by_timeout(router: RouterFilter, details: str) -> None:
    code = router.timeout_code
    budget = router.cluster_info.timeout_budget
    if budget is not None:
        elapsed_ms = (monotonic_ns() - router.request_complete_ns) // 1_000_000
        budget.percent_used.record(percent_used(elapsed_ms, router.global_timeout_ms))
    cleanup(router)
    body = "upstream request timeout" if code == 504 else ""
    local_answer.abort(router, code, UPSTREAM_REQUEST_TIMEOUT, body, False, details)


def on_per_try_timeout(router: RouterFilter, request: UpstreamRequest, idle: bool) -> None:
    """The timeout of one attempt; `idle`: no byte came for too long."""
    if router.hedging:
        _hedge(router, request)
        return
    stats = router.cluster_info.stats
    if idle:
        stats.upstream_rq_per_try_idle_timeout.inc()
    else:
        stats.upstream_rq_per_try_timeout.inc()
    host = request.host
    host.stats.rq_timeout.inc()
    request.reset()
    if host.outlier.active:
        host.outlier.put_result(LOCAL_ORIGIN_TIMEOUT, router.timeout_code)
    if _retry_after_reset(router, request, RESET_LOCAL, True):
        return
    charge.charge_abort(router, request, router.timeout_code, False)
    router.remove_attempt(request)
    _abort_by_timeout(router, "upstream_per_try_idle_timeout" if idle else "upstream_per_try_timeout")


def _hedge(router: RouterFilter, request: UpstreamRequest) -> None:
    """`hedge_on_per_try_timeout`: the attempt goes on, another is made beside it."""
    host = request.host
    if host.outlier.active:
        host.outlier.put_result(LOCAL_ORIGIN_TIMEOUT, router.timeout_code)
    request.timeout_recorded = True
    retry = router.retry
    if router.response_started or retry is None:
        return
    config = router.config
    status = retry.should_hedge(config.retries_enabled(), config.random_value())
    if _retry_granted(router, retry, status, True):
        request.retried = True


def on_max_duration(router: RouterFilter, request: UpstreamRequest) -> None:
    """`max_stream_duration` of the cluster, or what a header asked for in its place."""
    request.reset()
    if _retry_after_reset(router, request, RESET_LOCAL, False):
        return
    router.remove_attempt(request)
    cleanup(router)
    code = 504 if router.manager.remote_complete else 408
    local_answer.abort(
        router,
        code,
        UPSTREAM_MAX_STREAM_DURATION_REACHED,
        "upstream max stream duration reached",
        False,
        "upstream_max_stream_duration_reached",
    )
