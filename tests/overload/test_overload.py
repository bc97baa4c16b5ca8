"""Triggers, states, settings and monitors of the overload manager."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outrider.config.errors import ConfigError
from outrider.config.load import LoadPolicy, load_message
from outrider.config.runtime import Runtime
from outrider.config.source import Source
from outrider.config.view import View
from outrider.extensions.all_extensions import load_extensions
from outrider.overload.monitor import MonitorContext
from outrider.overload.settings import OverloadSettings
from outrider.overload.state import CONNECTION_IDLE, FULL, STREAM_IDLE, LoadShedPoint, OverloadObserver, OverloadState
from outrider.overload.triggers import Trigger
from outrider.server.overload_refresh import OverloadRefresh, release_memory
from outrider.stats.metrics import Counter
from outrider.stats.store import Store

TYPE = "type.googleapis.com/envoy.extensions.resource_monitors."
THRESHOLD = {"name": "envoy.resource_monitors.injected_resource", "threshold": {"value": 0.5}}
SCALED = {
    "name": "envoy.resource_monitors.injected_resource",
    "scaled": {"scaling_threshold": 0.2, "saturation_threshold": 0.6},
}
ACTION = "envoy.overload_actions."
TIMERS = {
    "@type": "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
    "timer_scale_factors": [
        {"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "2s"},
        {"timer": "HTTP_DOWNSTREAM_STREAM_IDLE", "min_scale": {"value": 10}},
    ],
}


def view_of(**fields: object) -> View:
    source = Source("overload.json", "json", json.dumps(fields).encode())
    return load_message([source], "envoy.config.overload.v3.OverloadManager", LoadPolicy())


def settings(path: Path | str = "/nonexistent", **fields: object) -> OverloadSettings:
    load_extensions()
    monitors = [
        {
            "name": "envoy.resource_monitors.injected_resource",
            "typed_config": {
                "@type": TYPE + "injected_resource.v3.InjectedResourceConfig",
                "filename": str(path),
            },
        },
        *fields.pop("more", []),  # type: ignore[misc]
    ]
    return OverloadSettings(view_of(resource_monitors=monitors, **fields), MonitorContext(Runtime()))


def test_threshold() -> None:
    trigger = Trigger("r", 0.5, 0.5)
    assert [trigger.state(pressure) for pressure in (0.0, 0.49, 0.5, 1.0)] == [0, 0, FULL, FULL]


def test_scaled() -> None:
    trigger = Trigger("r", 0.2, 0.6)
    assert [trigger.state(pressure) for pressure in (0.0, 0.2, 0.4, 0.6, 0.9)] == [0, 0, FULL // 2, FULL, FULL]


def test_timeouts_shrink_in_proportion() -> None:
    state = OverloadState()
    state.minimums[CONNECTION_IDLE] = 2000
    state.minimum_scales[STREAM_IDLE] = FULL // 10
    assert state.timeout(CONNECTION_IDLE, 10_000) == 10_000
    state.apply({"reduce_timeouts": FULL // 2}, {})
    assert state.timeout(CONNECTION_IDLE, 10_000) == 6000
    assert state.timeout(STREAM_IDLE, 10_000) == 5500
    state.apply({"reduce_timeouts": FULL}, {})
    assert state.timeout(CONNECTION_IDLE, 10_000) == 2000
    # Never longer than it was, and no timeout stays none.
    assert state.timeout(CONNECTION_IDLE, 1000) == 1000
    assert state.timeout(CONNECTION_IDLE, 0) == 0
    assert state.timeout(3, 5000) == 5000


def test_points_and_observers() -> None:
    class Watcher(OverloadObserver):
        def __init__(self) -> None:
            self.calls = 0

        def on_overload_changed(self, state: OverloadState) -> None:
            self.calls += 1

    state, watcher = OverloadState(), Watcher()
    state.observers.append(watcher)
    point = state.points["p"] = LoadShedPoint("p", Counter("shed"))
    assert not point.should_shed()
    assert not state.active
    state.apply({}, {"p": FULL})
    assert state.active
    assert point.should_shed()
    assert point.shed_load_count.value == 1
    assert watcher.calls == 1
    state.apply({"stop_accepting_requests": 0}, {"p": 0})
    assert not state.active
    assert not point.should_shed()


def test_pressure_sets_actions(tmp_path: Path) -> None:
    file = tmp_path / "pressure"
    read = settings(
        file,
        actions=[
            {"name": ACTION + "stop_accepting_requests", "triggers": [THRESHOLD]},
            {"name": ACTION + "reduce_timeouts", "triggers": [SCALED], "typed_config": TIMERS},
        ],
        loadshed_points=[{"name": "envoy.load_shed_points.tcp_listener_accept", "triggers": [THRESHOLD]}],
    )
    store = Store()
    published: list[object] = []
    refresh = OverloadRefresh(read, store, published.append)
    refresh.refresh()
    failed = store.counters["overload.envoy.resource_monitors.injected_resource.failed_updates"]
    assert (failed.value, published) == (1, [])
    file.write_text("0.4")
    refresh.refresh()
    assert refresh.states[0] == {"stop_accepting_requests": 0, "reduce_timeouts": FULL // 2}
    file.write_text("0.7")
    refresh.refresh()
    assert refresh.states[0] == {"stop_accepting_requests": FULL, "reduce_timeouts": FULL}
    assert refresh.states[1] == {"envoy.load_shed_points.tcp_listener_accept": FULL}
    gauges = {name: gauge.total() for name, gauge in store.gauges.items()}
    assert gauges["overload.envoy.overload_actions.stop_accepting_requests.active"] == 1
    assert gauges["overload.envoy.overload_actions.reduce_timeouts.scale_percent"] == 100
    assert gauges["overload.envoy.resource_monitors.injected_resource.pressure"] == 70
    # What cannot be measured leaves things as they are.
    file.write_text("much")
    refresh.refresh()
    assert refresh.states[0]["stop_accepting_requests"] == FULL
    assert len(published) == 2


HEAP = {
    "name": "envoy.resource_monitors.fixed_heap",
    "typed_config": {"@type": TYPE + "fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": 1 << 40},
}


def test_heap_is_that_of_all_processes() -> None:
    import os

    read = settings(more=[HEAP])
    monitor = read.monitors["envoy.resource_monitors.fixed_heap"]
    assert monitor.pressure() == 0
    read.context.process_ids = lambda: [os.getpid(), 2**22 + 5]
    assert 0 < monitor.pressure() < 0.01


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"actions": [{"name": "foo", "triggers": [THRESHOLD]}]}, "Unknown Overload Manager Action foo"),
        (
            {"actions": [{"name": ACTION + "shrink_heap", "triggers": [THRESHOLD]}] * 2},
            "Duplicate overload action envoy.overload_actions.shrink_heap",
        ),
        (
            {"actions": [{"name": ACTION + "shrink_heap", "triggers": [{**THRESHOLD, "name": "nope"}]}]},
            "Unknown trigger resource nope for overload action envoy.overload_actions.shrink_heap",
        ),
        (
            {"actions": [{"name": ACTION + "shrink_heap", "triggers": [THRESHOLD, THRESHOLD]}]},
            "Duplicate trigger resource for overload action envoy.overload_actions.shrink_heap",
        ),
        (
            {"actions": [{"name": ACTION + "reduce_timeouts", "triggers": [THRESHOLD]}]},
            'Overload action "envoy.overload_actions.reduce_timeouts" requires typed_config',
        ),
        (
            {"actions": [{"name": ACTION + "shrink_heap", "triggers": [THRESHOLD], "typed_config": TIMERS}]},
            'Overload action name "envoy.overload_actions.shrink_heap" conflicts with its typed config',
        ),
        (
            {"actions": [{"name": ACTION + "reset_high_memory_stream", "triggers": [THRESHOLD]}]},
            "requires buffer_factory_config",
        ),
        (
            {"loadshed_points": [{"name": "envoy.load_shed_points.tcp_listener_accept", "triggers": [THRESHOLD]}] * 2},
            "Duplicate loadshed point envoy.load_shed_points.tcp_listener_accept",
        ),
        (
            {"loadshed_points": [{"name": "envoy.load_shed_points.http3_server_go_away_on_dispatch",
                                  "triggers": [THRESHOLD]}]},
            "is not supported by this version",
        ),
        ({"more": [{**HEAP, "name": "envoy.resource_monitors.injected_resource"}]}, "Duplicate resource monitor"),
        (
            {"more": [{**HEAP, "typed_config": {"@type": TYPE + "fixed_heap.v3.FixedHeapConfig"}}]},
            "fixed_heap: max heap size must be greater than 0",
        ),
    ],
)  # fmt: skip
def test_refused(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("(", r"\(")):
        settings(**fields)  # type: ignore[arg-type]


def test_scaling_thresholds_in_order() -> None:
    wrong = {**SCALED, "scaled": {"scaling_threshold": 0.6, "saturation_threshold": 0.6}}
    with pytest.raises(ConfigError, match="scaling_threshold must be less than saturation_threshold"):
        settings(actions=[{"name": ACTION + "shrink_heap", "triggers": [wrong]}])


def test_memory_can_be_given_back() -> None:
    release_memory()
