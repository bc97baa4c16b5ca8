"""Both forms against a real server of grpcio: ADS and streams of one type, restarts, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import grpc
from outrider.config.errors import ConfigError
from tests.support.control_plane import Recorder
from tests.xds.fakes import CLUSTER, ENDPOINT
from tests.xds.scene import World, grpc_source

pytestmark = pytest.mark.integration

ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}


def static(name: str, timeout: str = "1s") -> dict[str, Any]:
    return {"name": name, "type": "STATIC", "connect_timeout": timeout}


@pytest.fixture
def plane() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_ads_carries_several_types(plane: Recorder, api_type: str) -> None:
    plane.set_all({CLUSTER: [static("a")], ENDPOINT: [{"cluster_name": "e"}]})
    world = World(plane.port, grpc_source(api_type))
    try:
        _, clusters = world.subscribe(ADS, CLUSTER)
        _, endpoints = world.subscribe(ADS, ENDPOINT, ["e"], "e.")
        world.until(lambda: clusters.resources and endpoints.resources)
        assert clusters.resources[0].view.text("name") == "a"
        assert endpoints.resources[0].name == "e"
        plane.update(CLUSTER, static("b"))
        world.until(lambda: "b" in [each.name for each in clusters.resources])
        world.until(lambda: plane.acks(CLUSTER) == 2)
        assert len(plane.streams()) == 1
        assert {each.message.node.id for each in plane.requests()} == {"me"}
        assert world.value("control_plane.identifier") == "example-control-plane"
        assert world.value("control_plane.connected_state") == 1
    finally:
        world.close()


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_a_stream_of_its_own(plane: Recorder, api_type: str) -> None:
    plane.set(CLUSTER, [static("a")])
    world = World(plane.port)
    try:
        subscription, memory = world.subscribe({"api_config_source": grpc_source(api_type)}, CLUSTER, None, "cds.")
        world.until(lambda: memory.resources)
        assert plane.streams()[0].method == ("DeltaClusters" if api_type == "DELTA_GRPC" else "StreamClusters")
        assert world.value("cds.control_plane.connected_state") == 1
        world.run(subscription.close)
        world.until(lambda: not plane.streams())
    finally:
        world.close()


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_over_grpcio(plane: Recorder, api_type: str) -> None:
    plane.set(CLUSTER, [static("a")])
    target = {"google_grpc": {"target_uri": f"127.0.0.1:{plane.port}", "stat_prefix": "xds"}}
    world = World(plane.port, grpc_source(api_type, grpc_services=[target]))
    try:
        _, memory = world.subscribe(ADS, CLUSTER)
        world.until(lambda: memory.resources)
        plane.update(CLUSTER, static("b"))
        world.until(lambda: "b" in [each.name for each in memory.resources])
        plane.stop()
        world.until(lambda: memory.failures)
        plane.set(CLUSTER, [static("c")])
        plane.start()
        world.until(lambda: "c" in [each.name for each in memory.resources], 20)
    finally:
        world.close()


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_a_refused_update_does_not_stop_the_next(plane: Recorder, api_type: str) -> None:
    plane.set(CLUSTER, [static("a")])
    world = World(plane.port, grpc_source(api_type))
    try:
        _, memory = world.subscribe(ADS, CLUSTER)
        world.until(lambda: memory.resources)
        plane.set(CLUSTER, [static("a"), static("bad", "0s")])
        world.until(lambda: plane.nacks(CLUSTER))
        assert "Cluster[bad].connect_timeout" in str(plane.nacks(CLUSTER)[0].error)
        assert [each.name for each in memory.resources] == ["a"]
        plane.set(CLUSTER, [static("a"), static("good")])
        world.until(lambda: "good" in [each.name for each in memory.resources])
    finally:
        world.close()


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_the_server_goes_away_and_comes_back(plane: Recorder, api_type: str) -> None:
    plane.set(CLUSTER, [static("a")])
    world = World(plane.port, grpc_source(api_type))
    try:
        _, memory = world.subscribe(ADS, CLUSTER)
        world.until(lambda: memory.resources)
        plane.stop()
        world.until(lambda: memory.failures)
        plane.clear()
        plane.set(CLUSTER, [static("a"), static("b")])
        plane.start()
        world.until(lambda: "b" in [each.name for each in memory.resources], 20)
        first = plane.requests(CLUSTER)[0].message
        if api_type == "GRPC":
            assert (first.version_info, first.response_nonce) == ("1", "")
        else:
            assert list(first.initial_resource_versions) == ["a"]
    finally:
        world.close()


def test_a_stream_that_is_refused_is_tried_again(plane: Recorder) -> None:
    plane.set(CLUSTER, [static("a")])
    world = World(plane.port, grpc_source())
    try:
        _, memory = world.subscribe(ADS, CLUSTER)
        world.until(lambda: memory.resources)
        plane.abort_all(grpc.StatusCode.PERMISSION_DENIED, "go away")
        world.until(lambda: len({each.stream.number for each in plane.requests()}) == 2)
    finally:
        world.close()


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_garbage_and_back(plane: Recorder, api_type: str) -> None:
    plane.set(CLUSTER, [static("a")])
    world = World(plane.port, grpc_source(api_type))
    try:
        _, memory = world.subscribe(ADS, CLUSTER)
        world.until(lambda: memory.resources)
        plane.push(b"\xff\xff\xff\xff")
        world.until(lambda: len({each.stream.number for each in plane.requests()}) == 2)
        plane.set(CLUSTER, [static("b")])
        world.until(lambda: "b" in [each.name for each in memory.resources])
    finally:
        world.close()


def test_the_initial_fetch_timeout(plane: Recorder) -> None:
    plane.silent = True
    world = World(plane.port, grpc_source())
    try:
        _, memory = world.subscribe({**ADS, "initial_fetch_timeout": "0.1s"}, CLUSTER)
        world.until(lambda: memory.failures)
        assert memory.failures == [(1, "")]
        assert world.value("s.init_fetch_timeout") == 1
    finally:
        world.close()


def test_unknown_fields_of_a_newer_api(plane: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    from tests.xds.fakes import cluster, pack, response

    newer = pack(cluster("a"))
    newer.value += b"\xfa\x7f\x01x"  # field 2047
    for reject in (False, True):
        caplog.clear()
        world = World(plane.port, grpc_source(), reject_unknown=reject)
        try:
            _, memory = world.subscribe(ADS, CLUSTER)
            world.until(plane.streams)
            plane.push(response(CLUSTER, "1", "1", newer))
            world.until(lambda: memory.failures if reject else memory.resources)  # noqa: B023
            # Once for each kind, however often it comes.
            plane.push(response(CLUSTER, "2", "2", newer, cluster("b")))
            world.until(lambda: plane.requests(CLUSTER)[-1].message.response_nonce == "2")
            assert world.value("server.dynamic_unknown_fields") == (0 if reject else 1)
            if not reject:
                assert caplog.text.count("unknown fields with the numbers [2047]") == 1
        finally:
            world.close()
    assert "Cluster[a]" in str(plane.nacks(CLUSTER)[0].error)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"ads": {}}, "ADS must be configured to support an ADS config source"),
        ({"self": {}}, "Missing config source specifier in envoy::config::core::v3::ConfigSource"),
        (
            {"path_config_source": {"path": "/no/such/file"}},
            "paths must refer to an existing path in the system: '/no/such/file' does not exist",
        ),
        (
            {"path": "/no/such/file"},
            "paths must refer to an existing path in the system: '/no/such/file' does not exist",
        ),
        (
            {"api_config_source": grpc_source("AGGREGATED_GRPC")},
            "Unsupported config source AGGREGATED_GRPC",
        ),
        (
            {"api_config_source": {"api_type": "GRPC", "grpc_services": [{"envoy_grpc": {"cluster_name": "zzz"}}]}},
            "envoy.config.core.v3.ApiConfigSource must have a statically defined non-EDS cluster: 'zzz' does not exist, "
            "was added via api, or is an EDS cluster",
        ),
        (
            {"api_config_source": {"api_type": "REST", "cluster_names": ["xds"]}},
            "refresh_delay is required for REST API configuration sources",
        ),
        ({"api_config_source": {"api_type": "GRPC"}}, "API configs must have either a gRPC service or a cluster name"),
        (
            {"api_config_source": grpc_source(cluster_names=["xds"])},
            "(AGGREGATED_)(DELTA_)GRPC must not have a cluster name specified",
        ),
        (
            {"api_config_source": {**grpc_source(), "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}] * 2}},
            "(AGGREGATED_)(DELTA_)GRPC must have no more than 1 gRPC services specified",
        ),
        (
            {"api_config_source": grpc_source("REST")},
            "if not a gRPC type, must not have a gRPC service specified",
        ),
        (
            {"api_config_source": {"api_type": "REST", "cluster_names": ["xds", "xds"], "refresh_delay": "1s"}},
            "must have a singleton cluster name specified",
        ),
        (
            {
                "api_config_source": grpc_source(
                    grpc_services=[
                        {
                            "envoy_grpc": {
                                "cluster_name": "xds",
                                "retry_policy": {"retry_back_off": {"base_interval": "2s", "max_interval": "1s"}},
                            }
                        }
                    ]
                )
            },
            "max_interval must be greater than or equal to the base_interval",
        ),
    ],
)
def test_what_a_source_may_not_say(source: dict[str, Any], text: str) -> None:
    world = World(1)
    try:
        with pytest.raises(ConfigError) as caught:
            world.subscribe(source, CLUSTER)
        assert text in str(caught.value)
    finally:
        world.close()


def test_ads_over_rest_is_refused() -> None:
    with pytest.raises(ConfigError, match="type must be of non-aggregated gRPC"):
        World(1, {"api_type": "REST", "cluster_names": ["xds"], "refresh_delay": "1s"})
