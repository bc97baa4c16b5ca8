"""The parser and serialiser: the extension and the fallback give the same events, however the bytes are split."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.native import http1_fallback, http1_writer_fallback, parse_error
from outrider.native.parse_error import REQUEST, RESPONSE, ParseError

IMPLEMENTATIONS: list[ModuleType] = [http1_fallback]
WRITERS: list[ModuleType] = [http1_writer_fallback]
try:
    IMPLEMENTATIONS.append(importlib.import_module("outrider.native.http1"))
    WRITERS.append(importlib.import_module("outrider.native.http1_writer"))
except ImportError:  # not built here
    pass

both_writers = pytest.mark.parametrize("native", WRITERS, ids=lambda module: module.__name__.rpartition(".")[2])
both = pytest.mark.parametrize("native", IMPLEMENTATIONS, ids=lambda module: module.__name__.rpartition(".")[2])


class Events:
    """Notes what a parser calls; body pieces are joined so that splits do not show."""

    def __init__(self) -> None:
        self.heads: list[tuple[Any, ...]] = []
        self.items: list[Any] = []
        self.take_over = False
        self.parser: Any = None

    def on_request_head(self, *head: Any) -> None:
        self.heads.append(head)
        self.items.append(("head", *head[:9]))
        if self.take_over:
            self.parser.take_over()

    def on_response_head(self, *head: Any) -> None:
        self.heads.append(head)
        self.items.append(("head", *head[:8]))

    def on_body(self, data: bytes, end: bool) -> None:
        if self.items and self.items[-1][0] == "body" and not self.items[-1][2]:
            self.items[-1] = ("body", self.items[-1][1] + data, end)
        else:
            self.items.append(("body", data, end))

    def on_trailers(self, single: Any, multi: Any, case: Any) -> None:
        self.items.append(("trailers", single, multi, case))


def run(native: ModuleType, mode: int, parts: list[bytes], finish: bool = False, **options: Any) -> Events:
    """Feed parts; messages follow each other at once. An error is the last item."""
    events = Events()
    options.setdefault("limit", 60 * 1024)
    options.setdefault("fields", 100)
    parser = native.Http1Parser(mode, options.pop("limit"), options.pop("fields"), **options)
    events.parser = parser
    try:
        for part in parts:
            at = 0
            while at < len(part):
                at = parser.feed(events, part, at)
        if finish:
            parser.finish(events)
    except ParseError as error:
        events.items.append(("error", error.kind))
    return events


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *marks], [*marks, len(data)], strict=True) if end > start]


MESSAGES = [
    (REQUEST, b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a:  2 \r\nAccept: a\r\nACCEPT: b\r\n\r\n"),
    (REQUEST, b"\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" * 2),
    (
        REQUEST,
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\nT: 2\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ),
    (
        REQUEST,
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nX-Y_z: \r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ),
    (REQUEST, b"GET /\r\nHost: h\r\n\r\n"),
    (REQUEST, b"GET / HTTP/1.1\r\nConnection: Upgrade, x\r\nUpgrade: foo\r\n\r\n"),
    (RESPONSE, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n"),
    (
        RESPONSE,
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
        b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (RESPONSE, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\nHTTP/1.1 200\r\n\r\nuntil the end"),
    (RESPONSE, b"HTTP/1.0 404 Not Found\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nVary: a\r\nVary: b\r\n\r\nbody"),
    (REQUEST, b"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\0b\r\n\r\n"),
    (REQUEST, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n"),
    (REQUEST, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX Y: 1\r\n\r\n"),
    (REQUEST, b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (RESPONSE, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"),
]


@pytest.mark.parametrize("index", range(len(MESSAGES)))
def test_one_byte_at_a_time_is_the_same(index: int) -> None:
    mode, data = MESSAGES[index]
    expected = run(IMPLEMENTATIONS[0], mode, [data], True, keep_case=True, keep_reason=True)
    for native in IMPLEMENTATIONS:
        split = run(
            native, mode, [data[at : at + 1] for at in range(len(data))], True, keep_case=True, keep_reason=True
        )
        if expected.items[-1][0] == "error":
            # Before an error, body bytes of the same feed are not delivered.
            assert split.items[-1] == expected.items[-1]
            assert split.heads == expected.heads
        else:
            assert split.items == expected.items


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(MESSAGES) - 1), st.lists(st.integers(0, 10_000), max_size=6))
def test_random_splits_are_the_same(index: int, cuts: list[int]) -> None:
    mode, data = MESSAGES[index]
    whole = run(IMPLEMENTATIONS[0], mode, [data], True)
    for native in IMPLEMENTATIONS:
        split = run(native, mode, pieces(data, cuts), True)
        assert split.heads == whole.heads
        if whole.items[-1][0] != "error":
            assert split.items == whole.items
        else:
            assert split.items[-1] == whole.items[-1]


_ALPHABET = st.sampled_from(
    [b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r", b"\n", b"Host: a", b"X: ", b"y", b":",
     b"\t", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"abc", b"3", b"0", b";a=b", b"\0", b"\xe9", b"_: 1"]
)  # fmt: skip


@pytest.mark.skipif(len(IMPLEMENTATIONS) < 2, reason="the extension is not built")
@settings(max_examples=400, deadline=None)
@given(st.lists(_ALPHABET, max_size=12), st.lists(st.integers(0, 200), max_size=3), st.booleans())
def test_extension_and_fallback_agree_on_anything(words: list[bytes], cuts: list[int], valid_start: bool) -> None:
    data = b"".join(words)
    if valid_start:
        data = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + data
    results = []
    for native in IMPLEMENTATIONS:
        events = run(native, REQUEST, pieces(data, cuts))
        failed = events.items[-1:] and events.items[-1][0] == "error"
        results.append((events.heads, failed, [] if failed else events.items))
    assert results[0] == results[1]


@both
def test_facts_of_a_request(native: ModuleType) -> None:
    data = b"PUT /p HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 7\r\nA_b: c\r\n\r\n"
    (head,) = run(native, REQUEST, [data]).heads
    method, target, host, version, flags, length, single, multi, case, size = head
    assert (method, target, host, version, length, size) == (b"PUT", b"/p", b"h", 11, 7, len(data))
    assert flags == (
        parse_error.FLAG_CONNECTION
        | parse_error.FLAG_UPGRADE
        | parse_error.FLAG_CONTENT_LENGTH
        | parse_error.FLAG_KEEP_ALIVE
    )
    assert single == {b"connection": b"upgrade", b"upgrade": b"x", b"content-length": b"7", b"a_b": b"c"}
    assert multi is None and case is None


@both
def test_repeated_fields(native: ModuleType) -> None:
    lines = b"X: 1\r\nCookie: a\r\nX: \r\nAccept: p\r\nX: 1\r\nAccept: q\r\nCookie: b\r\n"
    (head,) = run(native, REQUEST, [b"GET / HTTP/1.1\r\n" + lines + b"\r\n"]).heads
    assert head[6] == {b"x": b"1", b"cookie": b"a", b"accept": b"p,q"}
    assert head[7] == {b"x": [b"1", b"", b"1"], b"cookie": [b"a", b"b"]}


@both
def test_original_spelling_and_reason(native: ModuleType) -> None:
    data = b"HTTP/1.1 200 Very  Fine\r\nX-A: 1\r\nx-a: 2\r\nfoo: 3\r\nContent-Length: 0\r\n\r\n"
    (head,) = run(native, RESPONSE, [data], keep_case=True, keep_reason=True).heads
    assert head[1] == b"Very  Fine"
    assert head[7] == {b"x-a": b"X-A", b"foo": b"foo", b"content-length": b"Content-Length"}


@both
def test_limits(native: ModuleType) -> None:
    head = b"GET / HTTP/1.1\r\nX: " + b"a" * 100 + b"\r\n\r\n"
    assert run(native, REQUEST, [head], limit=len(head)).items[0][0] == "head"
    for parts in ([head], [head[:60], head[60:]], [head[:-1]], [head[:-2], head[-2:]]):
        events = run(native, REQUEST, parts, limit=len(head) - 2)
        assert events.items == [("error", parse_error.HEAD_TOO_LARGE)]
    fields = b"".join(b"X-%d: 1\r\n" % n for n in range(3))
    assert run(native, REQUEST, [b"GET / HTTP/1.1\r\n" + fields + b"\r\n"], fields=3).heads
    events = run(native, REQUEST, [b"GET / HTTP/1.1\r\n" + fields + b"\r\n"], fields=2)
    assert events.items == [("error", parse_error.TOO_MANY_FIELDS)]


@both
def test_limits_of_trailers_and_extensions(native: ModuleType) -> None:
    start = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    events = run(native, REQUEST, [start, b"0\r\nX: " + b"a" * 200 + b"\r\n\r\n"], limit=100)
    assert events.items[-1] == ("error", parse_error.TRAILERS_TOO_LARGE)
    events = run(native, REQUEST, [start, b"0\r\n" + b"A: 1\r\nB: 1\r\nC: 1\r\n\r\n"], fields=2)
    assert events.items[-1] == ("error", parse_error.TOO_MANY_FIELDS)
    chunk = b"1;" + b"e" * 50 + b"\r\nx\r\n"
    events = run(native, REQUEST, [start, chunk * 10 + b"0\r\n\r\n"], max_chunk_extension=60)
    assert events.items[-1] == ("body", b"x" * 10, True)
    events = run(native, REQUEST, [start, b"1;", *[b"e" * 10] * 10], max_chunk_extension=60)
    assert events.items[-1] == ("error", parse_error.CHUNK_EXTENSION_TOO_LONG)


@both
def test_underscores(native: ModuleType) -> None:
    data = b"GET / HTTP/1.1\r\nA_b: 1\r\nc: 2\r\n\r\n"
    assert run(native, REQUEST, [data]).heads[0][6] == {b"a_b": b"1", b"c": b"2"}
    dropping = run(native, REQUEST, [data], underscores=parse_error.UNDERSCORE_DROP)
    assert dropping.heads[0][6] == {b"c": b"2"}
    assert dropping.parser.dropped == 1
    assert run(native, REQUEST, [data], underscores=parse_error.UNDERSCORE_REJECT).items == [
        ("error", parse_error.UNDERSCORE)
    ]


@both
def test_methods(native: ModuleType) -> None:
    for method in (b"GET", b"QUERY", b"PROPFIND", b"UNSUBSCRIBE"):
        assert run(native, REQUEST, [method + b" / HTTP/1.1\r\n\r\n"]).heads[0][0] == method
    for method in (b"FOO", b"get", b"M-SEARCH", b"PRI", b"DESCRIBE", b"SOURC"):
        assert run(native, REQUEST, [method + b" / HTTP/1.1\r\n\r\n"]).items == [("error", parse_error.SYNTAX)]
        assert run(native, REQUEST, [method + b" / HTTP/1.1\r\n\r\n"], custom_methods=True).heads[0][0] == method
    split = [bytes([byte]) for byte in b"FANCY-1 /x HTTP/1.1\r\nHost: h\r\n\r\n"]
    events = run(native, REQUEST, split, custom_methods=True)
    assert events.heads[0][:3] == (b"FANCY-1", b"/x", b"h")
    assert run(native, REQUEST, [b"A" * 200], limit=100, custom_methods=True).items == [
        ("error", parse_error.HEAD_TOO_LARGE)
    ]


@both
def test_other_protocols_are_refused(native: ModuleType) -> None:
    for data in (b"RTSP/1.0 200 OK\r\n\r\n", b"ICE/1.0 200 OK\r\n\r\n", b"\r\nHTTP/1.1 200 OK\r\n\r\n"):
        assert run(native, RESPONSE, [data]).items == [("error", parse_error.SYNTAX)]
    assert run(native, REQUEST, [b"SOURCE / ICE/1.0\r\n\r\n"]).items == [("error", parse_error.SYNTAX)]


@both
def test_a_message_ends_the_feed(native: ModuleType) -> None:
    events = Events()
    parser = native.Http1Parser(REQUEST, 1000, 10)
    data = b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGE"
    assert parser.feed(events, data) == 19
    assert parser.idle and not parser.started
    assert parser.feed(events, data, 19) == 38
    assert parser.feed(events, data, 38) == 40
    assert parser.started and not parser.idle
    assert [head[1] for head in events.heads] == [b"/1", b"/2"]


@both
def test_take_over_and_stop(native: ModuleType) -> None:
    events = Events()
    events.take_over = True
    parser = native.Http1Parser(REQUEST, 1000, 10)
    events.parser = parser
    data = b"CONNECT a:1 HTTP/1.1\r\n\r\nraw bytes"
    assert parser.feed(events, data) == 24
    with pytest.raises(ParseError):
        parser.feed(events, data, 24)

    class Stopping(Events):
        def on_body(self, data: bytes, end: bool) -> None:
            super().on_body(data, end)
            self.parser.stop()

    stopping = Stopping()
    stopping.parser = parser = native.Http1Parser(REQUEST, 1000, 10)
    data = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\n\r\n"
    assert parser.feed(stopping, data) == 39
    assert len(stopping.heads) == 1
    with pytest.raises(ParseError):
        parser.feed(stopping, data, 39)


@both
def test_errors_of_handlers_pass_through(native: ModuleType) -> None:
    class Failing(Events):
        def on_request_head(self, *head: Any) -> None:
            raise LookupError

    with pytest.raises(LookupError):
        native.Http1Parser(REQUEST, 1000, 10).feed(Failing(), b"GET / HTTP/1.1\r\n\r\n")


@both
def test_responses_to_head(native: ModuleType) -> None:
    events = Events()
    parser = native.Http1Parser(RESPONSE, 1000, 10)
    parser.expect_no_body(True)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    assert parser.feed(events, head) == len(head)
    assert events.heads[0][3] & parse_error.FLAG_END
    parser.expect_no_body(False)
    assert parser.feed(events, head + b"123456789") == len(head) + 9
    assert events.items[-1] == ("body", b"123456789", True)


@both
def test_the_end_of_the_connection(native: ModuleType) -> None:
    assert run(native, RESPONSE, [b"HTTP/1.1 200 OK\r\n\r\nab"], True).items[-1] == ("body", b"ab", True)
    assert run(native, RESPONSE, [], True).items == []
    for data in (b"H", b"HTTP/1.1 200 OK\r\nCont", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"):
        assert run(native, RESPONSE, [data], True).items[-1] == ("error", parse_error.TRUNCATED)


@both
def test_body_is_the_fed_object_when_it_is_nothing_else(native: ModuleType) -> None:
    seen: list[bytes] = []

    class Keeping(Events):
        def on_body(self, data: bytes, end: bool) -> None:
            seen.append(data)

    parser = native.Http1Parser(REQUEST, 1000, 10)
    handler = Keeping()
    parser.feed(handler, b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\n")
    chunk = b"x" * 20
    parser.feed(handler, chunk)
    assert seen[0] is chunk


@both
def test_many_fields_and_long_names(native: ModuleType) -> None:
    names = [b"X-" + b"n" * n for n in range(1, 90)]
    data = b"GET / HTTP/1.1\r\n" + b"".join(name + b": v\r\n" for name in names) + b"\r\n"
    (head,) = run(native, REQUEST, [data]).heads
    assert list(head[6]) == [name.lower() for name in names]


@both_writers
def test_encode_request(native: ModuleType) -> None:
    single = {b"x-a": b"1", b"y": b"2", b"z.b_c": b""}
    multi = {b"y": [b"2", b"3"]}
    plain = native.encode_request(b"GET", b"/", b"h", single, multi, b"content-length", b"0", None, False)
    assert plain == b"GET / HTTP/1.1\r\nhost: h\r\nx-a: 1\r\ny: 2\r\ny: 3\r\nz.b_c: \r\ncontent-length: 0\r\n\r\n"
    proper = native.encode_request(b"GET", b"/", b"h", single, None, None, None, None, True)
    assert proper == b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nY: 2\r\nZ.B_C: \r\n\r\n"
    spelled = native.encode_request(b"GET", b"/", b"h", single, None, None, None, {b"host": b"HOST", b"y": b"Y"}, True)
    assert spelled == b"GET / HTTP/1.1\r\nHOST: h\r\nX-A: 1\r\nY: 2\r\nZ.B_C: \r\n\r\n"


@both_writers
def test_encode_head_and_chunks(native: ModuleType) -> None:
    assert native.encode_head(b"HTTP/1.1 200 OK\r\n", {}, None, None, None, None, False) == b"HTTP/1.1 200 OK\r\n\r\n"
    assert native.encode_head(b"0\r\n", {b"t": b"1"}, None, None, None, None, False) == b"0\r\nt: 1\r\n\r\n"
    assert native.encode_chunk(b"x" * 0x1AB, False) == b"1ab\r\n" + b"x" * 0x1AB + b"\r\n"
    assert native.encode_chunk(b"abc", True) == b"3\r\nabc\r\n0\r\n\r\n"
    assert native.encode_chunk(b"", True) == b"0\r\n\r\n"
    assert native.encode_chunk(b"", False) == b""


@both_writers
@pytest.mark.parametrize("bad", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b"])
def test_nothing_can_break_out_of_a_line(native: ModuleType, bad: bytes) -> None:
    with pytest.raises(ValueError):
        native.encode_head(b"HTTP/1.1 200 OK\r\n", {b"x": bad}, None, None, None, None, False)
    with pytest.raises(ValueError):
        native.encode_head(b"HTTP/1.1 200 OK\r\n", {bad: b"x"}, None, None, None, None, False)
    with pytest.raises(ValueError):
        native.encode_head(b"HTTP/1.1 200 OK\r\n", {b"x": b""}, {b"x": [b"", bad]}, None, None, None, False)
    for position in range(3):
        parts = [b"GET", b"/", b"h"]
        parts[position] = bad
        with pytest.raises(ValueError):
            native.encode_request(*parts, {}, None, None, None, None, False)
    with pytest.raises(ValueError):
        native.encode_request(b"GET", b"/a b", b"h", {}, None, None, None, None, False)


@both
def test_interned_names_are_used(native: ModuleType) -> None:
    name = bytes(bytearray(b"x-outrider-test"))
    native.intern_name(name)
    (head,) = run(native, REQUEST, [b"GET / HTTP/1.1\r\nX-Outrider-Test: 1\r\n\r\n"]).heads
    assert head[6] == {name: b"1"}
    if native is not http1_fallback:
        assert next(iter(head[6])) is name
