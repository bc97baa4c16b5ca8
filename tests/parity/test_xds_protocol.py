"""The same control plane, the same changes: the same requests, answers and stats as the real Envoy's.

Each scenario runs once against each proxy, with a server of its own; compared are the requests in their order (type,
names, version, nonce, error) and what the stats say at the end.
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from examples.control_plane.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, packed_from

import grpc
from outrider.config import api
from tests.support.control_plane import Recorder, Request, xds_cluster
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess

URL = "type.googleapis.com/"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
FORMS = ("GRPC", "DELTA_GRPC")
ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}

Scenario = Callable[[Recorder, ProxyProcess], None]
Change = Callable[[dict[str, Any], Recorder], None]


def static(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", **more}


def discovered(name: str) -> dict[str, Any]:
    return {"name": name, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": ADS}}


def assignment(name: str) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 9}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def listener(name: str, port: int, route: str) -> dict[str, Any]:
    manager = {
        "@type": URL + HCM,
        "stat_prefix": name,
        "rds": {"route_config_name": route, "config_source": ADS},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": URL + ROUTER}}],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }


def routes(name: str, status: int = 200) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "direct_response": {"status": status}}
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}


def bootstrap(plane: Recorder, admin: int, api_type: str) -> dict[str, Any]:
    source = {
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    return {
        "node": {"id": "me", "cluster": "ours", "metadata": {"a": "b"}, "locality": {"zone": "z"}},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"clusters": [xds_cluster(plane.port)]},
        "dynamic_resources": {"ads_config": source, "cds_config": dict(ADS), "lds_config": dict(ADS)},
    }


# What our errors begin with: the resource and the field.
PLACE = re.compile(r"(error=13:)[A-Za-z]+\[[^]]*\][^ ]*: ")


def line(request: Request) -> str:
    """One request for comparison. Names of the state-of-the-world form come in an order of chance; texts of errors
    that print a whole message differ by design, and ours say where."""
    message = request.message
    if not request.stream.is_delta:
        names = sorted(message.resource_names)
        del message.resource_names[:]
        message.resource_names.extend(names)
    text = request.summary()
    if request.error is not None and ("goo.gle/debug" in request.error or "Unable to unpack" in text):
        text = text.split(" error=")[0] + f" error={message.error_detail.code}:..."
    for mark in ("in DiscoveryResponse", "in DeltaDiscoveryResponse", "Cluster[].name"):
        if mark in text:
            text = text.split(" error=")[0] + f" error={message.error_detail.code}:..."
    return PLACE.sub(r"\1", text)


STATS = re.compile(
    r"(control_plane\.(connected_state|rate_limit_enforced|pending_requests|identifier)"
    r"|\.(cds|lds|rds\.[a-z0-9]+)\.(update_(attempt|success|rejected|failure)|init_fetch_timeout|version|version_text)):"
)


def run(kind: str, folder: Path, api_type: str, scenario: Scenario, change: Change | None) -> tuple[list[str], list[str], str]:
    with Recorder() as plane:
        admin = free_port()
        config = bootstrap(plane, admin, api_type)
        if change is not None:
            change(config, plane)
        folder.mkdir(exist_ok=True)
        proxy = ProxyProcess(kind, json.dumps(config), admin, folder)
        try:
            scenario(plane, proxy)
            time.sleep(0.3)
            stats = proxy.admin("/stats").body.splitlines()
            requests = [line(each) for each in plane.requests()]
        except AssertionError as error:
            heard = "\n".join(line(each) for each in plane.requests())
            raise AssertionError(f"{kind}: {error}\n{heard}\n{proxy.printed()}") from error
        finally:
            printed = proxy.printed()
            proxy.stop()
        return requests, sorted(each for each in stats if STATS.search(each)), printed


def compare(
    kinds: Sequence[str], folder: Path, api_type: str, scenario: Scenario, change: Change | None = None,
    in_any_order: bool = False, attempts: bool = True,
) -> list[str]:
    """Runs a scenario on both sides. `attempts`: compare how often it was tried. Returns Envoy's requests."""
    with ThreadPoolExecutor(len(kinds)) as threads:
        futures = [threads.submit(run, kind, folder / kind, api_type, scenario, change) for kind in kinds]
        results = [future.result() for future in futures]
    first = results[0]
    for other in results[1:]:
        order = sorted if in_any_order else list
        if not attempts:
            for stats in (first[1], other[1]):
                stats[:] = [each for each in stats if "update_attempt" not in each and "update_failure" not in each]
        diff = [*difflib.ndiff(order(first[0]), order(other[0])), *difflib.ndiff(first[1], other[1])]
        assert not [each for each in diff if each[0] != " "], "\n".join([*diff, other[2]])
    return first[0]


