"""`cluster.<name>.health_check.*`"""

from __future__ import annotations

from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope


class HealthStats:
    """Shared by all checkers of a cluster."""

    __slots__ = (
        "attempt", "degraded", "failure", "healthy", "network_failure", "passive_failure", "success", "verify_cluster",
    )

    def __init__(self, scope: Scope) -> None:
        base = "health_check."
        self.attempt: Counter = scope.counter(base + "attempt")
        self.degraded: Gauge = scope.gauge(base + "degraded", False)
        self.failure: Counter = scope.counter(base + "failure")
        self.healthy: Gauge = scope.gauge(base + "healthy", False)
        self.network_failure: Counter = scope.counter(base + "network_failure")
        self.passive_failure: Counter = scope.counter(base + "passive_failure")
        self.success: Counter = scope.counter(base + "success")
        self.verify_cluster: Counter = scope.counter(base + "verify_cluster")
