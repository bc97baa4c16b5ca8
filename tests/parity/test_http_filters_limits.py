
"""Local rate limits: buckets, descriptors, what clients are told."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import Json, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_http_filters_traffic import FILTERS, hosts, http_filter
from tests.support.http1_message import get, post
from tests.support.raw_client import Responses

ON = "filter_enabled: {default_value: {numerator: 100}}"
BOTH = ON + ", filter_enforced: {default_value: {numerator: 100}}"
ONE = "token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s}"
MANY = "token_bucket: {max_tokens: 1000, tokens_per_fill: 100, fill_interval: 60s}"
LIMIT = f"{FILTERS}local_ratelimit.v3.LocalRateLimit"


def limit(options: str) -> Json:
    return http_filter("local_ratelimit", "LocalRateLimit", f"{{stat_prefix: http.rl, {options}}}")


def described(actions: str, entries: str) -> list[Json]:
    """The filter with one descriptor of one token and the filter's own rate_limits."""
    return [limit(f"{BOTH}, {MANY}, descriptors: [{{entries: {entries}, {ONE}}}], rate_limits: [{{actions: {actions}}}]")]


ACTIONS = {
    "header": ("[{request_headers: {header_name: X-Who, descriptor_key: who}}]", "[{key: who, value: a}]"),
    "skip": ("[{request_headers: {header_name: x-who, descriptor_key: who, skip_if_absent: true}}, {generic_key: {descriptor_value: all}}]", "[{key: generic_key, value: all}]"),
    "path": ("[{request_headers: {header_name: ':path', descriptor_key: path}}]", "[{key: path, value: /a}]"),
    "remote": ("[{remote_address: {}}]", "[{key: remote_address, value: 127.0.0.1}]"),
    "masked": ("[{masked_remote_address: {v4_prefix_mask_len: 8}}]", "[{key: masked_remote_address, value: 127.0.0.0/8}]"),
    "generic": ("[{generic_key: {descriptor_key: k, descriptor_value: own}}]", "[{key: k, value: own}]"),
    "literal": ("[{generic_key: {descriptor_value: '%REQ(x-who)%'}}]", "[{key: generic_key, value: '%REQ(x-who)%'}]"),
    "dash": ("[{generic_key: {descriptor_value: '%REQ(x-who)%'}}]", "[{key: generic_key, value: '-'}]"),
    "formatted": ("[{generic_key: {descriptor_value: '%REQ(x-who)%'}}]", "[{key: generic_key, value: 'a'}]"),
    "match": ("[{header_value_match: {descriptor_value: m, headers: [{name: x-who, string_match: {exact: a}}]}}]", "[{key: header_match, value: m}]"),
    "no_match": ("[{header_value_match: {descriptor_value: m, expect_match: false, headers: [{name: x-who, string_match: {exact: a}}]}}]", "[{key: header_match, value: m}]"),
    "query": ("[{query_parameters: {query_parameter_name: q, descriptor_key: query}}]", "[{key: query, value: 1 a}]"),
    "query_match": ("[{query_parameter_value_match: {descriptor_value: m, query_parameters: [{name: q}]}}]", "[{key: query_match, value: m}]"),
    "cluster": ("[{source_cluster: {}}, {destination_cluster: {}}]", "[{key: source_cluster, value: mycluster}, {key: destination_cluster, value: up}]"),
    "meta": ("[{metadata: {descriptor_key: m, source: ROUTE_ENTRY, metadata_key: {key: ns, path: [{key: a}]}, default_value: d}}]", "[{key: m, value: d}]"),
    "wildcard": ("[{request_headers: {header_name: x-who, descriptor_key: who}}]", "[{key: who}]"),
}
ROUTE_POLICY = """
- name: all
  domains: ["*"]
  rate_limits: [{actions: [{generic_key: {descriptor_value: host}}]}]
  routes:
  - {match: {prefix: /own}, route: {cluster: up, rate_limits: [{actions: [{generic_key: {descriptor_value: route}}]}]}}
  - {match: {prefix: /both}, route: {cluster: up, include_vh_rate_limits: true, rate_limits: [{actions: [{generic_key: {descriptor_value: other}}]}]}}
  - {match: {prefix: /staged}, route: {cluster: up, rate_limits: [{stage: 1, actions: [{generic_key: {descriptor_value: route}}]}]}}
  - {match: {prefix: /}, route: {cluster: up}}
"""
ROUTE_LIMIT = f"{BOTH}, {MANY}, descriptors: [{{entries: [{{key: generic_key, value: route}}], {ONE}}}, {{entries: [{{key: generic_key, value: host}}], {ONE}}}], enable_x_ratelimit_headers: DRAFT_VERSION_03"
LIMIT_HOSTS = hosts([
    ("/route", "local_ratelimit", f'{{"@type": {LIMIT}, stat_prefix: http.by_route, {BOTH}, {ONE}, status: {{code: ServiceUnavailable}}, rate_limited_as_resource_exhausted: true}}'),
])

