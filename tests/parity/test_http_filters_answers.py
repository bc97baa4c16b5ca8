"""Filters that refuse, replace or mark: credential_injector, custom_response, admission_control, ip_tagging; with Envoy."""

from __future__ import annotations

import json

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import LOG_FORMAT, TYPE, Json, bootstrap, cluster, file_log, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_http_filters_traffic import FILTERS, hosts, http_filter
from tests.support.http1_message import answer, get, post

LOG = [file_log(LOG_FORMAT)]
GENERIC = TYPE + "extensions.http.injected_credentials.generic.v3.Generic"
LOCAL = TYPE + "extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"


def credential(options: str = "", more: str = "", name: str = "token") -> Json:
    return http_filter("credential_injector", "CredentialInjector", f"{{credential: {{name: generic, typed_config: {{'@type': {GENERIC}, credential: {{name: {name}}}{options}}}}}{more}}}")


def replaced(*pairs: tuple[str, str]) -> str:
    """Status code, and the policy for it."""
    made = [
        f"{{predicate: {{single_predicate: {{input: {{name: i, typed_config: {{'@type': {TYPE}type.matcher.v3.HttpResponseStatusCodeMatchInput}}}}, value_match: {{exact: '{status}'}}}}}}, on_match: {{action: {{name: a, typed_config: {{'@type': {LOCAL}, {policy}}}}}}}}}"
        for status, policy in pairs
    ]
    return f"{{custom_response_matcher: {{matcher_list: {{matchers: [{', '.join(made)}]}}}}}}"


POLICIES = [
    ("404", "response_code_details: gone, status_code: 499, body: {inline_string: 'not here'}, body_format: {json_format: {text: '%LOCAL_REPLY_BODY%', code: '%RESPONSE_CODE%', path: '%REQ(:path)%'}}, response_headers_to_add: [{header: {key: x-added, value: '%RESPONSE_CODE%'}}]"),
    ("500", "response_code_details: x, body: {inline_string: plain}"),
    ("501", "response_code_details: x, body_format: {text_format_source: {inline_string: 'text %RESPONSE_CODE%'}}, response_headers_to_add: [{header: {key: content-type, value: text/html}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]"),
    ("502", "status_code: 200, response_code_details: my_details"),
    ("503", "body: {inline_string: down}, preserve_response_code_details: true"),
]
ROUTED = hosts([("/route", "custom_response", f"{{'@type': {FILTERS}custom_response.v3.CustomResponse, {replaced(('404', 'response_code_details: r, body: {inline_string: by route}'))[1:-1]}}}")])
ROUTED[0]["routes"].insert(0, {"match": {"prefix": "/dead"}, "route": {"cluster": "dead"}})
REDIRECTED = [
    {"name": "all", "domains": ["test"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]},
    {"name": "other", "domains": ["other.test"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "second"}}]},
]


def redirects(*pairs: tuple[str, str]) -> Json:
    return http_filter("custom_response", "CustomResponse", replaced(*pairs).replace("local_response_policy.v3.LocalResponsePolicy", "redirect_policy.v3.RedirectPolicy"))


TAGS = "ip_tags: [{ip_tag_name: local, ip_list: [{address_prefix: 127.0.0.0, prefix_len: 8}]}, {ip_tag_name: all, ip_list: [{address_prefix: 0.0.0.0, prefix_len: 0}]}, {ip_tag_name: none, ip_list: [{address_prefix: 10.0.0.0, prefix_len: 8}]}]"


def tagging(options: str) -> list[Json]:
    return [http_filter("ip_tagging", "IPTagging", f"{{{options}}}")]


