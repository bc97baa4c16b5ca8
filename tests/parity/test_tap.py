"""envoy.filters.http.tap with files: the same traces on both sides."""

from __future__ import annotations

import re
import time

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig
from tests.parity.test_http_filters_traffic import http_filter
from tests.support.http1_message import answer, get, post


def tap(name: str, match: str, output: str, file_format: str = "JSON_BODY_AS_STRING", more: str = "") -> dict[str, object]:
    options = f"{{common_config: {{static_config: {{match: {{{match}}}, output_config: {{sinks: [{{format: {file_format}, file_per_tap: {{path_prefix: '<<dir>>/{name}'}}}}]{output}}}}}}}{more}}}"
    return http(name, filters=[http_filter("tap", "Tap", options)])


def request_header(name: str) -> str:
    return f"http_request_headers_match: {{headers: [{{name: {name}, string_match: {{exact: '1'}}}}]}}"


GROUP = SideConfig(
    bootstrap(
        [
            tap("all", "any_match: true", "", more=", record_downstream_connection: true"),
            tap("bytes", "any_match: true", ", max_buffered_rx_bytes: 3, max_buffered_tx_bytes: 2", "JSON_BODY_AS_BYTES"),
            tap("text", request_header("x-tap"), "", "PROTO_TEXT"),
            tap("either", f"or_match: {{rules: [{{{request_header('x-a')}}}, {{http_response_headers_match: {{headers: [{{name: ':status', string_match: {{exact: '404'}}}}]}}}}]}}", ""),
            tap("both", f"and_match: {{rules: [{{{request_header('x-a')}}}, {{not_match: {{{request_header('x-b')}}}}}]}}", ""),
            tap("body", "http_request_generic_body_match: {patterns: [{string_match: needle}]}", ""),
            tap("streamed", "http_response_headers_match: {headers: [{name: x-tap, string_match: {exact: '1'}}]}", ", streaming: true", "PROTO_TEXT"),
        ],
        [cluster("up")],
    )
)

TAPPED = [[answer("200 OK", ("x-tap", "1"), body=b"the answer")]]
CASES = [
    (Case("all", post("/p", "test", ("x-a", "1"), body=b"hello"), listener="all"), True),
    (Case("bytes", post("/p", body=b"hello"), listener="bytes"), True),
    (Case("text", get("/p", "test", ("x-tap", "1")), listener="text"), True),
    (Case("not_text", get("/p"), listener="text"), False),
    (Case("either", get("/p", "test", ("x-a", "1")), listener="either"), True),
    (Case("or_status", get("/p"), 404, listener="either", answers=[[answer("404 No")]]), True),
    (Case("neither", get("/p"), listener="either"), False),
    (Case("both", get("/p", "test", ("x-a", "1")), listener="both"), True),
    (Case("not_both", get("/p", "test", ("x-a", "1"), ("x-b", "1")), listener="both"), False),
    (Case("body", post("/p", body=b"hay needle hay"), listener="body"), True),
    (Case("no_body", post("/p", body=b"hay"), listener="body"), False),
    (Case("streamed", get("/p"), listener="streamed", answers=TAPPED), True),
    (Case("not_streamed", get("/p"), listener="streamed"), False),
]


def traces(side: Side, name: str, wanted: bool) -> str:
    """What was written for the listener; the files are removed."""
    for _ in range(40):
        files = sorted(side.folder.glob(f"{name}_*"))
        if files or not wanted:
            break
        time.sleep(0.05)
    time.sleep(0.1)
    text = ""
    for file in files:
        text += re.sub(r"_\d+", "_N", file.name) + "\n" + file.read_text()
        file.unlink()
    # The order of fields, white space and what differs by nature do not count.
    text = re.sub(r"\d{15,}|[0-9a-f]{8}-[0-9a-f-]{27}|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT", "X", text)
    text = re.sub(r'("port_value"|port_value): \d+', "port", text)
    text = re.sub(r'"(value|raw_value)": "\d{1,3}"', "number", text)
    text = re.sub(r'value: "\d{1,3}"', "number", text)
    return "\n".join(sorted(line.strip().rstrip(",") for line in text.splitlines() if line.strip() not in ("", "{", "}", "}{")))


@pytest.mark.parametrize(("case", "tapped"), CASES, ids=[case.name for case, _ in CASES])
def test_case(pair: Pair, case: Case, tapped: bool) -> None:
    pair.check(case)
    found = [traces(side, case.listener, tapped) for side in pair.sides]
    assert bool(found[0]) == tapped
    assert found[1] == found[0]
