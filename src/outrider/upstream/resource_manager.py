"""Circuit breakers: what a cluster may use at once, per priority, over all workers (Envoy's ResourceManager)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.shared_limit import SharedArena, SharedGauge
from outrider.stats.metrics import Gauge
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime

PRIORITY_DEFAULT: Final = 0
PRIORITY_HIGH: Final = 1
PRIORITY_NAMES: Final[list[str]] = ["default", "high"]

# CircuitBreakers.Thresholds defaults.
DEFAULT_MAX: Final = 1024
DEFAULT_MAX_RETRIES: Final = 3
UNLIMITED: Final = 4294967295
# Envoy's "no limit" of connection pools.
UNLIMITED_POOLS: Final = 18446744073709551615


class Resource:
    """One limited quantity. `max` may be changed while it runs (runtime overrides).

    Where the count is shared by several workers, no worker knows when another crosses the limit: there the gauges are
    brought up to date by the main process alone, with `show()` whenever stats are read.
    """

    __slots__ = ("max", "count", "open_gauge", "remaining_gauge", "shared")

    def __init__(
        self, maximum: int, count: SharedGauge, shared: bool, open_gauge: Gauge, remaining_gauge: Gauge | None
    ) -> None:
        self.max: int = maximum
        self.count: SharedGauge = count
        # 1 while at the limit.
        self.open_gauge: Gauge = open_gauge
        # `track_remaining`.
        self.remaining_gauge: Gauge | None = remaining_gauge
        self.shared: bool = shared

    def can_create(self) -> bool:
        return self.count.total() < self.max

    def begin(self) -> None:
        """This process begins to serve: what remains is shown."""
        if self.remaining_gauge is not None:
            self.remaining_gauge.set(self.max)

    def inc(self) -> None:
        self.count.inc()
        # Only near the limit, or when somebody looks at what remains, is there anything more to do.
        if self.shared:
            return
        if self.remaining_gauge is not None or self.count.total() >= self.max:
            self.show()

    def dec(self) -> None:
        self.count.dec()
        if not self.shared and (self.remaining_gauge is not None or self.open_gauge.value):
            self.show()

    def show(self) -> None:
        """Bring the gauges up to date."""
        total = self.count.total()
        self.open_gauge.set(1 if total >= self.max else 0)
        if self.remaining_gauge is not None:
            self.remaining_gauge.set(self.max - total if self.max > total else 0)


class RetryResource(Resource):
    """Retries: a fixed maximum, or a budget in per cent of the requests active and pending."""

    __slots__ = ("budget_percent", "min_concurrency", "requests", "pending")

    def __init__(
        self, maximum: int, count: SharedGauge, shared: bool, open_gauge: Gauge, remaining_gauge: Gauge | None
    ) -> None:
        super().__init__(maximum, count, shared, open_gauge, remaining_gauge)
        # Negative: no budget.
        self.budget_percent: float = -1.0
        self.min_concurrency: int = 3
        self.requests: Resource | None = None
        self.pending: Resource | None = None

    def set_budget(self, percent: float, min_concurrency: int, requests: Resource, pending: Resource) -> None:
        """CircuitBreakers.Thresholds.RetryBudget."""
        self.budget_percent = percent
        self.min_concurrency = min_concurrency
        self.requests = requests
        self.pending = pending

    def limit(self) -> int:
        """How many retries may be in flight now."""
        if self.budget_percent < 0 or self.requests is None or self.pending is None:
            return self.max
        active = self.requests.count.total() + self.pending.count.total()
        allowed = int(self.budget_percent / 100.0 * active)
        return allowed if allowed > self.min_concurrency else self.min_concurrency

    def can_create(self) -> bool:
        return self.count.total() < self.limit()

    def inc(self) -> None:
        self.count.inc()
        if not self.shared:
            self.show()

    def dec(self) -> None:
        self.count.dec()
        if not self.shared:
            self.show()

    def show(self) -> None:
        total = self.count.total()
        limit = self.limit()
        self.open_gauge.set(1 if total >= limit else 0)
        if self.remaining_gauge is not None:
            # Envoy reports no remaining retries under a budget, once there has been one.
            known = self.budget_percent < 0 and limit > total
            self.remaining_gauge.set(limit - total if known else 0)


class Thresholds:
    """CircuitBreakers.Thresholds of one priority."""

    __slots__ = (
        "max_connections",
        "max_pending_requests",
        "max_requests",
        "max_retries",
        "max_connection_pools",
        "retry_budget_percent",
        "retry_min_concurrency",
        "track_remaining",
    )

    def __init__(self) -> None:
        self.max_connections: int = DEFAULT_MAX
        self.max_pending_requests: int = DEFAULT_MAX
        self.max_requests: int = DEFAULT_MAX
        self.max_retries: int = DEFAULT_MAX_RETRIES
        self.max_connection_pools: int = UNLIMITED_POOLS
        # Negative: no budget.
        self.retry_budget_percent: float = -1.0
        self.retry_min_concurrency: int = 3
        self.track_remaining: bool = False


class ResourceManager:
    """The limits of one priority of one cluster."""

    __slots__ = (
        "connections", "pending_requests", "requests", "retries", "connection_pools", "thresholds", "runtime_prefix",
    )

    def __init__(
        self, cluster: str, priority: int, thresholds: Thresholds, scope: Scope, arena: SharedArena | None, column: int
    ) -> None:
        self.thresholds: Thresholds = thresholds
        self.runtime_prefix: str = f"circuit_breakers.{cluster}.{PRIORITY_NAMES[priority]}."
        shared = arena is not None and arena.columns > 1
        base = f"circuit_breakers.{PRIORITY_NAMES[priority]}."
        counts: list[SharedGauge] = []
        opens: list[Gauge] = []
        remaining: list[Gauge | None] = []
        for open_name, remaining_name in _NAMES:
            row = arena.row(_row_name(cluster, priority, open_name)) if arena is not None and shared else 0
            counts.append(SharedGauge(arena, row, column))
            opens.append(scope.gauge(base + open_name))
            remaining.append(scope.gauge(base + remaining_name) if thresholds.track_remaining else None)
        self.connections: Resource = Resource(thresholds.max_connections, counts[0], shared, opens[0], remaining[0])
        self.pending_requests: Resource = Resource(
            thresholds.max_pending_requests, counts[1], shared, opens[1], remaining[1]
        )
        self.requests: Resource = Resource(thresholds.max_requests, counts[2], shared, opens[2], remaining[2])
        self.retries: RetryResource = RetryResource(thresholds.max_retries, counts[3], shared, opens[3], remaining[3])
        self.connection_pools: Resource = Resource(
            thresholds.max_connection_pools, counts[4], shared, opens[4], remaining[4]
        )
        if thresholds.retry_budget_percent >= 0:
            self.retries.set_budget(
                thresholds.retry_budget_percent, thresholds.retry_min_concurrency, self.requests, self.pending_requests
            )

    def apply_runtime(self, runtime: Runtime) -> None:
        """Limits that the runtime overrides; called at the start and whenever the runtime changes."""
        configured = self.thresholds
        prefix = self.runtime_prefix
        self.connections.max = runtime.get_integer(prefix + "max_connections", configured.max_connections)
        self.pending_requests.max = runtime.get_integer(
            prefix + "max_pending_requests", configured.max_pending_requests
        )
        self.requests.max = runtime.get_integer(prefix + "max_requests", configured.max_requests)
        self.retries.max = runtime.get_integer(prefix + "max_retries", configured.max_retries)
        self.connection_pools.max = runtime.get_integer(
            prefix + "max_connection_pools", configured.max_connection_pools
        )
        percent = runtime.get_number(prefix + "retry_budget.budget_percent", configured.retry_budget_percent)
        if percent >= 0:
            least = runtime.get_integer(
                prefix + "retry_budget.min_retry_concurrency", configured.retry_min_concurrency
            )
            self.retries.set_budget(percent, least, self.requests, self.pending_requests)

    def begin(self) -> None:
        """This process begins to serve with these limits."""
        if not self.connections.shared:
            self.connections.begin()
            self.pending_requests.begin()
            self.requests.begin()
            self.retries.begin()
            self.connection_pools.begin()

    def show(self) -> None:
        """Bring all gauges up to date (main process, before stats are read). A single worker keeps its own."""
        if not self.connections.shared:
            return
        self.connections.show()
        self.pending_requests.show()
        self.requests.show()
        self.retries.show()
        self.connection_pools.show()


def _row_name(cluster: str, priority: int, quantity: str) -> str:
    return f"cluster/{cluster}/{priority}/{quantity}"


def row_names(cluster: str) -> list[str]:
    """The rows of the shared arena in which the limits of a cluster count."""
    return [_row_name(cluster, priority, names[0]) for priority in (0, 1) for names in _NAMES]


# Names of the gauges: "open", and what remains.
_NAMES: Final[list[tuple[str, str]]] = [
    ("cx_open", "remaining_cx"),
    ("rq_pending_open", "remaining_pending"),
    ("rq_open", "remaining_rq"),
    ("rq_retry_open", "remaining_retries"),
    ("cx_pool_open", "remaining_cx_pools"),
]
