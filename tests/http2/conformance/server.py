"""The server codec without a socket: what it is fed, and what becomes of it."""

from __future__ import annotations

import hpack

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.http.codec import CodecProtocolError, RequestDecoder, ResponseEncoder, ServerConnectionCallbacks
from outrider.http.http2.server_connection import Http2ServerConnection
from outrider.http.http2.settings import Http2Settings
from outrider.http.http2.stats import Http2Stats
from outrider.stats.store import Store
from tests.http.http1.support import Wire
from tests.http2.conformance.frames import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    error_name,
    frame,
    headers,
    read,
)

# A stream no case uses.
_LAST = 0x7FFF0001


class Exchange(RequestDecoder):
    """One request; answered 200 with what it sent when it is complete, unless its path is /wait."""

    def __init__(self, server: Server, encoder: ResponseEncoder) -> None:
        self.server = server
        self.encoder = encoder
        self.headers: RequestHeaderMap | None = None
        self.body = b""
        self.trailers: HeaderMap | None = None
        self.reset = ""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self.headers = headers
        if end_stream:
            self._answer()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data
        if end_stream:
            self._answer()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.trailers = trailers
        self._answer()

    def send_local_reply(self, code: int, body: str, details: str) -> None:
        self.encoder.encode_headers(ResponseHeaderMap(status=code), True)

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.reset = details or str(reason)

    def _answer(self) -> None:
        headers = self.headers
        assert headers is not None
        if headers.path == b"/wait":
            return
        text = self.body
        if headers.path.startswith(b"/send/"):
            text = b"x" * int(headers.path[6:])
        self.encoder.encode_headers(ResponseHeaderMap({b"x-a": b"1"}, status=200), not text)
        if text:
            self.encoder.encode_data(text, True)


class Server(ServerConnectionCallbacks):
    """`play` feeds steps and gives the outcome as lines; see `Outcome.lines`."""

    def __init__(self, settings: Http2Settings | None = None, max_headers_kb: int = 60, underscores: int = 0) -> None:
        if settings is None:
            settings = Http2Settings()
            # RFC 9113 section 8.1.1: a malformed message is an error of its stream.
            settings.stream_error = True
        self.wire = Wire()
        self.store = Store()
        self.exchanges: list[Exchange] = []
        self.stats = Http2Stats(self.store, True)
        self.error: CodecProtocolError | None = None
        self.codec = Http2ServerConnection(
            self.wire.connection, self, settings, self.stats, max_headers_kb, 100, underscores
        )
        self.received = b""
        self._decoder = hpack.Decoder()
        self._read_greeting = False

    def new_stream(self, encoder: ResponseEncoder) -> RequestDecoder:
        exchange = Exchange(self, encoder)
        self.exchanges.append(exchange)
        return exchange

    def on_codec_error(self, error: CodecProtocolError) -> None:
        self.error = error

    def feed(self, data: bytes) -> None:
        if self.error is not None:
            return
        try:
            self.codec.dispatch(data)
        except CodecProtocolError as error:
            self.error = error
            self.codec.flush()
        self.wire.loop.run()

    def take(self) -> bytes:
        """What was sent since the last call."""
        return self.wire.transport.take()

    def play(self, *steps: bytes, alive: bool = True) -> list[str]:
        """The outcome: what was sent about each stream, and whether the connection goes on."""
        for step in steps:
            self.feed(step)
        lines = self._lines()
        if alive and not any(line.startswith("connection error") for line in lines):
            # It must serve one more.
            self.feed(headers(_LAST) + frame(PING, 0, 0, b"are you?"))
            more = self._lines()
            assert f"{_LAST}: 200 end" in more and "pong are you?" in more, f"the connection is stuck: {more}"
        return lines

    def _lines(self) -> list[str]:
        lines: list[str] = []
        bodies: dict[int, int] = {}
        for each in read(self.take()):
            end = " end" if each.flags & END_STREAM else ""
            if each.kind == SETTINGS:
                if each.flags & ACK:
                    lines.append("settings ack")
            elif each.kind == HEADERS:
                fields: dict[object, object] = dict(self._decoder.decode(each.payload))
                lines.append(f"{each.stream}: {fields[':status']}{end}")
            elif each.kind == DATA:
                bodies[each.stream] = bodies.get(each.stream, 0) + len(each.payload)
                if end:
                    lines.append(f"{each.stream}: {bodies.pop(each.stream)} bytes end")
            elif each.kind == RST_STREAM:
                lines.append(f"{each.stream}: reset {error_name(int.from_bytes(each.payload, 'big'))}")
            elif each.kind == PING:
                lines.append(("pong " if each.flags & ACK else "ping ") + each.payload.decode("latin-1"))
            elif each.kind == GOAWAY:
                lines.append(f"connection error {error_name(int.from_bytes(each.payload[4:8], 'big'))}")
            elif each.kind != WINDOW_UPDATE:
                lines.append(f"frame {each.kind}")
        lines += [f"{stream}: {size} bytes" for stream, size in bodies.items()]
        if self.error is not None and not any(line.startswith("connection error") for line in lines):
            lines.append("connection error")
        return lines