@pytest.mark.parametrize("api_type", FORMS)
def test_changes_and_refusals(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        names = ("a", "b", "c")
        plane.set_all({CLUSTER: [discovered(name) for name in names], ENDPOINT: [assignment(name) for name in names]})
        plane.set(LISTENER, [])
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        plane.set(CLUSTER, [discovered("a"), static("")])
        plane.wait_for(lambda: plane.nacks(CLUSTER))
        plane.set(CLUSTER, [discovered("a"), discovered("b"), static("d")])
        plane.wait_for(lambda: plane.acks(CLUSTER) == 2)
        time.sleep(0.2)
        plane.update(ENDPOINT, assignment("b"))
        time.sleep(0.2)
        plane.set(CLUSTER, [])
        plane.wait_for(lambda: plane.acks(CLUSTER) == 3)

    requests = compare(kinds, tmp_path, api_type, scenario)
    assert any("error=13" in each for each in requests)


@pytest.mark.parametrize("api_type", FORMS)
def test_a_cluster_that_warms_holds_the_acknowledgement_back(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [static("a")], ENDPOINT: [assignment("x")]})
        plane.set(LISTENER, [])
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        plane.mute.add(ENDPOINT)
        plane.update(CLUSTER, discovered("e"))
        plane.wait_for(lambda: plane.requests(ENDPOINT))
        time.sleep(0.3)
        acks = plane.acks(CLUSTER)
        plane.mute.clear()
        plane.update(ENDPOINT, assignment("e"))
        plane.wait_for(lambda: plane.acks(CLUSTER) == 2)
        assert acks == (1 if api_type == "GRPC" else acks)

    compare(kinds, tmp_path, api_type, scenario)


@pytest.mark.parametrize("api_type", FORMS)
def test_listeners_and_their_routes(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        ports = [free_port(), free_port()]
        plane.set_all({
            CLUSTER: [],
            LISTENER: [listener("l1", ports[0], "r1"), listener("l2", ports[1], "r2")],
            ROUTE: [routes("r1"), routes("r2")],
        })  # fmt: skip
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(ROUTE))
        plane.update(ROUTE, routes("r1", 404))
        plane.wait_for(lambda: plane.acks(ROUTE) >= 2)
        bad = routes("r1")
        bad["virtual_hosts"].append(bad["virtual_hosts"][0])
        plane.update(ROUTE, bad)
        plane.wait_for(lambda: plane.nacks(ROUTE))
        plane.update(ROUTE, routes("r1", 201))
        plane.wait_for(lambda: plane.acks(ROUTE) >= 3)
        plane.set(LISTENER, [listener("l1", ports[0], "r1")])
        plane.wait_for(lambda: plane.acks(LISTENER) >= 2)
        time.sleep(0.3)

    compare(kinds, tmp_path, api_type, scenario)


