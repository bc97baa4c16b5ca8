"""envoy.transport_sockets.starttls: plain text until a filter asks for TLS on the same connection.

Source: Envoy documentation, "StartTLS". A network filter that speaks a protocol with such an upgrade calls
`start_secure` of its connection's transport socket, when it has written its consent and before it reads on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.stream_info import SslInfo
from outrider.network.transport_socket import (
    DOWNSTREAM_TRANSPORT_SOCKETS,
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocket,
    TransportSocketCallbacks,
    TransportSocketFactory,
    TransportSocketOptions,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class _SecureCallbacks(TransportSocketCallbacks):
    """What the TLS socket is given: its handshake is no news to a connection that is established already."""

    def __init__(self, outer: TransportSocketCallbacks) -> None:
        self.outer = outer

    def raw_write(self, data: bytes) -> None:
        self.outer.raw_write(data)

    def raw_close_write(self) -> None:
        self.outer.raw_close_write()

    def raise_connected(self) -> None:
        pass

    def deliver(self, data: bytes, end_stream: bool) -> None:
        self.outer.deliver(data, end_stream)

    def transport_failed(self, details: str) -> None:
        self.outer.transport_failed(details)


class StartTlsSocket(TransportSocket):
    """One connection's."""

    def __init__(self, factory: TransportSocketFactory, options: TransportSocketOptions | None, hostname: str) -> None:
        self.factory = factory
        self.options = options
        self.hostname = hostname
        self.callbacks: TransportSocketCallbacks | None = None
        self.inner: TransportSocket | None = None

    def start_secure(self) -> bool:
        """From here on everything is TLS. False when it was already."""
        if self.inner is not None or self.callbacks is None:
            return False
        inner = self.factory.create_for(self.options, self.hostname)
        if inner is None:
            return False
        self.inner = inner
        inner.set_callbacks(_SecureCallbacks(self.callbacks))
        inner.on_transport_connected()
        return True

    def set_callbacks(self, callbacks: TransportSocketCallbacks) -> None:
        self.callbacks = callbacks

    def on_transport_connected(self) -> None:
        if self.callbacks is not None:
            self.callbacks.raise_connected()

    def on_raw_data(self, data: bytes) -> None:
        if self.inner is not None:
            self.inner.on_raw_data(data)
        elif self.callbacks is not None:
            self.callbacks.deliver(data, False)

    def on_raw_eof(self) -> None:
        if self.inner is not None:
            self.inner.on_raw_eof()
        elif self.callbacks is not None:
            self.callbacks.deliver(b"", True)

    def write(self, data: bytes, end_stream: bool) -> None:
        if self.inner is not None:
            self.inner.write(data, end_stream)
            return
        callbacks = self.callbacks
        if callbacks is not None:
            if data:
                callbacks.raw_write(data)
            if end_stream:
                callbacks.raw_close_write()

    def shutdown(self) -> None:
        if self.inner is not None:
            self.inner.shutdown()

    def on_closed(self) -> None:
        if self.inner is not None:
            self.inner.on_closed()
        self.callbacks = None

    def pending_bytes(self) -> int:
        return 0 if self.inner is None else self.inner.pending_bytes()

    def ssl_info(self) -> SslInfo | None:
        return None if self.inner is None else self.inner.ssl_info()

    def protocol(self) -> str:
        return "" if self.inner is None else self.inner.protocol()

    def failure_reason(self) -> str:
        return "" if self.inner is None else self.inner.failure_reason()

    def reset_reason(self) -> str:
        return "" if self.inner is None else self.inner.reset_reason()


class StartTlsFactory(TransportSocketFactory):
    """Makes them; what is made begins without encryption, so nobody may rely on it."""

    def __init__(self, secure: TransportSocketFactory) -> None:
        self.secure = secure

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return StartTlsSocket(self.secure, options, "")

    def create_for(self, options: TransportSocketOptions | None, hostname: str) -> TransportSocket | None:
        return StartTlsSocket(self.secure, options, hostname)

    def default_server_name(self) -> str:
        return self.secure.default_server_name()

    def pool_key(self, options: TransportSocketOptions | None) -> str:
        return self.secure.pool_key(options)


def _tls(view: View) -> View:
    view.accept("cleartext_socket_config")
    tls = view.message("tls_socket_config")
    if tls is None:
        raise view.error("value is required", "tls_socket_config")
    return tls


@UPSTREAM_TRANSPORT_SOCKETS.register(
    "envoy.transport_sockets.starttls", "envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig",
    "starttls",
)
def create_upstream(view: View, context: FactoryContext) -> TransportSocketFactory:
    """Raises ConfigError."""
    tls = _tls(view)
    try:
        from outrider.network.tls.factory import UpstreamTlsFactory
    except ImportError as error:
        raise view.error(f"TLS is not available: {error}") from None
    return StartTlsFactory(UpstreamTlsFactory(tls, context))


@DOWNSTREAM_TRANSPORT_SOCKETS.register(
    "envoy.transport_sockets.starttls", "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig", "starttls"
)
def create_downstream(view: View, context: FactoryContext) -> TransportSocketFactory:
    """Raises ConfigError."""
    tls = _tls(view)
    try:
        from outrider.network.tls.factory import DownstreamTlsFactory
    except ImportError as error:
        raise view.error(f"TLS is not available: {error}") from None
    return StartTlsFactory(DownstreamTlsFactory(tls, context))
