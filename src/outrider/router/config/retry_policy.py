"""Retry settings of a route or virtual host, and the vocabulary of `retry_on`.

Source: Envoy documentation, "Router: x-envoy-retry-on, x-envoy-retry-grpc-on" and `config.route.v3.RetryPolicy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.data.header_map import HeaderMap, RequestHeaderMap
    from outrider.matching.header_matcher import HeaderMatcher
    from outrider.upstream.host import Host
    from outrider.upstream.priority_load import PriorityLoad

RETRY_ON_5XX: Final = 1 << 0
RETRY_ON_GATEWAY_ERROR: Final = 1 << 1
RETRY_ON_CONNECT_FAILURE: Final = 1 << 2
RETRY_ON_RETRIABLE_4XX: Final = 1 << 3
RETRY_ON_REFUSED_STREAM: Final = 1 << 4
RETRY_ON_GRPC_CANCELLED: Final = 1 << 5
RETRY_ON_GRPC_DEADLINE_EXCEEDED: Final = 1 << 6
RETRY_ON_GRPC_RESOURCE_EXHAUSTED: Final = 1 << 7
RETRY_ON_GRPC_UNAVAILABLE: Final = 1 << 8
RETRY_ON_RETRIABLE_STATUS_CODES: Final = 1 << 9
RETRY_ON_RESET: Final = 1 << 10
RETRY_ON_RETRIABLE_HEADERS: Final = 1 << 11
RETRY_ON_ENVOY_RATE_LIMITED: Final = 1 << 12
RETRY_ON_GRPC_INTERNAL: Final = 1 << 13
RETRY_ON_HTTP3_POST_CONNECT_FAILURE: Final = 1 << 14
RETRY_ON_RESET_BEFORE_REQUEST: Final = 1 << 15

_RETRY_ON: Final[dict[str, int]] = {
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

_RETRY_GRPC_ON: Final[dict[str, int]] = {
    "cancelled": RETRY_ON_GRPC_CANCELLED,
    "deadline-exceeded": RETRY_ON_GRPC_DEADLINE_EXCEEDED,
    "resource-exhausted": RETRY_ON_GRPC_RESOURCE_EXHAUSTED,
    "unavailable": RETRY_ON_GRPC_UNAVAILABLE,
    "internal": RETRY_ON_GRPC_INTERNAL,
}

# How a rate-limited response names the time to wait.
RESET_SECONDS: Final = 0
RESET_UNIX_TIMESTAMP: Final = 1


def parse_retry_on(text: str) -> tuple[int, bool]:
    """Bits of a comma-separated `retry_on`, and whether every word was known (unknown words are skipped)."""
    return _parse(text, _RETRY_ON)


def parse_retry_grpc_on(text: str) -> tuple[int, bool]:
    """The same for the gRPC conditions."""
    return _parse(text, _RETRY_GRPC_ON)


def _parse(text: str, words: dict[str, int]) -> tuple[int, bool]:
    bits = 0
    known = True
    for word in text.split(","):
        bit = words.get(word.strip(" \t\n\r\f\v"))
        if bit is None:
            known = False
        else:
            bits |= bit
    return bits, known


@mypyc_attr(allow_interpreted_subclasses=True)
class RetryHostPredicate:
    """Vetoes hosts for a retry; one object per request. Envoy's RetryHostPredicate."""

    def should_select_another_host(self, host: Host) -> bool:
        return False

    def on_host_attempted(self, host: Host) -> None:
        """An attempt on `host` has begun."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RetryHostPredicateFactory:
    """Makes a predicate for each request that may be retried."""

    def create(self) -> RetryHostPredicate:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class RetryPriority:
    """Chooses the priority loads of the next attempt; one object per request. Envoy's RetryPriority."""

    def determine_priority_load(self, load: PriorityLoad) -> PriorityLoad:
        """The loads of the next attempt; `load` is the regular one, not to be modified."""
        return load

    def on_host_attempted(self, host: Host) -> None:
        """An attempt on `host` has begun."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RetryPriorityFactory:
    """Makes a RetryPriority for each request that may be retried."""

    def create(self) -> RetryPriority:
        raise NotImplementedError


RETRY_HOST_PREDICATES: Final[ExtensionRegistry[RetryHostPredicateFactory]] = ExtensionRegistry(
    "envoy.retry_host_predicates"
)
RETRY_PRIORITIES: Final[ExtensionRegistry[RetryPriorityFactory]] = ExtensionRegistry("envoy.retry_priorities")


class ResetHeader:
    """A response header that tells when to retry: `name` (lower case) and RESET_SECONDS or RESET_UNIX_TIMESTAMP."""

    __slots__ = ("name", "format")

    def __init__(self, name: bytes, format: int) -> None:
        self.name = name
        self.format = format


class RetryPolicy:
    """Immutable retry settings. Times in milliseconds; -1 where not set."""

    __slots__ = (
        "retry_on",
        "num_retries",
        "per_try_timeout_ms",
        "per_try_idle_timeout_ms",
        "host_predicates",
        "priority",
        "host_selection_max_attempts",
        "retriable_status_codes",
        "retriable_headers",
        "retriable_request_headers",
        "base_interval_ms",
        "max_interval_ms",
        "reset_headers",
        "reset_max_interval_ms",
    )

    def __init__(self) -> None:
        self.retry_on: int = 0
        # Default 1.
        self.num_retries: int = 1
        # 0: the route's timeout bounds the try.
        self.per_try_timeout_ms: int = 0
        self.per_try_idle_timeout_ms: int = 0
        self.host_predicates: list[RetryHostPredicateFactory] = []
        self.priority: RetryPriorityFactory | None = None
        self.host_selection_max_attempts: int = 1
        self.retriable_status_codes: list[int] = []
        # Any of them matching makes the response (the request) retriable.
        self.retriable_headers: list[HeaderMatcher] = []
        self.retriable_request_headers: list[HeaderMatcher] = []
        # -1: runtime `upstream.base_retry_backoff_ms`, default 25, and ten times that.
        self.base_interval_ms: int = -1
        self.max_interval_ms: int = -1
        self.reset_headers: list[ResetHeader] = []
        self.reset_max_interval_ms: int = 300_000

    def is_retriable_status(self, status: int) -> bool:
        return status in self.retriable_status_codes

    def has_retriable_header(self, headers: HeaderMap) -> bool:
        """Whether a response carries a header that makes it retriable."""
        for matcher in self.retriable_headers:
            if matcher.matches(headers):
                return True
        return False

    def allows_request(self, headers: RequestHeaderMap) -> bool:
        """Whether `retriable_request_headers` (when there are any) permit retries of this request."""
        if not self.retriable_request_headers:
            return True
        for matcher in self.retriable_request_headers:
            if matcher.matches(headers):
                return True
        return False


class HedgePolicy:
    """Hedging settings; only `hedge_on_per_try_timeout` acts, as in Envoy ("initial_requests" is not implemented)."""

    __slots__ = (
        "initial_requests",
        "additional_chance_numerator",
        "additional_chance_denominator",
        "on_per_try_timeout",
    )

    def __init__(
        self,
        initial_requests: int,
        additional_chance_numerator: int,
        additional_chance_denominator: int,
        on_per_try_timeout: bool,
    ) -> None:
        self.initial_requests = initial_requests
        self.additional_chance_numerator = additional_chance_numerator
        self.additional_chance_denominator = additional_chance_denominator
        self.on_per_try_timeout = on_per_try_timeout