@pytest.mark.parametrize("api_type", FORMS)
def test_the_server_restarts(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [discovered("a"), static("b")], ENDPOINT: [assignment("a")]})
        plane.set(LISTENER, [])
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        # A delta server has nothing new to say of endpoints.
        news = api_type == "GRPC"
        plane.abort_all(grpc.StatusCode.UNAVAILABLE, "bye")
        plane.wait_for(lambda: plane.acks(LISTENER) == 2)
        plane.wait_for(lambda: plane.acks(ENDPOINT) == 1 + news)
        plane.abort_all(grpc.StatusCode.PERMISSION_DENIED, "go away")
        plane.wait_for(lambda: plane.acks(LISTENER) == 3)
        plane.wait_for(lambda: plane.acks(ENDPOINT) == 1 + 2 * news)

    compare(kinds, tmp_path, api_type, scenario, in_any_order=True)


def state_response(type_name: str, nonce: str, *packed: Any) -> Any:
    message: Any = api.new("envoy.service.discovery.v3.DiscoveryResponse")
    message.type_url = URL + type_name
    message.version_info = "w" + nonce
    message.nonce = nonce
    message.resources.extend(packed)
    return message


def delta_response(type_name: str, nonce: str, resources: Sequence[tuple[str, Any]], removed: Sequence[str] = ()) -> Any:
    message: Any = api.new("envoy.service.discovery.v3.DeltaDiscoveryResponse")
    message.type_url = URL + type_name
    message.system_version_info = "w" + nonce
    message.nonce = nonce
    for name, packed in resources:
        resource = message.resources.add(name=name, version="1")
        if packed is not None:
            resource.resource.CopyFrom(packed)
    message.removed_resources.extend(removed)
    return message


def test_malformed_states(kinds: list[str], tmp_path: Path) -> None:
    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [static("a")], LISTENER: []})
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        cluster = packed_from(CLUSTER, static("x"))
        for number, answer in enumerate(
            [
                state_response(CLUSTER, "n1", packed_from(ENDPOINT, b"")),
                state_response(CLUSTER, "n2", packed_from(CLUSTER, b"\xff\xff\xff")),
                state_response(CLUSTER, "n3", cluster, cluster),
                state_response(ROUTE, "n4"),
                state_response(CLUSTER, "n5"),
            ],
            1,
        ):
            plane.push(answer)
            if number not in (4,):
                plane.wait_for(lambda: any(each.message.response_nonce == f"n{number}" for each in plane.requests()))  # noqa: B023
        plane.push(b"\xff\xff\xff\xff")
        plane.wait_for(lambda: len({each.stream.number for each in plane.requests()}) == 2)
        plane.wait_for(lambda: plane.acks(LISTENER) == 2)

    requests = compare(kinds, tmp_path, "GRPC", scenario)
    assert any("Error adding/updating cluster(s) x: duplicate cluster x found" in each for each in requests)


def test_malformed_deltas(kinds: list[str], tmp_path: Path) -> None:
    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [static("a")], LISTENER: []})
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        cluster = packed_from(CLUSTER, static("x"))
        for number, answer in enumerate(
            [
                delta_response(CLUSTER, "n1", [("x", packed_from(ENDPOINT, b""))]),
                delta_response(CLUSTER, "n2", [("x", packed_from(CLUSTER, b"\xff\xff\xff"))]),
                delta_response(CLUSTER, "n3", [("x", cluster), ("x", cluster)]),
                delta_response(CLUSTER, "n4", [("x", cluster)], ["x"]),
                delta_response(CLUSTER, "n5", [("x", None)]),
                delta_response(CLUSTER, "n6", []),
                delta_response(CLUSTER, "n7", [], ["never"]),
                delta_response(ROUTE, "n8", []),
                delta_response(CLUSTER, "n9", [("x", cluster)]),
            ],
            1,
        ):
            plane.push(answer)
            if number != 8:
                plane.wait_for(lambda: any(each.message.response_nonce == f"n{number}" for each in plane.requests()))  # noqa: B023
        plane.push(b"\xff\xff\xff\xff")
        plane.wait_for(lambda: len({each.stream.number for each in plane.requests()}) == 2)
        plane.wait_for(lambda: plane.acks(LISTENER) == 2)

    requests = compare(kinds, tmp_path, "DELTA_GRPC", scenario)
    assert any("duplicate name x found among added/updated resources" in each for each in requests)


