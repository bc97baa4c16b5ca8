"""`envoy_grpc`: calls over clusters of our own. Source: Envoy's `Grpc::AsyncClientImpl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.data import grpc_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS, GRPC_TIMEOUT, TE
from outrider.data.stream_info import StreamInfo
from outrider.grpc.client import GrpcCall, GrpcClient, GrpcStream, GrpcStreamCallbacks, GrpcUnaryCallbacks
from outrider.grpc.exchange import Exchange
from outrider.grpc.exchange_reader import ExchangeReader
from outrider.grpc.framing import FrameError, FrameReader, frame, timeout_value

if TYPE_CHECKING:
    from outrider.grpc.service import EnvoyGrpcService

_GRPC: Final = b"application/grpc"
_TRAILERS: Final = b"trailers"


class EnvoyGrpcClient(GrpcClient):
    def __init__(self, service: EnvoyGrpcService) -> None:
        self.service = service

    def start(
        self, service: str, method: str, callbacks: GrpcStreamCallbacks, timeout_ms: int = 0
    ) -> GrpcStream | None:
        stream = EnvoyGrpcStream(self.service, callbacks)
        stream.open(service, method, timeout_ms)
        return None if stream.reader.callbacks is None else stream

    def send(
        self, service: str, method: str, message: bytes, callbacks: GrpcUnaryCallbacks, timeout_ms: int = 0
    ) -> GrpcCall | None:
        call = EnvoyGrpcCall(self.service, callbacks)
        call.begin(service, method, message, timeout_ms or self.service.timeout_ms)
        return None if call.sink.callbacks is None else call

    def __repr__(self) -> str:
        return f"<EnvoyGrpcClient {self.service.cluster_name}>"


class StreamReader(ExchangeReader):
    """Reads a response: messages, and in the end a status."""

    __slots__ = ("callbacks", "exchange", "frames", "wire_sent", "wire_received")

    def __init__(self, service: EnvoyGrpcService, callbacks: GrpcStreamCallbacks) -> None:
        # None once the stream is over for its owner.
        self.callbacks: GrpcStreamCallbacks | None = callbacks
        self.exchange: Exchange | None = None
        self.frames = FrameReader(service.max_message_length)
        # Once the stream is over.
        self.wire_sent: int = 0
        self.wire_received: int = 0

    def on_response_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        callbacks = self.callbacks
        if callbacks is None:
            return
        if not end_stream:
            callbacks.on_initial_metadata(headers)
        if self.callbacks is None:
            return
        if headers.status != 200 and not (end_stream and headers.single.get(GRPC_STATUS) is not None):
            self.fail(grpc_status.from_http_status(headers.status), "")
        elif end_stream:
            self.on_response_trailers(headers)

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        if self.callbacks is None:
            return
        try:
            messages = self.frames.feed(data)
        except FrameError as error:
            self.fail(error.status, "")
            return
        for message in messages:
            callbacks = self.callbacks
            if callbacks is None:
                return
            callbacks.on_message(message)
        if end_stream:
            # The status comes with trailers; there are none.
            self.fail(grpc_status.UNKNOWN, "")

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        callbacks = self.callbacks
        if callbacks is None:
            return
        value = trailers.get(GRPC_STATUS)
        status = grpc_status.UNKNOWN if value is None else grpc_status.parse_status(value)
        message = trailers.get(GRPC_MESSAGE) or b""
        self._tell(trailers, status, message.decode("utf-8", "replace"))

    def on_no_response(self, status: int, message: str) -> None:
        """As if our side had answered with this status, and nothing else."""
        self._tell(HeaderMap(), status, message)

    def on_broken(self) -> None:
        self._tell(HeaderMap(), grpc_status.INTERNAL, "")

    def on_drained(self) -> None:
        if self.callbacks is not None:
            self.callbacks.on_below_write_buffer_low_watermark()

    def fail(self, status: int, message: str) -> None:
        """The end, by our own judgement."""
        self._tell(HeaderMap(), status, message)

    def _tell(self, trailers: HeaderMap, status: int, message: str) -> None:
        callbacks = self.callbacks
        if callbacks is None:
            return
        callbacks.on_trailing_metadata(trailers)
        # It may have been reset in there.
        if self.callbacks is None:
            return
        self.drop()
        callbacks.on_remote_close(status, message)

    def drop(self) -> None:
        """Nobody is told of anything any more."""
        self.callbacks = None
        exchange = self.exchange
        if exchange is not None:
            exchange.cancel()
            self.wire_sent = exchange.wire_sent
            self.wire_received = exchange.wire_received
            self.exchange = None


class EnvoyGrpcStream(GrpcStream):
    __slots__ = ("service", "reader")

    def __init__(self, service: EnvoyGrpcService, callbacks: GrpcStreamCallbacks) -> None:
        self.service = service
        self.reader = StreamReader(service, callbacks)

    def open(self, service: str, method: str, timeout_ms: int, message: bytes | None = None) -> None:
        """Send the headers; with `message` also that, and the end. May be over before this returns."""
        settings = self.service
        reader = self.reader
        callbacks = reader.callbacks
        assert callbacks is not None
        cluster = settings.clusters.get(settings.cluster_name)
        if cluster is None:
            reader.fail(grpc_status.UNAVAILABLE, "Cluster not available")
            return
        headers = RequestHeaderMap(
            {TE: _TRAILERS},
            method=b"POST",
            scheme=b"http",
            authority=settings.authority,
            path=b"/%b/%b" % (service.encode(), method.encode()),
        )
        if timeout_ms > 0:
            headers.single[GRPC_TIMEOUT] = timeout_value(timeout_ms)
        headers.single[CONTENT_TYPE] = _GRPC
        if settings.metadata is not None:
            info = callbacks.parent_stream_info()
            if info is not None:
                settings.metadata.evaluate_headers(headers, FormatContext(info))
            else:
                for name, value in settings.plain_metadata:
                    headers.set(name, value)
        callbacks.on_create_initial_metadata(headers)
        if reader.callbacks is None:
            return
        exchange = Exchange(settings, headers, timeout_ms, reader)
        reader.exchange = exchange
        if message is not None:
            exchange.send(frame(message), True)
        exchange.begin(cluster)

    def send_message(self, message: bytes, end_stream: bool = False) -> None:
        exchange = self.reader.exchange
        if exchange is not None:
            exchange.send(frame(message), end_stream)

    def close(self) -> None:
        exchange = self.reader.exchange
        if exchange is not None:
            exchange.send(b"", True)

    def reset(self) -> None:
        self.reader.drop()

    def above_high_watermark(self) -> bool:
        exchange = self.reader.exchange
        return exchange is not None and exchange.is_full()

    def __repr__(self) -> str:
        return f"<EnvoyGrpcStream {self.service.cluster_name} {self.reader.exchange!r}>"


class UnarySink(GrpcStreamCallbacks):
    """Makes one outcome of what a stream tells."""

    __slots__ = ("callbacks", "message", "reader")

    def __init__(self, callbacks: GrpcUnaryCallbacks) -> None:
        # None once it was told or cancelled.
        self.callbacks: GrpcUnaryCallbacks | None = callbacks
        self.message: bytes | None = None
        self.reader: StreamReader | None = None

    def parent_stream_info(self) -> StreamInfo | None:
        return None if self.callbacks is None else self.callbacks.parent_stream_info()

    def on_create_initial_metadata(self, headers: RequestHeaderMap) -> None:
        if self.callbacks is not None:
            self.callbacks.on_create_initial_metadata(headers)

    def on_message(self, message: bytes) -> None:
        self.message = message

    def on_remote_close(self, status: int, message: str) -> None:
        callbacks = self.callbacks
        self.callbacks = None
        if callbacks is None:
            return
        reader = self.reader
        self.reader = None
        if reader is not None:
            callbacks.on_wire_bytes(reader.wire_sent, reader.wire_received)
        if status != grpc_status.OK:
            callbacks.on_failure(status, message)
        elif self.message is None:
            callbacks.on_failure(grpc_status.INTERNAL, "")
        else:
            callbacks.on_success(self.message)


class EnvoyGrpcCall(GrpcCall):
    __slots__ = ("sink", "stream")

    def __init__(self, service: EnvoyGrpcService, callbacks: GrpcUnaryCallbacks) -> None:
        self.sink = UnarySink(callbacks)
        self.stream = EnvoyGrpcStream(service, self.sink)
        self.sink.reader = self.stream.reader

    def begin(self, service: str, method: str, message: bytes, timeout_ms: int) -> None:
        self.stream.open(service, method, timeout_ms, message)

    def cancel(self) -> None:
        self.sink.callbacks = None
        self.sink.reader = None
        self.stream.reset()

    def __repr__(self) -> str:
        return f"<EnvoyGrpcCall {self.stream!r}>"
