"""The retry engine: conditions, limits, back-off."""

from __future__ import annotations

import pytest

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.shared_limit import SharedGauge
from outrider.http.codec import (
    RESET_CONNECTION_TERMINATION,
    RESET_CONNECTION_TIMEOUT,
    RESET_LOCAL,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_OVERFLOW,
    RESET_REMOTE,
    RESET_REMOTE_CONNECTION_FAILURE,
    RESET_REMOTE_REFUSED_STREAM,
)
from outrider.router.config import retry_policy as conditions
from outrider.router.config.retry_policy import (
    RESET_SECONDS,
    RESET_UNIX_TIMESTAMP,
    ResetHeader,
    RetryPolicy,
    parse_retry_grpc_on,
    parse_retry_on,
)
from outrider.router.retry_state import (
    DELAY_NEXT_ITERATION,
    RETRY_NO,
    RETRY_NO_LIMIT_EXCEEDED,
    RETRY_NO_OVERFLOW,
    RETRY_YES,
    RetryState,
    is_retriable_request,
)
from outrider.stats.metrics import Gauge
from outrider.upstream.resource_manager import Resource

NOW = 1_700_000_000


def limit(maximum: int = 3) -> Resource:
    gauge = Gauge("open")
    return Resource(maximum, SharedGauge(None), False, gauge, None)


def state(
    retry_on: str, *fields: tuple[bytes, bytes], retries: int = 1, policy: RetryPolicy | None = None, maximum: int = 3
) -> RetryState:
    policy = RetryPolicy() if policy is None else policy
    policy.retry_on = parse_retry_on(retry_on)[0] | parse_retry_grpc_on(retry_on)[0]
    policy.num_retries = retries
    headers = RequestHeaderMap(method=b"GET", path=b"/")
    for name, value in fields:
        headers.add(name, value)
    return RetryState(policy, headers, limit(maximum), 25)


def ask(retry: RetryState, status: int, *fields: tuple[bytes, bytes], roll: int = 0, early: bool = False) -> int:
    headers = ResponseHeaderMap(status=status)
    for name, value in fields:
        headers.add(name, value)
    return retry.should_retry_headers(headers, early, NOW, True, roll)


@pytest.mark.parametrize(
    ("retry_on", "status", "expected"),
    [
        ("5xx", 500, True), ("5xx", 599, True), ("5xx", 499, False), ("5xx", 200, False),
        ("gateway-error", 502, True), ("gateway-error", 503, True), ("gateway-error", 504, True),
        ("gateway-error", 500, False), ("gateway-error", 505, False),
        ("retriable-4xx", 409, True), ("retriable-4xx", 404, False),
        ("reset", 503, False), ("connect-failure", 503, False), ("envoy-ratelimited", 503, False),
        ("retriable-status-codes", 418, True), ("retriable-status-codes", 503, False),
    ],
)  # fmt: skip
def test_status(retry_on: str, status: int, expected: bool) -> None:
    policy = RetryPolicy()
    policy.retriable_status_codes = [418]
    assert ask(state(retry_on, policy=policy), status) == (RETRY_YES if expected else RETRY_NO)


@pytest.mark.parametrize(
    ("retry_on", "code", "expected"),
    [
        ("cancelled", b"1", True), ("deadline-exceeded", b"4", True), ("resource-exhausted", b"8", True),
        ("internal", b"13", True), ("unavailable", b"14", True), ("unavailable", b"13", False),
        ("cancelled", b"0", False), ("5xx", b"14", False), ("unavailable", b"x", False),
    ],
)  # fmt: skip
def test_grpc_status(retry_on: str, code: bytes, expected: bool) -> None:
    answer = ask(state(retry_on), 200, (b"grpc-status", code))
    assert answer == (RETRY_YES if expected else RETRY_NO)


@pytest.mark.parametrize(
    ("retry_on", "reason", "started", "expected"),
    [
        ("5xx", RESET_REMOTE, True, True), ("gateway-error", RESET_CONNECTION_TERMINATION, True, True),
        ("reset", RESET_LOCAL, True, True), ("reset", RESET_OVERFLOW, False, False),
        ("5xx", RESET_OVERFLOW, False, False),
        ("connect-failure", RESET_LOCAL_CONNECTION_FAILURE, False, True),
        ("connect-failure", RESET_REMOTE_CONNECTION_FAILURE, False, True),
        ("connect-failure", RESET_CONNECTION_TIMEOUT, False, True),
        ("connect-failure", RESET_CONNECTION_TERMINATION, True, False),
        ("reset-before-request", RESET_CONNECTION_TERMINATION, False, True),
        ("reset-before-request", RESET_CONNECTION_TERMINATION, True, False),
        ("refused-stream", RESET_REMOTE_REFUSED_STREAM, True, True), ("refused-stream", RESET_REMOTE, True, False),
        ("retriable-4xx", RESET_REMOTE, True, False), ("unavailable", RESET_REMOTE, True, False),
    ],
)  # fmt: skip
def test_reset(retry_on: str, reason: int, started: bool, expected: bool) -> None:
    answer = state(retry_on).should_retry_reset(reason, started, True, 0)
    assert answer == (RETRY_YES if expected else RETRY_NO)


def test_rate_limited_responses_have_a_condition_of_their_own() -> None:
    limited = (b"x-envoy-ratelimited", b"true")
    assert ask(state("5xx"), 503, limited) == RETRY_NO
    assert ask(state("envoy-ratelimited"), 429, limited) == RETRY_YES


