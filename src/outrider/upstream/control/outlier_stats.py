"""`cluster.<name>.outlier_detection.*`"""

from __future__ import annotations

from typing import Final

from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope

CONSECUTIVE_5XX: Final = "CONSECUTIVE_5XX"
CONSECUTIVE_GATEWAY_FAILURE: Final = "CONSECUTIVE_GATEWAY_FAILURE"
CONSECUTIVE_LOCAL_ORIGIN_FAILURE: Final = "CONSECUTIVE_LOCAL_ORIGIN_FAILURE"
SUCCESS_RATE: Final = "SUCCESS_RATE"
SUCCESS_RATE_LOCAL_ORIGIN: Final = "SUCCESS_RATE_LOCAL_ORIGIN"
FAILURE_PERCENTAGE: Final = "FAILURE_PERCENTAGE"
FAILURE_PERCENTAGE_LOCAL_ORIGIN: Final = "FAILURE_PERCENTAGE_LOCAL_ORIGIN"

# Kind of ejection -> the end of its counters' names.
SUFFIXES: Final[dict[str, str]] = {
    CONSECUTIVE_5XX: "consecutive_5xx",
    CONSECUTIVE_GATEWAY_FAILURE: "consecutive_gateway_failure",
    CONSECUTIVE_LOCAL_ORIGIN_FAILURE: "consecutive_local_origin_failure",
    SUCCESS_RATE: "success_rate",
    SUCCESS_RATE_LOCAL_ORIGIN: "local_origin_success_rate",
    FAILURE_PERCENTAGE: "failure_percentage",
    FAILURE_PERCENTAGE_LOCAL_ORIGIN: "local_origin_failure_percentage",
}


class OutlierStats:
    """The counters; those by kind are found in `detected` and `enforced`."""

    __slots__ = (
        "detected", "enforced", "ejections_active", "ejections_consecutive_5xx", "ejections_enforced_total",
        "ejections_overflow", "ejections_success_rate", "ejections_total",
    )

    def __init__(self, scope: Scope) -> None:
        base = "outlier_detection.ejections_"
        self.detected: dict[str, Counter] = {
            kind: scope.counter(f"{base}detected_{suffix}") for kind, suffix in SUFFIXES.items()
        }
        scope.counter(base + "detected_degradation")
        self.enforced: dict[str, Counter] = {
            kind: scope.counter(f"{base}enforced_{suffix}") for kind, suffix in SUFFIXES.items()
        }
        self.ejections_active: Gauge = scope.gauge(base + "active", False)
        # Deprecated, and kept by Envoy.
        self.ejections_consecutive_5xx: Counter = scope.counter(base + "consecutive_5xx")
        self.ejections_success_rate: Counter = scope.counter(base + "success_rate")
        self.ejections_total: Counter = scope.counter(base + "total")
        self.ejections_enforced_total: Counter = scope.counter(base + "enforced_total")
        self.ejections_overflow: Counter = scope.counter(base + "overflow")
