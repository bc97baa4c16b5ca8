"""envoy.filters.http.transform, compared with Envoy."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_http_filters_traffic import FILTERS, hosts, http_filter
from tests.support.http1_message import answer, get, post

SET = "append_action: OVERWRITE_IF_EXISTS_OR_ADD"


def header(name: str, value: str) -> str:
    return f"{{append: {{header: {{key: {name}, value: '{value}'}}, {SET}}}}}"


REQUEST = ", ".join(header(f"x-{name}", f"%REQUEST_BODY({path})%") for name, path in (("model", "model"), ("deep", "a:b"), ("number", "n"), ("float", "f"), ("flag", "t"), ("none", "none")))
RESPONSE = ", ".join([header("x-tokens", "%RESPONSE_BODY(usage:total)%"), header("x-asked", "%REQUEST_BODY(model)%")])
MERGE = "body_transformation: {body_format: {json_format: {model: new, added: '%REQUEST_BODY(a:b)%'}}, action: MERGE}"
REPLACE = "body_transformation: {body_format: {json_format: {was: '%RESPONSE_BODY(usage:total)%'}}, action: REPLACE}"
ROUTED = hosts([("/route", "transform", f"{{'@type': {FILTERS}transform.v3.TransformConfig, request_transformation: {{headers_mutations: [{header('x-route', '%REQUEST_BODY(model)%')}]}}}}")])

GROUP = SideConfig(
    bootstrap(
        [
            http("headers", ROUTED, filters=[http_filter("transform", "TransformConfig", f"{{request_transformation: {{headers_mutations: [{REQUEST}]}}, response_transformation: {{headers_mutations: [{RESPONSE}]}}}}")]),
            http("merge", filters=[http_filter("transform", "TransformConfig", f"{{request_transformation: {{{MERGE}}}}}")]),
            http("replace", filters=[http_filter("transform", "TransformConfig", f"{{response_transformation: {{{REPLACE}}}}}")]),
        ],
        [cluster("up")],
    )
)
BODY = b'{"model": "m1", "a": {"b": "deep", "c": 1}, "n": 5, "f": 1.5, "t": true}'
ANSWER = [[answer("200 OK", ("content-type", "application/json"), body=b'{"usage": {"total": 7}, "x": [1, "y"]}')]]
JSON = ("content-type", "application/json")
CASES = [
    Case("headers", post("/", "test", JSON, body=BODY), listener="headers", answers=ANSWER),
    Case("no_json", post("/", "test", JSON, body=b"text"), listener="headers"),
    Case("no_body", get("/"), listener="headers", answers=ANSWER),
    Case("route", post("/route", "test", JSON, body=BODY), listener="headers", answers=ANSWER),
    Case("merge", post("/", "test", JSON, body=BODY), listener="merge"),
    Case("merge_text", post("/", "test", JSON, body=b"text"), listener="merge"),
    Case("replace", post("/", "test", JSON, body=BODY), listener="replace", answers=ANSWER),
    Case("replace_text", get("/"), listener="replace"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(pair: Pair, case: Case) -> None:
    # Envoy's names have a second dot.
    case.ignore_stats = [r"http_transform\."]
    pair.check(case)
