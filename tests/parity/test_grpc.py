"""gRPC without filters of its own: statuses of the proxy's own answers, timeouts, retries, routes, log operators."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import bootstrap, cluster, file_log, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_grpc_filters import call, frame, reply, trailers_only
from tests.support.http1_message import answer
from tests.support.raw_client import Responses

LOG = file_log(
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS% %GRPC_STATUS(CAMEL_STRING)% "
    "%GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER% %RESP(grpc-message)% %TRAILER(grpc-status)% "
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%\n"
)
ROUTES = """
- name: all
  domains: ["*"]
  routes:
  - {match: {prefix: /direct}, direct_response: {status: 403, body: {inline_string: "no: 100%"}}}
  - {match: {prefix: /moved}, redirect: {host_redirect: other}}
  - {match: {prefix: /refused}, route: {cluster: refused}}
  - {match: {prefix: /short}, route: {cluster: up, timeout: 0.3s}}
  - {match: {prefix: /per_try}, route: {cluster: up, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.2s}}}
  - {match: {prefix: /old}, route: {cluster: up, max_grpc_timeout: 0.4s, grpc_timeout_offset: 0.1s}}
  - {match: {prefix: /zero}, route: {cluster: up, max_grpc_timeout: 0s}}
  - {match: {prefix: /max}, route: {cluster: up, max_stream_duration: {grpc_timeout_header_max: 0.4s}}}
  - {match: {prefix: /offset}, route: {cluster: up, max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.25s}}}
  - {match: {prefix: /duration}, route: {cluster: up, max_stream_duration: {max_stream_duration: 0.3s}}}
  - {match: {prefix: /retry}, route: {cluster: up, retry_policy: {retry_on: "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable", num_retries: 2, retry_back_off: {base_interval: 0.001s}}}}
  - {match: {prefix: /header}, route: {cluster: up}}
  - {match: {prefix: /only, grpc: {}}, route: {cluster: up}}
  - {match: {prefix: /}, route: {cluster: up}}
"""
MAPPED = """
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 503, runtime_key: x}}}}
    status_code: 429
    body: {inline_string: changed}
    headers_to_add: [{header: {key: x-mapped, value: "1"}}]
  body_format: {json_format: {code: "%RESPONSE_CODE%", text: "%LOCAL_REPLY_BODY%"}}
