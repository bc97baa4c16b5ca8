"""`CircuitBreakers`."""

from __future__ import annotations

from typing import Final

from outrider.config.view import View
from outrider.upstream.resource_manager import DEFAULT_MAX, DEFAULT_MAX_RETRIES, UNLIMITED, UNLIMITED_POOLS, Thresholds

PRIORITIES: Final = ("DEFAULT", "HIGH")
# RetryBudget defaults: 20 per cent, at least 3.
_BUDGET_PERCENT: Final = 20.0
_BUDGET_MIN: Final = 3
_UNSUPPORTED_PER_HOST: Final = (
    "max_pending_requests", "max_requests", "max_retries", "max_connection_pools", "retry_budget", "track_remaining",
)


def read_thresholds(view: View | None) -> list[Thresholds]:
    """Those of DEFAULT and HIGH. The first entry of a priority counts, as in Envoy."""
    found: dict[int, Thresholds] = {}
    for entry in [] if view is None else view.messages("thresholds"):
        priority = PRIORITIES.index(entry.enum("priority"))
        thresholds = Thresholds()
        thresholds.max_connections = entry.integer("max_connections", DEFAULT_MAX)
        thresholds.max_pending_requests = entry.integer("max_pending_requests", DEFAULT_MAX)
        thresholds.max_requests = entry.integer("max_requests", DEFAULT_MAX)
        thresholds.max_retries = entry.integer("max_retries", DEFAULT_MAX_RETRIES)
        thresholds.max_connection_pools = entry.integer("max_connection_pools", UNLIMITED_POOLS)
        thresholds.track_remaining = entry.flag("track_remaining")
        budget = entry.message("retry_budget")
        if budget is not None:
            thresholds.retry_budget_percent = budget.number("budget_percent", _BUDGET_PERCENT)
            thresholds.retry_min_concurrency = budget.integer("min_retry_concurrency", _BUDGET_MIN)
        found.setdefault(priority, thresholds)
    return [found.get(priority) or Thresholds() for priority in (0, 1)]


def read_per_host_limit(view: View | None) -> int:
    """`per_host_thresholds` of the DEFAULT priority: connections per host; raises ConfigError for other limits."""
    limit = UNLIMITED
    seen = False
    for entry in [] if view is None else view.messages("per_host_thresholds"):
        for field in _UNSUPPORTED_PER_HOST:
            if entry.has(field):
                raise entry.error("Unsupported field in per_host_thresholds", field)
        value = entry.integer("max_connections", DEFAULT_MAX)
        if entry.enum("priority") == "DEFAULT" and not seen:
            limit = value
            seen = True
    return limit
