"""envoy.filters.http.sse_to_metadata, compared with Envoy."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, bootstrap, cluster, file_log, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_http_filters_traffic import http_filter
from tests.support.http1_message import answer, get

LOG = [file_log("%RESPONSE_CODE% %DYNAMIC_METADATA(ns)% %DYNAMIC_METADATA(envoy.content_parsers.json)%\n")]
PARSER = TYPE + "extensions.content_parsers.json.v3.JsonContentParser"
TOKENS = "rule: {selectors: [{key: usage}, {key: total}], on_present: {metadata_namespace: ns, key: tokens, type: NUMBER}, on_missing: {metadata_namespace: ns, key: tokens, value: -1}, on_error: {metadata_namespace: ns, key: tokens, value: 0}}"
MODEL = "rule: {selectors: [{key: model}], on_present: {key: model, type: STRING}}"


def sse(name: str, rules: str, more: str = "") -> dict[str, object]:
    options = f"{{response_rules: {{content_parser: {{name: envoy.content_parsers.json, typed_config: {{'@type': {PARSER}, rules: [{rules}]}}}}{more}}}}}"
    return http(name, filters=[http_filter("sse_to_metadata", "SseToMetadata", options)], log=LOG)


GROUP = SideConfig(
    bootstrap(
        [
            sse("sse", f"{{{TOKENS}}}, {{{MODEL}}}"),
            sse("first", f"{{{TOKENS}, stop_processing_after_matches: 1}}"),
            sse("small", f"{{{TOKENS}}}", ", max_event_size: 20"),
        ],
        [cluster("up")],
    )
)


def case(name: str, body: bytes, listener: str = "sse", content_type: str = "text/event-stream; charset=utf-8") -> Case:
    return Case(name, get("/"), listener=listener, answers=[[answer("200 OK", ("content-type", content_type), body=body)]])


GOOD = b'data: {"model": "m", "usage": {"total": 5}}\n\n'
CASES = [
    case("one", GOOD),
    case("last_wins", GOOD + b'data: {"usage": {"total": 7}}\n\n'),
    case("first_wins", GOOD + b'data: {"usage": {"total": 7}}\n\n', "first"),
    case("comments", b': hello\nevent: x\nid: 1\ndata:{"model": 3.5}\n\n' + GOOD),
    case("lines", b'data: {"model":\ndata: "two lines"}\r\n\r\ndata: {"usage": {"total": 1}}\r\r'),
    case("missing", b'data: {"other": 1}\n\n'),
    case("broken", b"data: {not json\n\ndata: [DONE]\n\n"),
    case("broken_after", GOOD + b"data: [DONE]\n\n"),
    case("no_data", b"event: ping\n\n"),
    case("not_ended", b'data: {"usage": {"total": 9}}'),
    case("bom", b"\xef\xbb\xbf" + GOOD),
    case("other_type", b'{"usage": {"total": 5}}', content_type="application/json"),
    case("too_large", GOOD, "small"),
    case("too_large_unfinished", b"data: " + b"x" * 40, "small"),
    case("empty", b""),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(pair: Pair, case: Case) -> None:
    pair.check(case)
