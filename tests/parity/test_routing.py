
"""Virtual hosts, matches, actions, rewrites, header edits with formatters, weighted clusters, mirroring."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
from tests.support.raw_client import Responses
from tests.support.upstream import CloseNow, Hang, ResetNow

DOMAINS = """
- {name: exact, domains: ["exact.test", "exact.test:8080"], routes: [{match: {prefix: /}, direct_response: {status: 201, body: {inline_string: exact}}}]}
- {name: suffix, domains: ["*.suffix.test"], routes: [{match: {prefix: /}, direct_response: {status: 202}}]}
- {name: longer_suffix, domains: ["*.a.suffix.test"], routes: [{match: {prefix: /}, direct_response: {status: 203}}]}
- {name: prefix, domains: ["prefix.*"], routes: [{match: {prefix: /}, direct_response: {status: 205}}]}
- {name: tls, domains: ["tls.test"], require_tls: ALL, routes: [{match: {prefix: /}, route: {cluster: up}}]}
- {name: tls_external, domains: ["etls.test"], require_tls: EXTERNAL_ONLY, routes: [{match: {prefix: /}, route: {cluster: up}}]}
- {name: default, domains: ["*"], routes: [{match: {path: /only}, direct_response: {status: 206}}]}
"""

MATCHES = """
- name: all
  domains: ["*"]
  routes:
  - {name: path, match: {path: /path}, direct_response: {status: 200, body: {inline_string: path}}}
  - {name: nocase, match: {path: /NoCase, case_sensitive: false}, direct_response: {status: 200, body: {inline_string: nocase}}}
  - {name: regex, match: {safe_regex: {regex: "/r/[0-9]+"}}, direct_response: {status: 200, body: {inline_string: regex}}}
  - {name: separated, match: {path_separated_prefix: /sep}, direct_response: {status: 200, body: {inline_string: separated}}}
  - name: template
    match:
      path_match_policy:
        name: t
        typed_config: {"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", path_template: "/t/{id}/*/x/**"}
    direct_response: {status: 200, body: {inline_string: template}}
  - {name: h_exact, match: {prefix: /h, headers: [{name: x-a, string_match: {exact: one}}]}, direct_response: {status: 200, body: {inline_string: exact}}}
  - {name: h_prefix, match: {prefix: /h, headers: [{name: x-a, string_match: {prefix: pre, ignore_case: true}}]}, direct_response: {status: 200, body: {inline_string: prefix}}}
  - {name: h_regex, match: {prefix: /h, headers: [{name: x-a, string_match: {safe_regex: {regex: "[0-9]{3}"}}}]}, direct_response: {status: 200, body: {inline_string: regex}}}
  - {name: h_contains, match: {prefix: /h, headers: [{name: x-a, string_match: {contains: mid}}]}, direct_response: {status: 200, body: {inline_string: contains}}}
  - {name: h_range, match: {prefix: /h, headers: [{name: x-n, range_match: {start: -5, end: 5}}]}, direct_response: {status: 200, body: {inline_string: range}}}
  - {name: h_present, match: {prefix: /h, headers: [{name: x-p, present_match: true}]}, direct_response: {status: 200, body: {inline_string: present}}}
  - {name: h_absent, match: {prefix: /h, headers: [{name: x-q, present_match: true, invert_match: true}, {name: x-z, present_match: true}]}, direct_response: {status: 200, body: {inline_string: absent}}}
  - {name: h_missing_empty, match: {prefix: /h, headers: [{name: x-e, string_match: {exact: ""}, treat_missing_header_as_empty: true}, {name: x-y, present_match: true}]}, direct_response: {status: 200, body: {inline_string: empty}}}
  - {name: q_exact, match: {prefix: /q, query_parameters: [{name: a, string_match: {exact: "1"}}]}, direct_response: {status: 200, body: {inline_string: qexact}}}
  - {name: q_present, match: {prefix: /q, query_parameters: [{name: b, present_match: true}]}, direct_response: {status: 200, body: {inline_string: qpresent}}}
  - {name: c_exact, match: {prefix: /c, cookies: [{name: session, string_match: {exact: abc}}]}, direct_response: {status: 200, body: {inline_string: cookie}}}
  - {name: grpc, match: {prefix: /g, grpc: {}}, direct_response: {status: 200, body: {inline_string: grpc}}}
  - {name: fraction, match: {prefix: /f, runtime_fraction: {default_value: {numerator: 0}, runtime_key: f}}, direct_response: {status: 200, body: {inline_string: never}}}
  - {name: method, match: {prefix: /m, headers: [{name: ":method", string_match: {exact: PUT}}]}, direct_response: {status: 200, body: {inline_string: put}}}
