"""Conditions of a retry, as bits, and their names in configuration and in `x-envoy-retry-on` / `-grpc-on`.

Source: Envoy documentation, router filter, "x-envoy-retry-on" and "x-envoy-retry-grpc-on".
"""

from __future__ import annotations

from typing import Final

RETRY_ON_5XX: Final = 1 << 0
RETRY_ON_GATEWAY_ERROR: Final = 1 << 1
RETRY_ON_CONNECT_FAILURE: Final = 1 << 2
RETRY_ON_RETRIABLE_4XX: Final = 1 << 3
RETRY_ON_REFUSED_STREAM: Final = 1 << 4
RETRY_ON_RETRIABLE_STATUS_CODES: Final = 1 << 5
RETRY_ON_RETRIABLE_HEADERS: Final = 1 << 6
RETRY_ON_RESET: Final = 1 << 7
RETRY_ON_RESET_BEFORE_REQUEST: Final = 1 << 8
RETRY_ON_ENVOY_RATE_LIMITED: Final = 1 << 9
RETRY_ON_HTTP3_POST_CONNECT_FAILURE: Final = 1 << 10
RETRY_ON_GRPC_CANCELLED: Final = 1 << 11
RETRY_ON_GRPC_DEADLINE_EXCEEDED: Final = 1 << 12
RETRY_ON_GRPC_RESOURCE_EXHAUSTED: Final = 1 << 13
RETRY_ON_GRPC_UNAVAILABLE: Final = 1 << 14
RETRY_ON_GRPC_INTERNAL: Final = 1 << 15

RETRY_ON_ANY_GRPC: Final = (
    RETRY_ON_GRPC_CANCELLED
    | RETRY_ON_GRPC_DEADLINE_EXCEEDED
    | RETRY_ON_GRPC_RESOURCE_EXHAUSTED
    | RETRY_ON_GRPC_UNAVAILABLE
    | RETRY_ON_GRPC_INTERNAL
)

_HTTP_NAMES: Final[dict[str, int]] = {
    "5xx": RETRY_ON_5XX,
    "gateway-error": RETRY_ON_GATEWAY_ERROR,
    "connect-failure": RETRY_ON_CONNECT_FAILURE,
    "envoy-ratelimited": RETRY_ON_ENVOY_RATE_LIMITED,
    "retriable-4xx": RETRY_ON_RETRIABLE_4XX,
    "refused-stream": RETRY_ON_REFUSED_STREAM,
    "retriable-status-codes": RETRY_ON_RETRIABLE_STATUS_CODES,
    "retriable-headers": RETRY_ON_RETRIABLE_HEADERS,
    "reset": RETRY_ON_RESET,
    "reset-before-request": RETRY_ON_RESET_BEFORE_REQUEST,
    "http3-post-connect-failure": RETRY_ON_HTTP3_POST_CONNECT_FAILURE,
}

_GRPC_NAMES: Final[dict[str, int]] = {
    "cancelled": RETRY_ON_GRPC_CANCELLED,
    "deadline-exceeded": RETRY_ON_GRPC_DEADLINE_EXCEEDED,
    "resource-exhausted": RETRY_ON_GRPC_RESOURCE_EXHAUSTED,
    "unavailable": RETRY_ON_GRPC_UNAVAILABLE,
    "internal": RETRY_ON_GRPC_INTERNAL,
}


def _parse(text: str, names: dict[str, int]) -> tuple[int, bool]:
    bits = 0
    valid = True
    for word in text.split(","):
        name = word.strip()
        if not name:
            continue
        bit = names.get(name, 0)
        if bit == 0:
            valid = False
        bits |= bit
    return bits, valid


def parse_retry_on(text: str) -> tuple[int, bool]:
    """Bits of a comma-separated list of HTTP conditions, and whether all of its words are known."""
    return _parse(text, _HTTP_NAMES)


def parse_retry_grpc_on(text: str) -> tuple[int, bool]:
    """Bits of a comma-separated list of gRPC conditions, and whether all of its words are known."""
    return _parse(text, _GRPC_NAMES)
