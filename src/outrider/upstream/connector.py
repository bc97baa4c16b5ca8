"""How pools and health checkers open connections: source address, socket options, transport socket, codec."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from outrider.network.client_connection import ConnectPlan, connect
from outrider.network.internal_connection import InternalUpstreamFactory
from outrider.upstream.host import Host

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.http.codec import ClientConnection, ClientConnectionCallbacks
    from outrider.network.connection import Connection
    from outrider.network.transport_socket import TransportSocketOptions
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.upstream_bind import UpstreamBind


@mypyc_attr(allow_interpreted_subclasses=True)
class Connector:
    """Opens connections to hosts of one cluster. Tests give their own."""

    dispatcher: Dispatcher

    def connect(self, host: Host, options: TransportSocketOptions | None) -> Connection:
        """Begin to connect; returns at once (see network.client_connection.connect)."""
        raise NotImplementedError

    def http1_codec(
        self, connection: Connection, info: ClusterInfo, callbacks: ClientConnectionCallbacks
    ) -> ClientConnection:
        raise NotImplementedError

    def http2_codec(
        self, connection: Connection, info: ClusterInfo, callbacks: ClientConnectionCallbacks
    ) -> ClientConnection:
        raise NotImplementedError

    def connection_duration_ms(self, info: ClusterInfo) -> int:
        """`max_connection_duration` with its jitter, which spreads the ends of connections made together."""
        duration = info.max_connection_duration_ms
        return duration + int(duration * random.random() * info.max_connection_duration_jitter / 100.0)


class HostConnector(Connector):
    """The real one."""

    def __init__(self, dispatcher: Dispatcher, bind: UpstreamBind) -> None:
        self.dispatcher = dispatcher
        self.bind = bind

    def connect(self, host: Host, options: TransportSocketOptions | None) -> Connection:
        transport_socket = host.transport_socket_factory.create_for(options, host.hostname)
        address = host.address
        source = self.bind.choose(address)
        plan = ConnectPlan(host.addresses or [address], source.options, source.address)
        factory = host.transport_socket_factory
        if isinstance(factory, InternalUpstreamFactory):
            plan.metadata = factory.passthrough(host.metadata, host.cluster.metadata)
        return connect(self.dispatcher, plan, transport_socket)

    def http1_codec(
        self, connection: Connection, info: ClusterInfo, callbacks: ClientConnectionCallbacks
    ) -> ClientConnection:
        from outrider.http.http1.client_connection import Http1ClientConnection

        return Http1ClientConnection(
            connection, callbacks, info.http1_settings, info.http1_stats(), info.max_response_headers_kb,
            info.max_response_headers_count,
        )

    def http2_codec(
        self, connection: Connection, info: ClusterInfo, callbacks: ClientConnectionCallbacks
    ) -> ClientConnection:
        from outrider.http.http2.client_connection import Http2ClientConnection

        return Http2ClientConnection(
            connection, callbacks, info.http2_settings, info.http2_stats(), info.max_response_headers_kb,
            info.max_response_headers_count,
        )
