
"""Retries, per-try timeouts, hedging, timeouts of every kind, circuit breakers, response flags and details."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
from tests.support.raw_client import Abort, Responses, ShutdownWrite
from tests.support.upstream import CloseNow, Hang, ResetNow

FAST = "retry_back_off: {base_interval: 0.001s, max_interval: 0.005s}"
ROUTES = f"""
- name: all
  domains: ["*"]
  include_request_attempt_count: true
  include_attempt_count_in_response: true
  routes:
  - {{name: five, match: {{prefix: /5xx}}, route: {{cluster: up, retry_policy: {{retry_on: 5xx, num_retries: 2, {FAST}}}}}}}
  - {{name: gateway, match: {{prefix: /gateway}}, route: {{cluster: up, retry_policy: {{retry_on: gateway-error, num_retries: 1, {FAST}}}}}}}
  - {{name: reset, match: {{prefix: /reset}}, route: {{cluster: up, retry_policy: {{retry_on: reset, num_retries: 1, {FAST}}}}}}}
  - {{name: before, match: {{prefix: /before-request}}, route: {{cluster: up, retry_policy: {{retry_on: reset-before-request, num_retries: 1, {FAST}}}}}}}
  - {{name: connect, match: {{prefix: /connect}}, route: {{cluster: half_dead, retry_policy: {{retry_on: connect-failure, num_retries: 1, {FAST}, retry_host_predicate: [{{name: p, typed_config: {{"@type": {TYPE}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}}}], host_selection_retry_max_attempts: 5}}}}}}
  - {{name: refused, match: {{prefix: /refused}}, route: {{cluster: dead, retry_policy: {{retry_on: connect-failure, num_retries: 1, {FAST}}}}}}}
  - {{name: four, match: {{prefix: /retriable-4xx}}, route: {{cluster: up, retry_policy: {{retry_on: retriable-4xx, num_retries: 1, {FAST}}}}}}}
  - {{name: codes, match: {{prefix: /codes}}, route: {{cluster: up, retry_policy: {{retry_on: retriable-status-codes, retriable_status_codes: [418], num_retries: 1, {FAST}}}}}}}
  - {{name: headers, match: {{prefix: /headers}}, route: {{cluster: up, retry_policy: {{retry_on: retriable-headers, retriable_headers: [{{name: x-again, string_match: {{exact: "yes"}}}}], num_retries: 1, {FAST}}}}}}}
  - {{name: grpc, match: {{prefix: /grpc}}, route: {{cluster: up, retry_policy: {{retry_on: "unavailable,cancelled", num_retries: 1, {FAST}}}}}}}
  - {{name: ratelimited, match: {{prefix: /ratelimited}}, route: {{cluster: up, retry_policy: {{retry_on: envoy-ratelimited, num_retries: 1, {FAST}}}}}}}
  - {{name: per_try, match: {{prefix: /per-try}}, route: {{cluster: up, retry_policy: {{retry_on: 5xx, num_retries: 1, per_try_timeout: 0.15s, {FAST}}}}}}}
  - {{name: per_try_idle, match: {{prefix: /per-idle}}, route: {{cluster: up, retry_policy: {{retry_on: 5xx, num_retries: 1, per_try_idle_timeout: 0.15s, {FAST}}}}}}}
  - {{name: hedge, match: {{prefix: /hedge}}, route: {{cluster: up, hedge_policy: {{hedge_on_per_try_timeout: true}}, retry_policy: {{retry_on: 5xx, num_retries: 1, per_try_timeout: 0.2s, {FAST}}}}}}}
  - {{name: after, match: {{prefix: /retry-after}}, route: {{cluster: up, retry_policy: {{retry_on: 5xx, num_retries: 1, rate_limited_retry_back_off: {{reset_headers: [{{name: retry-after, format: SECONDS}}], max_interval: 1s}}, {FAST}}}}}}}
  - {{name: methods, match: {{prefix: /retriable-request}}, route: {{cluster: up, retry_policy: {{retry_on: 5xx, num_retries: 1, retriable_request_headers: [{{name: ":method", string_match: {{exact: GET}}}}], {FAST}}}}}}}
  - {{name: by_header, match: {{prefix: /by-header}}, route: {{cluster: up}}}}
  - {{name: silent, match: {{prefix: /silent}}, route: {{cluster: silent}}}}
  - {{name: dead, match: {{prefix: /dead}}, route: {{cluster: dead}}}}
  - {{name: empty, match: {{prefix: /empty}}, route: {{cluster: empty}}}}
  - {{name: breaker_cx, match: {{prefix: /no-pending}}, route: {{cluster: no_pending}}}}
  - {{name: breaker_rq, match: {{prefix: /no-requests}}, route: {{cluster: no_requests}}}}
  - {{name: breaker_retry, match: {{prefix: /no-retries}}, route: {{cluster: no_retries, retry_policy: {{retry_on: 5xx, num_retries: 2, {FAST}}}}}}}
  - {{name: budget, match: {{prefix: /budget}}, route: {{cluster: budget, retry_policy: {{retry_on: 5xx, num_retries: 2, {FAST}}}}}}}
  - {{name: timeout, match: {{prefix: /timeout}}, route: {{cluster: up, timeout: 0.25s}}}}
  - {{name: idle, match: {{prefix: /idle}}, route: {{cluster: up, timeout: 0s, idle_timeout: 0.25s}}}}
  - {{name: duration, match: {{prefix: /duration}}, route: {{cluster: up, timeout: 0s, max_stream_duration: {{max_stream_duration: 0.25s}}}}}}
  - {{name: grpc_timeout, match: {{prefix: /gtimeout}}, route: {{cluster: up, max_grpc_timeout: 1s}}}}
  - {{name: limited, match: {{prefix: /limited}}, route: {{cluster: limited}}}}
  - {{name: maintenance, match: {{prefix: /overloaded}}, route: {{cluster: up, timeout: 5s}}}}
  - {{name: rest, match: {{prefix: /}}, route: {{cluster: up}}}}
"""
# The client on loopback counts as internal, so that it may steer the router by headers.
INTERNAL = "{use_remote_address: true, internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}"
PLAIN = "[{name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: up, timeout: 0s}}]}]"


def breakers(text: str) -> str:
    return f"circuit_breakers: {{thresholds: [{{{text}}}]}}"


GROUP = SideConfig(
    bootstrap(
        [
            http("main", ROUTES, options=INTERNAL),
            http("suppressed", ROUTES, options=INTERNAL, router_options="suppress_envoy_headers: true"),
            http("strict", ROUTES, options=INTERNAL, router_options="strict_check_headers: [x-envoy-max-retries, x-envoy-upstream-rq-timeout-ms, x-envoy-retry-on]"),
            http("request_timeout", PLAIN, options="request_timeout: 0.25s"),
            http("headers_timeout", PLAIN, options="request_headers_timeout: 0.25s"),
            http("stream_idle", PLAIN, options="stream_idle_timeout: 0.25s"),
            http("cx_idle", PLAIN, options="common_http_protocol_options: {idle_timeout: 0.3s}"),
            http("cx_duration", PLAIN, options="{common_http_protocol_options: {max_connection_duration: 0.3s}, drain_timeout: 0.1s}"),
            http("stream_duration", PLAIN, options="common_http_protocol_options: {max_stream_duration: 0.25s}"),
            http("no_delay", PLAIN, options="delayed_close_timeout: 0s"),
        ],
        [
            cluster("up"),
            cluster("half_dead", "<<refused:a>>", "<<up:up>>", options="lb_policy: ROUND_ROBIN"),
            cluster("dead", "<<refused:b>>"),
            cluster("silent", "<<silent:a>>", options="connect_timeout: 0.25s"),
            cluster("empty", options="{load_assignment: {cluster_name: empty}}"),
            cluster("no_pending", "<<up:up>>", options=breakers("max_pending_requests: 0")),
            cluster("no_requests", "<<up:up>>", options=breakers("max_requests: 0")),
            cluster("no_retries", "<<up:up>>", options=breakers("max_retries: 0, track_remaining: true")),
            cluster("budget", "<<up:up>>", options=breakers("retry_budget: {budget_percent: {value: 0.0}, min_retry_concurrency: 1}")),
            cluster("limited", "<<up:up>>", protocol="common_http_protocol_options: {max_stream_duration: 0.25s}"),
        ],
    )
)

FAIL = [answer("503 Service Unavailable", body=b"no")]
GOOD = [answer()]
HALF = [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", Hang()]
SLOW = [0.45, answer()]

CASES = [
    Case("retry_5xx", get("/5xx"), answers=[FAIL, GOOD], expect_stats=["cluster.up.upstream_rq_retry_success"]),
    Case("retry_5xx_twice", get("/5xx"), answers=[FAIL, FAIL, GOOD]),
    Case("retry_5xx_exhausted", get("/5xx"), 503, answers=[FAIL], expect_stats=["cluster.up.upstream_rq_retry_limit_exceeded"]),
    Case("retry_5xx_reset", get("/5xx"), answers=[[ResetNow()], GOOD]),
    Case("retry_post_body", post("/5xx", body=b"again and again"), answers=[FAIL, GOOD]),
    Case("retry_chunked_body", request("POST", "/5xx", headers=[("transfer-encoding", "chunked")]) + b"3\r\nabc\r\n0\r\n\r\n", answers=[FAIL, GOOD]),
    Case("retry_gateway_502", get("/gateway"), answers=[[answer("502 Bad Gateway")], GOOD]),
    Case("retry_gateway_500", get("/gateway"), 500, answers=[[answer("500 Oops")], GOOD]),
    Case("retry_reset", get("/reset"), answers=[[ResetNow()], GOOD]),
    Case("retry_reset_on_5xx", get("/reset"), 503, answers=[FAIL, GOOD]),
    Case("retry_reset_after_headers", get("/reset"), None, answers=[[b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 0.05, ResetNow()]], responses=0, to_end=True, logs=1),
    Case("retry_before_request", get("/before-request"), 503, answers=[[ResetNow()], GOOD]),
    # Which host the round robin begins with is chance.
    Case("retry_connect", get("/connect"), upstream=False, log=False, stats=False, replace=[("x-envoy-attempt-count: \\d", "")]),
    Case("retry_connect_again", get("/connect"), upstream=False, log=False, stats=False, replace=[("x-envoy-attempt-count: \\d", "")]),
    Case("retry_connect_exhausted", get("/refused"), 503),
    Case("retry_4xx", get("/retriable-4xx"), answers=[[answer("409 Conflict")], GOOD]),
    Case("retry_4xx_not", get("/retriable-4xx"), 404, answers=[[answer("404 Not Found")], GOOD]),
    Case("retry_codes", get("/codes"), answers=[[answer("418 Tea")], GOOD]),
    Case("retry_headers", get("/headers"), answers=[[answer("200 OK", ("x-again", "yes"))], GOOD]),
    Case("retry_headers_not", get("/headers"), answers=[[answer("200 OK", ("x-again", "no"))], GOOD]),
    Case("retry_grpc", post("/grpc", "test", ("content-type", "application/grpc")), answers=[[answer("200 OK", ("grpc-status", "14"), body=b"")], GOOD]),
    Case("retry_grpc_not", post("/grpc", "test", ("content-type", "application/grpc")), answers=[[answer("200 OK", ("grpc-status", "5"), body=b"")], GOOD]),
    Case("retry_ratelimited", get("/ratelimited"), answers=[[answer("429 Too Many", ("x-envoy-ratelimited", "true"))], GOOD]),
    Case("retry_request_headers", get("/retriable-request"), answers=[FAIL, GOOD]),
    Case("retry_request_headers_not", post("/retriable-request"), 503, answers=[FAIL, GOOD]),
    Case("retry_after", get("/retry-after"), answers=[[answer("503 x", ("retry-after", "1"))], GOOD], time_within=0.5),
    Case("retry_by_header", get("/by-header", "test", ("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "2")), answers=[FAIL, FAIL, GOOD]),
    Case("retry_by_header_codes", get("/by-header", "test", ("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "404,405")), answers=[[answer("405 x")], GOOD]),
    Case("retry_by_header_grpc", get("/by-header", "test", ("x-envoy-retry-grpc-on", "internal")), answers=[[answer("200 OK", ("grpc-status", "13"), body=b"")], GOOD]),
    Case("retry_no_body_left", [request("POST", "/5xx", headers=[("content-length", "6")]) + b"abc", 0.15, b"def"], None, answers=[FAIL, GOOD]),
    Case("per_try_timeout", get("/per-try"), answers=[[Hang()], GOOD], time_within=0.3),
    Case("per_try_timeout_exhausted", get("/per-try"), 504, answers=[[Hang()]], time_within=0.3),
    Case("per_try_idle_timeout", get("/per-idle"), answers=[[Hang()], GOOD], time_within=0.3),
    Case("hedge_second_wins", get("/hedge"), answers=[[Hang()], GOOD], time_within=0.3),
    Case("hedge_first_wins", get("/hedge"), answers=[[0.35, answer(body=b"first")], [Hang()]], time_within=0.3),
    Case("header_timeout", get("/by-header", "test", ("x-envoy-upstream-rq-timeout-ms", "200")), 504, answers=[[Hang()]], time_within=0.3),
    Case("header_timeout_alt", get("/by-header", "test", ("x-envoy-upstream-rq-timeout-ms", "200"), ("x-envoy-upstream-rq-timeout-alt-response", "1")), 204, answers=[[Hang()]], time_within=0.3),
    Case("header_per_try", get("/5xx", "test", ("x-envoy-upstream-rq-per-try-timeout-ms", "150")), answers=[[Hang()], GOOD], time_within=0.3),
    Case("suppressed", get("/5xx"), listener="suppressed", answers=[FAIL, GOOD]),
    Case("strict_bad", get("/5xx", "test", ("x-envoy-max-retries", "many")), 400, listener="strict"),
    Case("strict_bad_timeout", get("/5xx", "test", ("x-envoy-upstream-rq-timeout-ms", "-1")), 400, listener="strict"),
    Case("strict_good", get("/5xx", "test", ("x-envoy-max-retries", "1")), listener="strict"),
    # no upstream
    Case("refused", get("/dead"), 503, expect=["UF"]),
    Case("refused_post", post("/dead", body=b"x" * 10), 503),
    Case("connect_timeout", get("/silent"), 503, time_within=0.3, expect=["UF"]),
    Case("no_hosts", get("/empty"), 503, expect=["UH"]),
    Case("no_hosts_grpc", post("/empty", "test", ("content-type", "application/grpc")), 200),
    Case("refused_head", request("HEAD", "/dead"), 503, to_head=True),
    Case("pending_overflow", get("/no-pending"), 503, expect=["UO"]),
    Case("requests_overflow", get("/no-requests"), 503, expect=["UO"]),
    Case("retries_overflow", get("/no-retries"), 503, answers=[FAIL], expect=["UO"]),
    Case("retry_budget", get("/budget"), None, answers=[FAIL, GOOD]),
    # timeouts
    Case("route_timeout", get("/timeout"), 504, answers=[[Hang()]], time_within=0.3, expect=["UT"]),
    Case("route_timeout_after_headers", get("/timeout"), None, answers=[HALF], responses=0, to_end=True, logs=1, time_within=0.4),
    Case("route_timeout_grpc", post("/timeout", "test", ("content-type", "application/grpc")), 200, answers=[[Hang()]]),
    Case("route_idle", get("/idle"), 504, answers=[[Hang()]], time_within=0.3),
    Case("route_idle_after_headers", get("/idle"), None, answers=[HALF], responses=0, to_end=True, logs=1, time_within=0.4),
    Case("route_duration", get("/duration"), None, answers=[[Hang()]], time_within=0.3),
    Case("cluster_duration", get("/limited"), None, answers=[[Hang()]], time_within=0.3),
    Case("grpc_timeout_header", post("/gtimeout", "test", ("content-type", "application/grpc"), ("grpc-timeout", "200m")), 200, answers=[[Hang()]], time_within=0.3),
    Case("request_timeout", [request("POST", headers=[("content-length", "10")]) + b"abc"], 408, listener="request_timeout", time_within=0.3, answers=[GOOD]),
    Case("request_timeout_not", get(), 200, listener="request_timeout", answers=[SLOW]),
    Case("headers_timeout", b"GET / HTTP/1.1\r\nhost: ", 408, listener="headers_timeout", time_within=0.3),
    Case("stream_idle_upstream", get(), 504, listener="stream_idle", answers=[[Hang()]], time_within=0.3),
    Case("stream_idle_request", [request("POST", headers=[("content-length", "10")]) + b"abc"], 408, listener="stream_idle", time_within=0.3),
    Case("stream_idle_response", get(), None, listener="stream_idle", answers=[HALF], responses=0, to_end=True, logs=1, time_within=0.4),
    Case("stream_duration", get(), None, listener="stream_duration", answers=[[Hang()]], time_within=0.3),
    Case("stream_duration_response", get(), None, listener="stream_duration", answers=[HALF], responses=0, to_end=True, logs=1, time_within=0.4),
    Case("connection_idle", [get(), Responses(1)], 200, listener="cx_idle", to_end=True, time_within=0.3),
    Case("connection_idle_unused", [], [], listener="cx_idle", responses=0, to_end=True, time_within=0.3),
    Case("connection_duration", [get(), Responses(1)], 200, listener="cx_duration", to_end=True, time_within=0.4),
    Case("connection_duration_request", [get(), Responses(1), 0.35, get(), Responses(2)], None, listener="cx_duration", responses=0, to_end=True),
    Case("no_delayed_close", b"nonsense\r\n\r\n", 400, listener="no_delay", to_end=True, time_within=0.3),
    # disconnects
    Case("client_leaves_retrying", [get("/per-try"), 0.05, Abort()], [], responses=0, answers=[[Hang()]], logs=1),
    Case("client_leaves_body", [request("POST", "/", headers=[("content-length", "100")]) + b"abc", 0.05, Abort()], [], responses=0, logs=1),
    Case("client_half_closes_waiting", [get("/"), 0.05, ShutdownWrite()], [], responses=0, to_end=True, answers=[SLOW], logs=1),
    Case("client_leaves_in_response", [get("/"), 0.1, Abort()], None, responses=0, answers=[HALF], logs=1),
    Case("overloaded", get("/overloaded"), 503, answers=[[answer("503 x", ("x-envoy-overloaded", "true"))]]),
    Case("drop_then_reuse", [get("/"), Responses(1), 0.1, get("/")], 200, responses=2, answers=[[answer(), CloseNow()], GOOD]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_resilience(pair: Pair, case: Case) -> None:
    pair.check(case)
