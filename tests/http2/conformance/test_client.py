"""RFC 9113 from the client's side: responses, interim ones, trailers, resets, GOAWAY, what no upstream may send."""

from __future__ import annotations

import pytest

from tests.http2.conformance.client import Client
from tests.http2.conformance.frames import (
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PUSH_PROMISE,
    SETTINGS,
    WINDOW_UPDATE,
    Field,
    block,
    data,
    frame,
    reset,
    settings,
    window_update,
)

FIRST = frame(SETTINGS)
STATUS: Field = (":status", "200")


def answer(*fields: Field, end: bool = False, status: str = "200") -> bytes:
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, flags, 1, block([(":status", status), *fields]))


def trailers(*fields: Field, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, 1, block(fields))


BAD = "reset; stream reset; sent reset PROTOCOL_ERROR"
ANY = "connection error"

ANSWERS: dict[str, tuple[bytes, str]] = {
    "headers_only": (answer(end=True), "200 end; complete"),
    "body": (answer() + data(1, b"abc", True), "200; 3 bytes end; complete"),
    "body_in_two_feeds": (answer() + data(1, b"abc"), "200; 3 bytes"),
    "trailers": (answer() + data(1, b"abc") + trailers(("x-t", "1")), "200; 3 bytes; trailers; complete"),
    "trailers_only_body": (answer() + trailers(("x-t", "1")), "200; trailers; complete"),
    "interim": (answer(status="103") + answer(end=True), "interim 103; 200 end; complete"),
    "interim_twice": (answer(status="100") + answer(status="103") + answer(end=True), "interim 100; interim 103; 200 end; complete"),
    "interim_that_ends": (answer(status="103", end=True), BAD),
    "length_right": (answer(("content-length", "3")) + data(1, b"abc", True), "200; 3 bytes end; complete"),
    "length_for_no_body": (answer(("content-length", "3"), end=True), BAD),
    "no_status": (frame(HEADERS, 5, 1, block([("x-a", "1")])), BAD),
    "status_twice": (answer(STATUS, end=True), BAD),
    "status_no_number": (answer(status="2x0", end=True), BAD),
    "status_of_2_digits": (answer(status="20", end=True), BAD),
    "status_after_field": (frame(HEADERS, 5, 1, block([("x-a", "1"), STATUS])), BAD),
    "request_pseudo": (answer((":path", "/"), end=True), BAD),
    "upper_case": (answer(("X-A", "1"), end=True), BAD),
    "connection_field": (answer(("connection", "close"), end=True), BAD),
    "data_before_headers": (data(1, b"x", True), ANY),
    "trailers_without_end": (answer() + trailers(("x-t", "1"), flags=END_HEADERS), "200; " + BAD),
    "reset": (reset(1, 2), "reset; stream reset"),
    "refused": (reset(1, 7), "reset; stream reset"),
    "reset_after_answer": (answer(end=True) + reset(1, 0), "200 end; complete"),
    "reset_in_body": (answer() + data(1, b"x") + reset(1, 2), "200; 1 bytes; reset; stream reset"),
    "goaway": (frame(GOAWAY, 0, 0, b"\0\0\0\1" + bytes(4)) + answer(end=True), "200 end; goaway; complete"),
    "goaway_for_error": (frame(GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\2"), "goaway error"),
    "goaway_that_leaves_us_out": (frame(GOAWAY, 0, 0, bytes(8)), "reset; goaway; stream reset"),
    "ping": (frame(PING, 0, 0, bytes(8)), "sent pong"),
    "limit": (settings((3, 5)), "limit 5"),
    "window_update": (window_update(0, 1000), ""),
    "push_promise_before_our_settings": (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(3) + b"\2" + block([STATUS])), "sent reset CANCEL"),
    "push_promise": (frame(SETTINGS, 1) + frame(PUSH_PROMISE, END_HEADERS, 1, bytes(3) + b"\2" + block([STATUS])), ANY),
    "settings_push": (settings((2, 1)), ANY),
    "headers_on_unknown_stream": (frame(HEADERS, 5, 3, block([STATUS])), ANY),
    "headers_on_even_stream": (frame(HEADERS, 5, 2, block([STATUS])), ANY),
    "data_on_connection": (data(0, b"x"), ANY),
    "window_overflow": (window_update(0, 0x7FFFFFFF), ANY),
    "bad_compression": (frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff"), ANY),
    "ping_of_7": (frame(PING, 0, 0, bytes(7)), ANY),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name: str) -> None:
    sent, expected = ANSWERS[name]
    outcome = Client().play(FIRST + sent)
    if expected == ANY:
        assert outcome.split("; ")[-1].startswith(ANY), outcome
    else:
        assert outcome == expected


def test_malformed_ends_the_connection_by_default() -> None:
    client = Client(stream_error=False)
    assert client.play(FIRST + answer(("X-A", "1"), end=True)).endswith(ANY)
    assert client.stats.rx_messaging_error.value == 1


def test_greeting() -> None:
    kinds = [each.kind for each in Client().first_frames]
    assert kinds == [SETTINGS, WINDOW_UPDATE, HEADERS]
    first = Client().first_frames[0].payload
    pairs = {first[at + 1]: int.from_bytes(first[at + 2 : at + 6], "big") for at in range(0, len(first), 6)}
    # No server push.
    assert pairs[2] == 0
