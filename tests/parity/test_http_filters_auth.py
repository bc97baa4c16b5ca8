# ruff: noqa: E501 - tables of cases and inline YAML read best with long lines
"""HTTP filters that let requests in or not: rbac, cors, csrf, basic_auth, api_key_auth, and the network rbac."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import LOG_FORMAT, TYPE, bootstrap, cluster, file_log, http, listener, manager, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import get, post
from tests.support.raw_client import Responses

LOG = [
    file_log(
        LOG_FORMAT.rstrip("\n")
        + " md=%DYNAMIC_METADATA(envoy.filters.http.rbac)% common=%DYNAMIC_METADATA(envoy.common)%"
        " basic=%DYNAMIC_METADATA(envoy.filters.http.basic_auth)% vh=%VIRTUAL_CLUSTER_NAME%\n"
    )
]


def http_filter(name: str, type_name: str, text: str = "") -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{TYPE}extensions.filters.http.{type_name}", **(parse(text) or {})}}


def rbac(text: str) -> list[dict[str, Any]]:
    return [http_filter("envoy.filters.http.rbac", "rbac.v3.RBAC", text)]


def auth(name: str, filters: list[dict[str, Any]], virtual_hosts: str = "", **rest: Any) -> dict[str, Any]:
    return http(name, virtual_hosts, filters=filters, log=LOG, **rest)


POLICIES = """
rules:
  action: ALLOW
  policies:
    "a get":
      permissions: [{and_rules: {rules: [{header: {name: ":method", string_match: {exact: GET}}}, {url_path: {path: {prefix: /a}}}]}}]
      principals: [{any: true}]
    b-both:
      permissions: [{or_rules: {rules: [{url_path: {path: {exact: /b}}}, {url_path: {path: {exact: /bb}}}]}}, {not_rule: {header: {name: x-not, present_match: true}}}]
      principals: [{and_ids: {ids: [{header: {name: x-who, string_match: {exact: me}}}, {source_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}]}}]
    c-address:
      permissions: [{url_path: {path: {prefix: /c}}}]
      principals: [{remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}, {not_id: {direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}}]
    d-destination:
      permissions: [{and_rules: {rules: [{url_path: {path: {prefix: /d}}}, {destination_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}, {destination_port_range: {start: 1, end: 65536}}]}}]
      principals: [{or_ids: {ids: [{any: true}]}}]
    e-template:
      permissions:
      - uri_template: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/e/{x}/f"}}
      principals: [{any: true}]
    f-port:
      permissions: [{destination_port: 1}, {requested_server_name: {exact: nobody}}]
      principals: [{authenticated: {}}]
    g-route:
      permissions: [{sourced_metadata: {metadata_source: ROUTE, metadata_matcher: {filter: some, path: [{key: k}], value: {string_match: {exact: v}}}}}]
      principals: [{any: true}]
    h-state:
      permissions: [{requested_server_name: {exact: ""}}]
      principals: [{and_ids: {ids: [{url_path: {path: {exact: /h}}}, {filter_state: {key: none, string_match: {exact: v}}}]}}]
    i-empty-sni:
      permissions: [{and_rules: {rules: [{requested_server_name: {exact: ""}}, {url_path: {path: {exact: /i}}}]}}]
      principals: [{any: true}]
"""
HOSTS = """
- name: all
  domains: ["*"]
  routes:
  - {match: {prefix: /meta}, route: {cluster: up}, metadata: {filter_metadata: {some: {k: v}}}}
  - match: {prefix: /off}
    route: {cluster: up}
    typed_per_filter_config: {envoy.filters.http.rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}
  - match: {prefix: /own}
    route: {cluster: up}
    typed_per_filter_config:
      envoy.filters.http.rbac:
        "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute
        rbac:
          rules_stat_prefix: routed
          shadow_rules_stat_prefix: ghost
          track_per_rule_stats: true
          rules: {action: DENY, policies: {own: {permissions: [{header: {name: x-deny, present_match: true}}], principals: [{any: true}]}}}
          shadow_rules: {action: ALLOW, policies: {seen: {permissions: [{header: {name: x-seen, present_match: true}}], principals: [{any: true}]}}}
  - {match: {prefix: /direct}, direct_response: {status: 200}}
  - {match: {prefix: /}, route: {cluster: up}}
