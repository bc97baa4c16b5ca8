"""What Envoy 1.40 refuses is refused with its text, and by the path of the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from outrider.config.errors import ConfigError
from outrider.router.config.route_config import RouteConfig
from tests.router.config.support import ROUTE_CONFIGURATION, load, make_context, one_host, view_of

TO = {"cluster": "c1"}
TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
REWRITE = "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"
REGEX = {"pattern": {"regex": "a"}, "substitution": "b"}
ROUTES = "virtual_hosts[0].routes[0]"


def route(match: object = None, **action: object) -> dict[str, object]:
    return one_host({"match": match or {"prefix": "/"}, "route": {**TO, **action}})


def weighted(**clusters: object) -> dict[str, object]:
    return one_host({"match": {"prefix": "/"}, "route": {"weighted_clusters": clusters}})


def hosts(*domains: list[str]) -> dict[str, object]:
    return {"name": "r", "virtual_hosts": [{"name": f"v{i}", "domains": each} for i, each in enumerate(domains)]}


def template(text: str, rewrite: str | None = None) -> dict[str, object]:
    action: dict[str, object] = {}
    if rewrite is not None:
        config = {"@type": REWRITE, "path_template_rewrite": rewrite}
        action["path_rewrite_policy"] = {"name": "t", "typed_config": config}
    match = {"path_match_policy": {"name": "t", "typed_config": {"@type": TEMPLATE, "path_template": text}}}
    return route(match, **action)


def invalid_template(text: str, why: str) -> tuple[dict[str, object], str, str]:
    path = f"{ROUTES}.match.path_match_policy.typed_config.path_template"
    return template(text), path, f"path_match_policy.path_template {text} is invalid: {why}"


def invalid_rewrite(text: str) -> tuple[dict[str, object], str, str]:
    path = f"{ROUTES}.route.path_rewrite_policy.typed_config.path_template_rewrite"
    return template("/m/{x}/{b=**}", text), path, f"path_rewrite_policy.path_template_rewrite {text} is invalid"


UNIQUE = "Only unique values for domains are permitted. Duplicate entry of domain"
ONE_REWRITE = "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy"

CASES = [
    (hosts(["*"], ["*"]), "virtual_hosts[1].domains", "Only a single wildcard domain is permitted in route r"),
    (hosts(["A.com"], ["a.com"]), "virtual_hosts[1].domains", f"{UNIQUE} a.com in route r"),
    (hosts(["a.com", "a.com"]), "virtual_hosts[0].domains", f"{UNIQUE} a.com in route r"),
    (hosts(["*.A.com"], ["*.a.com"]), "virtual_hosts[1].domains", f"{UNIQUE} *.a.com in route r"),
    (hosts(["a.*"], ["A.*"]), "virtual_hosts[1].domains", f"{UNIQUE} a.* in route r"),
    (route(cluster="nope"), f"{ROUTES}.route.cluster", "route: unknown cluster 'nope'"),
    (
        weighted(clusters=[{"name": "nope", "weight": 1}]),
        f"{ROUTES}.route.weighted_clusters.clusters[0].name",
        "route: unknown weighted cluster 'nope'",
    ),
    (
        route(request_mirror_policies=[{"cluster": "nope"}]),
        f"{ROUTES}.route.request_mirror_policies[0].cluster",
        "route: unknown shadow cluster 'nope'",
    ),
    (
        weighted(clusters=[{"name": "c1", "weight": 0}]),
        f"{ROUTES}.route.weighted_clusters.clusters",
        "Sum of weights in the weighted_cluster must be greater than 0.",
    ),
    (
        weighted(clusters=[{"name": "c1", "weight": 4294967295}, {"name": "c2", "weight": 4294967295}]),
        f"{ROUTES}.route.weighted_clusters.clusters",
        "The sum of weights of all weighted clusters of route  exceeds 4294967295",
    ),
    (
        weighted(clusters=[{"name": "c1", "cluster_header": "x", "weight": 1}]),
        f"{ROUTES}.route.weighted_clusters.clusters[0]",
        "Only one of name or cluster_header can be specified",
    ),
    (
        weighted(clusters=[{"weight": 1}]),
        f"{ROUTES}.route.weighted_clusters.clusters[0]",
        "At least one of name or cluster_header need to be specified",
    ),
    (
        weighted(clusters=[{"name": "c1"}]),
        f"{ROUTES}.route.weighted_clusters.clusters[0].weight",
        "Field 'weight' is missing",
    ),
    (route({"safe_regex": {"regex": "(a"}}), f"{ROUTES}.match.safe_regex.regex", "missing ): (a"),
    (route(prefix_rewrite="/a", regex_rewrite=REGEX), f"{ROUTES}.route.regex_rewrite", ONE_REWRITE),
    (route(prefix_rewrite="/a", path_rewrite="/b"), f"{ROUTES}.route.path_rewrite", ONE_REWRITE),
    (
        route(path_rewrite="/%NOPE%"),
        f"{ROUTES}.route.path_rewrite",
        "Failed to create path rewrite formatter: Not supported field in StreamInfo: NOPE",
    ),
    (
        route(host_rewrite="%NOPE%"),
        f"{ROUTES}.route.host_rewrite",
        "Failed to create host rewrite formatter: Not supported field in StreamInfo: NOPE",
    ),
    (
        one_host({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "x" * 5000}}}),
        f"{ROUTES}.direct_response.body.inline_string",
        "response body size is 5000 bytes; maximum is 4096",
    ),
    (
        one_host({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"filename": "/nonexistent"}}}),
        f"{ROUTES}.direct_response.body.filename",
        "file /nonexistent does not exist",
    ),
    (
        one_host(virtual_clusters=[{"name": "a"}]),
        "virtual_hosts[0].virtual_clusters[0].headers",
        "virtual clusters must define 'headers'",
    ),
    (
        route(retry_policy={"retry_on": "5xx", "retry_back_off": {"base_interval": "10s", "max_interval": "1s"}}),
        f"{ROUTES}.route.retry_policy.retry_back_off.max_interval",
        "retry_policy.max_interval must greater than or equal to the base_interval",
    ),
    (
        route(
            retry_policy={
                "retry_priority": {"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Struct"}}
            }
        ),
        f"{ROUTES}.route.retry_policy.retry_priority.typed_config",
        "Didn't find a registered implementation for 'x' with type URL: 'google.protobuf.Struct'",
    ),
    (
        route(upgrade_configs=[{"upgrade_type": "websocket"}, {"upgrade_type": "WebSocket"}]),
        f"{ROUTES}.route.upgrade_configs[1].upgrade_type",
        "Duplicate upgrade WebSocket",
    ),
    (
        route(upgrade_configs=[{"upgrade_type": "websocket", "connect_config": {}}]),
        f"{ROUTES}.route.upgrade_configs[0].connect_config",
        "Non-CONNECT upgrade type websocket has ConnectConfig",
    ),
    (
        route(internal_redirect_policy={"response_headers_to_copy": [":status"]}),
        f"{ROUTES}.route.internal_redirect_policy.response_headers_to_copy",
        ":-prefixed headers or Hosts may not be specified here.",
    ),
    (
        route(request_mirror_policies=[{"cluster": "c1", "cluster_header": "x"}]),
        f"{ROUTES}.route.request_mirror_policies[0]",
        "Only one of cluster 'c1' or cluster_header 'x' in request mirror policy can be specified",
    ),
    (
        route(request_mirror_policies=[{}]),
        f"{ROUTES}.route.request_mirror_policies[0]",
        "Exactly one of cluster or cluster_header in request mirror policy need to be specified",
    ),
    (
        one_host(
            {
                "match": {"prefix": "/"},
                "route": TO,
                "typed_per_filter_config": {"nope": {"@type": "type.googleapis.com/google.protobuf.Empty"}},
            }
        ),
        f'{ROUTES}.typed_per_filter_config["nope"]',
        "Didn't find a registered implementation for 'nope' with type URL: 'google.protobuf.Empty'",
    ),
    (
        one_host(
            {
                "match": {"prefix": "/"},
                "route": TO,
                "typed_per_filter_config": {"x": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"}},
            }
        ),
        f'{ROUTES}.typed_per_filter_config["x"].config',
        "Empty route/virtual host per filter configuration for x filter",
    ),
    (
        one_host({"match": {"prefix": "/"}, "route": TO}, matcher={"on_no_match": {"matcher": {}}}),
        "virtual_hosts[0].matcher",
        "cannot set both matcher and routes on virtual host",
    ),
    (
        route({"prefix": "/", "headers": [{"name": "a", "safe_regex_match": {"regex": "("}}]}),
        f"{ROUTES}.match.headers[0].safe_regex_match.regex",
        "missing ): (",
    ),
    (
        route(
            {
                "prefix": "/",
                "headers": [{"name": "a", "string_match": {"safe_regex": {"regex": "A"}, "ignore_case": True}}],
            }
        ),
        f"{ROUTES}.match.headers[0].string_match.ignore_case",
        "ignore_case has no effect for safe_regex.",
    ),
    (
        {"name": "r", "request_headers_to_remove": [":path"]},
        "request_headers_to_remove",
        ":-prefixed or host headers may not be removed",
    ),
    (
        template("/m/{x}", "/{y}"),
        f"{ROUTES}.route.path_rewrite_policy.typed_config.path_template_rewrite",
        "mismatch between variables in path_match_policy /m/{x} and path_rewrite_policy /{y}",
    ),
    (
        route(path_rewrite_policy={"name": "t", "typed_config": {"@type": REWRITE, "path_template_rewrite": "/a/{x}"}}),
        f"{ROUTES}.route.path_rewrite_policy",
        "unable to use envoy.path.rewrite.uri_template.uri_template_rewriter extension without "
        "envoy.path.match.uri_template.uri_template_matcher extension",
    ),
    invalid_template("a", 'Invalid pattern: "a"'),
    invalid_template("/a//b", 'Invalid literal: ""'),
    invalid_template("/{x}/{x}", 'Repeated variable name: "x"'),
    invalid_template("/{1a}", 'Invalid variable name: "1a"'),
    invalid_template("/{a}/{b}/{c}/{d}/{e}/{f}", "Exceeded variable count limit (5)"),
    invalid_template("/a?b", 'Invalid literal: "a?b"'),
    invalid_template("/{x=}", "Empty variable match"),
    invalid_template("/{x", 'Unmatched variable bracket in mixed pattern: "{x"'),
    invalid_template("/x}", 'Invalid literal: "x}"'),
    invalid_template("/{x={y}}", 'Invalid suffix literal: "}"'),
    invalid_template("/**/{x}", "Implicit variable path glob after text glob."),
    invalid_template("/**/**", "Glob after text glob."),
    invalid_template("/**a/*", "Prefix match not supported."),
    invalid_template("/{x=*a}", 'Invalid variable match: "a"'),
    invalid_rewrite("{x}"),
    invalid_rewrite("/{x"),
    invalid_rewrite("/a b"),
    invalid_rewrite("/a//b"),
    invalid_rewrite("/{b}?a"),
    invalid_rewrite("/x}"),
    invalid_rewrite("/{x=*}"),
]


@pytest.mark.parametrize(("tree", "path", "text"), CASES, ids=[case[2][:50] + str(i) for i, case in enumerate(CASES)])
def test_refused(tree: dict[str, object], path: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RouteConfig.from_view(view_of(ROUTE_CONFIGURATION, tree), make_context())
    assert caught.value.path == path
    assert caught.value.text == text


ACCEPTED = [
    hosts(["a*.com"], ["*a*"]),
    hosts([""]),
    {"name": "r", "virtual_hosts": [{"name": "v", "domains": [d]} for d in "ab"]},
    {**route(cluster="nope"), "validate_clusters": False},
    weighted(clusters=[{"name": "c1", "weight": 10}], total_weight=100),
    weighted(clusters=[{"name": "c1", "weight": 1}], use_hash_policy=True),
    route(regex_rewrite={"pattern": {"regex": "a"}, "substitution": "\\1"}),
    route({"prefix": "abc"}),
    route({"prefix": ""}),
    route(retry_policy={"retry_on": "5xx,unheard-of"}),
    route(retry_policy_typed_config={"@type": "type.googleapis.com/envoy.config.route.v3.RetryPolicy"}),
    route(internal_redirect_policy={"redirect_response_codes": [200]}),
    route(internal_redirect_action="HANDLE_INTERNAL_REDIRECT", max_internal_redirects=3),
    one_host({"match": {"prefix": "/"}, "filter_action": {}}, {"match": {"prefix": "/"}, "non_forwarding_action": {}}),
    route({"connect_matcher": {}}, prefix_rewrite="/a"),
    {**one_host(), "internal_only_headers": ["a b"]},
]


@pytest.mark.parametrize("tree", ACCEPTED)
def test_accepted(tree: dict[str, object]) -> None:
    assert load(tree).name == "r"


REFUSED_BY_PATH = [
    (
        one_host({"match": {"prefix": "/"}, "route": {"cluster_specifier_plugin": "p"}}),
        f"{ROUTES}.route.cluster_specifier_plugin",
    ),
    (route(retry_policy={"refresh_cluster_on_retry": True}), f"{ROUTES}.route.retry_policy.refresh_cluster_on_retry"),
    ({"name": "r", "vhds": {"config_source": {"ads": {}}}}, "vhds"),
]


@pytest.mark.parametrize(("tree", "path"), REFUSED_BY_PATH)
def test_unsupported_fields_stay_unread(tree: dict[str, object], path: str) -> None:
    view = view_of(ROUTE_CONFIGURATION, tree)
    RouteConfig.from_view(view, make_context())
    assert view.unread() == [path]


def test_direct_response_body_limit_can_be_raised(tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"x" * 5000)
    tree = one_host({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"filename": str(file)}}})
    with pytest.raises(ConfigError, match=r"size is 5000 bytes; maximum is 4096"):
        load(tree)
    load({**tree, "max_direct_response_body_size_bytes": 5000})
