"""EDS in the control half, and the life of clusters: warming, replacing, removing, the order at the start."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.access_log.file_writer import AccessLogManager
from outrider.config.errors import ConfigError
from outrider.config.runtime import NO_RUNTIME
from outrider.config.subscription import CONNECTION_FAILURE, FETCH_TIMEOUT
from outrider.config.support import SupportPolicy
from outrider.data.shared_limit import SharedArena
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.stats.store import Store
from outrider.upstream.cluster_manager import ClusterManager
from outrider.upstream.config.cluster_config import ClusterDefaults
from outrider.upstream.control.cluster_entry import ClusterEntry
from outrider.upstream.control.initialization import CDS, DONE, PRIMARY_DONE
from outrider.upstream.control.manager import ClusterListener, ControlManager
from outrider.upstream.hosts_update import HostsUpdate
from tests.config.messages import view_of
from tests.support.subscriptions import FakeSubscription, FakeSubscriptions, resource
from tests.upstream.fakes import FakeDispatcher

CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"


def endpoint(port: int, host: str = "10.0.0.1", **fields: Any) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}, **fields}


def assignment(name: str, *ports: int, **fields: Any) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint(port) for port in ports]}], **fields}


def eds(name: str, **fields: Any) -> Any:
    source = {"eds_config": {"ads": {}, "resource_api_version": "V3"}}
    return view_of(CLUSTER, {"name": name, "type": "EDS", "eds_cluster_config": source, **fields})


def static(name: str, port: int = 1, **fields: Any) -> Any:
    return view_of(CLUSTER, {"name": name, "load_assignment": assignment(name, port), **fields})


class Events(ClusterListener):
    def __init__(self) -> None:
        super().__init__(lambda update: None)
        self.seen: list[str] = []

    def on_cluster_active(self, entry: ClusterEntry) -> None:
        self.seen.append(f"+{entry.info.name} {sorted(entry.control.hosts)}")

    def on_cluster_removed(self, name: str) -> None:
        self.seen.append(f"-{name}")


class World:
    def __init__(self, started: bool = True) -> None:
        self.dispatcher: Any = FakeDispatcher()
        self.store = Store()
        self.updates: list[HostsUpdate] = []
        self.context = FactoryContext(
            self.store, self.dispatcher, ClusterManager(), NO_RUNTIME, AccessLogManager(self.store), SharedArena(2),
            ServerInfo(),
        )  # fmt: skip
        self.context.support = SupportPolicy()
        self.control = ControlManager(self.context, ClusterDefaults(), self.updates.append)
        self.sources = FakeSubscriptions()
        self.control.subscriptions = self.sources
        self.events = Events()
        self.control.listener = self.events
        self.done = 0
        if started:
            self.control.start(self._on_done)

    def _on_done(self) -> None:
        self.done += 1

    def source(self) -> FakeSubscription:
        return self.sources.made[-1]

    def send(self, tree: dict[str, Any], source: FakeSubscription | None = None) -> None:
        (source or self.source()).callbacks.on_state([resource(ENDPOINTS, tree, tree["cluster_name"])], "1")

    def stat(self, name: str) -> int:
        counter = self.store.counters.get(name)
        return counter.value if counter is not None else self.store.gauges[name].value


def test_a_new_cluster_waits_for_its_endpoints() -> None:
    world = World()
    assert world.control.add_or_update(eds("web"), "1")
    assert world.source().started and world.source().names == ["web"]
    assert world.events.seen == []
    assert (world.stat("cluster_manager.warming_clusters"), world.stat("cluster.web.warming_state")) == (1, 1)
    world.send(assignment("web", 1, 2))
    assert world.events.seen == ["+web ['10.0.0.1:1', '10.0.0.1:2']"]
    assert (world.stat("cluster_manager.warming_clusters"), world.stat("cluster.web.warming_state")) == (0, 0)
    world.send(assignment("web", 2))
    assert [spec.key for spec in world.updates[-1].hosts] == ["10.0.0.1:2"]


def test_the_cluster_before_serves_until_its_successor_is_warm() -> None:
    world = World()
    world.control.add_or_update(eds("web"), "1")
    world.send(assignment("web", 1))
    first = world.source()
    assert world.control.add_or_update(eds("web", connect_timeout="2s"), "2")
    second = world.source()
    assert not first.closed
    # News for the old one still go out, those for the new one do not.
    world.send(assignment("web", 5), first)
    assert [spec.key for spec in world.updates[-1].hosts] == ["10.0.0.1:5"]
    count = len(world.updates)
    world.send(assignment("web", 7), second)
    assert first.closed
    assert len(world.updates) == count
    assert world.events.seen[-1] == "+web ['10.0.0.1:7']"
    assert world.stat("cluster_manager.cluster_modified") == 1
    assert world.stat("cluster.web.membership_total") == 1


def test_unchanged_and_static_clusters_are_left_alone() -> None:
    world = World(started=False)
    world.control.add(static("fixed"))
    world.control.start(world._on_done)
    assert not world.control.add_or_update(static("fixed", 2), "1")
    assert not world.control.remove("fixed")
    assert world.control.add_or_update(static("web"), "1")
    assert not world.control.add_or_update(static("web"), "2")
    assert world.control.active["web"].version_info == "1"
    with pytest.raises(ConfigError, match="duplicate cluster 'fixed'"):
        world.control.add(static("fixed"))


def test_a_warming_cluster_is_replaced_and_removed() -> None:
    world = World()
    world.control.add_or_update(eds("web"), "1")
    first = world.source()
    world.control.add_or_update(eds("web", connect_timeout="2s"), "2")
    assert first.closed
    assert world.stat("cluster_manager.warming_clusters") == 1
    assert world.control.remove("web")
    assert world.source().closed
    assert world.events.seen == []
    assert not world.control.remove("web")


def test_removal_lets_go_of_everything() -> None:
    world = World()
    world.control.add_or_update(static("web"), "1")
    arena = world.context.arena
    assert arena is not None
    rows = len(arena.names())
    assert rows > 0 and arena.fresh()
    assert world.control.remove("web")
    assert world.events.seen == ["+web ['10.0.0.1:1']", "-web"]
    assert not [name for name in world.store.counters if name.startswith("cluster.web.")]
    arena.sweep()
    assert len(arena.names()) == 0


def test_a_refused_cluster_leaves_the_old_one() -> None:
    world = World()
    world.control.add_or_update(static("web"), "1")
    bad = view_of(CLUSTER, {"name": "web", "type": "EDS", "eds_cluster_config": {}})
    with pytest.raises(ConfigError, match="cannot create an EDS cluster without an EDS config"):
        world.control.add_or_update(bad, "2")
    unread = static("web", 1, connect_timeout="1s")
    unread.proto.eds_cluster_config.service_name = "x"
    with pytest.raises(ConfigError, match="eds_cluster_config' is set but not supported"):
        world.control.add_or_update(unread, "2")
    assert world.control.active["web"].version_info == "1"
    assert world.stat("cluster.web.membership_total") == 1


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (assignment("other", 1), r"Unexpected EDS cluster \(expecting web\): other"),
        (
            {"cluster_name": "web", "endpoints": [{"lb_endpoints": [endpoint(1, "a.test")]}]},
            "malformed IP address: a.test",
        ),
        (
            {"cluster_name": "web", "endpoints": [{"leds_cluster_locality_config": {"leds_collection_name": "x"}}]},
            "leds_cluster_locality_config' is set but not supported",
        ),
    ],
)
def test_refused_endpoints(tree: dict[str, Any], text: str) -> None:
    world = World()
    world.control.add_or_update(eds("web"), "1")
    world.send(assignment("web", 1))
    named = resource(ENDPOINTS, tree, tree["cluster_name"])
    with pytest.raises(ConfigError, match=text):
        world.source().callbacks.on_state([named], "2")
    with pytest.raises(ConfigError, match="Unexpected EDS resource length: 2"):
        world.source().callbacks.on_state([named, named], "2")
    assert list(world.control.active["web"].control.hosts) == ["10.0.0.1:1"]


def test_the_service_name_is_asked_for() -> None:
    world = World()
    source = {"eds_config": {"ads": {}}, "service_name": "service"}
    world.control.add_or_update(eds("web", eds_cluster_config=source), "1")
    assert world.source().names == ["service"]
    world.send(assignment("service", 1))
    assert list(world.control.active) == ["web"]


def test_an_unchanged_assignment_is_not_published() -> None:
    world = World()
    world.control.add_or_update(eds("web"), "1")
    world.send(assignment("web", 1))
    count = len(world.updates)
    world.send(assignment("web", 1))
    assert len(world.updates) == count
    assert world.stat("cluster.web.update_no_rebuild") == 1
    drop = {"drop_overloads": [{"category": "a", "drop_percentage": {"numerator": 7}}]}
    world.send(assignment("web", 1, policy=drop))
    assert (world.updates[-1].full, world.updates[-1].drop_overload) == (False, 7.0)
    world.send(assignment("web", 1, policy={"overprovisioning_factor": 100}))
    assert (world.updates[-1].full, world.updates[-1].overprovisioning_factor) == (True, 100)


def test_what_comes_to_nothing() -> None:
    world = World()
    world.control.add_or_update(eds("web"), "1")
    callbacks = world.source().callbacks
    callbacks.on_failed(CONNECTION_FAILURE, "")
    assert world.events.seen == []
    callbacks.on_failed(FETCH_TIMEOUT, "")
    assert world.events.seen == ["+web []"]
    callbacks.on_state([], "1")
    callbacks.on_delta([], ["web"], "2")
    assert world.stat("cluster.web.update_empty") == 2


def test_a_replaced_cluster_may_use_what_its_predecessor_knew() -> None:
    world = World()
    world.control.add_or_update(eds("web"), "1")
    world.send(assignment("web", 1))
    world.control.add_or_update(eds("web", connect_timeout="2s"), "2")
    world.source().callbacks.on_failed(FETCH_TIMEOUT, "")
    assert world.events.seen[-1] == "+web ['10.0.0.1:1']"
    assert world.stat("cluster.web.assignment_use_cached") == 1


def test_endpoints_age() -> None:
    world = World()
    world.control.add_or_update(eds("web"), "1")
    world.send(assignment("web", 1, policy={"endpoint_stale_after": "10s"}))
    assert world.stat("cluster.web.assignment_timeout_received") == 1
    world.dispatcher.advance(9_000)
    assert len(world.control.active["web"].control.hosts) == 1
    world.dispatcher.advance(2_000)
    assert len(world.control.active["web"].control.hosts) == 0
    assert world.stat("cluster.web.assignment_stale") == 1


def test_the_order_at_the_start() -> None:
    world = World(started=False)
    control = world.control
    steps: list[str] = []
    control.init.on_primary_done = lambda: steps.append("primary")
    control.init.start_cds = lambda: steps.append("cds")
    control.add(static("one"))
    control.add(eds("two"))
    control.start(lambda: steps.append("done"))
    assert world.events.seen == ["+one ['10.0.0.1:1']"]
    assert steps == ["primary"] and control.init.state == PRIMARY_DONE
    assert not world.source().started
    control.init.start_secondary()
    assert world.source().started and steps == ["primary"]
    world.send(assignment("two", 2))
    assert steps == ["primary", "cds"] and control.init.state == CDS
    control.add_or_update(eds("three"), "1")
    assert not world.source().started
    control.init.on_cds_initialized()
    assert world.source().started and steps[-1] == "cds"
    world.send(assignment("three", 3))
    assert steps == ["primary", "cds", "done"] and control.init.state == DONE
    assert world.events.seen[-1] == "+three ['10.0.0.1:3']"


def test_a_cluster_removed_while_it_is_waited_for() -> None:
    world = World(started=False)
    control = world.control
    control.init.start_cds = lambda: control.add_or_update(eds("gone"), "1")
    control.start(world._on_done)
    control.init.on_cds_initialized()
    assert world.done == 0
    control.remove("gone")
    assert world.done == 1
