"""The native sockets, where they could be built (Linux); elsewhere the loop's own transports serve."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.native.sockets import Acceptor, Poller, SocketTransport

try:
    if os.environ.get("OUTRIDER_NATIVE") == "0":
        raise ImportError
    from outrider.native import sockets as _sockets
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True


def new_poller(dispatcher: Any) -> Poller | None:
    """A poller on the dispatcher's loop, or None. The others here want one."""
    return _sockets.Poller(dispatcher) if AVAILABLE else None


def new_transport(poller: Poller, fd: int, protocol: Any, peer: tuple[str, int] | None) -> SocketTransport:
    return _sockets.SocketTransport(poller, fd, protocol, peer)


def new_acceptor(poller: Poller, fd: int, owner: Any, limit: int) -> Acceptor:
    return _sockets.Acceptor(poller, fd, owner, limit)


def can_relay(transport: Any) -> bool:
    """Whether it is one of these, which pass bytes on within the kernel."""
    return AVAILABLE and type(transport) is _sockets.SocketTransport


def connect(poller: Poller, host: str, port: int, protocol: Any, attempt: Any) -> SocketTransport:
    return _sockets.connect(poller, host, port, protocol, attempt)
