
"""The connection manager's treatment of headers: addresses, request ids, via, server, scheme, host, path, local replies."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
from tests.support.raw_client import Responses
from tests.support.upstream import ResetNow

EDITED = """
- {name: all, domains: ["*"], response_headers_to_add: [{header: {key: x-level, value: host}}], routes: [{match: {prefix: /}, name: r, route: {cluster: up}}]}
"""
XFF_ONE = f"""
original_ip_detection_extensions:
- name: envoy.http.original_ip_detection.xff
  typed_config:
    "@type": {TYPE}extensions.http.original_ip_detection.xff.v3.XffConfig
    xff_num_trusted_hops: 1
"""
CUSTOM_IP = f"""
original_ip_detection_extensions:
- name: envoy.http.original_ip_detection.custom_header
  typed_config:
    "@type": {TYPE}extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig
    header_name: x-real-ip
    allow_extension_to_set_address_as_trusted: true
    reject_with_status: {{code: Unauthorized}}
"""
LOCAL_REPLY = """
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: k}}}}
    status_code: 421
    body: {inline_string: "not here"}
    body_format_override: {text_format_source: {inline_string: "%LOCAL_REPLY_BODY% %RESPONSE_CODE% %REQ(:path)%\\n"}}
    headers_to_add: [{header: {key: x-mapped, value: "yes"}}]
  - filter: {response_flag_filter: {flags: [UC]}}
    status_code: 599
  body_format:
    json_format: {code: "%RESPONSE_CODE%", path: "%REQ(:path)%", message: "%LOCAL_REPLY_BODY%", flags: "%RESPONSE_FLAGS%"}
    content_type: application/problem+json
"""
LOCAL_REPLY_HOSTS = """
- name: some
  domains: ["known.test"]
  routes:
  - {match: {prefix: /direct}, direct_response: {status: 404, body: {inline_string: direct}}}
  - {match: {prefix: /}, route: {cluster: up}}
"""
REQUEST_ID = f"""
request_id_extension:
  typed_config:
    "@type": {TYPE}extensions.request_id.uuid.v3.UuidRequestIdConfig
    pack_trace_reason: false
