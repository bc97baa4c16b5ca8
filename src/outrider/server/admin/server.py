"""The admin listener: main's one listener, with our own connection manager and a filter that calls the handlers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.view import View
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE
from outrider.http.filter import (
    DATA_STOP_NO_BUFFER,
    HEADERS_STOP_ITERATION,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.network.listen_socket import ListenSocket
from outrider.network.listener import ConnectionLimits, Listener
from outrider.network.listener_config import ListenerConfig
from outrider.server.admin.endpoint import EndpointTable
from outrider.server.admin.request import AdminRequest, AdminResponse

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.matching.string_matcher import StringMatcher
    from outrider.server.bootstrap import AdminSettings
    from outrider.server.main_process import MainProcess

_log: Final = logging.getLogger("outrider.admin")

FILTER_NAME: Final = "outrider.filters.http.admin"
_SINGLETON: Final = "outrider.admin"
_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_FILE_LOG: Final = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
MAX_BODY_BYTES: Final = 1024 * 1024
# Pieces of a large body are sent in units of about this size.
PIECE_BYTES: Final = 64 * 1024


class AdminServer:
    """Built before anything is bound; serves once main runs."""

    def __init__(self, settings: AdminSettings, context: FactoryContext) -> None:
        """Raises ConfigError."""
        self.settings = settings
        self.context = context
        self.table: EndpointTable | None = None
        self.socket: ListenSocket | None = None
        self.listener: Listener | None = None
        context.singletons[_SINGLETON] = self
        self.allowed = read_allowed_paths(settings.allow_paths)
        self.config: ListenerConfig | None = None
        if settings.address is not None:
            try:
                self.config = ListenerConfig(View(self._listener_message(), "admin"), context, admin=True)
            except ConfigError as error:
                # The path of a message that no user has written would help nobody.
                field = "access_log_path" if settings.access_log_path else "access_log"
                raise settings.view.error(error.text, field) from None

    def _listener_message(self) -> Any:
        """The admin listener as a configuration: what the proxy does for others it does for itself."""
        listener: Any = api.new("envoy.config.listener.v3.Listener")
        listener.name = "admin"
        listener.stat_prefix = "admin"
        address = self.settings.address
        assert address is not None
        listener.address.CopyFrom(self.settings.view.raw("address"))
        listener.ignore_global_conn_limit = True
        manager: Any = api.new(_HCM)
        manager.stat_prefix = "admin"
        manager.route_config.name = "admin"
        manager.use_remote_address.value = True
        manager.generate_request_id.value = False
        manager.http_filters.add().name = FILTER_NAME
        for view in self.settings.access_logs:
            manager.access_log.add().CopyFrom(view.take())
        if self.settings.access_log_path:
            entry = manager.access_log.add()
            entry.name = "envoy.access_loggers.file"
            log: Any = api.new(_FILE_LOG)
            log.path = self.settings.access_log_path
            entry.typed_config.type_url = f"{api.TYPE_URL_PREFIX}{_FILE_LOG}"
            entry.typed_config.value = log.SerializeToString()
        network_filter = listener.filter_chains.add().filters.add()
        network_filter.name = "envoy.filters.network.http_connection_manager"
        network_filter.typed_config.type_url = f"{api.TYPE_URL_PREFIX}{_HCM}"
        network_filter.typed_config.value = manager.SerializeToString()
        return listener

    def bind(self) -> None:
        """Raises BindError."""
        if self.settings.socket_settings is not None:
            self.socket = ListenSocket(self.settings.socket_settings, 1)
            self.socket.listen()

    async def start(self, main: MainProcess) -> None:
        """Serve."""
        from outrider.server.admin.main_state import MainState
        from outrider.server.admin.table import build_table

        self.table = build_table(MainState(main))
        if self.socket is None or self.config is None:
            return
        _log.info("admin address: %s", self.socket.address.text)
        limits = ConnectionLimits(self.context.runtime, None, 0)
        self.listener = Listener(self.config, self.context.dispatcher, limits, "main_thread")
        await self.listener.start(
            [(self.socket.address, self.socket.for_worker(0), self.socket.settings.backlog)]
        )

    def address_text(self) -> str:
        return self.socket.address.text if self.socket is not None else ""

    def close(self) -> None:
        if self.listener is not None:
            self.listener.stop()
            self.listener.close_connections()
            self.listener = None
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def release(self) -> None:
        """In a forked process: let go of the socket without touching what main serves."""
        if self.socket is not None:
            self.socket.forget()
            self.socket = None

    async def answer(self, request: AdminRequest) -> AdminResponse:
        if self.allowed and not any(matcher.matches(request.path.encode()) for matcher in self.allowed):
            return AdminResponse(f"request to path {request.path} not allowed", 403)
        assert self.table is not None
        return await self.table.dispatch(request)


def read_allowed_paths(views: list[View]) -> list[StringMatcher]:
    """`admin.allow_paths`: string matchers."""
    if not views:
        return []
    from outrider.matching.string_matcher import parse_string_matcher

    return [parse_string_matcher(view) for view in views]


class AdminFilter(HttpFilter):
    """Takes a whole request, sends a handler's answer in pieces as fast as the client takes them."""

    def __init__(self, server: AdminServer) -> None:
        self.server = server
        self._headers: RequestHeaderMap | None = None
        self._body = bytearray()
        self._pieces: Iterator[bytes] | None = None
        self._paused = False
        self._destroyed = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        self._headers = headers
        if end_stream:
            self._dispatch()
        return HEADERS_STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if len(self._body) + len(data) > MAX_BODY_BYTES:
            self.manager.send_local_reply(413, "Payload Too Large", "request_payload_too_large")
            return DATA_STOP_NO_BUFFER
        self._body += data
        if end_stream:
            self._dispatch()
        return DATA_STOP_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> int:
        self._dispatch()
        return TRAILERS_STOP

    def on_destroy(self) -> None:
        self._destroyed = True
        self._pieces = None

    def on_above_write_buffer_high_watermark(self) -> None:
        self._paused = True

    def on_below_write_buffer_low_watermark(self) -> None:
        self._paused = False
        self._send_pieces()

    def _dispatch(self) -> None:
        headers = self._headers
        assert headers is not None
        request = AdminRequest(
            headers.method.decode("latin-1"),
            headers.path.decode("latin-1"),
            bytes(self._body),
            (headers.get(CONTENT_TYPE) or b"").decode("latin-1"),
            (headers.get(b"accept") or b"").decode("latin-1"),
        )
        self.manager.dispatcher.spawn(self._answer(request))

    async def _answer(self, request: AdminRequest) -> None:
        try:
            response = await self.server.answer(request)
        except Exception:  # a fault of a handler must not leave the client without an answer
            _log.exception("admin handler for %s failed", request.path)
            response = AdminResponse("internal error", 500)
        if self._destroyed:
            return
        headers = ResponseHeaderMap()
        headers.status = response.status
        for name, value in response.headers:
            headers.add(name.encode(), value.encode())
        headers.add(CONTENT_TYPE, response.content_type.encode())
        headers.add(b"cache-control", b"no-cache, max-age=0")
        headers.add(b"x-content-type-options", b"nosniff")
        self.manager.encode_headers_from(self, headers, False)
        if request.method == "HEAD":
            self.manager.encode_data_from(self, b"", True)
            return
        self._pieces = pieces_of(response)
        self._send_pieces()

    def _send_pieces(self) -> None:
        pieces = self._pieces
        while pieces is not None and not self._paused and not self._destroyed:
            piece = next(pieces, None)
            if piece is None:
                self._pieces = None
                self.manager.encode_data_from(self, b"", True)
                return
            self.manager.encode_data_from(self, piece, False)
            pieces = self._pieces


def pieces_of(response: AdminResponse) -> Iterator[bytes]:
    """The body in pieces of a size worth sending."""
    body = response.body
    if isinstance(body, bytes):
        if body:
            yield body
        return
    if isinstance(body, str):
        if body:
            yield body.encode("utf-8", "surrogateescape")
        return
    waiting: list[bytes] = []
    size = 0
    for text in body:
        encoded = text.encode("utf-8", "surrogateescape")
        waiting.append(encoded)
        size += len(encoded)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


class AdminFilterFactory(HttpFilterFactory):
    is_terminal = True

    def __init__(self, server: AdminServer) -> None:
        self.server = server

    def create(self) -> HttpFilter:
        return AdminFilter(self.server)


@HTTP_FILTERS.register(FILTER_NAME, None)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Only the admin server makes one: it is no filter that a configuration could name."""
    server = context.singletons.get(_SINGLETON)
    if not isinstance(server, AdminServer):
        raise config.error(f"Didn't find a registered implementation for name: '{FILTER_NAME}'", "name")
    return AdminFilterFactory(server)