"""
DENY = """
rules_stat_prefix: mine.
shadow_rules_stat_prefix: shade_
track_per_rule_stats: true
rules: {action: DENY, policies: {"p 1": {permissions: [{header: {name: x-deny, present_match: true}}], principals: [{any: true}]}}}
shadow_rules: {action: DENY, policies: {"s 1": {permissions: [{header: {name: x-shadow, present_match: true}}], principals: [{any: true}]}}}
"""
RULE_LOG = """
rules: {action: LOG, policies: {noted: {permissions: [{header: {name: x-log, present_match: true}}], principals: [{any: true}]}}}
shadow_rules: {action: LOG, policies: {noted: {permissions: [{header: {name: x-log, present_match: true}}], principals: [{any: true}]}}}
"""
ACTION = "type.googleapis.com/envoy.config.rbac.v3.Action"
TREE = f"""
track_per_rule_stats: true
matcher:
  matcher_tree:
    input: {{name: path, typed_config: {{"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x-do}}}}
    exact_match_map:
      map:
        allow: {{action: {{name: a, typed_config: {{"@type": {ACTION}, name: let in}}}}}}
        deny: {{action: {{name: a, typed_config: {{"@type": {ACTION}, name: keep out, action: DENY}}}}}}
        log: {{action: {{name: a, typed_config: {{"@type": {ACTION}, name: note, action: LOG}}}}}}
shadow_matcher:
  on_no_match: {{action: {{name: a, typed_config: {{"@type": {ACTION}, name: default, action: DENY}}}}}}
"""


def network_rbac(name: str, text: str) -> dict[str, Any]:
    made = listener(name, manager(name, log=LOG))
    config = {"@type": TYPE + "extensions.filters.network.rbac.v3.RBAC", "stat_prefix": f"tcp.{name}", **parse(text)}
    made["filter_chains"][0]["filters"].insert(0, {"name": "envoy.filters.network.rbac", "typed_config": config})
    made["access_log"] = [
        file_log(
            "CX %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %DYNAMIC_METADATA(envoy.filters.network.rbac)%"
            " %DYNAMIC_METADATA(envoy.common)%\n"
        )
    ]
    return made


NETWORK_DENY = "{rules: {action: DENY, policies: {local: {permissions: [{destination_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}], principals: [{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}]}}}}"
NETWORK_ALLOW = "{shadow_rules_stat_prefix: sh_, rules: {policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}, shadow_rules: {policies: {}}}"
NETWORK_EACH = "{enforcement_type: CONTINUOUS, rules: {action: LOG, policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}}"
NETWORK_DELAY = "{delay_deny: 0.3s, rules: {}}"

GROUP = SideConfig(
    bootstrap(
        [
            auth("rbac", rbac(POLICIES), HOSTS),
            auth("rbac_deny", rbac(DENY), HOSTS),
            auth("rbac_log", rbac(RULE_LOG)),
            auth("rbac_tree", rbac(TREE)),
            auth("rbac_none", rbac("{}")),
            auth("rbac_xff", rbac(POLICIES), options="{use_remote_address: false, xff_num_trusted_hops: 0}"),
            network_rbac("net_deny", NETWORK_DENY),
            network_rbac("net_allow", NETWORK_ALLOW),
            network_rbac("net_each", NETWORK_EACH),
            network_rbac("net_delay", NETWORK_DELAY),
        ],
        [cluster("up"), cluster("auth")],
    )
)

RBAC_CASES = [
    Case("allowed", get("/a/b"), listener="rbac", expect_stats=["http.rbac.rbac.allowed"]),
    Case("method", post("/a/b"), 403, listener="rbac", expect_stats=["http.rbac.rbac.denied"]),
    Case("not_rule_lets_in", get("/zz", "test", ("x-who", "me")), listener="rbac"),
    Case("or_rules", get("/bb", "test", ("x-who", "me"), ("x-not", "1")), listener="rbac"),
    Case("not_rule_denies", get("/zz", "test", ("x-who", "me"), ("x-not", "1")), 403, listener="rbac"),
    Case("remote_ip_no", get("/c", "test"), 403, listener="rbac"),
    Case("remote_ip_xff", get("/c", "test", ("x-forwarded-for", "10.1.2.3")), None, listener="rbac_xff"),
    Case("destination", get("/d"), listener="rbac"),
    Case("template", get("/e/1/f?q=/x"), listener="rbac"),
    Case("template_no", get("/e/1/2/f"), 403, listener="rbac"),
    Case("route_metadata", get("/meta"), listener="rbac"),
    Case("no_filter_state", get("/h"), 403, listener="rbac"),
    Case("empty_sni", get("/i"), listener="rbac"),
    Case("route_off", get("/off"), listener="rbac"),
    Case("route_own", get("/own"), listener="rbac"),
    Case("route_own_denied", get("/own", "test", ("x-deny", "1"), ("x-seen", "1")), 403, listener="rbac"),
    Case("route_own_with_prefixes", get("/own", "test", ("x-deny", "1"), ("x-seen", "1")), 403, listener="rbac_deny"),
    Case("direct_response_denied", get("/direct", "test", ("x-deny", "1")), 403, listener="rbac_deny"),
    Case("grpc_denied", post("/x", "test", ("content-type", "application/grpc")), 200, listener="rbac"),
    Case("deny_passes", get("/"), listener="rbac_deny", expect_stats=["http.rbac_deny.rbac.mine.allowed"]),
    Case("deny_denies", get("/", "test", ("x-deny", "1"), ("x-shadow", "1")), 403, listener="rbac_deny"),
    Case("log_hit", get("/", "test", ("x-log", "1")), listener="rbac_log"),
    Case("log_miss", get("/"), listener="rbac_log"),
    Case("tree_allow", get("/", "test", ("x-do", "allow")), listener="rbac_tree"),
    Case("tree_deny", get("/", "test", ("x-do", "deny")), 403, listener="rbac_tree"),
    Case("tree_log", get("/", "test", ("x-do", "log")), listener="rbac_tree"),
    Case("tree_no_match", get("/"), 403, listener="rbac_tree"),
    Case("no_rules", get("/"), listener="rbac_none"),
    Case("network_deny", get("/"), None, listener="net_deny", responses=0, to_end=True, wait=1.0, logs=1),
    Case("network_allow", [get("/"), Responses(1), get("/")], 200, listener="net_allow", responses=2, logs=2),
    Case("network_each", [get("/"), Responses(1), get("/")], 200, listener="net_each", responses=2, logs=2),
    Case("network_delay", get("/"), None, listener="net_delay", responses=0, to_end=True, wait=2.0, logs=1, time_within=0.2),
]


@pytest.mark.parametrize("case", RBAC_CASES, ids=lambda case: case.name)
def test_rbac(pair: Pair, case: Case) -> None:
    pair.check(case)
