
"""TCP proxy, echo, direct response: bytes, ends of connections, access logs, statistics."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log, listener, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get
from tests.support.raw_client import Abort, Contains, ShutdownWrite
from tests.support.upstream import CloseNow, EchoTunnel, Hang, ResetNow

LOG = (
    "%ACCESS_LOG_TYPE% flags=%RESPONSE_FLAGS% long=%RESPONSE_FLAGS_LONG% code=%RESPONSE_CODE% details=%RESPONSE_CODE_DETAILS%"
    " term=%CONNECTION_TERMINATION_DETAILS% in=%BYTES_RECEIVED% out=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER% host=%UPSTREAM_HOST%"
    " remote=%UPSTREAM_REMOTE_ADDRESS% transport=%UPSTREAM_TRANSPORT_FAILURE_REASON% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT%"
    " wire=%DOWNSTREAM_WIRE_BYTES_RECEIVED%/%DOWNSTREAM_WIRE_BYTES_SENT%/%UPSTREAM_WIRE_BYTES_RECEIVED%/%UPSTREAM_WIRE_BYTES_SENT%"
    " protocol=%PROTOCOL% up=%UPSTREAM_PROTOCOL% route=%ROUTE_NAME% local=%DOWNSTREAM_LOCAL_ADDRESS%"
    " closed=%DOWNSTREAM_LOCAL_CLOSE_REASON%/%UPSTREAM_LOCAL_CLOSE_REASON% type=%DOWNSTREAM_DETECTED_CLOSE_TYPE%/%UPSTREAM_DETECTED_CLOSE_TYPE%\n"
)

LISTENER_FILTER = "listener_filters: [{{name: envoy.filters.listener.{0}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.{1}{2}}}}}]"


def tcp(name: str, options: str, listener_options: str = "") -> Json:
    config: Json = {
        "@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "access_log": [file_log(LOG)],
        **parse(options),
    }
    return listener(name, {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}, listener_options)


def plain(name: str, kind: str, options: str = "") -> Json:
    config = {"@type": TYPE + f"extensions.filters.network.{kind}.v3." + ("Echo" if kind == "echo" else "Config"), **(parse(options) or {})}
    return listener(name, {"name": f"envoy.filters.network.{kind}", "typed_config": config})


GROUP = SideConfig(
    bootstrap(
        [
            tcp("main", "cluster: up"),
            tcp("dead", "cluster: dead"),
            tcp("dead_thrice", "{cluster: dead, max_connect_attempts: 3}"),
            tcp("backoff", "{cluster: dead, max_connect_attempts: 2, backoff_options: {base_interval: 0.02s, max_interval: 0.05s}}"),
            tcp("silent", "cluster: silent"),
            tcp("silent_twice", "{cluster: silent, max_connect_attempts: 2}"),
            tcp("empty", "cluster: empty"),
            tcp("missing", "cluster: missing"),
            tcp("full", "cluster: full"),
            tcp("weighted", "weighted_clusters: {clusters: [{name: up, weight: 1}, {name: up, weight: 3}]}"),
            tcp("idle", "{cluster: up, idle_timeout: 0.3s}"),
            tcp("duration", "{cluster: up, max_downstream_connection_duration: 0.3s}"),
            tcp("connected", "{cluster: up, access_log_options: {flush_access_log_on_connected: true}}"),
            tcp("started", "{cluster: up, access_log_options: {flush_access_log_on_start: true}}"),
            tcp("periodic", "{cluster: up, access_log_options: {access_log_flush_interval: 0.2s}}"),
            tcp("subset", "{cluster: subset, metadata_match: {filter_metadata: {envoy.lb: {stage: prod}}}}"),
            tcp("subset_none", "{cluster: subset, metadata_match: {filter_metadata: {envoy.lb: {stage: nowhere}}}}"),
            tcp("sourced", "{cluster: ring, hash_policy: [{source_ip: {}}]}"),
            tcp("redirected", "cluster: up", LISTENER_FILTER.format("original_dst", "original_dst.v3.OriginalDst", "")),
            tcp("limited", "cluster: up", LISTENER_FILTER.format("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", ", stat_prefix: few, token_bucket: {max_tokens: 1, fill_interval: 3600s}")),
            plain("echo", "echo"),
            plain("direct", "direct_response", "response: {inline_string: 'hello there'}"),
            plain("direct_empty", "direct_response"),
        ],
        [
            cluster("up"),
            cluster("dead", "<<refused:a>>"),
            cluster("silent", "<<silent:a>>", options="connect_timeout: 0.25s"),
            cluster("empty", options="load_assignment: {cluster_name: empty}"),
            cluster("full", "<<up:up>>", options="circuit_breakers: {thresholds: [{max_connections: 0, max_pending_requests: 0}]}"),
            cluster("ring", "<<up:up>>", options="lb_policy: RING_HASH"),
            cluster(
                "subset", options="""
lb_subset_config: {fallback_policy: NO_FALLBACK, subset_selectors: [{keys: [stage]}]}
load_assignment:
  cluster_name: subset
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: <<up:up>>}}}
      metadata: {filter_metadata: {envoy.lb: {stage: prod}}}
