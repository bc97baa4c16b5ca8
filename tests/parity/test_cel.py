"""Expressions (CEL): attributes and how values print, log filters, RBAC conditions, matcher trees."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, bootstrap, cluster, file_log, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get

# Values that do not depend on time, ports or the proxy's own headers.
EXPRESSIONS = [
    "request.path", "request.url_path", "request.scheme", "request.method", "request.headers['x-a']",
    "request.headers['X-A']", "request.headers.nope", "request.headers['nope']", "request.referer", "request.useragent",
    "request.protocol", "request.query", "request.size", "request.nope", "request['path']", "nope.x", "nope",
    "has(request.headers.X)", "'x-a' in request.headers", "request.time > timestamp('2020-01-02T03:04:05Z')",
    "request.duration > duration('0s')", "request.size + 1", "request.path.startsWith('/a')",
    "request.path.matches('^/[a-z]')", "request.query.contains('q')",
    "response.code", "response.code_details", "response.flags", "response.grpc_status", "response.headers['x-up']",
    "response.trailers", "response.size", "response.code == 200 && request.method == 'GET'",
    "destination.address == 'x'", "connection.mtls", "connection.requested_server_name", "connection.tls_version",
    "connection.subject_peer_certificate", "connection.termination_details",
    "upstream.tls_version", "upstream.transport_failure_reason", "upstream.request_attempt_count",
    "metadata.filter_metadata['ns']['k']", "metadata.filter_metadata['ns']['n']", "metadata.filter_metadata['nope']",
    "metadata.filter_metadata['ns']['n'] > 1.0", "filter_state['fs']", "filter_state['nope']",
    "xds.node.id", "xds.node.cluster", "xds.node.metadata['m']", "xds.cluster_name",
    "xds.cluster_metadata.filter_metadata['c']['k']", "xds.listener_direction",
    "xds.listener_metadata.filter_metadata['l']['k']", "xds.route_name",
    "xds.route_metadata.filter_metadata['r']['k']", "xds.virtual_host_name",
    "xds.virtual_host_metadata.filter_metadata['v']['k']", "xds.upstream_host_metadata.filter_metadata['h']['k']",
    "xds.filter_chain_name",
    "1.5", "1.0", "100000000000.0", "5u", "-3", "b'abc'", "'str'", "true", "null", "[1, 2]", "{'a': 1}", "1 / 0",
    "duration('1.5s')", "duration('3723s')", "duration('90us')", "timestamp('2020-01-02T03:04:05.678Z')",
    "type(1)", "request.code ? 1 : 2", "true ? 'yes' : 'no'",
]  # fmt: skip


def safe(expression: str) -> str:
    return expression.replace("%", "%%")


TEXT = file_log("".join(f"{index}: %CEL({safe(text)})%\n" for index, text in enumerate(EXPRESSIONS)))
JSON = file_log()
JSON["typed_config"]["log_format"] = {
    "json_format": {f"{index:03}": f"%TYPED_CEL({safe(text)})%" for index, text in enumerate(EXPRESSIONS)}
}
SHORT = file_log("%CEL(request.path):3% %CEL(request.nope):3%\n")
FILTERED = file_log("logged %PATH%\n")
FILTERED["filter"] = {
    "extension_filter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": {
            "@type": TYPE + "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": "request.headers['x-log'] == 'yes' || response.code >= 400",
        },
    }
}
STATE = [
    {"name": "m", "typed_config": {"@type": TYPE + "extensions.filters.http.set_metadata.v3.Config", "metadata": [{"metadata_namespace": "ns", "value": {"k": "mv", "n": 1.5}}]}},
    {"name": "f", "typed_config": {"@type": TYPE + "extensions.filters.http.set_filter_state.v3.Config", "on_request_headers": [{"object_key": "fs", "factory_key": "envoy.string", "format_string": {"text_format_source": {"inline_string": "fsv"}}}]}},
]
HOSTS = """
- name: vh
  domains: ["*"]
  metadata: {filter_metadata: {v: {k: vv}}}
  routes: [{name: rt, match: {prefix: /}, route: {cluster: up}, metadata: {filter_metadata: {r: {k: rv}}}}]
