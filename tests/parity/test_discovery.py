"""Both proxies with the same control plane: what they answer it, what they count, what they show."""

from __future__ import annotations

import difflib
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.discovery_scene import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTES,
    DiscoveryScene,
    assignment,
    at,
    eds_cluster,
    listener,
    route_config,
    wait_for,
)
from tests.support.ports import free_port
from tests.support.proxy_process import find_envoy

pytestmark = pytest.mark.skipif(not find_envoy(), reason="needs the real Envoy")

SETTLE_S = 0.3


class Side:
    """One proxy and what it was seen to do."""

    def __init__(self, kind: str, api: str, folder: Path) -> None:
        folder.mkdir()
        self.scene = DiscoveryScene(folder, api, kind, 1, arguments=("--drain-time-s", "2"))
        self.plane = self.scene.plane
        self.main, self.late, self.other = free_port(), free_port(), free_port()
        self.notes: list[str] = []

    def note(self, what: str, path: str) -> None:
        lines = self.normal(self.scene.admin(path)).splitlines()
        # The order of clusters and hosts is that of hash tables in Envoy.
        text = "\n".join(sorted(lines) if path.startswith(("/clusters", "/stats")) else lines)
        self.notes.append(f"=== {what}\n{text}")

    def normal(self, text: str) -> str:
        scene = self.scene
        words = {self.main: "MAIN", self.late: "LATE", self.other: "OTHER", scene.plane.port: "XDS"}
        words |= {port: f"UP{index}" for index, port in enumerate(scene.ports)}
        text = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*"', '"TIME"', text)
        text = re.sub(r"(update_time|reload_time_ms): \d+", r"\1: TIME", text)
        text = re.sub(r"update_duration: .*", "", text)
        text = re.sub(r"(init-manager \w+) \d+", r"\1 HASH", text)
        # We name the field in addition.
        text = re.sub(r"(Cluster|ClusterLoadAssignment|Listener)\[\w+\]\S* ", "", text)
        return re.sub(r"\b\d{4,5}\b", lambda match: words.get(int(match[0]), match[0]), text)

    def set(self, type_name: str, tree: dict[str, Any]) -> None:
        self.plane.update(type_name, tree)
        time.sleep(SETTLE_S)

    def requests(self) -> str:
        return self.normal("\n".join(re.sub(r"nonce=\S*", "", each.summary()) for each in self.plane.requests()))

    def begin(self) -> None:
        self.plane.set(ENDPOINTS, [assignment("web", self.scene.ports[0])])
        self.plane.set(CLUSTER, [eds_cluster("web")])
        self.plane.set(ROUTES, [route_config("routes", "web")])
        self.plane.set(LISTENER, [listener("main", self.main, "routes")])
        self.scene.start()


def warming(side: Side) -> None:
    """A listener waits for routes, a cluster for endpoints."""
    side.begin()
    scene, plane = side.scene, side.plane
    plane.update(LISTENER, listener("late", side.late, "late routes"))
    assert wait_for(lambda: scene.stat("listener_manager.total_listeners_warming") == 1)
    side.note("init dump", "/init_dump")
    side.note("listeners", "/listeners")
    plane.mute.add(ENDPOINTS)
    side.set(CLUSTER, eds_cluster("web2"))
    side.note("clusters", "/clusters")
    side.note("warming clusters", "/config_dump?resource=dynamic_warming_clusters")
    side.note("warming listener", "/config_dump?resource=dynamic_listeners")
    side.note("stats", "/stats?filter=warming")
    plane.mute.clear()
    plane.update(ENDPOINTS, assignment("web2", scene.ports[1]))
    side.set(ROUTES, route_config("late routes", "web2"))
    assert wait_for(lambda: scene.get(side.late) == f"200 {scene.ports[1]}")
    side.note("init dump, in the end", "/init_dump")
    side.note("listeners, in the end", "/listeners?format=json")
    side.note("counted", "/stats?filter=^(cluster_manager|listener_manager)")
    # Moved to another address, then removed.
    side.set(LISTENER, listener("late", side.other, "late routes"))
    side.note("moved", "/listeners")
    plane.remove(LISTENER, "late")
    plane.remove(CLUSTER, "web2")
    time.sleep(SETTLE_S)
    side.note("removed", "/stats?filter=^(cluster_manager|listener_manager)")
    side.note("clusters, in the end", "/clusters")
    time.sleep(2.3)
    side.note("drained", "/stats?filter=total_")


