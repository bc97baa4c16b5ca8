
"""The admin interface: the same paths, codes, methods, texts and JSON shapes; statistics after known traffic."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig
from tests.support.http1_message import answer, get
from tests.support.raw_client import Responses

HOSTS = """
- name: vh
  domains: ["*"]
  virtual_clusters: [{name: vc, headers: [{name: ":path", string_match: {prefix: /vc}}]}]
  routes:
  - {match: {prefix: /dead}, route: {cluster: dead}}
  - {match: {prefix: /direct}, direct_response: {status: 200}}
  - {match: {prefix: /}, route: {cluster: up}}
"""
OPTIONS = """
node: {id: the-node, cluster: the-cluster, locality: {zone: z1}}
stats_config: {stats_tags: [{tag_name: my_tag, regex: "^http\\\\.((main)\\\\.)"}]}
layered_runtime:
  layers:
  - {name: base, static_layer: {a: {b: 1, c: text}, "re.loadable": true, number: 2.5}}
  - {name: admin, admin_layer: {}}
"""

GROUP = SideConfig(
    bootstrap(
        [http("main", HOSTS), http("other")],
        [
            cluster("up", options="{metadata: {filter_metadata: {m: {k: v}}}, alt_stat_name: up_alt}"),
            cluster("dead", "<<refused:a>>"),
            cluster("weighted", options="""{load_assignment: {cluster_name: weighted, endpoints: [
                {locality: {region: r, zone: z, sub_zone: s}, priority: 0, lb_endpoints: [
                    {endpoint: {hostname: one, address: {socket_address: {address: 127.0.0.1, port_value: <<up:up>>}}}, load_balancing_weight: 3, health_status: DEGRADED}]},
                {priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.2, port_value: 9}}}, health_status: UNHEALTHY}]}]}}"""),
        ],
        OPTIONS,
    )
)

TRAFFIC = Case(
    "traffic",
    [get("/"), Responses(1), get("/vc"), Responses(2), get("/dead"), Responses(3), get("/direct"), Responses(4), get("/404")],
    [200, 200, 503, 200, 404],
    responses=5,
    answers=[[answer()], [answer()], [answer("404 Not Found")]],
)


@pytest.fixture(scope="module")
def driven(pair: Pair) -> Pair:
    """Both sides after the same traffic."""
    pair.check(TRAFFIC)
    return pair


# Whole answers that must be equal as text.
TEXTS = [
    "/ready", "/healthcheck/ok", "/listeners", "/listeners?format=text",
    "/clusters?filter=%5Eup$", "/stats?filter=no_such_stat", "/stats?filter=%5Ecluster%5C.up_alt%5C.upstream_rq&usedonly",
    "/stats?filter=%5Ehttp%5C.main%5C.downstream_rq_.xx", "/stats?format=json&filter=%5Ehttp%5C.main%5C.downstream_rq_[25]xx",
    "/stats?filter=(", "/stats?format=nope", "/stats?type=Gauges&filter=%5Ecluster%5C.dead%5C.upstream_cx", "/stats?type=Counters&filter=%5Evhost",
    "/stats?type=nope", "/stats?hidden=nope", "/stats?histogram_buckets=nope",
    "/stats/prometheus?filter=%5Ehttp%5C.main%5C.downstream_rq_xx&usedonly", "/stats/prometheus?filter=upstream_rq_xx%7Crq_2xx",
    "/stats?format=prometheus&filter=%5Ecluster%5C.dead%5C.upstream_cx_total", "/stats?format=prometheus&text_readouts&filter=nothing",
    "/config_dump?resource=nope", "/config_dump?mask=nope", "/config_dump?name_regex=%5B", "/logging?unknown=info",
    "/runtime_modify", "/certs", "/init_dump", "/init_dump?mask=listener", "/contention",
]  # fmt: skip


@pytest.mark.parametrize("path", TEXTS)
def test_text(driven: Pair, path: str) -> None:
    answers = driven.admin(path)
    report = [f"{found.status} {_header(found.headers, 'content-type')}\n{_without_admin(path, found.body)}" for found in answers]
    driven.same(report, path, in_any_order="prometheus" in path)


@pytest.mark.parametrize("path", ["/nope", "/stats/nope", "/logging/x"])
def test_unknown_path(driven: Pair, path: str) -> None:
    """The help that follows is in each side's own words."""
    driven.same([f"{found.status}\n{found.body.splitlines()[0]}" for found in driven.admin(path)], path)


def _without_admin(path: str, body: str) -> str:
    """The series of the admin interface count our own looks at it."""
    return "\n".join(line for line in body.splitlines() if "admin" not in line) if "prometheus" in path else body


MUTATING = [
    "/cpuprofiler?enable=n", "/drain_listeners?graceful", "/healthcheck/fail", "/healthcheck/ok", "/heapprofiler?enable=n",
    "/logging?level=info", "/quitquitquit", "/reopen_logs", "/reset_counters", "/runtime_modify?x=1",
    "/stats/recentlookups/enable",
]  # fmt: skip


@pytest.mark.parametrize("path", MUTATING)
def test_mutating_endpoints_refuse_get(driven: Pair, path: str) -> None:
    answers = driven.admin(path)
    driven.same([f"{found.status} {found.body}" for found in answers], path)
    assert answers[0].status == 405


# (path, keys whose values are compared too)
JSON_PATHS = [
    "/server_info", "/memory", "/config_dump", "/config_dump?include_eds", "/config_dump?resource=static_clusters",
    "/config_dump?resource=static_listeners&mask=listener.name", "/config_dump?name_regex=up", "/clusters?format=json", "/listeners?format=json", "/runtime",
    "/stats?format=json&filter=cluster.up_alt", "/certs",
]  # fmt: skip


