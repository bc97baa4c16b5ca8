
"""Filters that shape traffic: header_mutation, buffer, health_check, fault."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
from tests.support.raw_client import Responses

HEALTHZ = "headers: [{name: ':path', string_match: {exact: /healthz}}]"
FILTERS = TYPE + "extensions.filters.http."


def http_filter(name: str, message: str, options: str = "") -> Json:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{FILTERS}{name}.v3.{message}", **(parse(options) or {})},
    }


def health(options: str) -> Json:
    return http_filter("health_check", "HealthCheck", f"{{{options}, {HEALTHZ}}}")


def hosts(routes: list[tuple[str, str, str]], virtual_host: str = "") -> list[Json]:
    """One virtual host; a route for each (path prefix, filter, per-route message in YAML)."""
    made: list[Json] = []
    for prefix, name, text in routes:
        made.append({
            "match": {"prefix": prefix},
            "route": {"cluster": "up"},
            "typed_per_filter_config": {f"envoy.filters.http.{name}": parse(text)},
        })
    made.append({"match": {"prefix": "/"}, "route": {"cluster": "up"}})
    return [{"name": "all", "domains": ["*"], "routes": made, **(parse(virtual_host) or {})}]


HEADER_MUTATION = """
mutations:
  request_mutations:
  - append: {header: {key: x-added, value: "%REQ(:METHOD)%-%PROTOCOL%"}}
  - append: {header: {key: x-twice, value: one}}
  - append: {header: {key: x-absent, value: "new"}, append_action: ADD_IF_ABSENT}
  - append: {header: {key: x-over, value: "over"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - append: {header: {key: x-exists, value: "changed"}, append_action: OVERWRITE_IF_EXISTS}
  - append: {header: {key: x-empty, value: "%REQ(x-none)%"}}
  - remove: x-remove
  - remove_on_match: {key_matcher: {prefix: x-bad-}}
  query_parameter_mutations:
  - append: {record: {key: added, value: "%REQ(x-over)%"}}
  - append: {record: {key: exists, value: "n&w-._~/:?@!$()*,;=[]"}, action: OVERWRITE_IF_EXISTS}
  - append: {record: {key: kept, value: other}, action: ADD_IF_ABSENT}
  - append: {record: {key: over, value: "1+2"}, action: OVERWRITE_IF_EXISTS_OR_ADD}
  - remove: gone
  response_mutations:
  - append: {header: {key: x-status, value: "%RESPONSE_CODE%-%REQ(x-in)%"}}
  - remove: x-secret
  - append: {header: {key: x-level, value: filter}}
  response_trailers_mutations:
  - append: {header: {key: x-trailer, value: "t"}}
  request_trailers_mutations:
  - append: {header: {key: x-req-trailer, value: "t"}}
  - remove: x-drop
"""
MUTATION_ROUTE = f'{{"@type": {FILTERS}header_mutation.v3.HeaderMutationPerRoute, mutations: {{request_mutations: [{{append: {{header: {{key: x-level, value: route}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}}}], response_mutations: [{{append: {{header: {{key: x-level, value: route}}}}}}], query_parameter_mutations: [{{remove: added}}]}}}}'
MUTATION_HOST = f'{{typed_per_filter_config: {{envoy.filters.http.header_mutation: {{"@type": {FILTERS}header_mutation.v3.HeaderMutationPerRoute, mutations: {{request_mutations: [{{append: {{header: {{key: x-level, value: host}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}}}], response_mutations: [{{append: {{header: {{key: x-level, value: host}}}}}}]}}}}}}}}'
MUTATED_HOSTS = hosts([("/route", "header_mutation", MUTATION_ROUTE)], MUTATION_HOST)
BUFFER_HOSTS = hosts([
    ("/off", "buffer", f'{{"@type": {FILTERS}buffer.v3.BufferPerRoute, disabled: true}}'),
    ("/two", "buffer", f'{{"@type": {FILTERS}buffer.v3.BufferPerRoute, buffer: {{max_request_bytes: 2}}}}'),
])
ALL = "percentage: {numerator: 100}"
FAULT_HOSTS = hosts([
    ("/abort", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, abort: {{http_status: 418, {ALL}}}, filter_metadata: {{a: b}}}}'),
    ("/body", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, abort: {{http_status: 503, response_body: broken, {ALL}}}}}'),
    ("/grpc", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, abort: {{grpc_status: 14, {ALL}}}}}'),
    ("/delay", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, delay: {{fixed_delay: 0.2s, {ALL}}}}}'),
    ("/both", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, delay: {{fixed_delay: 0.1s, {ALL}}}, abort: {{http_status: 500, {ALL}}}}}'),
    ("/other", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, upstream_cluster: dead, abort: {{http_status: 500, {ALL}}}}}'),
    ("/this", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, upstream_cluster: up, abort: {{http_status: 500, {ALL}}}}}'),
    ("/match", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, headers: [{{name: x-fault}}], downstream_nodes: [n1], abort: {{http_status: 500, {ALL}}}}}'),
    ("/none", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, abort: {{http_status: 500, percentage: {{}}}}}}'),
    ("/max", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, max_active_faults: 0, delay: {{fixed_delay: 0.1s, {ALL}}}, abort: {{http_status: 500, {ALL}}}}}'),
    ("/slow", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, response_rate_limit: {{fixed_limit: {{limit_kbps: 40}}, {ALL}}}}}'),
    ("/header", "fault", f'{{"@type": {FILTERS}fault.v3.HTTPFault, abort: {{header_abort: {{}}, {ALL}}}, delay: {{header_delay: {{}}, {ALL}}}, response_rate_limit: {{header_limit: {{}}, {ALL}}}}}'),
])

GROUP = SideConfig(
    bootstrap(
        [
            http("main"),
            http("mutate", MUTATED_HOSTS, filters=[http_filter("header_mutation", "HeaderMutation", HEADER_MUTATION)], options="http_protocol_options: {enable_trailers: true}"),
            http("mutate_specific", MUTATED_HOSTS, filters=[http_filter("header_mutation", "HeaderMutation", "most_specific_header_mutations_wins: true")]),
            http("buffer", BUFFER_HOSTS, filters=[http_filter("buffer", "Buffer", "max_request_bytes: 8")], options="http_protocol_options: {enable_trailers: true}"),
            http("health", filters=[health("pass_through_mode: false")]),
            http("health_pass", filters=[health("pass_through_mode: true")]),
            http("health_cache", filters=[health("pass_through_mode: true, cache_time: 60s")]),
            http("health_clusters", filters=[health("pass_through_mode: false, cluster_min_healthy_percentages: {up: {value: 100}}")]),
            http("health_no_cluster", filters=[health("pass_through_mode: false, cluster_min_healthy_percentages: {nope: {value: 1}}")]),
            http("health_empty", filters=[health("pass_through_mode: false, cluster_min_healthy_percentages: {empty: {value: 1}}")]),
            http("health_empty_ok", filters=[health("pass_through_mode: false, cluster_min_healthy_percentages: {empty: {value: 0}}")]),
            http("fault", FAULT_HOSTS, filters=[http_filter("fault", "HTTPFault")]),
        ],
        [cluster("up"), cluster("dead", "<<refused:a>>"), cluster("empty", options="load_assignment: {cluster_name: empty}")],
        "node: {id: n, cluster: mycluster}",
    )
)

CHUNKED = ("transfer-encoding", "chunked")
TRAILERS = b"3\r\nabc\r\n0\r\nx-drop: 1\r\nx-a: 2\r\n\r\n"
RESPONSE_TRAILERS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n"
FAULTS = "http.fault.fault."

CASES = [
    Case("mutate_request", get("/", "test", ("x-twice", "zero"), ("x-absent", "old"), ("x-over", "old"), ("x-exists", "old"), ("x-remove", "1"), ("x-bad-a", "1"), ("x-bad-b", "2")), listener="mutate"),
    Case("mutate_request_missing", get("/"), listener="mutate"),
    Case("mutate_response", get("/", "test", ("x-in", "q")), 201, listener="mutate", answers=[[answer("201 Created", ("x-secret", "1"), ("x-level", "upstream"))]]),
    Case("mutate_query", get("/p?gone=1&exists=a&exists=b&kept=k&z=1&a=%41%2Bb&empty=&bare&over=9"), listener="mutate"),
    Case("mutate_query_odd", get("/p?&&=x&a=1=2&%zz=%&added=0"), listener="mutate"),
    Case("mutate_levels", get("/route?a=b"), listener="mutate"),
    Case("mutate_levels_specific", get("/route?a=b"), listener="mutate_specific"),
    Case("mutate_host_level", get("/"), listener="mutate_specific"),
    Case("mutate_trailers", request("POST", "/", "test", [CHUNKED], TRAILERS), listener="mutate", answers=[[RESPONSE_TRAILERS]]),
    Case("buffer_length", request("POST", "/", "test", [CHUNKED], b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), listener="buffer"),
    Case("buffer_given_length", post("/"), listener="buffer"),
    Case("buffer_no_body", get("/"), listener="buffer"),
    Case("buffer_too_large", request("POST", "/", "test", [("content-length", "20")], b"123456789"), 413, listener="buffer", to_end=True),
    Case("buffer_off", post("/off", body=b"123456789"), listener="buffer"),
    Case("buffer_route", request("POST", "/two", "test", [("content-length", "20")], b"123456789"), 413, listener="buffer", to_end=True),
    Case("buffer_trailers", request("POST", "/", "test", [CHUNKED], TRAILERS), listener="buffer"),
    Case("health", get("/healthz"), listener="health", expect=["health_check_ok"]),
    Case("health_body", post("/healthz"), listener="health"),
    Case("health_other", get("/"), listener="health"),
    Case("health_pass", get("/healthz"), listener="health_pass"),
    Case("health_cache", [get("/healthz"), Responses(1), get("/healthz")], [503, 503], responses=2, listener="health_cache", answers=[[answer("503 Down", ("x-envoy-degraded", ""))]], expect=["health_check_cached"]),
    Case("health_clusters", get("/healthz"), listener="health_clusters", expect=["health_check_ok_cluster_healthy"]),
    Case("health_no_cluster", get("/healthz"), 503, listener="health_no_cluster"),
    Case("health_empty", get("/healthz"), 503, listener="health_empty"),
    Case("health_empty_ok", get("/healthz"), listener="health_empty_ok"),
    Case("fault_none", get("/"), listener="fault"),
    Case("fault_abort", get("/abort"), 418, listener="fault", expect_stats=[FAULTS + "aborts_injected"]),
    Case("fault_abort_cluster", get("/abort", "test", ("x-envoy-downstream-service-cluster", "c1")), 418, listener="fault", expect_stats=[FAULTS + "c1.aborts_injected"]),
    Case("fault_abort_body", post("/body"), 503, listener="fault"),
    Case("fault_grpc", post("/grpc", "test", ("content-type", "application/grpc")), 200, listener="fault"),
    Case("fault_grpc_plain", get("/grpc"), 200, listener="fault"),
    Case("fault_delay", get("/delay"), listener="fault", time_within=0.08, expect_stats=[FAULTS + "delays_injected"]),
    Case("fault_delay_body", post("/delay", body=b"x" * 1000), listener="fault"),
    Case("fault_both", get("/both"), 500, listener="fault"),
    Case("fault_other_cluster", get("/other"), listener="fault"),
    Case("fault_this_cluster", get("/this"), 500, listener="fault"),
    Case("fault_match", get("/match", "test", ("x-fault", "1"), ("x-envoy-downstream-service-node", "n1")), 500, listener="fault"),
    Case("fault_match_not", get("/match", "test", ("x-envoy-downstream-service-node", "n1")), listener="fault"),
    Case("fault_match_node", get("/match", "test", ("x-fault", "1"), ("x-envoy-downstream-service-node", "n2")), listener="fault"),
    Case("fault_zero_percent", get("/none"), listener="fault"),
    Case("fault_max_active", get("/max"), listener="fault", expect_stats=[FAULTS + "faults_overflow"]),
    Case("fault_slow", get("/slow"), listener="fault", answers=[[answer(body=b"x" * 12000)]], time_within=0.12, expect_stats=[FAULTS + "response_rl_injected"]),
    Case("fault_slow_empty", get("/slow"), listener="fault", answers=[[answer(body=b"")]]),
    Case("fault_slow_chunked", get("/slow"), listener="fault", answers=[[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]]),
    Case("fault_header_abort", get("/header", "test", ("x-envoy-fault-abort-request", "503")), 503, listener="fault"),
    Case("fault_header_abort_bad", get("/header", "test", ("x-envoy-fault-abort-request", "99")), listener="fault"),
    Case("fault_header_abort_zero", get("/header", "test", ("x-envoy-fault-abort-request", "503"), ("x-envoy-fault-abort-request-percentage", "0")), listener="fault"),
    Case("fault_header_grpc", get("/header", "test", ("x-envoy-fault-abort-grpc-request", "5")), listener="fault"),
    Case("fault_header_delay", get("/header", "test", ("x-envoy-fault-delay-request", "150"), ("x-envoy-fault-delay-request-percentage", "200")), listener="fault", time_within=0.08),
    Case("fault_header_delay_bad", get("/header", "test", ("x-envoy-fault-delay-request", "1x")), listener="fault"),
    Case("fault_header_rate", get("/header", "test", ("x-envoy-fault-throughput-response", "10")), listener="fault", answers=[[answer(body=b"x" * 1500)]], time_within=0.12),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_traffic_filters(pair: Pair, case: Case) -> None:
    pair.check(case)