@pytest.mark.parametrize("api_type", FORMS)
def test_a_stream_for_each_type(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    def change(config: dict[str, Any], plane: Recorder) -> None:
        dynamic = config["dynamic_resources"]
        source = {"api_config_source": {**dynamic.pop("ads_config"), "set_node_on_first_message_only": True}}
        dynamic["cds_config"] = {**source, "resource_api_version": "V3"}
        dynamic["lds_config"] = {**source, "resource_api_version": "V3"}

    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [static("a")], LISTENER: []})
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER) and plane.acks(CLUSTER))
        plane.update(CLUSTER, static("b"))
        plane.wait_for(lambda: plane.acks(CLUSTER) == 2)

    compare(kinds, tmp_path, api_type, scenario, change)


@pytest.mark.parametrize("api_type", FORMS)
def test_the_rate_limit(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    def change(config: dict[str, Any], plane: Recorder) -> None:
        config["dynamic_resources"]["ads_config"]["rate_limit_settings"] = {"max_tokens": 3, "fill_rate": 2.0}

    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [static("a")], LISTENER: []})
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        for number in range(2):
            plane.update(CLUSTER, static(f"b{number}"))
            time.sleep(0.1)
        plane.wait_for(lambda: plane.acks(CLUSTER) == 3)

    requests = compare(kinds, tmp_path, api_type, scenario, change)
    assert len(requests) == 6


@pytest.mark.parametrize("api_type", FORMS)
def test_the_initial_fetch_timeout(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    def change(config: dict[str, Any], plane: Recorder) -> None:
        for kind in ("cds_config", "lds_config"):
            config["dynamic_resources"][kind]["initial_fetch_timeout"] = "0.3s"

    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.silent = True
        plane.wait_for(lambda: plane.requests(LISTENER))
        proxy.wait_ready()
        plane.silent = False
        plane.set(CLUSTER, [static("a")])
        plane.wait_for(lambda: plane.acks(CLUSTER))

    compare(kinds, tmp_path, api_type, scenario, change)


def test_the_node(kinds: list[str], tmp_path: Path) -> None:
    """Only versions, and which extensions there are, may differ."""
    nodes: list[Any] = []

    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [], LISTENER: []})
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        node: Any = type(plane.requests()[0].message.node)()
        node.CopyFrom(plane.requests()[0].message.node)
        assert node.user_agent_build_version.version.minor_number == 40
        node.ClearField("user_agent_build_version")
        nodes.append(node)

    compare(kinds, tmp_path, "GRPC", scenario)
    if len(nodes) == 2:
        found = [{(each.category, each.name): each for each in node.extensions} for node in nodes]
        router = found[0]["envoy.filters.http", "envoy.filters.http.router"]
        assert found[1]["envoy.filters.http", "envoy.filters.http.router"] == router
        for node in nodes:
            del node.extensions[:]
        assert nodes[0] == nodes[1]


def test_the_second_server(kinds: list[str], tmp_path: Path) -> None:
    """The first is not there: the second is used, until it breaks off and the first is there."""
    others: list[list[str]] = []

    def both(plane: Recorder, proxy: ProxyProcess) -> None:
        second = seconds[plane.port]
        second.set_all({CLUSTER: [], LISTENER: []})
        plane.set_all({CLUSTER: [static("a")], LISTENER: []})
        proxy.wait_ready()
        second.wait_for(lambda: second.acks(LISTENER))
        plane.start()
        second.stop()
        plane.wait_for(lambda: plane.acks(LISTENER))
        others.append([line(each) for each in second.requests()])

    seconds: dict[int, Recorder] = {}

    def change(config: dict[str, Any], plane: Recorder) -> None:
        second = seconds[plane.port] = Recorder()
        second.start()
        plane.stop()
        config["static_resources"]["clusters"].append(xds_cluster(second.port, "second"))
        services = config["dynamic_resources"]["ads_config"]["grpc_services"]
        services.append({"envoy_grpc": {"cluster_name": "second"}})
        features = {"envoy.restart_features.xds_failover_support": True}
        config["layered_runtime"] = {"layers": [{"name": "static", "static_layer": features}]}

    try:
        compare(kinds, tmp_path, "GRPC", both, change, attempts=False)
        # How often the second was tried before it answered is chance.
        ends = [each[-3:] for each in others]
        assert ends[0][-1].startswith("Listener nonce=2 version=1")
        assert all(each == ends[0] for each in ends)
    finally:
        for second in seconds.values():
            second.stop()


