"""Request headers that steer the router (`x-envoy-upstream-rq-timeout-ms` and the like).

Source: Envoy documentation, router filter, "HTTP headers (consumed from downstreams)" and "strict_check_headers". The
connection manager has already removed them from requests that do not come from inside. Most requests carry none of
them: `is_steered` answers that with one pass in C over the header names.
"""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import (
    X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
    X_ENVOY_MAX_RETRIES,
    X_ENVOY_RETRIABLE_HEADER_NAMES,
    X_ENVOY_RETRIABLE_STATUS_CODES,
    X_ENVOY_RETRY_GRPC_ON,
    X_ENVOY_RETRY_ON,
    X_ENVOY_UPSTREAM_ALT_STAT_NAME,
    X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    X_ENVOY_UPSTREAM_STREAM_DURATION_MS,
)
from outrider.router.config.retry_policy import parse_retry_grpc_on, parse_retry_on

_RETRY_HEADERS: Final[list[bytes]] = [
    X_ENVOY_RETRY_ON,
    X_ENVOY_RETRY_GRPC_ON,
    X_ENVOY_MAX_RETRIES,
    X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
    X_ENVOY_RETRIABLE_HEADER_NAMES,
    X_ENVOY_RETRIABLE_STATUS_CODES,
    X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
]
STEERING_HEADERS: Final[frozenset[bytes]] = frozenset(
    [
        *_RETRY_HEADERS,
        X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
        X_ENVOY_UPSTREAM_ALT_STAT_NAME,
        X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
        X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
        X_ENVOY_UPSTREAM_STREAM_DURATION_MS,
    ]
)

_MAX_UINT64: Final = (1 << 64) - 1
_SPACE: Final = b" \t\n\v\f\r"


def is_steered(headers: RequestHeaderMap) -> bool:
    """Whether any of STEERING_HEADERS is present."""
    return not STEERING_HEADERS.isdisjoint(headers.single)


def parse_unsigned(text: bytes) -> int:
    """A decimal 64-bit unsigned integer, -1 if it is none. White space around and a plus sign are allowed."""
    digits = text.strip(_SPACE)
    if digits[:1] == b"+":
        digits = digits[1:]
    if not digits or len(digits) > 24 or not digits.isdigit():
        return -1
    value = int(digits)
    return value if value <= _MAX_UINT64 else -1


class Steering:
    """What the headers of one request ask for; -1 where they say nothing."""

    __slots__ = (
        "timeout_ms",
        "per_try_timeout_ms",
        "stream_duration_ms",
        "hedge_on_per_try_timeout",
        "alt_response",
        "expected_timeout_present",
    )

    def __init__(self) -> None:
        self.timeout_ms: int = -1
        self.per_try_timeout_ms: int = -1
        self.stream_duration_ms: int = -1
        self.hedge_on_per_try_timeout: int = -1
        # `x-envoy-upstream-rq-timeout-alt-response`: a timeout answers 204.
        self.alt_response: bool = False
        # The egress Envoy's own word on the timeout was obeyed: it stays in the request.
        self.expected_timeout_present: bool = False


def take_steering(headers: RequestHeaderMap, respect_expected_timeout: bool) -> Steering:
    """Read the timeout and hedging headers and remove those that end here."""
    steering = Steering()
    expected = headers.get(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS) if respect_expected_timeout else None
    if expected is not None:
        steering.timeout_ms = parse_unsigned(expected)
    else:
        value = headers.get(X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS)
        if value is not None:
            steering.timeout_ms = parse_unsigned(value)
            headers.remove(X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS)
    value = headers.get(X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS)
    if value is not None:
        steering.per_try_timeout_ms = parse_unsigned(value)
        headers.remove(X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS)
    value = headers.get(X_ENVOY_UPSTREAM_STREAM_DURATION_MS)
    if value is not None:
        steering.stream_duration_ms = parse_unsigned(value)
        headers.remove(X_ENVOY_UPSTREAM_STREAM_DURATION_MS)
    value = headers.get(X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT)
    if value is not None:
        if value == b"true":
            steering.hedge_on_per_try_timeout = 1
        elif value == b"false":
            steering.hedge_on_per_try_timeout = 0
        headers.remove(X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT)
    if headers.get(X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE) is not None:
        steering.alt_response = True
        headers.remove(X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE)
    return steering


def remove_retry_headers(headers: RequestHeaderMap) -> None:
    """The retry headers end at this proxy, whether they were obeyed or not."""
    for name in _RETRY_HEADERS:
        headers.remove(name)


def header_is_valid(name: bytes, value: bytes) -> bool:
    """`strict_check_headers`: whether a steering header that is present can be obeyed."""
    if name == X_ENVOY_RETRY_ON:
        return parse_retry_on(value.decode("latin-1"))[1]
    if name == X_ENVOY_RETRY_GRPC_ON:
        return parse_retry_grpc_on(value.decode("latin-1"))[1]
    return parse_unsigned(value) >= 0
