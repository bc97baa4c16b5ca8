"""TCP over HTTP tunnels, matcher trees for filter chains, internal listeners, when upstreams are connected to."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log, http, listener, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get
from tests.support.raw_client import Abort, Contains, ShutdownWrite
from tests.support.upstream import CloseNow, EchoTunnel, Hang

LOG = (
    "%ACCESS_LOG_TYPE% flags=%RESPONSE_FLAGS% in=%BYTES_RECEIVED% out=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER%"
    " host=%UPSTREAM_HOST% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% chain=%FILTER_CHAIN_NAME%"
    " local=%DOWNSTREAM_LOCAL_ADDRESS% md=%DYNAMIC_METADATA(inner.md)%"
    " headers=%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:TYPED)%"
    " closed=%DOWNSTREAM_LOCAL_CLOSE_REASON%\n"
)
TERM_LOG = "term %REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% x=%REQ(X-A)% %RESPONSE_FLAGS%\n"


def tcp_filter(name: str, options: str) -> Json:
    config: Json = {
        "@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "access_log": [file_log(LOG)],
        **parse(options),
    }
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def tcp(name: str, options: str, listener_options: str = "") -> Json:
    return listener(name, tcp_filter(name, options), listener_options)


TERMINATE = """
- name: all
  domains: ["*"]
  response_headers_to_add: [{header: {key: x-resp, value: "yes"}}]
  routes:
  - {match: {connect_matcher: {}}, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
  - {match: {prefix: /}, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}}