GROUP = SideConfig(
    bootstrap(
        [
            http("main", LIMIT_HOSTS, filters=[limit(f"{BOTH}, {ONE}, response_headers_to_add: [{{header: {{key: x-limited, value: '%RESPONSE_CODE%'}}}}], enable_x_ratelimit_headers: DRAFT_VERSION_03, enable_retry_after_header: true")]),
            http("shadow", filters=[limit(f"{ON}, {ONE}, request_headers_to_add_when_not_enforced: [{{header: {{key: x-would, value: 'yes'}}}}]")]),
            http("off", filters=[limit(ONE)]),
            http("connection", filters=[limit(f"{BOTH}, {ONE}, local_rate_limit_per_downstream_connection: true")]),
            http("headers", filters=[limit(f"{BOTH}, token_bucket: {{max_tokens: 5, tokens_per_fill: 2, fill_interval: 7s}}, enable_x_ratelimit_headers: DRAFT_VERSION_03")]),
            http("descriptor_shadow", filters=[limit(f"{BOTH}, {MANY}, descriptors: [{{entries: [{{key: generic_key, value: a}}], {ONE}, shadow_mode: true}}], rate_limits: [{{actions: [{{generic_key: {{descriptor_value: a}}}}]}}]")]),
            http("hits", filters=[limit(f"{BOTH}, {MANY}, descriptors: [{{entries: [{{key: generic_key, value: a}}], token_bucket: {{max_tokens: 10, fill_interval: 3600s}}}}], enable_x_ratelimit_headers: DRAFT_VERSION_03, rate_limits: [{{actions: [{{generic_key: {{descriptor_value: a}}}}], hits_addend: {{number: 4}}}}]")]),
            http("not_default", filters=[limit(f"{BOTH}, {ONE}, always_consume_default_token_bucket: false, descriptors: [{{entries: [{{key: generic_key, value: a}}], {MANY}}}], rate_limits: [{{actions: [{{generic_key: {{descriptor_value: a}}}}]}}]")]),
            http("routes", ROUTE_POLICY, filters=[limit(ROUTE_LIMIT)]),
            http("routes_both", ROUTE_POLICY, filters=[limit(ROUTE_LIMIT + ", vh_rate_limits: INCLUDE")]),
            http("routes_ignore", ROUTE_POLICY, filters=[limit(ROUTE_LIMIT + ", vh_rate_limits: IGNORE")]),
            *[http("by_" + name, filters=described(*texts)) for name, texts in ACTIONS.items()],
        ],
        [cluster("up")],
        "node: {id: n, cluster: mycluster}",
    )
)


def twice(target: str, *headers: tuple[str, str]) -> list[bytes | Responses]:
    return [get(target, "test", *headers), Responses(1), get(target, "test", *headers)]


WHO_A = ("x-who", "a")
PAIR = [200, 429]
CASES = [
    Case("limited", twice("/"), PAIR, responses=2, expect_stats=["http.rl.http_local_rate_limit.enforced"]),
    Case("limited_body", post("/"), 429),
    Case("limited_route", twice("/route"), [200, 503], responses=2),
    Case("limited_grpc", post("/route", "test", ("content-type", "application/grpc")), 200),
    Case("shadow", twice("/"), 200, listener="shadow", responses=2),
    Case("off", twice("/"), 200, listener="off", responses=2),
    Case("connection", twice("/"), PAIR, listener="connection", responses=2),
    Case("connection_again", twice("/"), PAIR, listener="connection", responses=2),
    Case("headers", [get("/"), Responses(1), *twice("/")], None, listener="headers", responses=3),
    Case("headers_limited", [get("/"), Responses(1), *twice("/")], None, listener="headers", responses=3),
    Case("descriptor_shadow", twice("/"), 200, listener="descriptor_shadow", responses=2),
    Case("hits", [get("/"), Responses(1), *twice("/")], [200, 200, 429], listener="hits", responses=3),
    Case("not_default", twice("/"), 200, listener="not_default", responses=2),
    Case("route_policy", twice("/own"), PAIR, listener="routes", responses=2),
    Case("host_policy", twice("/"), PAIR, listener="routes", responses=2),
    Case("stage", twice("/staged"), 200, listener="routes", responses=2),
    Case("included", twice("/both"), PAIR, listener="routes_both", responses=2),
    Case("include_host", [get("/own"), Responses(1), get("/own")], 429, listener="routes_both", responses=2),
    Case("ignored", twice("/"), 200, listener="routes_ignore", responses=2),
    Case("header", twice("/", WHO_A), PAIR, listener="by_header", responses=2),
    Case("header_other", twice("/", ("x-who", "b")), 200, listener="by_header", responses=2),
    Case("header_absent", twice("/"), 200, listener="by_header", responses=2),
    Case("skip", twice("/"), PAIR, listener="by_skip", responses=2),
    Case("path", twice("/a"), PAIR, listener="by_path", responses=2),
    Case("remote", twice("/"), PAIR, listener="by_remote", responses=2),
    Case("masked", twice("/"), PAIR, listener="by_masked", responses=2),
    Case("generic", twice("/"), PAIR, listener="by_generic", responses=2),
    Case("literal", twice("/", WHO_A), None, listener="by_literal", responses=2),
    Case("formatted", twice("/", WHO_A), None, listener="by_formatted", responses=2),
    Case("dash", twice("/"), None, listener="by_dash", responses=2),
    Case("match", twice("/", WHO_A), PAIR, listener="by_match", responses=2),
    Case("match_not", twice("/"), 200, listener="by_match", responses=2),
    Case("no_match", twice("/"), PAIR, listener="by_no_match", responses=2),
    Case("query", twice("/?q=1%20a"), None, listener="by_query", responses=2),
    Case("query_match", twice("/?q"), None, listener="by_query_match", responses=2),
    Case("clusters", twice("/"), PAIR, listener="by_cluster", responses=2),
    Case("metadata", twice("/"), PAIR, listener="by_meta", responses=2),
    Case("wildcard", twice("/", WHO_A), PAIR, listener="by_wildcard", responses=2),
    Case("wildcard_other", twice("/", ("x-who", "b")), PAIR, listener="by_wildcard", responses=2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_limits(pair: Pair, case: Case) -> None:
    pair.check(case)
