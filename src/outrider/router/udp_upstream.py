"""CONNECT-UDP that ends here: the capsules' payloads go upstream as datagrams (RFC 9298), and come back in capsules.

Source: Envoy documentation, "HTTP upgrades: CONNECT-UDP support". The cluster chooses the host, as Envoy's UDP upstream
has it; the target in the path is for filters and routes.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from outrider.data.capsule import CapsuleReader, encode_datagram
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONNECTION, UPGRADE
from outrider.data.stream_info import HTTP2, PROTOCOL_NONE, ConnectionInfo
from outrider.http.codec import RequestEncoder
from outrider.network.client_connection import NO_ADDRESS
from outrider.network.connection import Connection
from outrider.network.udp_socket import DatagramReader, DatagramReceiver
from outrider.router.tcp_upstream import RawStream
from outrider.upstream.conn_pool import POOL_LOCAL_CONNECTION_FAILURE, PendingStream
from outrider.upstream.host import Host

if TYPE_CHECKING:
    from outrider.network.udp_filter import Peer
    from outrider.router.upstream_request import UpstreamRequest
    from outrider.upstream.upstream_bind import UpstreamBind

_CONNECT_UDP: Final = b"connect-udp"
_CAPSULE_PROTOCOL: Final = b"capsule-protocol"
# What comes from the target is as large as the network lets it be.
_MAX_DATAGRAM: Final = 65_535


def wants_udp(headers: RequestHeaderMap) -> bool:
    """Whether a request on a route that terminates CONNECT is one for UDP."""
    return UPGRADE in headers.single and headers.single[UPGRADE].lower() == _CONNECT_UDP


class UdpStream(RawStream):
    """Opens a socket for an attempt."""

    def __init__(self, host: Host, bind: UpstreamBind) -> None:
        self.host = host
        self.bind = bind

    def start(self, request: UpstreamRequest) -> PendingStream | None:
        host = self.host
        address = host.address
        opened = socket.socket(socket.AF_INET6 if address.is_v6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            source = self.bind.choose(address)
            for level, option, value in source.options:
                opened.setsockopt(level, option, value)
            if source.address is not None:
                opened.bind((source.address.host, source.address.port))
            opened.connect((address.host, address.port))
        except OSError as error:
            opened.close()
            request.on_pool_failure(POOL_LOCAL_CONNECTION_FAILURE, str(error), host)
            return None
        dispatcher = request.router.manager.dispatcher
        # Stands for the socket in the log; nothing is ever read from or written to it.
        connection = Connection(dispatcher, ConnectionInfo(dispatcher.next_connection_id(), NO_ADDRESS, address))
        upstream = UdpUpstream(opened, request)
        dispatcher.loop.add_reader(opened.fileno(), upstream.reader.on_readable)
        request.on_pool_ready(upstream, host, connection, PROTOCOL_NONE)
        return None


class _Receiver(DatagramReceiver):
    """The reading side of the socket."""

    def __init__(self, upstream: UdpUpstream) -> None:
        self.upstream = upstream

    def on_datagram(self, data: bytes, peer: Peer) -> None:
        self.upstream.received(data)


class UdpUpstream(RequestEncoder):
    """The writing side: a request whose body are capsules."""

    def __init__(self, opened: socket.socket, request: UpstreamRequest) -> None:
        self.socket: socket.socket | None = opened
        self.request: UpstreamRequest | None = request
        self.capsules = CapsuleReader()
        self.reader = DatagramReader(opened, _Receiver(self), _MAX_DATAGRAM)
        self.wire_bytes_received = 0
        self.wire_bytes_sent = 0
        self.header_bytes_received = 0
        self.header_bytes_sent = 0

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        request = self.request
        if request is None:
            return
        if request.router.manager.stream_info.protocol == HTTP2:
            response = ResponseHeaderMap(status=200)
        else:
            # RFC 9298 section 3.3.
            response = ResponseHeaderMap(status=101)
            response.set(UPGRADE, _CONNECT_UDP)
            response.set(CONNECTION, b"upgrade")
        response.set(_CAPSULE_PROTOCOL, b"?1")
        request.decode_headers(response, False)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        opened = self.socket
        if opened is None:
            return
        for payload in self.capsules.feed(data):
            try:
                opened.send(payload)
            except OSError:
                # A datagram may be lost at any time.
                continue
            self.wire_bytes_sent += len(payload)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        pass

    def received(self, data: bytes) -> None:
        request = self.request
        if request is not None and not request.finished:
            self.wire_bytes_received += len(data)
            request.decode_data(encode_datagram(data), False)

    def reset_stream(self, reason: int) -> None:
        request = self.request
        self.request = None
        opened = self.socket
        self.socket = None
        self.reader.close()
        if opened is not None and request is not None:
            request.router.manager.dispatcher.loop.remove_reader(opened.fileno())
            opened.close()

    def read_disable(self, disable: bool) -> None:
        """Datagrams that downstream does not take in time are lost, in the kernel, as they would be on a network."""
        opened = self.socket
        request = self.request
        if opened is None or request is None:
            return
        loop = request.router.manager.dispatcher.loop
        if disable:
            loop.remove_reader(opened.fileno())
        else:
            loop.add_reader(opened.fileno(), self.reader.on_readable)