always_set_request_id_in_response: true
"""
EARLY = f"""
early_header_mutation_extensions:
- name: envoy.http.early_header_mutation.header_mutation
  typed_config:
    "@type": {TYPE}extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
    mutations:
    - append: {{header: {{key: x-early, value: "%REQ(x-in)%"}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}
    - remove: x-drop
"""
REMOTE = "use_remote_address: true"

GROUP = SideConfig(
    bootstrap(
        [
            http("main"),
            http("remote", options=REMOTE),
            http("hops", options="{use_remote_address: true, xff_num_trusted_hops: 1}"),
            http("skip", options="{use_remote_address: true, skip_xff_append: true}"),
            http("inner", options="{xff_num_trusted_hops: 1, internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}"),
            http("internal", options="{use_remote_address: true, internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}"),
            http("detect", options=XFF_ONE),
            http("custom_ip", EDITED, options=CUSTOM_IP),
            http("via", options="{via: edge, server_name: mine, add_user_agent: true, use_remote_address: true}"),
            http("server_absent", options="server_header_transformation: APPEND_IF_ABSENT"),
            http("server_pass", options="server_header_transformation: PASS_THROUGH"),
            http("scheme", options="scheme_header_transformation: {scheme_to_overwrite: https}"),
            http("normal", options="{normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD}"),
            http("escaped_reject", options="{normalize_path: true, path_with_escaped_slashes_action: REJECT_REQUEST}"),
            http("escaped_redirect", options="{normalize_path: true, path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT}"),
            http("merge", options="merge_slashes: true"),
            http("strip", options="strip_matching_host_port: true"),
            http("strip_any", options="{strip_any_host_port: true, strip_trailing_host_dot: true}"),
            http("request_id", options=REQUEST_ID),
            http("preserve_id", options="{preserve_external_request_id: true, use_remote_address: true, always_set_request_id_in_response: true}"),
            http("no_id", options="generate_request_id: false"),
            http("local_reply", LOCAL_REPLY_HOSTS, options=LOCAL_REPLY),
            http("early", options=EARLY),
            http("port", options="append_x_forwarded_port: true"),
            http("port_remote", options="{append_x_forwarded_port: true, use_remote_address: true}"),
            http("underscore_drop", options="common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}"),
            http("underscore_reject", options="common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}"),
            http("xfcc", options="{forward_client_cert_details: ALWAYS_FORWARD_ONLY}"),
            http("xfcc_sanitize", options="{forward_client_cert_details: SANITIZE}"),
        ],
        [cluster("up"), cluster("dead", "<<refused:a>>")],
    )
)

XFF = ("x-forwarded-for", "1.2.3.4, 10.0.0.9")
ENVOY_HEADERS = [
    ("x-envoy-internal", "true"), ("x-envoy-downstream-service-cluster", "a"), ("x-envoy-max-retries", "1"),
    ("x-envoy-upstream-rq-timeout-ms", "2000"), ("x-envoy-original-path", "/o"), ("x-envoy-expected-rq-timeout-ms", "7"),
    ("x-envoy-decorator-operation", "op"), ("x-envoy-external-address", "9.9.9.9"), ("x-envoy-force-trace", "a"),
    ("x-envoy-attempt-count", "3"), ("x-envoy-ip-tags", "t"), ("x-envoy-original-url", "u"), ("x-forwarded-proto", "https"),
    ("x-envoy-upstream-alt-stat-name", "alt"), ("x-envoy-retry-on", "5xx"), ("x-envoy-hedge-on-per-try-timeout", "1"),
    ("x-envoy-upstream-stream-duration-ms", "5"), ("x-envoy-custom", "c"), ("x-client-trace-id", "t"),
    ("x-forwarded-client-cert", "By=a;Hash=b"),
]
IPS = get("/", "test", XFF)

CASES = [
    Case("plain_with_xff", IPS),
    Case("plain_envoy_headers", get("/", "test", *ENVOY_HEADERS)),
    Case("remote_xff", IPS, listener="remote"),
    Case("remote_envoy_headers", get("/", "test", *ENVOY_HEADERS), listener="remote"),
    Case("remote_response_headers_kept", get(), listener="remote",
         answers=[[answer("200 OK", ("x-envoy-overloaded", "a"), ("x-envoy-upstream-service-time", "9"), ("via", "1.1 up"))]]),
    Case("hops_xff", IPS, listener="hops"),
    Case("hops_no_xff", get(), listener="hops"),
    Case("hops_forwarded_proto", get("/", "test", XFF, ("x-forwarded-proto", "https"), ("x-forwarded-host", "h"), ("x-forwarded-port", "1")), listener="hops"),
    Case("skip_xff", IPS, listener="skip"),
    Case("inner_xff", IPS, listener="inner"),
    Case("inner_internal", get("/", "test", ("x-forwarded-for", "10.1.1.1"), *ENVOY_HEADERS), listener="inner"),
    Case("internal_envoy_headers", get("/", "test", *ENVOY_HEADERS), listener="internal"),
    Case("internal_with_xff", get("/", "test", XFF, ("x-envoy-internal", "true")), listener="internal"),
    Case("detect_xff", IPS, listener="detect"),
    Case("detect_bad_xff", get("/", "test", ("x-forwarded-for", "nonsense")), listener="detect"),
    Case("custom_ip", get("/", "test", ("x-real-ip", "5.6.7.8")), listener="custom_ip"),
    Case("custom_ip_absent", get(), 401, listener="custom_ip"),
    Case("custom_ip_bad", get("/", "test", ("x-real-ip", "nonsense")), 401, listener="custom_ip"),
    Case("via", get("/", "test", ("via", "1.0 other"), ("user-agent", "me")), listener="via", answers=[[answer("200 OK", ("via", "1.1 up"), ("server", "theirs"))]]),
    Case("server_absent_given", get(), listener="server_absent", answers=[[answer("200 OK", ("server", "theirs"))]]),
    Case("server_absent", get(), listener="server_absent"),
    Case("server_pass_given", get(), listener="server_pass", answers=[[answer("200 OK", ("server", "theirs"))]]),
    Case("server_pass_absent", get(), listener="server_pass"),
    Case("scheme_overwritten", get(), listener="scheme"),
    Case("forwarded_proto_kept", get("/", "test", ("x-forwarded-proto", "https"))),
    Case("forwarded_proto_nonsense", get("/", "test", ("x-forwarded-proto", "gopher"))),
    Case("normalize_dots", get("/a/./b/../c//d"), listener="normal"),
    Case("normalize_percent", get("/%61%2fb%2Fc%5Cd%25?q=/../x"), listener="normal"),
    Case("normalize_backslash", get("/a\\b"), listener="normal"),
    Case("normalize_above_root", get("/../../a"), None, listener="normal"),
    Case("normalize_null", get("/a%00b"), None, listener="normal"),
    Case("normalize_bad_percent", get("/a%zzb"), None, listener="normal"),
    Case("normalize_lower_percent", get("/%7e%c3%a4"), None, listener="normal"),
    Case("escaped_slash_rejected", get("/a%2fb"), 400, listener="escaped_reject"),
    Case("escaped_slash_redirected", get("/a%2Fb%5c?x=%2f"), 307, listener="escaped_redirect"),
    Case("merge_slashes", get("//a///b?c=//"), listener="merge"),
    Case("no_normalization", get("//a/../b%2F/./")),
    Case("strip_matching_port_other", get("/", "test:81"), listener="strip"),
    Case("strip_any_port", get("/", "test.:81"), listener="strip_any"),
    Case("strip_any_ipv6", get("/", "[::1]:81"), listener="strip_any"),
    Case("strip_dot", get("/", "test."), listener="strip_any"),
    Case("request_id_made", get(), listener="request_id"),
    Case("request_id_kept", get("/", "test", ("x-request-id", "mine")), listener="request_id"),
    Case("request_id_external_dropped", get("/", "test", ("x-request-id", "7d27a4f4-9b4b-4bcb-9b6e-000000000000")), listener="remote"),
    Case("request_id_preserved", get("/", "test", ("x-request-id", "7d27a4f4-9b4b-4bcb-9b6e-000000000000")), listener="preserve_id"),
    Case("request_id_force_trace", get("/", "test", ("x-request-id", "7d27a4f4-9b4b-4bcb-9b6e-000000000000"), ("x-envoy-force-trace", "1")), listener="internal"),
    Case("no_request_id", get(), listener="no_id"),
    Case("no_request_id_given", get("/", "test", ("x-request-id", "mine")), listener="no_id"),
    Case("local_reply_no_route", get("/x?y"), None, listener="local_reply"),
    Case("local_reply_direct", get("/direct", "known.test"), None, listener="local_reply"),
    Case("local_reply_upstream_reset", get("/", "known.test"), None, listener="local_reply", answers=[[ResetNow()]]),
    Case("local_reply_json", request("GET", "/\"q\"", "known.test", version="HTTP/1.0"), None, listener="local_reply", to_end=True),
    Case("local_reply_grpc", post("/", "unknown.test", ("content-type", "application/grpc")), None, listener="local_reply"),
    Case("local_reply_head", request("HEAD", "/direct", "known.test"), None, to_head=True, listener="local_reply"),
    Case("early_mutation", get("/", "test", ("x-in", "a"), ("x-drop", "b"), ("x-early", "old")), listener="early"),
    Case("forwarded_port_given", get("/", "test", ("x-forwarded-port", "7")), listener="port"),
    Case("forwarded_port_remote", get("/", "test", ("x-forwarded-port", "7")), listener="port_remote"),
    Case("forwarded_port", get("/", "test"), listener="port"),
    Case("underscore_dropped", get("/", "test", ("a_b", "1"), ("c", "2")), listener="underscore_drop", expect_stats=["http.underscore_drop.downstream_rq_total"]),
    Case("underscore_rejected", get("/", "test", ("a_b", "1")), None, listener="underscore_reject", to_end=True, wait=1.5),
    Case("xfcc_forwarded", get("/", "test", ("x-forwarded-client-cert", "By=a;Hash=b")), listener="xfcc"),
    Case("xfcc_sanitized", get("/", "test", ("x-forwarded-client-cert", "By=a;Hash=b")), listener="xfcc_sanitize"),
    Case("user_agents", [get("/", "test", ("user-agent", "a")), Responses(1), get("/", "test", ("user-agent", ""))], 200, responses=2),
    Case("query_method", request("QUERY", body=b"a", headers=[("content-type", "text/x")])),
    Case("query_without_type", request("QUERY", body=b"a"), 400),
    Case("referer", get("/", "test", ("referer", "http://a.test/b?c"))),
    Case("referer_fragment", get("/", "test", ("referer", "http://a.test/b#c"))),
    Case("referer_nonsense", get("/", "test", ("referer", "::1"))),
    Case("referer_twice", get("/", "test", ("referer", "http://a.test/"), ("referer", "http://b.test/"))),
    Case("http10_bad_target", request("PURGE", "*", version="HTTP/1.0"), 400, to_end=True),
    Case("http10_bad_coding", request("PUT", version="HTTP/1.0", headers=[("transfer-encoding", "x")]), 501, to_end=True),
    Case("https_url_remote", request("GET", "https://a.test/x"), 403, listener="remote", to_end=True),
    Case("https_url_hops", request("GET", "https://a.test/x"), listener="hops"),
    Case("https_url", request("GET", "https://a.test/x")),
    Case("response_fields_twice", get(), answers=[[answer("200 OK", ("x-envoy-overloaded", "1"), ("x-envoy-overloaded", "2"), ("vary", "a"), ("vary", "b"), ("etag", "1"), ("etag", "2"), ("access-control-allow-private-network", "1"), ("access-control-allow-private-network", "2"), ("proxy-status", "a"), ("proxy-status", "b"), ("x-other", "1"), ("x-other", "2"))]]),
    Case("request_fields_twice", get("/", "test", ("accept", "1"), ("accept", "2"), ("accept-language", "a"), ("accept-language", "b"), ("authentication", "a"), ("authentication", "b"), ("cdn-loop", "a"), ("cdn-loop", "b"), ("proxy-status", "1"), ("proxy-status", "2"), ("access-control-request-private-network", "1"), ("access-control-request-private-network", "2"), ("x-client-trace-id", "1"), ("x-client-trace-id", "2"))),
    Case("grpc_no_route", post("/", "x", ("content-type", "application/grpc")), None, listener="main"),
    Case("host_with_userinfo", get("/", "a@b"), None),
    Case("host_odd", get("/", "a b"), None, to_end=True, wait=1.5),
    Case("host_twice", get("/", "a", ("host", "b")), None, to_end=True, wait=1.5),
    Case("host_empty", b"GET / HTTP/1.1\r\nhost:\r\n\r\n"),
    Case("absolute_host_differs", request("GET", "http://a.test/x", "b.test"), listener="strip_any"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_manager(pair: Pair, case: Case) -> None:
    pair.check(case)
