"""h11 as the oracle: what we write it reads, what it writes we read, and what it refuses for its framing we refuse."""

from __future__ import annotations

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.http.http1.settings import Http1Settings
from tests.http.http1.support import Client, Responses, Server

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20).map(
    lambda name: b"x-" + name.encode()
)
VALUES = st.text("abc XYZ09~!,;=/\"'\t", max_size=30).map(lambda value: value.strip(" \t").encode())
FIELDS = st.dictionaries(NAMES, VALUES, max_size=8)
BODIES = st.lists(st.binary(max_size=50), max_size=4)
CUTS = st.lists(st.integers(0, 2000), max_size=5)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({at % (len(data) + 1) for at in cuts})
    return [data[start:end] for start, end in zip([0, *marks], [*marks, len(data)], strict=True) if end > start]


def trailers_on() -> Http1Settings:
    made = Http1Settings()
    made.enable_trailers = True
    return made


def drain(connection: h11.Connection) -> tuple[list[tuple[bytes, bytes]], bytes, list[tuple[bytes, bytes]]]:
    """Fields, body and trailers of the next message."""
    first = connection.next_event()
    assert isinstance(first, h11.Request | h11.Response), first
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            assert isinstance(event, h11.EndOfMessage), event
            return list(first.headers), body, list(event.headers)


@settings(max_examples=100, deadline=None)
@given(FIELDS, BODIES, FIELDS, st.booleans())
def test_h11_reads_our_requests(
    fields: dict[bytes, bytes], body: list[bytes], trailers: dict[bytes, bytes], sized: bool
) -> None:
    client = Client(trailers_on())
    single = dict(fields)
    if sized:
        single[b"content-length"] = b"%d" % sum(map(len, body))
    encoder = client.codec.new_stream(Responses(client))
    encoder.encode_headers(RequestHeaderMap(single, method=b"PUT", path=b"/p", authority=b"h"), False)
    for part in body:
        encoder.encode_data(part, False)
    encoder.encode_trailers(HeaderMap(dict(trailers)))
    server = h11.Connection(h11.SERVER)
    server.receive_data(client.wire.transport.take())
    read, read_body, read_trailers = drain(server)
    framing = [] if sized else [(b"transfer-encoding", b"chunked")]
    assert read == [(b"host", b"h"), *single.items(), *framing]
    assert read_body == b"".join(body)
    assert read_trailers == ([] if sized else list(trailers.items()))


@settings(max_examples=100, deadline=None)
@given(FIELDS, BODIES, FIELDS, st.booleans())
def test_h11_reads_our_responses(
    fields: dict[bytes, bytes], body: list[bytes], trailers: dict[bytes, bytes], sized: bool
) -> None:
    server = Server(trailers_on())
    server.feed(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    single = dict(fields)
    if sized:
        single[b"content-length"] = b"%d" % sum(map(len, body))
    encoder = server.encoders[0]
    encoder.encode_headers(ResponseHeaderMap(single, status=201), False)
    for part in body:
        encoder.encode_data(part, False)
    encoder.encode_trailers(HeaderMap(dict(trailers)))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(server.wire.transport.take())
    read, read_body, read_trailers = drain(client)
    framing = [] if sized else [(b"transfer-encoding", b"chunked")]
    assert read == [*single.items(), *framing]
    assert read_body == b"".join(body)
    assert read_trailers == ([] if sized else list(trailers.items()))


@settings(max_examples=100, deadline=None)
@given(FIELDS, BODIES, FIELDS, st.booleans(), CUTS)
def test_we_read_requests_of_h11_however_they_are_cut(
    fields: dict[bytes, bytes], body: list[bytes], trailers: dict[bytes, bytes], sized: bool, cuts: list[int]
) -> None:
    client = h11.Connection(h11.CLIENT)
    framing = (b"content-length", b"%d" % sum(map(len, body))) if sized else (b"transfer-encoding", b"chunked")
    request = h11.Request(method=b"PUT", target=b"/p", headers=[(b"host", b"h"), framing, *fields.items()])
    raw = client.send(request) or b""
    for part in body:
        raw += client.send(h11.Data(data=part)) or b""
    raw += client.send(h11.EndOfMessage(headers=[] if sized else list(trailers.items()))) or b""
    server = Server(trailers_on())
    server.feed(*cut(raw, cuts))
    (stream,) = server.streams
    assert server.error is None and stream.complete and stream.headers is not None
    assert {name: value for name, value in stream.headers.items() if name != b"content-length"} == fields
    assert stream.body == b"".join(body)
    assert (stream.trailers.single if stream.trailers is not None else {}) == ({} if sized else trailers)
    assert server.encoders[0].wire_bytes_received == len(raw)


@settings(max_examples=100, deadline=None)
@given(FIELDS, BODIES, CUTS, st.sampled_from(["sized", "chunked", "close"]))
def test_we_read_responses_of_h11_however_they_are_cut(
    fields: dict[bytes, bytes], body: list[bytes], cuts: list[int], framing: str
) -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.%d\r\nHost: h\r\n\r\n" % (0 if framing == "close" else 1))
    server.next_event()
    server.next_event()
    headers = list(fields.items())
    if framing == "sized":
        headers.append((b"content-length", b"%d" % sum(map(len, body))))
    raw = server.send(h11.Response(status_code=200, headers=headers, reason=b"OK")) or b""
    for part in body:
        raw += server.send(h11.Data(data=part)) or b""
    raw += server.send(h11.EndOfMessage()) or b""
    client = Client()
    encoder, decoder = client.request()
    client.feed(*cut(raw, cuts))
    if framing == "close":
        assert not decoder.complete
        client.eof()
    assert client.error is None and decoder.complete and decoder.headers is not None
    assert decoder.body == b"".join(body)
    assert set(fields.items()) <= set(decoder.headers.items())
    assert encoder.wire_bytes_received == len(raw)


FRAMING = st.sampled_from(
    [b"Content-Length: 3", b"Content-Length: 5", b"Content-Length: 3, 3", b"Content-Length: +3", b"Content-Length: ",
     b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, chunked",
     b"transfer-encoding : chunked", b"Content-Length : 3", b"X: y"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAMING, max_size=3), st.sampled_from([b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"", b"3\r\nabcd\r\n"]), CUTS)
def test_framing_that_h11_refuses_we_refuse(lines: list[bytes], body: bytes, cuts: list[int]) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: h\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
    oracle = h11.Connection(h11.SERVER)
    refused = False
    taken = b""
    try:
        oracle.receive_data(raw)
        while True:
            event = oracle.next_event()
            if isinstance(event, h11.Data):
                taken += bytes(event.data)
            elif not isinstance(event, h11.Request):
                break
    except h11.RemoteProtocolError:
        refused = True
    server = Server()
    server.feed(*cut(raw, cuts))
    if refused:
        # The stream is not let through whole: that is what smuggling needs.
        assert server.error is not None
    elif server.error is None:
        assert server.streams[0].body == taken
