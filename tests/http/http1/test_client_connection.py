"""Playbooks of the client codec."""

from __future__ import annotations

import pytest

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.http.codec import (
    RESET_CONNECTION_TERMINATION,
    RESET_LOCAL,
    CodecProtocolError,
    PrematureResponseError,
)
from outrider.http.http1.settings import FORMAT_PRESERVE, FORMAT_PROPER, Http1Settings
from tests.http.http1.support import Client, Responses

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def options(**values: object) -> Http1Settings:
    settings = Http1Settings()
    for name, value in values.items():
        setattr(settings, name, value)
    return settings


def test_an_exchange() -> None:
    client = Client()
    encoder, _ = client.request(x_a=b"1")
    assert client.wire.transport.take() == b"GET / HTTP/1.1\r\nhost: a.example\r\nx-a: 1\r\n\r\n"
    client.feed(OK)
    assert client.take() == ["head 200 [content-length=2]", "data ok end", "complete"]
    assert encoder.wire_bytes_received == len(OK)
    assert encoder.header_bytes_received == len(OK) - 2
    assert encoder.wire_bytes_sent == encoder.header_bytes_sent == 43
    client.request()
    client.feed(OK)
    assert client.take()[-1] == "complete"


@pytest.mark.parametrize(
    ("method", "fields", "end", "expected"),
    [
        (b"GET", {}, True, b""),
        (b"DELETE", {}, True, b""),
        (b"POST", {}, True, b"content-length: 0\r\n"),
        (b"FOO", {}, True, b"content-length: 0\r\n"),
        (b"POST", {"content_length": b"3"}, False, b"content-length: 3\r\n"),
        (b"POST", {}, False, b"transfer-encoding: chunked\r\n"),
        (b"GET", {}, False, b"transfer-encoding: chunked\r\n"),
        (b"GET", {"connection": b"Upgrade", "upgrade": b"x"}, False, b"connection: Upgrade\r\nupgrade: x\r\n"),
    ],
)
def test_framing_of_requests(method: bytes, fields: dict[str, bytes], end: bool, expected: bytes) -> None:
    client = Client()
    client.request(method, end, **fields)
    assert client.wire.transport.take() == method + b" / HTTP/1.1\r\nhost: a.example\r\n" + expected + b"\r\n"


def test_chunked_request_with_trailers() -> None:
    for enabled, end in ((True, b"0\r\nt: 1\r\n\r\n"), (False, b"0\r\n\r\n")):
        client = Client(options(enable_trailers=enabled))
        encoder, _ = client.request(b"POST", False)
        client.wire.transport.take()
        encoder.encode_data(b"abc", False)
        encoder.encode_trailers(HeaderMap({b"t": b"1"}))
        assert client.wire.transport.take() == b"3\r\nabc\r\n" + end
        client.feed(OK)
        assert client.take()[-1] == "complete"


def test_connect_and_tunnel() -> None:
    client = Client()
    decoder = Responses(client)
    encoder = client.codec.new_stream(decoder)
    encoder.encode_headers(RequestHeaderMap(method=b"CONNECT", authority=b"b.example:443"), False)
    assert client.wire.transport.take() == b"CONNECT b.example:443 HTTP/1.1\r\nhost: b.example:443\r\n\r\n"
    client.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nraw", b"more")
    assert client.take() == ["head 200 [content-length=5]", "data raw", "data more"]
    encoder.encode_data(b"up", False)
    assert client.wire.transport.take() == b"up"
    encoder.encode_data(b"", True)
    assert client.wire.transport.eof
    # A tunnel has no end of its own: it is cut off with its connection.
    client.eof()
    client.codec.on_connection_closed(RESET_CONNECTION_TERMINATION, "")
    assert client.take() == ["reset 7 "]


def test_upgrade() -> None:
    client = Client()
    encoder, _ = client.request(end_stream=False, connection=b"Upgrade", upgrade=b"foo")
    client.feed(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nraw")
    assert client.take() == ["head 101 [connection=upgrade upgrade=foo]", "data raw"]
    encoder.encode_data(b"bytes", False)
    assert client.wire.transport.take().endswith(b"\r\n\r\nbytes")
    assert client.codec.should_close()


def test_informational_responses() -> None:
    client = Client()
    client.request()
    client.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + OK)
    assert client.take() == [
        "1xx 100 []", "1xx 103 [link=a]", "head 200 [content-length=2]", "data ok end", "complete",
    ]  # fmt: skip


def test_responses_without_body() -> None:
    for method, response in (
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ):
        client = Client()
        client.request(method)
        client.feed(response)
        events = client.take()
        assert events[0].endswith(" end") and events[1] == "complete"
        client.request()
        client.feed(OK)
        assert client.take()[-2:] == ["data ok end", "complete"]