"""
TRAILERS = "http_protocol_options: {enable_trailers: true}"
FILTERED = {**file_log("%REQ(:PATH)% %GRPC_STATUS%\n"), "filter": {"grpc_status_filter": {"statuses": ["NOT_FOUND", "OK"]}}}
EXCLUDED = {**file_log("%REQ(:PATH)% %GRPC_STATUS%\n"), "filter": {"grpc_status_filter": {"statuses": ["NOT_FOUND"], "exclude": True}}}

GROUP = SideConfig(
    bootstrap(
        [
            http("main", ROUTES, options=TRAILERS, log=[LOG]),
            http("none", "[{name: all, domains: [other]}]", log=[LOG]),
            http("mapped", ROUTES, options=MAPPED, log=[LOG]),
            http("suppressed", ROUTES, options=TRAILERS, router_options="suppress_grpc_request_failure_code_stats: true", log=[LOG]),
            http("lasting", ROUTES, options="common_http_protocol_options: {max_stream_duration: 0.4s}", log=[LOG]),
            http("filtered", ROUTES, options=TRAILERS, log=[FILTERED]),
            http("excluded", ROUTES, options=TRAILERS, log=[EXCLUDED]),
        ],
        [
            cluster("up", protocol="explicit_http_config: {http_protocol_options: {enable_trailers: true}}"),
            cluster("refused", "<<refused:a>>"),
        ],
    )
)  # fmt: skip

OK = reply(frame(b"abc"), ("grpc-status", "0"))
SLOW = [1.0, answer("200 OK", ("content-type", "application/grpc"))]


def failed(status: int) -> list[bytes]:
    return [*trailers_only(("grpc-status", str(status)), ("grpc-message", f"m{status}"))]  # type: ignore[list-item]


def timed(path: str, value: str, *fields: tuple[str, str]) -> bytes:
    return call(path, frame(b"x"), "application/grpc", ("grpc-timeout", value), *fields)


def kind(value: str, path: str = "/short") -> bytes:
    return call(path, frame(b"x"), value)


LEFT = [(r"(grpc-timeout|expected-rq-timeout-ms): \d+", r"\1: {left}")]

CASES = [
    Case("no_route", call(), listener="none"),
    Case("direct", call("/direct")),
    Case("redirect", call("/moved"), status=None),
    Case("refused", call("/refused"), replace=[(r"immediate_connect_error[^|]*", "{why}")], response=False, log=False),
    Case("mapped", call("/refused"), listener="mapped", response=False, log=False),
    Case("mapped_direct", call("/direct"), listener="mapped"),
    Case("bad_upstream_answer", call(), answers=[[b"nonsense\r\n\r\n"]], response=False, log=False),
    Case("timeout", call("/short"), answers=[SLOW], time_within=0.3),
    Case("timeout_alternative", call("/short", b"", "application/grpc", ("x-envoy-upstream-rq-timeout-alt-response", "1")), answers=[SLOW], status=None),
    Case("per_try_timeout", call("/per_try"), answers=[SLOW], time_within=0.4),
    Case("duration", call("/duration"), answers=[SLOW], time_within=0.3),
    Case("duration_of_all", timed("/header", "9S"), answers=[SLOW], listener="lasting", time_within=0.3),
    Case("duration_of_all_bounded", timed("/max", "9S"), answers=[SLOW], listener="lasting", time_within=0.3),
    Case("duration_not_grpc", call("/duration", kind="text/plain"), answers=[SLOW], status=504, time_within=0.3),
    Case("duration_with_timeout", timed("/duration", "5S"), answers=[SLOW], time_within=0.3),
    Case("max_not_grpc", call("/max", frame(b"x"), "text/plain", ("grpc-timeout", "10S")), answers=[SLOW], status=None, time_within=0.3),
    Case("max", timed("/max", "10S"), answers=[SLOW], time_within=0.3),
    Case("max_less", timed("/max", "200m"), answers=[SLOW], time_within=0.3),
    Case("max_without", call("/max"), answers=[SLOW], time_within=0.3, status=None),
    Case("offset", timed("/offset", "500m"), answers=[SLOW], time_within=0.3),
    Case("old", timed("/old", "10S"), answers=[SLOW], time_within=0.3),
    Case("old_less", timed("/old", "300m"), answers=[SLOW], time_within=0.3),
    Case("zero", timed("/zero", "300m"), answers=[SLOW], time_within=0.3),
    *[
        Case(f"timeout_form_{name}", timed("/zero", value), answers=[OK])
        for name, value in (
            ("hours", "1H"), ("minutes", "2M"), ("seconds", "3S"), ("millis", "4000m"), ("micros", "5000000u"),
            ("nanos", "60000000n"), ("empty", "m"), ("no_unit", "100"), ("letters", "xxS"), ("long", "123456789S"),
            ("negative", "-1S"), ("eight", "99999999H"), ("space", "1 S"),
        )
    ],
    *[Case(f"retry_{status}", call("/retry"), answers=[failed(status), OK]) for status in (1, 4, 13, 8, 14, 2, 5)],
    Case("retry_all", call("/retry"), answers=[failed(14)]),
    Case("retry_later_status", call("/retry"), answers=[reply(b"", ("grpc-status", "14")), OK]),
    Case("retry_by_header", call("/header", b"", "application/grpc", ("x-envoy-retry-grpc-on", "internal, unavailable"), ("x-envoy-max-retries", "2")), answers=[failed(13), failed(14), OK]),
    Case("retry_not_grpc", call("/header", b"", "text/plain", ("x-envoy-retry-grpc-on", "internal")), answers=[failed(13), OK]),
    Case("match", call("/only")),
    Case("match_not", call("/only", kind="text/plain")),
    *[
        Case(f"content_type_{name}", kind(value), answers=[SLOW], status=None)
        for name, value in (
            ("proto", "application/grpc+proto"), ("json", "application/grpc+json"), ("charset", "application/grpc; charset=utf-8"),
            ("web", "application/grpc-web"), ("upper", "Application/GRPC"), ("plus_charset", "application/grpc+proto;v=1"),
        )
    ],
    *[Case(f"log_{status}", call(), answers=[reply(b"", ("grpc-status", status))]) for status in ("0", "3", "16", "17", "-1", "x", "")],
    Case("log_http_error", call(), answers=[[answer("502 Bad Gateway")]], status=502),
    Case("log_header_status", call(), answers=[failed(5)]),
    Case("log_message", call(), answers=[reply(b"", ("grpc-status", "5"), ("grpc-message", "a%20b"))]),
    Case("suppressed", call("/short"), answers=[SLOW], listener="suppressed"),
    Case("filtered", [call("/a"), Responses(1), call("/b"), Responses(2), call("/c")], answers=[failed(5), failed(3), OK], responses=3, listener="filtered", logs=2),
    Case("excluded", [call("/a"), Responses(1), call("/b"), Responses(2), call("/c")], answers=[failed(5), failed(3), OK], responses=3, listener="excluded", logs=2),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_grpc(pair: Pair, case: Case) -> None:
    if any(name in case.name for name in ("timeout_form", "max", "old", "zero", "offset", "per_try")):
        case.replace = [*case.replace, *LEFT] if "form" not in case.name else case.replace
    pair.check(case)
