
"""HTTP filters that let requests in or not: rbac, cors, csrf, basic_auth, api_key_auth, and the network rbac."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import LOG_FORMAT, TYPE, bootstrap, cluster, file_log, http, listener, manager, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
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

PER_FILTER = "type.googleapis.com/envoy.extensions.filters.http."
ALWAYS = "{default_value: {numerator: 100}}"
NEVER = "{default_value: {numerator: 0}}"
CORS = [http_filter("envoy.filters.http.cors", "cors.v3.Cors")]
CORS_HOSTS = f"""
- name: all
  domains: ["*"]
  typed_per_filter_config:
    envoy.filters.http.cors:
      "@type": {PER_FILTER}cors.v3.CorsPolicy
      allow_origin_string_match: [{{exact: "https://good.test"}}, {{safe_regex: {{regex: "https://.*[.]wide[.]test"}}}}]
      allow_methods: "GET, PUT"
      allow_headers: x-a
      expose_headers: x-seen
      max_age: "600"
      allow_credentials: true
      allow_private_network_access: true
  routes:
  - match: {{prefix: /star}}
    route: {{cluster: up}}
    typed_per_filter_config: {{envoy.filters.http.cors: {{"@type": {PER_FILTER}cors.v3.CorsPolicy, allow_origin_string_match: [{{exact: "*"}}], allow_credentials: false, max_age: "1"}}}}
  - match: {{prefix: /shadow}}
    route: {{cluster: up}}
    typed_per_filter_config: {{envoy.filters.http.cors: {{"@type": {PER_FILTER}cors.v3.CorsPolicy, filter_enabled: {NEVER}, shadow_enabled: {ALWAYS}}}}}
  - match: {{prefix: /off}}
    route: {{cluster: up}}
    typed_per_filter_config: {{envoy.filters.http.cors: {{"@type": {PER_FILTER}cors.v3.CorsPolicy, filter_enabled: {NEVER}}}}}
  - match: {{prefix: /strict}}
    route: {{cluster: up}}
    typed_per_filter_config: {{envoy.filters.http.cors: {{"@type": {PER_FILTER}cors.v3.CorsPolicy, forward_not_matching_preflights: false}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""
OLD_CORS_HOSTS = """
- name: all
  domains: ["*"]
  cors: {allow_origin_string_match: [{exact: "https://good.test"}], allow_methods: GET, max_age: "9", allow_credentials: true}
  routes:
  - match: {prefix: /narrow}
    route: {cluster: up, cors: {allow_origin_string_match: [{exact: "https://bad.test"}], expose_headers: x-b}}
  - match: {prefix: /off}
    route: {cluster: up, cors: {filter_enabled: {default_value: {numerator: 0}}}}
  - {match: {prefix: /}, route: {cluster: up}}
"""
CSRF = [http_filter("envoy.filters.http.csrf", "csrf.v3.CsrfPolicy", f"{{filter_enabled: {ALWAYS}, additional_origins: [{{suffix: .friend.test}}]}}")]
CSRF_HOSTS = f"""
- name: all
  domains: ["*"]
  routes:
  - match: {{prefix: /shadow}}
    route: {{cluster: up}}
    typed_per_filter_config: {{envoy.filters.http.csrf: {{"@type": {PER_FILTER}csrf.v3.CsrfPolicy, filter_enabled: {NEVER}, shadow_enabled: {ALWAYS}}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""
# user:pass, admin:admin
USERS = "user:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\\nadmin:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\\n"
BASIC = [http_filter("envoy.filters.http.basic_auth", "basic_auth.v3.BasicAuth", f'{{users: {{inline_string: "{USERS}"}}, forward_username_header: x-user, emit_dynamic_metadata: true}}')]
BASIC_LAX = [http_filter("envoy.filters.http.basic_auth", "basic_auth.v3.BasicAuth", f'{{users: {{inline_string: "{USERS}"}}, allow_missing: true, authentication_header: x-auth, realm: here}}')]
BASIC_HOSTS = f"""
- name: all
  domains: ["*"]
  routes:
  - match: {{prefix: /own}}
    route: {{cluster: up}}
    typed_per_filter_config: {{envoy.filters.http.basic_auth: {{"@type": {PER_FILTER}basic_auth.v3.BasicAuthPerRoute, realm: there, users: {{inline_string: "admin:{{SHA}}0DPiKuNIrrVmD8IUCuw1hQxNqZc="}}}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""
API_KEYS = [
    http_filter(
        "envoy.filters.http.api_key_auth", "api_key_auth.v3.ApiKeyAuth",
        "{credentials: [{key: k1, client: one}, {key: k2, client: two}], key_sources: [{header: authorization}, {query: key}, {cookie: key}],"
        " forwarding: {header: x-client, hide_credentials: true}}",
    )
]
API_KEY_HOSTS = f"""
- name: all
  domains: ["*"]
  routes:
  - match: {{prefix: /two}}
    route: {{cluster: up}}
    typed_per_filter_config: {{envoy.filters.http.api_key_auth: {{"@type": {PER_FILTER}api_key_auth.v3.ApiKeyAuthPerRoute, allowed_clients: [two]}}}}
  - match: {{prefix: /own}}
    route: {{cluster: up}}
    typed_per_filter_config: {{envoy.filters.http.api_key_auth: {{"@type": {PER_FILTER}api_key_auth.v3.ApiKeyAuthPerRoute, credentials: [{{key: k3, client: three}}], key_sources: [{{header: x-key}}]}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""

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
            auth("cors", CORS, CORS_HOSTS),
            auth("cors_old", CORS, OLD_CORS_HOSTS),
            auth("csrf", CSRF, CSRF_HOSTS),
            auth("basic", BASIC, BASIC_HOSTS),
            auth("basic_lax", BASIC_LAX),
            auth("keys", API_KEYS, API_KEY_HOSTS),
            auth("keys_none", [http_filter("envoy.filters.http.api_key_auth", "api_key_auth.v3.ApiKeyAuth")]),
            auth("keys_empty", [http_filter("envoy.filters.http.api_key_auth", "api_key_auth.v3.ApiKeyAuth", "{key_sources: [{query: key}]}")]),
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


GOOD = ("origin", "https://good.test")
BAD = ("origin", "https://bad.test")
ASKS = ("access-control-request-method", "PUT")
PRIVATE = ("access-control-request-private-network", "true")

CORS_CASES = [
    Case("cors_none", get(), listener="cors"),
    Case("cors_good", get("/", "test", GOOD), listener="cors", expect_stats=["http.cors.cors.origin_valid"]),
    Case("cors_bad", get("/", "test", BAD), listener="cors", expect_stats=["http.cors.cors.origin_invalid"]),
    Case("cors_replaces_upstream", get("/", "test", GOOD), listener="cors", answers=[[answer("200 OK", ("access-control-allow-origin", "*"), ("access-control-expose-headers", "x"))]]),
    Case("cors_preflight", request("OPTIONS", "/", "test", [GOOD, ASKS]), listener="cors"),
    Case("cors_preflight_private", request("OPTIONS", "/", "test", [GOOD, ASKS, PRIVATE]), listener="cors"),
    Case("cors_preflight_bad", request("OPTIONS", "/", "test", [BAD, ASKS]), listener="cors"),
    Case("cors_options_only", request("OPTIONS", "/", "test", [GOOD]), listener="cors"),
    Case("cors_preflight_strict", request("OPTIONS", "/strict", "test", [BAD, ASKS]), None, listener="cors"),
    Case("cors_strict_private", request("OPTIONS", "/strict", "test", [BAD, ASKS, PRIVATE]), None, listener="cors"),
    Case("cors_strict_get", request("GET", "/strict", "test", [BAD, ASKS]), None, listener="cors"),
    Case("cors_regex", get("/", "test", ("origin", "https://a.wide.test")), listener="cors"),
    Case("cors_star", get("/star", "test", BAD), listener="cors"),
    Case("cors_star_preflight", request("OPTIONS", "/star", "test", [BAD, ASKS]), listener="cors"),
    Case("cors_shadow", request("OPTIONS", "/shadow", "test", [GOOD, ASKS]), listener="cors", expect_stats=["http.cors.cors.origin_valid"]),
    Case("cors_off", request("OPTIONS", "/off", "test", [GOOD, ASKS]), listener="cors"),
    Case("cors_old_good", get("/", "test", GOOD), listener="cors_old"),
    Case("cors_old_preflight", request("OPTIONS", "/", "test", [GOOD, ASKS]), listener="cors_old"),
    Case("cors_old_route", get("/narrow", "test", BAD), listener="cors_old"),
    Case("cors_old_route_host", get("/narrow", "test", GOOD), listener="cors_old"),
    Case("cors_old_off", get("/off", "test", GOOD), listener="cors_old"),
    Case("cors_no_route_config", get("/", "test", GOOD), 403, listener="rbac_tree"),
    Case("csrf_get", get("/", "test", BAD), listener="csrf"),
    Case("csrf_same", post("/", "test", ("origin", "http://test")), listener="csrf", expect_stats=["http.csrf.csrf.request_valid"]),
    Case("csrf_port", post("/", "test:81", ("origin", "http://test:80")), 403, listener="csrf"),
    Case("csrf_missing", post("/", "test"), 403, listener="csrf", expect_stats=["http.csrf.csrf.missing_source_origin"]),
    Case("csrf_other", post("/", "test", BAD), 403, listener="csrf", expect_stats=["http.csrf.csrf.request_invalid"]),
    Case("csrf_referer", post("/", "test", ("referer", "https://test/a/b?c")), listener="csrf"),
    Case("csrf_referer_other", post("/", "test", ("referer", "https://other/")), 403, listener="csrf"),
    Case("csrf_null_then_referer", post("/", "test", ("origin", "null"), ("referer", "http://test/")), None, listener="csrf"),
    Case("csrf_odd_origin", post("/", "test", ("origin", "test")), None, listener="csrf"),
    Case("csrf_scheme_digits", post("/", "test", ("origin", "h2://test")), None, listener="csrf"),
    Case("csrf_additional", request("DELETE", "/", "test", [("origin", "http://a.friend.test")]), listener="csrf"),
    Case("csrf_shadow", request("PATCH", "/shadow", "test", [BAD]), listener="csrf", expect_stats=["http.csrf.csrf.request_invalid"]),
]


@pytest.mark.parametrize("case", CORS_CASES, ids=lambda case: case.name)
def test_origins(pair: Pair, case: Case) -> None:
    pair.check(case)


def basic(text: str, scheme: str = "Basic", name: str = "authorization") -> tuple[str, str]:
    return name, f"{scheme} {base64.b64encode(text.encode()).decode()}"


KEY_CASES = [
    Case("basic_right", get("/", "test", basic("user:pass")), listener="basic", expect_stats=["http.basic.basic_auth.allowed"]),
    Case("basic_any_case", get("/", "test", basic("admin:admin", "bAsIc")), 401, listener="basic"),
    Case("basic_unpadded", get("/", "test", ("authorization", "Basic dXNlcjpwYXNz===")), None, listener="basic"),
    Case("basic_wrong", get("/", "test", basic("user:admin")), 401, listener="basic", expect_stats=["http.basic.basic_auth.denied"]),
    Case("basic_unknown", get("/x?y", "test:90", basic("nobody:admin")), 401, listener="basic"),
    Case("basic_missing", get("/" + "a" * 300, "test"), 401, listener="basic"),
    Case("basic_scheme", get("/", "test", ("authorization", "Bearer x")), 401, listener="basic"),
    Case("basic_no_colon", get("/", "test", basic("user")), 401, listener="basic"),
    Case("basic_no_base64", get("/", "test", ("authorization", "Basic %%%")), 401, listener="basic"),
    Case("basic_twice", get("/", "test", basic("user:wrong"), basic("user:pass")), None, listener="basic"),
    Case("basic_route", get("/own", "test", basic("admin:admin")), listener="basic"),
    Case("basic_route_wrong", get("/own", "test", basic("user:pass")), 401, listener="basic"),
    Case("basic_lax_missing", get("/", "test", ("authorization", "x")), listener="basic_lax"),
    Case("basic_lax_right", get("/", "test", basic("user:pass", name="x-auth")), listener="basic_lax"),
    Case("basic_lax_wrong", get("/", "test", basic("user:x", name="x-auth")), 401, listener="basic_lax"),
    Case("basic_head", request("HEAD", "/", "test"), 401, listener="basic", to_head=True),
    Case("key_header", get("/?a=b", "test", ("authorization", "Bearer k1")), listener="keys", expect_stats=["http.keys.api_key_auth.allowed"]),
    Case("key_header_plain", get("/?a=b", "test", ("authorization", "k1")), listener="keys"),
    Case("key_header_twice", get("/?a=b", "test", ("authorization", "k1"), ("authorization", "k2")), None, listener="keys"),
    Case("key_query", get("/?a=b&key=k2&c=d", "test"), listener="keys"),
    Case("key_query_alone", get("/?key=k2", "test"), listener="keys"),
    Case("key_query_encoded", get("/?key=%6b2&x=1", "test"), None, listener="keys"),
    Case("key_cookie", get("/", "test", ("cookie", "a=b; key=k2; c=d")), listener="keys"),
    Case("key_cookie_alone", get("/", "test", ("cookie", "key=k2")), listener="keys"),
    Case("key_all_places", get("/?key=k1", "test", ("authorization", "k2"), ("cookie", "key=k2;a=b")), listener="keys"),
    Case("key_missing", get("/"), 401, listener="keys", expect_stats=["http.keys.api_key_auth.unauthorized"]),
    Case("key_unknown", get("/?key=k9"), 401, listener="keys"),
    Case("key_unknown_before_known", get("/?key=k1", "test", ("authorization", "k9")), None, listener="keys"),
    Case("key_allowed_client", get("/two?key=k2"), listener="keys"),
    Case("key_forbidden_client", get("/two?key=k1"), 403, listener="keys", expect_stats=["http.keys.api_key_auth.forbidden"]),
    Case("key_route", get("/own", "test", ("x-key", "k3")), listener="keys"),
    Case("key_route_wrong", get("/own?key=k1", "test", ("x-key", "k1")), 401, listener="keys"),
    Case("key_no_sources", get("/?key=k1"), None, listener="keys_none"),
    Case("key_no_credentials", get("/?key=k1"), None, listener="keys_empty"),
]


@pytest.mark.parametrize("case", KEY_CASES, ids=lambda case: case.name)
def test_keys(pair: Pair, case: Case) -> None:
    pair.check(case)