"""

ACTIONS = """
- name: all
  domains: ["*"]
  request_headers_to_add: [{header: {key: x-level, value: host}, append_action: APPEND_IF_EXISTS_OR_ADD}]
  response_headers_to_add: [{header: {key: x-level, value: host}}]
  request_headers_to_remove: [x-remove-host]
  routes:
  - match: {prefix: /direct-headers}
    direct_response: {status: 418, body: {inline_string: "teapot"}}
    response_headers_to_add: [{header: {key: content-type, value: text/tea}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-level, value: route}}]
  - {match: {prefix: /direct-empty}, direct_response: {status: 204}}
  - {match: {prefix: /direct-format}, direct_response: {status: 200, body_format: {text_format_source: {inline_string: "%REQ(x-a)% %REQ(:path)%"}, content_type: text/x}}}
  - {match: {prefix: /redirect-host}, redirect: {host_redirect: other.test}}
  - {match: {prefix: /redirect-port}, redirect: {port_redirect: 8443, https_redirect: true}}
  - {match: {prefix: /redirect-path}, redirect: {path_redirect: "/new?z=1", response_code: FOUND}}
  - {match: {prefix: /redirect-strip}, redirect: {path_redirect: "/new", strip_query: true, response_code: SEE_OTHER}}
  - {match: {prefix: /redirect-prefix}, redirect: {prefix_rewrite: "/p", response_code: TEMPORARY_REDIRECT}}
  - {match: {prefix: /redirect-regex}, redirect: {regex_rewrite: {pattern: {regex: "/redirect-regex/([a-z]+)"}, substitution: "/rx/\\\\1"}, response_code: PERMANENT_REDIRECT}}
  - {match: {prefix: /redirect-scheme}, redirect: {scheme_redirect: ftp}}
  - {match: {prefix: /prefix-rewrite/}, route: {cluster: up, prefix_rewrite: /new/}}
  - {match: {path: /path-rewrite}, route: {cluster: up, prefix_rewrite: /whole}}
  - {match: {prefix: /regex-rewrite}, route: {cluster: up, regex_rewrite: {pattern: {regex: "^/regex-rewrite/([^/]+)/(.*)$"}, substitution: "/\\\\2/to/\\\\1"}}}
  - match:
      path_match_policy:
        name: t
        typed_config: {"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", path_template: "/template/{a}/{b}"}
    route:
      cluster: up
      path_rewrite_policy:
        name: r
        typed_config: {"@type": "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig", path_template_rewrite: "/{b}/x/{a}"}
  - {match: {prefix: /host-literal}, route: {cluster: up, host_rewrite_literal: literal.test, append_x_forwarded_host: true}}
  - {match: {prefix: /host-header}, route: {cluster: up, host_rewrite_header: x-host}}
  - {match: {prefix: /host-regex}, route: {cluster: up, host_rewrite_path_regex: {pattern: {regex: "^/host-regex/(.+)$"}, substitution: "\\\\1.test"}}}
  - {match: {prefix: /host-auto}, route: {cluster: named, auto_host_rewrite: true, append_x_forwarded_host: true}}
  - {match: {prefix: /cluster-header}, route: {cluster_header: x-cluster, cluster_not_found_response_code: NOT_FOUND}}
  - {match: {prefix: /unknown-cluster-503}, route: {cluster_header: x-cluster}}
  - {match: {prefix: /non-forwarding}, non_forwarding_action: {}}
  - match: {prefix: /weighted}
    route:
      weighted_clusters:
        header_name: x-weight
        clusters:
        - {name: up, weight: 30, request_headers_to_add: [{header: {key: x-w, value: up}}], response_headers_to_add: [{header: {key: x-wr, value: up}}], response_headers_to_remove: [x-gone]}
        - {name: other, weight: 70, request_headers_to_add: [{header: {key: x-w, value: other}}], host_rewrite_literal: weighted.test}
        - {name: unused, weight: 0}
  - match: {prefix: /mirror}
    route: {cluster: up, request_mirror_policies: [{cluster: shadow}]}
  - match: {prefix: /mirror-host}
    route: {cluster: up}
  - match: {prefix: /buffer}
    route: {cluster: up}
    request_body_buffer_limit: 10
  - match: {prefix: /edits}
    route: {cluster: up}
    request_headers_to_add:
    - {header: {key: x-append, value: new}, append_action: APPEND_IF_EXISTS_OR_ADD}
    - {header: {key: x-absent, value: new}, append_action: ADD_IF_ABSENT}
    - {header: {key: x-over, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
    - {header: {key: x-exists, value: new}, append_action: OVERWRITE_IF_EXISTS}
    - {header: {key: x-empty, value: "%REQ(x-none)%"}}
    - {header: {key: x-kept-empty, value: ""}, keep_empty_value: true}
    - {header: {key: x-percent, value: "100%%"}}
    request_headers_to_remove: [x-remove, user-agent]
    response_headers_to_add:
    - {header: {key: x-append, value: new}}
    - {header: {key: x-over, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
    response_headers_to_remove: [x-remove, server]
  - match: {prefix: /format}
    name: formatted
    metadata: {filter_metadata: {my: {key: meta, deep: {n: 1.5}}}}
    route: {cluster: up}
    request_headers_to_add:
    - {header: {key: x-01, value: "%REQ(x-a)%|%REQ(x-none?x-a)%|%REQ(x-long):3%|%REQ(x-none)%"}}
    - {header: {key: x-02, value: "%PROTOCOL% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%"}}
    - {header: {key: x-03, value: "%ROUTE_NAME% %UPSTREAM_CLUSTER% %VIRTUAL_CLUSTER_NAME% %UPSTREAM_METADATA([\\"a\\"])%"}}
    - {header: {key: x-04, value: "%METADATA(ROUTE:my:key)% %METADATA(ROUTE:my:deep)% %METADATA(CLUSTER:c:k)% %METADATA(ROUTE:my:none)%"}}
    - {header: {key: x-05, value: "%PATH(NQ)% %PATH(WQ)% %PATH(NQ:ORIG:10)% %QUERY_PARAM(q)% %SERVER_TYPE%"}}
    - {header: {key: x-06, value: "%HOSTNAME_IS%"}}
  - match: {prefix: /respformat}
    name: formatted
    route: {cluster: up}
    response_headers_to_add:
    - {header: {key: x-01, value: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_PROTOCOL% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"}}
    - {header: {key: x-02, value: "%RESP(x-up)% %REQ(x-a)% %BYTES_RECEIVED% %DOWNSTREAM_TLS_VERSION%"}}
  - match: {prefix: /vc}
    route: {cluster: up}
  - match: {prefix: /internal-redirect}
    route: {cluster: up, internal_redirect_policy: {max_internal_redirects: 2, redirect_response_codes: [302, 307], response_headers_to_copy: [x-copy]}}
  - match: {prefix: /timeout}
    route: {cluster: up, timeout: 0.3s}
  - match: {prefix: /}
    route: {cluster: up}
  virtual_clusters:
  - {name: vc_a, headers: [{name: ":path", string_match: {prefix: /vc/a}}]}
""".replace('    - {header: {key: x-06, value: "%HOSTNAME_IS%"}}\n', "").replace(" %SERVER_TYPE%", "").replace(' %UPSTREAM_METADATA([\\"a\\"])%', "")

ROUTE_LEVEL = """
request_headers_to_add: [{header: {key: x-level, value: config}, append_action: APPEND_IF_EXISTS_OR_ADD}]
response_headers_to_add: [{header: {key: x-level, value: config}}]
internal_only_headers: [x-only-internal]
"""

MATCHER_TREE = """
- name: tree
  domains: ["*"]
  matcher:
    matcher_tree:
      input: {name: h, typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x-key}}
      exact_match_map:
        map:
          one: {action: {name: r, typed_config: {"@type": type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /}, direct_response: {status: 211}}}}
          two: {action: {name: r, typed_config: {"@type": type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /sub}, direct_response: {status: 212}}}}
    on_no_match: {action: {name: r, typed_config: {"@type": type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /}, direct_response: {status: 213}}}}
"""

GROUP = SideConfig(
    bootstrap(
        [
            http("main", ACTIONS, route_options=ROUTE_LEVEL),
            http("domains", DOMAINS),
            http("ports", DOMAINS, route_options="ignore_port_in_host_matching: true"),
            http("matches", MATCHES),
            http("tree", MATCHER_TREE),
            http("specific", ACTIONS, route_options=ROUTE_LEVEL + "most_specific_header_mutations_wins: true"),
        ],
        [
            cluster("up", options="metadata: {filter_metadata: {c: {k: cluster-meta}}}"),
            cluster("other"), cluster("unused", "<<refused:a>>"), cluster("shadow"),
            cluster("named", options="""{type: STRICT_DNS, dns_lookup_family: V4_ONLY, load_assignment: {cluster_name: named, endpoints: [{lb_endpoints: [
                {endpoint: {hostname: host.name.test, address: {socket_address: {address: localhost, port_value: <<up:up>>}}}}]}]}}"""),
        ],
    )
)


def redirect(location: str, status: str = "302 Found", *headers: tuple[str, str]) -> bytes:
    return answer(status, ("location", location), *headers, body=b"")


def on(listener: str, name: str, send: bytes, status: int | None) -> Case:
    return Case(f"{listener}_{name}", send, status, listener=listener)


CASES = [
    on("domains", "exact", get("/", "exact.test"), 201),
    on("domains", "exact_upper", get("/", "EXACT.test"), 201),
    on("domains", "exact_port", get("/", "exact.test:8080"), 201),
    on("domains", "exact_other_port", get("/", "exact.test:81"), 404),
    on("domains", "suffix", get("/", "b.suffix.test"), 202),
    on("domains", "suffix_itself", get("/", "suffix.test"), 404),
    on("domains", "longer_suffix", get("/", "b.a.suffix.test"), 203),
    on("domains", "prefix", get("/", "prefix.com"), 205),
    on("domains", "default", get("/only"), 206),
    on("domains", "default_no_route", get("/other"), 404),
    on("domains", "require_tls", get("/x?y", "tls.test"), 301),
    on("domains", "require_tls_post", post("/x?y", "tls.test"), 301),
    on("domains", "require_tls_external", get("/x?y", "etls.test"), None),
    on("domains", "require_tls_external_forwarded", get("/x?y", "etls.test", ("x-forwarded-for", "8.8.8.8"), ("x-forwarded-proto", "https")), None),
    on("ports", "ignored", get("/", "exact.test:81"), 201),
    on("matches", "path", get("/path"), 200),
    on("matches", "path_query", get("/path?x"), 200),
    on("matches", "path_longer", get("/path/"), 404),
    on("matches", "nocase", get("/nocASE"), 200),
    on("matches", "regex", get("/r/123?x=y"), 200),
    on("matches", "regex_partial", get("/r/123a"), 404),
    on("matches", "separated", get("/sep/x"), 200),
    on("matches", "separated_itself", get("/sep?x"), 200),
    on("matches", "separated_not", get("/separate"), 404),
    on("matches", "template", get("/t/1/y/x/z/z"), 200),
    on("matches", "template_not", get("/t/1/x"), 404),
    on("matches", "header_exact", get("/h", "test", ("x-a", "one")), 200),
    on("matches", "header_prefix", get("/h", "test", ("x-a", "PREfix")), 200),
    on("matches", "header_regex", get("/h", "test", ("x-a", "123")), 200),
    on("matches", "header_contains", get("/h", "test", ("x-a", "amidst")), 200),
    on("matches", "header_range", get("/h", "test", ("x-n", "-5")), 200),
    on("matches", "header_range_end", get("/h", "test", ("x-n", "5")), 404),
    on("matches", "header_present", get("/h", "test", ("x-p", "")), 200),
    on("matches", "header_absent", get("/h", "test", ("x-z", "1")), 200),
    on("matches", "header_missing_empty", get("/h", "test", ("x-q", "1"), ("x-y", "1")), 200),
    on("matches", "header_joined", get("/h", "test", ("x-a", "one"), ("x-a", "two")), None),
    on("matches", "query_exact", get("/q?z=0&a=1"), 200),
    on("matches", "query_exact_first", get("/q?a=2&a=1"), 404),
    on("matches", "query_present", get("/q?b"), 200),
    on("matches", "cookie", get("/c", "test", ("cookie", "a=b; session=abc")), 200),
    on("matches", "cookie_not", get("/c", "test", ("cookie", "session=abcd")), 404),
    on("matches", "grpc", post("/g", "test", ("content-type", "application/grpc+proto")), 200),
    on("matches", "grpc_not", post("/g", "test", ("content-type", "application/json")), 404),
    on("matches", "fraction_zero", get("/f"), 404),
    on("matches", "method", request("PUT", "/m"), 200),
    on("tree", "one", get("/", "test", ("x-key", "one")), 211),
    on("tree", "two_route_does_not_match", get("/", "test", ("x-key", "two")), None),
    on("tree", "two", get("/sub/x", "test", ("x-key", "two")), 212),
    on("tree", "none", get("/"), 213),
    on("main", "direct_headers", get("/direct-headers"), 418),
    on("main", "direct_empty", get("/direct-empty"), 204),
    on("main", "direct_format", get("/direct-format?x", "test", ("x-a", "v")), None),
    on("main", "direct_post", post("/direct-headers", body=b"x" * 1000), 418),
    on("main", "redirect_host", get("/redirect-host/x?y=1"), 301),
    on("main", "redirect_host_port", get("/redirect-host", "test:81"), 301),
    on("main", "redirect_port", get("/redirect-port/x?y=1", "test:80"), 301),
    on("main", "redirect_path", get("/redirect-path/x?y=1"), 302),
    on("main", "redirect_strip", get("/redirect-strip/x?y=1"), 303),
    on("main", "redirect_prefix", get("/redirect-prefix/x?y=1"), 307),
    on("main", "redirect_regex", get("/redirect-regex/abc/d?y=1"), 308),
    on("main", "redirect_scheme", get("/redirect-scheme"), 301),
    on("main", "prefix_rewrite", get("/prefix-rewrite/x?y"), 200),
    on("main", "path_rewrite", get("/path-rewrite?y"), 200),
    on("main", "regex_rewrite", get("/regex-rewrite/a/b/c?y"), 200),
    on("main", "template_rewrite", get("/template/1/2?y"), 200),
    on("main", "host_literal", get("/host-literal", "orig.test:81"), 200),
    on("main", "host_header", get("/host-header", "orig", ("x-host", "from.header")), 200),
    on("main", "host_header_absent", get("/host-header", "orig"), 200),
    on("main", "host_regex", get("/host-regex/abc?x", "orig"), 200),
    on("main", "host_auto", get("/host-auto", "orig"), 200),
    on("main", "cluster_header", get("/cluster-header", "test", ("x-cluster", "other")), 200),
    on("main", "cluster_header_absent", get("/cluster-header"), 404),
    on("main", "cluster_header_unknown", get("/cluster-header", "test", ("x-cluster", "nope")), 404),
    on("main", "cluster_unknown", get("/unknown-cluster-503", "test", ("x-cluster", "nope")), 503),
    on("main", "non_forwarding", get("/non-forwarding"), None),
    on("main", "weighted_first", get("/weighted", "test", ("x-weight", "29")), 200),
    on("main", "weighted_second", get("/weighted", "test", ("x-weight", "30")), 200),
    on("main", "weighted_wraps", get("/weighted", "test", ("x-weight", "129")), 200),
    on("main", "edits", get("/edits", "test", ("x-append", "old"), ("x-absent", "old"), ("x-over", "old"), ("x-exists", "old"),
                            ("x-remove", "r"), ("user-agent", "u"), ("x-remove-host", "r")), 200),
    on("main", "edits_bare", get("/edits"), 200),
    Case("edits_response", get("/edits"), answers=[[answer("200 OK", ("x-append", "old"), ("x-over", "old"), ("x-over", "older"), ("x-remove", "r"), ("server", "s"))]]),
    on("main", "formatters", get("/format/a?q=7&r", "test", ("x-a", "A"), ("x-long", "longer")), 200),
    Case("formatters_response", get("/respformat", "test", ("x-a", "A")), answers=[[answer("200 OK", ("x-up", "U"))]]),
    on("main", "virtual_cluster", get("/vc/a"), 200),
    on("main", "virtual_cluster_other", get("/vc/b"), 200),
    on("main", "internal_only_header", get("/", "test", ("x-only-internal", "1")), 200),
    on("specific", "header_order", get("/edits"), 200),
    Case("mirror", post("/mirror", body=b"mirrored"), upstream_sorted=True, expect_stats=["cluster.shadow.upstream_rq_total"],
         ignore_stats=["upstream_cx_(active|total|http1)", "upstream_rq_pending_total"]),
    Case("mirror_keep_alive", [get("/mirror/1"), Responses(1), get("/mirror/2")], responses=2, upstream_sorted=True, settle=0.1),
    Case("body_over_buffer_limit", post("/buffer", body=b"x" * 50)),
    Case("internal_redirect", get("/internal-redirect/a"), 200, answers=[[redirect("http://test/internal-redirect/b?x")], [answer()]]),
    Case("internal_redirect_host", get("/internal-redirect/a"), 200, answers=[[redirect("http://new.test/other")], [answer()]]),
    Case("internal_redirect_relative", get("/internal-redirect/a"), None, answers=[[redirect("/internal-redirect/b")], [answer()]]),
    Case("internal_redirect_too_many", get("/internal-redirect/a"), 302, answers=[[redirect("http://test/internal-redirect/b")]]),
    Case("internal_redirect_other_code", get("/internal-redirect/a"), 301,
         answers=[[redirect("http://test/x", "301 Moved Permanently")]]),
    Case("internal_redirect_cross_scheme", get("/internal-redirect/a"), None, answers=[[redirect("https://test/x")], [answer()]]),
    Case("internal_redirect_bad_location", get("/internal-redirect/a"), None, answers=[[redirect("http://")]]),
    Case("internal_redirect_no_route", get("/internal-redirect/a"), None, answers=[[redirect("http://test/cluster-header")]]),
    Case("internal_redirect_copy", get("/internal-redirect/a", "test", ("x-copy", "old")), None,
         answers=[[redirect("http://test/x", "302 Found", ("x-copy", "new"))], [answer()]]),
    Case("internal_redirect_post", post("/internal-redirect/a", body=b"abc"), None,
         answers=[[redirect("http://test/x", "307 Temporary Redirect")], [answer()]]),
    Case("route_timeout", get("/timeout"), 504, answers=[[Hang()]], time_within=0.4),
    Case("route_timeout_in_body", get("/timeout"), None, answers=[[b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", Hang()]],
         responses=0, to_end=True, logs=1),
    Case("flags_reset", get("/"), 503, answers=[[ResetNow()]]),
    Case("flags_refused", get("/cluster-header", "test", ("x-cluster", "unused")), 503),
    Case("flags_close", get("/"), 503, answers=[[CloseNow()]]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_routing(pair: Pair, case: Case) -> None:
    pair.check(case)
