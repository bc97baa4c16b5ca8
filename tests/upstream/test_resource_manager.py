"""Circuit breakers: limits, gauges, retry budgets, sharing by workers."""

from __future__ import annotations

from outrider.data.shared_limit import SharedArena
from outrider.stats.store import Store
from outrider.upstream.resource_manager import ResourceManager, Thresholds


def test_limit_and_gauges() -> None:
    thresholds = Thresholds()
    thresholds.max_connections = 2
    thresholds.track_remaining = True
    store = Store()
    manager = ResourceManager("c", 0, thresholds, store, None, 0)
    manager.begin()
    resource = manager.connections
    opened = store.gauges["circuit_breakers.default.cx_open"]
    left = store.gauges["circuit_breakers.default.remaining_cx"]
    assert (resource.can_create(), opened.value, left.value) == (True, 0, 2)
    resource.inc()
    resource.inc()
    assert (resource.can_create(), opened.value, left.value) == (False, 1, 0)
    resource.dec()
    assert (resource.can_create(), opened.value, left.value) == (True, 0, 1)


def test_remaining_gauges_only_when_asked_for() -> None:
    store = Store()
    ResourceManager("c", 1, Thresholds(), store, None, 0)
    assert sorted(store.gauges) == [
        f"circuit_breakers.high.{name}"
        for name in ("cx_open", "cx_pool_open", "rq_open", "rq_pending_open", "rq_retry_open")
    ]


def test_fixed_retries() -> None:
    manager = ResourceManager("c", 0, Thresholds(), Store(), None, 0)
    for _ in range(3):
        assert manager.retries.can_create()
        manager.retries.inc()
    assert not manager.retries.can_create()
    assert manager.retries.open_gauge.value == 1


def test_retry_budget() -> None:
    thresholds = Thresholds()
    thresholds.retry_budget_percent = 20.0
    thresholds.retry_min_concurrency = 2
    manager = ResourceManager("c", 0, thresholds, Store(), None, 0)
    manager.retries.inc()
    manager.retries.inc()
    assert not manager.retries.can_create()
    for _ in range(10):
        manager.requests.inc()
    for _ in range(5):
        manager.pending_requests.inc()
    # A fifth of fifteen.
    assert manager.retries.limit() == 3
    assert manager.retries.can_create()


def test_shared_by_workers() -> None:
    thresholds = Thresholds()
    thresholds.max_requests = 3
    arena = SharedArena(2)
    stores = [Store(), Store(), Store()]
    first, second, main = (
        ResourceManager("c", 0, thresholds, store, arena, column)
        for store, column in zip(stores, (0, 1, 0), strict=True)
    )
    first.requests.inc()
    second.requests.inc()
    assert second.requests.can_create()
    first.requests.inc()
    assert not second.requests.can_create()
    # Only main shows the gauges.
    assert stores[0].gauges["circuit_breakers.default.rq_open"].value == 0
    main.show()
    assert stores[2].gauges["circuit_breakers.default.rq_open"].value == 1
    second.requests.dec()
    assert first.requests.can_create()
