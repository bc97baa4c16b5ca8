"""Arithmetic of request timeouts; all values in milliseconds, 0 meaning none.

Source: Envoy documentation, router filter ("x-envoy-upstream-rq-timeout-ms", "x-envoy-expected-rq-timeout-ms",
"grpc-timeout") and `RouteAction.timeout`, `max_stream_duration`.
"""

from __future__ import annotations

from typing import Final

# Milliseconds of each unit of a `grpc-timeout` (gRPC over HTTP/2, "Timeout"); finer units are handled apart.
_UNIT_MS: Final[dict[int, int]] = {72: 3_600_000, 77: 60_000, 83: 1000, 109: 1}
_MICRO: Final = 117
_NANO: Final = 110
_MAX_GRPC_VALUE: Final = 99_999_999


def parse_grpc_timeout(value: bytes) -> int:
    """Milliseconds of a `grpc-timeout` value, fractions rounded up; -1 when it is malformed."""
    if len(value) < 2 or len(value) > 21:
        return -1
    # Space is let pass, as Envoy does; more than eight digits are not.
    digits = value[:-1].strip()
    if not digits.isdigit():
        return -1
    amount = int(digits)
    if amount > _MAX_GRPC_VALUE:
        return -1
    unit = value[-1]
    if unit == _MICRO:
        return (amount + 999) // 1000
    if unit == _NANO:
        return (amount + 999_999) // 1_000_000
    factor = _UNIT_MS.get(unit)
    return -1 if factor is None else amount * factor


def format_grpc_timeout(milliseconds: int) -> bytes:
    """The `grpc-timeout` for a time: at most eight digits, in the finest unit that has room."""
    amount = milliseconds
    for unit, divisor in ((b"m", 1000), (b"S", 60), (b"M", 60)):
        if amount <= _MAX_GRPC_VALUE:
            return b"%d%b" % (amount, unit)
        amount //= divisor
    return b"%dH" % min(amount, _MAX_GRPC_VALUE)


def grpc_global_timeout(header: bytes | None, maximum_ms: int, offset_ms: int) -> int:
    """The timeout of a gRPC request on a route with a maximum gRPC timeout (0: any).

    Without a (valid) header the request asks for none; `offset_ms` is taken off unless nothing would remain.
    """
    timeout = 0
    if header is not None:
        timeout = max(parse_grpc_timeout(header), 0)
    if 0 < offset_ms < timeout:
        timeout -= offset_ms
    if maximum_ms != 0 and (timeout == 0 or timeout > maximum_ms):
        timeout = maximum_ms
    return timeout


def bounded_per_try(per_try_ms: int, global_ms: int) -> int:
    """A per-try timeout that is not shorter than the whole request's is none."""
    return 0 if global_ms != 0 and per_try_ms >= global_ms else per_try_ms


def expected_timeout(global_ms: int, per_try_ms: int, elapsed_ms: int, hedging: bool) -> int:
    """What the upstream is told that it has (`x-envoy-expected-rq-timeout-ms`)."""
    expected = global_ms if hedging or per_try_ms == 0 else per_try_ms
    if expected > 0 and global_ms > 0:
        # Out of time: 0 would mean for ever, so say 1; the timeout is about to fire.
        expected = 1 if elapsed_ms >= global_ms else min(expected, global_ms - elapsed_ms)
    return expected


def percent_used(elapsed_ms: int, timeout_ms: int) -> int:
    """Share of a timeout that was used, in per cent, for the timeout-budget histograms."""
    return 0 if timeout_ms == 0 else elapsed_ms * 100 // timeout_ms
