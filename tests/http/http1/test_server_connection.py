"""Playbooks of the server codec: what the client sends, what the streams are told, what goes out."""

from __future__ import annotations

import pytest

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.http.codec import RESET_LOCAL
from outrider.http.http1.settings import FORMAT_PRESERVE, FORMAT_PROPER, Http1Settings
from outrider.native.parse_error import UNDERSCORE_DROP, UNDERSCORE_REJECT
from outrider.network.filter import ConnectionCallbacks
from tests.http.http1.support import Server

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def options(**values: object) -> Http1Settings:
    settings = Http1Settings()
    for name, value in values.items():
        setattr(settings, name, value)
    return settings


def answer(server: Server, index: int = -1, body: bytes = b"ok", **fields: bytes) -> None:
    single = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    single[b"content-length"] = b"%d" % len(body)
    encoder = server.encoders[index]
    encoder.encode_headers(ResponseHeaderMap(single, status=200), not body)
    if body:
        encoder.encode_data(body, True)
    server.wire.loop.run()


def test_a_request_and_its_response() -> None:
    server = Server()
    server.feed(b"GET /p?q HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n")
    assert server.take() == ["new", "head GET /p?q h [x-a=1] end"]
    answer(server)
    assert server.wire.transport.take() == OK
    encoder = server.encoders[0]
    assert (encoder.wire_bytes_received, encoder.header_bytes_received) == (38, 38)
    assert (encoder.wire_bytes_sent, encoder.header_bytes_sent) == (40, 38)


def test_end_of_request_rides_on_the_last_body_bytes() -> None:
    server = Server()
    server.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab", b"cd")
    assert server.take()[2:] == ["data ab", "data cd end"]
    server = Server()
    data = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
    server.feed(data)
    assert server.take()[2:] == ["data abcd end"]
    assert server.encoders[0].wire_bytes_received == len(data)


def test_pipelined_requests_wait_for_the_response() -> None:
    server = Server()
    server.feed(GET % 1 + GET % 2 + GET % 3)
    assert server.take() == ["new", "head GET /1 h [] end"]
    assert not server.wire.transport.reading
    answer(server)
    assert server.take() == ["new", "head GET /2 h [] end"]
    assert not server.wire.transport.reading
    answer(server)
    answer(server)
    assert server.take() == ["new", "head GET /3 h [] end"]
    assert server.wire.transport.reading
    assert server.wire.transport.take() == OK * 3


def test_pipelined_requests_that_are_answered_at_once_do_not_recurse() -> None:
    server = Server(auto_answer=True)
    server.feed((GET % 1) * 5000)
    assert len(server.streams) == 5000
    assert server.wire.transport.take() == OK * 5000
    assert server.wire.transport.reading


def test_pipelined_requests_wait_for_the_client_to_take_responses() -> None:
    server = Server(auto_answer=True)
    server.wire.connection.add_callbacks(_Watermarks(server))
    server.wire.connection.pause_writing()
    server.feed(GET % 1 + GET % 2)
    assert server.take() == ["new", "high", "head GET /1 h [] end"]
    assert not server.wire.transport.reading
    server.wire.connection.resume_writing()
    server.wire.loop.run()
    assert server.take() == ["new", "head GET /2 h [] end"]
    assert server.wire.transport.reading


def test_bytes_that_come_while_a_request_is_served_are_held() -> None:
    server = Server()
    server.feed(GET % 1, b"GET /2 HTTP/1.1\r\n", b"Host: h\r\n\r\n")
    assert server.take() == ["new", "head GET /1 h [] end"]
    answer(server)
    assert server.take() == ["new", "head GET /2 h [] end"]


def test_an_error_in_held_bytes_reaches_the_connection_manager() -> None:
    server = Server()
    server.feed(GET % 1 + b"NONSENSE\r\n")
    server.take()
    answer(server)
    assert server.take() == ["new", "refused 400 http1.codec_error Bad Request", "error http1.codec_error"]


def test_held_bytes_are_dropped_with_the_connection() -> None:
    server = Server()
    server.feed(GET % 1 + GET % 2)
    server.wire.connection.close(0, "")
    answer(server)
    assert len(server.streams) == 1


def test_a_stream_begins_with_the_first_byte() -> None:
    server = Server()
    server.feed(b"\r\n")
    assert server.take() == []
    server.feed(b"GE")
    assert server.take() == ["new"]
    server.feed(b"T / HTTP/1.1\r\nHost: h\r\n", b"\r\n")
    assert server.take() == ["head GET / h [] end"]
    # The empty line before it counts as well.
    assert server.encoders[0].wire_bytes_received == 29


def test_refusal_without_a_stream_makes_one() -> None:
    server = Server()
    server.feed(b"FOO / HTTP/1.1\r\n\r\n")
    assert server.take() == ["new", "refused 400 http1.codec_error Bad Request", "error http1.codec_error"]
    assert "Invalid method" in str(server.error)


