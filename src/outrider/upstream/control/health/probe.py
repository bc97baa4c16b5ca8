"""Probes: one HTTP request or one TCP exchange with a host, over a connection that may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP2, HTTP11, StreamInfo, UpstreamInfo
from outrider.http.codec import ClientConnection, ClientConnectionCallbacks, CodecProtocolError, ResponseDecoder
from outrider.network.filter import (
    CLOSE_NO_FLUSH,
    EVENT_CONNECTED,
    EVENT_LOCAL_CLOSE,
    EVENT_REMOTE_CLOSE,
    STOP,
    NetworkFilter,
)
from outrider.upstream.control.health.session import ACTIVE, NETWORK

if TYPE_CHECKING:
    from outrider.network.connection import Connection
    from outrider.upstream.control.health.checker import HealthChecker
    from outrider.upstream.control.health.session import HealthSession
    from outrider.upstream.host import Host

_MAX_TCP_BYTES: Final = 64 * 1024


class Probe(NetworkFilter):
    """Base: owns the connection and hears its events."""

    def __init__(self, session: HealthSession) -> None:
        self.session = session
        self.checker: HealthChecker = session.checker
        self.conn: Connection | None = None
        self.established: bool = False
        # A result is awaited: the end of the connection is a failure then.
        self.waiting: bool = False

    def begin(self) -> None:
        """Start one check, on the connection that was kept or on a new one."""
        self.waiting = True
        if self.conn is not None and self.established:
            self.ask()
        elif self.conn is None:
            self._connect()

    def _connect(self) -> None:
        self.established = False
        host: Host = self.checker.target(self.session.host)
        connection = self.checker.connector.connect(host, self.checker.socket_options)
        self.conn = connection
        connection.enable_half_close(False)
        connection.add_filter(self)
        connection.add_callbacks(self)

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            self.established = True
            if self.conn is not None:
                self.conn.start_filters()
            self.on_ready()
            if self.waiting and self.conn is not None:
                self.ask()
        elif event in (EVENT_REMOTE_CLOSE, EVENT_LOCAL_CLOSE):
            self.conn = None
            self.established = False
            self.on_gone(event == EVENT_REMOTE_CLOSE)
            if self.waiting:
                self.fail(NETWORK, False)

    def give_up(self) -> None:
        """Too late: forget what is under way."""
        self.waiting = False
        self.close()

    def close(self) -> None:
        self.waiting = False
        connection = self.conn
        if connection is not None:
            self.conn = None
            self.established = False
            connection.remove_callbacks(self)
            connection.close(CLOSE_NO_FLUSH)
            self.on_gone(False)

    def succeed(self, degraded: bool, keep: bool) -> None:
        if not self.waiting:
            return
        self.waiting = False
        if not keep or not self.checker.config.reuse_connection:
            self.close()
        self.session.on_success(degraded)

    def fail(self, kind: str, retriable: bool, keep: bool = False) -> None:
        if not self.waiting:
            return
        self.waiting = False
        if not keep or not self.checker.config.reuse_connection:
            self.close()
        self.session.on_failure(kind, retriable)

    # What kinds of probes do.

    def on_ready(self) -> None:
        """The connection is established."""

    def ask(self) -> None:
        """Send the question."""
        raise NotImplementedError

    def on_gone(self, remote: bool) -> None:
        """The connection is gone."""


class TcpProbe(Probe):
    """Connects; with payloads, sends one and waits for the others."""

    def __init__(self, session: HealthSession) -> None:
        super().__init__(session)
        self.received = b""

    def ask(self) -> None:
        config = self.checker.config
        self.received = b""
        connection = self.conn
        assert connection is not None
        if config.send:
            connection.write(config.send)
        if not config.receive:
            # To be connected is enough; there is nothing that could be asked again.
            self.succeed(False, False)

    def on_data(self, data: bytes, end_stream: bool) -> int:
        if self.waiting and len(self.received) < _MAX_TCP_BYTES:
            self.received += data
            if contains_in_order(self.received, self.checker.config.receive):
                self.succeed(False, True)
        return STOP


class ProbeResponse(ResponseDecoder):
    """Takes the response for its probe."""

    def __init__(self, probe: HttpProbe) -> None:
        self.probe: HttpProbe | None = probe

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        pass

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self.probe is not None:
            self.probe.on_headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if self.probe is not None:
            self.probe.on_body(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        if self.probe is not None:
            self.probe.on_trailers(trailers)

    def on_reset_stream(self, reason: int, details: str) -> None:
        probe = self.probe
        self.probe = None
        if probe is not None:
            probe.on_reset()


class _CodecCallbacks(ClientConnectionCallbacks):
    """Hears that an HTTP/2 connection takes no further check."""

    def __init__(self, probe: HttpProbe) -> None:
        self.probe = probe

    def on_go_away(self, error: bool) -> None:
        self.probe.leaving = True


class HttpProbe(Probe):
    """One request per check."""

    def __init__(self, session: HealthSession) -> None:
        super().__init__(session)
        self.http2: bool = self.checker.config.http2
        # The peer has sent GOAWAY.
        self.leaving: bool = False
        self.codec: ClientConnection | None = None
        self.response: ProbeResponse | None = None
        self.headers: ResponseHeaderMap | None = None
        self.body = b""

    def begin(self) -> None:
        # The codec's metrics exist from the first attempt on.
        if self.http2:
            self.checker.info.http2_stats()
        else:
            self.checker.info.http1_stats()
        if self.leaving and self.conn is not None:
            self.close()
        super().begin()

    def on_ready(self) -> None:
        connection = self.conn
        assert connection is not None
        self.leaving = False
        connector = self.checker.connector
        callbacks = _CodecCallbacks(self)
        if self.http2:
            self.codec = connector.http2_codec(connection, self.checker.info, callbacks)
        else:
            self.codec = connector.http1_codec(connection, self.checker.info, callbacks)

    def ask(self) -> None:
        codec = self.codec
        assert codec is not None
        self.headers = None
        self.body = b""
        self.session.last_status = 0
        self.response = ProbeResponse(self)
        config = self.checker.config
        request = RequestHeaderMap(
            method=config.method.encode(), path=config.path.encode(),
            authority=self.checker.authority(self.session.host),
            scheme=b"https" if self.checker.secure else b"http",
        )
        request.set(b"user-agent", b"Envoy/HC")
        if config.headers is not None:
            config.headers.evaluate_headers(request, self._format_context(request))
        body = config.body
        if body:
            request.set(b"content-length", str(len(body)).encode())
        try:
            encoder = codec.new_stream(self.response)
            encoder.encode_headers(request, not body)
            if body:
                encoder.encode_data(body, True)
        except CodecProtocolError:
            self.fail(NETWORK, False)

    def _format_context(self, request: RequestHeaderMap) -> FormatContext:
        """What formatters in `request_headers_to_add` may look at."""
        connection = self.conn
        assert connection is not None
        dispatcher = self.checker.dispatcher
        protocol = HTTP2 if self.http2 else HTTP11
        info = StreamInfo(connection.info, dispatcher.wall_ns(), dispatcher.monotonic_ns(), protocol)
        info.upstream = UpstreamInfo()
        info.upstream.host_address = self.session.host.address
        context = FormatContext(info)
        context.request_headers = request
        return context

    def on_data(self, data: bytes, end_stream: bool) -> int:
        codec = self.codec
        if codec is not None:
            try:
                codec.dispatch(data)
            except CodecProtocolError:
                if self.waiting:
                    self.fail(NETWORK, False)
                else:
                    self.close()
        return STOP

    def on_gone(self, remote: bool) -> None:
        codec = self.codec
        self.codec = None
        response = self.response
        if remote and codec is not None and self.waiting:
            # A body without length ends with the connection.
            try:
                codec.on_eof()
            except CodecProtocolError:
                pass
        self.response = None
        if response is not None:
            response.probe = None

    def on_reset(self) -> None:
        self.response = None
        if self.waiting:
            self.fail(NETWORK, False)

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.headers = headers
        self.session.last_status = headers.status
        if end_stream:
            self.on_complete()

    def on_body(self, data: bytes, end_stream: bool) -> None:
        limit = self.checker.config.response_buffer_size
        room = limit - len(self.body) if limit else len(data)
        if self.checker.config.receive and room > 0:
            self.body += data[:room]
        if end_stream:
            self.on_complete()

    def on_trailers(self, trailers: HeaderMap) -> None:
        self.on_complete()

    def on_complete(self) -> None:
        headers = self.headers
        self.response = None
        if headers is None or not self.waiting:
            return
        codec = self.codec
        keep = not closes(headers) and (codec is None or not codec.should_close())
        checker = self.checker
        config = checker.config
        degraded = headers.contains(b"x-envoy-degraded")
        if not in_ranges(headers.status, config.expected):
            if headers.contains(b"x-envoy-immediate-health-check-fail"):
                checker.exclude(self.session.host)
            self.fail(ACTIVE, in_ranges(headers.status, config.retriable), keep)
            return
        if config.receive and not contains_in_order(self.body, config.receive):
            self.fail(ACTIVE, False, keep)
            return
        if config.service_name is not None and checker.verifies_cluster():
            checker.stats.verify_cluster.inc()
            name = headers.get(b"x-envoy-upstream-healthchecked-cluster") or b""
            if not config.service_name.matches(name):
                self.fail(ACTIVE, False, keep)
                return
        self.succeed(degraded, keep)


def closes(headers: ResponseHeaderMap) -> bool:
    """Whether the response announces the end of its connection."""
    for name in (b"connection", b"proxy-connection"):
        value = headers.get_joined(name)
        if value is not None and b"close" in [token.strip().lower() for token in value.split(b",")]:
            return True
    return False


def in_ranges(status: int, ranges: list[tuple[int, int]]) -> bool:
    return any(start <= status < end for start, end in ranges)


def contains_in_order(data: bytes, patterns: list[bytes]) -> bool:
    """Whether all patterns occur one behind the other."""
    start = 0
    for pattern in patterns:
        found = data.find(pattern, start)
        if found < 0:
            return False
        start = found + len(pattern)
    return True
