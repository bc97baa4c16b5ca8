"""The pool of HTTP/2 connections: many streams on each (Envoy's `Http2::ConnPoolImpl` and `HttpConnPoolImplMixed`).

Where ALPN decides (`auto_config`), a connection that turns out to speak HTTP/1 takes one stream at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.stream_info import HTTP2, HTTP11
from outrider.http.codec import (
    RESET_CONNECTION_TERMINATION,
    RESET_LOCAL,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_PROTOCOL_ERROR,
    RESET_REMOTE,
    RESET_REMOTE_CONNECTION_FAILURE,
    ClientConnectionCallbacks,
    ResponseDecoder,
)
from outrider.network.filter import EVENT_REMOTE_CLOSE
from outrider.upstream.active_client import BUSY, CLOSED, DRAINING, READY, ActiveClient
from outrider.upstream.conn_pool import PoolCallbacks
from outrider.upstream.host import Host
from outrider.upstream.http1_pool import Http1Client, Http1ConnPool
from outrider.upstream.pool_base import POOL_OVERFLOW, ConnPoolBase, PoolOwner

if TYPE_CHECKING:
    from outrider.network.transport_socket import TransportSocketOptions
    from outrider.upstream.connector import Connector


class _CodecCallbacks(ClientConnectionCallbacks):
    """What the codec tells of its streams and of the connection."""

    __slots__ = ("client",)

    def __init__(self, client: Http2Client) -> None:
        self.client = client

    def on_stream_complete(self) -> None:
        self.client.on_stream_complete()

    def on_stream_reset(self, reason: int) -> None:
        self.client.on_reset(reason)

    def on_go_away(self, error: bool) -> None:
        self.client.on_go_away()

    def on_settings(self, max_concurrent_streams: int) -> None:
        self.client.on_settings(max_concurrent_streams)


class Http2Client(Http1Client):
    """One connection with its codec; HTTP/1 when the upstream chose that."""

    __slots__ = ("capacity", "multiplexed", "negotiate")

    def __init__(self, pool: ConnPoolBase, negotiate: bool) -> None:
        super().__init__(pool)
        self.negotiate: bool = negotiate
        self.multiplexed: bool = not negotiate
        # Streams that may be open at a time.
        self.capacity: int = pool.info.http2_settings.max_concurrent_streams

    def on_established(self) -> None:
        if self.negotiate:
            ssl = self.connection.info.ssl
            self.multiplexed = ssl is not None and ssl.alpn() == "h2"
            stats = self.pool.info.stats
            if not self.multiplexed:
                self.capacity = 1
                stats.upstream_cx_http1_total.inc()
                super().on_established()
                return
            stats.upstream_cx_http2_total.inc()
        self.established = True
        self.codec = self.pool.connector.http2_codec(self.connection, self.pool.info, _CodecCallbacks(self))

    def on_stream_complete(self) -> None:
        if not self.multiplexed:
            super().on_stream_complete()
        else:
            self._stream_over()

    def on_reset(self, reason: int) -> None:
        """A stream of the HTTP/2 connection was reset by either side."""
        stats = self.pool.info.stats
        if reason == RESET_LOCAL or reason == RESET_PROTOCOL_ERROR:
            stats.upstream_rq_tx_reset.inc()
        elif reason == RESET_REMOTE:
            stats.upstream_rq_rx_reset.inc()
        self._stream_over()

    def _stream_over(self) -> None:
        if self.active_streams == 0:
            return
        pool = self.pool
        pool.end_stream(self)
        state = self.state
        if state == CLOSED:
            return
        if state == DRAINING or pool.draining:
            if self.active_streams == 0:
                # What the codec has to say of the stream goes out first.
                pool.dispatcher.post(self._close_drained)
            return
        if state == BUSY and self.active_streams < self.capacity:
            self.set_state(READY)
            if pool.pending:
                # Not from within the codec's own call.
                pool.dispatcher.post(pool.on_upstream_ready)
        if self.active_streams == 0:
            self.on_idle()

    def _close_drained(self) -> None:
        if self.state != CLOSED and self.active_streams == 0:
            self.close()

    def on_go_away(self) -> None:
        """The upstream takes no more streams; those that run may end."""
        if self.state == CLOSED or self.state == DRAINING:
            return
        self.pool.info.stats.upstream_cx_close_notify.inc()
        if self.active_streams == 0:
            self.set_state(DRAINING)
            self.pool.dispatcher.post(self._close_drained)
        else:
            self.drain()

    def on_settings(self, max_concurrent_streams: int) -> None:
        self.capacity = min(self.pool.info.http2_settings.max_concurrent_streams, max_concurrent_streams)
        if self.state == READY and self.active_streams >= self.capacity:
            self.set_state(BUSY)
        elif self.state == BUSY and self.active_streams < self.capacity:
            self.set_state(READY)
            if self.pool.pending:
                self.pool.dispatcher.post(self.pool.on_upstream_ready)

    def on_remote_close(self) -> None:
        if not self.multiplexed:
            super().on_remote_close()

    def on_dead(self, event: int) -> None:
        if not self.multiplexed:
            super().on_dead(event)
            return
        codec = self.codec
        if codec is not None:
            reason = RESET_CONNECTION_TERMINATION
            if self.protocol_error:
                reason = RESET_PROTOCOL_ERROR
            elif not self.established:
                reason = (
                    RESET_REMOTE_CONNECTION_FAILURE if event == EVENT_REMOTE_CLOSE else RESET_LOCAL_CONNECTION_FAILURE
                )
            self.codec = None
            # Each stream ends in the pool before its owner hears of it and asks for another.
            while self.active_streams > 0:
                self.pool.end_stream(self)
                self.pool.info.stats.upstream_rq_pending_failure_eject.inc()
            codec.on_connection_closed(reason, self.connection.info.transport_failure_reason)
        while self.active_streams > 0:
            self.pool.end_stream(self)
        self.pool.info.stats.upstream_rq_per_cx.record(self.streams)


class Http2ConnPool(Http1ConnPool):
    """HTTP/2 connections to one host, or with `negotiate` those of the protocol that ALPN chose."""

    def __init__(
        self,
        host: Host,
        priority: int,
        connector: Connector,
        owner: PoolOwner,
        key: str,
        options: TransportSocketOptions | None,
        negotiate: bool,
    ) -> None:
        super().__init__(host, priority, connector, owner, key, options)
        self.negotiate: bool = negotiate

    def begin_stream(self, client: ActiveClient) -> None:
        super().begin_stream(client)
        assert isinstance(client, Http2Client)
        if client.state == BUSY and client.active_streams < client.capacity:
            client.set_state(READY)

    def wants_connection(self) -> bool:
        # A connection that is being made will serve many.
        each = min(self.info.http2_settings.max_concurrent_streams, self.info.max_requests_per_connection)
        preconnect = self.info.preconnect_ratio
        if preconnect <= 1.0:
            return len(self.pending) > len(self.connecting) * each
        have = len(self.connecting) * each + self.active_streams
        for client in self.ready:
            assert isinstance(client, Http2Client)
            have += client.capacity - client.active_streams
        return (len(self.pending) + self.active_streams) * preconnect > have

    def _attach(self, client: ActiveClient, decoder: ResponseDecoder, callbacks: PoolCallbacks) -> None:
        assert isinstance(client, Http2Client)
        if not self.can_attach():
            callbacks.on_pool_failure(POOL_OVERFLOW, "", self.host)
            return
        self.begin_stream(client)
        codec = client.codec
        assert codec is not None
        protocol = HTTP2 if client.multiplexed else HTTP11
        callbacks.on_pool_ready(codec.new_stream(decoder), self.host, client.connection, protocol)

    def new_client(self) -> ActiveClient:
        # Their metrics exist from the first attempt on, also when that fails.
        self.info.http2_stats()
        if self.negotiate:
            self.info.http1_stats()
        else:
            self.info.stats.upstream_cx_http2_total.inc()
        client = Http2Client(self, self.negotiate)
        client.begin(self.connector.connect(self.host, self.options))
        return client

    def _close_idle(self) -> None:
        for client in list(self.ready):
            client.drain()
        if not self.pending:
            for client in list(self.connecting):
                client.close()
