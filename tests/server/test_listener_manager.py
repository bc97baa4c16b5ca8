"""Main's listeners: what is added, changed in place, replaced, drained and removed, and what workers hear of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.config.messages import view_of
from tests.support.ports import free_port

from outrider.access_log.file_writer import AccessLogManager
from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitTarget
from outrider.config.runtime import NO_RUNTIME
from outrider.config.support import SupportPolicy
from outrider.event.dispatcher import Dispatcher
from outrider.extensions.all_extensions import load_extensions
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.server.drain import ListenerDrain
from outrider.server.listener_entry import ListenerEntry
from outrider.server.listener_manager import MainListeners
from outrider.server.listener_manager_stats import ListenerManagerStats
from outrider.server.listener_wire import ListenerWorkers
from outrider.server.static_listeners import build_listeners
from outrider.stats.store import Store
from outrider.upstream.cluster_manager import ClusterManager

LISTENER = "envoy.config.listener.v3.Listener"
ECHO = {
    "name": "envoy.filters.network.echo",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
}


def listener(name: str, port: int, *chains: str, **fields: Any) -> Any:
    found = [{"name": chain, "filters": [ECHO], "filter_chain_match": {"server_names": [chain]}} for chain in chains]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    tree = {"name": name, "address": address, "filter_chains": found or [{"filters": [ECHO]}], **fields}
    return view_of(LISTENER, tree)


class Workers(ListenerWorkers):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def tell(self, kind: str, payload: Any) -> None:
        self.heard.append(kind if kind != "listener" else "in place")

    def tell_listener(self, entry: ListenerEntry) -> None:
        self.heard.append(f"new {entry.name}")


class World:
    def __init__(self, drain_time_s: float = 600.0, static: tuple[Any, ...] = ()) -> None:
        load_extensions()
        self.store = Store()
        server = ServerInfo()
        server.drain_time_s = drain_time_s
        dispatcher = Dispatcher("test", asyncio.get_running_loop())
        self.context = FactoryContext(
            self.store, dispatcher, ClusterManager(), NO_RUNTIME, AccessLogManager(self.store), None, server
        )
        self.context.support = SupportPolicy()
        built = build_listeners(list(static), self.context)
        self.listeners = MainListeners(built, ListenerManagerStats(self.store), self.context)
        self.workers = Workers()
        self.listeners.workers = self.workers
        self.listeners.open(1)
        self.listeners.workers_started = True

    def gauges(self) -> tuple[int, int, int, int]:
        stats = self.listeners.stats
        return (
            stats.total_listeners_active.value, stats.total_listeners_warming.value,
            stats.total_listeners_draining.value, stats.total_filter_chains_draining.value,
        )  # fmt: skip

    def stat(self, name: str) -> int:
        return self.store.counters[f"listener_manager.{name}"].value


def in_loop(body: Callable[[], Any]) -> None:
    async def run() -> None:
        world: World = await body()
        world.listeners.close()

    asyncio.run(run())


def connects(port: int) -> bool:
    with socket.socket() as opened:
        return opened.connect_ex(("127.0.0.1", port)) == 0


def test_added_changed_and_removed() -> None:
    async def body() -> World:
        world = World(0.2)
        port = free_port()
        assert world.listeners.add_or_update(listener("a", port), "1")
        assert connects(port) and world.gauges() == (1, 0, 0, 0)
        assert not world.listeners.add_or_update(listener("a", port), "2")
        sockets = world.listeners.active["a"].sockets
        assert world.listeners.add_or_update(listener("a", port, stat_prefix="x"), "3")
        assert world.listeners.active["a"].sockets == sockets
        assert world.gauges() == (1, 0, 1, 0)
        assert world.listeners.remove("a") and not world.listeners.remove("a")
        assert world.gauges() == (0, 0, 2, 0)
        await asyncio.sleep(0.1)
        assert not connects(port)
        await asyncio.sleep(0.25)
        assert world.gauges() == (0, 0, 0, 0)
        assert world.workers.heard == [
            "new a", "new a", "drain_listener", "drain_listener", "close_listener", "close_listener",
        ]  # fmt: skip
        assert [world.stat(f"listener_{each}") for each in ("added", "modified", "removed")] == [1, 1, 1]
        return world

    in_loop(body)


def test_filter_chains_are_replaced_in_place() -> None:
    async def body() -> World:
        world = World(0.1)
        port = free_port()
        world.listeners.add_or_update(listener("a", port, "one", "two"), "1")
        before = world.listeners.active["a"]
        kept = before.config.chains[1]
        closed: list[str] = []
        for chain in before.config.chains:
            chain.on_close.append(lambda name=chain.name: closed.append(name))  # type: ignore[misc]
        assert world.listeners.add_or_update(listener("a", port, "two", "three"), "2")
        after = world.listeners.active["a"]
        assert after is not before and after.drain is before.drain
        assert [chain.name for chain in after.config.chains] == ["two", "three"]
        assert after.config.chains[0] is kept
        assert world.gauges() == (1, 0, 0, 1) and world.workers.heard == ["new a", "in place"]
        assert world.stat("listener_in_place_updated") == 1
        await asyncio.sleep(0.15)
        assert closed == ["one"] and world.gauges() == (1, 0, 0, 0)
        assert world.workers.heard[-1] == "close_chains"
        assert connects(port)
        return world

    in_loop(body)


def test_listeners_wait_for_what_they_need() -> None:
    async def body() -> World:
        world = World()
        port = free_port()
        targets: list[InitTarget] = []
        original = world.listeners._find_sockets

        def with_target(entry: ListenerEntry, *others: Any) -> None:
            assert entry.init_manager is not None
            targets.append(InitTarget("route", lambda: None))
            entry.init_manager.add(targets[-1])
            original(entry, *others)

        world.listeners._find_sockets = with_target  # type: ignore[method-assign]
        world.listeners.add_or_update(listener("a", port), "1")
        assert world.gauges() == (0, 1, 0, 0) and not connects(port)
        ((name, waiting),) = world.listeners.unready()
        assert name.startswith("Listener-local-init-manager a ") and waiting == ["route"]
        # Replaced while it warms: its own wait is over.
        world.listeners.add_or_update(listener("a", port, stat_prefix="x"), "2")
        targets[0].ready()
        assert world.gauges() == (0, 1, 0, 0) and world.workers.heard == []
        targets[1].ready()
        assert world.gauges() == (1, 0, 0, 0) and world.workers.heard == ["new a"]
        world.listeners.add_or_update(listener("a", port, stat_prefix="y"), "3")
        assert world.listeners.remove("a")
        assert world.gauges() == (0, 0, 1, 0)
        targets[2].ready()
        assert world.gauges() == (0, 0, 1, 0)
        return world

    in_loop(body)


def test_refused() -> None:
    async def body() -> World:
        port, other = free_port(), free_port()
        world = World(static=(listener("fixed", port),))
        assert not world.listeners.add_or_update(listener("fixed", other), "1")
        assert not world.listeners.remove("fixed")
        with pytest.raises(ConfigError, match=f"'twin' has duplicate address '127.0.0.1:{port}' as existing listener"):
            world.listeners.add_or_update(listener("twin", port), "1")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", other))
            taken.listen()
            with pytest.raises(ConfigError, match=f"cannot bind '127.0.0.1:{other}': Address already in use"):
                world.listeners.add_or_update(listener("b", other), "1")
        world.listeners.add_or_update(listener("b", other), "1")
        before = world.listeners.active["b"]
        bad = listener("b", other)
        bad.proto.filter_chains[0].transport_socket.name = "nothing"
        with pytest.raises(ConfigError):
            world.listeners.add_or_update(bad, "2")
        assert world.listeners.active["b"] is before and connects(other)
        assert world.gauges() == (2, 0, 0, 0)
        return world

    in_loop(body)


def test_an_address_may_move_at_once_to_another_listener(tmp_path: Path) -> None:
    async def body() -> World:
        world = World()
        pipe = {"pipe": {"path": str(tmp_path / "s")}}
        world.listeners.add_or_update(listener("a", 0, address=pipe), "1")
        world.listeners.remove("a")
        assert world.listeners.add_or_update(listener("b", 0, address=pipe), "1")
        await asyncio.sleep(0.1)
        with socket.socket(socket.AF_UNIX) as opened:
            opened.connect(str(tmp_path / "s"))
        return world

    in_loop(body)


def test_a_chain_drains_alone_or_with_its_listener() -> None:
    server = ServerInfo()
    server.drain_gradual = False
    whole = ListenerDrain(server, "DEFAULT")
    one, other = whole.for_chain(), whole.for_chain()
    one.start()
    assert (one.drain_close(), other.drain_close(), whole.drain_close()) == (True, False, False)
    whole.start()
    assert other.drain_close()
