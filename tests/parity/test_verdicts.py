
"""Which configurations are refused: `--mode validate` gives the same verdict on both, and ours says where."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parity.harness.config import bootstrap, cluster, http
from tests.support.proxy_process import Finished, run_to_end

GOOD = json.loads(
    bootstrap([http("main")], [cluster("up", "9")]).replace('"<<admin>>"', "9901").replace('"<<port:main>>"', "10000").replace("<<dir>>/access.log", "/dev/null")
)
HCM_PATH = "static_resources.listeners.0.filter_chains.0.filters.0.typed_config"
ROUTE_PATH = HCM_PATH + ".route_config.virtual_hosts.0.routes.0"

# (name, path to change, YAML to put there ("-" removes), accepted)
TABLE: list[tuple[str, str, str, bool]] = [
    ("unchanged", "node", "{id: x}", True),
    ("unknown_field", "static_resources.nope", "1", False),
    ("unknown_field_deep", ROUTE_PATH + ".route.nope", "1", False),
    ("wrong_type", "static_resources.clusters.0.connect_timeout", "[1]", False),
    ("bad_duration", "static_resources.clusters.0.connect_timeout", "5 seconds", False),
    ("negative_timeout", "static_resources.clusters.0.connect_timeout", "-1s", False),
    ("zero_connect_timeout", "static_resources.clusters.0.connect_timeout", "0s", False),
    ("bad_enum", "static_resources.clusters.0.type", "STATICISH", False),
    ("enum_by_number", "static_resources.clusters.0.lb_policy", "1", True),
    ("cluster_without_name", "static_resources.clusters.0.name", "-", False),
    ("duplicate_cluster", "static_resources.clusters", "[{name: a, type: STATIC}, {name: a, type: STATIC}]", False),
    ("static_with_hostname", "static_resources.clusters.0.load_assignment.endpoints.0.lb_endpoints.0.endpoint.address.socket_address.address", "example.com", False),
    ("port_too_high", "static_resources.clusters.0.load_assignment.endpoints.0.lb_endpoints.0.endpoint.address.socket_address.port_value", "70000", False),
    ("bad_listener_address", "static_resources.listeners.0.address.socket_address.address", "not-an-ip", False),
    ("listener_without_address", "static_resources.listeners.0.address", "-", False),
    ("unknown_cluster_in_route", ROUTE_PATH + ".route.cluster", "nope", False),
    ("unknown_cluster_not_validated", HCM_PATH + ".route_config.validate_clusters", "true", True),
    ("no_stat_prefix", HCM_PATH + ".stat_prefix", "-", False),
    ("no_filters", HCM_PATH + ".http_filters", "[]", True),
    ("router_not_last", HCM_PATH + ".http_filters", "[{name: envoy.filters.http.router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}, {name: b, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 5}}]", False),
    ("unknown_type_url", HCM_PATH + ".http_filters.0.typed_config", "{'@type': type.googleapis.com/envoy.nope.v3.Nope}", False),
    ("unknown_network_filter", "static_resources.listeners.0.filter_chains.0.filters", "[{name: nope, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct}}]", False),
    ("duplicate_domain", HCM_PATH + ".route_config.virtual_hosts", "[{name: a, domains: ['x']}, {name: b, domains: ['x']}]", False),
    ("duplicate_star", HCM_PATH + ".route_config.virtual_hosts", "[{name: a, domains: ['*']}, {name: b, domains: ['*']}]", False),
    ("duplicate_vhost_name", HCM_PATH + ".route_config.virtual_hosts", "[{name: a, domains: ['x']}, {name: a, domains: ['y']}]", True),
    ("no_domains", HCM_PATH + ".route_config.virtual_hosts.0.domains", "[]", False),
    ("bad_domain", HCM_PATH + ".route_config.virtual_hosts.0.domains", "['a.*.b']", True),
    ("bad_regex", ROUTE_PATH + ".match", "{safe_regex: {regex: '('}}", False),
    ("no_match_specifier", ROUTE_PATH + ".match", "{}", False),
    ("no_action", ROUTE_PATH + ".route", "-", False),
    ("two_actions", ROUTE_PATH + ".redirect", "{host_redirect: a}", False),
    ("bad_direct_status", ROUTE_PATH, "{match: {prefix: /}, direct_response: {status: 42}}", False),
    ("direct_body_too_long", ROUTE_PATH, "{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: '" + "x" * 5000 + "'}}}", False),
    ("direct_body_file_missing", ROUTE_PATH, "{match: {prefix: /}, direct_response: {status: 200, body: {filename: /nonexistent/file}}}", False),
    ("weights_zero", ROUTE_PATH + ".route", "{weighted_clusters: {clusters: [{name: up, weight: 0}]}}", False),
    ("header_append_with_host", ROUTE_PATH + ".request_headers_to_add", "[{header: {key: ':path', value: x}}]", False),
    ("header_remove_host", ROUTE_PATH + ".request_headers_to_remove", "[host]", False),
    ("header_bad_format", ROUTE_PATH + ".request_headers_to_add", "[{header: {key: a, value: '%NOPE%'}}]", False),
    ("header_unterminated_format", ROUTE_PATH + ".request_headers_to_add", "[{header: {key: a, value: '%REQ(x)'}}]", False),
    ("header_bad_name", ROUTE_PATH + ".request_headers_to_add", "[{header: {key: 'a b', value: x}}]", True),
    ("bad_retry_backoff", ROUTE_PATH + ".route.retry_policy", "{retry_on: 5xx, retry_back_off: {base_interval: 1s, max_interval: 0.5s}}", False),
    ("retry_backoff_zero", ROUTE_PATH + ".route.retry_policy", "{retry_on: 5xx, retry_back_off: {base_interval: 0s}}", False),
    ("prefix_and_regex_rewrite", ROUTE_PATH + ".route", "{cluster: up, prefix_rewrite: /, regex_rewrite: {pattern: {regex: a}, substitution: b}}", False),
    ("mirror_unknown_cluster", ROUTE_PATH + ".route.request_mirror_policies", "[{cluster: nope}]", False),
    ("access_log_bad_filter", HCM_PATH + ".access_log.0.filter", "{status_code_filter: {}}", False),
    ("access_log_bad_flag", HCM_PATH + ".access_log.0.filter", "{response_flag_filter: {flags: [XX]}}", False),
    ("access_log_bad_operator", HCM_PATH + ".access_log.0.typed_config.log_format.text_format_source.inline_string", "'%NOPE%'", False),
    ("admin_without_address", "admin", "{}", True),
    ("max_headers_kb_too_high", HCM_PATH + ".max_request_headers_kb", "99999", False),
    ("header_limit_zero", HCM_PATH + ".max_request_headers_kb", "0", False),
    ("two_route_specifiers", HCM_PATH + ".rds", "{config_source: {path_config_source: {path: /tmp/x}}, route_config_name: a}", False),
    ("internal_redirect_bad_code", ROUTE_PATH + ".route.internal_redirect_policy", "{redirect_response_codes: [200]}", True),
    ("cluster_circuit_breaker_twice", "static_resources.clusters.0.circuit_breakers", "{thresholds: [{max_requests: 1}, {max_requests: 2}]}", True),
    ("tls_certificate_missing", "static_resources.clusters.0.transport_socket", "{name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {validation_context: {trusted_ca: {filename: /nonexistent/ca.pem}}}}}", False),
    ("tls_bad_cipher", "static_resources.clusters.0.transport_socket", "{name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {tls_params: {cipher_suites: [NOPE]}}}}", False),
    ("least_request_choice_count", "static_resources.clusters.0", "{name: up, type: STATIC, lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 1}}", False),
    ("runtime_duplicate_layer", "layered_runtime", "{layers: [{name: a, static_layer: {}}, {name: a, static_layer: {}}]}", False),
    ("runtime_two_admin_layers", "layered_runtime", "{layers: [{name: a, admin_layer: {}}, {name: b, admin_layer: {}}]}", False),
    ("runtime_layer_without_kind", "layered_runtime", "{layers: [{name: a}]}", False),
    ("empty_static_resources", "static_resources", "{}", True),
]  # fmt: skip


def changed(path: str, text: str) -> dict[str, Any]:
    """GOOD with something else at the path."""
    whole: dict[str, Any] = json.loads(json.dumps(GOOD))
    at: Any = whole
    *parents, last = path.split(".")
    for key in parents:
        at = at[int(key)] if isinstance(at, list) else at[key]
    if isinstance(at, list):
        at[int(last)] = yaml.safe_load(text)
    elif text == "-":
        at.pop(last)
    else:
        at[last] = yaml.safe_load(text)
    return whole


def verdicts(arguments: list[str], kinds: list[str]) -> list[Finished]:
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda kind: run_to_end(kind, arguments), kinds))


@pytest.mark.parametrize(("name", "path", "text", "accepted"), TABLE, ids=[row[0] for row in TABLE])
def test_verdict(kinds: list[str], tmp_path: Path, name: str, path: str, text: str, accepted: bool) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text(json.dumps(changed(path, text), indent=1))
    envoy, *others = verdicts(["--mode", "validate", "-c", str(file)], kinds)
    assert (envoy.status == 0) == accepted, f"the row is wrong: Envoy says {envoy.errors[-600:]}"
    for ours in others:
        assert (ours.status == 0) == accepted, f"Envoy: {envoy.errors[-600:]}\nOutrider: {ours.errors[-600:]}"
        if not accepted:
            assert "Traceback" not in ours.errors
            assert ours.errors.strip()


TEXTS = {
    "malformed_yaml": ("yaml", "a: [1\nb: {", False),
    "yaml_list": ("yaml", "- a", False),
    "empty": ("yaml", "", False),
    "json": ("json", json.dumps(GOOD), True),
    "malformed_json": ("json", "{,}", False),
    "text_protobuf": ("pb_text", 'node { id: "a" cluster: "b" } static_resources { }', True),
    "malformed_text_protobuf": ("pb_text", "node {", False),
    "yaml_anchors": ("yaml", "node: &n {id: a, cluster: b}\nstatic_resources: {}\n", True),
    "duplicate_keys": ("yaml", "node: {id: a}\nnode: {id: b}\n", None),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_forms(kinds: list[str], tmp_path: Path, name: str) -> None:
    suffix, text, accepted = TEXTS[name]
    file = tmp_path / f"proxy.{suffix}"
    file.write_text(text)
    envoy, *others = verdicts(["--mode", "validate", "-c", str(file)], kinds)
    if accepted is not None:
        assert (envoy.status == 0) == accepted, envoy.errors[-500:]
    for ours in others:
        assert (ours.status == 0) == (envoy.status == 0), f"Envoy: {envoy.errors[-500:]}\nOutrider: {ours.errors[-500:]}"
        assert "Traceback" not in ours.errors


COMMANDS: dict[str, tuple[list[str], bool]] = {
    "version": (["--version"], True),
    "help": (["--help"], True),
    "no_arguments": (["--mode", "validate"], False),
    "missing_file": (["--mode", "validate", "-c", "/nonexistent/envoy.yaml"], False),
    "unknown_flag": (["--nope"], False),
    "bad_mode": (["--mode", "nope", "--config-yaml", "{}"], False),
    "bad_level": (["-l", "nope", "--mode", "validate", "--config-yaml", "{}"], False),
    "bad_component_level": (["--component-log-level", "nope:info", "--mode", "validate", "--config-yaml", "{}"], False),
    "config_yaml": (["--mode", "validate", "--config-yaml", "node: {id: a}"], True),
    "config_yaml_bad": (["--mode", "validate", "--config-yaml", "nope: 1"], False),
    "unknown_allowed": (["--mode", "validate", "--allow-unknown-static-fields", "--config-yaml", "nope: 1"], True),
    "concurrency_bad": (["--mode", "validate", "--concurrency", "x", "--config-yaml", "{}"], False),
    "hot_restart_version": (["--hot-restart-version"], True),
    "init_only": (["--mode", "init_only", "--config-yaml", "node: {id: a}"], True),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_command_line(kinds: list[str], name: str) -> None:
    arguments, succeeds = COMMANDS[name]
    envoy, *others = verdicts(arguments, kinds)
    assert (envoy.status == 0) == succeeds, envoy.errors[-500:]
    for ours in others:
        assert (ours.status == 0) == succeeds, f"Envoy: {envoy.errors[-500:]}\nOutrider: {ours.errors[-500:]} {ours.output[-300:]}"
        assert "Traceback" not in ours.errors


def test_version_has_envoys_shape(kinds: list[str]) -> None:
    for found in verdicts(["--version"], kinds):
        line = found.output.strip().splitlines()[-1]
        assert " version: " in line
        assert len(line.split(" version: ")[1].split("/")) == 5, line


def test_merged_config_yaml(kinds: list[str], tmp_path: Path) -> None:
    """`--config-yaml` is merged over the file: lists are joined, so a duplicate cluster appears."""
    file = tmp_path / "proxy.yaml"
    file.write_text(json.dumps(GOOD))
    other = "static_resources: {clusters: [{name: second, type: STATIC}]}"
    same = "static_resources: {clusters: [{name: up, type: STATIC}]}"
    for text, accepted in ((other, True), (same, False)):
        for found in verdicts(["--mode", "validate", "-c", str(file), "--config-yaml", text], kinds):
            assert (found.status == 0) == accepted, found.errors[-500:]
