"""Filters that a matcher chooses or leaves out, and bodies at a limited rate, compared with Envoy."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_http_filters_traffic import FILTERS, hosts, http_filter
from tests.support.http1_message import answer, get, post

MATCHING = TYPE + "extensions.common.matching.v3."
ALL = "percentage: {numerator: 100}"


def header_input(name: str, kind: str = "Request") -> str:
    return f'input: {{name: i, typed_config: {{"@type": {TYPE}type.matcher.v3.Http{kind}HeaderMatchInput, header_name: {name}}}}}'


SKIP = f'action: {{name: skip, typed_config: {{"@type": {TYPE}extensions.filters.common.matcher.action.v3.SkipFilter}}}}'
LUA = "{name: lua, typed_config: {'@type': %sextensions.filters.http.lua.v3.Lua, default_source_code: {inline_string: %s}}}" % (TYPE, '"%s"')  # noqa: UP031
MARK = "function envoy_on_request(h) h:headers():add('x-ran', '%s') end function envoy_on_response(h) h:headers():add('x-ran', '%s') end"
BODY = "function envoy_on_request(h) local body = h:body() body:setBytes('changed ' .. body:length()) h:headers():replace('x-ran', 'body') end"


def lua(text: str) -> str:
    return LUA % text


def delegate(inner: str, matcher: str) -> Json:
    options = f"{{extension_config: {inner}, xds_matcher: {{{matcher}}}}}"
    return {"name": "chosen", "typed_config": {"@type": MATCHING + "ExtensionWithMatcher", **parse(options)}}


def listed(*pairs: tuple[str, str]) -> str:
    """A list of (header that must be "yes", on_match)."""
    made = ", ".join(f"{{predicate: {{single_predicate: {{{header_input(name)}, value_match: {{exact: 'yes'}}}}}}, on_match: {{{then}}}}}" for name, then in pairs)
    return f"matcher_list: {{matchers: [{made}]}}"


ABORT = f'{{name: envoy.filters.http.fault, typed_config: {{"@type": {FILTERS}fault.v3.HTTPFault, abort: {{http_status: 503, {ALL}}}}}}}'
BY_RESPONSE = f"matcher_list: {{matchers: [{{predicate: {{single_predicate: {{{header_input('x-from', 'Response')}, value_match: {{exact: up}}}}}}, on_match: {{{SKIP}}}}}]}}"
COMPOSITE = f'{{name: composite, typed_config: {{"@type": {FILTERS}composite.v3.Composite}}}}'


def execute(name: str, inner: str) -> str:
    return f'action: {{name: {name}, typed_config: {{"@type": {FILTERS}composite.v3.ExecuteFilterAction, typed_config: {inner}}}}}'


SKIPPED_HOSTS = hosts([])
SKIPPED_HOSTS[0]["routes"].insert(0, {
    "match": {"prefix": "/route"}, "route": {"cluster": "up"},
    "typed_per_filter_config": {"chosen": {"@type": MATCHING + "ExtensionWithMatcherPerRoute", "xds_matcher": parse(f"{{{listed(('x-route', SKIP))}}}")}},
})  # fmt: skip
LIMITED = "stat_prefix: bw, limit_kbps: 20, enable_mode: %s"
LIMIT_HOSTS = hosts([("/off", "bandwidth_limit", f'{{"@type": {FILTERS}bandwidth_limit.v3.BandwidthLimit, stat_prefix: none, enable_mode: DISABLED, limit_kbps: 1}}')])

GROUP = SideConfig(
    bootstrap(
        [
            http("skipped", SKIPPED_HOSTS, filters=[delegate(ABORT, listed(("x-skip", SKIP)))]),
            http("skipped_lua", filters=[delegate(lua(MARK % ("q", "s")), listed(("x-skip", SKIP)))]),
            http("skipped_body", filters=[delegate(lua(BODY), listed(("x-skip", SKIP)))]),
            http("by_response", filters=[delegate(lua(MARK % ("q", "s")), BY_RESPONSE)]),
            http("composite", filters=[delegate(COMPOSITE, listed(("x-one", execute("one", lua(MARK % ("one", "one")))), ("x-abort", execute("abort", ABORT)), ("x-body", execute("body", lua(BODY)))))]),
            http("request", LIMIT_HOSTS, filters=[http_filter("bandwidth_limit", "BandwidthLimit", f"{{{LIMITED % 'REQUEST'}}}")]),
            http("response", LIMIT_HOSTS, filters=[http_filter("bandwidth_limit", "BandwidthLimit", f"{{{LIMITED % 'RESPONSE'}}}")]),
            http("trailers", filters=[http_filter("bandwidth_limit", "BandwidthLimit", f"{{{LIMITED % 'REQUEST_AND_RESPONSE'}, enable_response_trailers: true, response_trailer_prefix: T}}")], options="http_protocol_options: {enable_trailers: true}"),
        ],
        [cluster("up")],
    )
)  # fmt: skip

YES = "yes"
BIG = b"x" * 30000
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7530\r\n" + BIG + b"\r\n0\r\n\r\n"
CASES = [
    Case("not_skipped", get("/"), 503, listener="skipped"),
    Case("skipped", get("/", "test", ("x-skip", YES)), listener="skipped"),
    Case("skipped_by_route", get("/route", "test", ("x-route", YES)), listener="skipped"),
    Case("not_skipped_by_route", get("/route", "test", ("x-skip", YES)), 503, listener="skipped"),
    Case("ran", get("/"), listener="skipped_lua"),
    Case("not_ran", get("/", "test", ("x-skip", YES)), listener="skipped_lua"),
    Case("body", post("/", body=b"hello"), listener="skipped_body"),
    Case("body_skipped", post("/", "test", ("x-skip", YES), body=b"hello"), listener="skipped_body"),
    Case("by_response", get("/"), listener="by_response", answers=[[answer("200 OK", ("x-from", "up"))]]),
    Case("not_by_response", get("/"), listener="by_response"),
    Case("none", get("/"), listener="composite"),
    Case("one", get("/", "test", ("x-one", YES)), listener="composite", expect_stats=["http.composite.composite.filter_delegation_success"]),
    Case("abort", get("/", "test", ("x-abort", YES)), 503, listener="composite"),
    Case("composed_body", post("/", "test", ("x-body", YES), body=b"hello"), listener="composite"),
    Case("small", post("/", body=b"hello"), listener="request"),
    Case("limited_request", post("/", body=BIG), listener="request", time_within=0.2, upstream=False),
    Case("limited_off", post("/off", body=BIG), listener="request", time_within=0.2, upstream=False),
    Case("limited_response", get("/"), listener="response", answers=[[answer(body=BIG)]], time_within=0.2),
    Case("delays", get("/", "test", ("te", "trailers")), listener="trailers", answers=[[CHUNKED]], replace=[(r"(delay-ms: )\d+", r"\1N"), (r"[0-9a-f]+\r?\nx+", "X"), (r"X[X\s.]+", "X")], log=False, time_within=0.2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(pair: Pair, case: Case) -> None:
    pair.check(case)
