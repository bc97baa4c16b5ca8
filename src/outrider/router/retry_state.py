"""Whether and when a request is tried again: an engine that does no I/O, reads no clock and draws no number itself.

Source: Envoy documentation, router filter ("How a request is retried", "x-envoy-retry-on", "x-envoy-retry-grpc-on")
and `config.route.v3.RetryPolicy`. The filter asks with `should_retry_*`; on RETRY_YES it waits `delay_ms` (-1: only
until the next loop iteration) and tries again. A granted retry holds one unit of the cluster's retry circuit breaker
until the next question or `release`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
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
DECISION_NO: Final = 0
DECISION_BACK_OFF: Final = 1
DECISION_AT_ONCE: Final = 2

DELAY_NEXT_ITERATION: Final = -1

DEFAULT_BASE_INTERVAL_MS: Final = 25

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


class RetryStats:
    """The counters of one level (cluster, virtual cluster) that the engine charges."""

    __slots__ = ()


class RetryState:
    """The retries of one request."""

    __slots__ = (
        "policy", "retry_on", "remaining", "resources", "back_off", "host_predicates", "retry_priority", "status_codes",
        "header_names", "holds_retry", "succeeded", "delay_ms", "rate_limited", "_reset_ms", "retries_enabled",
    )

    def __init__(self, policy: RetryPolicy, base_interval_ms: int, resources: RetryResources) -> None:
        """`base_interval_ms` is runtime's `upstream.base_retry_backoff_ms`, used where the policy names no interval."""
        self.policy = policy
        self.retry_on: int = policy.retry_on
        self.remaining: int = policy.num_retries
        self.resources = resources
        base = policy.base_interval_ms if policy.base_interval_ms > 0 else base_interval_ms
        self.back_off = ExponentialBackOff(base, policy.max_interval_ms if policy.max_interval_ms > 0 else base * 10)
        self.host_predicates: list[RetryHostPredicate] = [factory.create() for factory in policy.host_predicates]
        self.retry_priority: RetryPriority | None = None if policy.priority is None else policy.priority.create()
        # Further codes and names from request headers.
        self.status_codes: list[int] | None = None
        self.header_names: list[bytes] | None = None
        self.holds_retry: bool = False
        # How long to wait after RETRY_YES, and whether a response's reset header said so.
        self.delay_ms: int = 0
        self.rate_limited: bool = False
        # True after a question that ended a retry well (Envoy's upstream_rq_retry_success).
        self.succeeded: bool = False
        self._reset_ms: int = 0
        # Runtime `upstream.use_retry`.
        self.retries_enabled: bool = True
