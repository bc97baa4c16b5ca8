"""`google_grpc`: calls through grpcio, which makes its own connections. An optional extra of the package.

Source: Envoy's `Grpc::GoogleAsyncClientImpl`; grpcio's asyncio interface.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from outrider.access_log.context import FormatContext
from outrider.config.data_source import read_data_source
from outrider.data import grpc_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.grpc.client import GrpcCall, GrpcClient, GrpcStream, GrpcStreamCallbacks, GrpcUnaryCallbacks

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.event.dispatcher import Dispatcher
    from outrider.factory_context import FactoryContext
    from outrider.http.header_mutation import HeaderParser
    from outrider.stats.store import Scope

# `per_stream_buffer_limit_bytes`
_DEFAULT_BUFFER: Final = 1 << 20
# grpcio adds these itself.
_OWN_HEADERS: Final = frozenset((b"te", b"content-type", b"grpc-timeout", b"user-agent"))


class GoogleGrpcService:
    """Settings of a `google_grpc` service, and its channel once a call has been made."""

    __slots__ = (
        "target", "credentials", "options", "buffer_limit", "timeout_ms", "metadata", "plain_metadata",
        "dispatcher", "scope", "streams_total", "_channel",
    )  # fmt: skip

    def __init__(self, target: str, dispatcher: Dispatcher, scope: Scope) -> None:
        """`scope` is `grpc.<stat_prefix>.`."""
        self.target = target
        # grpc.ChannelCredentials, None for plain text.
        self.credentials: Any = None
        self.options: list[tuple[str, Any]] = []
        self.buffer_limit: int = _DEFAULT_BUFFER
        self.timeout_ms: int = 0
        self.metadata: HeaderParser | None = None
        self.plain_metadata: list[tuple[bytes, bytes]] = []
        self.dispatcher = dispatcher
        self.scope = scope
        self.streams_total = scope.counter("streams_total")
        self._channel: Any = None

    def channel(self) -> Any:
        """The channel, made with the first call: grpcio's threads must not exist before the worker is forked."""
        if self._channel is None:
            from grpc import aio

            if self.credentials is None:
                self._channel = aio.insecure_channel(self.target, options=self.options)
            else:
                self._channel = aio.secure_channel(self.target, self.credentials, options=self.options)
        return self._channel

    def headers(self, path: str, info: StreamInfo | None) -> RequestHeaderMap:
        headers = RequestHeaderMap(method=b"POST", scheme=b"http", path=path.encode(), authority=self.target.encode())
        if self.metadata is not None and info is not None:
            self.metadata.evaluate_headers(headers, FormatContext(info))
        else:
            for name, value in self.plain_metadata:
                headers.set(name, value)
        return headers

    def closed(self, status: int) -> None:
        """Count the end of a stream."""
        self.scope.counter(f"streams_closed_{status}").inc()

    def __repr__(self) -> str:
        return f"<GoogleGrpcService {self.target}>"


class GoogleGrpcClient(GrpcClient):
    def __init__(self, service: GoogleGrpcService) -> None:
        self.service = service

    def start(
        self, service: str, method: str, callbacks: GrpcStreamCallbacks, timeout_ms: int = 0
    ) -> GrpcStream | None:
        stream = GoogleGrpcStream(self.service, callbacks)
        stream.open(f"/{service}/{method}", timeout_ms)
        return None if stream.callbacks is None else stream

    def send(
        self, service: str, method: str, message: bytes, callbacks: GrpcUnaryCallbacks, timeout_ms: int = 0
    ) -> GrpcCall | None:
        call = GoogleGrpcCall(self.service, callbacks)
        call.begin(f"/{service}/{method}", message, timeout_ms or self.service.timeout_ms)
        return None if call.callbacks is None else call