"""
LISTENER = "{traffic_direction: OUTBOUND, metadata: {filter_metadata: {l: {k: lv}}}}"


def ident(name: str) -> str:
    return f"{{ident_expr: {{name: {name}}}}}"


# request.headers['x-role'] == 'admin', as a syntax tree.
CONDITION = f"""
call_expr:
  function: _==_
  args:
  - call_expr: {{function: "_[_]", args: [{{select_expr: {{operand: {ident("request")}, field: headers}}}}, {{const_expr: {{string_value: x-role}}}}]}}
  - const_expr: {{string_value: admin}}
"""
RBAC = [{
    "name": "envoy.filters.http.rbac",
    "typed_config": {
        "@type": TYPE + "extensions.filters.http.rbac.v3.RBAC",
        "rules": {"policies": {"p": {"permissions": [{"any": True}], "principals": [{"any": True}]}}},
    },
}]  # fmt: skip


def with_condition() -> list[dict[str, object]]:
    import copy

    import yaml

    found = copy.deepcopy(RBAC)
    rules: object = found[0]["typed_config"]["rules"]  # type: ignore[index]
    rules["policies"]["p"]["condition"] = yaml.safe_load(CONDITION)  # type: ignore[index]
    return found  # type: ignore[return-value]


def tree() -> list[dict[str, object]]:
    deny = {"name": "deny", "typed_config": {"@type": TYPE + "config.rbac.v3.Action", "name": "deny", "action": "DENY"}}
    allow = {"name": "allow", "typed_config": {"@type": TYPE + "config.rbac.v3.Action", "name": "allow", "action": "ALLOW"}}
    matcher = {
        "name": "envoy.matching.matchers.cel_matcher",
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.matcher.v3.CelMatcher",
            "expr_match": {"cel_expr_parsed": {"expr": {"call_expr": {"function": "startsWith", "target": {"select_expr": {"operand": {"ident_expr": {"name": "request"}}, "field": "path"}}, "args": [{"const_expr": {"string_value": "/secret"}}]}}}},
        },
    }
    cel_input = {"name": "cel", "typed_config": {"@type": "type.googleapis.com/xds.type.matcher.v3.HttpAttributesCelMatchInput"}}
    predicate = {"single_predicate": {"input": cel_input, "custom_match": matcher}}
    return [{
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": TYPE + "extensions.filters.http.rbac.v3.RBAC",
            "matcher": {"matcher_list": {"matchers": [{"predicate": predicate, "on_match": {"action": deny}}]}, "on_no_match": {"action": allow}},
        },
    }]  # fmt: skip


UP = cluster("up", options="metadata: {filter_metadata: {c: {k: cv}}}")
UP["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = {"filter_metadata": {"h": {"k": "hv"}}}
GROUP = SideConfig(
    bootstrap(
        [
            http("text", HOSTS, LISTENER, filters=STATE, log=[TEXT]),
            http("typed", HOSTS, LISTENER, filters=STATE, log=[JSON]),
            http("short", log=[SHORT]),
            http("filtered", log=[FILTERED]),
            http("condition", filters=with_condition(), log=[]),
            http("tree", filters=tree(), log=[]),
        ],
        [UP],
        "node: {id: nid, cluster: ncl, metadata: {m: v}}",
    )
)
UPSTREAM = [[answer("200 OK", ("x-up", "1"))]]

CASES = [
    Case("text", get("/a/b?q=1", "test", ("x-a", "v1"), ("referer", "r")), listener="text", answers=UPSTREAM, logs=len(EXPRESSIONS)),
    Case("typed", get("/a/b?q=1", "test", ("x-a", "v1"), ("referer", "r")), listener="typed", answers=UPSTREAM),
    Case("short", get("/abcdef"), listener="short"),
    Case("filter_true", get("/f", "test", ("x-log", "yes")), listener="filtered"),
    Case("filter_false", get("/f", "test", ("x-log", "no")), listener="filtered", logs=0),
    Case("filter_error", get("/f"), listener="filtered", logs=0),
    Case("filter_code", get("/f"), 404, listener="filtered", answers=[[answer("404 Not Found")]]),
    Case("condition_true", get("/", "test", ("x-role", "admin")), listener="condition", logs=0),
    Case("condition_false", get("/", "test", ("x-role", "user")), 403, listener="condition", logs=0),
    Case("condition_error", get("/"), 403, listener="condition", logs=0),
    Case("tree_match", get("/secret/x"), 403, listener="tree", logs=0),
    Case("tree_no_match", get("/open"), listener="tree", logs=0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cel(pair: Pair, case: Case) -> None:
    pair.check(case)
