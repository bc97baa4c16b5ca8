
"""The router's options, the headers that steer it, what it adds to its own answers, upgrades and CONNECT, its log."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import FILE_LOG, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
from tests.support.raw_client import Contains, Responses
from tests.support.upstream import CloseNow, Early, EchoTunnel, Hang

# A back-off that never takes long.
FAST = "retry_back_off: {base_interval: 0.002s}"
INTERNAL = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"

ROUTES = f"""
- name: routes
  domains: ["*"]
  include_request_attempt_count: true
  include_attempt_count_in_response: true
  response_headers_to_add: [{{header: {{key: x-why, value: "%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%RESPONSE_CODE%"}}}}]
  routes:
  - {{match: {{prefix: /5xx}}, route: {{cluster: up, retry_policy: {{retry_on: 5xx, {FAST}}}}}}}
  - {{match: {{prefix: /timeout}}, route: {{cluster: up, timeout: 0.25s}}}}
  - {{match: {{prefix: /duration}}, route: {{cluster: up, max_stream_duration: {{max_stream_duration: 0.25s}}}}}}
  - {{match: {{prefix: /idle}}, route: {{cluster: up, timeout: 0s, idle_timeout: 0.25s}}}}
  - {{match: {{prefix: /grpc-max}}, route: {{cluster: up, max_grpc_timeout: 0.3s, grpc_timeout_offset: 0.05s}}}}
  - {{match: {{prefix: /grpc-header}}, route: {{cluster: up, max_stream_duration: {{grpc_timeout_header_max: 0.3s, grpc_timeout_header_offset: 0.05s}}}}}}
  - {{match: {{prefix: /gone-retry}}, route: {{cluster: gone, retry_policy: {{retry_on: connect-failure, {FAST}}}}}}}
  - {{match: {{prefix: /gone}}, route: {{cluster: gone}}}}
  - {{match: {{prefix: /empty}}, route: {{cluster: empty}}}}
  - {{match: {{prefix: /maintained}}, route: {{cluster: maintained}}}}
  - {{match: {{prefix: /unknown}}, route: {{cluster_header: x-none}}}}
  - {{match: {{prefix: /binary}}, direct_response: {{status: 503, body: {{inline_bytes: "/wA="}}}}}}
  - {{match: {{prefix: /created}}, direct_response: {{status: 201}}}}
  - match: {{prefix: /formatted}}
    direct_response: {{status: 200, body_format: {{text_format_source: {{inline_string: "%REQ(:PATH)%"}}, content_type: text/x}}}}
    response_headers_to_add: [{{header: {{key: content-type, value: text/y}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]
  - {{match: {{prefix: /cookie}}, route: {{cluster: up, hash_policy: [{{cookie: {{name: sticky, path: /}}}}]}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""

TUNNELS = """
- name: tunnels
  domains: ["*"]
  routes:
  - {match: {connect_matcher: {}, headers: [{name: ":authority", string_match: {prefix: tcp}}]}, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
  - {match: {connect_matcher: {}, headers: [{name: ":authority", string_match: {prefix: gone}}]}, route: {cluster: gone, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
  - {match: {connect_matcher: {}}, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT}]}}
  - {match: {prefix: /post}, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}}
  - {match: {prefix: /slow}, route: {cluster: up, timeout: 0.25s, upgrade_configs: [{upgrade_type: websocket}]}}
  - {match: {prefix: /}, route: {cluster: up, upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: foo}]}}
"""

UPSTREAM_LOG = (
    '{upstream_log: [{name: l, typed_config: {"@type": ' + FILE_LOG + ', path: "<<dir>>/access.log", log_format: {text_format_source: {inline_string: '
    '"%ACCESS_LOG_TYPE% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %PROTOCOL% in=%BYTES_RECEIVED% out=%BYTES_SENT% host=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% %RESP(X-U)%\\n"}}}}], '
    "upstream_log_options: {flush_upstream_log_on_upstream_stream: true}}"
)
STRICT = "strict_check_headers: [x-envoy-upstream-rq-timeout-ms, x-envoy-upstream-rq-per-try-timeout-ms, x-envoy-max-retries, x-envoy-retry-grpc-on, x-envoy-retry-on]"

GROUP = SideConfig(
    bootstrap(
        [
            http("main", ROUTES, options=INTERNAL),
            http("strict", options=INTERNAL, router_options=STRICT),
            http("plain", router_options="{suppress_envoy_headers: true, dynamic_stats: false}"),
            http("respect", ROUTES, options=INTERNAL, router_options="respect_expected_rq_timeout: true"),
            http("grpc", router_options="suppress_grpc_request_failure_code_stats: true"),
            http("upstream_log", ROUTES, router_options=UPSTREAM_LOG),
            http("tunnels", TUNNELS, options="upgrade_configs: [{upgrade_type: CONNECT}]"),
            http("eager", TUNNELS, options="upgrade_configs: [{upgrade_type: CONNECT}]", router_options="reject_connect_request_early_data: true"),
        ],
        [
            cluster("up"),
            cluster("gone", "<<refused:gone>>"),
            cluster("empty", options="load_assignment: {cluster_name: empty}"),
            cluster("maintained", "<<up:up>>"),
        ],
        options="layered_runtime: {layers: [{name: static, static_layer: {upstream: {maintenance_mode: {maintained: 100}}}}]}",
    )
)

FROM_INSIDE = ("x-forwarded-for", "10.0.0.1")
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
BAD = answer("503 Service Unavailable", body=b"bad")
WEBSOCKET = (("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", "x"))
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
# How much of the timeout is left at a retry depends on the machine.
LEFT = [(r"x-envoy-expected-rq-timeout-ms: \d+", "x-envoy-expected-rq-timeout-ms: {left}")]


def inside(path: str, *headers: tuple[str, str]) -> bytes:
    """A request that counts as internal: it may steer the router."""
    return get(path, "test", FROM_INSIDE, *headers)


CASES = [
    Case("steer_retry", inside("/", ("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "3")), 200, answers=[[BAD], [BAD], [BAD], [answer()]], replace=LEFT),
    Case("steer_retry_from_outside", get("/", "test", ("x-envoy-retry-on", "5xx")), 503, answers=[[BAD], [answer()]]),
    Case("steer_no_retry", inside("/5xx", ("x-envoy-max-retries", "0")), 503, answers=[[BAD]]),
    Case("steer_codes", inside("/", ("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "404,x,405")), 200, answers=[[answer("405 X")], [answer()]], replace=LEFT),
    Case("steer_header_names", inside("/", ("x-envoy-retry-on", "retriable-headers"), ("x-envoy-retriable-header-names", "X-Bad , x-worse")), 200, answers=[[answer("200 OK", ("x-worse", "1"))], [answer()]], replace=LEFT),
    Case("steer_grpc", post("/", "test", FROM_INSIDE, *GRPC, ("x-envoy-retry-grpc-on", "internal")), 200, answers=[[answer("200 OK", ("grpc-status", "13"), body=b"")], [answer("200 OK", ("grpc-status", "0"), body=b"")]], replace=LEFT),
    Case("steer_per_try", inside("/", ("x-envoy-retry-on", "5xx"), ("x-envoy-upstream-rq-per-try-timeout-ms", "200")), 200, answers=[[Hang()], [answer()]], time_within=0.4),
    Case("steer_hedge", inside("/", ("x-envoy-retry-on", "5xx"), ("x-envoy-upstream-rq-per-try-timeout-ms", "200"), ("x-envoy-hedge-on-per-try-timeout", "true")), 200, answers=[[Hang()], [answer()]], replace=LEFT, time_within=0.4),
    Case("steer_timeout", inside("/", ("x-envoy-upstream-rq-timeout-ms", "200")), 504, answers=[[Hang()]], time_within=0.4),
    Case("steer_no_timeout", inside("/timeout", ("x-envoy-upstream-rq-timeout-ms", "0")), 200, answers=[[0.4, answer()]]),
    Case("steer_timeout_malformed", inside("/timeout", ("x-envoy-upstream-rq-timeout-ms", "soon")), 504, answers=[[Hang()]]),
    Case("steer_timeout_answer", inside("/timeout", ("x-envoy-upstream-rq-timeout-alt-response", "1")), 204, answers=[[Hang()]]),
    Case("steer_duration", inside("/", ("x-envoy-upstream-stream-duration-ms", "200")), 504, answers=[[Hang()]], time_within=0.4),
    Case("steer_stats", inside("/", ("x-envoy-upstream-alt-stat-name", "alt")), 200, expect_stats=["cluster.up.alt.upstream_rq_200"]),
    Case("canary", inside("/"), 200, answers=[[answer("200 OK", ("x-envoy-upstream-canary", "true"))]], expect_stats=["cluster.up.canary.upstream_rq_200"]),
    Case("respect_expected_timeout", inside("/", ("x-envoy-expected-rq-timeout-ms", "200"), ("x-envoy-upstream-rq-timeout-ms", "2000")), 504, "respect", answers=[[Hang()]], time_within=0.4),
    Case("strict_retry_on", inside("/", ("x-envoy-retry-on", "5xx,nonsense")), 400, "strict"),
    Case("strict_retry_grpc_on", inside("/", ("x-envoy-retry-grpc-on", "5xx")), 400, "strict"),
    Case("strict_number", inside("/", ("x-envoy-max-retries", "1 2")), 400, "strict"),
    Case("strict_empty", inside("/", ("x-envoy-upstream-rq-timeout-ms", "")), None, "strict"),
    Case("strict_fine", inside("/", ("x-envoy-max-retries", "1"), ("x-envoy-retry-on", "5xx, reset")), 200, "strict"),
    Case("suppressed", get("/"), 200, "plain"),
    Case("suppressed_5xx", get("/"), 503, "plain", answers=[[BAD]]),
    Case("grpc_code_stats", post("/", "test", *GRPC), 503, "grpc", answers=[[BAD]]),
    Case("grpc_max", post("/grpc-max", "test", *GRPC, ("grpc-timeout", "10S")), 200, answers=[[Hang()]], time_within=0.4),
    Case("grpc_max_shorter", post("/grpc-max", "test", *GRPC, ("grpc-timeout", "200m")), 200, answers=[[Hang()]], time_within=0.4),
    Case("grpc_max_without", post("/grpc-max", "test", *GRPC), 200, answers=[[Hang()]], time_within=0.4),
    Case("grpc_header", post("/grpc-header", "test", *GRPC, ("grpc-timeout", "10S")), 200, answers=[[Hang()]], time_within=0.4),
    # Local replies carry the route's header edits.
    Case("own_timeout", get("/timeout"), 504, answers=[[Hang()]]),
    Case("own_duration", get("/duration"), 504, answers=[[Hang()]]),
    Case("own_idle", get("/idle"), 504, answers=[[Hang()]]),
    Case("own_refused", get("/gone"), 503),
    Case("own_refused_retried", get("/gone-retry"), 503, expect=["retried and the latest"]),
    Case("own_refused_grpc", post("/gone", "test", *GRPC), 200),
    Case("own_no_host", get("/empty"), 503),
    Case("own_maintenance", get("/maintained"), 503),
    Case("own_no_cluster", get("/unknown"), 503),
    Case("own_closed", get("/"), 503, answers=[[CloseNow()]]),
    Case("own_garbage", get("/"), 502, answers=[[b"nonsense\r\n\r\n", Hang()]]),
    Case("own_bytes", get("/binary"), 503),
    Case("own_location", get("/created?x"), 201),
    Case("own_format", get("/formatted?x"), 200),
    Case("early_answer", [post("/", body=b"abcdef")[:-3], Responses(1)], 413, answers=[[Early(), answer("413 X")]]),
    Case("upstream_log", post("/", body=b"abcd"), 200, "upstream_log", answers=[[answer("200 OK", ("x-u", "1"))]], logs=3),
    Case("upstream_log_retry", get("/5xx"), 200, "upstream_log", answers=[[BAD], [answer()]], logs=5, replace=LEFT),
    Case("upstream_log_no_connection", get("/gone-retry"), 503, "upstream_log", logs=3, replace=LEFT),
    Case("websocket", [get("/", "test", *WEBSOCKET) + b"eager", Contains(b"eager"), b"ping", Contains(b"ping")], 101, "tunnels", answers=[[0.1, SWITCH, EchoTunnel()]], responses=0),
    Case("websocket_closed_by_upstream", [get("/", "test", *WEBSOCKET), Contains(b"bye")], 101, "tunnels", answers=[[SWITCH + b"bye", CloseNow()]], responses=0, to_end=True),
    Case("websocket_refused", get("/", "test", *WEBSOCKET), 403, "tunnels", answers=[[answer("403 X", body=b"refused")]], to_end=True),
    Case("websocket_answered", get("/", "test", *WEBSOCKET), 200, "tunnels", answers=[[answer("200 OK", ("x-u", "1"), body=b"page")]], to_end=True),
    Case("websocket_timeout", get("/slow", "test", *WEBSOCKET), 504, "tunnels", answers=[[Hang()]], to_end=True),
    Case("other_upgrade", [get("/", "test", ("connection", "upgrade"), ("upgrade", "foo")) + b"eager", Contains(b"eager")], 101, "tunnels", answers=[[0.1, SWITCH.replace(b"websocket", b"foo"), EchoTunnel()]], responses=0),
    Case("connect_terminated", [request("CONNECT", "tcp:1", "tcp:1") + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", Contains(b"ok")], 200, "tunnels", responses=0),
    Case("connect_terminated_refused", request("CONNECT", "gone:1", "gone:1"), 503, "tunnels"),
    Case("connect_forwarded", [request("CONNECT", "x:1", "x:1") + b"eager", Contains(b"eager")], 200, "tunnels", answers=[[0.1, b"HTTP/1.1 200 OK\r\n\r\n", EchoTunnel()]], responses=0),
    Case("connect_refused", request("CONNECT", "x:1", "x:1"), 403, "tunnels", answers=[[answer("403 X", body=b"refused")]], to_end=True),
    Case("post_terminated", [request("POST", "/post", headers=[("transfer-encoding", "chunked")], body=b"1b\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n\r\n"), Contains(b"ok")], 200, "tunnels", responses=0),
    Case("connect_early_data", request("CONNECT", "x:1", "x:1") + b"eager", 400, "eager", upstream=False, stats=False, to_end=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_router(pair: Pair, case: Case) -> None:
    pair.check(case)
