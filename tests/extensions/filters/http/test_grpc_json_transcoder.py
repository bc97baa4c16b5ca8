"""envoy.filters.http.grpc_json_transcoder: paths, arrays, messages both ways, bounds, refusals."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.config.errors import ConfigError
from outrider.extensions.filters.http import grpc_json_transcoder
from outrider.extensions.filters.http.grpc_frames import FrameDecoder, frame
from outrider.extensions.filters.http.grpc_json_transcoder.json_array import ArraySplitter, JsonError
from outrider.extensions.filters.http.grpc_json_transcoder.json_writer import number_text, quote
from outrider.extensions.filters.http.grpc_json_transcoder.methods import resolve_field_path
from outrider.extensions.filters.http.grpc_json_transcoder.path_matcher import (
    UNESCAPE_ALL,
    UNESCAPE_EXCEPT_RESERVED,
    UNESCAPE_EXCEPT_SLASH,
    PathMatcher,
    Template,
    TemplateError,
    unescape,
)
from outrider.extensions.filters.http.grpc_json_transcoder.request import (
    Binding,
    HttpBodyTranslator,
    RequestTranslator,
    TranslationError,
)
from outrider.extensions.filters.http.grpc_json_transcoder.response import AnswerError, ResponseTranslator
from outrider.extensions.filters.http.grpc_json_transcoder.settings import TranscoderSettings
from tests.extensions.filters.http.scene import Scene, request_headers
from tests.matching.support import view_of
from tests.support.grpc_shop import descriptor_set

assert grpc_json_transcoder
TYPE = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"
BASE: dict[str, object] = {
    "services": ["shop.Shop"], "proto_descriptor_bin": base64.b64encode(descriptor_set()).decode(),
}  # fmt: skip


def settings(**options: object) -> TranscoderSettings:
    return TranscoderSettings(view_of(TYPE, {**BASE, **options}))


PLAIN = settings()


def matcher(*templates: str, unescaping: int = UNESCAPE_EXCEPT_RESERVED) -> PathMatcher[str]:
    made: PathMatcher[str] = PathMatcher(unescaping, False, False, frozenset())
    for template in templates:
        made.add("GET", Template(template), template)
    return made


TREE = matcher("/a/b", "/a/*", "/a/{x=**}", "/a/{x=*/c}", "/v/{n=p/*/q/*}:do", "/v/{n=**}:all", "/{first}/x/{last.name}")


@pytest.mark.parametrize(
    ("path", "template", "bindings"),
    [
        ("/a/b", "/a/b", []),
        ("/a/z", "/a/*", []),
        ("/a/z/c", "/a/{x=*/c}", [("x", "z/c")]),
        ("/a/z/d", "/a/{x=**}", [("x", "z/d")]),
        ("/a", "/a/{x=**}", [("x", "")]),
        ("/v/p/1/q/2:do", "/v/{n=p/*/q/*}:do", [("n", "p/1/q/2")]),
        ("/v/1/2/3:all", "/v/{n=**}:all", [("n", "1/2/3")]),
        ("/f/x/g%2Fh", "/{first}/x/{last.name}", [("first", "f"), ("last.name", "g/h")]),
        ("/v/1/2", None, []),
        ("/b", None, []),
        ("/" + "a/" * 1000, None, []),
    ],
)
def test_paths(path: str, template: str | None, bindings: list[tuple[str, str]]) -> None:
    found = TREE.find("GET", path, "")
    assert (None if found is None else found[0]) == template
    if found is not None:
        assert found[1] == bindings
        assert TREE.find("POST", path, "") is None


@pytest.mark.parametrize("text", ["a", "/a/{", "/a/{x=", "/a/{x y}", "/a/**/b", "/{a=**}/{b=**}", "/a:", "/a}b", "/a:b/c"])
def test_bad_templates(text: str) -> None:
    with pytest.raises(TemplateError):
        Template(text)


@pytest.mark.parametrize(
    ("text", "spec", "expected"),
    [
        ("a%2Fb%20", UNESCAPE_ALL, "a/b "), ("a%2Fb%3A", UNESCAPE_EXCEPT_SLASH, "a%2Fb:"),
        ("a%2Fb%3A%20", UNESCAPE_EXCEPT_RESERVED, "a%2Fb%3A "), ("%zz%", UNESCAPE_ALL, "%zz%"),
        ("%C3%BC", UNESCAPE_EXCEPT_RESERVED, "ü"), ("%FF", UNESCAPE_ALL, "\ufffd"),
    ],
)  # fmt: skip
def test_unescape(text: str, spec: int, expected: str) -> None:
    assert unescape(text, spec) == expected


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON_VALUES, max_size=5), st.booleans(), st.integers(1, 20))
def test_array_in_pieces(values: list[object], pretty: bool, size: int) -> None:
    text = json.dumps(values, indent=1 if pretty else None, ensure_ascii=False).encode("utf-8", "surrogatepass")
    splitter = ArraySplitter()
    found = [each for at in range(0, len(text), size) for each in splitter.feed(text[at : at + size])]
    splitter.finish()
    assert [json.loads(each) for each in found] == values


@pytest.mark.parametrize("text", [b"{}", b"[1,,2]", b"[1,]", b"[}", b"[1] 2", b"[1"])
def test_no_arrays(text: bytes) -> None:
    splitter = ArraySplitter()
    with pytest.raises(JsonError):
        splitter.feed(text)
        splitter.finish()


@pytest.mark.parametrize(
    ("value", "single", "text"),
    [
        (1.0, False, "1"), (0.1, True, "0.1"), (0.1, False, "0.1"), (1e21, False, "1e+21"), (1e-7, False, "1e-07"),
        (float("inf"), False, '"Infinity"'), (0.30000000000000004, False, "0.30000000000000004"),
    ],
)  # fmt: skip
def test_numbers(value: float, single: bool, text: str) -> None:
    import struct

    shown = struct.unpack("f", struct.pack("f", value))[0] if single else value
    assert number_text(shown, single) == text


def test_quote() -> None:
    assert quote('a"\\\n<\u2028ü') == '"a\\"\\\\\\n\\u003c\\u2028ü"'


def translate(path: str, body: bytes, made: TranscoderSettings = PLAIN, verb: str = "POST") -> list[Any]:
    path, _, query = path.partition("?")
    found = made.matcher.find(verb, path, query)
    assert found is not None
    method, values = found
    bindings = [Binding(resolve_field_path(method.input_type, name), value) for name, value in values]
    translator = RequestTranslator(method, made.request, bindings)
    frames = translator.feed(body[:3], False) + translator.feed(body[3:], True)
    messages = [method.input() for _ in FrameDecoder().decode(frames)]
    for message, (_, payload) in zip(messages, FrameDecoder().decode(frames), strict=True):
        message.ParseFromString(payload)
    return messages


def test_bindings_and_body() -> None:
    (got,) = translate("/v1/shelves/s%201/books?dry_run=true&book.tags=b", b'{"id": "5", "tags": ["a"], "nope": 1}')
    assert (got.shelf, got.book.id, list(got.book.tags), got.dry_run) == ("s 1", 5, ["a", "b"], True)
    (got,) = translate("/v1/shelves/s1:burn?kinds=2&kinds=AUDIO", b'{"shelf": "other", "kinds": ["AUDIO"]}')
    assert (got.shelf, list(got.kinds)) == ("s1", [1, 2, 1])
    (got,) = translate("/v1/books/7?author.name=x", b"", verb="GET")
    assert (got.id, got.author.name) == (7, "x")


def test_client_stream() -> None:
    first, second = translate("/v1/add/s1?dryRun=true", b'[{"book": {"id": 1}}, {"book": {"id": 2}}]')
    assert (first.shelf, first.dry_run, first.book.id) == ("s1", True, 1)
    # Bindings are for the first message.
    assert (second.shelf, second.dry_run, second.book.id) == ("", False, 2)


def test_enums_in_any_case() -> None:
    lenient = settings(case_insensitive_enum_parsing=True)
    (got,) = translate("/v1/shelves/s1:burn?kinds=audio", b'{"kinds": ["e-book", "Paper"]}', lenient)
    assert list(got.kinds) == [2, 0, 1]
    with pytest.raises(TranslationError):
        translate("/v1/shelves/s1:burn?kinds=audio", b"{}")


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b'{"id": []}', b"\xff", b"[" * 100000])
def test_bad_bodies(body: bytes) -> None:
    with pytest.raises(TranslationError):
        translate("/v1/shelves/s1/books", body)


def test_collision() -> None:
    strict = settings(request_validation_options={"reject_binding_body_field_collisions": True})
    assert translate("/v1/shelves/s1:burn", b'{"shelf": "s1"}', strict)
    with pytest.raises(TranslationError):
        translate("/v1/shelves/s1:burn", b'{"shelf": "s2"}', strict)


def test_http_body() -> None:
    found = PLAIN.matcher.find("POST", "/v1/files/n1", "")
    assert found is not None
    method = found[0]
    bindings = [Binding(resolve_field_path(method.input_type, "name"), "n1")]
    translator = HttpBodyTranslator(method, PLAIN.request, bindings, b"image/png", {"q": ["1", "2"]})
    assert translator.feed(b"\0\1", False) == b"" and translator.held == 2
    ((_, payload),) = FrameDecoder().decode(translator.feed(b"\2", True))
    got: Any = method.input()
    got.ParseFromString(payload)
    assert (got.name, got.body.content_type, got.body.data) == ("n1", "image/png", b"\0\1\2")
    assert got.body.extensions[0].type_url.endswith("UnknownQueryParams")


def test_answers_that_are_none() -> None:
    found = PLAIN.matcher.find("GET", "/v1/books/7", "")
    assert found is not None
    with pytest.raises(AnswerError):
        ResponseTranslator(found[0], PLAIN.writer, 0, 0).feed(frame(b"", 1))
    with pytest.raises(AnswerError):
        ResponseTranslator(found[0], PLAIN.writer, 0, 0).feed(frame(b"\xff"))
    with pytest.raises(AnswerError):
        ResponseTranslator(found[0], PLAIN.writer, 0, 100).feed(b"\0\0\1\0\0")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"services": ["shop.No"]}, "Could not find 'shop.No'"),
        ({"proto_descriptor_bin": base64.b64encode(b"\xff").decode()}, "Unable to parse"),
        ({"proto_descriptor_bin": base64.b64encode(descriptor_set()[-2000:]).decode()}, "Unable to"),
        ({"proto_descriptor_bin": None, "proto_descriptor": "/nowhere"}, "Invalid path: /nowhere"),
    ],
)
def test_refused(options: dict[str, object], text: str) -> None:
    config = {name: value for name, value in {**BASE, **options}.items() if value is not None}
    with pytest.raises(ConfigError, match=text):
        TranscoderSettings(view_of(TYPE, config))


def test_gauges_fall() -> None:
    scene = Scene("grpc_json_transcoder", TYPE, BASE)
    stream = scene.stream(request_headers(method="POST", path="/v1/shelves/s1/books"), end=False)
    stream.run_decode_data(0, b'{"id":', False)
    gauge = scene.store.gauge("transcoder_request_buffer_bytes")
    assert gauge.value == 6
    stream.destroy_filters()
    assert gauge.value == 0


def test_too_large() -> None:
    scene = Scene("grpc_json_transcoder", TYPE, {**BASE, "max_request_body_size": 10})
    stream = scene.stream(request_headers(method="POST", path="/v1/shelves/s1/books"), end=False)
    stream.run_decode_data(0, b"x" * 11, False)
    assert stream.details == "grpc_json_transcode_failure{request_buffer_size_limit_reached}"
