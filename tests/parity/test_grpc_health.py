"""Health checks over gRPC and over HTTP/2, compared with Envoy."""

from __future__ import annotations

import re

import pytest

import grpc
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.grpc import GrpcAnswer, call_text
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig, wait_for

CHECK = "/grpc.health.v1.Health/Check"
HTTP2 = "{explicit_http_config: {http2_protocol_options: {}}}"
CHECKS = "health_checks: [{timeout: 1s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, %s}]"
SERVING = b"\x08\x01"
NOT_SERVING = b"\x08\x02"

GROUP = SideConfig(
    bootstrap(
        [http("main")],
        [
            cluster("up"),
            cluster("plain", "<<grpc:plain>>", protocol=HTTP2, options=CHECKS % "grpc_health_check: {}"),
            cluster("named", "<<grpc:named>>", protocol=HTTP2, options=CHECKS % "reuse_connection: false, grpc_health_check: {service_name: some.Service, authority: auth.test, initial_metadata: [{header: {key: x-a, value: b}}]}"),
            cluster("http2", "<<grpc:http2>>", protocol=HTTP2, options=CHECKS % "http_health_check: {path: /grpc.health.v1.Health/Check, method: POST, codec_client_type: HTTP2}"),
        ],
    )
)


def health_of(side: Side, name: str) -> str:
    assert side.process is not None
    found = re.search(rf"^{name}::.*::health_flags::(.*)$", side.process.admin("/clusters").body, re.MULTILINE)
    return found[1] if found else "?"


def first_call(side: Side, name: str) -> str:
    """What the server was asked, bytes as they came."""
    call = side.grpc[name].server.calls[0]
    return side.normalizer()(call_text(call)) + f"\nuser-agent {call.header('user-agent')}"


ANSWERS: list[tuple[str, str, GrpcAnswer]] = [
    ("serving", "healthy", [SERVING]),
    ("not_serving", "/failed_active_hc", [NOT_SERVING]),
    ("serving_again", "healthy", [SERVING]),
    ("unknown", "/failed_active_hc", [b""]),
    ("serving_thrice", "healthy", [SERVING]),
    ("status", "/failed_active_hc", (grpc.StatusCode.UNAVAILABLE, "gone")),
    ("serving_at_last", "healthy", [SERVING]),
    ("unimplemented", "/failed_active_hc", (grpc.StatusCode.UNIMPLEMENTED, "what")),
]


@pytest.mark.parametrize("name", ["plain", "named"])
def test_health(pair: Pair, name: str) -> None:
    for side in pair.sides:
        for _, expected, answer in ANSWERS:
            side.grpc[name].play({CHECK: answer})
            assert wait_for(lambda side=side, expected=expected: health_of(side, name) == expected, 5), (side.kind, expected)
    calls = [first_call(side, name) for side in pair.sides]
    assert all(call == calls[0] for call in calls), calls


def test_counters(pair: Pair) -> None:
    """The same ones move."""
    moved = []
    for side in pair.sides:
        stats = side.stats()
        moved.append({key for key, value in stats.items() if key.startswith(("cluster.plain.health_check.", "cluster.named.health_check.")) and value})
    assert all(each == moved[0] for each in moved), moved


def test_http_over_http2(pair: Pair) -> None:
    """The server speaks nothing but gRPC, and says so: no check goes well."""
    for side in pair.sides:
        assert wait_for(lambda side=side: health_of(side, "http2") == "/failed_active_hc", 5), side.kind
        stats = side.stats()
        # Its way of saying so is a reset.
        assert stats["cluster.http2.health_check.network_failure"] > 0, side.kind