@pytest.mark.parametrize("api_type", FORMS)
def test_time_to_live(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    """A resource that is not renewed goes away; a heartbeat renews it."""
    removals: list[float] = []

    def resource(name: str, ttl_s: int, content: bool = True) -> Any:
        wrapper: Any = api.new("envoy.service.discovery.v3.Resource")
        wrapper.name = name
        wrapper.version = "1"
        wrapper.ttl.seconds = ttl_s
        if content:
            wrapper.resource.CopyFrom(packed_from(CLUSTER, static(name)))
        return wrapper

    def answer(nonce: str, *wrappers: Any) -> Any:
        if api_type == "DELTA_GRPC":
            message = delta_response(CLUSTER, nonce, [])
            message.resources.extend(wrappers)
            return message
        packed = [api.new("google.protobuf.Any") for _ in wrappers]
        for any_message, wrapper in zip(packed, wrappers, strict=True):
            any_message.Pack(wrapper)  # type: ignore[attr-defined]
        message = state_response(CLUSTER, nonce, *packed)
        message.version_info = "w"
        return message

    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [], LISTENER: []})
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        plane.push(answer("t1", resource("short", 2), resource("long", 60)))
        plane.wait_for(lambda: plane.acks(CLUSTER) == 2)
        began = time.monotonic()

        def removed() -> bool:
            return "cluster_manager.cluster_removed: 1" in proxy.admin("/stats?filter=cluster_removed").body

        if api_type == "DELTA_GRPC":
            time.sleep(1.2)
            plane.push(answer("t2", resource("short", 2, False)))
            plane.wait_for(lambda: plane.acks(CLUSTER) == 3)
        plane.wait_for(removed)
        removals.append(time.monotonic() - began)
        assert "long::" in proxy.admin("/clusters").body

    compare(kinds, tmp_path, api_type, scenario)
    least = 3.0 if api_type == "DELTA_GRPC" else 1.8
    assert all(least < each < least + 3 for each in removals), removals


@pytest.mark.parametrize("api_type", FORMS)
def test_the_fewest_clusters(kinds: list[str], tmp_path: Path, api_type: str) -> None:
    def change(config: dict[str, Any], plane: Recorder) -> None:
        name = "envoy.extensions.config.validators.minimum_clusters.v3.MinimumClustersValidator"
        validator = {"name": "fewest", "typed_config": {"@type": URL + name, "min_clusters_num": 2}}
        config["dynamic_resources"]["ads_config"]["config_validators"] = [validator]

    def scenario(plane: Recorder, proxy: ProxyProcess) -> None:
        plane.set_all({CLUSTER: [static(name) for name in "abc"], LISTENER: []})
        proxy.wait_ready()
        plane.wait_for(lambda: plane.acks(LISTENER))
        for names in ("xy", "x", "", "yz"):
            seen = len(plane.requests(CLUSTER))
            plane.set(CLUSTER, [static(name) for name in names])
            plane.wait_for(lambda: len(plane.requests(CLUSTER)) > seen)  # noqa: B023

    requests = compare(kinds, tmp_path, api_type, scenario, change)
    assert sum("below configured minimum" in each for each in requests) == 2