def refused(side: Side) -> None:
    """Each thing that can be wrong, one by one."""
    side.begin()
    scene, plane = side.scene, side.plane
    web = scene.ports[0]
    side.set(CLUSTER, {"name": "web", "type": "EDS", "connect_timeout": "1s"})
    side.set(CLUSTER, eds_cluster("web"))
    named = assignment("web", web)
    named["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = at(80, "foo.test")
    side.set(ENDPOINTS, named)
    drop = {"category": "a", "drop_percentage": {"numerator": 1}}
    side.set(ENDPOINTS, assignment("web", web, policy={"drop_overloads": [drop, drop]}))
    side.set(LISTENER, listener("twin", side.main, "routes"))
    side.set(LISTENER, {"name": "twin", "address": at(side.other)})
    side.set(LISTENER, {"name": "twin", "address": at(side.other), "filter_chains": [{"filters": [{"name": "x"}]}]})
    side.set(LISTENER, listener("twin", 80, "routes", address=at(80, "1.2.3.4")))
    side.set(LISTENER, listener("twin", 80, "routes", address={"pipe": {"path": "/nonexistent/x"}}))
    side.set(LISTENER, listener("main", side.main, "routes", address=at(side.main, "1.2.3.4")))
    side.note("listeners", "/config_dump?resource=dynamic_listeners")
    plane.remove(LISTENER, "twin")
    side.set(LISTENER, listener("main", side.main, "routes"))
    assert scene.get(side.main) == f"200 {web}"
    side.note("stats", "/stats?filter=^(cluster_manager|listener_manager|cluster.web.(update|version|member))")
    side.note("listeners, in the end", "/config_dump?resource=dynamic_listeners")
    side.notes.append(f"=== requests\n{side.requests()}")


def endpoints(side: Side) -> None:
    """Priorities, localities, health, metadata, age."""
    side.begin()
    scene = side.scene
    first, second, third = scene.ports
    aged = {"endpoint_stale_after": "1s", "drop_overloads": [{"category": "a", "drop_percentage": {"numerator": 1}}]}
    side.set(ENDPOINTS, assignment("web", first, policy=aged))
    side.note("fresh", "/clusters?filter=^web$")
    time.sleep(1)
    side.note("stale", "/clusters?filter=^web$")
    both = assignment("web", first, second, first)
    endpoint = {
        "health_status": "DRAINING",
        "load_balancing_weight": 5,
        "endpoint": {"hostname": "h", "address": at(third)},
        "metadata": {"filter_metadata": {"envoy.lb": {"canary": True}}},
    }
    far = {"region": "r", "zone": "z"}
    both["endpoints"].append({"priority": 1, "locality": far, "load_balancing_weight": 3, "lb_endpoints": [endpoint]})
    side.set(ENDPOINTS, both)
    side.note("two priorities", "/clusters?filter=^web$")
    side.note("two priorities, as JSON", "/clusters?filter=^web$&format=json")
    side.note("dump", "/config_dump?include_eds&resource=dynamic_endpoint_configs")
    # The same again, in other words.
    both["policy"] = {"overprovisioning_factor": 140}
    side.set(ENDPOINTS, both)
    side.note("unchanged", "/stats?filter=^cluster.web.(update|member|assign|max_host|version)")
    endpoint["health_status"] = "DEGRADED"
    side.set(ENDPOINTS, both)
    side.note("degraded", "/clusters?filter=^web$")
    side.set(ENDPOINTS, assignment("web"))
    side.note("empty", "/stats?filter=^cluster.web.(update|member|assign|max_host|version)")
    assert scene.get(side.main).startswith("503 no healthy upstream")
    side.set(ENDPOINTS, assignment("web", second))
    assert scene.get(side.main) == f"200 {second}"


def in_place(side: Side) -> None:
    """Filter chains alone change, then more."""
    side.begin()
    plain = listener("main", side.main, route_config("a", "web"))
    side.set(LISTENER, plain)
    side.note("first", "/stats?filter=^listener_manager")
    side.set(LISTENER, {**plain, "default_filter_chain": plain["filter_chains"][0]})
    side.note("with a default chain", "/stats?filter=^listener_manager")
    side.note("dump, in place", "/config_dump?resource=dynamic_listeners")
    side.set(LISTENER, {**plain, "stat_prefix": "other"})
    side.note("another prefix", "/stats?filter=^listener_manager")
    side.note("listeners", "/listeners")
    side.note("dump", "/config_dump?resource=dynamic_listeners")
    side.note("routes", "/config_dump?resource=static_route_configs")
    assert side.scene.get(side.main) == f"200 {side.scene.ports[0]}"
    time.sleep(2.3)
    side.note("drained", "/stats?filter=total_")


SCENARIOS = [warming, refused, endpoints, in_place]


@pytest.mark.parametrize("api", ["GRPC", "DELTA_GRPC"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.__name__ for each in SCENARIOS])
def test_same_as_envoy(scenario: Any, api: str, tmp_path: Path) -> None:
    if api == "DELTA_GRPC" and scenario is not warming:
        pytest.skip("state of the world is enough")
    sides = [Side(kind, api, tmp_path / kind) for kind in ("envoy", "outrider")]
    try:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(scenario, sides))
        envoy, ours = ["\n".join(side.notes).splitlines() for side in sides]
        difference = list(difflib.unified_diff(envoy, ours, "Envoy", "Outrider", lineterm="", n=5))
        if api == "DELTA_GRPC":
            # Resources have versions of their own, which are hashes of what differs here: ports.
            difference = [line for line in difference if "version_info" not in line and line[:1] in "+-"][2:]
        if difference:
            pytest.fail("\n".join(difference), pytrace=False)
    finally:
        for side in sides:
            side.scene.close()
