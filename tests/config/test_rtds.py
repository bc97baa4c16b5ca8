"""Runtime layers that are discovered."""

from __future__ import annotations

from typing import Any

import pytest
from tests.router.config.support import view_of
from tests.support.subscriptions import FakeSubscriptions, resource

from outrider.config.errors import ConfigError
from outrider.config.rtds import RUNTIME, RuntimeDiscoveries, check_sources
from outrider.config.runtime_layers import RuntimeLoader, build_layers
from outrider.config.subscription import CONNECTION_FAILURE, FETCH_TIMEOUT
from outrider.stats.store import Store

LAYERED = "envoy.config.bootstrap.v3.LayeredRuntime"
SOURCE = {"path_config_source": {"path": "/nothing"}}


def loader_of(store: Store, *names: str) -> RuntimeLoader:
    layers: list[dict[str, Any]] = [{"name": "base", "static_layer": {"a": 1, "b": "base"}}]
    layers += [{"name": f"layer {name}", "rtds_layer": {"name": name, "rtds_config": SOURCE}} for name in names]
    layers.append({"name": "admin", "admin_layer": {}})
    view = view_of(LAYERED, {"layers": layers})
    loader = RuntimeLoader(build_layers(view, ""), store)
    check_sources(loader)
    assert view.unread() == []
    return loader


def start(*names: str) -> tuple[RuntimeLoader, FakeSubscriptions, RuntimeDiscoveries, list[int]]:
    store = Store()
    loader = loader_of(store, *names)
    subscriptions = FakeSubscriptions()
    discoveries = RuntimeDiscoveries(loader, subscriptions, store)
    done: list[int] = []
    assert not any(each.started for each in subscriptions.made)
    discoveries.start(lambda: done.append(1))
    return loader, subscriptions, discoveries, done


def test_layer_comes_and_changes() -> None:
    loader, subscriptions, discoveries, done = start("r")
    [subscription] = subscriptions.made
    assert subscription.names == ["r"] and subscription.type_name == RUNTIME
    assert subscription.scope.prefix == "runtime." and not done
    changes: list[int] = []
    loader.on_change = lambda: changes.append(1)
    subscription.send({"name": "r", "layer": {"a": 2, "c": {"d": True}}})
    assert done == [1] and changes == [1]
    runtime = loader.runtime
    assert runtime.get_integer("a", 0) == 2 and runtime.get_boolean("c.d", False) and runtime.get("b") == "base"
    subscription.send({"name": "r", "layer": {"a": 2, "c": {"d": True}}}, version="2")
    assert changes == [1]
    loader.modify({"a": "9"})
    assert runtime.get_integer("a", 0) == 9
    subscription.send({"name": "r", "layer": {"a": 3}}, version="3")
    assert runtime.get_integer("a", 0) == 9 and not runtime.has("c.d")
    described = loader.describe()
    assert described["layers"] == ["base", "layer r", "admin"]
    entries: Any = described["entries"]
    assert entries["a"] == {"layer_values": ["1", "3", "9"], "final_value": "9"}
    subscription.send_delta(removed=["r"])
    loader.modify({"a": ""})
    assert runtime.get_integer("a", 0) == 1
    subscription.send_delta(resource(RUNTIME, {"name": "r", "layer": {"a": 4}}))
    assert runtime.get_integer("a", 0) == 4
    discoveries.close()
    assert subscription.closed


@pytest.mark.parametrize(
    ("trees", "text"),
    [
        ([], "Unexpected RTDS resource length, number of added resources 0, number of removed resources 0"),
        ([{"name": "x"}], r"Unexpected RTDS runtime \(expecting r\): x"),
        ([{"name": "r", "layer": {"a": [1]}}], "Invalid runtime entry value for a"),
    ],
)
def test_refused_and_the_old_stays(trees: list[dict[str, Any]], text: str) -> None:
    loader, subscriptions, _, _ = start("r")
    subscriptions.made[0].send({"name": "r", "layer": {"a": 2}})
    with pytest.raises(ConfigError, match=text):
        subscriptions.made[0].send(*trees)
    assert loader.runtime.get_integer("a", 0) == 2
    with pytest.raises(ConfigError, match="Unexpected removal of unknown RTDS runtime layer x, expected r"):
        subscriptions.made[0].send_delta(removed=["x"])


def test_all_layers_are_waited_for() -> None:
    _, subscriptions, discoveries, done = start("r", "s")
    first, second = subscriptions.made
    first.callbacks.on_failed(CONNECTION_FAILURE, "")
    assert discoveries.init_manager.unready() == ["RTDS r", "RTDS s"]
    first.callbacks.on_failed(FETCH_TIMEOUT, "")
    second.send({"name": "s", "layer": {}})
    assert done == [1]


def test_without_layers() -> None:
    _, _, _, done = start()
    assert done == [1]
