"""Response flags: bits of `StreamInfo.response_flags`, and their names in access logs.

Source: Envoy access-log documentation, `%RESPONSE_FLAGS%` and `%RESPONSE_FLAGS_LONG%`.
"""

from __future__ import annotations

from typing import Final

FAILED_LOCAL_HEALTH_CHECK: Final = 1 << 0
NO_HEALTHY_UPSTREAM: Final = 1 << 1
UPSTREAM_REQUEST_TIMEOUT: Final = 1 << 2
LOCAL_RESET: Final = 1 << 3
UPSTREAM_REMOTE_RESET: Final = 1 << 4
UPSTREAM_CONNECTION_FAILURE: Final = 1 << 5
UPSTREAM_CONNECTION_TERMINATION: Final = 1 << 6
UPSTREAM_OVERFLOW: Final = 1 << 7
NO_ROUTE_FOUND: Final = 1 << 8
DELAY_INJECTED: Final = 1 << 9
FAULT_INJECTED: Final = 1 << 10
RATE_LIMITED: Final = 1 << 11
UNAUTHORIZED_EXTERNAL_SERVICE: Final = 1 << 12
RATELIMIT_SERVICE_ERROR: Final = 1 << 13
DOWNSTREAM_CONNECTION_TERMINATION: Final = 1 << 14
UPSTREAM_RETRY_LIMIT_EXCEEDED: Final = 1 << 15
STREAM_IDLE_TIMEOUT: Final = 1 << 16
INVALID_ENVOY_REQUEST_HEADERS: Final = 1 << 17
DOWNSTREAM_PROTOCOL_ERROR: Final = 1 << 18
UPSTREAM_MAX_STREAM_DURATION_REACHED: Final = 1 << 19
RESPONSE_FROM_CACHE_FILTER: Final = 1 << 20
NO_FILTER_CONFIG_FOUND: Final = 1 << 21
DURATION_TIMEOUT: Final = 1 << 22
UPSTREAM_PROTOCOL_ERROR: Final = 1 << 23
NO_CLUSTER_FOUND: Final = 1 << 24
OVERLOAD_MANAGER: Final = 1 << 25
DNS_RESOLUTION_FAILURE: Final = 1 << 26
DROP_OVERLOAD: Final = 1 << 27
DOWNSTREAM_REMOTE_RESET: Final = 1 << 28
UNCONDITIONAL_DROP_OVERLOAD: Final = 1 << 29
# No flag of its own: UPSTREAM_RETRY_LIMIT_EXCEEDED came after the last attempt's flag (L4) and is printed last.
RETRY_LIMIT_LAST: Final = 1 << 30

# (bit, short name, long name). Envoy prints flags in the order in which they were set; with bits, this is the order in
# which the parts of the proxy set them: filters, route, retries, the last attempt, the end of the stream.
FLAGS: Final[list[tuple[int, str, str]]] = [
    (INVALID_ENVOY_REQUEST_HEADERS, "IH", "InvalidEnvoyRequestHeaders"),
    (FAILED_LOCAL_HEALTH_CHECK, "LH", "FailedLocalHealthCheck"),
    (RATE_LIMITED, "RL", "RateLimited"),
    (UNAUTHORIZED_EXTERNAL_SERVICE, "UAEX", "UnauthorizedExternalService"),
    (RATELIMIT_SERVICE_ERROR, "RLSE", "RateLimitServiceError"),
    (DELAY_INJECTED, "DI", "DelayInjected"),
    (FAULT_INJECTED, "FI", "FaultInjected"),
    (RESPONSE_FROM_CACHE_FILTER, "RFCF", "ResponseFromCacheFilter"),
    (NO_FILTER_CONFIG_FOUND, "NFCF", "NoFilterConfigFound"),
    (NO_ROUTE_FOUND, "NR", "NoRouteFound"),
    (NO_CLUSTER_FOUND, "NC", "NoClusterFound"),
    (DNS_RESOLUTION_FAILURE, "DF", "DnsResolutionFailed"),
    (DROP_OVERLOAD, "DO", "DropOverload"),
    (UNCONDITIONAL_DROP_OVERLOAD, "UDO", "UnconditionalDropOverload"),
    (UPSTREAM_RETRY_LIMIT_EXCEEDED, "URX", "UpstreamRetryLimitExceeded"),
    (UPSTREAM_OVERFLOW, "UO", "UpstreamOverflow"),
    (NO_HEALTHY_UPSTREAM, "UH", "NoHealthyUpstream"),
    (UPSTREAM_REQUEST_TIMEOUT, "UT", "UpstreamRequestTimeout"),
    (LOCAL_RESET, "LR", "LocalReset"),
    (UPSTREAM_REMOTE_RESET, "UR", "UpstreamRemoteReset"),
    (UPSTREAM_CONNECTION_FAILURE, "UF", "UpstreamConnectionFailure"),
    (UPSTREAM_CONNECTION_TERMINATION, "UC", "UpstreamConnectionTermination"),
    (UPSTREAM_PROTOCOL_ERROR, "UPE", "UpstreamProtocolError"),
    (UPSTREAM_MAX_STREAM_DURATION_REACHED, "UMSDR", "UpstreamMaxStreamDurationReached"),
    (DURATION_TIMEOUT, "DT", "DurationTimeout"),
    (STREAM_IDLE_TIMEOUT, "SI", "StreamIdleTimeout"),
    (OVERLOAD_MANAGER, "OM", "OverloadManagerTerminated"),
    (DOWNSTREAM_PROTOCOL_ERROR, "DPE", "DownstreamProtocolError"),
    (DOWNSTREAM_CONNECTION_TERMINATION, "DC", "DownstreamConnectionTermination"),
    (DOWNSTREAM_REMOTE_RESET, "DR", "DownstreamRemoteReset"),
]

_SHORT: dict[int, str] = {0: "-"}
_LONG: dict[int, str] = {0: "-"}


def _in_order(flags: int) -> list[tuple[int, str, str]]:
    found = [entry for entry in FLAGS if flags & entry[0]]
    if flags & RETRY_LIMIT_LAST:
        limit = [entry for entry in found if entry[0] == UPSTREAM_RETRY_LIMIT_EXCEEDED]
        found = [entry for entry in found if entry[0] != UPSTREAM_RETRY_LIMIT_EXCEEDED] + limit
    return found


def short_text(flags: int) -> str:
    """Comma-separated short names in Envoy's order, `-` when none is set."""
    text = _SHORT.get(flags)
    if text is None:
        text = ",".join([short for _, short, _ in _in_order(flags)])
        _SHORT[flags] = text
    return text


def long_text(flags: int) -> str:
    """Comma-separated long names, `-` when none is set."""
    text = _LONG.get(flags)
    if text is None:
        text = ",".join([long for _, _, long in _in_order(flags)])
        _LONG[flags] = text
    return text


BY_SHORT_NAME: Final[dict[str, int]] = {short: bit for bit, short, _ in FLAGS}
