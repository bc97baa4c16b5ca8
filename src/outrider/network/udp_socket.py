"""Datagram sockets: how they are configured, and reading them in batches.

A wake-up of the loop reads many datagrams into one buffer that is made once; a datagram longer than the limit shows by
filling the byte behind it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.network.udp_filter import Peer

DEFAULT_MAX_DATAGRAM: Final = 1500
MAX_DATAGRAM: Final = 65_535
# Datagrams per wake-up: others get their turn, and what waits is read with the next one.
BATCH: Final = 128


class UdpSocketConfig:
    """`envoy.config.core.v3.UdpSocketConfig`."""

    __slots__ = ("max_rx_datagram_size",)

    def __init__(self) -> None:
        # Bytes; longer ones are dropped and counted.
        self.max_rx_datagram_size: int = DEFAULT_MAX_DATAGRAM


def read_udp_socket(view: View | None, coalesced: bool) -> UdpSocketConfig:
    """`coalesced`: the default of `prefer_gro`.

    Coalesced receives need room for the longest datagram anyway, so Envoy keeps no smaller limit then. Here each
    datagram is received by itself, with the same outcome.
    """
    config = UdpSocketConfig()
    if view is not None:
        config.max_rx_datagram_size = view.integer("max_rx_datagram_size", DEFAULT_MAX_DATAGRAM)
        coalesced = view.flag("prefer_gro", coalesced)
    if coalesced:
        config.max_rx_datagram_size = MAX_DATAGRAM
    return config


@mypyc_attr(allow_interpreted_subclasses=True)
class DatagramReceiver:
    """Whoever reads a socket with a DatagramReader."""

    def on_datagram(self, data: bytes, peer: Peer) -> None:
        raise NotImplementedError

    def on_truncated(self) -> None:
        """One was longer than the limit."""

    def on_receive_error(self, error: OSError) -> None:
        """The kernel told of an error (ICMP: connection refused)."""


class DatagramReader:
    """Reads one non-blocking socket."""

    __slots__ = ("socket", "receiver", "limit", "_buffer", "_view")

    def __init__(self, opened: socket.socket, receiver: DatagramReceiver, limit: int) -> None:
        self.socket: socket.socket | None = opened
        self.receiver = receiver
        self.limit = limit
        self._buffer: bytearray = bytearray(limit + 1)
        self._view: memoryview = memoryview(self._buffer)

    def on_readable(self) -> None:
        """To be called by the loop."""
        view: Any = self._view
        for _ in range(BATCH):
            opened = self.socket
            if opened is None:
                return
            try:
                size, peer = opened.recvfrom_into(view)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.receiver.on_receive_error(error)
                return
            if size > self.limit:
                self.receiver.on_truncated()
            else:
                self.receiver.on_datagram(bytes(view[:size]), peer)

    def close(self) -> None:
        """Stop, also within a batch. The socket is the owner's."""
        self.socket = None
