"""RFC 9113 section 5: states of streams, their numbers, concurrency, flow control."""

from __future__ import annotations

import pytest

from outrider.http.http2.settings import Http2Settings
from tests.http2.conformance.frames import (
    CONTINUATION,
    DATA,
    END_STREAM,
    GET,
    PING,
    SETTINGS,
    START,
    WINDOW_UPDATE,
    data,
    frame,
    headers,
    post,
    read,
    replaced,
    reset,
    settings,
    window_update,
)
from tests.http2.conformance.server import Server
from tests.http2.conformance.table import Row, check, names

OPEN = post(1)
CLOSED = headers(1)
HALF = headers(1, replaced(":path", "/wait"))
END = frame(0x1, 5, 1, b"\x0f\x0d\x010")
ANY = "connection error"
STREAM_CLOSED = "connection error STREAM_CLOSED"
DONE = "1: 200 end"


def send(stream: int, size: int) -> bytes:
    return headers(stream, replaced(":path", f"/send/{size}"))


STATES: list[Row] = [
    # 5.1 idle
    ("idle_data", data(1, b"x"), ANY),
    ("idle_reset", reset(1), ANY),
    ("idle_window_update", window_update(3, 1), ANY),
    ("idle_continuation", frame(CONTINUATION, 4, 1, b""), ANY),
    ("idle_priority", frame(2, 0, 9, bytes(5)) + headers(1), DONE),
    # 5.1 half-closed (remote)
    ("half_closed_data", HALF + data(1, b"x"), STREAM_CLOSED),
    ("half_closed_headers", HALF + headers(1), ANY),
    ("half_closed_window_update", HALF + window_update(1, 100), ""),
    ("half_closed_priority", HALF + frame(2, 0, 1, bytes(4) + b"\1"), ""),
    ("half_closed_reset", HALF + reset(1), ""),
    # 5.1 closed
    ("closed_data", CLOSED + data(1, b"x"), ANY),
    ("closed_headers", CLOSED + headers(1), ANY),
    ("closed_reset", [CLOSED, reset(1)], DONE),
    ("closed_window_update", [CLOSED, window_update(1, 1)], DONE),
    ("reset_then_data", OPEN + reset(1) + data(1, b"x"), ""),
    ("reset_then_headers", OPEN + reset(1) + headers(1), ""),
    ("reset_then_trailers", OPEN + reset(1) + END, ""),
    # 5.1.1 numbers
    ("numbers_odd", headers(1) + headers(5) + headers(9), "1: 200 end; 5: 200 end; 9: 200 end"),
    ("number_even", headers(2), ANY),
    ("number_largest", headers(0x7FFFFFFD), "2147483645: 200 end"),
    # nghttp2, and so Envoy, takes a smaller number for that of a stream closed before, and leaves it out.
    ("number_smaller", headers(5) + headers(3), "5: 200 end"),
    # 5.4 errors
    ("self_made_error_leaves_others", OPEN + headers(3, [*GET, ("X", "1")]) + data(1, b"x", True), "3: reset PROTOCOL_ERROR; 1: 200; 1: 1 bytes end"),
    # 5.5 extensions
    ("unknown_frame_on_half_closed", HALF + frame(0x99, 0xFF, 1, b"abc"), ""),
]  # fmt: skip


@pytest.mark.parametrize("row", STATES, ids=names(STATES))
def test_states(row: Row) -> None:
    if "number_largest" in row[0]:
        server = Server()
        server.feed(START)
        server.take()
        assert server.play(row[1], alive=False) == [row[2]]  # type: ignore[arg-type]
        return
    check(row)


def limited(streams: int = 2) -> Server:
    made = Http2Settings()
    made.max_concurrent_streams = streams
    made.stream_error = True
    return Server(made)


def test_refused_above_the_limit() -> None:
    server = limited()
    # The client may not have seen our SETTINGS yet.
    server.feed(START)
    server.take()
    assert server.play(post(1) + post(3) + post(5), alive=False) == ["5: reset REFUSED_STREAM"]
    assert server.stats.stream_refused_errors.value == 1
    assert server.play(data(1, b"x", True), headers(7)) == ["1: 200", "1: 1 bytes end", "7: 200 end"]


def test_more_than_the_limit_that_was_acknowledged() -> None:
    server = limited()
    server.feed(START + frame(SETTINGS, 1))
    server.take()
    assert server.play(post(1) + post(3) + post(5), alive=False)[-1].startswith("connection error")


