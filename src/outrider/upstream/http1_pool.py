"""The pool of HTTP/1 connections: one stream at a time on each (Envoy's `Http1::ConnPoolImpl`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.stream_info import HTTP11
from outrider.http.codec import (
    RESET_CONNECTION_TERMINATION,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_PROTOCOL_ERROR,
    RESET_REMOTE_CONNECTION_FAILURE,
    ClientConnection,
    ClientConnectionCallbacks,
    CodecProtocolError,
    PrematureResponseError,
    ResponseDecoder,
)
from outrider.network.filter import EVENT_REMOTE_CLOSE, STOP
from outrider.upstream.active_client import CLOSED, DRAINING, READY, ActiveClient
from outrider.upstream.conn_pool import HttpConnPool, PoolCallbacks
from outrider.upstream.host import Host
from outrider.upstream.pool_base import POOL_OVERFLOW, ConnPoolBase, PendingStream, PoolOwner

if TYPE_CHECKING:
    from outrider.network.transport_socket import TransportSocketOptions
    from outrider.upstream.connector import Connector


class HttpPending(PendingStream):
    """A request in the queue."""

    __slots__ = ("pool", "decoder", "callbacks")

    def __init__(self, pool: ConnPoolBase, decoder: ResponseDecoder, callbacks: PoolCallbacks) -> None:
        self.pool = pool
        self.decoder = decoder
        self.callbacks = callbacks

    def fail(self, reason: int, details: str, host: Host) -> None:
        self.callbacks.on_pool_failure(reason, details, host)


class _CodecCallbacks(ClientConnectionCallbacks):
    """What the codec tells of its stream."""

    __slots__ = ("client",)

    def __init__(self, client: Http1Client) -> None:
        self.client = client

    def on_stream_complete(self) -> None:
        self.client.on_stream_complete()

    def on_stream_reset(self, reason: int) -> None:
        self.client.on_stream_reset()


class Http1Client(ActiveClient):
    """One connection with its codec."""

    __slots__ = ("codec", "established", "protocol_error")

    def __init__(self, pool: ConnPoolBase) -> None:
        super().__init__(pool)
        self.codec: ClientConnection | None = None
        self.established: bool = False
        self.protocol_error: bool = False

    def on_established(self) -> None:
        self.established = True
        self.codec = self.pool.connector.http1_codec(self.connection, self.pool.info, _CodecCallbacks(self))

    # --- bytes ---

    def on_data(self, data: bytes, end_stream: bool) -> int:
        codec = self.codec
        if codec is not None:
            self._dispatch(codec, data)
        return STOP

    def _dispatch(self, codec: ClientConnection, data: bytes) -> None:
        try:
            codec.dispatch(data)
        except PrematureResponseError as premature:
            # An idle upstream that says 408 before it closes has done nothing wrong. (The name differs from that below:
            # mypyc gives a variable one type.)
            self._codec_failed(premature, self.active_streams > 0 or premature.details != "408")
        except CodecProtocolError as error:
            self._codec_failed(error, True)

    def _codec_failed(self, error: CodecProtocolError, counts: bool) -> None:
        if counts:
            self.pool.info.stats.upstream_cx_protocol_error.inc()
            self.protocol_error = True
        if self.state != CLOSED:
            self.connection.info.termination_details = error.details or str(error)
            self.close()

    def on_above_write_buffer_high_watermark(self) -> None:
        self.pool.info.stats.upstream_flow_control_backed_up_total.inc()
        if self.codec is not None:
            self.codec.on_underlying_connection_above_write_buffer_high_watermark()

    def on_below_write_buffer_low_watermark(self) -> None:
        self.pool.info.stats.upstream_flow_control_drained_total.inc()
        if self.codec is not None:
            self.codec.on_underlying_connection_below_write_buffer_low_watermark()

    # --- streams ---

    def on_stream_complete(self) -> None:
        """Request and response are finished."""
        if self.active_streams == 0:
            return
        pool = self.pool
        pool.end_stream(self)
        codec = self.codec
        if codec is not None and codec.close_was_said():
            pool.info.stats.upstream_cx_close_notify.inc()
        if self.state == CLOSED:
            return
        if codec is None or codec.should_close():
            self.close()
            return
        if self.state == DRAINING or pool.draining:
            self.close()
            return
        self.set_state(READY)
        self.on_idle()
        if pool.pending:
            # Not from within the codec's own call.
            pool.dispatcher.post(pool.on_upstream_ready)

    def on_stream_reset(self) -> None:
        """HTTP/1 cannot give up a stream and keep the connection."""
        if self.active_streams == 0:
            return
        if self.state != CLOSED:
            # Ends in `on_dead`, with the stream still counted as cut off.
            self.close()
        if self.active_streams > 0:
            self.pool.end_stream(self)

    def on_remote_close(self) -> None:
        codec = self.codec
        if codec is not None and self.active_streams > 0:
            # A body without length ends with the connection (RFC 9112 section 6.3).
            try:
                codec.on_eof()
            except CodecProtocolError:
                self.pool.info.stats.upstream_cx_protocol_error.inc()
                self.protocol_error = True

    def on_dead(self, event: int) -> None:
        codec = self.codec
        if codec is not None:
            reason = RESET_CONNECTION_TERMINATION
            if self.protocol_error:
                reason = RESET_PROTOCOL_ERROR
            elif not self.established:
                reason = (
                    RESET_REMOTE_CONNECTION_FAILURE if event == EVENT_REMOTE_CLOSE else RESET_LOCAL_CONNECTION_FAILURE
                )
            details = self.connection.info.transport_failure_reason
            codec.on_connection_closed(reason, details)
            self.codec = None
        if self.active_streams > 0:
            self.pool.end_stream(self)
        self.pool.info.stats.upstream_rq_per_cx.record(self.streams)

    def incomplete_stream(self) -> bool:
        return self.active_streams > 0


class Http1ConnPool(HttpConnPool):
    """HTTP/1 connections to one host."""

    def __init__(
        self,
        host: Host,
        priority: int,
        connector: Connector,
        owner: PoolOwner,
        key: str,
        options: TransportSocketOptions | None,
    ) -> None:
        super().__init__(host, priority, connector, owner, key)
        self.options: TransportSocketOptions | None = options

    def new_stream(self, decoder: ResponseDecoder, callbacks: PoolCallbacks) -> PendingStream | None:
        ready = self.ready
        if ready:
            self._attach(ready[-1], decoder, callbacks)
            if self.info.preconnect_ratio > 1.0:
                self.create_connections()
            return None
        return self.enqueue(HttpPending(self, decoder, callbacks))

    def attach(self, client: ActiveClient, pending: PendingStream) -> None:
        assert isinstance(pending, HttpPending)
        self._attach(client, pending.decoder, pending.callbacks)

    def _attach(self, client: ActiveClient, decoder: ResponseDecoder, callbacks: PoolCallbacks) -> None:
        assert isinstance(client, Http1Client)
        if not self.can_attach():
            callbacks.on_pool_failure(POOL_OVERFLOW, "", self.host)
            return
        self.begin_stream(client)
        codec = client.codec
        assert codec is not None
        callbacks.on_pool_ready(codec.new_stream(decoder), self.host, client.connection, HTTP11)

    def new_client(self) -> ActiveClient:
        self.info.stats.upstream_cx_http1_total.inc()
        # Its metrics exist from the first attempt on, also when that fails.
        self.info.http1_stats()
        client = Http1Client(self)
        client.begin(self.connector.connect(self.host, self.options))
        return client
