"""RFC 9113 sections 3 to 6: preface, frame layout, each kind of frame."""

from __future__ import annotations

import pytest

from outrider.http.http2.settings import Http2Settings
from tests.http2.conformance.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    START,
    WINDOW_UPDATE,
    block,
    data,
    frame,
    headers,
    post,
    read,
    reset,
    setting,
    settings,
    window_update,
)
from tests.http2.conformance.server import Server
from tests.http2.conformance.table import Row, check, names

B = block(GET)
OPEN = post(1)
SIZE = "connection error FRAME_SIZE_ERROR"
PROTOCOL = "connection error PROTOCOL_ERROR"
ANY = "connection error"
DONE = "1: 200 end"
PRIO = bytes(4) + b"\x10"

PREFACES: list[Row] = [
    ("wrong_last_octet", PREFACE[:-1] + b"x" + frame(SETTINGS), ANY),
    ("http1", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", ANY),
    ("no_settings_after", PREFACE + headers(1), PROTOCOL),
    ("ping_first", PREFACE + frame(PING, 0, 0, bytes(8)), PROTOCOL),
    ("settings_ack_first", PREFACE + frame(SETTINGS, ACK), ANY),
    ("whole", START + headers(1), "settings ack; " + DONE),
    ("settings_with_values", PREFACE + settings((1, 0), (3, 10), (4, 1000), (5, 20000)) + headers(1), "settings ack; " + DONE),
]

FRAMES: list[Row] = [
    # 4.1 frame format
    ("unknown_kind", frame(0x42, 0xFF, 0, b"abc") + headers(1), DONE),
    ("unknown_kind_on_stream", OPEN + frame(0x42, 0, 1, b"abc") + data(1, b"x", True), "1: 200; 1: 1 bytes end"),
    ("unknown_flags_on_ping", frame(PING, 0xFE, 0, b"12345678"), "pong 12345678"),
    ("reserved_bit_of_stream", frame(PING, 0, 0x80000000, b"12345678"), "pong 12345678"),
    # 4.2 frame size
    ("data_of_16384", OPEN + data(1, bytes(16384), True), "1: 200; 1: 16384 bytes end"),
    ("data_of_16385", OPEN + data(1, bytes(16385), True), SIZE),
    ("headers_too_long", frame(HEADERS, 5, 1, B, length=16385), SIZE),
    ("settings_too_long", frame(SETTINGS, 0, 0, bytes(6), length=16386), SIZE),
    # 4.3 header blocks
    ("bad_block", frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff"), "connection error COMPRESSION_ERROR"),
    ("block_in_pieces", frame(HEADERS, END_STREAM, 1, B[:3]) + frame(CONTINUATION, 0, 1, B[3:7]) + frame(CONTINUATION, END_HEADERS, 1, B[7:]), DONE),
    ("block_with_empty_pieces", frame(HEADERS, END_STREAM, 1, b"") + frame(CONTINUATION, 0, 1, B) + frame(CONTINUATION, END_HEADERS, 1, b""), DONE),
    ("block_interrupted_by_data", OPEN + frame(HEADERS, 1, 3, B[:3]) + data(1, b"x"), PROTOCOL),
    ("block_interrupted_by_ping", frame(HEADERS, 1, 1, B[:3]) + frame(PING, 0, 0, bytes(8)), PROTOCOL),
    ("block_interrupted_by_headers", frame(HEADERS, 1, 1, B[:3]) + headers(3), PROTOCOL),
    ("block_interrupted_by_unknown", frame(HEADERS, 1, 1, B[:3]) + frame(0x42, 0, 1, b""), PROTOCOL),
    ("block_interrupted_by_other_stream", frame(HEADERS, 1, 1, B[:3]) + frame(CONTINUATION, 4, 3, B[3:]), PROTOCOL),
    ("block_interrupted_by_settings", frame(HEADERS, 1, 1, B[:3]) + frame(SETTINGS), PROTOCOL),
    ("block_interrupted_by_window_update", frame(HEADERS, 1, 1, B[:3]) + window_update(0, 1), PROTOCOL),
    # 6.1 DATA
    ("data_on_connection", data(0, b"x"), PROTOCOL),
    ("data_padded", OPEN + frame(DATA, PADDED | END_STREAM, 1, b"\x02ab\0\0"), "1: 200; 1: 2 bytes end"),
    ("data_only_padding", OPEN + frame(DATA, PADDED | END_STREAM, 1, b"\x02\0\0"), DONE),
    ("data_pad_as_long", OPEN + frame(DATA, PADDED, 1, b"\x04ab\0"), PROTOCOL),
    ("data_pad_missing", OPEN + frame(DATA, PADDED, 1, b""), ANY),
    ("data_empty_end", OPEN + data(1, b"", True), DONE),
    ("data_in_two", OPEN + data(1, b"ab") + data(1, b"c", True), "1: 200; 1: 3 bytes end"),
    # 6.2 HEADERS
    ("headers_on_connection", headers(0), ANY),
    ("headers_padded", frame(HEADERS, 5 | PADDED, 1, b"\x02" + B + b"\0\0"), DONE),
    ("headers_pad_too_long", frame(HEADERS, 5 | PADDED, 1, b"\xff" + B), PROTOCOL),
    ("headers_with_priority", frame(HEADERS, 5 | PRIORITISED, 1, PRIO + B), DONE),
    ("headers_padded_with_priority", frame(HEADERS, 5 | PRIORITISED | PADDED, 1, b"\x01" + PRIO + B + b"\0"), DONE),
    ("headers_priority_cut", frame(HEADERS, 5 | PRIORITISED, 1, b"\0\0"), ANY),
    ("headers_on_even_stream", headers(2), ANY),
    # 6.3 PRIORITY
    ("priority_on_connection", frame(PRIORITY, 0, 0, PRIO), ANY),
    ("priority_of_4", frame(PRIORITY, 0, 1, bytes(4)), SIZE),
    ("priority_of_6", frame(PRIORITY, 0, 1, bytes(6)), SIZE),
    ("priority_on_idle", frame(PRIORITY, 0, 1, PRIO) + headers(1), DONE),
    ("priority_on_closed", headers(1) + frame(PRIORITY, 0, 1, PRIO), DONE),
    # 6.4 RST_STREAM
    ("reset_on_connection", reset(0), ANY),
    ("reset_on_idle", reset(1), ANY),
    ("reset_of_3", OPEN + frame(RST_STREAM, 0, 1, bytes(3)), SIZE),
    ("reset_of_5", OPEN + frame(RST_STREAM, 0, 1, bytes(5)), SIZE),
    ("reset", OPEN + reset(1), ""),
    ("reset_twice", OPEN + reset(1) + reset(1), ""),
    ("reset_with_unknown_code", OPEN + reset(1, 0x12345678), ""),
    # 6.5 SETTINGS
    ("settings_on_stream", frame(SETTINGS, 0, 1), ANY),
    ("settings_of_5", frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    ("settings_ack_with_payload", frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    ("settings_acknowledged", settings((4, 100)), "settings ack"),
    ("settings_twice", settings((3, 1)) + settings((3, 2)), "settings ack; settings ack"),
    ("settings_unknown", settings((0xFFF0, 1)), "settings ack"),
    ("settings_push_2", settings((2, 2)), ANY),
    ("settings_push_1", settings((2, 1)), "settings ack"),
    ("settings_push_0", settings((2, 0)), "settings ack"),
    ("settings_window_too_large", settings((4, 0x80000000)), ANY),
    ("settings_window_largest", settings((4, 0x7FFFFFFF)), "settings ack"),
    ("settings_frame_size_small", settings((5, 16383)), ANY),
    ("settings_frame_size_large", settings((5, 16777216)), ANY),
    ("settings_frame_size_smallest", settings((5, 16384)), "settings ack"),
    ("settings_frame_size_largest", settings((5, 16777215)), "settings ack"),
    ("settings_list_size", settings((6, 0)), "settings ack"),
    ("settings_connect_protocol_2", settings((8, 2)), ANY),
    ("settings_same_twice_in_one", frame(SETTINGS, 0, 0, setting(4, 1) + setting(4, 100000)), "settings ack"),
    # 6.6 PUSH_PROMISE
    ("push_promise", frame(PUSH_PROMISE, END_HEADERS, 1, bytes(3) + b"\2" + B), ANY),
    ("push_promise_on_open", OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, bytes(3) + b"\2" + B), ANY),
    # 6.7 PING
    ("ping", frame(PING, 0, 0, b"abcdefgh"), "pong abcdefgh"),
    ("ping_ack_unasked", frame(PING, ACK, 0, b"abcdefgh"), ""),
    ("ping_on_stream", frame(PING, 0, 1, bytes(8)), ANY),
    ("ping_of_7", frame(PING, 0, 0, bytes(7)), SIZE),
    ("ping_of_9", frame(PING, 0, 0, bytes(9)), SIZE),
    # 6.8 GOAWAY
    ("goaway_on_stream", frame(GOAWAY, 0, 1, bytes(8)), ANY),
    ("goaway_of_7", frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    # 6.9 WINDOW_UPDATE
    ("window_update", OPEN + window_update(0, 1000) + window_update(1, 1000), ""),
    ("window_update_of_0", window_update(0, 0), ANY),
    ("window_update_of_3", frame(WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    ("window_update_of_5", frame(WINDOW_UPDATE, 0, 0, bytes(5)), SIZE),
    ("window_update_on_idle", window_update(1, 100), ANY),
    ("window_update_on_closed", headers(1) + window_update(1, 100), DONE),
    ("window_overflow_of_connection", window_update(0, 0x7FFFFFFF), ANY),
    ("window_update_reserved_bit", frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\1"), ""),
    # 6.10 CONTINUATION
    ("continuation_on_connection", frame(CONTINUATION, 4, 0, B), PROTOCOL),
    ("continuation_alone", frame(CONTINUATION, 4, 1, B), PROTOCOL),
    ("continuation_after_end", headers(1) + frame(CONTINUATION, 4, 1, B), ANY),
    ("continuation_after_data", OPEN + data(1, b"x") + frame(CONTINUATION, 4, 1, B), PROTOCOL),
]  # fmt: skip


@pytest.mark.parametrize("row", PREFACES, ids=names(PREFACES))
def test_preface(row: Row) -> None:
    check(row, start=b"")


@pytest.mark.parametrize("row", FRAMES, ids=names(FRAMES))
def test_frames(row: Row) -> None:
    check(row)


@pytest.mark.parametrize("debug", [b"", b"because"])
def test_goaway(debug: bytes) -> None:
    server = Server()
    server.feed(START + post(1))
    server.take()
    # What runs goes on; as in Envoy nothing new is served.
    assert server.play(frame(GOAWAY, 0, 0, bytes(8) + debug) + data(1, b"x", True), alive=False) == ["1: 200", "1: 1 bytes end"]
    assert server.play(headers(3), alive=False) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_frames_may_come_in_any_pieces(size: int) -> None:
    whole = START + post(1) + data(1, b"abc") + frame(PING, 0, 0, b"12345678") + data(1, b"d", True) + headers(3)
    server = Server()
    outcome = server.play(PREFACE, *[whole[at : at + size] for at in range(len(PREFACE), len(whole), size)])
    assert outcome == ["settings ack", "pong 12345678", "1: 200", "1: 4 bytes end", "3: 200 end"]


def test_first_settings_of_the_server() -> None:
    made = Http2Settings()
    made.allow_connect = True
    made.max_concurrent_streams = 7
    server = Server(made)
    server.feed(b"")
    server.codec.flush()
    first = read(server.take())[0]
    pairs = {
        int.from_bytes(first.payload[at : at + 2], "big"): int.from_bytes(first.payload[at + 2 : at + 6], "big")
        for at in range(0, len(first.payload), 6)
    }
    assert first.kind == SETTINGS and first.stream == 0
    assert (pairs[3], pairs[8]) == (7, 1)
