"""envoy.filters.http.grpc_json_transcoder: bindings, queries, streams, errors, options."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from tests.parity.harness.case import Case
from tests.parity.harness.config import Json, bootstrap, cluster
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_grpc_filters import TRAILERS, frame, one, reply, trailers_only
from tests.parity.test_http_filters_traffic import FILTERS, hosts
from tests.support.grpc_shop import descriptor_set
from tests.support.http1_message import answer, get, post, request

SET = descriptor_set()
POOL = DescriptorPool()
for each in FileDescriptorSet.FromString(SET).file:
    POOL.AddSerializedFile(each.SerializeToString())
BIN = base64.b64encode(SET).decode()
NAME = "grpc_json_transcoder"
TYPE = f"{FILTERS}{NAME}.v3.GrpcJsonTranscoder"
BODY = "google.api.HttpBody"


def made(kind: str, /, **fields: Any) -> bytes:
    message = GetMessageClass(POOL.FindMessageTypeByName(kind))()
    ParseDict(fields, message)
    return message.SerializeToString()


def book(**fields: Any) -> bytes:
    return frame(made("shop.Book", **fields))


def transcoder(**options: Any) -> list[Json]:
    config = {"@type": TYPE, "proto_descriptor_bin": BIN, "services": ["shop.Shop"], **options}
    return [{"name": f"envoy.filters.http.{NAME}", "typed_config": config}]


ALL = {"add_whitespace": True, "always_print_primitive_fields": True}
STRICT = {"reject_unknown_method": True, "reject_unknown_query_parameters": True, "reject_binding_body_field_collisions": True}
OFF = f'{{"@type": {TYPE}, services: [], proto_descriptor_bin: ""}}'
OTHER = f'{{"@type": {TYPE}, services: [shop.Shop], proto_descriptor_bin: "{BIN}", print_options: {{always_print_enums_as_ints: true}}}}'

FIELDS = {
    "@type": f"{FILTERS}grpc_field_extraction.v3.GrpcFieldExtractionConfig",
    "descriptor_set": {"inline_bytes": BIN},
    "extractions_by_method": {
        "shop.Shop.PutBook": {"request_field_extractions": {name: {} for name in (
            "shelf", "book.weight", "book.title", "book.tags", "book.id", "book.price", "book.author.name", "book.reviews.name", "book.author.born",
        )}},
    },
}  # fmt: skip
GROUP = SideConfig(
    bootstrap(
        [
            one("main", transcoder(), hosts([("/v1/books/9", NAME, OFF), ("/v1/books/8", NAME, OTHER)])),
            one("prefix", transcoder(match_incoming_request_route=True), hosts([("/v1/", "none", "{}")])[1:]),
            one("options", transcoder(print_options={**ALL, "preserve_proto_field_names": True}, auto_mapping=True, query_param_unescape_plus=True)),
            one("ints", transcoder(print_options={"always_print_enums_as_ints": True, "always_print_primitive_fields": True, "stream_newline_delimited": True})),
            one("events", transcoder(print_options={"stream_sse_style_delimited": True})),
            one("strict", transcoder(request_validation_options=STRICT)),
            one("lenient", transcoder(ignore_unknown_query_parameters=True, ignored_query_parameters=["key"], case_insensitive_enum_parsing=True, url_unescape_spec="ALL_CHARACTERS", match_unregistered_custom_verb=True)),
            one("convert", transcoder(convert_grpc_status=True)),
            one("capture", transcoder(capture_unknown_query_parameters=True, url_unescape_spec="ALL_CHARACTERS_EXCEPT_SLASH")),
            one("fields", [{"name": "envoy.filters.http.grpc_field_extraction", "typed_config": FIELDS}]),
            one("limits", transcoder(max_request_body_size=20, max_response_body_size=20)),
        ],
        [cluster("up", protocol="explicit_http_config: {http_protocol_options: {enable_trailers: true}}")],
    )
)
assert TRAILERS

DONE = ("grpc-status", "0")
FULL = book(
    id=12345678901, title='T <b> "ü" \u2028', author={"name": "A", "born": 1900}, kind="AUDIO", tags=["a", "b"],
    price=1.5, weight=0.1, coverImage="AAEC", sold=True, printed="2020-01-02T03:04:05.5Z", stars=5,
    extra={"x": [1, "y", None]}, reviews=[{"name": "r"}, {}], counts={"k": 2},
)  # fmt: skip
ONE = reply(book(id=1, title="t"), DONE)
EMPTY = reply(book(), DONE)
TWO = reply(book(id=1) + book(id=2), DONE, pieces=3)
NONE = reply(b"", DONE)
FAILED = reply(b"", ("grpc-status", "5"), ("grpc-message", "no%20book"))
FAILED_LATE = reply(book(id=1), ("grpc-status", "13"), ("grpc-message", "late"))
ONLY = trailers_only(("grpc-status", "3"), ("grpc-message", "bad%21"))
DETAILS = base64.b64encode(b"\x08\x07\x12\x01x").decode().rstrip("=")
ONLY_DETAILS = trailers_only(("grpc-status", "7"), ("grpc-status-details-bin", DETAILS))
# The texts of JSON errors are those of each one's parser.
ERROR: dict[str, Any] = {"response": False, "log": False, "status": 400, "ignore_stats": ["rq_response_before_rq_complete", "rq_rx_reset"]}
JSON = ("content-type", "application/json")


def js(path: str, body: str, method: str = "POST", *fields: tuple[str, str]) -> bytes:
    return request(method, path, headers=[JSON, *fields], body=body.encode())


CUT: dict[str, Any] = {"stats": False, "replace": [("connection: close\n", "")]}


def grpc(path: str, body: bytes) -> bytes:
    return post(path, "test", ("content-type", "application/grpc"), body=body)


CASES = [
    Case("get", get("/v1/shelves/s1/books/7"), answers=[ONE]),
    Case("get_additional", get("/v1/books/7?verbose=true&author.name=x%20y&author.born=5"), answers=[ONE]),
    Case("get_full", get("/v1/books/7"), answers=[reply(FULL, DONE, pieces=4)]),
    Case("get_full_pretty", get("/v1/books/7?shelf=a+b"), answers=[reply(FULL, DONE)], listener="options"),
    Case("get_empty", get("/v1/books/7"), answers=[EMPTY]),
    Case("get_empty_pretty", get("/v1/books/7"), answers=[EMPTY], listener="options"),
    Case("get_ints", get("/v1/books/7"), answers=[EMPTY], listener="ints"),
    Case("floats", get("/v1/books/7"), answers=[reply(book(price=1e21, weight=3.0e38), DONE)]),
    Case("floats_small", get("/v1/books/7"), answers=[reply(book(price=0.1 + 0.2, weight=1e-7), DONE)]),
    Case("floats_odd", get("/v1/books/7"), answers=[reply(book(price="NaN", weight="-Infinity"), DONE)]),
    Case("floats_whole", get("/v1/books/7"), answers=[reply(book(price=100000.0, weight=16777216.0), DONE)]),
    Case("controls", get("/v1/books/7"), answers=[reply(book(title="\x00\x1f\x7f\x80\u00ad\ufeff\U0001f600/'&"), DONE)]),
    Case("no_message", get("/v1/books/7"), answers=[NONE]),
    Case("failed", get("/v1/books/7"), answers=[FAILED], status=404),
    Case("failed_late", get("/v1/books/7"), answers=[FAILED_LATE], status=500),
    Case("only", get("/v1/books/7"), answers=[ONLY], status=400),
    Case("odd_status", get("/v1/books/7"), answers=[reply(b"", ("grpc-status", "x"))], status=503),
    Case("no_status", get("/v1/books/7"), answers=[reply(book(id=1))], status=None),
    Case("not_grpc", get("/v1/books/7"), answers=[[answer("404 Not Found", body=b"gone")]], status=404),
    Case("compressed", get("/v1/books/7"), answers=[reply(frame(b"abc", 1), DONE)], status=502, response=False, log=False),
    Case("unknown_path", get("/v2/books"), answers=[[answer()]]),
    Case("unknown_query", get("/v1/books/7?nope=1"), answers=[[answer()]]),
    Case("bad_number", get("/v1/books/x"), **ERROR),
    Case("bad_bool", get("/v1/books/1?verbose=maybe"), **ERROR),
    Case("grpc_passes", post("/shop.Shop/GetBook", "test", ("content-type", "application/grpc"), body=frame(b"")), answers=[ONE]),
    Case("wild_path", get("/v1/paths/a/b%2Fc%20d"), answers=[ONE]),
    Case("wild_empty", get("/v1/paths"), answers=[ONE]),
    Case("one_segment_escape", get("/v1/shelves/a%2Fb/books/7"), answers=[ONE]),
    Case("trailing_slash", get("/v1/books/7/"), answers=[ONE]),
    Case("verb", js("/v1/shelves/s1:burn", "{}"), answers=[ONE]),
    Case("verb_unknown", js("/v1/shelves/s1:melt", "{}"), answers=[[answer()]]),
    Case("custom_method", request("SEARCH", "/v1/search/5"), answers=[ONE]),
    Case("body_field", js("/v1/shelves/s1/books?dry_run=true", '{"id": "5", "title": "x", "coverImage": "AAE=", "unknown": 1}'), answers=[ONE]),
    Case("body_proto_names", js("/v1/shelves/s1/books?dryRun=true", '{"cover_image": "AAE="}'), answers=[ONE]),
    Case("body_all", js("/v1/books", '{"shelf": "a", "book": {"kind": "E_BOOK", "price": "1.5", "tags": ["x"], "counts": {"a": 1}, "stars": 3, "extra": {"q": [1]}}}', "PUT"), answers=[ONE]),
    Case("body_override", js("/v1/shelves/s1:burn", '{"shelf": "other", "kinds": ["AUDIO"]}'), answers=[ONE], upstream=False),
    Case("body_repeated", js("/v1/shelves/s1:burn?kinds=E_BOOK", '{"kinds": ["AUDIO"]}'), answers=[ONE], upstream=False),
    Case("body_empty", js("/v1/shelves/s1:burn", ""), answers=[ONE]),
    Case("body_message", js("/v1/find", '{"name": "n"}'), answers=[ONE]),
    Case("body_on_get", request("GET", "/v1/books/7", body=b"{}"), status=None, answers=[ONE]),
    Case("body_chunked", request("POST", "/v1/shelves/s1/books", headers=[JSON, ("transfer-encoding", "chunked")]) + b"5\r\n{\"id\"\r\n4\r\n: 5}\r\n0\r\n\r\n", answers=[ONE]),
    Case("body_broken", js("/v1/shelves/s1/books", '{"id": '), **ERROR),
    Case("body_wrong_type", js("/v1/shelves/s1/books", '{"id": {}}'), **ERROR),
    Case("body_array", js("/v1/books", "[1]", "PUT"), **ERROR),
    Case("stream_out", get("/v1/shelves/s1/books"), answers=[TWO]),
    Case("stream_out_none", get("/v1/shelves/s1/books"), answers=[NONE]),
    Case("stream_out_failed", get("/v1/shelves/s1/books"), answers=[FAILED], status=None),
    Case("stream_out_only", get("/v1/shelves/s1/books"), answers=[ONLY], status=None),
    Case("stream_out_lines", get("/v1/shelves/s1/books"), answers=[TWO], listener="ints"),
    Case("stream_out_events", get("/v1/shelves/s1/books"), answers=[TWO], listener="events"),
    Case("stream_out_events_only", get("/v1/shelves/s1/books"), answers=[ONLY], listener="events", status=None),
    Case("stream_out_pretty", get("/v1/shelves/s1/books"), answers=[TWO], listener="options"),
    Case("stream_in", js("/v1/add/s1?dry_run=true", '[{"book": {"id": 1}}, {"book": {"title": "],}\\""}}]'), answers=[ONE]),
    Case("stream_in_empty_array", js("/v1/add/s1", "[]"), answers=[ONE]),
    Case("stream_in_no_array", js("/v1/add/s1", "{}"), **ERROR),
    Case("stream_both", js("/v1/chat", '[{"id": 1},{"id":2}]'), answers=[TWO]),
    Case("http_body", request("POST", "/v1/files/n1", headers=[("content-type", "image/png")], body=b"\x00\x01raw"), answers=[reply(frame(made(BODY, contentType="text/html", data=base64.b64encode(b"<p>").decode())), DONE)], upstream=False),
    Case("http_body_empty", request("POST", "/v1/files/n1"), answers=[reply(frame(made(BODY, contentType="text/x")), DONE)], upstream=False),
    Case("http_body_stream", get("/v1/files/5"), answers=[reply(frame(made(BODY, contentType="text/csv", data="YQ==")) + frame(made(BODY, data="Yg==")), DONE)]),
    Case("http_body_captured", request("POST", "/v1/files/n%2F1%20x?other=1&other=2", headers=[("content-type", "image/png")], body=b"raw"), answers=[reply(frame(made(BODY)), DONE)], listener="capture", upstream=False),
    Case("off_for_route", get("/v1/books/9"), answers=[[answer()]]),
    Case("other_for_route", get("/v1/books/8"), answers=[reply(FULL, DONE)]),
    Case("incoming_route", get("/v1/books/7"), answers=[ONE], listener="prefix"),
    Case("auto_mapping", js("/shop.Shop/Plain", '{"id": 3}'), answers=[ONE], listener="options"),
    Case("no_auto_mapping", js("/shop.Shop/Plain", '{"id": 3}'), answers=[[answer()]]),
    Case("strict_method", get("/v2/books?x=1"), status=404, listener="strict"),
    Case("strict_query", get("/v1/books/7?nope=1"), status=400, listener="strict"),
    Case("strict_query_deep", get("/v1/books/7?author.nope=1"), status=400, listener="strict"),
    Case("strict_collision", js("/v1/shelves/s1:burn", '{"shelf": "other"}'), listener="strict", **ERROR),
    Case("strict_no_collision", js("/v1/shelves/s1:burn", '{"shelf": "s1"}'), listener="strict", answers=[ONE]),
    Case("lenient_query", get("/v1/books/7?nope=1&key=2&kinds=audio&kinds=e-book"), answers=[ONE], listener="lenient", upstream=False),
    Case("lenient_escape", get("/v1/paths/a%2Fb/c"), answers=[ONE], listener="lenient"),
    Case("lenient_verb", js("/v1/shelves/s1:melt", "{}"), answers=[[answer()]], listener="lenient"),
    Case("convert", get("/v1/books/7"), answers=[FAILED], status=404, listener="convert"),
    Case("convert_only", get("/v1/books/7"), answers=[ONLY], status=400, listener="convert"),
    Case("convert_details", get("/v1/books/7"), answers=[ONLY_DETAILS], status=403, listener="convert"),
    Case("convert_late", get("/v1/books/7"), answers=[FAILED_LATE], status=500, listener="convert"),
    Case("convert_ok", get("/v1/books/7"), answers=[ONE], listener="convert"),
    Case("convert_stream", get("/v1/shelves/s1/books"), answers=[FAILED], status=None, listener="convert"),
    Case("fields", grpc("/shop.Shop/PutBook", frame(made("shop.Create", shelf="s", dryRun=True, book={"kind": "AUDIO", "sold": True, "weight": 0.1, "printed": "2020-01-02T03:04:05.5Z", "title": "t", "tags": ["a", "b"], "id": 5, "price": 1.5, "author": {"name": "n", "born": 3}, "reviews": [{"name": "r1"}, {"name": "r2"}]}))), answers=[ONE], listener="fields", expect=["r2"]),
    Case("fields_empty", grpc("/shop.Shop/PutBook", frame(b"")), answers=[ONE], listener="fields"),
    Case("fields_two", grpc("/shop.Shop/PutBook", frame(made("shop.Create", shelf="s")) + frame(made("shop.Create", shelf="t"))), answers=[ONE], listener="fields"),
    Case("fields_other_method", grpc("/shop.Shop/GetBook", frame(b"")), answers=[ONE], listener="fields"),
    Case("fields_no_data", grpc("/shop.Shop/PutBook", b"\0\0\0"), listener="fields", **CUT),
    Case("fields_bad_path", grpc("/shop.Shop", frame(b"")), listener="fields", **CUT),
    Case("fields_not_grpc", js("/shop.Shop/PutBook", "{}"), answers=[[answer()]], listener="fields"),
    Case("too_large", js("/v1/shelves/s1/books", '{"title": "' + "x" * 50 + '"}'), status=413, listener="limits", ignore_stats=["rq_response_before", "rq_rx_reset"], replace=[("connection: close\n", "")]),
    Case("answer_too_large", get("/v1/books/7"), answers=[reply(book(title="y" * 50), DONE)], status=500, listener="limits"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_grpc_json_transcoder(pair: Pair, case: Case) -> None:
    # Fields of a message may come in any order: the bytes of a frame are compared as a heap. Envoy's gauges only grow.
    case.replace = [*case.replace, (r"(?s)(?<=\n)\\x00\\x00\\x00\\x00.*?(?=\n0\n)", _heap)]  # type: ignore[list-item]
    case.ignore_stats = [*case.ignore_stats, "transcoder_(request|response)_buffer_bytes"]
    pair.check(case)


def _heap(match: re.Match[str]) -> str:
    return "".join(sorted(match[0].replace("\n", "")))