def bodies(server: Server) -> dict[int, int]:
    got: dict[int, int] = {}
    for each in read(server.take()):
        if each.kind == DATA:
            got[each.stream] = got.get(each.stream, 0) + len(each.payload)
    return got


def test_window_of_a_stream() -> None:
    server = Server()
    server.feed(START + settings((4, 10)) + window_update(0, 100000))
    server.take()
    server.feed(send(1, 25))
    assert bodies(server) == {1: 10}
    server.feed(window_update(1, 5))
    assert bodies(server) == {1: 5}
    server.feed(window_update(1, 100))
    assert bodies(server) == {1: 10}


def test_window_of_the_connection() -> None:
    server = Server()
    server.feed(START + settings((4, 1000000)))
    server.take()
    server.feed(send(1, 65000) + send(3, 1000))
    assert sum(bodies(server).values()) == 65535
    server.feed(window_update(0, 100))
    assert sum(bodies(server).values()) == 100
    server.feed(window_update(0, 1000))
    assert sum(bodies(server).values()) == 365


def test_settings_change_windows_of_open_streams() -> None:
    server = Server()
    server.feed(START + settings((4, 10)))
    server.take()
    server.feed(send(1, 30))
    assert bodies(server) == {1: 10}
    server.feed(settings((4, 25)))
    assert bodies(server) == {1: 15}
    # It may become negative (section 6.9.2).
    server.feed(settings((4, 5)))
    assert bodies(server) == {}
    server.feed(window_update(1, 20))
    assert bodies(server) == {}
    server.feed(window_update(1, 5))
    assert bodies(server) == {1: 5}


def test_setting_that_overflows_a_window() -> None:
    server = Server()
    server.feed(START + settings((4, 10)) + post(1) + window_update(1, 0x7FFFFFF0))
    server.take()
    # RFC 9113 section 6.9.2 would have the connection end; nghttp2 ends the stream.
    assert server.play(settings((4, 0x7FFFFFFF))) == ["settings ack", "1: reset FLOW_CONTROL_ERROR"]


def test_small_frames_are_respected() -> None:
    server = Server()
    server.feed(START + settings((5, 16384)))
    server.take()
    server.feed(send(1, 40000))
    sizes = [len(each.payload) for each in read(server.take()) if each.kind == DATA]
    assert sizes == [16384, 16384, 7232]


def test_window_is_given_back_for_what_was_taken() -> None:
    made = Http2Settings()
    made.initial_stream_window_size = made.initial_connection_window_size = 65535
    server = Server(made)
    server.feed(START + post(1))
    server.take()
    for _ in range(20):
        server.feed(data(1, bytes(16000)))
        if any(each.kind == WINDOW_UPDATE for each in read(server.take())):
            break
    else:
        raise AssertionError("no window came back")


def test_nothing_is_given_back_while_the_reader_waits() -> None:
    made = Http2Settings()
    made.initial_stream_window_size = made.initial_connection_window_size = 65535
    server = Server(made)
    server.feed(START + post(1))
    server.take()
    encoder = server.exchanges[0].encoder
    encoder.read_disable(True)
    server.feed(data(1, bytes(16000)) * 4)
    assert [each.kind for each in read(server.take())] == []
    server.feed(data(1, bytes(1536)))
    assert server.error is not None or read(server.take())
    other = Server(made)
    other.feed(START + post(1))
    other.exchanges[0].encoder.read_disable(True)
    other.feed(data(1, bytes(16000)) * 4)
    other.take()
    other.exchanges[0].encoder.read_disable(False)
    assert WINDOW_UPDATE in [each.kind for each in read(other.take())]


def test_ping_is_answered_before_a_stalled_body() -> None:
    server = Server()
    server.feed(START + settings((4, 0)) + send(1, 100000))
    server.take()
    server.feed(frame(PING, 0, 0, b"12345678"))
    assert [each.kind for each in read(server.take())] == [PING]


def test_two_bodies_share_the_connection() -> None:
    server = Server()
    server.feed(START + settings((4, 1000000)) + send(1, 30000) + send(3, 30000))
    got = [each.stream for each in read(server.take()) if each.kind == DATA]
    assert set(got) == {1, 3}
    assert END_STREAM == 1
