
"""ext_authz with an HTTP service, compared with Envoy."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import LOG_FORMAT, TYPE, bootstrap, cluster, file_log, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post
from tests.support.upstream import ResetNow

LOG = [file_log(LOG_FORMAT.rstrip("\n") + " md=%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%\n")]
URI = "server_uri: {uri: auth.test, cluster: auth, timeout: 1s}"
ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
HOSTS = f"""
- name: all
  domains: ["*"]
  routes:
  - {{match: {{prefix: /off}}, route: {{cluster: up}}, typed_per_filter_config: {{envoy.filters.http.ext_authz: {{"@type": {ROUTE}, disabled: true}}}}}}
  - {{match: {{prefix: /nobody}}, route: {{cluster: up}}, typed_per_filter_config: {{envoy.filters.http.ext_authz: {{"@type": {ROUTE}, check_settings: {{disable_request_body_buffering: true, context_extensions: {{a: b}}}}}}}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""


def authz(name: str, text: str) -> dict[str, object]:
    config = {"@type": TYPE + "extensions.filters.http.ext_authz.v3.ExtAuthz", **parse(text)}
    return http(name, HOSTS, filters=[{"name": "envoy.filters.http.ext_authz", "typed_config": config}], log=LOG)


GROUP = SideConfig(
    bootstrap(
        [
            authz("authz", f"{{http_service: {{{URI}, path_prefix: /check, authorization_response: {{allowed_upstream_headers: {{patterns: [{{prefix: x-up}}]}}, allowed_upstream_headers_to_append: {{patterns: [{{exact: x-append}}]}}, allowed_client_headers_on_success: {{patterns: [{{exact: x-client}}]}}, dynamic_metadata_from_headers: {{patterns: [{{prefix: x-md}}]}}}}}}}}"),
            authz("listed", f"{{stat_prefix: mine, status_on_error: {{code: ServiceUnavailable}}, allowed_headers: {{patterns: [{{exact: x-in}}]}}, disallowed_headers: {{patterns: [{{exact: authorization}}]}}, http_service: {{{URI}, path_override: /over, authorization_request: {{headers_to_add: [{{key: x-added, value: given}}]}}, authorization_response: {{allowed_client_headers: {{patterns: [{{exact: x-seen}}]}}}}}}}}"),
            authz("lenient", f"{{failure_mode_allow: true, failure_mode_allow_header_add: true, http_service: {{{URI}}}}}"),
            authz("body", f"{{with_request_body: {{max_request_bytes: 4}}, http_service: {{{URI}}}}}"),
            authz("partial", f"{{with_request_body: {{max_request_bytes: 4, allow_partial_message: true}}, http_service: {{{URI}}}}}"),
            authz("disabled", f"{{filter_enabled: {{default_value: {{numerator: 0}}}}, http_service: {{{URI}}}}}"),
            authz("disabled_deny", f"{{filter_enabled: {{default_value: {{numerator: 0}}}}, deny_at_disable: {{runtime_key: k, default_value: true}}, http_service: {{{URI}}}}}"),
        ],
        [cluster("up"), cluster("auth")],
    )
)


def case(name: str, send: bytes, status: int | None, *said: tuple[str, str], listener: str = "authz", code: str = "200 OK", body: bytes = b"") -> Case:
    return Case(name, send, status, listener=listener, answers_by={"auth": [[answer(code, *said, body=body)]]}, replace=[(r"ext_authz_duration\":\d+", "duration")], ignore_stats=[r"^cluster\.auth\..*_time"])


CASES = [
    case("allowed", get("/a?b", "test", ("authorization", "secret"), ("x-in", "no")), 200),
    case("allowed_headers", get("/", "test", ("x-append", "1"), ("x-up", "old"), ("x-gone", "1")), 200, ("x-up", "new"), ("x-up2", "b"), ("x-append", "2"), ("x-client", "c"), ("x-md", "m"), ("x-envoy-auth-headers-to-remove", "x-gone")),
    case("denied", get("/"), 403, ("x-why", "no"), ("set-cookie", "a=b"), ("x-md", "m"), code="403 Forbidden", body=b"go away"),
    case("denied_other_code", get("/"), 302, ("location", "/login"), code="302 Found"),
    case("denied_client_headers", get("/"), 401, ("x-seen", "1"), ("x-hidden", "2"), ("www-authenticate", "Basic"), listener="listed", code="401 Unauthorized", body=b"who"),
    case("listed", get("/x", "test", ("authorization", "secret"), ("x-in", "yes"), ("x-other", "no")), 200, listener="listed"),
    case("error", get("/"), 403, code="500 Oops"),
    case("error_status", get("/"), 503, listener="listed", code="503 Oops"),
    case("error_lenient", get("/"), 200, listener="lenient", code="500 Oops"),
    Case("reset", get("/"), 403, listener="authz", answers_by={"auth": [[ResetNow()]]}),
    case("body", post("/", "test", body=b"abcd"), 200, listener="body"),
    # Envoy's codec tells the end of the request later than the body, which shows in the header `connection: close`.
    Case("body_too_large", post("/", "test", body=b"abcde"), 413, listener="body", response=False, stats=False),
    case("body_none", get("/"), 200, listener="body"),
    case("body_partial", post("/", "test", body=b"abcdef"), 200, listener="partial"),
    case("body_partial_denied", post("/", "test", body=b"abcdef"), 403, listener="partial", code="403 Forbidden"),
    case("body_off", post("/nobody", "test", body=b"abc"), 200, listener="body"),
    case("post", post("/", "test", body=b"abcdef"), 200),
    case("route_off", get("/off"), 200),
    case("disabled", get("/"), 200, listener="disabled"),
    case("disabled_deny", get("/"), 403, listener="disabled_deny"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ext_authz(pair: Pair, case: Case) -> None:
    pair.check(case)
