"""Access-log formats and filters, header edits with formatters, local replies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import FILE_LOG, bootstrap, cluster, file_log, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import get, request

METADATA = {
    "filter_metadata": {"ns": {"k": "value", "n": 5, "l": [1, "a", None, {"z": True}], "o": {"p": {"q": "deep"}}}}
}

# Operators whose values do not depend on time, ports or counters.
OPERATORS = [
    "%ACCESS_LOG_TYPE%",
    "%BYTES_RECEIVED%",
    "%BYTES_SENT%",
    "%CONNECTION_TERMINATION_DETAILS%",
    "%CUSTOM_FLAGS%",
    "%DOWNSTREAM_DETECTED_CLOSE_TYPE%",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%",
    "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16)%",
    "%DOWNSTREAM_LOCAL_PORT%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%",
    "%DOWNSTREAM_TLS_VERSION%",
    "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "%FILTER_CHAIN_NAME%",
    "%GRPC_STATUS%",
    "%GRPC_STATUS_NUMBER%",
    "%GRPC_STATUS(SNAKE_STRING)%",
    "%LISTENER_NAME%",
    "%LOCAL_REPLY_BODY%",
    "%PATH%",
    "%PATH(NQ)%",
    "%PATH(WQ:ORIG)%",
    "%PATH(NQ:PATH):4%",
    "%PROTOCOL%",
    "%QUERY_PARAM(a)%",
    "%QUERY_PARAM(b):1%",
    "%QUERY_PARAMS%",
    "%QUERY_PARAMS(DECODED)%",
    "%REQ(X-MULTI)%",
    "%REQ(X-NOPE?X-MULTI):1%",
    "%REQ(X-EMPTY)%",
    "%REQ(HOST)%",
    "%REQUESTED_SERVER_NAME(HOST_FIRST)%",
    "%RESPONSE_CODE%",
    "%RESPONSE_CODE_DETAILS%",
    "%RESPONSE_FLAGS%",
    "%RESPONSE_FLAGS_LONG%",
    "%RESP(:STATUS)%",
    "%RESP(X-UP)%",
    "%ROUTE_NAME%",
    "%TRAILER(X)%",
    "%UPSTREAM_CLUSTER%",
    "%UPSTREAM_CLUSTER_RAW%",
    "%UPSTREAM_DETECTED_CLOSE_TYPE%",
    "%UPSTREAM_HOST%",
    "%UPSTREAM_HOST_NAME_WITHOUT_PORT%",
    "%UPSTREAM_HOSTS_ATTEMPTED%",
    "%UPSTREAM_PROTOCOL%",
    "%UPSTREAM_REMOTE_ADDRESS%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "%VIRTUAL_CLUSTER_NAME%",
    "%METADATA(ROUTE:ns)%",
    "%METADATA(ROUTE:ns:o:p)%",
    "%METADATA(ROUTE:ns:k):3%",
    "%METADATA(ROUTE:ns:l)%",
    "%METADATA(CLUSTER:ns:k)%",
    "%METADATA(LISTENER:ns:n)%",
    "%CLUSTER_METADATA(ns:k)%",
    "%DYNAMIC_METADATA(ns:k)%",
    "%FILTER_STATE(k)%",
    '%COALESCE({"operators":["UPSTREAM_TLS_VERSION",{"command":"REQ","param":"x-multi"}]})%',
    "%ENVIRONMENT(NOPE_NOPE)%",
]

TEMPLATE = {
    **{operator.strip("%"): operator for operator in OPERATORS},
    "nested": {"z": ["%PROTOCOL%", "%REQ(x-nope)%", True, None, 5], "a": {"gone": "%REQ(x-nope)%"}},
    "mixed": "code %RESPONSE_CODE% %REQ(x-nope)% 100%%",
    "quoted": '%REQ(x-quoted)% "and" \\ %REQ(x-latin)%',
    "latin": "%REQ(x-latin)%",
}


def logged(log_format: dict[str, Any], **more: Any) -> dict[str, Any]:
    config = {"@type": FILE_LOG, "path": "<<dir>>/access.log", "log_format": log_format}
    return {"name": "log", "typed_config": config, **more}


def filtered(name: str, log_filter: dict[str, Any]) -> dict[str, Any]:
    return {**file_log(f"{name} %REQ(:PATH)%\n"), "filter": log_filter}


def code(op: str, value: int) -> dict[str, Any]:
    return {"status_code_filter": {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "k"}}}}


def option(key: str, value: str, **more: Any) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, **more}


ROUTES = json.dumps(
    [
        {
            "name": "vh",
            "domains": ["*"],
            "routes": [
                {"name": "direct", "match": {"prefix": "/direct"}, "direct_response": {"status": 418}},
                {
                    "name": "proxied",
                    "match": {"prefix": "/p"},
                    "route": {"cluster": "up", "prefix_rewrite": "/new"},
                    "metadata": METADATA,
                },
            ],
        }
    ]
)

EDITS = json.dumps(
    [
        {
            "name": "vh",
            "domains": ["*"],
            "routes": [
                {
                    "match": {"prefix": "/"},
                    "route": {"cluster": "up"},
                    "request_headers_to_remove": ["x-gone"],
                    "request_headers_to_add": [
                        option("x-a", "%REQ(x-b)%-%REQ(x-in)%"),
                        option("x-b", "2", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
                        option("x-two", "ow", append_action="OVERWRITE_IF_EXISTS"),
                        option("x-no", "ow", append_action="OVERWRITE_IF_EXISTS"),
                        option("x-abs", "1", append_action="ADD_IF_ABSENT"),
                        option("x-abs", "2", append_action="ADD_IF_ABSENT"),
                        option("x-empty", "%REQ(nope)%"),
                        option("x-kept", "%REQ(nope)%", keep_empty_value=True),
                        option("x-gone", "back"),
                        option("accept", "second"),
                        option("x-facts", "%PROTOCOL% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %UPSTREAM_HOST%|"),
                        option("x-old", '%UPSTREAM_METADATA(["ns", "k"])%'),
                    ],
                    "response_headers_to_add": [
                        option("x-up", "again"),
                        option("vary", "v2"),
                        option("x-rq", "%REQ(x-in)% %RESPONSE_CODE% %RESP(x-up)% %UPSTREAM_HOST%"),
                        option("set-cookie", "c1"),
                        option("set-cookie", "c2"),
                        option("etag", "e1"),
                        option("etag", "e2"),
                    ],
                }
            ],
        }
    ]
)

REPLIES = json.dumps(
    {
        "local_reply_config": {
            "mappers": [
                {
                    "filter": code("EQ", 404),
                    "status_code": 444,
                    "body": {"inline_string": "new body"},
                    "headers_to_add": [option("x-m", "m-%RESPONSE_CODE%-%LOCAL_REPLY_BODY%")],
                },
                {
                    "filter": code("GE", 400),
                    "body_format_override": {
                        "json_format": {"c": "%RESPONSE_CODE%", "b": "%LOCAL_REPLY_BODY%", "p": "%REQ(:path)%"}
                    },
                },
            ],
            "body_format": {
                "text_format_source": {"inline_string": "<b>%RESPONSE_CODE%</b>"},
                "content_type": "text/html",
            },
        }
    }
)

REPLY_ROUTES = json.dumps(
    [
        {
            "name": "vh",
            "domains": ["*"],
            "routes": [
                {"match": {"path": "/d"}, "direct_response": {"status": 418, "body": {"inline_string": "dbody"}}},
                {"match": {"path": "/e"}, "direct_response": {"status": 200}},
                {"match": {"path": "/redirect"}, "redirect": {"path_redirect": "/x"}},
                {
                    "match": {"path": "/ct"},
                    "direct_response": {"status": 403, "body": {"inline_string": "x"}},
                    "response_headers_to_add": [option("content-type", "my/type")],
                },
            ],
        }
    ]
)

FILTERS = [
    filtered("ge400", code("GE", 400)),
    filtered("flags", {"response_flag_filter": {}}),
    filtered("nr", {"response_flag_filter": {"flags": ["NR"]}}),
    filtered("header", {"header_filter": {"header": {"name": "x-h", "string_match": {"exact": "1"}}}}),
    filtered("grpc", {"grpc_status_filter": {"statuses": ["UNIMPLEMENTED"]}}),
    filtered("type", {"log_type_filter": {"types": ["DownstreamEnd"]}}),
    filtered("no_type", {"log_type_filter": {"types": ["DownstreamEnd"], "exclude": True}}),
    filtered("half", {"runtime_filter": {"runtime_key": "x", "percent_sampled": {"numerator": 50}}}),
    filtered("and", {"and_filter": {"filters": [code("EQ", 404), {"not_health_check_filter": {}}]}}),
    filtered("or", {"or_filter": {"filters": [code("EQ", 1), code("EQ", 418)]}}),
    filtered(
        "metadata",
        {"metadata_filter": {"matcher": {"filter": "n", "path": [{"key": "k"}], "value": {"bool_match": True}}}},
    ),
    filtered(
        "duration",
        {"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 9999999, "runtime_key": "k"}}}},
    ),
]

LISTENER = json.dumps({"metadata": METADATA})
TEXT = " | ".join(f"{operator.replace('%', '')}={operator}" for operator in OPERATORS) + "\n"

GROUP = SideConfig(
    bootstrap(
        [
            http("main", ROUTES, LISTENER, log=[file_log(TEXT)]),
            http("json", ROUTES, LISTENER, log=[logged({"json_format": TEMPLATE})]),
            http("omit", ROUTES, LISTENER, log=[logged({"json_format": TEMPLATE, "omit_empty_values": True})]),
            http("edits", EDITS),
            http("replies", REPLY_ROUTES, options=REPLIES),
            http("filters", ROUTES, log=FILTERS),
        ],
        [cluster("up", options=json.dumps({"alt_stat_name": "alternative", "metadata": METADATA}))],
    )
)

FIELDS = (
    b'x-multi: one\r\nx-multi: two\r\nx-empty:\r\nx-quoted: a"b\\c\td\r\nx-latin: caf\xe9\r\nuser-agent: parity\r\n'
    b"x-request-id: 00000031-0000-4000-8000-000000000000\r\n"
)


def fetch(path: str, fields: bytes = FIELDS) -> bytes:
    return b"GET " + path.encode() + b" HTTP/1.1\r\nhost: h.test:80\r\n" + fields + b"\r\n"


PATHS = [
    ("proxied", "/p/x?a=1%202&b=xyz&c=%41", 200),
    ("direct", "/direct?a", 418),
    ("no_route", "/nope", 404),
]

CASES = [
    *[Case(f"text_{name}", fetch(path), status) for name, path, status in PATHS],
    *[Case(f"json_{name}", fetch(path), status, "json") for name, path, status in PATHS],
    *[Case(f"omit_{name}", fetch(path), status, "omit") for name, path, status in PATHS],
    Case("text_grpc", fetch("/p", b"content-type: application/grpc\r\n")),
    Case("json_bad_request", b"GET / HTTP/1.1\r\n\r\n", 400, "json", to_end=True),
    Case(
        "edits",
        fetch(
            "/",
            b"x-in: 1\r\nx-two: a\r\nx-two: b\r\nx-gone: away\r\naccept: first\r\nuser-agent: x\r\n",
        ),
        200,
        "edits",
    ),
    Case("reply_mapped", get("/nope"), 444, "replies"),
    Case("reply_json", get("/d"), 418, "replies"),
    Case("reply_default_format", get("/e"), 200, "replies"),
    Case("reply_redirect", get("/redirect"), 301, "replies"),
    Case("reply_typed", get("/ct"), 403, "replies"),
    Case("reply_grpc", fetch("/d", b"content-type: application/grpc\r\n"), 200, "replies"),
    Case("reply_head", request("HEAD", "/d"), 418, "replies", to_head=True),
    Case("filters_404", fetch("/nope", FIELDS + b"x-h: 1\r\n"), 404, "filters", logs=8),
    Case("filters_418", fetch("/direct"), 418, "filters", logs=5),
    Case("filters_200", fetch("/p"), 200, "filters", logs=3),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(pair: Pair, case: Case) -> None:
    pair.check(case)
