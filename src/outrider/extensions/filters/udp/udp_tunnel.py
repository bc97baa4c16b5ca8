"""Tunnels of the UDP proxy: a session's datagrams in an HTTP stream, CONNECT-UDP (RFC 9298) or POST.

Source: Envoy documentation, "UDP tunneling over HTTP"; `UdpProxyConfig.UdpTunnelingConfig`. What goes through the
stream is what the session filters make of the datagrams: usually `http_capsule`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from outrider.access_log import context as log_types
from outrider.access_log.context import FormatContext
from outrider.access_log.format_string import FORMATTERS
from outrider.access_log.formatter import Formatter, parse_format
from outrider.access_log.syntax import FormatError
from outrider.data import response_flag
from outrider.data.filter_state import FilterStateObject
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import UpstreamInfo
from outrider.event.timer import Timer
from outrider.extensions.filters.network.tcp_tunnel import HeadersState
from outrider.extensions.filters.udp import udp_session
from outrider.http.codec import RESET_LOCAL, CodecProtocolError, RequestEncoder
from outrider.http.header_mutation import HeaderParser
from outrider.upstream.conn_pool import PendingStream, PoolCallbacks

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.extensions.filters.udp.udp_session import UdpSession
    from outrider.factory_context import FactoryContext
    from outrider.network.connection import Connection
    from outrider.upstream.host import Host

HEADERS_KEY: Final = "envoy.udp_proxy.propagate_response_headers"
TRAILERS_KEY: Final = "envoy.udp_proxy.propagate_response_trailers"
TARGET_PORT_KEY: Final = "udp.connect.target_port"
PROXY_PORT_KEY: Final = "udp.connect.proxy_port"
MASQUE_PATH: Final = "/.well-known/masque/udp/"
DEFAULT_DATAGRAMS: Final = 1024
DEFAULT_BYTES: Final = 16_384


class UdpTunnelSettings:
    """`tunneling_config`. Times in milliseconds."""

    __slots__ = (
        "proxy_host", "proxy_port", "target_host", "target_port", "post_path", "attempts", "back_off_ms",
        "back_off_max_ms", "headers", "max_datagrams", "max_bytes", "keep_headers", "keep_trailers",
    )  # fmt: skip

    def __init__(self, proxy_host: Formatter, target_host: Formatter, headers: HeaderParser) -> None:
        self.proxy_host = proxy_host
        # 0: none in the authority.
        self.proxy_port: int = 0
        self.target_host = target_host
        self.target_port: int = 0
        # Empty: CONNECT-UDP.
        self.post_path: bytes = b""
        self.attempts: int = 1
        self.back_off_ms: int = 0
        self.back_off_max_ms: int = 0
        self.headers = headers
        # Datagrams and bytes that wait for the tunnel; 0 datagrams: they are dropped.
        self.max_datagrams: int = 0
        self.max_bytes: int = 0
        self.keep_headers: bool = False
        self.keep_trailers: bool = False


class UdpTunnel(PoolCallbacks):
    """The tunnel of one session."""

    def __init__(self, session: UdpSession, settings: UdpTunnelSettings) -> None:
        self.session = session
        self.settings = settings
        self.encoder: RequestEncoder | None = None
        self.pending: PendingStream | None = None
        self.host: Host | None = None
        self.open: bool = False
        self.closed: bool = False
        # The stream takes no more for now: datagrams wait or are dropped as they do before there is a tunnel.
        self.blocked: bool = False
        self._attempts: int = 0
        self._kept: list[bytes] = []
        self._kept_size: int = 0
        self._timer: Timer | None = None

    def connect(self) -> None:
        """Ask the cluster for a stream; the session ends when there is none to be had."""
        session = self.session
        cluster = session.cluster
        self._attempts += 1
        if self._attempts > self.settings.attempts:
            session.info.response_flags |= (
                response_flag.UPSTREAM_RETRY_LIMIT_EXCEEDED | response_flag.RETRY_LIMIT_LAST
            )
            cluster.info.stats.upstream_cx_connect_attempts_exceeded.inc()
            self._fail()
            return
        pool = cluster.choose_pool(0, udp_session.SessionContext(session.info, None))
        if pool is None:
            session.info.response_flags |= response_flag.NO_HEALTHY_UPSTREAM
            self._fail()
            return
        pending = pool.new_stream(self, self)
        if pending is not None:
            self.pending = pending

    def _fail(self) -> None:
        self.session.upstream_stats.tunnel_failure.inc()
        self.session.proxy.end_session(self.session)

    def _try_again(self) -> None:
        if self.closed:
            return
        self.session.info.response_flags |= response_flag.UPSTREAM_CONNECTION_FAILURE
        settings = self.settings
        if self._attempts < settings.attempts:
            self.session.cluster.info.stats.upstream_rq_retry.inc()
        if settings.back_off_ms > 0 and self._attempts < settings.attempts:
            bound = min(settings.back_off_ms << min(self._attempts - 1, 30), settings.back_off_max_ms)
            if self._timer is None:
                self._timer = self.session.proxy.listener.dispatcher.timer(self, 0)
            self._timer.arm(random.randrange(bound) if bound > 0 else 0)
        else:
            self.session.proxy.listener.dispatcher.post(self._connect_later)

    def _connect_later(self) -> None:
        if not self.closed:
            self.connect()

    def on_timer(self, kind: int) -> None:
        self._connect_later()

    # --- the pool ---

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        self.pending = None
        if self.closed:
            encoder.reset_stream(RESET_LOCAL)
            return
        self.encoder = encoder
        self.host = host
        info = self.session.info
        facts = UpstreamInfo()
        facts.host = host
        facts.host_address = host.address
        facts.protocol = protocol
        facts.connection_id = connection.connection_id
        facts.local_address = connection.info.local_address
        facts.remote_address = connection.info.remote_address
        facts.ssl = connection.info.ssl
        facts.request_attempt_count = self._attempts
        info.upstream = facts
        try:
            encoder.encode_headers(self._request(host), False)
        except CodecProtocolError:
            self._reset()
            self._try_again()

    def _request(self, host: Host) -> RequestHeaderMap:
        settings = self.settings
        context = FormatContext(self.session.info)
        headers = RequestHeaderMap()
        authority = settings.proxy_host.format_bytes(context)
        port = self._port(PROXY_PORT_KEY, settings.proxy_port)
        if port:
            authority += b":%d" % port
        headers.authority = authority
        headers.scheme = b"https" if host.transport_socket_factory.implements_secure_transport else b"http"
        if settings.post_path:
            headers.method = b"POST"
            headers.path = settings.post_path
        else:
            headers.method = b"GET"
            target = settings.target_host.format_bytes(context).decode("latin-1")
            target_port = self._port(TARGET_PORT_KEY, settings.target_port)
            headers.path = f"{MASQUE_PATH}{quote(target, safe='')}/{target_port}/".encode()
            headers.set(b"connection", b"Upgrade")
            headers.set(b"upgrade", b"connect-udp")
            headers.set(b"capsule-protocol", b"?1")
        settings.headers.evaluate_headers(headers, context)
        return headers

    def _port(self, key: str, default: int) -> int:
        info = self.session.info
        value = None if info.filter_state is None else info.filter_state.get(key)
        text = (value.serialize() or "") if isinstance(value, FilterStateObject) else ""
        return int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= 65535 else default

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.pending = None
        facts = UpstreamInfo()
        facts.host = host
        facts.host_address = host.address
        facts.transport_failure_reason = details
        self.session.info.upstream = facts
        self._try_again()

    # --- the response ---

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        pass

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self.encoder is None or self.closed:
            return
        status = headers.status
        info = self.session.info
        if self.settings.keep_headers:
            self._keep(HEADERS_KEY, headers)
        accepted = 200 <= status < 300 or status == 101
        if self.settings.post_path:
            accepted = status == 200
        if not accepted or end_stream:
            self._reset()
            self._try_again()
            return
        self.open = True
        info.response_flags &= ~response_flag.UPSTREAM_CONNECTION_FAILURE
        self.session.upstream_stats.tunnel_success.inc()
        if self.session.proxy.settings.log_on_tunnel_connected:
            self.session.log(log_types.UDP_TUNNEL_UPSTREAM_CONNECTED)
        self._send_kept()

    def _send_kept(self) -> None:
        kept = self._kept
        self._kept = []
        self._kept_size = 0
        for data in kept:
            self.write(data)

    def on_above_write_buffer_high_watermark(self) -> None:
        self.blocked = True

    def on_below_write_buffer_low_watermark(self) -> None:
        self.blocked = False
        if self.open and not self.closed:
            self._send_kept()

    def _keep(self, key: str, headers: HeaderMap) -> None:
        info = self.session.info
        if info.filter_state is None:
            info.filter_state = {}
        info.filter_state[key] = HeadersState(headers)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        session = self.session
        if self.open and data and not self.closed:
            session.upstream_stats.sess_rx_datagrams.value += 1
            session.on_upstream(data)
        if end_stream and not self.closed:
            session.proxy.end_session(session)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        if self.settings.keep_trailers:
            self._keep(TRAILERS_KEY, trailers)
        self.decode_data(b"", True)

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.encoder = None
        if self.closed:
            return
        if self.open:
            self.session.proxy.end_session(self.session)
        else:
            self._try_again()

    # --- the session's side ---

    def write(self, data: bytes) -> None:
        encoder = self.encoder
        stats = self.session.upstream_stats
        if self.open and encoder is not None and not self.blocked:
            encoder.encode_data(data, False)
            return
        settings = self.settings
        if not settings.max_datagrams:
            return
        if len(self._kept) >= settings.max_datagrams or self._kept_size + len(data) > settings.max_bytes:
            stats.tunnel_buffer_overflow.inc()
            return
        self._kept.append(data)
        self._kept_size += len(data)

    def _reset(self) -> None:
        encoder = self.encoder
        self.encoder = None
        if encoder is not None:
            encoder.reset_stream(RESET_LOCAL)

    def close(self) -> None:
        """The session is over."""
        self.closed = True
        if self._timer is not None:
            self._timer.disarm()
        pending = self.pending
        self.pending = None
        if pending is not None:
            pending.cancel()
        self._reset()


def read_udp_tunnel(view: View, context: FactoryContext) -> UdpTunnelSettings:
    """Raises ConfigError."""
    parsers: list[Any] = [FORMATTERS.create(each, context) for each in view.messages("formatters")]
    formats: list[Formatter] = []
    for field in ("proxy_host", "target_host"):
        try:
            formats.append(parse_format(view.text(field), parsers))
        except FormatError as error:
            raise view.error(str(error), field) from None
    settings = UdpTunnelSettings(formats[0], formats[1], HeaderParser.from_views(view.messages("headers_to_add")))
    settings.proxy_port = view.integer("proxy_port")
    settings.target_port = view.integer("default_target_port")
    if settings.proxy_port > 65535:
        raise view.error("Port value must be in range 0-65535", "proxy_port")
    path = view.text("post_path")
    if view.flag("use_post"):
        if path and not path.startswith("/"):
            raise view.error("post_path must start with '/'", "post_path")
        settings.post_path = path.encode() or b"/"
    elif path:
        raise view.error("Can't set a post path when POST method isn't used", "post_path")
    retry = view.message("retry_options")
    if retry is not None:
        settings.attempts = retry.integer("max_connect_attempts", 1)
        back_off = retry.message("backoff_options")
        if back_off is not None:
            settings.back_off_ms = back_off.millis("base_interval") or 0
            longest = back_off.millis("max_interval")
            settings.back_off_max_ms = settings.back_off_ms * 10 if longest is None else longest
            if settings.back_off_max_ms < settings.back_off_ms:
                raise back_off.error("max_interval must be greater than or equal to base_interval", "max_interval")
    buffer = view.message("buffer_options")
    if buffer is not None:
        settings.max_datagrams = buffer.integer("max_buffered_datagrams", DEFAULT_DATAGRAMS)
        settings.max_bytes = buffer.integer("max_buffered_bytes", DEFAULT_BYTES)
    settings.keep_headers = view.flag("propagate_response_headers")
    settings.keep_trailers = view.flag("propagate_response_trailers")
    return settings
