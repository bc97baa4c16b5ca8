"""The contract between pools and those who want connections (Envoy's `ConnectionPool`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from outrider.http.codec import ResponseDecoder
from outrider.upstream.pool_base import (
    CANCEL_CLOSE_EXCESS,
    CANCEL_DEFAULT,
    POOL_LOCAL_CONNECTION_FAILURE,
    POOL_OVERFLOW,
    POOL_REMOTE_CONNECTION_FAILURE,
    POOL_TIMEOUT,
    ConnPoolBase,
    PendingStream,
)

if TYPE_CHECKING:
    from outrider.http.codec import RequestEncoder
    from outrider.network.connection import Connection
    from outrider.upstream.host import Host

__all__ = [
    "CANCEL_CLOSE_EXCESS",
    "CANCEL_DEFAULT",
    "POOL_LOCAL_CONNECTION_FAILURE",
    "POOL_OVERFLOW",
    "POOL_REMOTE_CONNECTION_FAILURE",
    "POOL_TIMEOUT",
    "HttpConnPool",
    "PendingStream",
    "PoolCallbacks",
    "TcpConnPool",
    "TcpPoolCallbacks",
]
@mypyc_attr(allow_interpreted_subclasses=True)
class PoolCallbacks(ResponseDecoder):
    """Whoever asked for a stream; told exactly once unless it cancels. It usually takes the response, too."""

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Connection, protocol: int) -> None:
        """There it is. `connection.info` has the addresses and TLS facts, `protocol` is a data.stream_info constant."""
        raise NotImplementedError

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        """One of POOL_*; `details` is the transport failure reason, may be empty."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class HttpConnPool(ConnPoolBase):
    """HTTP connections of one worker to one host, for one priority and one set of transport options."""

    def new_stream(self, decoder: ResponseDecoder, callbacks: PoolCallbacks) -> PendingStream | None:
        """Ask for a stream. None: a callback has already been called, synchronously."""
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
class TcpConnPool(ConnPoolBase):
    """Raw connections of one worker to one host. Each is used once."""

    def new_connection(self, callbacks: TcpPoolCallbacks) -> PendingStream | None:
        """Ask for a connection. None: a callback has already been called, synchronously."""
        raise NotImplementedError
