"""Back-off intervals with jitter, as pure arithmetic: the random number is the caller's.

Source: Envoy documentation, router filter, "config_http_filters_router_x-envoy-max-retries" (fully jittered exponential
back-off) and `RateLimitedRetryBackOff` (jitter upwards only, so that a reset time is never undercut).
"""

from __future__ import annotations


class ExponentialBackOff:
    """Fully jittered: each interval is drawn below a bound that starts at `base_ms` and doubles up to `max_ms`."""

    __slots__ = ("bound_ms", "max_ms")

    def __init__(self, base_ms: int, max_ms: int) -> None:
        self.bound_ms = base_ms if base_ms > 0 else 1
        self.max_ms = max_ms if max_ms > self.bound_ms else self.bound_ms

    def next_ms(self, random_value: int) -> int:
        """The next interval; `random_value` is any non-negative integer."""
        bound = self.bound_ms
        doubled = bound * 2
        self.bound_ms = doubled if doubled < self.max_ms else self.max_ms
        return random_value % bound


def at_least_ms(minimum_ms: int, random_value: int) -> int:
    """An interval from `minimum_ms` to one and a half times that."""
    return minimum_ms + random_value % ((minimum_ms + 1) // 2)
