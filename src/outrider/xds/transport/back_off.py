"""Intervals between attempts to reach a config source.

Source: Envoy's `JitteredExponentialBackOffStrategy`: each interval is a random part of a ceiling that doubles.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outrider.config.view import View

BASE_MS: Final = 500
MAX_MS: Final = 30_000


class BackOff:
    """A ceiling that doubles from `base_ms` to `max_ms`."""

    __slots__ = ("_ceiling_ms", "base_ms", "max_ms", "randomness")

    def __init__(self, base_ms: int = BASE_MS, max_ms: int = MAX_MS, randomness: random.Random | None = None) -> None:
        self.base_ms = base_ms
        self.max_ms = max_ms
        self.randomness = randomness if randomness is not None else random.Random()
        self._ceiling_ms = base_ms

    def next_ms(self) -> int:
        """How long to wait now."""
        ceiling = self._ceiling_ms
        self._ceiling_ms = min(ceiling * 2, self.max_ms)
        return min(self.randomness.randrange(ceiling), self.max_ms)

    def reset(self) -> None:
        """The source answered."""
        self._ceiling_ms = self.base_ms


def read_back_off(grpc_service: View) -> BackOff:
    """From the `retry_policy` of an `envoy_grpc` service. Raises ConfigError."""
    envoy_grpc = grpc_service.message("envoy_grpc") if grpc_service.has("envoy_grpc") else None
    policy = envoy_grpc.message("retry_policy") if envoy_grpc is not None else None
    back_off = policy.message("retry_back_off") if policy is not None else None
    if back_off is None:
        return BackOff()
    base = back_off.millis("base_interval") or 0
    longest = back_off.millis("max_interval")
    if longest is None:
        longest = base * 10
    if longest < base:
        raise back_off.error("max_interval must be greater than or equal to the base_interval", "max_interval")
    return BackOff(max(base, 1), max(longest, 1))
