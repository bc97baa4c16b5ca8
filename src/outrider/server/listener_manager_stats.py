"""`listener_manager.*`. Source: Envoy documentation, "Listener manager" statistics."""

from __future__ import annotations

from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope


class ListenerManagerStats:
    """`listener_manager.*`"""

    def __init__(self, scope: Scope) -> None:
        scope = scope.scope("listener_manager")
        self.scope = scope
        self.listener_added: Counter = scope.counter("listener_added")
        self.listener_modified: Counter = scope.counter("listener_modified")
        self.listener_removed: Counter = scope.counter("listener_removed")
        self.listener_stopped: Counter = scope.counter("listener_stopped")
        self.listener_in_place_updated: Counter = scope.counter("listener_in_place_updated")
        self.listener_create_success: Counter = scope.counter("listener_create_success")
        self.listener_create_failure: Counter = scope.counter("listener_create_failure")
        self.total_listeners_active: Gauge = scope.gauge("total_listeners_active", accumulate=False)
        self.total_listeners_warming: Gauge = scope.gauge("total_listeners_warming", accumulate=False)
        self.total_listeners_draining: Gauge = scope.gauge("total_listeners_draining", accumulate=False)
        self.total_filter_chains_draining: Gauge = scope.gauge("total_filter_chains_draining", accumulate=False)
        self.workers_started: Gauge = scope.gauge("workers_started", accumulate=False)
        self.workers_pinned: Gauge = scope.gauge("workers_pinned", accumulate=False)
