"""The timeouts of one request, from route and headers, and what the upstream is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import GRPC_TIMEOUT, X_ENVOY_EXPECTED_RQ_TIMEOUT_MS
from outrider.router.header_steering import take_steering
from outrider.router.timeouts import bounded_per_try, expected_timeout, format_grpc_timeout, grpc_global_timeout

if TYPE_CHECKING:
    from outrider.router.filter import RouterFilter

# Decimal texts of small numbers, and of timeouts of whole seconds.
_DECIMAL: Final[list[bytes]] = [b"%d" % value for value in range(1000)]
_SECONDS: Final[dict[int, bytes]] = {value: b"%d" % value for value in range(1000, 120_001, 1000)}


def decimal(value: int) -> bytes:
    """Decimal text of a non-negative integer."""
    if value < 1000:
        return _DECIMAL[value]
    text = _SECONDS.get(value)
    return b"%d" % value if text is None else text


def set_timeouts(router: RouterFilter, headers: RequestHeaderMap, steered: bool) -> None:
    """Settle the request's timeouts. `steered`: headers may override the route."""
    entry = router.entry
    if entry.bounds_duration():
        # The newer kind of timeout, which the connection manager watches over.
        timeout = 0
    elif router.grpc and entry.max_grpc_timeout_ms >= 0:
        timeout = grpc_global_timeout(
            headers.get(GRPC_TIMEOUT), entry.max_grpc_timeout_ms, entry.grpc_timeout_offset_ms
        )
    else:
        timeout = entry.timeout_ms
    per_try = 0
    policy = entry.retry_policy
    if policy is not None:
        per_try = policy.per_try_timeout_ms
        if policy.per_try_idle_timeout_ms > 0:
            router.per_try_idle_timeout_ms = policy.per_try_idle_timeout_ms
    if entry.hedge_policy is not None and entry.hedge_policy.on_per_try_timeout:
        router.hedging = True
    if steered:
        steering = take_steering(headers, router.config.respect_expected_timeout)
        if steering.timeout_ms >= 0:
            timeout = steering.timeout_ms
        if steering.per_try_timeout_ms >= 0:
            per_try = steering.per_try_timeout_ms
        if steering.hedge_on_per_try_timeout >= 0:
            router.hedging = steering.hedge_on_per_try_timeout == 1
        router.stream_duration_ms = steering.stream_duration_ms
        if steering.alt_response:
            router.timeout_code = 204
    router.global_timeout_ms = timeout
    if per_try > 0:
        per_try = bounded_per_try(per_try, timeout)
        router.per_try_timeout_ms = per_try
    if timeout > 0 or per_try > 0:
        set_expected_timeout(router, headers, 0)


def set_expected_timeout(router: RouterFilter, headers: RequestHeaderMap, elapsed_ms: int) -> None:
    """Tell the upstream how long it has."""
    expected = expected_timeout(router.global_timeout_ms, router.per_try_timeout_ms, elapsed_ms, router.hedging)
    if expected <= 0:
        return
    if not router.config.suppress_envoy_headers:
        headers.set(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, decimal(expected))
    entry = router.entry
    if router.grpc and entry.max_grpc_timeout_ms >= 0 and not entry.bounds_duration():
        headers.set(GRPC_TIMEOUT, format_grpc_timeout(expected))
