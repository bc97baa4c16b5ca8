"""Tunnels of the TCP proxy: the client's bytes as the body of an HTTP CONNECT or POST request.

Source: Envoy documentation, "Tunneling TCP over HTTP"; `TcpProxy.TunnelingConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.access_log.context import FormatContext
from outrider.access_log.format_string import FORMATTERS
from outrider.access_log.formatter import Formatter, parse_format
from outrider.access_log.syntax import FormatError
from outrider.data.filter_state import FilterStateObject
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP2
from outrider.http.codec import RESET_LOCAL, CodecProtocolError, RequestEncoder
from outrider.http.header_mutation import HeaderParser
from outrider.http.request_id import REQUEST_IDS
from outrider.network.tcp_proxy_settings import FAILED_CONNECT, FAILED_POOL
from outrider.network.tcp_proxy_upstream import Tunnel
from outrider.upstream.conn_pool import (
    POOL_LOCAL_CONNECTION_FAILURE,
    POOL_OVERFLOW,
    HttpConnPool,
    PendingStream,
    PoolCallbacks,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.connection import Connection
    from outrider.network.tcp_proxy import TcpProxy
    from outrider.upstream.host import Host

HEADERS_KEY: Final = "envoy.tcp_proxy.propagate_response_headers"
TRAILERS_KEY: Final = "envoy.tcp_proxy.propagate_response_trailers"
METADATA_NAMESPACE: Final = "envoy.filters.network.tcp_proxy"
UUID_TYPE: Final = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"


class TunnelSettings:
    """`tunneling_config`."""

    __slots__ = ("hostname", "post_path", "headers", "keep_headers", "keep_trailers", "id_header", "id_key")

    def __init__(self, hostname: Formatter, headers: HeaderParser) -> None:
        self.hostname = hostname
        # Empty: CONNECT.
        self.post_path: bytes = b""
        self.headers = headers
        # What of the response goes into filter state.
        self.keep_headers: bool = False
        self.keep_trailers: bool = False
        # Header and metadata key of a request id; the header is empty when there is to be none.
        self.id_header: bytes = b""
        self.id_key: str = ""


class HeadersState(FilterStateObject):
    """Response headers or trailers in filter state."""

    def __init__(self, headers: HeaderMap) -> None:
        self.pairs: list[tuple[str, str]] = []
        if isinstance(headers, ResponseHeaderMap):
            self.pairs.append((":status", str(headers.status)))
        for name, value in headers.items():
            self.pairs.append((name.decode("latin-1"), value.decode("latin-1")))

    def serialize_typed(self) -> object:
        return {"headers": [{"key": name, "value": value} for name, value in self.pairs]}


class TunnelStream(Tunnel):
    """One tunnel, from the pool's queue to its end."""

    def __init__(
        self, proxy: TcpProxy, settings: TunnelSettings, pool: HttpConnPool, cluster_name: str, secure: bool
    ) -> None:
        self.wire_bytes_sent = 0
        self.wire_bytes_received = 0
        # None once the proxy knows that it is over.
        self.proxy: TcpProxy | None = proxy
        self.settings = settings
        self.pool = pool
        self.cluster_name = cluster_name
        self.secure = secure
        self.callbacks = TunnelCallbacks(self)
        self.encoder: RequestEncoder | None = None
        self.connection: Connection | None = None
        self.host: Host | None = None
        self.http1: bool = False
        # The upstream has accepted.
        self.open: bool = False
        self.upstream_ended: bool = False
        self.client_ended: bool = False

    def start(self) -> PendingStream | None:
        return self.pool.new_stream(self.callbacks, self.callbacks)

    def begin(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        """There is a connection: ask for the tunnel."""
        proxy = self.proxy
        if proxy is None:
            encoder.reset_stream(RESET_LOCAL)
            return
        self.encoder = encoder
        self.connection = connection
        self.host = host
        self.http1 = protocol != HTTP2
        settings = self.settings
        info = proxy.info
        assert info is not None
        context = FormatContext(info)
        headers = RequestHeaderMap()
        headers.authority = settings.hostname.format_bytes(context)
        if settings.post_path:
            headers.method = b"POST"
            headers.path = settings.post_path
            headers.scheme = b"https" if self.secure else b"http"
        else:
            headers.method = b"CONNECT"
        if settings.id_header:
            request_id = REQUEST_IDS.next()
            headers.set(settings.id_header, request_id)
            if info.metadata is None:
                info.metadata = {}
            info.metadata.setdefault(METADATA_NAMESPACE, {})[settings.id_key] = request_id.decode()
        settings.headers.evaluate_headers(headers, context)
        try:
            encoder.encode_headers(headers, False)
        except CodecProtocolError as error:
            self.refuse(str(error))
            return
        if not settings.post_path and self.encoder is not None:
            encoder.enable_tcp_tunneling()

    def answered(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        proxy = self.proxy
        encoder = self.encoder
        if proxy is None or encoder is None or (headers.status < 200 and headers.status != 101):
            return
        info = proxy.info
        if self.settings.keep_headers and info is not None:
            if info.filter_state is None:
                info.filter_state = {}
            info.filter_state[HEADERS_KEY] = HeadersState(headers)
        if headers.status != 200 or end_stream:
            self.refuse("")
            return
        self.open = True
        host = self.host
        connection = self.connection
        assert host is not None and connection is not None
        proxy.on_tunnel(self, connection, host, host.address, self.cluster_name)

    def refuse(self, details: str) -> None:
        """No tunnel this time."""
        proxy = self.proxy
        self.proxy = None
        self._reset()
        if proxy is not None:
            host = self.host
            proxy.on_failed(FAILED_CONNECT, details, host, None if host is None else host.address)

    def _reset(self) -> None:
        encoder = self.encoder
        self.encoder = None
        if encoder is not None:
            self._take_bytes(encoder)
            encoder.reset_stream(RESET_LOCAL)

    def _take_bytes(self, encoder: RequestEncoder) -> None:
        self.wire_bytes_sent = encoder.wire_bytes_sent
        self.wire_bytes_received = encoder.wire_bytes_received

    def data(self, data: bytes, end_stream: bool) -> None:
        proxy = self.proxy
        if proxy is None or not self.open:
            return
        if self.encoder is not None:
            self._take_bytes(self.encoder)
        if end_stream:
            self.upstream_ended = True
        proxy.on_upstream_data(data, end_stream)
        if end_stream and self.client_ended:
            self._end(False)

    def trailers(self, trailers: HeaderMap) -> None:
        proxy = self.proxy
        if proxy is not None and self.settings.keep_trailers and proxy.info is not None:
            if proxy.info.filter_state is None:
                proxy.info.filter_state = {}
            proxy.info.filter_state[TRAILERS_KEY] = HeadersState(trailers)
        self.data(b"", True)

    def reset(self) -> None:
        """The stream has died."""
        self.encoder = None
        if self.open:
            self._end(not self.upstream_ended)
        else:
            self.refuse("")

    def _end(self, reset: bool) -> None:
        proxy = self.proxy
        self.proxy = None
        if self.encoder is not None and self.client_ended and self.upstream_ended:
            # Complete both ways: nothing to reset.
            self._take_bytes(self.encoder)
            self.encoder = None
        else:
            self._reset()
        if proxy is not None:
            proxy.on_tunnel_closed(reset)

    # --- the proxy's side ---

    def write(self, data: bytes, end_stream: bool) -> None:
        encoder = self.encoder
        if encoder is None:
            return
        encoder.encode_data(data, end_stream)
        if self.encoder is None:
            return
        self._take_bytes(encoder)
        if end_stream:
            self.client_ended = True
            # HTTP/1 has no half-closed tunnels; in HTTP/2 the other direction goes on.
            if self.http1 or self.upstream_ended:
                self._end(False)

    def read_disable(self, disable: bool) -> None:
        if self.encoder is not None:
            self.encoder.read_disable(disable)

    def close(self) -> None:
        self.proxy = None
        self._reset()


class TunnelCallbacks(PoolCallbacks):
    """The pool's and the codec's side of a tunnel."""

    def __init__(self, stream: TunnelStream) -> None:
        self.stream = stream

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        if self.stream.proxy is not None:
            self.stream.proxy.pending = self.stream
        self.stream.begin(encoder, host, connection, protocol)

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        proxy = self.stream.proxy
        self.stream.proxy = None
        if proxy is not None:
            own = reason == POOL_OVERFLOW or reason == POOL_LOCAL_CONNECTION_FAILURE
            proxy.on_failed(FAILED_POOL if own else FAILED_CONNECT, details, host, host.address)

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        pass

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.stream.answered(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.stream.data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.stream.trailers(trailers)

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.stream.reset()

    def on_above_write_buffer_high_watermark(self) -> None:
        if self.stream.proxy is not None and self.stream.open:
            self.stream.proxy.on_upstream_high()

    def on_below_write_buffer_low_watermark(self) -> None:
        if self.stream.proxy is not None and self.stream.open:
            self.stream.proxy.on_upstream_low()

    def on_timer(self, kind: int) -> None:
        pass


def read_tunnel(view: View, context: FactoryContext) -> TunnelSettings:
    """Raises ConfigError."""
    parsers: list[Any] = [FORMATTERS.create(each, context) for each in view.messages("formatters")]
    try:
        hostname = parse_format(view.text("hostname"), parsers)
    except FormatError as error:
        raise view.error(str(error), "hostname") from None
    settings = TunnelSettings(hostname, HeaderParser.from_views(view.messages("headers_to_add")))
    path = view.text("post_path")
    if view.flag("use_post"):
        if path and not path.startswith("/"):
            raise view.error("post_path must start with '/'", "post_path")
        settings.post_path = path.encode() or b"/"
    elif path:
        raise view.error("Can't set a post path when POST method isn't used", "post_path")
    settings.keep_headers = view.flag("propagate_response_headers")
    settings.keep_trailers = view.flag("propagate_response_trailers")
    id_header = view.text("request_id_header")
    id_key = view.text("request_id_metadata_key")
    extension = view.message("request_id_extension")
    if extension is not None:
        if extension.any_type("typed_config") != UUID_TYPE:
            raise extension.error(
                f"Didn't find a registered implementation for type: '{extension.any_type('typed_config')}'"
            )
        # Nothing is traced here, so there is no reason to pack into the id.
        extension.any("typed_config").accept("pack_trace_reason", "use_request_id_for_trace_sampling")
        settings.id_header = (id_header or "x-request-id").lower().encode()
        settings.id_key = id_key or "tunnel_request_id"
    return settings
