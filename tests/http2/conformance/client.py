"""The client codec without a socket: one GET is under way on stream 1; what becomes of what the upstream sends."""

from __future__ import annotations

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.http.codec import ClientConnectionCallbacks, CodecProtocolError, ResponseDecoder
from outrider.http.http2.client_connection import Http2ClientConnection
from outrider.http.http2.settings import Http2Settings
from outrider.http.http2.stats import Http2Stats
from outrider.stats.store import Store
from tests.http.http1.support import Wire
from tests.http2.conformance.frames import GOAWAY, PING, PREFACE, RST_STREAM, error_name, read


class Response(ResponseDecoder):
    """Notes what comes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        self.seen.append(f"interim {headers.status}")

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.seen.append(f"{headers.status}{' end' if end_stream else ''}")

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.seen.append(f"{len(data)} bytes{' end' if end_stream else ''}")

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.seen.append("trailers")

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.seen.append("reset")


class Client(ClientConnectionCallbacks):
    """`play` gives what the response's reader saw, what was sent, and what the pool was told."""

    def __init__(self, stream_error: bool = True) -> None:
        settings = Http2Settings()
        settings.stream_error = stream_error
        self.wire = Wire()
        self.stats = Http2Stats(Store(), False)
        self.codec = Http2ClientConnection(self.wire.connection, self, settings, self.stats, 60, 100)
        self.response = Response()
        self.told: list[str] = []
        encoder = self.codec.new_stream(self.response)
        headers = RequestHeaderMap(method=b"GET", path=b"/", authority=b"test", scheme=b"http")
        encoder.encode_headers(headers, True)
        sent = self.wire.transport.take()
        assert sent.startswith(PREFACE)
        self.first_frames = read(sent[len(PREFACE) :])

    def on_go_away(self, error: bool) -> None:
        self.told.append("goaway error" if error else "goaway")

    def on_settings(self, max_concurrent_streams: int) -> None:
        if max_concurrent_streams < 1000:
            self.told.append(f"limit {max_concurrent_streams}")

    def on_stream_complete(self) -> None:
        self.told.append("complete")

    def on_stream_reset(self, reason: int) -> None:
        self.told.append("stream reset")

    def play(self, data: bytes) -> str:
        ended = ""
        try:
            self.codec.dispatch(data)
        except CodecProtocolError:
            ended = "connection error"
        lines = [*self.response.seen, *self.told]
        for each in read(self.wire.transport.take()):
            if each.kind == RST_STREAM:
                lines.append(f"sent reset {error_name(int.from_bytes(each.payload, 'big'))}")
            elif each.kind == PING:
                lines.append("sent pong")
            elif each.kind == GOAWAY:
                ended = f"connection error {error_name(int.from_bytes(each.payload[4:8], 'big'))}"
        return "; ".join([*lines, ended] if ended else lines)