@pytest.mark.parametrize("path", JSON_PATHS)
def test_json_shape(driven: Pair, path: str) -> None:
    answers = driven.admin(path)
    assert answers[0].status == 200
    driven.same([f"{found.status} {_header(found.headers, 'content-type')}" for found in answers], path)
    driven.same([shape(json.loads(found.body)) for found in answers], path)


# The real Envoy's own versions, build facts, command line and extension lists differ by nature.
VOLATILE = re.compile(
    r"^(version|state|uptime\w*|last_updated|version_info|command_line_options|allocated|heap_size|pageheap_\w+|total_\w+"
    r"|hot_restart_version|extensions|user_agent_\w+|hostname|stats|value|pid|dynamic_parameters)$"
)


UNORDERED = {"cluster", "route_config", "endpoint_config", "host_statuses"}


def _without_ports(value: Any) -> str:
    return re.sub(r"\d{5}", "", json.dumps(value, sort_keys=True))


def shape(value: Any) -> str:
    """Keys and types as text; values too where they follow from the configuration."""
    return json.dumps(_shape(value, ""), indent=1, sort_keys=True)


def _shape(value: Any, key: str) -> Any:
    if key in ("extensions", "command_line_options", "dynamic_parameters"):
        return type(value).__name__
    if isinstance(value, dict):
        return {name: _shape(inner, name) for name, inner in value.items() if name not in ("user_agent_build_version", "@version")}
    if isinstance(value, list):
        shapes = [_shape(inner, key) for inner in value]
        # Envoy keeps clusters, routes and endpoints in hash tables: their order is chance.
        if any(isinstance(inner, dict) and inner.keys() & UNORDERED for inner in shapes):
            shapes.sort(key=_without_ports)
        return shapes
    if VOLATILE.match(key):
        return type(value).__name__
    return value


def test_clusters_text(driven: Pair) -> None:
    """Host by host, every counter but the traffic's times."""
    found = driven.admin("/clusters")
    driven.same([answer.body for answer in found], "/clusters", in_any_order=True)


def test_help_lists_every_endpoint(driven: Pair) -> None:
    """Each path and parameter of Envoy's help is in ours."""
    envoy, *others = driven.admin("/help")
    assert envoy.status == 200
    for ours in others:
        wanted = set(re.findall(r"^ +([/\w]+)", envoy.body, re.MULTILINE))
        assert wanted - set(re.findall(r"^ +([/\w]+)", ours.body, re.MULTILINE)) == set()


def test_home_page(driven: Pair) -> None:
    for found in driven.admin("/"):
        assert found.status == 200
        assert "text/html" in _header(found.headers, "content-type")
        assert "config_dump" in found.body


def test_every_stat_name(driven: Pair) -> None:
    """Both have exactly the same counters and gauges of listeners, connection managers and clusters."""
    names = [_stat_names(side) for side in driven.sides]
    driven.same(["\n".join(sorted(each)) for each in names], "names")


def test_histogram_names(driven: Pair) -> None:
    texts: list[str] = []
    for found in driven.admin("/stats?type=Histograms"):
        lines = [line.split(": ")[0] for line in found.body.splitlines() if not line.startswith(("server.", "http.admin", "listener.admin"))]
        texts.append("\n".join(lines))
    driven.same(texts, "histograms", in_any_order=True)


def test_healthcheck_fail_and_ok(driven: Pair) -> None:
    for path, method in (("/healthcheck/fail", "POST"), ("/ready", "GET"), ("/healthcheck/ok", "POST"), ("/ready", "GET")):
        driven.same([f"{found.status} {found.body}" for found in driven.admin(path, method)], path)


def test_runtime_modify(driven: Pair) -> None:
    for query in ("a.b=7", "new=text", "number=", "a.b="):
        driven.same([f"{found.status} {found.body}" for found in driven.admin(f"/runtime_modify?{query}", "POST")], query)
        driven.same([json.dumps(json.loads(found.body), indent=1, sort_keys=True) for found in driven.admin("/runtime")], query)


def test_logging(driven: Pair) -> None:
    for query in ("level=nope", "nope=info", "paths=admin:nope"):
        found = driven.admin(f"/logging?{query}", "POST")
        assert len({answer.status for answer in found}) == 1, query
    for found in driven.admin("/logging?level=warning", "POST"):
        assert found.status == 200
        assert "admin: warning" in found.body
    for found in driven.admin("/logging?admin=debug", "POST"):
        assert "admin: debug" in found.body


def test_methods(driven: Pair) -> None:
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        for path in ("/ready", "/stats?filter=nothing", "/nope"):
            driven.same([f"{found.status}" for found in driven.admin(path, method)], f"{method} {path}")


def test_reset_counters_and_drain(driven: Pair) -> None:
    """Last: they end the usefulness of the group."""
    driven.same([f"{found.status} {found.body}" for found in driven.admin("/reset_counters", "POST")], "/reset_counters")
    driven.same([found.body for found in driven.admin("/stats?filter=cluster.up_alt.upstream_rq_(200|total)")], "after reset")
    driven.same([f"{found.status} {found.body}" for found in driven.admin("/reopen_logs", "POST")], "/reopen_logs")
    driven.same([f"{found.status} {found.body}" for found in driven.admin("/drain_listeners", "POST")], "/drain_listeners")
    driven.same([found.body for found in driven.admin("/listeners")], "/listeners after drain")
    driven.same([f"{found.status} {found.body}" for found in driven.admin("/quitquitquit", "POST")], "/quitquitquit")
    for side in driven.sides:
        assert side.process is not None
        assert side.process.process.wait(10) == 0


def _header(headers: list[tuple[str, str]], name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


def _stat_names(side: Side) -> set[str]:
    normal = side.normalizer()
    return {normal(name) for name in side.stats()}