def test_an_error_in_a_body_is_not_answered_twice() -> None:
    server = Server()
    server.feed(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    server.encoders[0].encode_headers(ResponseHeaderMap(status=200), False)
    server.feed(b"zz\r\n")
    assert server.take()[2:] == ["error http1.codec_error"]


def test_chunked_response_with_and_without_trailers() -> None:
    for enabled, end in ((True, b"0\r\nx-t: 1\r\n\r\n"), (False, b"0\r\n\r\n")):
        server = Server(options(enable_trailers=enabled)).feed(GET % 1)
        encoder = server.encoders[0]
        encoder.encode_headers(ResponseHeaderMap({b"a": b"b"}, status=200), False)
        encoder.encode_data(b"hello", False)
        encoder.encode_trailers(HeaderMap({b"x-t": b"1"}))
        expected = b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n" + end
        assert server.wire.transport.take() == expected
        assert encoder.wire_bytes_sent == len(expected)


def test_last_chunk_is_one_write_and_large_chunks_are_not_copied() -> None:
    server = Server().feed(GET % 1)
    encoder = server.encoders[0]
    encoder.encode_headers(ResponseHeaderMap(status=200), False)
    writes = server.wire.transport.writes
    encoder.encode_data(b"x" * 100, True)
    assert server.wire.transport.writes == writes + 1
    server.feed(GET % 2)
    encoder = server.encoders[1]
    encoder.encode_headers(ResponseHeaderMap(status=200), False)
    server.wire.transport.take()
    encoder.encode_data(b"x" * 100_000, True)
    assert server.wire.transport.take() == b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "status", "fields", "end", "head"),
    [
        (b"GET", 200, {}, True, b"content-length: 0\r\n"),
        (b"GET", 200, {b"content-length": b"3"}, False, b"content-length: 3\r\n"),
        (b"GET", 200, {}, False, b"transfer-encoding: chunked\r\n"),
        (b"GET", 204, {}, True, b""),
        (b"GET", 304, {}, True, b""),
        (b"GET", 304, {b"content-length": b"9"}, True, b"content-length: 9\r\n"),
        (b"HEAD", 200, {}, True, b"transfer-encoding: chunked\r\n"),
        (b"HEAD", 200, {b"content-length": b"9"}, True, b"content-length: 9\r\n"),
    ],
)
def test_framing_of_responses(method: bytes, status: int, fields: dict[bytes, bytes], end: bool, head: bytes) -> None:
    server = Server().feed(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
    server.encoders[0].encode_headers(ResponseHeaderMap(dict(fields), status=status), end)
    line, _, rest = server.wire.transport.take().partition(b"\r\n")
    assert line.startswith(b"HTTP/1.1 %d " % status)
    assert rest == head + b"\r\n"


def test_bodies_that_cannot_be_are_not_written() -> None:
    for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
        server = Server().feed(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
        server.encoders[0].encode_headers(ResponseHeaderMap(status=status), False)
        server.wire.transport.take()
        server.encoders[0].encode_data(b"surprise", True)
        assert server.wire.transport.take() == b""
        server.feed(GET % 2)
        assert len(server.streams) == 2


def test_http_10() -> None:
    server = Server(options(accept_http_10=True)).feed(b"GET / HTTP/1.0\r\n\r\n")
    assert server.take() == ["new", "head GET /  [] end"]
    encoder = server.encoders[0]
    encoder.encode_headers(ResponseHeaderMap(status=200), False)
    encoder.encode_data(b"until the end", True)
    assert server.wire.transport.take() == b"HTTP/1.0 200 OK\r\n\r\nuntil the end"
    refused = Server().feed(b"GET / HTTP/1.0\r\n\r\n")
    assert refused.take() == ["new", "refused 426 low_version Upgrade Required", "error low_version"]


def test_informational_responses() -> None:
    server = Server().feed(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert server.take()[1].startswith("head POST / h [expect=100-continue content-length=1]")
    encoder = server.encoders[0]
    encoder.encode_1xx_headers(ResponseHeaderMap(status=100))
    encoder.encode_1xx_headers(ResponseHeaderMap({b"link": b"</a>"}, status=103))
    assert server.wire.transport.take() == (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Unknown\r\nlink: </a>\r\n\r\n"
    )
    encoder.encode_headers(ResponseHeaderMap(status=200), True)
    encoder.encode_1xx_headers(ResponseHeaderMap(status=100))
    assert server.wire.transport.take() == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def test_upgrade_switches_to_raw_bytes() -> None:
    server = Server().feed(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nearly", b"later")
    assert server.take() == ["new", "head GET / h [connection=upgrade upgrade=foo]", "data early", "data later"]
    encoder = server.encoders[0]
    encoder.encode_headers(ResponseHeaderMap({b"connection": b"upgrade", b"upgrade": b"foo"}, status=101), False)
    encoder.encode_data(b"raw", False)
    assert server.wire.transport.take() == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\nraw"
    )
    server.codec.on_eof()
    assert server.take() == ["data  end"]


def test_connect() -> None:
    server = Server().feed(b"CONNECT a.example:443 HTTP/1.1\r\nHost: other\r\n\r\n", b"\x16\x03")
    assert server.take() == ["new", "head CONNECT  a.example:443 []", "data \x16\x03"]
    encoder = server.encoders[0]
    encoder.encode_headers(ResponseHeaderMap(status=200), False)
    encoder.encode_data(b"raw", False)
    assert server.wire.transport.take() == b"HTTP/1.1 200 OK\r\n\r\nraw"
    refused = Server().feed(b"CONNECT a.example:443 HTTP/1.1\r\nHost: other\r\n\r\n")
    refused.encoders[0].encode_headers(ResponseHeaderMap(status=403), True)
    assert refused.wire.transport.take() == b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"


def test_underscores_are_counted() -> None:
    data = b"GET / HTTP/1.1\r\nHost: h\r\nA_b: 1\r\nC_d: 2\r\ne: 3\r\n\r\n"
    server = Server(underscores=UNDERSCORE_DROP, auto_answer=True).feed(data, data)
    assert server.take()[1] == "head GET / h [e=3] end"
    assert server.stats.dropped_headers_with_underscores.value == 4
    server = Server(underscores=UNDERSCORE_REJECT).feed(data)
    assert server.take()[1] == "refused 400 http1.unexpected_underscore Bad Request"
    assert server.stats.requests_rejected_with_underscores_in_headers.value == 1


def test_spelling_of_names() -> None:
    server = Server(options(header_format=FORMAT_PROPER), auto_answer=True).feed(GET % 1)
    assert b"\r\nContent-Length: 2\r\n" in server.wire.transport.take()
    server = Server(options(header_format=FORMAT_PRESERVE, proper_case_for_own=True))
    server.feed(b"GET / HTTP/1.1\r\nhOST: h\r\nx-My: 1\r\n\r\n")
    headers = server.streams[0].headers
    assert headers is not None and headers.case is not None
    assert headers.case[b"x-my"] == b"x-My" and headers.case[b"host"] == b"hOST"
    server.encoders[0].encode_headers(
        ResponseHeaderMap({b"a-b": b"1", b"c-d": b"2"}, None, {b"a-b": b"A-b", b":reason": b"Fine"}, 200), True
    )
    assert server.wire.transport.take() == b"HTTP/1.1 200 Fine\r\nA-b: 1\r\nc-d: 2\r\ncontent-length: 0\r\n\r\n"


def test_trailers_of_requests() -> None:
    data = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n"
    assert Server(options(enable_trailers=True)).feed(data).take()[2:] == ["data a", "trailers [x-t=1]"]
    assert Server().feed(data).take()[2:] == ["data a", "data  end"]


def test_read_disable_is_counted_and_given_back() -> None:
    server = Server()
    server.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
    encoder = server.encoders[0]
    encoder.read_disable(True)
    encoder.read_disable(True)
    assert not server.wire.transport.reading
    encoder.read_disable(False)
    assert not server.wire.transport.reading
    server.feed(b"cd")
    answer(server)
    assert server.wire.transport.reading
    encoder.read_disable(False)
    assert server.wire.transport.reading


def test_watermarks_reach_the_stream() -> None:
    server = Server().feed(GET % 1)
    server.take()
    server.codec.on_underlying_connection_above_write_buffer_high_watermark()
    server.codec.on_underlying_connection_below_write_buffer_low_watermark()
    assert server.take() == ["high", "low"]


def test_reset_closes_the_connection() -> None:
    server = Server().feed(GET % 1)
    server.encoders[0].reset_stream(RESET_LOCAL)
    assert server.wire.connection.state != 1
    server.encoders[0].encode_headers(ResponseHeaderMap(status=200), True)
    assert server.wire.transport.take() == b""


def test_response_before_the_end_of_the_request() -> None:
    server = Server()
    server.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
    answer(server)
    server.feed(b"cd" + GET % 2)
    assert server.take()[2:] == ["data ab", "data cd end", "new", "head GET /2 h [] end"]


def test_another_decoder_can_take_the_stream_over() -> None:
    server = Server().feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
    other = Server()
    from tests.http.http1.support import Requests

    server.encoders[0].set_decoder(Requests(other, server.encoders[0]))
    server.feed(b"cd")
    assert other.take() == ["data cd end"]


class _Watermarks(ConnectionCallbacks):
    """Passes the connection's watermarks to the codec, as the connection manager does."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def on_above_write_buffer_high_watermark(self) -> None:
        self.server.codec.on_underlying_connection_above_write_buffer_high_watermark()

    def on_below_write_buffer_low_watermark(self) -> None:
        self.server.codec.on_underlying_connection_below_write_buffer_low_watermark()