PLAIN = bootstrap(
        [
            http("injected", filters=[credential()], log=LOG),
            http("prefixed", filters=[credential(", header: X-Token, header_value_prefix: 'Bearer '", ", overwrite: true")], log=LOG),
            http("missing", filters=[credential(name="empty")], log=LOG),
            http("allowed", filters=[credential(name="empty", more=", allow_request_without_credential: true")], log=LOG),
            http("custom", ROUTED, filters=[http_filter("custom_response", "CustomResponse", replaced(*POLICIES))], log=LOG),
            http("redirected", REDIRECTED, filters=[redirects(("404", "uri: 'http://other.test/page?x=1', status_code: 299, response_headers_to_add: [{header: {key: x-custom, value: '1'}}], request_headers_to_add: [{header: {key: x-asked, value: '1'}}]"), ("500", "redirect_action: {host_redirect: other.test, path_redirect: /action}"), ("501", "uri: 'http://none.test/'"))], log=LOG),
            http("admission", filters=[http_filter("admission_control", "AdmissionControl", "{success_criteria: {}, rps_threshold: {default_value: 1000, runtime_key: k}}")], log=LOG),
            http("admission_http", filters=[http_filter("admission_control", "AdmissionControl", "{success_criteria: {http_criteria: {http_success_status: [{start: 200, end: 201}]}}, rps_threshold: {default_value: 1000, runtime_key: k}}")], log=LOG),
            http("admission_off", filters=[http_filter("admission_control", "AdmissionControl", "{success_criteria: {}, enabled: {default_value: false, runtime_key: e}}")], log=LOG),
            http("refusing", filters=[http_filter("admission_control", "AdmissionControl", "{success_criteria: {http_criteria: {http_success_status: [{start: 599, end: 600}]}}, max_rejection_probability: {default_value: {value: 100}, runtime_key: m}, aggression: {default_value: 10000000, runtime_key: a}}")], log=LOG),
            http("tagged", filters=tagging(TAGS), log=LOG),
            http("tagged_external", filters=tagging("request_type: EXTERNAL, " + TAGS), log=LOG),
            http("tagged_own", filters=tagging(TAGS + ", ip_tag_header: {header: x-net, action: SANITIZE}"), log=LOG),
            http("tagged_more", filters=tagging(TAGS + ", ip_tag_header: {header: x-net, action: APPEND_IF_EXISTS_OR_ADD}"), log=LOG),
            http("tagged_none", filters=tagging("ip_tags: [{ip_tag_name: none, ip_list: [{address_prefix: 10.0.0.0, prefix_len: 8}]}], ip_tag_header: {header: x-net, action: SANITIZE}"), log=LOG),
        ],
        [cluster("up"), cluster("second"), cluster("dead", "<<refused:a>>")],
    )
SECRETS = """
- {name: token, generic_secret: {secret: {inline_string: s3cret}}}
- {name: empty, generic_secret: {secret: {inline_string: ""}}}
"""
WHOLE = json.loads(PLAIN)
WHOLE["static_resources"]["secrets"] = parse(SECRETS)
GROUP = SideConfig(json.dumps(WHOLE))


def status(code: str) -> list[list[bytes]]:
    return [[answer(code, ("x-up", "1"), body=b"from up")]]


CASES = [
    Case("injected", get("/"), listener="injected"),
    Case("exists", get("/", "test", ("authorization", "mine")), listener="injected"),
    Case("overwritten", get("/", "test", ("x-token", "mine")), listener="prefixed"),
    Case("missing", get("/"), 401, listener="missing"),
    Case("allowed", get("/"), listener="allowed"),
    Case("not_custom", get("/"), listener="custom"),
    Case("custom", get("/p"), 499, listener="custom", answers=status("404 Not Found")),
    Case("custom_body", post("/p"), 500, listener="custom", answers=status("500 Broken")),
    Case("custom_text", get("/p"), 501, listener="custom", answers=status("501 No")),
    Case("custom_details", get("/p"), 200, listener="custom", answers=status("502 No")),
    Case("custom_kept", get("/p"), 503, listener="custom", answers=status("503 No")),
    Case("custom_local", get("/dead"), 503, listener="custom", log=False),
    Case("custom_route", get("/route"), 404, listener="custom", answers=status("404 Not Found")),
    Case("custom_head", b"HEAD /p HTTP/1.1\r\nhost: test\r\n\r\n", 499, listener="custom", answers=status("404 Not Found"), to_head=True),
    *[
        Case(f"redirected_{code}", get("/p"), code if code == 501 else 299 if code == 404 else 500, listener="redirected", answers_by={"up": status(f"{code} X"), "second": [[answer("200 OK", ("x-second", "1"), body=b"second")]]}, logs=1, log=False, upstream_sorted=True, ignore_stats=["rq_time"])
        for code in (404, 500, 501)
    ],
    Case("admitted", get("/"), listener="admission", expect_stats=["http.admission.admission_control.rq_success"]),
    Case("admitted_failure", get("/"), 503, listener="admission", answers=status("503 No"), expect_stats=["http.admission.admission_control.rq_failure"]),
    Case("admitted_404", get("/"), 404, listener="admission", answers=status("404 No")),
    Case("admitted_by_range", get("/"), 404, listener="admission_http", answers=status("404 No")),
    Case("admitted_off", get("/"), listener="admission_off"),
    Case("not_yet_refused", get("/"), listener="refusing"),
    Case("refused", get("/"), 503, listener="refusing", expect_stats=["http.refusing.admission_control.rq_rejected"]),
    *[Case(name, get("/", "test", ("x-envoy-ip-tags", "old"), ("x-net", "old")), listener=name, replace=[("local,all", "all,local")]) for name in ("tagged", "tagged_external", "tagged_own", "tagged_more", "tagged_none")],
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(pair: Pair, case: Case) -> None:
    pair.check(case)
