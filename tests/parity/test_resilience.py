# ruff: noqa: E501 - tables of cases and inline YAML read best with long lines
"""The router when things go wrong or come in pieces: retries, timeouts, hedging, resets, upgrades, CONNECT, its options."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import FILE_LOG, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
from tests.support.raw_client import Contains, Responses
from tests.support.upstream import CloseNow, Early, EchoTunnel, Hang, ResetNow

# A back-off that never takes long.
FAST = "retry_back_off: {base_interval: 0.002s}"

RETRIES = f"""
- name: retries
  domains: ["*"]
  include_request_attempt_count: true
  include_attempt_count_in_response: true
  include_is_timeout_retry_header: true
  routes:
  - {{match: {{prefix: /5xx}}, route: {{cluster: up, retry_policy: {{retry_on: 5xx, num_retries: 2, {FAST}}}}}}}
  - {{match: {{prefix: /gateway}}, route: {{cluster: up, retry_policy: {{retry_on: gateway-error, {FAST}}}}}}}
  - {{match: {{prefix: /reset}}, route: {{cluster: up, retry_policy: {{retry_on: reset, {FAST}}}}}}}
  - {{match: {{prefix: /before}}, route: {{cluster: up, retry_policy: {{retry_on: reset-before-request, {FAST}}}}}}}
  - {{match: {{prefix: /connect-none}}, route: {{cluster: gone, retry_policy: {{retry_on: connect-failure, num_retries: 2, {FAST}}}}}}}
  - {{match: {{prefix: /connect}}, route: {{cluster: up, retry_policy: {{retry_on: connect-failure, {FAST}}}}}}}
  - {{match: {{prefix: /half}}, route: {{cluster: half, retry_policy: {{retry_on: connect-failure, {FAST}, num_retries: 5, host_selection_retry_max_attempts: 20, retry_host_predicate: [{{name: p, typed_config: {{"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}}}]}}}}}}
  - {{match: {{prefix: /4xx}}, route: {{cluster: up, retry_policy: {{retry_on: retriable-4xx, {FAST}}}}}}}
  - {{match: {{prefix: /codes}}, route: {{cluster: up, retry_policy: {{retry_on: retriable-status-codes, retriable_status_codes: [418, 425], {FAST}}}}}}}
  - {{match: {{prefix: /headers}}, route: {{cluster: up, retry_policy: {{retry_on: retriable-headers, retriable_headers: [{{name: x-bad, string_match: {{exact: "1"}}}}], {FAST}}}}}}}
  - {{match: {{prefix: /only}}, route: {{cluster: up, retry_policy: {{retry_on: 5xx, retriable_request_headers: [{{name: x-try}}], {FAST}}}}}}}
  - {{match: {{prefix: /limited}}, route: {{cluster: up, retry_policy: {{retry_on: envoy-ratelimited, {FAST}}}}}}}
  - {{match: {{prefix: /grpc}}, route: {{cluster: up, retry_policy: {{retry_on: "cancelled,unavailable", {FAST}}}}}}}
  - {{match: {{prefix: /no-circuit}}, route: {{cluster: no_retries, retry_policy: {{retry_on: 5xx, {FAST}}}}}}}
  - {{match: {{prefix: /circuit}}, route: {{cluster: one_retry, retry_policy: {{retry_on: 5xx, num_retries: 3, {FAST}}}}}}}
  - {{match: {{prefix: /try-timeout}}, route: {{cluster: up, timeout: 3s, retry_policy: {{retry_on: 5xx, per_try_timeout: 0.25s, {FAST}}}}}}}
  - {{match: {{prefix: /try-idle}}, route: {{cluster: up, timeout: 3s, retry_policy: {{retry_on: reset, per_try_idle_timeout: 0.25s, {FAST}}}}}}}
  - {{match: {{prefix: /hedge}}, route: {{cluster: up, timeout: 3s, hedge_policy: {{hedge_on_per_try_timeout: true}}, retry_policy: {{retry_on: 5xx, per_try_timeout: 0.3s, {FAST}}}}}}}
  - match: {{prefix: /small}}
    request_body_buffer_limit: 10
    route: {{cluster: up, retry_policy: {{retry_on: 5xx, {FAST}}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""

INTERNAL = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"

FAILURES = """
- name: failures
  domains: ["*"]
  response_headers_to_add: [{header: {key: x-why, value: "%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%"}}]
  routes:
  - {match: {prefix: /timeout}, route: {cluster: up, timeout: 0.25s}}
  - {match: {prefix: /no-timeout}, route: {cluster: up, timeout: 0s}}
  - {match: {prefix: /duration}, route: {cluster: short_lived}}
  - {match: {prefix: /stream-duration}, route: {cluster: up, max_stream_duration: {max_stream_duration: 0.25s}}}
  - {match: {prefix: /grpc-max}, route: {cluster: up, max_grpc_timeout: 0.3s, grpc_timeout_offset: 0.05s}}
  - {match: {prefix: /grpc-header}, route: {cluster: up, max_stream_duration: {grpc_timeout_header_max: 0.3s, grpc_timeout_header_offset: 0.05s}}}
  - {match: {prefix: /gone}, route: {cluster: gone}}
  - {match: {prefix: /silent}, route: {cluster: silent}}
  - {match: {prefix: /empty}, route: {cluster: empty}}
  - {match: {prefix: /pending}, route: {cluster: no_pending}}
  - {match: {prefix: /requests}, route: {cluster: no_requests}}
  - {match: {prefix: /maintained}, route: {cluster: maintained}}
  - {match: {prefix: /binary}, direct_response: {status: 503, body: {inline_bytes: "/wA="}}}
  - {match: {prefix: /created}, direct_response: {status: 201}}
  - {match: {prefix: /cookie}, route: {cluster: up, hash_policy: [{cookie: {name: sticky, path: /}}]}}
  - {match: {prefix: /}, route: {cluster: up}}
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

GROUP = SideConfig(
    bootstrap(
        [
            http("retries", RETRIES, options=INTERNAL),
            http("failures", FAILURES, options=INTERNAL),
            http("strict", options=INTERNAL, router_options="strict_check_headers: [x-envoy-upstream-rq-timeout-ms, x-envoy-upstream-rq-per-try-timeout-ms, x-envoy-max-retries, x-envoy-retry-grpc-on, x-envoy-retry-on]"),
            http("plain", router_options="{suppress_envoy_headers: true, dynamic_stats: false}"),
            http("respect", FAILURES, options=INTERNAL, router_options="respect_expected_rq_timeout: true"),
            http("grpc", router_options="suppress_grpc_request_failure_code_stats: true"),
            http("upstream_log", RETRIES, router_options=UPSTREAM_LOG),
            http("tunnels", TUNNELS, options="upgrade_configs: [{upgrade_type: CONNECT}]"),
            http("eager", TUNNELS, options="upgrade_configs: [{upgrade_type: CONNECT}]", router_options="reject_connect_request_early_data: true"),
        ],
        [
            cluster("up"),
            cluster("half", "<<up:up>>", "<<refused:half>>"),
            cluster("gone", "<<refused:gone>>"),
            cluster("silent", "<<silent:silent>>", options="connect_timeout: 0.25s"),
            cluster("empty", options="load_assignment: {cluster_name: empty}"),
            cluster("no_retries", "<<up:up>>", options="circuit_breakers: {thresholds: [{max_retries: 0}]}"),
            cluster("one_retry", "<<up:up>>", options="circuit_breakers: {thresholds: [{max_retries: 1}]}"),
            cluster("no_pending", "<<up:up>>", options="circuit_breakers: {thresholds: [{max_pending_requests: 0}]}"),
            cluster("no_requests", "<<up:up>>", options="circuit_breakers: {thresholds: [{max_requests: 0}]}"),
            cluster("short_lived", "<<up:up>>", protocol="common_http_protocol_options: {max_stream_duration: 0.25s}"),
            cluster("maintained", "<<up:up>>"),
        ],
        options="layered_runtime: {layers: [{name: static, static_layer: {upstream: {maintenance_mode: {maintained: 100}}}}]}",
    )
)

FROM_INSIDE = ("x-forwarded-for", "10.0.0.1")
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
# How much of the timeout was left at a retry depends on the machine.
LEFT = [(r"x-envoy-expected-rq-timeout-ms: (149\d\d|1\d\d|2\d\d|29\d\d)", "x-envoy-expected-rq-timeout-ms: {left}")]
BAD = answer("503 Service Unavailable", body=b"bad")
WEBSOCKET = (("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", "x"))
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def retry(name: str, send: bytes, status: int, *answers: object, **rest: object) -> Case:
    return Case("retry_" + name, send, status, listener="retries", answers=answers, replace=LEFT, **rest)  # type: ignore[arg-type]


def failure(name: str, send: bytes, status: int | None, *answers: object, **rest: object) -> Case:
    return Case("failure_" + name, send, status, listener="failures", answers=answers, **rest)  # type: ignore[arg-type]


CASES = [
    retry("5xx", get("/5xx"), 200, [BAD], [answer("500 X")], [answer()], expect_stats=["cluster.up.upstream_rq_retry_success"]),
    retry("5xx_exhausted", get("/5xx"), 503, [BAD], expect=["URX"]),
    retry("5xx_keeps_connection", get("/5xx"), 200, [answer("503 X", body=b"")], [answer()]),
    retry("5xx_post", post("/5xx", body=b"x" * 1000), 200, [BAD], [answer()]),
    retry("5xx_chunked", request("POST", "/5xx", headers=[("transfer-encoding", "chunked")], body=b"3\r\nabc\r\n0\r\n\r\n"), 200, [BAD], [answer()]),
    retry("body_too_large", post("/small", body=b"x" * 50), 503, [BAD], expect_stats=["cluster.up.retry_or_shadow_abandoned"]),
    retry("body_fits", post("/small", body=b"x" * 10), 200, [BAD], [answer()]),
    retry("gateway", get("/gateway"), 200, [answer("502 X")], [answer()]),
    retry("gateway_not", get("/gateway"), 500, [answer("500 X")]),
    retry("gateway_reset", get("/gateway"), 200, [CloseNow()], [answer()]),
    retry("reset", get("/reset"), 200, [ResetNow()], [answer()]),
    retry("reset_not_5xx", get("/reset"), 503, [BAD]),
    retry("reset_exhausted", get("/reset"), 503, [CloseNow()], expect=["retried and the latest"]),
    retry("reset_in_body", get("/reset"), None, [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", CloseNow()], responses=0, to_end=True, logs=1),
    retry("before_request_not", get("/before"), 503, [CloseNow()]),
    retry("connect", get("/connect-none"), 503, expect_stats=["cluster.gone.upstream_rq_retry_limit_exceeded"]),
    retry("connect_not_reset", get("/connect"), 503, [CloseNow()]),
    retry("previous_hosts", get("/half"), 200, [answer()], stats=False, log=False, response=False, upstream=False),
    retry("4xx", get("/4xx"), 200, [answer("409 Conflict")], [answer()]),
    retry("4xx_not", get("/4xx"), 404, [answer("404 Not Found")]),
    retry("codes", get("/codes"), 200, [answer("418 X")], [answer()]),
    retry("too_early", get("/codes"), 200, [answer("425 X")], [answer()]),
    retry("headers", get("/headers"), 200, [answer("200 OK", ("x-bad", "1"))], [answer()]),
    retry("headers_not", get("/headers"), 200, [answer("200 OK", ("x-bad", "2"))]),
    retry("only_with_header", get("/only", "test", ("x-try", "1")), 200, [BAD], [answer()]),
    retry("only_with_header_not", get("/only"), 503, [BAD]),
    retry("limited", get("/limited"), 200, [answer("429 X", ("x-envoy-ratelimited", "true"))], [answer()]),
    retry("limited_is_no_5xx", get("/5xx"), 503, [answer("503 X", ("x-envoy-ratelimited", "true"))]),
    retry("grpc", post("/grpc", "test", *GRPC), 200, [answer("200 OK", ("content-type", "application/grpc"), ("grpc-status", "14"), body=b"")], [answer("200 OK", ("grpc-status", "0"), body=b"")]),
    retry("grpc_not", post("/grpc", "test", *GRPC), 200, [answer("200 OK", ("content-type", "application/grpc"), ("grpc-status", "5"), body=b"")]),
    retry("no_circuit", get("/no-circuit"), 503, [BAD], expect=["UO"]),
    retry("circuit", get("/circuit"), 200, [BAD], [BAD], [BAD], [answer()]),
    retry("try_timeout", get("/try-timeout"), 200, [Hang()], [answer()], time_within=0.4),
    retry("try_timeout_exhausted", get("/try-timeout"), 504, [Hang()], expect=["upstream_per_try_timeout"], time_within=0.4),
    retry("try_idle", get("/try-idle"), None, [answer(body=b"ab" * 5)[:-4], 0.1, b"ab", Hang()], responses=0, to_end=True, logs=1, time_within=0.4),
    retry("try_idle_before_headers", get("/try-idle"), 200, [Hang()], [answer()], time_within=0.4),
    retry("hedge_first", get("/hedge"), 200, [0.5, answer(body=b"first")], [Hang()], time_within=0.4),
    retry("hedge_second", get("/hedge"), 200, [Hang()], [answer(body=b"second")], time_within=0.4),
    retry("by_header", get("/", "test", FROM_INSIDE, ("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "3")), 200, [BAD], [BAD], [BAD], [answer()], stats=False),
    retry("by_header_from_outside", get("/", "test", ("x-envoy-retry-on", "5xx")), 503, [BAD], [answer()]),
    retry("by_header_none", get("/5xx", "test", FROM_INSIDE, ("x-envoy-max-retries", "0")), 503, [BAD]),
    retry("by_header_codes", get("/", "test", FROM_INSIDE, ("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "404,x,405")), 200, [answer("405 X")], [answer()], stats=False),
    retry("by_header_names", get("/", "test", FROM_INSIDE, ("x-envoy-retry-on", "retriable-headers"), ("x-envoy-retriable-header-names", "X-Bad , x-worse")), 200, [answer("200 OK", ("x-worse", ""))], [answer()], stats=False),
    retry("by_header_grpc", post("/", "test", FROM_INSIDE, *GRPC, ("x-envoy-retry-grpc-on", "internal")), 200, [answer("200 OK", ("grpc-status", "13"), body=b"")], [answer("200 OK", ("grpc-status", "0"), body=b"")], stats=False),
    retry("by_header_try_timeout", get("/", "test", FROM_INSIDE, ("x-envoy-retry-on", "5xx"), ("x-envoy-upstream-rq-per-try-timeout-ms", "200")), 200, [Hang()], [answer()], time_within=0.4),
    failure("timeout", get("/timeout"), 504, [Hang()], time_within=0.4),
    failure("timeout_in_body", get("/timeout"), None, [answer(body=b"abc")[:-1], Hang()], responses=0, to_end=True, logs=1, time_within=0.4),
    failure("timeout_after_upload", [post("/timeout", body=b"abcdef")[:-3], 0.4, b"def"], 200),
    failure("timeout_header", get("/", "test", FROM_INSIDE, ("x-envoy-upstream-rq-timeout-ms", "200")), 504, [Hang()], time_within=0.4),
    failure("timeout_header_none", get("/timeout", "test", FROM_INSIDE, ("x-envoy-upstream-rq-timeout-ms", "0")), 200, [0.4, answer()]),
    failure("timeout_header_malformed", get("/timeout", "test", FROM_INSIDE, ("x-envoy-upstream-rq-timeout-ms", "soon")), 504, [Hang()]),
    failure("timeout_alternative", get("/timeout", "test", FROM_INSIDE, ("x-envoy-upstream-rq-timeout-alt-response", "1")), 204, [Hang()]),
    failure("no_timeout", get("/no-timeout"), 200, [0.3, answer()]),
    failure("duration", get("/duration"), 504, [Hang()], expect=["UMSDR"], time_within=0.4),
    failure("duration_header", get("/", "test", FROM_INSIDE, ("x-envoy-upstream-stream-duration-ms", "200")), 504, [Hang()], time_within=0.4),
    failure("stream_duration", get("/stream-duration"), 504, [Hang()], time_within=0.4),
    failure("grpc_max", post("/grpc-max", "test", *GRPC, ("grpc-timeout", "10S")), 200, [Hang()], time_within=0.4),
    failure("grpc_max_shorter", post("/grpc-max", "test", *GRPC, ("grpc-timeout", "200m")), 200, [Hang()], time_within=0.4),
    failure("grpc_max_without", post("/grpc-max", "test", *GRPC), 200, [Hang()], time_within=0.4),
    failure("grpc_header", post("/grpc-header", "test", *GRPC, ("grpc-timeout", "10S")), 200, [Hang()], time_within=0.4),
    failure("gone", get("/gone"), 503),
    failure("gone_grpc", post("/gone", "test", *GRPC), 200),
    failure("gone_head", request("HEAD", "/gone"), 503, to_head=True),
    failure("silent", get("/silent"), 503, time_within=0.4),
    failure("empty", get("/empty"), 503),
    failure("pending", get("/pending"), 503),
    failure("requests", get("/requests"), 503),
    failure("maintained", get("/maintained"), 503),
    failure("close", get("/"), 503, [CloseNow()]),
    failure("garbage", get("/"), 502, [b"nonsense\r\n\r\n", Hang()]),
    failure("early", [post("/", body=b"abcdef")[:-3], Responses(1)], 413, [Early(), answer("413 X")]),
    failure("informational", get("/"), None, [b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + answer()], replace=[("103 (Unknown|Early Hints)", "103 {reason}")]),
    failure("canary", get("/", "test", FROM_INSIDE), 200, [answer("200 OK", ("x-envoy-upstream-canary", "true"))], expect_stats=["cluster.up.canary.upstream_rq_200"]),
    failure("alternative_stats", get("/", "test", FROM_INSIDE, ("x-envoy-upstream-alt-stat-name", "alt")), 200, expect_stats=["cluster.up.alt.upstream_rq_200"]),
    failure("binary", get("/binary"), 503),
    failure("created", get("/created?x"), 201),
    Case("respect_expected_timeout", get("/", "test", FROM_INSIDE, ("x-envoy-expected-rq-timeout-ms", "200"), ("x-envoy-upstream-rq-timeout-ms", "2000")), 504, "respect", answers=[[Hang()]], time_within=0.4),
    Case("strict_retry_on", get("/", "test", FROM_INSIDE, ("x-envoy-retry-on", "5xx,nonsense")), 400, "strict"),
    Case("strict_retry_grpc_on", get("/", "test", FROM_INSIDE, ("x-envoy-retry-grpc-on", "5xx")), 400, "strict"),
    Case("strict_number", get("/", "test", FROM_INSIDE, ("x-envoy-max-retries", "1 2")), 400, "strict"),
    Case("strict_timeout", get("/", "test", FROM_INSIDE, ("x-envoy-upstream-rq-timeout-ms", "")), None, "strict"),
    Case("strict_fine", get("/", "test", FROM_INSIDE, ("x-envoy-max-retries", " 1"), ("x-envoy-retry-on", "5xx, reset")), 200, "strict"),
    Case("suppressed", get("/"), 200, "plain"),
    Case("suppressed_5xx", get("/"), 503, "plain", answers=[[BAD]]),
    Case("grpc_code_stats", post("/", "test", *GRPC), 503, "grpc", answers=[[BAD]]),
    Case("upstream_log", post("/", body=b"abcd"), 200, "upstream_log", answers=[[answer("200 OK", ("x-u", "1"))]], logs=3),
    Case("upstream_log_retry", get("/5xx"), 200, "upstream_log", answers=[[BAD], [answer()]], logs=5, replace=LEFT),
    Case("upstream_log_no_connection", get("/connect-none"), 503, "upstream_log", logs=4, replace=LEFT),
    Case("websocket", [get("/", "test", *WEBSOCKET) + b"eager", Contains(b"eager"), b"ping", Contains(b"ping")], 101, "tunnels", answers=[[0.1, SWITCH, EchoTunnel()]], responses=0),
    Case("websocket_closed_by_upstream", [get("/", "test", *WEBSOCKET), Contains(b"bye")], 101, "tunnels", answers=[[SWITCH + b"bye", CloseNow()]], responses=0, to_end=True),
    Case("websocket_refused", get("/", "test", *WEBSOCKET), 403, "tunnels", answers=[[answer("403 X", body=b"refused")]], to_end=True),
    Case("websocket_answered", get("/", "test", *WEBSOCKET), 200, "tunnels", answers=[[answer("200 OK", ("x-u", "1"), body=b"page")]], to_end=True),
    Case("websocket_timeout", get("/slow", "test", *WEBSOCKET), 504, "tunnels", answers=[[Hang()]], to_end=True, time_within=0.4),
    Case("other_upgrade", [get("/", "test", ("connection", "upgrade"), ("upgrade", "foo")) + b"eager", Contains(b"eager")], 101, "tunnels", answers=[[0.1, SWITCH.replace(b"websocket", b"foo"), EchoTunnel()]], responses=0),
    Case("connect_terminated", [request("CONNECT", "tcp:1", "tcp:1") + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", Contains(b"ok")], 200, "tunnels", responses=0),
    Case("connect_terminated_gone", request("CONNECT", "gone:1", "gone:1"), 503, "tunnels"),
    Case("connect_forwarded", [request("CONNECT", "x:1", "x:1") + b"eager", Contains(b"eager")], 200, "tunnels", answers=[[0.1, b"HTTP/1.1 200 OK\r\n\r\n", EchoTunnel()]], responses=0),
    Case("connect_refused", request("CONNECT", "x:1", "x:1"), 403, "tunnels", answers=[[answer("403 X", body=b"refused")]], to_end=True),
    Case("post_terminated", [request("POST", "/post", headers=[("transfer-encoding", "chunked")], body=b"1f\r\nGET / HTTP/1.1\r\nhost: x\r\nq: 4\r\n\r\n\r\n"), Contains(b"ok")], 200, "tunnels", responses=0),
    Case("connect_early_data", request("CONNECT", "x:1", "x:1") + b"eager", 400, "eager", upstream=False, stats=False, to_end=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_resilience(pair: Pair, case: Case) -> None:
    pair.check(case)