def test_number_of_retries() -> None:
    retry = state("5xx", retries=2)
    assert [ask(retry, 500) for _ in range(3)] == [RETRY_YES, RETRY_YES, RETRY_NO_LIMIT_EXCEEDED]
    assert retry.resource.count.value == 1
    retry.release()
    assert retry.resource.count.value == 0


def test_success_is_noticed() -> None:
    retry = state("5xx")
    assert ask(retry, 200) == RETRY_NO and not retry.succeeded
    retry = state("5xx")
    ask(retry, 500)
    assert ask(retry, 200) == RETRY_NO and retry.succeeded
    assert retry.resource.count.value == 0


def test_circuit_breaker() -> None:
    assert ask(state("5xx", maximum=0), 500) == RETRY_NO_OVERFLOW
    # A retry's own unit is free again before the next one is asked for.
    retry = state("5xx", retries=5, maximum=1)
    assert [ask(retry, 500) for _ in range(4)] == [RETRY_YES] * 4


def test_switched_off_by_runtime() -> None:
    retry = state("5xx")
    assert retry.should_retry_headers(ResponseHeaderMap(status=500), False, NOW, False, 0) == RETRY_NO
    assert retry.resource.count.value == 0


def test_back_off_doubles_up_to_ten_times_the_base() -> None:
    retry = state("5xx", retries=9)
    delays = []
    for _ in range(6):
        ask(retry, 500, roll=(1 << 40) - 1)
        delays.append(retry.delay_ms)
    bounds = [25, 50, 100, 200, 250, 250]
    assert delays == [((1 << 40) - 1) % bound for bound in bounds]


def test_configured_back_off() -> None:
    policy = RetryPolicy()
    policy.base_interval_ms = 100
    policy.max_interval_ms = 150
    retry = state("5xx", retries=3, policy=policy)
    delays = []
    for roll in (99, 149, 150):
        ask(retry, 500, roll=roll)
        delays.append(retry.delay_ms)
    assert delays == [99, 149, 0]


def test_reset_headers() -> None:
    policy = RetryPolicy()
    policy.reset_headers = [ResetHeader(b"retry-after", RESET_SECONDS), ResetHeader(b"x-reset", RESET_UNIX_TIMESTAMP)]
    retry = state("5xx", retries=9, policy=policy)
    assert ask(retry, 503, (b"retry-after", b"2"), roll=999) == RETRY_YES
    assert (retry.rate_limited, retry.delay_ms) == (True, 2999)
    ask(retry, 503, (b"retry-after", b"soon"), (b"x-reset", b"%d" % (NOW + 3)), roll=0)
    assert (retry.rate_limited, retry.delay_ms) == (True, 3000)
    # In the past, or too far ahead: the ordinary back-off.
    ask(retry, 503, (b"x-reset", b"%d" % (NOW - 3)))
    assert not retry.rate_limited
    ask(retry, 503, (b"retry-after", b"301"))
    assert not retry.rate_limited
    ask(retry, 503, (b"retry-after", b"0"))
    assert not retry.rate_limited


def test_too_early() -> None:
    policy = RetryPolicy()
    policy.retriable_status_codes = [425]
    retry = state("retriable-status-codes", policy=policy)
    assert ask(retry, 425, early=True) == RETRY_NO
    assert ask(retry, 425) == RETRY_YES
    assert retry.delay_ms == DELAY_NEXT_ITERATION


def test_request_headers_add_to_the_policy() -> None:
    retry = state(
        "",
        (b"x-envoy-retry-on", b"retriable-status-codes,retriable-headers"),
        (b"x-envoy-retry-grpc-on", b"unavailable"),
        (b"x-envoy-max-retries", b"7"),
        (b"x-envoy-retriable-status-codes", b"418,x,404"),
        (b"x-envoy-retriable-header-names", b"X-Bad, x-worse"),
    )
    assert retry.remaining == 7
    assert ask(retry, 404) == RETRY_YES
    assert ask(retry, 200, (b"x-bad", b"")) == RETRY_YES
    assert ask(retry, 200, (b"x-worse", b"1")) == RETRY_YES
    assert ask(retry, 200, (b"grpc-status", b"14")) == RETRY_YES
    assert ask(retry, 500) == RETRY_NO


def test_max_retries_that_is_no_number_is_ignored() -> None:
    assert state("5xx", (b"x-envoy-max-retries", b"many"), retries=4).remaining == 4


def test_is_there_any_chance_of_a_retry() -> None:
    policy = RetryPolicy()
    headers = RequestHeaderMap()
    assert not is_retriable_request(policy, headers)
    headers.set(b"x-envoy-retry-grpc-on", b"")
    assert is_retriable_request(policy, headers)
    policy.retry_on = conditions.RETRY_ON_5XX
    assert is_retriable_request(policy, RequestHeaderMap())


def test_hedging_needs_no_condition() -> None:
    retry = state("retriable-4xx")
    assert retry.should_hedge(True, 0) == RETRY_YES
    assert retry.should_hedge(True, 0) == RETRY_NO_LIMIT_EXCEEDED
    # As Envoy does, the answer to the hedged attempt still counts as a retry's success.
    assert ask(retry, 200) == RETRY_NO and retry.succeeded


def test_asking_without_consequences() -> None:
    retry = state("5xx")
    assert retry.would_retry_headers(ResponseHeaderMap(status=503))
    assert not retry.would_retry_headers(ResponseHeaderMap(status=200))
    assert retry.remaining == 1