""",
            ),
        ],
    )
)  # fmt: skip

ONE = answer(body=b"first")
TUNNEL = [[EchoTunnel()]]

CASES = [
    Case("plain", [get(), Contains(b"ok"), ShutdownWrite()], to_end=True, logs=1),
    Case("two_exchanges", [get(), Contains(b"ok"), get("/2"), Contains(b"second"), ShutdownWrite()], [200, 200], answers=[[answer()], [answer(body=b"second")]], responses=2, to_end=True, logs=1),
    Case("upstream_closes", [get(), Contains(b"first")], answers=[[ONE, CloseNow()]], to_end=True, logs=1),
    Case("upstream_closes_silently", [get()], None, responses=0, answers=[[CloseNow()]], to_end=True, logs=1),
    Case("upstream_resets", [get()], None, responses=0, answers=[[ResetNow()]], to_end=True, logs=1),
    Case("upstream_resets_later", [get(), Contains(b"first")], None, responses=0, answers=[[ONE, 0.1, ResetNow()]], to_end=True, logs=1),
    Case("client_resets", [get(), Contains(b"first"), Abort()], None, responses=0, answers=[[ONE, Hang()]], logs=1),
    Case("client_closes", [get(), Contains(b"first")], answers=[[ONE, Hang()]], logs=1),
    Case("client_half_closes", [get(), ShutdownWrite(), Contains(b"first")], answers=[[0.1, ONE, CloseNow()]], to_end=True, logs=1),
    Case("nothing_sent", [0.1, ShutdownWrite()], None, responses=0, to_end=True, logs=1),
    Case("tunnel", [get(), 0.1, b"hello", Contains(b"hello"), ShutdownWrite()], None, responses=0, answers=TUNNEL, to_end=True, logs=1),
    Case("large_both_ways", [get(), 0.1, b"x" * 3_000_000 + b"END", Contains(b"END"), ShutdownWrite()], None, responses=0, answers=TUNNEL, to_end=True, logs=1, response=False, ignore_stats=["flow_control"]),
    Case("refused", get(), None, responses=0, response=False, listener="dead", to_end=True, logs=1, expect=["UF"]),
    Case("refused_silent_client", [0.1], None, responses=0, listener="dead", to_end=True, logs=1),
    Case("refused_thrice", [0.05], None, responses=0, listener="dead_thrice", to_end=True, logs=1, expect_stats=["cluster.dead.upstream_cx_connect_attempts_exceeded"]),
    Case("backoff", [0.05], None, responses=0, listener="backoff", to_end=True, logs=1),
    Case("connect_timeout", [0.05], None, responses=0, listener="silent", to_end=True, logs=1, time_within=0.3),
    Case("connect_timeout_twice", [0.05], None, responses=0, listener="silent_twice", to_end=True, logs=1, time_within=0.3),
    Case("client_leaves_while_connecting", [get(), 0.1, Abort()], None, responses=0, listener="silent", logs=1, settle=0.3),
    Case("client_half_closes_while_connecting", [get(), ShutdownWrite()], None, responses=0, response=False, listener="silent", logs=1, to_end=True, settle=0.3),
    Case("no_host", [0.05], None, responses=0, listener="empty", to_end=True, logs=1, expect=["UH"]),
    Case("no_cluster", [0.05], None, responses=0, listener="missing", to_end=True, logs=1, expect=["NC"]),
    Case("overflow", [0.05], None, responses=0, listener="full", to_end=True, logs=1, expect=["UO"]),
    Case("weighted", [get(), Contains(b"ok"), ShutdownWrite()], listener="weighted", to_end=True, logs=1),
    Case("hashed", [get(), Contains(b"ok"), ShutdownWrite()], listener="sourced", to_end=True, logs=1),
    Case("idle", [get(), Contains(b"ok")], listener="idle", to_end=True, logs=1, time_within=0.3, expect_stats=["tcp.idle.idle_timeout"]),
    Case("max_duration", [get(), Contains(b"ok")], listener="duration", to_end=True, logs=1, time_within=0.3),
    Case("log_on_connected", [get(), Contains(b"ok"), ShutdownWrite()], listener="connected", to_end=True, logs=2),
    Case("log_on_start", [get(), Contains(b"ok"), ShutdownWrite()], listener="started", to_end=True, logs=2),
    Case("log_periodic", [get(), Contains(b"ok"), 0.3, ShutdownWrite()], listener="periodic", to_end=True, logs=2),
    Case("subset", [get(), Contains(b"ok"), ShutdownWrite()], listener="subset", to_end=True, logs=1),
    Case("subset_none", [0.05], None, responses=0, listener="subset_none", to_end=True, logs=1),
    Case("not_redirected", [get(), Contains(b"ok"), ShutdownWrite()], listener="redirected", to_end=True, logs=1),
    Case("limited_first", [get(), Contains(b"ok"), ShutdownWrite()], listener="limited", to_end=True, logs=1),
    Case("limited_second", [0.05], None, responses=0, listener="limited", to_end=True, logs=0, expect_stats=["listener_local_ratelimit.few.rate_limited"]),
    Case("echo", [b"one", Contains(b"one"), b"two", Contains(b"two"), ShutdownWrite()], None, responses=0, listener="echo", to_end=True, logs=0),
    Case("echo_client_resets", [b"one", Contains(b"one"), Abort()], None, responses=0, listener="echo", logs=0),
    Case("echo_large", [b"x" * 2_000_000 + b"END", Contains(b"END"), ShutdownWrite()], None, responses=0, listener="echo", to_end=True, logs=0, response=False),
    Case("direct", [], None, responses=0, listener="direct", to_end=True, logs=0, expect=["hello there"]),
    Case("direct_to_a_sender", b"some bytes", None, responses=0, listener="direct", to_end=True, logs=0, response=False),
    Case("direct_empty", [], None, responses=0, listener="direct_empty", to_end=True, logs=0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_l4(pair: Pair, case: Case) -> None:
    pair.check(case)