class GoogleGrpcStream(GrpcStream):
    """One call of any kind: two tasks, one that writes what waits and one that reads."""

    __slots__ = ("service", "callbacks", "_call", "_queue", "_queued", "_ended", "_wake", "_tasks", "_was_full")

    def __init__(self, service: GoogleGrpcService, callbacks: GrpcStreamCallbacks) -> None:
        self.service = service
        # None once the stream is over for its owner.
        self.callbacks: GrpcStreamCallbacks | None = callbacks
        self._call: Any = None
        self._queue: list[bytes] = []
        self._queued = 0
        self._ended = False
        self._was_full = False
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []

    def open(self, path: str, timeout_ms: int) -> None:
        service = self.service
        callbacks = self.callbacks
        assert callbacks is not None
        service.streams_total.inc()
        headers = service.headers(path, callbacks.parent_stream_info())
        callbacks.on_create_initial_metadata(headers)
        if self.callbacks is None:
            return
        method = service.channel().stream_stream(path)
        self._call = method(metadata=_metadata(headers), timeout=timeout_ms / 1000 if timeout_ms else None)
        self._spawn(self._write())
        self._spawn(self._read())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(self.service.dispatcher.spawn(work))

    async def _write(self) -> None:
        from grpc import aio

        # A broken stream is told by the reading side.
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            while True:
                while self._queue:
                    message = self._queue.pop(0)
                    if self._call.done():
                        return
                    await self._call.write(message)
                    self._queued -= len(message)
                    if self._was_full and self._queued <= self.service.buffer_limit // 2:
                        self._was_full = False
                        if self.callbacks is not None:
                            self.callbacks.on_below_write_buffer_low_watermark()
                if self._ended:
                    await self._call.done_writing()
                    return
                self._wake.clear()
                await self._wake.wait()

    async def _read(self) -> None:
        from grpc import aio

        call = self._call
        with contextlib.suppress(aio.AioRpcError):
            initial = await call.initial_metadata()
            message = await call.read()
            if self.callbacks is not None and message is not aio.EOF:
                # An answer without messages may have no headers of its own; it is told of by its trailers.
                self.callbacks.on_initial_metadata(_header_map(initial))
            while message is not aio.EOF:
                if self.callbacks is None:
                    return
                self.callbacks.on_message(message)
                message = await call.read()
        trailers: Any = ()
        with contextlib.suppress(aio.AioRpcError):
            trailers = await call.trailing_metadata()
        code = await call.code()
        details = await call.details()
        self._finish(_header_map(trailers), int(code.value[0]), details or "")

    def _finish(self, trailers: HeaderMap, status: int, message: str) -> None:
        callbacks = self.callbacks
        if callbacks is None:
            return
        self.service.closed(status)
        callbacks.on_trailing_metadata(trailers)
        if self.callbacks is None:
            return
        self.callbacks = None
        self._ended = True
        self._wake.set()
        callbacks.on_remote_close(status, message)

    def send_message(self, message: bytes, end_stream: bool = False) -> None:
        if self.callbacks is None or self._ended:
            return
        self._queue.append(message)
        self._queued += len(message)
        self._ended = end_stream
        if self._queued > self.service.buffer_limit:
            self._was_full = True
        self._wake.set()

    def close(self) -> None:
        if self.callbacks is not None:
            self._ended = True
            self._wake.set()

    def reset(self) -> None:
        if self.callbacks is None:
            return
        self.callbacks = None
        self.service.closed(grpc_status.CANCELLED)
        if self._call is not None:
            self._call.cancel()
        for task in self._tasks:
            task.cancel()

    def above_high_watermark(self) -> bool:
        return self._queued > self.service.buffer_limit


