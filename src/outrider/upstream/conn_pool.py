"""The contract between pools and those who want connections (Envoy's `ConnectionPool`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.http.codec import RequestEncoder, ResponseDecoder
    from outrider.network.connection import Connection
    from outrider.upstream.host import Host

# Why no connection could be had (Envoy's PoolFailureReason).
POOL_OVERFLOW: Final = 0
POOL_LOCAL_CONNECTION_FAILURE: Final = 1
POOL_REMOTE_CONNECTION_FAILURE: Final = 2
POOL_TIMEOUT: Final = 3

# How to cancel (`PendingStream.cancel`): keep a connection that is being made for others, or drop it if in excess.
CANCEL_DEFAULT: Final = 0
CANCEL_CLOSE_EXCESS: Final = 1


@mypyc_attr(allow_interpreted_subclasses=True)
class PoolCallbacks:
    """Whoever asked for a stream; told exactly once unless it cancels."""

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        """There it is. `connection.info` has the addresses and TLS facts, `protocol` is a data.stream_info constant."""
        raise NotImplementedError

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        """One of POOL_*; `details` is the transport failure reason, may be empty."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class PendingStream:
    """A place in the queue."""

    def cancel(self, policy: int = CANCEL_DEFAULT) -> None:
        """Leave the queue; no callback will come."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class HttpConnPool:
    """HTTP connections of one worker to one host, for one priority and one set of transport options."""

    host: Host
    priority: int

    def new_stream(self, decoder: ResponseDecoder, callbacks: PoolCallbacks) -> PendingStream | None:
        """Ask for a stream. None: a callback has already been called, synchronously."""
        raise NotImplementedError

    def has_active_connections(self) -> bool:
        raise NotImplementedError

    def is_idle(self) -> bool:
        """No connection and nobody waiting."""
        raise NotImplementedError

    def maybe_preconnect(self, ratio: float) -> bool:
        """Open a connection ahead of need if `ratio` (predictive preconnect) asks for one; True when one was begun."""
        return False

    def drain(self, delete: bool) -> None:
        """Close idle connections now and the others when they become idle; with `delete` the pool goes away too."""
        raise NotImplementedError

    def close_all(self) -> None:
        """Close every connection at once (`close_connections_on_host_health_failure`, a removed cluster)."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class TcpPoolCallbacks:
    """Whoever asked for a raw connection."""

    def on_pool_ready(self, connection: Connection, host: Host) -> None:
        """The connection is the caller's: it adds its filter or callbacks, and closes it."""
        raise NotImplementedError

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class TcpConnPool:
    """Raw connections of one worker to one host. Each is used once."""

    host: Host
    priority: int

    def new_connection(self, callbacks: TcpPoolCallbacks) -> PendingStream | None:
        """Ask for a connection. None: a callback has already been called, synchronously."""
        raise NotImplementedError

    def is_idle(self) -> bool:
        raise NotImplementedError

    def drain(self, delete: bool) -> None:
        raise NotImplementedError

    def close_all(self) -> None:
        raise NotImplementedError
