"""Whether and when a request is tried again: an engine that does no I/O, reads no clock and draws no number itself.

Source: Envoy documentation, router filter ("How a request is retried", "x-envoy-retry-on", "x-envoy-retry-grpc-on")
and `config.route.v3.RetryPolicy`. The filter asks with `should_retry_*`; on RETRY_YES it waits `delay_ms` (or only
until the next loop iteration) and tries again. A granted retry holds one unit of the cluster's retry circuit breaker
until the next question or `release`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    GRPC_STATUS,
    X_ENVOY_MAX_RETRIES,
    X_ENVOY_RATE_LIMITED,
    X_ENVOY_RETRIABLE_HEADER_NAMES,
    X_ENVOY_RETRIABLE_STATUS_CODES,
    X_ENVOY_RETRY_GRPC_ON,
    X_ENVOY_RETRY_ON,
)
from outrider.http.codec import (
    RESET_CONNECTION_TIMEOUT,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_OVERFLOW,
    RESET_REMOTE_CONNECTION_FAILURE,
    RESET_REMOTE_REFUSED_STREAM,
)
from outrider.router.back_off import ExponentialBackOff, at_least_ms
from outrider.router.config.retry_policy import (
    RESET_SECONDS,
    RETRY_ON_5XX,
    RETRY_ON_CONNECT_FAILURE,
    RETRY_ON_ENVOY_RATE_LIMITED,
    RETRY_ON_GATEWAY_ERROR,
    RETRY_ON_GRPC_CANCELLED,
    RETRY_ON_GRPC_DEADLINE_EXCEEDED,
    RETRY_ON_GRPC_INTERNAL,
    RETRY_ON_GRPC_RESOURCE_EXHAUSTED,
    RETRY_ON_GRPC_UNAVAILABLE,
    RETRY_ON_REFUSED_STREAM,
    RETRY_ON_RESET,
    RETRY_ON_RESET_BEFORE_REQUEST,
    RETRY_ON_RETRIABLE_4XX,
    RETRY_ON_RETRIABLE_HEADERS,
    RETRY_ON_RETRIABLE_STATUS_CODES,
    RetryHostPredicate,
    RetryPolicy,
    RetryPriority,
    parse_retry_grpc_on,
    parse_retry_on,
)
from outrider.router.header_steering import parse_unsigned
from outrider.upstream.resource_manager import Resource

if TYPE_CHECKING:
    from outrider.upstream.host import Host

# What `should_retry_*` answers.
RETRY_NO: Final = 0
# The policy's number of retries is used up.
RETRY_NO_LIMIT_EXCEEDED: Final = 1
# The cluster's retry circuit breaker is open.
RETRY_NO_OVERFLOW: Final = 2
RETRY_YES: Final = 3

# What the conditions alone say.
_DECISION_NO: Final = 0
_DECISION_BACK_OFF: Final = 1
_DECISION_AT_ONCE: Final = 2

# `delay_ms`: retry in the next loop iteration.
DELAY_NEXT_ITERATION: Final = -1

DEFAULT_BASE_INTERVAL_MS: Final = 25

_TOO_EARLY: Final = 425

# Retry bits of the gRPC status codes that can be retried.
_GRPC_CODES: Final[dict[bytes, int]] = {
    b"1": RETRY_ON_GRPC_CANCELLED,
    b"4": RETRY_ON_GRPC_DEADLINE_EXCEEDED,
    b"8": RETRY_ON_GRPC_RESOURCE_EXHAUSTED,
    b"13": RETRY_ON_GRPC_INTERNAL,
    b"14": RETRY_ON_GRPC_UNAVAILABLE,
}
_ANY_GRPC: Final = (
    RETRY_ON_GRPC_CANCELLED
    | RETRY_ON_GRPC_DEADLINE_EXCEEDED
    | RETRY_ON_GRPC_RESOURCE_EXHAUSTED
    | RETRY_ON_GRPC_UNAVAILABLE
    | RETRY_ON_GRPC_INTERNAL
)


def is_retriable_request(policy: RetryPolicy, headers: RequestHeaderMap) -> bool:
    """Whether there is any chance that this request is retried; if not, no RetryState is needed."""
    if policy.retry_on:
        return True
    single = headers.single
    return X_ENVOY_RETRY_ON in single or X_ENVOY_RETRY_GRPC_ON in single


class RetryState:
    """The retries of one request."""

    __slots__ = (
        "policy",
        "retry_on",
        "remaining",
        "resource",
        "back_off",
        "host_predicates",
        "retry_priority",
        "status_codes",
        "header_names",
        "holds_retry",
        "succeeded",
        "delay_ms",
        "rate_limited",
    )

    def __init__(
        self, policy: RetryPolicy, headers: RequestHeaderMap, resource: Resource, base_interval_ms: int
    ) -> None:
        """`resource` is the cluster's retry circuit breaker of the route's priority; `base_interval_ms` is what
        runtime's `upstream.base_retry_backoff_ms` says, used where the policy names no interval."""
        self.policy = policy
        self.retry_on: int = policy.retry_on
        self.remaining: int = policy.num_retries
        self.resource = resource
        base = policy.base_interval_ms if policy.base_interval_ms > 0 else base_interval_ms
        self.back_off = ExponentialBackOff(base, policy.max_interval_ms if policy.max_interval_ms > 0 else base * 10)
        self.host_predicates: list[RetryHostPredicate] = [factory.create() for factory in policy.host_predicates]
        self.retry_priority: RetryPriority | None = None if policy.priority is None else policy.priority.create()
        # Further codes and header names from request headers.
        self.status_codes: list[int] | None = None
        self.header_names: list[bytes] | None = None
        # A granted retry that has not been judged yet.
        self.holds_retry: bool = False
        # After a question: the last granted retry went well.
        self.succeeded: bool = False
        # After RETRY_YES: how long to wait, and whether a response's reset header said so.
        self.delay_ms: int = 0
        self.rate_limited: bool = False
        self._read_headers(headers)

    def _read_headers(self, headers: RequestHeaderMap) -> None:
        value = headers.get(X_ENVOY_RETRY_ON)
        if value is not None:
            self.retry_on |= parse_retry_on(value.decode("latin-1"))[0]
        value = headers.get(X_ENVOY_RETRY_GRPC_ON)
        if value is not None:
            self.retry_on |= parse_retry_grpc_on(value.decode("latin-1"))[0]
        if not self.policy.allows_request(headers):
            self.retry_on = 0
        value = headers.get(X_ENVOY_MAX_RETRIES)
        if value is not None and self.retry_on != 0:
            limit = parse_unsigned(value)
            if limit >= 0:
                self.remaining = limit
        value = headers.get(X_ENVOY_RETRIABLE_STATUS_CODES)
        if value is not None:
            self.status_codes = [code for code in [parse_unsigned(word) for word in value.split(b",")] if code >= 0]
        value = headers.get(X_ENVOY_RETRIABLE_HEADER_NAMES)
        if value is not None:
            self.header_names = [name for name in [word.strip().lower() for word in value.split(b",")] if name]

    def enabled(self) -> bool:
        """Whether any condition is set: only then the request's body is kept for another try."""
        return self.retry_on != 0

    def release(self) -> None:
        """Give the circuit breaker's unit back; to be called when the request is over or its response began."""
        if self.holds_retry:
            self.holds_retry = False
            self.resource.dec()

    def should_retry_headers(
        self, headers: ResponseHeaderMap, early_data: bool, now_unix_s: int, retries_enabled: bool, random_value: int
    ) -> int:
        """One of RETRY_*, for a response. `early_data`: the request came as TLS early data (RFC 8470)."""
        decision = self._decide_headers(headers, early_data)
        reset_ms = 0
        if decision == _DECISION_BACK_OFF and self.policy.reset_headers:
            reset_ms = self._reset_interval_ms(headers, now_unix_s)
        return self._grant(decision, reset_ms, retries_enabled, random_value)

    def would_retry_headers(self, headers: ResponseHeaderMap) -> bool:
        """Whether the response alone would call for a retry; changes nothing."""
        return self._decide_headers(headers, False) != _DECISION_NO

    def should_retry_reset(self, reason: int, request_started: bool, retries_enabled: bool, random_value: int) -> int:
        """One of RETRY_*, for a reset before the response. `request_started`: bytes were sent upstream."""
        return self._grant(self._decide_reset(reason, request_started), 0, retries_enabled, random_value)

    def should_hedge(self, retries_enabled: bool, random_value: int) -> int:
        """One of RETRY_*, for a second try beside one that has passed its per-try timeout: any condition will do."""
        return self._grant(_DECISION_BACK_OFF, 0, retries_enabled, random_value)

    def _grant(self, decision: int, reset_ms: int, retries_enabled: bool, random_value: int) -> int:
        self.succeeded = self.holds_retry and decision == _DECISION_NO
        if decision == _DECISION_NO:
            self.release()
            return RETRY_NO
        if self.remaining == 0:
            # With hedging the last retry granted may still go well, so it is not given up here.
            return RETRY_NO_LIMIT_EXCEEDED
        self.release()
        self.remaining -= 1
        if not self.resource.can_create():
            return RETRY_NO_OVERFLOW
        if not retries_enabled:
            return RETRY_NO
        self.resource.inc()
        self.holds_retry = True
        # A reset time of a millisecond or less is no reason to leave the ordinary back-off.
        self.rate_limited = reset_ms > 1
        if decision == _DECISION_AT_ONCE:
            self.delay_ms = DELAY_NEXT_ITERATION
        elif self.rate_limited:
            self.delay_ms = at_least_ms(reset_ms, random_value)
        else:
            self.delay_ms = self.back_off.next_ms(random_value)
        return RETRY_YES

    def _decide_headers(self, headers: ResponseHeaderMap, early_data: bool) -> int:
        retry_on = self.retry_on
        if X_ENVOY_RATE_LIMITED in headers.single:
            # Another Envoy's rate limit: only the condition made for it retries.
            return _DECISION_BACK_OFF if retry_on & RETRY_ON_ENVOY_RATE_LIMITED else _DECISION_NO
        status = headers.status
        if retry_on & RETRY_ON_5XX and 500 <= status < 600:
            return _DECISION_BACK_OFF
        if retry_on & RETRY_ON_GATEWAY_ERROR and 502 <= status <= 504:
            return _DECISION_BACK_OFF
        if retry_on & RETRY_ON_RETRIABLE_4XX and status == 409:
            return _DECISION_BACK_OFF
        if retry_on & RETRY_ON_RETRIABLE_STATUS_CODES and (
            status in self.policy.retriable_status_codes
            or (self.status_codes is not None and status in self.status_codes)
        ):
            if status != _TOO_EARLY:
                return _DECISION_BACK_OFF
            if not early_data:
                return _DECISION_AT_ONCE
        if retry_on & RETRY_ON_RETRIABLE_HEADERS:
            if self.policy.has_retriable_header(headers):
                return _DECISION_BACK_OFF
            if self.header_names is not None:
                for name in self.header_names:
                    if headers.get(name) is not None:
                        return _DECISION_BACK_OFF
        if retry_on & _ANY_GRPC:
            grpc_status = headers.get(GRPC_STATUS)
            if grpc_status is not None and retry_on & _GRPC_CODES.get(grpc_status, 0):
                return _DECISION_BACK_OFF
        return _DECISION_NO

    def _decide_reset(self, reason: int, request_started: bool) -> int:
        if reason == RESET_OVERFLOW:
            return _DECISION_NO
        retry_on = self.retry_on
        if retry_on & RETRY_ON_CONNECT_FAILURE and reason in (
            RESET_LOCAL_CONNECTION_FAILURE,
            RESET_REMOTE_CONNECTION_FAILURE,
            RESET_CONNECTION_TIMEOUT,
        ):
            return _DECISION_BACK_OFF
        if retry_on & RETRY_ON_RESET_BEFORE_REQUEST and not request_started:
            return _DECISION_BACK_OFF
        if retry_on & (RETRY_ON_RESET | RETRY_ON_5XX | RETRY_ON_GATEWAY_ERROR):
            return _DECISION_BACK_OFF
        if retry_on & RETRY_ON_REFUSED_STREAM and reason == RESET_REMOTE_REFUSED_STREAM:
            return _DECISION_BACK_OFF
        return _DECISION_NO

    def _reset_interval_ms(self, headers: ResponseHeaderMap, now_unix_s: int) -> int:
        """Time until the limit resets, by the first configured header that has an acceptable one; 0 for none."""
        policy = self.policy
        for reset_header in policy.reset_headers:
            value = headers.get(reset_header.name)
            if value is None:
                continue
            seconds = parse_unsigned(value)
            if reset_header.format != RESET_SECONDS:
                seconds -= now_unix_s
            if seconds >= 0 and seconds * 1000 <= policy.reset_max_interval_ms:
                return seconds * 1000
        return 0

    def on_host_attempted(self, host: Host) -> None:
        """Tell predicates and priority plug-in which host an attempt uses."""
        for predicate in self.host_predicates:
            predicate.on_host_attempted(host)
        if self.retry_priority is not None:
            self.retry_priority.on_host_attempted(host)

    def should_select_another_host(self, host: Host) -> bool:
        """Whether a predicate objects to `host`."""
        for predicate in self.host_predicates:
            if predicate.should_select_another_host(host):
                return True
        return False
