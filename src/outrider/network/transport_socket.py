"""Transport sockets: what stands between a connection's bytes and the wire (Envoy's `Network::TransportSocket`).

A transport socket is an engine: it is fed the bytes that came in, and hands out bytes to send, plaintext, and events
through `TransportSocketCallbacks`, which the connection implements. It never touches a socket. A factory that returns
None asks for no transport socket at all: the connection then passes bytes straight through (raw buffer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from outrider.data.stream_info import SslInfo
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View


@mypyc_attr(allow_interpreted_subclasses=True)
class TransportSocketCallbacks:
    """What a transport socket needs of its connection."""

    def raw_write(self, data: bytes) -> None:
        """Send bytes as they are."""
        raise NotImplementedError

    def raw_close_write(self) -> None:
        """All bytes have been given to `raw_write`: half-close the real socket once they are sent."""
        raise NotImplementedError

    def raise_connected(self) -> None:
        """The handshake is done: the connection raises EVENT_CONNECTED or starts its filters. At most once."""
        raise NotImplementedError

    def deliver(self, data: bytes, end_stream: bool) -> None:
        """Plaintext from the peer, perhaps empty with `end_stream`: after its close_notify or half-close."""
        raise NotImplementedError

    def transport_failed(self, details: str) -> None:
        """Fatal. The connection closes itself; `details` becomes the transport failure reason. At most once."""
        raise NotImplementedError


class TransportSocketOptions:
    """What one connection asks of its transport socket (Envoy's TransportSocketOptions); part of a pool's key."""

    __slots__ = ("server_name", "verify_sans", "alpn", "alpn_fallback", "_key")

    def __init__(
        self,
        server_name: str = "",
        verify_sans: tuple[str, ...] = (),
        alpn: tuple[str, ...] = (),
        alpn_fallback: tuple[str, ...] = (),
    ) -> None:
        # Overrides the configured SNI; empty = keep.
        self.server_name: str = server_name
        # DNS names or URIs of which the peer's certificate must hold one; empty = as configured.
        self.verify_sans: tuple[str, ...] = verify_sans
        # Replaces the configured ALPN list; `alpn_fallback` is used only where neither gives one.
        self.alpn: tuple[str, ...] = alpn
        self.alpn_fallback: tuple[str, ...] = alpn_fallback
        self._key: str = "\0".join((server_name, "\1".join(verify_sans), "\1".join(alpn), "\1".join(alpn_fallback)))

    def key(self) -> str:
        """Equal for equal options: connections may be shared among streams with equal keys."""
        return self._key


NO_OPTIONS = TransportSocketOptions()


@mypyc_attr(allow_interpreted_subclasses=True)
class TransportSocket:
    """One connection's transport socket. Order of calls: `set_callbacks`, `on_transport_connected`, then any."""

    def set_callbacks(self, callbacks: TransportSocketCallbacks) -> None:
        raise NotImplementedError

    def on_transport_connected(self) -> None:
        """The real socket is connected (or accepted): begin. A client handshake writes its first flight here."""
        raise NotImplementedError

    def on_raw_data(self, data: bytes) -> None:
        """Bytes from the wire. Those read early by listener filters are fed first."""
        raise NotImplementedError

    def on_raw_eof(self) -> None:
        """The peer half-closed the real socket: `deliver(b"", True)`, or `transport_failed` during a handshake."""
        raise NotImplementedError

    def write(self, data: bytes, end_stream: bool) -> None:
        """Send plaintext, and with `end_stream` nothing more after it. Before the handshake is done it is kept."""
        raise NotImplementedError

    def close_write(self) -> None:
        """Half-close: `write(b"", True)`."""
        self.write(b"", True)

    def shutdown(self) -> None:
        """The connection is about to be closed in good order: say goodbye (close_notify) if there is anyone to hear."""

    def on_closed(self) -> None:
        """The connection is gone: drop references. No callback may be called any more."""

    def pending_bytes(self) -> int:
        """Plaintext kept until the handshake is done; counts towards the connection's write buffer."""
        return 0

    def ssl_info(self) -> SslInfo | None:
        """TLS facts, once the handshake is done."""
        return None

    def protocol(self) -> str:
        """The application protocol negotiated (ALPN), else empty."""
        return ""

    def failure_reason(self) -> str:
        """Why it failed, else empty."""
        return ""

    def reset_reason(self) -> str:
        """The transport failure reason when the peer resets the real socket during the handshake."""
        return ""


@mypyc_attr(allow_interpreted_subclasses=True)
class TransportSocketFactory:
    """Makes transport sockets; built when configuration loads, so `create` cannot fail."""

    # Whether what it makes encrypts and authenticates (upstream requests may then claim https). Set by `__init__`.
    implements_secure_transport: bool = False
    # Whether what it makes tells the upstream whose connection it is: options then carry the client.
    names_client: bool = False

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        """A transport socket for one connection; None for none (raw)."""
        raise NotImplementedError

    def create_for(self, options: TransportSocketOptions | None, hostname: str) -> TransportSocket | None:
        """As `create`, for an upstream host of that name (which `auto_host_sni` wants)."""
        return self.create(options)

    def default_server_name(self) -> str:
        """The configured SNI (upstream), else empty."""
        return ""

    def supports_alpn(self) -> bool:
        """Whether ALPN may be negotiated, so that an upstream's protocol is known only after the handshake."""
        return False

    def pool_key(self, options: TransportSocketOptions | None) -> str:
        """What of the options makes two connections different."""
        return "" if options is None else options.key()


class RawBufferFactory(TransportSocketFactory):
    """envoy.transport_sockets.raw_buffer: bytes pass as they are."""

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return None

    def pool_key(self, options: TransportSocketOptions | None) -> str:
        return ""


RAW_BUFFER = RawBufferFactory()

# Factories take `(config, context)`; the context is a TransportSocketContext or has its attributes.
UPSTREAM_TRANSPORT_SOCKETS: ExtensionRegistry[TransportSocketFactory] = ExtensionRegistry(
    "envoy.transport_sockets.upstream"
)
DOWNSTREAM_TRANSPORT_SOCKETS: ExtensionRegistry[TransportSocketFactory] = ExtensionRegistry(
    "envoy.transport_sockets.downstream"
)

_RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


@UPSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.raw_buffer", _RAW, "raw_buffer")
def _create_upstream_raw_buffer(config: View, context: object) -> TransportSocketFactory:
    return RAW_BUFFER


@DOWNSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.raw_buffer", _RAW, "raw_buffer")
def _create_downstream_raw_buffer(config: View, context: object) -> TransportSocketFactory:
    return RAW_BUFFER
