"""CONNECT (or POST) that ends here: the payload goes upstream as raw TCP.

Source: Envoy documentation, "HTTP upgrades: CONNECT support", `RouteAction.UpgradeConfig.ConnectConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.address import KIND_IP
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import PROTOCOL_NONE, ConnectionInfo
from outrider.http.codec import RESET_CONNECTION_TERMINATION, RequestEncoder
from outrider.network.filter import CLOSE_NO_FLUSH, EVENT_CONNECTED, STOP, NetworkFilter
from outrider.router.config.upgrade_config import ConnectConfig
from outrider.upstream.conn_pool import PendingStream, TcpConnPool, TcpPoolCallbacks

if TYPE_CHECKING:
    from outrider.network.connection import Connection
    from outrider.router.upstream_request import UpstreamRequest
    from outrider.upstream.host import Host

_SIGNATURE_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def wants_tcp(config: ConnectConfig, headers: RequestHeaderMap) -> bool:
    """Whether a request on a route with this configuration is terminated."""
    return headers.method == b"CONNECT" or (config.allow_post and headers.method == b"POST")


def proxy_header(version: int, info: ConnectionInfo) -> bytes:
    """The PROXY protocol header (versions 1 and 2 of the HAProxy specification) for a downstream connection."""
    source = info.remote_address
    destination = info.local_address
    ip = source.kind == KIND_IP and destination.kind == KIND_IP
    if version == 1:
        if not ip:
            return b"PROXY UNKNOWN\r\n"
        family = "TCP6" if source.is_v6 else "TCP4"
        return f"PROXY {family} {source.host} {destination.host} {source.port} {destination.port}\r\n".encode()
    if not ip:
        # LOCAL: no addresses.
        return _SIGNATURE_V2 + b"\x20\x00\x00\x00"
    size = 16 if source.is_v6 else 4
    addresses = (
        source.packed().to_bytes(size, "big")
        + destination.packed().to_bytes(size, "big")
        + source.port.to_bytes(2, "big")
        + destination.port.to_bytes(2, "big")
    )
    return (
        _SIGNATURE_V2 + (b"\x21\x21" if source.is_v6 else b"\x21\x11") + len(addresses).to_bytes(2, "big") + addresses
    )


class RawStream(TcpPoolCallbacks):
    """Gets something raw of `host` for an attempt and presents it as a codec's stream."""

    host: Host

    def start(self, request: UpstreamRequest) -> PendingStream | None:
        raise NotImplementedError


class TcpStream(RawStream):
    """A raw connection."""

    def __init__(self, pool: TcpConnPool, config: ConnectConfig) -> None:
        self.pool = pool
        self.host = pool.host
        self.config = config
        self.request: UpstreamRequest | None = None

    def start(self, request: UpstreamRequest) -> PendingStream | None:
        self.request = request
        return self.pool.new_connection(self)

    def on_pool_ready(self, connection: Connection, host: Host) -> None:
        request = self.request
        assert request is not None
        self.request = None
        upstream = TcpUpstream(connection, request, self.config.proxy_protocol_version)
        connection.enable_half_close(True)
        connection.add_callbacks(upstream.reader)
        connection.add_filter(upstream.reader)
        request.on_pool_ready(upstream, host, connection, PROTOCOL_NONE)
        # The payload follows the response that `encode_headers` made up.
        connection.start_filters()

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        request = self.request
        if request is not None:
            self.request = None
            request.on_pool_failure(reason, details, host)


class TcpReader(NetworkFilter):
    """The reading side of a raw upstream connection."""

    def __init__(self, upstream: TcpUpstream) -> None:
        self.upstream = upstream

    def on_data(self, data: bytes, end_stream: bool) -> int:
        request = self.upstream.request
        if request is not None:
            self.upstream.wire_bytes_received += len(data)
            request.decode_data(data, end_stream)
        return STOP

    def on_event(self, event: int) -> None:
        if event != EVENT_CONNECTED:
            request = self.upstream.request
            self.upstream.request = None
            if request is not None and not request.finished:
                request.on_reset_stream(RESET_CONNECTION_TERMINATION, "")

    def on_above_write_buffer_high_watermark(self) -> None:
        request = self.upstream.request
        if request is not None and not request.finished:
            request.on_above_write_buffer_high_watermark()

    def on_below_write_buffer_low_watermark(self) -> None:
        request = self.upstream.request
        if request is not None and not request.finished:
            request.on_below_write_buffer_low_watermark()


class TcpUpstream(RequestEncoder):
    """The writing side: a request whose body is the raw payload, answered with 200 at once."""

    def __init__(self, connection: Connection, request: UpstreamRequest, proxy_protocol_version: int) -> None:
        self.connection = connection
        self.request: UpstreamRequest | None = request
        self.proxy_protocol_version = proxy_protocol_version
        self.reader = TcpReader(self)
        self.wire_bytes_received = 0
        self.wire_bytes_sent = 0
        self.header_bytes_received = 0
        self.header_bytes_sent = 0

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        request = self.request
        if request is None:
            return
        if self.proxy_protocol_version:
            info = request.router.manager.stream_info.connection
            self._write(proxy_header(self.proxy_protocol_version, info), end_stream)
        elif end_stream:
            self._write(b"", True)
        request.decode_headers(ResponseHeaderMap(status=200), False)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        self._write(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        self._write(b"", True)

    def _write(self, data: bytes, end_stream: bool) -> None:
        self.wire_bytes_sent += len(data)
        self.connection.write(data, end_stream)

    def reset_stream(self, reason: int) -> None:
        self.request = None
        self.connection.close(CLOSE_NO_FLUSH, "tcp_upstream_reset")

    def read_disable(self, disable: bool) -> None:
        self.connection.read_disable(disable)
