"""RFC 7541: field representations, integers, strings, the dynamic table, and what is no HPACK."""

from __future__ import annotations

import hpack
import pytest

from outrider.http.http2.settings import Http2Settings
from tests.http2.conformance.frames import GET, HEADERS, START, block, frame, read, settings
from tests.http2.conformance.server import Server

BROKEN = "connection error COMPRESSION_ERROR"
BASE = block(GET)
# Appendix C.4: requests with Huffman coding on one connection.
C41 = bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")
C42 = bytes.fromhex("828684be5886a8eb10649cbf")
C43 = bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")
# Appendix C.3: the same without.
C31 = bytes.fromhex("828684410f7777772e6578616d706c652e636f6d")
C32 = bytes.fromhex("828684be58086e6f2d6361636865")
C33 = bytes.fromhex("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")
WANTED = [
    (b"http", b"/", b"www.example.com", {}),
    (b"http", b"/", b"www.example.com", {b"cache-control": b"no-cache"}),
    (b"https", b"/index.html", b"www.example.com", {b"custom-key": b"custom-value"}),
]


def request(raw: bytes, stream: int = 1) -> bytes:
    return frame(HEADERS, 5, stream, raw)


def got(raw: bytes) -> Server:
    server = Server()
    server.feed(START + request(raw))
    return server


@pytest.mark.parametrize("blocks", [(C31, C32, C33), (C41, C42, C43)], ids=["plain", "huffman"])
def test_appendix_c(blocks: tuple[bytes, ...]) -> None:
    server = Server()
    server.feed(START + b"".join(request(raw, 2 * number + 1) for number, raw in enumerate(blocks)))
    for exchange, (scheme, path, authority, fields) in zip(server.exchanges, WANTED, strict=True):
        headers = exchange.headers
        assert headers is not None
        assert (headers.scheme, headers.path, headers.authority, headers.single) == (scheme, path, authority, fields)


REPRESENTATIONS = {
    "indexed_static": (b"\x90", {b"accept-encoding": b"gzip, deflate"}),
    "literal_indexed": (b"\x40\x03x-a\x011", {b"x-a": b"1"}),
    "literal_indexed_static_name": (b"\x53\x011", {b"accept": b"1"}),
    "literal_not_indexed": (b"\x00\x03x-a\x011", {b"x-a": b"1"}),
    "literal_not_indexed_static_name": (b"\x0f\x04\x011", {b"accept": b"1"}),
    "literal_never_indexed": (b"\x10\x03x-a\x011", {b"x-a": b"1"}),
    "literal_never_indexed_static_name": (b"\x1f\x04\x011", {b"accept": b"1"}),
    "huffman_name": (b"\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x011", {b"custom-key": b"1"}),
    "huffman_padding_of_7": (b"\x40\x03x-a\x81\x07", {b"x-a": b"0"}),
    "empty_value": (b"\x40\x03x-a\x00", {b"x-a": b""}),
    "empty_huffman_value": (b"\x40\x03x-a\x80", {b"x-a": b""}),
    "length_over_127": (b"\x40\x03x-a\x7f\x49" + b"y" * 200, {b"x-a": b"y" * 200}),
    "dynamic_entry": (b"\x40\x03x-a\x011\xbe", {b"x-a": b"1"}),
}


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_representations(name: str) -> None:
    raw, fields = REPRESENTATIONS[name]
    headers = got(BASE + raw).exchanges[0].headers
    assert headers is not None and headers.single == fields


WRONG = {
    "index_0": b"\x80",
    "index_beyond_static": b"\xbe",
    "index_far_beyond": b"\xff\xff\xff\x01",
    "name_index_beyond": b"\x7f\x00\x011",
    "integer_too_large": b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "integer_cut": b"\xff\x80",
    "string_cut": b"\x40\x03x-a\x05ab",
    "name_cut": b"\x40\x09x-a",
    "value_missing": b"\x40\x03x-a",
    "huffman_eos": b"\x40\x03x-a\x84\xff\xff\xff\xff",
    "huffman_padding_zeros": b"\x40\x03x-a\x81\x00",
    "huffman_padding_too_long": b"\x40\x03x-a\x82\x07\xff",
    "table_size_after_field": b"\x20",
    "table_size_too_large": b"",
    "string_length_huge": b"\x40\x7f\xff\xff\xff\xff\x07",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_hpack(name: str) -> None:
    raw = b"\x3f\xe2\x1f" + BASE if name == "table_size_too_large" else BASE + WRONG[name]
    server = Server()
    server.feed(START)
    server.take()
    assert server.play(request(raw), alive=False) == [BROKEN]


def test_evicted_entries_are_gone() -> None:
    server = Server()
    # The table shrinks to nothing, then an entry is asked for.
    server.feed(START + request(BASE + b"\x40\x03x-a\x011"))
    server.take()
    assert server.play(request(b"\x20" + BASE + b"\xbe", 3), alive=False) == [BROKEN]


def test_larger_than_the_table_empties_it() -> None:
    server = Server()
    server.feed(START + request(BASE + b"\x40\x03x-a\x011"))
    big = b"\x40\x03x-b\x7f\xa1\x1f" + b"y" * 4128
    server.feed(request(BASE + big, 3))
    server.take()
    assert server.play(request(BASE + b"\xbe", 5), alive=False) == [BROKEN]


def test_size_updates_at_the_beginning() -> None:
    server = got(b"\x20\x3f\xe1\x1f" + BASE + b"\x40\x03x-a\x011\xbe")
    headers = server.exchanges[0].headers
    assert headers is not None and headers.single == {b"x-a": b"1"}


def test_our_table_size_is_announced_and_held_to() -> None:
    made = Http2Settings()
    made.hpack_table_size = 0
    server = Server(made)
    server.feed(START + frame(4, 1))
    server.take()
    assert server.play(request(b"\x3f\xe1\x1f" + BASE), alive=False) == [BROKEN]


@pytest.mark.parametrize("size", [0, 60, 4096, 1 << 20])
def test_their_table_size_is_kept_to(size: int) -> None:
    server = Server()
    server.feed(START + settings((1, size)))
    server.take()
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = size
    for stream in range(1, 40, 2):
        server.feed(request(BASE, stream))
        for each in read(server.take()):
            if each.kind == HEADERS:
                assert (b":status", b"200") in [(n.encode() if isinstance(n, str) else n, v.encode() if isinstance(v, str) else v) for n, v in decoder.decode(each.payload)]
                assert decoder.header_table.maxsize <= max(size, 4096)


def test_each_block_shares_the_table() -> None:
    server = Server()
    encoder = hpack.Encoder()
    fields = [*GET, ("x-long", "v" * 100)]
    sizes: list[int] = []
    for stream in (1, 3, 5):
        raw = encoder.encode(fields)
        sizes.append(len(raw))
        server.feed((START if stream == 1 else b"") + request(raw, stream))
    assert sizes[1] < sizes[0] and len(server.exchanges) == 3
    for exchange in server.exchanges:
        assert exchange.headers is not None and exchange.headers.get(b"x-long") == b"v" * 100


def test_a_refused_block_still_feeds_the_table() -> None:
    # The stream is refused for its fields; those after it must be understood all the same.
    server = Server()
    server.feed(START + request(BASE + b"\x40\x03X-a\x011\x40\x03x-b\x012"))
    server.take()
    server.feed(request(BASE + b"\xbe", 3))
    headers = server.exchanges[-1].headers
    assert headers is not None and headers.single == {b"x-b": b"2"}
