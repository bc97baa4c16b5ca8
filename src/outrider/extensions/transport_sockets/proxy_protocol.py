"""envoy.transport_sockets.upstream_proxy_protocol: a PROXY header ahead of another transport socket's bytes.

Source: Envoy documentation, "Upstream PROXY protocol"; the protocol itself is in `network.proxy_protocol`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.address import Address
from outrider.data.stream_info import SslInfo
from outrider.network.connection import Connection
from outrider.network.proxy_protocol import (
    LOCAL_V2,
    ProxyHeader,
    ProxyOptions,
    Tlv,
    TlvChoice,
    header_v1,
    header_v2,
    read_tlv_choice,
    read_tlvs,
)
from outrider.network.transport_socket import (
    RAW_BUFFER,
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocket,
    TransportSocketCallbacks,
    TransportSocketFactory,
    TransportSocketOptions,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"


class ProxySettings:
    """What the transport socket was configured to do."""

    def __init__(self) -> None:
        self.version: int = 1
        self.passed: TlvChoice | None = None
        self.added: list[Tlv] = []
        # Connections of clients with different extensions are kept apart.
        self.keyed_by_tlvs: bool = False

    def tlvs(self, header: ProxyHeader) -> list[Tlv]:
        """Our own extensions, then those of the client's header that may pass and are not of the same kind."""
        found = list(self.added)
        taken = {tlv.kind for tlv in found}
        passed = self.passed
        if passed is not None:
            found.extend(tlv for tlv in header.tlvs if tlv.kind not in taken and passed.keeps(tlv))
        return found


class ProxySocket(TransportSocket):
    """Sends the header when the connection is made, before anything of the inner transport socket (None: raw)."""

    def __init__(self, settings: ProxySettings, header: ProxyHeader | None, inner: TransportSocket | None) -> None:
        self.settings = settings
        self.header = header
        self.inner = inner
        self.callbacks: TransportSocketCallbacks | None = None

    def set_callbacks(self, callbacks: TransportSocketCallbacks) -> None:
        self.callbacks = callbacks
        if self.inner is not None:
            self.inner.set_callbacks(callbacks)

    def on_transport_connected(self) -> None:
        callbacks = self.callbacks
        assert callbacks is not None
        callbacks.raw_write(self._bytes(callbacks))
        if self.inner is not None:
            self.inner.on_transport_connected()
        else:
            callbacks.raise_connected()

    def _bytes(self, callbacks: TransportSocketCallbacks) -> bytes:
        header = self.header
        source: Address | None = None if header is None else header.source
        destination: Address | None = None if header is None else header.destination
        if header is not None and source is not None and destination is not None:
            if self.settings.version == 1:
                return header_v1(source, destination)
            return header_v2(source, destination, self.settings.tlvs(header))
        if self.settings.version == 2:
            return LOCAL_V2
        # Nobody's connection (a health check): version 1 names its own ends.
        assert isinstance(callbacks, Connection)
        return header_v1(callbacks.info.local_address, callbacks.info.remote_address)

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
        self.callbacks = None
        if self.inner is not None:
            self.inner.on_closed()

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


class ProxySocketFactory(TransportSocketFactory):
    """Wraps what the inner factory makes."""

    def __init__(self, settings: ProxySettings, inner: TransportSocketFactory) -> None:
        self.settings = settings
        self.inner = inner
        self.implements_secure_transport = inner.implements_secure_transport
        self.names_client = True

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return self._wrap(options, self.inner.create(options))

    def create_for(self, options: TransportSocketOptions | None, hostname: str) -> TransportSocket | None:
        return self._wrap(options, self.inner.create_for(options, hostname))

    def _wrap(self, options: TransportSocketOptions | None, inner: TransportSocket | None) -> TransportSocket:
        header = options.header if isinstance(options, ProxyOptions) else None
        return ProxySocket(self.settings, header, inner)

    def default_server_name(self) -> str:
        return self.inner.default_server_name()

    def supports_alpn(self) -> bool:
        return self.inner.supports_alpn()

    def pool_key(self, options: TransportSocketOptions | None) -> str:
        key = self.inner.pool_key(options)
        if not isinstance(options, ProxyOptions):
            return key
        key = f"{key}|{options.addresses_key()}"
        if self.settings.keyed_by_tlvs:
            tlvs = sorted(f"{tlv.kind}={tlv.value.hex()}" for tlv in options.header.tlvs)
            key = f"{key}|{','.join(tlvs)}"
        return key


@UPSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.upstream_proxy_protocol", TYPE)
def create(config: View, context: FactoryContext) -> TransportSocketFactory:
    """Raises ConfigError."""
    settings = ProxySettings()
    options = config.message("config")
    if options is not None:
        settings.version = 2 if options.enum("version") == "V2" else 1
        settings.passed = read_tlv_choice(options.message("pass_through_tlvs"))
        settings.added = read_tlvs(options.messages("added_tlvs"))
    settings.keyed_by_tlvs = config.flag("tlv_as_pool_key")
    given = config.message("transport_socket")
    inner = RAW_BUFFER if given is None else UPSTREAM_TRANSPORT_SOCKETS.create(given, context)
    return ProxySocketFactory(settings, inner)