class GoogleGrpcCall(GrpcCall):
    """A unary call."""

    __slots__ = ("service", "callbacks", "_task")

    def __init__(self, service: GoogleGrpcService, callbacks: GrpcUnaryCallbacks) -> None:
        self.service = service
        # None once the outcome was told, or nobody wants it.
        self.callbacks: GrpcUnaryCallbacks | None = callbacks
        self._task: asyncio.Task[Any] | None = None

    def begin(self, path: str, message: bytes, timeout_ms: int) -> None:
        service = self.service
        callbacks = self.callbacks
        assert callbacks is not None
        service.streams_total.inc()
        headers = service.headers(path, callbacks.parent_stream_info())
        callbacks.on_create_initial_metadata(headers)
        if self.callbacks is not None:
            self._task = service.dispatcher.spawn(self._run(path, message, _metadata(headers), timeout_ms))

    async def _run(
        self, path: str, message: bytes, metadata: tuple[tuple[str, str | bytes], ...], timeout_ms: int
    ) -> None:
        from grpc import aio

        method = self.service.channel().unary_unary(path)
        answer: bytes = b""
        status = grpc_status.OK
        details = ""
        try:
            answer = await method(message, metadata=metadata, timeout=timeout_ms / 1000 if timeout_ms else None)
        except aio.AioRpcError as error:
            status = int(error.code().value[0])
            details = error.details() or ""
        callbacks = self.callbacks
        if callbacks is None:
            return
        self.callbacks = None
        self.service.closed(status)
        if status == grpc_status.OK:
            callbacks.on_success(answer)
        else:
            callbacks.on_failure(status, details)

    def cancel(self) -> None:
        if self.callbacks is None:
            return
        self.callbacks = None
        self.service.closed(grpc_status.CANCELLED)
        if self._task is not None:
            self._task.cancel()


def google_client(
    view: View,
    context: FactoryContext,
    timeout_ms: int,
    metadata: HeaderParser | None,
    plain: list[tuple[bytes, bytes]],
) -> GrpcClient:
    """From a GrpcService.GoogleGrpc. Raises ConfigError."""
    try:
        import grpc
    except ImportError:
        raise view.error("needs grpcio, which is not installed (outrider[google-grpc])") from None
    scope = context.root_scope.scope(f"grpc.{view.text('stat_prefix')}.")
    service = GoogleGrpcService(view.text("target_uri"), context.dispatcher, scope)
    service.timeout_ms = timeout_ms
    service.metadata = metadata
    service.plain_metadata = plain
    service.credentials = _credentials(view, grpc)
    service.buffer_limit = view.integer("per_stream_buffer_limit_bytes", _DEFAULT_BUFFER)
    arguments = view.message("channel_args")
    if arguments is not None:
        for name, value in arguments.message_map("args").items():
            if value.which("value_specifier") == "int_value":
                service.options.append((name, value.integer("int_value")))
            else:
                service.options.append((name, value.text("string_value")))
    return GoogleGrpcClient(service)


def _credentials(view: View, grpc: Any) -> Any:
    """grpc.ChannelCredentials; None for plain text. What is not read here is refused."""
    own = view.message("channel_credentials")
    kind = None if own is None else own.which("credential_specifier")
    channel: Any = None
    if own is not None and kind == "ssl_credentials":
        ssl = own.message("ssl_credentials")
        assert ssl is not None
        channel = grpc.ssl_channel_credentials(
            _source(ssl, "root_certs"), _source(ssl, "private_key"), _source(ssl, "cert_chain")
        )
    elif own is not None and kind == "local_credentials":
        own.message("local_credentials")
        channel = grpc.local_channel_credentials()
    for each in view.messages("call_credentials"):
        if each.which("credential_specifier") != "access_token":
            continue
        if channel is None:
            raise each.error("call credentials need channel credentials", "access_token")
        token = grpc.access_token_call_credentials(each.text("access_token"))
        channel = grpc.composite_channel_credentials(channel, token)
    return channel


def _source(view: View, name: str) -> bytes | None:
    source = view.message(name)
    return None if source is None else read_data_source(source) or None


def _metadata(headers: RequestHeaderMap) -> tuple[tuple[str, str | bytes], ...]:
    fields: list[tuple[str, str | bytes]] = []
    for name, value in headers.items():
        if name in _OWN_HEADERS:
            continue
        key = name.decode("latin-1")
        fields.append((key, value if key.endswith("-bin") else value.decode("latin-1")))
    return tuple(fields)


def _header_map(metadata: Any) -> HeaderMap:
    headers = HeaderMap()
    for key, value in metadata or ():
        headers.add(key.encode(), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
    return headers
