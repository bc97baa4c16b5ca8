"""A connection without a socket, and what the codecs talk to: everything that happens is noted in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outrider.data.address import ip_address
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP10, ConnectionInfo
from outrider.event.dispatcher import Dispatcher
from outrider.http.codec import (
    ClientConnectionCallbacks,
    CodecProtocolError,
    RequestDecoder,
    RequestEncoder,
    ResponseDecoder,
    ResponseEncoder,
    ServerConnectionCallbacks,
)
from outrider.http.http1.client_connection import Http1ClientConnection
from outrider.http.http1.server_connection import Http1ServerConnection
from outrider.http.http1.settings import Http1Settings
from outrider.http.http1.stats import Http1Stats
from outrider.network.connection import Connection
from outrider.network.filter import CLOSE_FLUSH_WRITE_AND_DELAY, CLOSE_NO_FLUSH
from outrider.stats.store import Store


class FakeLoop:
    """Runs what was posted when told to."""

    def __init__(self) -> None:
        self.posted: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        self.posted.append((callback, args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return FakeHandle()

    def time(self) -> float:
        return 0.0

    def run(self) -> None:
        while self.posted:
            callback, args = self.posted.pop(0)
            callback(*args)


class FakeHandle:
    def cancel(self) -> None:
        pass


class FakeTransport:
    """Collects what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.writes = 0
        self.reading = True
        self.eof = False
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.written += data

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def take(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data


class Wire:
    """A Connection on a fake transport."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.transport = FakeTransport()
        address = ip_address("127.0.0.1", 1)
        loop: Any = self.loop
        self.connection = Connection(Dispatcher("test", loop), ConnectionInfo(1, address, address))
        self.connection.connection_made(self.transport)


def text(headers: HeaderMap) -> str:
    """One line for a header map."""
    return " ".join(f"{name.decode('latin-1')}={value.decode('latin-1')}" for name, value in headers.items())


class Requests(RequestDecoder):
    """Takes one request; `answer` may say what is answered when it is complete, or at its head."""

    def __init__(self, server: Server, encoder: ResponseEncoder) -> None:
        self.server = server
        self.encoder = encoder
        self.headers: RequestHeaderMap | None = None
        self.body = b""
        self.trailers: HeaderMap | None = None
        self.complete = False
        self.reply: tuple[int, str] | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self.headers = headers
        line = f"head {headers.method.decode()} {headers.path.decode('latin-1')} {headers.authority.decode('latin-1')}"
        self.server.note(f"{line} [{text(headers)}]{' end' if end_stream else ''}")
        if end_stream:
            self._done()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data
        self.server.note(f"data {data.decode('latin-1')}{' end' if end_stream else ''}")
        if end_stream:
            self._done()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.trailers = trailers
        self.server.note(f"trailers [{text(trailers)}]")
        self._done()

    def _done(self) -> None:
        self.complete = True
        if self.server.auto_answer:
            headers = ResponseHeaderMap({b"content-length": b"2"}, status=200)
            self.encoder.encode_headers(headers, False)
            self.encoder.encode_data(b"ok", True)
            if not self._keep_alive():
                self.server.wire.connection.close(CLOSE_FLUSH_WRITE_AND_DELAY, "")

    def _keep_alive(self) -> bool:
        assert self.headers is not None
        wish = self.headers.get(b"connection") or b""
        return b"keep-alive" in wish if self.server.codec.protocol == HTTP10 else b"close" not in wish.lower()

    def send_local_reply(self, code: int, body: str, details: str) -> None:
        self.reply = (code, details)
        self.server.note(f"refused {code} {details} {body}")

    def on_above_write_buffer_high_watermark(self) -> None:
        self.server.note("high")

    def on_below_write_buffer_low_watermark(self) -> None:
        self.server.note("low")


class Server(ServerConnectionCallbacks):
    """A server codec with its surroundings. `events` is what it said, and `close` marks a broken connection."""

    def __init__(self, settings: Http1Settings | None = None, auto_answer: bool = False, **limits: int) -> None:
        self.wire = Wire()
        self.store = Store()
        self.stats = Http1Stats(self.store)
        self.auto_answer = auto_answer
        self.events: list[str] = []
        self.streams: list[Requests] = []
        self.encoders: list[ResponseEncoder] = []
        self.error: CodecProtocolError | None = None
        self.codec = Http1ServerConnection(
            self.wire.connection, self, Http1Settings() if settings is None else settings, self.stats, **limits
        )

    def new_stream(self, encoder: ResponseEncoder) -> RequestDecoder:
        stream = Requests(self, encoder)
        self.streams.append(stream)
        self.encoders.append(encoder)
        self.note("new")
        return stream

    def on_codec_error(self, error: CodecProtocolError) -> None:
        self.error = error
        self.note(f"error {error.details}")
        self.wire.connection.close(CLOSE_FLUSH_WRITE_AND_DELAY, error.details)

    def note(self, event: str) -> None:
        self.events.append(event)

    def feed(self, *parts: bytes) -> Server:
        """Bytes from the client, each part in its own dispatch; what was posted runs in between."""
        for part in parts:
            if self.error is not None:
                break
            try:
                self.codec.dispatch(part)
            except CodecProtocolError as error:
                self.on_codec_error(error)
            self.wire.loop.run()
        return self

    def take(self) -> list[str]:
        events = self.events
        self.events = []
        return events


class Responses(ResponseDecoder):
    """Takes one response."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.headers: ResponseHeaderMap | None = None
        self.body = b""
        self.complete = False

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        self.client.note(f"1xx {headers.status} [{text(headers)}]")

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.headers = headers
        self.complete = end_stream
        self.client.note(f"head {headers.status} [{text(headers)}]{' end' if end_stream else ''}")

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data
        self.complete = end_stream
        self.client.note(f"data {data.decode('latin-1')}{' end' if end_stream else ''}")

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.complete = True
        self.client.note(f"trailers [{text(trailers)}]")

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.client.note(f"reset {reason} {details}")

    def on_above_write_buffer_high_watermark(self) -> None:
        self.client.note("high")

    def on_below_write_buffer_low_watermark(self) -> None:
        self.client.note("low")


class Client(ClientConnectionCallbacks):
    """A client codec with its surroundings."""

    def __init__(self, settings: Http1Settings | None = None, **limits: int) -> None:
        self.wire = Wire()
        self.store = Store()
        self.events: list[str] = []
        self.error: CodecProtocolError | None = None
        self.codec = Http1ClientConnection(
            self.wire.connection,
            self,
            Http1Settings() if settings is None else settings,
            Http1Stats(self.store),
            **limits,
        )

    def note(self, event: str) -> None:
        self.events.append(event)

    def on_stream_complete(self) -> None:
        self.note("complete" + (" close" if self.codec.should_close() else ""))

    def on_stream_reset(self, reason: int) -> None:
        self.note(f"stream reset {reason}")

    def request(
        self, method: bytes = b"GET", end_stream: bool = True, **fields: bytes
    ) -> tuple[RequestEncoder, Responses]:
        """Send a request head; its fields are the keyword arguments, `_` for `-`."""
        single = {name.replace("_", "-").encode(): value for name, value in fields.items()}
        decoder = Responses(self)
        encoder = self.codec.new_stream(decoder)
        encoder.encode_headers(RequestHeaderMap(single, None, None, method, b"/", b"a.example", b"http"), end_stream)
        return encoder, decoder

    def feed(self, *parts: bytes) -> Client:
        for part in parts:
            self._try(part)
        return self

    def eof(self) -> Client:
        self._try(None)
        return self

    def _try(self, part: bytes | None) -> None:
        if self.error is not None:
            return
        try:
            if part is None:
                self.codec.on_eof()
            else:
                self.codec.dispatch(part)
        except CodecProtocolError as error:
            self.error = error
            self.note(f"error {error.details}")
            self.wire.connection.close(CLOSE_NO_FLUSH, error.details)
        self.wire.loop.run()

    def take(self) -> list[str]:
        events = self.events
        self.events = []
        return events