"""
TUNNEL = """
cluster: {cluster}
tunneling_config:
  hostname: "host.test:%DOWNSTREAM_LOCAL_PORT%"
  headers_to_add: [{{header: {{key: x-a, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}}}]
  {more}
"""
TREE = """
filter_chain_matcher:
  matcher_tree:
    input: {name: ip, typed_config: {"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.SourceIPInput}}
    exact_match_map:
      map:
        127.0.0.1: {action: {name: one, typed_config: {"@type": type.googleapis.com/google.protobuf.StringValue, value: one}}}
"""
TREE_MISS = TREE.replace("127.0.0.1:", "127.0.0.9:")
TREE_ABSENT = TREE.replace("value: one", "value: absent")


def chains(name: str, options: str, default: bool = False) -> Json:
    made: Json = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": f"<<port:{name}>>"}},
        "filter_chains": [
            {"name": "zero", "filters": [tcp_filter("zero", "cluster: dead")]},
            {"name": "one", "filters": [tcp_filter("one", "cluster: up")]},
        ],
        **parse(options),
    }
    if default:
        made["default_filter_chain"] = {"name": "rest", "filters": [tcp_filter("rest", "cluster: up")]}
    return made


INNER = """
transport_socket:
  name: envoy.transport_sockets.internal_upstream
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
    passthrough_metadata: [{kind: {host: {}}, name: inner.md}]
    transport_socket: {name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}
load_assignment:
  cluster_name: inner
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {envoy_internal_address: {server_listener_name: inside, endpoint_id: e1}}}
      metadata: {filter_metadata: {inner.md: {k: v}}}
"""
INSIDE: Json = {
    "name": "inside", "internal_listener": {}, "filter_chains": [{"filters": [tcp_filter("inside", "cluster: up")]}],
}  # fmt: skip

GROUP = SideConfig(
    bootstrap(
        [
            tcp("main", TUNNEL.format(cluster="h1", more="")),
            tcp("connect_h2", TUNNEL.format(cluster="h2", more="propagate_response_headers: true")),
            tcp("post_h1", TUNNEL.format(cluster="h1", more="{use_post: true, post_path: /x/y}".strip("{}").replace(", ", "\n  "))),
            tcp("post_h2", TUNNEL.format(cluster="h2", more="use_post: true")),
            tcp("tunnel_dead", TUNNEL.format(cluster="dead", more="").replace("cluster: dead", "cluster: dead\nmax_connect_attempts: 2")),
            tcp("tunnel_refused", TUNNEL.format(cluster="up", more="")),
            tcp("on_data", "{cluster: up, upstream_connect_mode: ON_DOWNSTREAM_DATA, max_early_data_bytes: 65536}"),
            tcp("on_tls", "{cluster: up, upstream_connect_mode: ON_DOWNSTREAM_TLS_HANDSHAKE, max_early_data_bytes: 65536}"),
            tcp("early", "{cluster: up, max_early_data_bytes: 4}"),
            http("term", TERMINATE, options="{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: CONNECT}, {upgrade_type: CONNECT-UDP}]}", log=[file_log(TERM_LOG)]),
            chains("tree", TREE, True),
            chains("tree_miss", TREE_MISS, True),
            chains("tree_miss_all", TREE_MISS),
            chains("tree_absent", TREE_ABSENT, True),
            tcp("into", "cluster: inner"),
            tcp("into_nowhere", "cluster: nowhere"),
            INSIDE,
        ],
        [
            cluster("up"),
            cluster("dead", "<<refused:a>>"),
            cluster("h1", "<<port:term>>"),
            cluster("h2", "<<port:term>>", protocol="explicit_http_config: {http2_protocol_options: {allow_connect: true}}"),
            cluster("inner", options=INNER),
            cluster("nowhere", options="load_assignment: {cluster_name: nowhere, endpoints: [{lb_endpoints: [{endpoint: {address: {envoy_internal_address: {server_listener_name: absent}}}}]}]}"),
        ],
        options="""
bootstrap_extensions:
- {name: i, typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}
""",
    )
)  # fmt: skip

UDP_UPGRADE = [("upgrade", "connect-udp"), ("connection", "upgrade"), ("capsule-protocol", "?1")]
TUNNEL_ANSWERS = [[EchoTunnel()]]
# Ends of tunnels are seen by the other connection when they are seen.
LOOSE = [r"upstream_cx_close_notify", r"tx_reset", r"rx_reset", r"http\.term", r"listener\.127.*term", r"_destroy"]

CASES = [
    Case("connect_h1", [get(), 0.2, b"hello", Contains(b"hello"), ShutdownWrite()], None, responses=0, answers=TUNNEL_ANSWERS, to_end=True, logs=2, ignore_stats=LOOSE, log=False),
    Case("connect_h2", [get(), 0.2, b"hello", Contains(b"hello"), ShutdownWrite()], None, listener="connect_h2", responses=0, answers=TUNNEL_ANSWERS, to_end=True, logs=2, ignore_stats=LOOSE, log=False),
    Case("post_h1", [get(), 0.2, b"hello", Contains(b"hello"), ShutdownWrite()], None, listener="post_h1", responses=0, answers=TUNNEL_ANSWERS, to_end=True, logs=2, ignore_stats=LOOSE, log=False),
    Case("post_h2", [get(), 0.2, b"hello", Contains(b"hello"), ShutdownWrite()], None, listener="post_h2", responses=0, answers=TUNNEL_ANSWERS, to_end=True, logs=2, ignore_stats=LOOSE, log=False),
    Case("tunnel_upstream_closes", [get(), Contains(b"first")], None, listener="connect_h2", responses=0, answers=[[answer(body=b"first"), CloseNow()]], to_end=True, logs=2, ignore_stats=LOOSE, log=False),
    Case("tunnel_client_resets", [get(), Contains(b"first"), Abort()], None, listener="connect_h2", responses=0, answers=[[answer(body=b"first"), Hang()]], logs=2, ignore_stats=LOOSE, log=False),
    Case("tunnel_dead", [0.05], None, listener="tunnel_dead", responses=0, to_end=True, logs=1),
    Case("tunnel_refused", [0.05], None, listener="tunnel_refused", responses=0, answers=[[answer(status=503)]], to_end=True, logs=1, ignore_stats=["_close_notify"]),
    Case("on_data", [0.2, get(), Contains(b"ok"), ShutdownWrite()], listener="on_data", to_end=True, logs=1, ignore_stats=["flow_control"]),
    Case("on_tls_without_tls", [get(), Contains(b"ok"), ShutdownWrite()], listener="on_tls", to_end=True, logs=1, ignore_stats=["early_data"]),
    Case("early", [get(), Contains(b"ok"), ShutdownWrite()], listener="early", to_end=True, logs=1, ignore_stats=["early_data", "flow_control"]),
    Case("connect_udp_bad_path", get("/foo", "test", *UDP_UPGRADE), 404, listener="term", ignore_stats=LOOSE),
    Case("tree", [get(), Contains(b"ok"), ShutdownWrite()], listener="tree", to_end=True, logs=1, expect=["chain=one"]),
    Case("tree_miss", [get(), Contains(b"ok"), ShutdownWrite()], listener="tree_miss", to_end=True, logs=1, expect=["chain=rest"]),
    Case("tree_miss_all", [0.05], None, responses=0, listener="tree_miss_all", to_end=True, logs=0),
    Case("tree_absent", [0.05], None, responses=0, listener="tree_absent", to_end=True, logs=0),
    Case("internal", [get(), Contains(b"ok"), ShutdownWrite()], listener="into", to_end=True, logs=2),
    Case("internal_large", [get(), 0.1, b"x" * 3_000_000 + b"END", Contains(b"END"), ShutdownWrite()], None, responses=0, listener="into", answers=TUNNEL_ANSWERS, to_end=True, logs=2, response=False, ignore_stats=["flow_control"]),
    Case("internal_client_resets", [get(), Contains(b"first"), Abort()], None, responses=0, listener="into", answers=[[answer(body=b"first"), Hang()]], logs=2, log=False),
    Case("internal_nowhere", [0.05], None, responses=0, listener="into_nowhere", to_end=True, logs=1),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_l4_more(pair: Pair, case: Case) -> None:
    pair.check(case)