def test_body_until_the_end_of_the_connection() -> None:
    client = Client()
    client.request()
    client.feed(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd").eof()
    assert client.take() == ["head 200 []", "data ab", "data cd", "data  end", "complete close"]


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nProxy-Connection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_connections_that_end_with_the_response(response: bytes) -> None:
    client = Client()
    client.request()
    client.feed(response)
    assert client.take()[-1] == "complete close"


def test_http_10_keep_alive() -> None:
    client = Client()
    client.request()
    client.feed(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
    assert client.take()[-1] == "complete"


def test_extra_bytes_and_premature_responses() -> None:
    client = Client()
    client.request()
    client.feed(OK + b"x")
    assert client.take()[-3:] == ["data ok end", "complete", "error "]
    assert "extraneous data" in str(client.error)
    client = Client()
    client.feed(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
    assert isinstance(client.error, PrematureResponseError)
    assert client.error.details == "408"


def test_early_response() -> None:
    client = Client()
    encoder, _ = client.request(b"POST", False)
    client.feed(OK)
    assert client.take() == ["head 200 [content-length=2]", "data ok end"]
    encoder.encode_data(b"rest", True)
    assert client.take() == ["complete close"]
    client = Client()
    encoder, _ = client.request(b"POST", False)
    client.feed(OK)
    encoder.reset_stream(RESET_LOCAL)
    assert client.take()[2:] == ["stream reset 0"]


def test_reset_and_the_end_of_the_connection() -> None:
    client = Client()
    encoder, _ = client.request()
    client.codec.on_connection_closed(RESET_CONNECTION_TERMINATION, "gone")
    assert client.take() == ["reset 7 gone"]
    encoder.reset_stream(RESET_LOCAL)
    assert client.take() == []
    client = Client()
    encoder, _ = client.request()
    encoder.reset_stream(RESET_LOCAL)
    encoder.encode_data(b"x", True)
    client.codec.on_connection_closed(RESET_CONNECTION_TERMINATION, "gone")
    assert client.take() == ["stream reset 0"]


def test_the_end_in_the_middle() -> None:
    for data in (b"HTTP/1.1 200 OK\r\nCont", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"):
        client = Client()
        client.request()
        client.feed(data).eof()
        assert client.take()[-1] == "error http1.codec_error"
    client = Client()
    client.request()
    client.eof()
    assert client.take() == []


def test_what_cannot_be_sent_is_refused() -> None:
    for headers in (
        RequestHeaderMap(path=b"/", authority=b"h"),
        RequestHeaderMap(method=b"GET", authority=b"h"),
        RequestHeaderMap(method=b"CONNECT", path=b"/"),
        RequestHeaderMap({b"a": b"x\r\ny: z"}, method=b"GET", path=b"/", authority=b"h"),
        RequestHeaderMap(method=b"GET", path=b"/ HTTP/1.1\r\nx: y", authority=b"h"),
    ):
        client = Client()
        with pytest.raises(CodecProtocolError):
            client.codec.new_stream(Responses(client)).encode_headers(headers, True)
        assert client.wire.transport.take() == b""


def test_fully_qualified_url_and_spelling() -> None:
    client = Client(options(send_fully_qualified_url=True, header_format=FORMAT_PROPER))
    client.request(x_my_header=b"1")
    assert client.wire.transport.take() == (
        b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX-My-Header: 1\r\n\r\n"
    )


def test_reason_and_spelling_are_kept_for_the_other_side() -> None:
    client = Client(options(header_format=FORMAT_PRESERVE, forward_reason_phrase=True))
    _, decoder = client.request()
    client.feed(b"HTTP/1.1 200 Very Fine\r\nX-mY: 1\r\nContent-Length: 0\r\n\r\n")
    assert decoder.headers is not None
    assert decoder.headers.case == {b"x-my": b"X-mY", b"content-length": b"Content-Length", b":reason": b"Very Fine"}


def test_trailers_of_responses() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n"
    for enabled, end in ((True, "trailers [x-t=1]"), (False, "data  end")):
        client = Client(options(enable_trailers=enabled))
        client.request()
        client.feed(data)
        assert client.take() == ["head 200 []", "data a", end, "complete"]


def test_read_disable_and_watermarks() -> None:
    client = Client()
    encoder, _ = client.request()
    encoder.read_disable(True)
    assert not client.wire.transport.reading
    client.codec.on_underlying_connection_above_write_buffer_high_watermark()
    client.codec.on_underlying_connection_below_write_buffer_low_watermark()
    client.feed(OK)
    assert client.wire.transport.reading
    encoder.read_disable(False)
    assert client.take()[:2] == ["high", "low"]
