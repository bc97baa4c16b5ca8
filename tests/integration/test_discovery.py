"""Clusters, endpoints, routes and listeners that change under continuous traffic: no request may fail."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import grpc
from tests.support.discovery_scene import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTES,
    DiscoveryScene,
    Traffic,
    assignment,
    at,
    eds_cluster,
    listener,
    manager,
    route_config,
    static_cluster,
    wait_for,
)
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyFailed

Start = Callable[..., DiscoveryScene]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Start]:
    made: list[DiscoveryScene] = []

    def start(*arguments: object, **fields: object) -> DiscoveryScene:
        found = DiscoveryScene(tmp_path, *arguments, **fields)  # type: ignore[arg-type]
        made.append(found)
        return found

    yield start
    for each in made:
        each.close()


def basics(scene: DiscoveryScene, port: int) -> None:
    """One listener, its routes by RDS, one EDS cluster with the first upstream."""
    scene.plane.set(ENDPOINTS, [assignment("web", scene.ports[0])])
    scene.plane.set(CLUSTER, [eds_cluster("web")])
    scene.plane.set(ROUTES, [route_config("routes", "web")])
    scene.plane.set(LISTENER, [listener("main", port, "routes")])


APIS = pytest.mark.parametrize("api", ["GRPC", "DELTA_GRPC"])


@APIS
def test_every_type_changes_under_traffic(scene: Start, api: str) -> None:
    one = scene(api)
    port, other = free_port(), free_port()
    basics(one, port)
    one.start()
    first, second, third = (str(each) for each in one.ports)
    assert one.get(port) == f"200 {first}"
    with Traffic(port) as traffic:
        one.plane.update(ENDPOINTS, assignment("web", one.ports[1]))
        assert wait_for(lambda: traffic.seen.get(second, 0) > 5)
        for count in (1, 2, 3):
            source = {"eds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0.5s"}}
            limit = 20_000 + count
            changed = eds_cluster("web", per_connection_buffer_limit_bytes=limit, eds_cluster_config=source)
            one.plane.update(CLUSTER, changed)
            assert wait_for(lambda count=count: one.stat("cluster_manager.cluster_modified") >= count)
            assert wait_for(lambda: one.stat("cluster_manager.warming_clusters") == 0, 20)
        # Make before break is the control plane's part.
        one.plane.update(CLUSTER, static_cluster("third", one.ports[2]))
        assert wait_for(lambda: one.stat("cluster_manager.active_clusters") == 3)
        one.plane.update(ROUTES, route_config("routes", "third"))
        assert wait_for(lambda: traffic.seen.get(third, 0) > 5)
        # The same address with other settings: the sockets stay.
        one.plane.update(LISTENER, listener("main", port, "routes", per_connection_buffer_limit_bytes=40_000))
        assert wait_for(lambda: one.stat("listener_manager.listener_modified") == 1)
        time.sleep(0.2)
        # Filter chains only: in place.
        one.plane.update(
            LISTENER,
            listener("main", port, route_config("inline", "web"), per_connection_buffer_limit_bytes=40_000),
        )
        assert wait_for(lambda: one.stat("listener_manager.listener_in_place_updated") == 1)
        before = traffic.seen.get(second, 0)
        assert wait_for(lambda: traffic.seen.get(second, 0) > before + 5)
        one.plane.update(LISTENER, listener("other", other, "routes"))
        assert wait_for(lambda: one.get(other) == f"200 {third}")
        one.plane.remove(LISTENER, "other")
        assert wait_for(lambda: one.get(other) == "ConnectionRefusedError")
        # Connections of the chain that was replaced drain: until then they use the routes that it names.
        one.plane.update(ROUTES, route_config("routes", "web"))
        assert wait_for(lambda: one.stat("http.web.rds.routes.config_reload") == 3)
        time.sleep(0.2)
        one.plane.remove(CLUSTER, "third")
        assert wait_for(lambda: one.stat("cluster_manager.cluster_removed") == 1)
        time.sleep(0.2)
    assert traffic.failures == []
    assert traffic.count > 100
    assert one.plane.nacks(CLUSTER) == [] and one.plane.nacks(LISTENER) == []
    assert one.get(port) == f"200 {second}"


def test_fifty_updates_a_second_under_traffic(scene: Start) -> None:
    one = scene("DELTA_GRPC")
    port = free_port()
    basics(one, port)
    one.start()
    # The control plane does not repeat endpoints for a cluster that is replaced: it gets those known after a while.
    source = {"eds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"}}
    with Traffic(port) as traffic:
        for number in range(150):
            ports = one.ports[: number % 3 + 1]
            kind = number % 4
            if kind == 0:
                one.plane.update(ENDPOINTS, assignment("web", *ports))
            elif kind == 1:
                limit = 20_000 + number
                changed = eds_cluster("web", per_connection_buffer_limit_bytes=limit, eds_cluster_config=source)
                one.plane.update(CLUSTER, changed)
            elif kind == 2:
                one.plane.update(ROUTES, route_config("routes", "web", name=f"route {number}"))
            else:
                one.plane.update(CLUSTER, static_cluster(f"extra {number % 7}", *ports))
            time.sleep(0.02)
        assert wait_for(lambda: one.stat("cluster_manager.warming_clusters") == 0)
    assert traffic.failures == []
    assert traffic.count > 200


def test_a_control_plane_that_goes_away_changes_nothing(scene: Start) -> None:
    one = scene("GRPC")
    port = free_port()
    basics(one, port)
    one.start()
    second = str(one.ports[1])
    with Traffic(port) as traffic:
        one.plane.stop()
        time.sleep(0.5)
        one.plane.start()
        one.plane.update(ENDPOINTS, assignment("web", one.ports[1]))
        assert wait_for(lambda: traffic.seen.get(second, 0) > 5, 20)
        one.plane.abort_all(grpc.StatusCode.UNAVAILABLE, "bye")
        time.sleep(0.3)
    assert traffic.failures == []


@APIS
def test_bad_resources_are_refused_and_good_ones_beside_them_taken(scene: Start, api: str) -> None:
    one = scene(api)
    port, other = free_port(), free_port()
    basics(one, port)
    one.start()
    with Traffic(port) as traffic:
        one.plane.update(CLUSTER, {"name": "web", "type": "EDS", "connect_timeout": "1s"})
        assert wait_for(lambda: bool(one.plane.nacks(CLUSTER)))
        error = one.plane.nacks(CLUSTER)[0].error
        assert error is not None and error.startswith("Error adding/updating cluster(s) web: ")
        assert "cannot create an EDS cluster without an EDS config" in error
        one.plane.update(CLUSTER, static_cluster("good", one.ports[1]))
        assert wait_for(lambda: one.stat("cluster_manager.cluster_added") == 3)
        # A second listener on the same address.
        one.plane.update(LISTENER, listener("twin", port, "routes"))
        assert wait_for(lambda: bool(one.plane.nacks(LISTENER)))
        error = one.plane.nacks(LISTENER)[0].error
        assert error is not None and f"twin: error adding listener: 'twin' has duplicate address '127.0.0.1:{port}'" in error
        one.plane.update(LISTENER, listener("other", other, route_config("inline", "good")))
        assert wait_for(lambda: one.get(other) == f"200 {one.ports[1]}")
        if api == "GRPC":
            dump = json.loads(one.admin("/config_dump?resource=dynamic_listeners"))["configs"]
            assert {each.get("name") for each in dump if "error_state" in each} == {"twin", None}
    assert traffic.failures == []


def test_a_replaced_worker_knows_everything(scene: Start) -> None:
    one = scene("GRPC")
    port, other = free_port(), free_port()
    basics(one, port)
    one.start()
    one.plane.update(CLUSTER, static_cluster("late", one.ports[1]))
    one.plane.update(LISTENER, listener("late", other, route_config("inline", "late")))
    assert wait_for(lambda: one.get(other) == f"200 {one.ports[1]}")
    assert one.proxy is not None
    main = one.proxy.process.pid
    workers = [
        int(worker)
        for template in Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for worker in Path(f"/proc/{template}/task/{template}/children").read_text().split()
    ]
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    # Connections wait in the queues of the sockets, which main holds.
    for _ in range(6):
        assert one.get(other) == f"200 {one.ports[1]}"
        assert one.get(port) == f"200 {one.ports[0]}"


def test_listeners_warm_until_their_routes_come(scene: Start) -> None:
    one = scene("GRPC")
    port, late = free_port(), free_port()
    basics(one, port)
    one.start()
    one.plane.update(LISTENER, listener("late", late, "late routes"))
    assert wait_for(lambda: one.stat("listener_manager.total_listeners_warming") == 1)
    assert one.get(late) == "ConnectionRefusedError"
    waiting = json.loads(one.admin("/init_dump"))["unready_targets_dumps"]
    assert len(waiting) == 1 and waiting[0]["name"].startswith("init manager Listener-local-init-manager late")
    one.plane.update(ROUTES, route_config("late routes", "web"))
    assert wait_for(lambda: one.get(late) == f"200 {one.ports[0]}")
    assert one.stat("listener_manager.total_listeners_warming") == 0
    assert json.loads(one.admin("/init_dump")) == {}


def test_clusters_warm_until_their_endpoints_come(scene: Start) -> None:
    one = scene("GRPC")
    port = free_port()
    basics(one, port)
    one.start()
    one.plane.mute.add(ENDPOINTS)
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"}
    changed = eds_cluster("web", eds_cluster_config={"eds_config": source, "service_name": "other"})
    with Traffic(port) as traffic:
        one.plane.update(CLUSTER, changed)
        assert wait_for(lambda: one.stat("cluster.web.warming_state") == 1)
        assert one.stat("cluster_manager.warming_clusters") == 1
        time.sleep(0.2)
        assert '"dynamic_warming_clusters"' in one.admin("/config_dump")
        one.plane.mute.clear()
        one.plane.update(ENDPOINTS, assignment("other", one.ports[2]))
        assert wait_for(lambda: traffic.seen.get(str(one.ports[2]), 0) > 5)
        assert one.stat("cluster.web.warming_state") == 0
    assert traffic.failures == []


def test_the_server_waits_for_its_first_configuration(scene: Start) -> None:
    one = scene("GRPC")
    port = free_port()
    one.plane.silent = True
    one.start(wait=False)
    assert one.proxy is not None
    assert wait_for(lambda: _state(one) == "PRE_INITIALIZING")
    basics(one, port)
    one.plane.silent = False
    one.plane.abort_all(grpc.StatusCode.UNAVAILABLE, "again")
    one.proxy.wait_ready()
    assert one.get(port) == f"200 {one.ports[0]}"


def _state(scene: DiscoveryScene) -> str:
    assert scene.proxy is not None
    try:
        return scene.admin("/ready").strip()
    except OSError:
        return ""


def test_removed_listeners_drain_and_then_close(scene: Start) -> None:
    one = scene("GRPC", arguments=("--drain-time-s", "2", "--drain-strategy", "immediate"))
    port = free_port()
    basics(one, port)
    one.start()
    with socket.create_connection(("127.0.0.1", port)) as idle, socket.create_connection(("127.0.0.1", port)) as busy:
        for each in (idle, busy):
            each.settimeout(5)
            each.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert b"connection: close" not in each.recv(4000).lower()
        one.plane.remove(LISTENER, "main")
        assert wait_for(lambda: one.stat("listener_manager.total_listeners_draining") == 1)
        assert wait_for(lambda: one.get(port) == "ConnectionRefusedError")
        busy.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"connection: close" in busy.recv(4000).lower()
        # The other one says nothing: it is closed at the end of the drain.
        began = time.monotonic()
        assert idle.recv(100) == b""
        assert 0.5 < time.monotonic() - began < 4
    assert wait_for(lambda: one.stat("listener_manager.total_listeners_draining") == 0)


def chain(server_name: str, routes: dict[str, object]) -> dict[str, object]:
    match = {"server_names": [server_name]} if server_name else {}
    return {"name": server_name or "rest", "filter_chain_match": match, "filters": [manager(routes)]}


def test_updates_in_place_keep_unchanged_chains(scene: Start) -> None:
    one = scene("GRPC", arguments=("--drain-time-s", "2", "--drain-strategy", "immediate"))
    port = free_port()
    basics(one, port)

    def with_chains(default: dict[str, object], direct: int) -> dict[str, object]:
        to_port = {
            "name": "by source", "filter_chain_match": {"source_ports": [direct]},
            "filters": [manager(route_config("by source", "web"))],
        }  # fmt: skip
        return {"name": "main", "address": at(port), "filter_chains": [to_port], "default_filter_chain": default}

    source = free_port()
    one.plane.set(LISTENER, [with_chains(chain("", route_config("a", "web")), source)])
    one.start()
    kept = socket.socket()
    kept.bind(("127.0.0.1", source))
    with kept, socket.create_connection(("127.0.0.1", port)) as dropped:
        kept.settimeout(5)
        dropped.settimeout(5)
        kept.connect(("127.0.0.1", port))
        for each in (kept, dropped):
            each.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert each.recv(4000).startswith(b"HTTP/1.1 200")
        one.plane.set(LISTENER, [with_chains(chain("", route_config("b", "web")), source)])
        assert wait_for(lambda: one.stat("listener_manager.listener_in_place_updated") == 1)
        assert one.stat("listener_manager.total_filter_chains_draining") == 1
        assert one.stat("listener_manager.total_listeners_draining") == 0
        # The changed chain's connection is asked to go, or closed in the end; the other one lives on.
        assert dropped.recv(100) == b""
        assert wait_for(lambda: one.stat("listener_manager.total_filter_chains_draining") == 0)
        kept.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = kept.recv(4000)
        assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" not in answer.lower()
    assert one.get(port).startswith("200 ")


def test_streams_in_flight_outlive_their_cluster_and_listener(scene: Start) -> None:
    one = scene("GRPC")
    port = free_port()
    basics(one, port)
    one.start()
    with socket.create_connection(("127.0.0.1", port)) as busy:
        busy.settimeout(5)
        busy.sendall(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        time.sleep(0.2)
        one.plane.set(LISTENER, [])
        one.plane.set(CLUSTER, [])
        assert wait_for(lambda: one.stat("cluster_manager.cluster_removed") == 1)
        answer = busy.recv(4000)
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(str(one.ports[0]).encode())


def test_static_clusters_and_listeners_stay(scene: Start) -> None:
    port = free_port()
    static = {
        "clusters": [static_cluster("fixed", 1)],
        "listeners": [listener("fixed", port, route_config("inline", "fixed"))],
    }
    one = scene("GRPC", static_resources=static)
    one.plane.set(CLUSTER, [static_cluster("fixed", one.ports[0])])
    one.plane.set(LISTENER, [listener("fixed", port, route_config("inline", "web"))])
    one.start()
    assert one.get(port).startswith("503 ")
    assert one.stat("cluster_manager.cluster_modified") == 0
    one.plane.set(CLUSTER, [])
    one.plane.set(LISTENER, [])
    time.sleep(0.3)
    assert one.get(port).startswith("503 ")
    assert one.stat("listener_manager.listener_removed") == 0


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b""])
def test_garbage_from_the_control_plane(scene: Start, garbage: bytes) -> None:
    one = scene("GRPC")
    port = free_port()
    basics(one, port)
    one.start()
    with Traffic(port) as traffic:
        one.plane.push(garbage)
        time.sleep(0.3)
        one.plane.update(ENDPOINTS, assignment("web", one.ports[1]))
        assert wait_for(lambda: traffic.seen.get(str(one.ports[1]), 0) > 3, 20)
    assert traffic.failures == []


def test_a_wrong_source_ends_the_start(tmp_path: Path, scene: Start) -> None:
    one = scene("GRPC", dynamic_resources={"cds_config": {"path_config_source": {"path": str(tmp_path / "none.yaml")}}})
    with pytest.raises(ProxyFailed) as caught:
        one.start()
    assert "paths must refer to an existing path in the system" in str(caught.value)


def test_the_inline_form(scene: Start) -> None:
    one = scene("GRPC", concurrency=0)
    port, other = free_port(), free_port()
    basics(one, port)
    one.start()
    with Traffic(port) as traffic:
        one.plane.update(ENDPOINTS, assignment("web", one.ports[1]))
        assert wait_for(lambda: traffic.seen.get(str(one.ports[1]), 0) > 5)
        one.plane.update(CLUSTER, static_cluster("late", one.ports[2]))
        one.plane.update(LISTENER, listener("late", other, route_config("inline", "late")))
        assert wait_for(lambda: one.get(other) == f"200 {one.ports[2]}")
        one.plane.update(LISTENER, listener("main", port, "routes", per_connection_buffer_limit_bytes=40_000))
        one.plane.remove(LISTENER, "late")
        assert wait_for(lambda: one.get(other) == "ConnectionRefusedError")
    assert traffic.failures == []


def test_drained_by_hand(scene: Start) -> None:
    one = scene("GRPC", arguments=("--drain-strategy", "immediate"))
    port = free_port()
    basics(one, port)
    one.start()
    with socket.create_connection(("127.0.0.1", port)) as kept:
        kept.settimeout(5)
        one.admin("/drain_listeners?graceful&skip_exit", "POST")
        kept.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"connection: close" in kept.recv(4000).lower()
    one.admin("/drain_listeners", "POST")
    assert wait_for(lambda: one.get(port) == "ConnectionRefusedError")
    assert one.stat("listener_manager.listener_stopped") == 1
    # A listener that comes back with another configuration serves again.
    one.plane.update(LISTENER, listener("main", port, "routes", stat_prefix="again"))
    assert wait_for(lambda: one.get(port) == f"200 {one.ports[0]}")
