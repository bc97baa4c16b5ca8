"""Ports on loopback. All have five digits, so that messages naming them have equal lengths."""

from __future__ import annotations

import random
import socket

# Not a round number, which might be a timeout elsewhere in a message. Below the range from which Linux takes the ports of outgoing connections.
_LOWEST = 20001
_HIGHEST = 32000

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on and that this run has not given away before."""
    while True:
        port = random.randint(_LOWEST, _HIGHEST)
        if port in _given or port % 1000 == 0:
            continue
        with socket.socket() as probe, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            try:
                probe.bind(("0.0.0.0", port))
                datagram.bind(("0.0.0.0", port))
            except OSError:
                continue
        _given.add(port)
        return port


def bind_free(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket bound to a free port of 127.0.0.1, not listening."""
    while True:
        bound = socket.socket(socket.AF_INET, kind)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", free_port()))
        except OSError:
            bound.close()
            continue
        return bound


class RefusingPort:
    """Connections are refused: bound, so that nobody else takes it, but not listening."""

    def __init__(self) -> None:
        self._socket = bind_free()
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


class SilentPort:
    """Connections are never answered: the accept queue is full, so Linux drops the SYN."""

    def __init__(self) -> None:
        self._socket = bind_free()
        self._socket.listen(0)
        self.port: int = self._socket.getsockname()[1]
        self._fillers: list[socket.socket] = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def close(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._socket.close()
