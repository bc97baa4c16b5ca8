"""The nghttp2 binding, two sessions speaking with each other, and floods."""

from __future__ import annotations

import pytest

from outrider.native import load_http2
from outrider.native.http2_error import (
    ERROR_BAD_PREFACE,
    ERROR_EMPTY_FRAMES,
    ERROR_PRIORITY_FRAMES,
    ERROR_WINDOW_UPDATES,
    UNDERSCORES_DROP,
    UNDERSCORES_REJECT,
    Http2Error,
)
from outrider.native.load_http2 import Http2Session

pytestmark = pytest.mark.skipif(not load_http2.AVAILABLE, reason="libnghttp2 was not there when this was built")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


class Recorder:
    """Writes down what a session tells."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.stream_errors = False

    def __getattr__(self, name: str) -> object:
        if not name.startswith("on_"):
            raise AttributeError(name)

        def call(*args: object) -> bool:
            self.calls.append((name[3:], *args))
            return self.stream_errors

        return call

    def of(self, name: str) -> list[tuple[object, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


class Two:
    """A client's and a server's session."""

    def __init__(self, **options: int) -> None:
        self.at_client = Recorder()
        self.at_server = Recorder()
        self.client = Http2Session(self.at_client, False)
        self.server = Http2Session(self.at_server, True, **options)
        self.client.submit_settings([(2, 0)])
        self.server.submit_settings([(4, 1 << 20)])
        self.server.set_connection_window(1 << 20)
        self.exchange()

    def exchange(self) -> None:
        while True:
            to_server = self.client.drain()
            self.server.feed(to_server)
            to_client = self.server.drain()
            self.client.feed(to_client)
            if not to_server and not to_client:
                return

    def request(
        self, single: dict[bytes, bytes], multi: dict[bytes, list[bytes]] | None = None, end: bool = True
    ) -> int:
        stream_id, _ = self.client.submit_request(b"GET", b"http", b"a.test", b"/x", b"", single, multi, end)
        return stream_id


def test_request_and_response() -> None:
    two = Two()
    stream_id = two.request({b"x-a": b"1", b"x-b": b"2"}, {b"x-b": [b"2", b"3"]})
    two.exchange()
    assert two.at_server.of("stream_opened") == [(stream_id,)]
    ((*head, size),) = two.at_server.of("request_headers")
    assert head == [
        stream_id, b"GET", b"/x", b"a.test", b"http", b"", {b"x-a": b"1", b"x-b": b"2"}, {b"x-b": [b"2", b"3"]}, True
    ]  # fmt: skip
    assert isinstance(size, int) and size > 9
    two.server.submit_informational(stream_id, 103, {b"link": b"x"}, None)
    two.server.submit_response(stream_id, 200, {b"server": b"me", b"connection": b"close"}, None, False)
    two.server.send_data(stream_id, b"abc", False)
    two.server.send_data(stream_id, b"def", False)
    two.server.send_trailers(stream_id, {b"x-t": b"1"}, None)
    two.exchange()
    assert [call[1:5] for call in two.at_client.of("response_headers")] == [
        (103, {b"link": b"x"}, None, False),
        (200, {b"server": b"me"}, None, False),
    ]
    assert two.at_client.of("data") == [(stream_id, b"abcdef", False, 15)]
    assert [call[:3] for call in two.at_client.of("trailers")] == [(stream_id, {b"x-t": b"1"}, None)]
    assert two.at_client.of("stream_closed") == two.at_server.of("stream_closed") == [(stream_id, 0)]


def test_fields_that_repeat() -> None:
    two = Two()
    two.request({b"cookie": b"a=1", b"accept": b"x"}, {b"cookie": [b"a=1", b"b=2"], b"accept": [b"x", b"y"]})
    two.exchange()
    assert two.at_server.of("request_headers")[0][6:8] == ({b"cookie": b"a=1; b=2", b"accept": b"x,y"}, None)


def test_bodies_wait_for_the_window() -> None:
    two = Two(send_limit=100_000)
    stream_id = two.request({})
    two.exchange()
    body = bytes(range(256)) * 1024
    out = two.server.submit_response(stream_id, 200, {}, None, False)
    assert two.server.send_data(stream_id, body, True)
    two.exchange()
    # The client has not consumed: its window of 65,535 bytes is used up.
    assert out.pending == len(body) - 65535
    assert out.high and two.server.take_lows() == []
    assert two.server.unsent
    got = b""
    for _ in range(20):
        for call in two.at_client.of("data"):
            data = call[1]
            assert isinstance(data, bytes)
            got += data
            two.client.consume(stream_id, len(data))
        two.at_client.calls.clear()
        two.exchange()
    assert got == body
    assert two.server.take_lows() == [stream_id] and not out.high
    assert out.wire_bytes > len(body)


def test_reset_and_goaway() -> None:
    two = Two()
    stream_id = two.request({}, None, False)
    two.exchange()
    other = two.request({})
    two.client.reset(stream_id, 8)
    two.server.shutdown_notice()
    two.exchange()
    assert two.at_server.of("reset") == two.at_server.of("stream_closed") == [(stream_id, 8)]
    assert two.at_client.of("goaway") == [(0x7FFFFFFF, 0)]
    two.server.goaway(0)
    two.exchange()
    assert two.at_client.of("goaway")[1] == (other, 0)
    assert two.server.goaways_sent == 2


def test_ping() -> None:
    two = Two()
    two.client.ping(b"12345678")
    two.exchange()
    assert two.at_client.of("ping_ack") == [(b"12345678",)]
    with pytest.raises(ValueError):
        two.client.ping(b"short")


@pytest.mark.parametrize("options", [{"max_header_list": 200}, {"max_headers": 5}])
def test_header_limits(options: dict[str, int]) -> None:
    two = Two(**options)
    stream_id = two.request({b"x-%d" % n: b"v" * 100 for n in range(4)})
    two.exchange()
    assert two.at_server.of("header_overflow") == [("max_headers" in options,)]
    assert two.at_server.of("request_headers") == []
    assert two.at_client.of("reset") == [(stream_id, 2)]


def test_underscores() -> None:
    two = Two(underscores=UNDERSCORES_DROP)
    two.request({b"x_a": b"1", b"x-b": b"2"})
    two.exchange()
    assert two.at_server.of("request_headers")[0][6] == {b"x-b": b"2"}
    assert two.server.dropped == 1
    two = Two(underscores=UNDERSCORES_REJECT)
    stream_id = two.request({b"x_a": b"1"})
    two.exchange()
    assert two.at_server.of("underscore") == [(stream_id,)]
    assert two.at_server.of("request_headers") == []


def test_invalid_message_is_judged_by_the_handler() -> None:
    two = Two()
    two.at_server.stream_errors = True
    stream_id = two.request({b"te": b"gzip"})
    two.exchange()
    assert two.at_server.of("invalid_frame") == [(stream_id, -531)]
    assert two.at_client.of("reset") == [(stream_id, 1)]
    two = Two()
    two.request({b"te": b"gzip"})
    with pytest.raises(Http2Error):
        two.exchange()


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


HEADERS = bytes.fromhex("828684410f7777772e6578616d706c652e636f6d")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (frame(1, 4, 1, HEADERS) + frame(0, 0, 1) * 2, ERROR_EMPTY_FRAMES),
        (frame(2, 0, 1, bytes(4) + b"\x10") * 101, ERROR_PRIORITY_FRAMES),
        (frame(8, 0, 0, b"\0\0\0\1") * 6, ERROR_WINDOW_UPDATES),
    ],
)
def test_floods(data: bytes, kind: int) -> None:
    session = Http2Session(Recorder(), True)
    with pytest.raises(Http2Error) as caught:
        session.feed(PREFACE + data)
    assert caught.value.kind == kind


def test_bad_preface() -> None:
    session = Http2Session(Recorder(), True)
    with pytest.raises(Http2Error) as caught:
        session.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert caught.value.kind == ERROR_BAD_PREFACE


def test_what_the_handler_raises_comes_out() -> None:
    class Raises(Recorder):
        def on_request_headers(self, *args: object) -> None:
            raise LookupError("mine")

    session = Http2Session(Raises(), True)
    with pytest.raises(LookupError):
        session.feed(PREFACE + frame(1, 5, 1, HEADERS))
    session.feed(frame(6, 0, 0, bytes(8)))
    assert not session.wants_read


def test_split_anywhere() -> None:
    data = PREFACE + frame(1, 4, 1, HEADERS) + frame(0, 0, 1, b"abc") + frame(0, 1, 1, b"def")
    for cut in range(len(data)):
        recorder = Recorder()
        session = Http2Session(recorder, True)
        session.feed(data[:cut])
        session.feed(data[cut:])
        assert b"".join(call[1] for call in recorder.of("data") if isinstance(call[1], bytes)) == b"abcdef"
        assert recorder.of("data")[-1][2] is True
