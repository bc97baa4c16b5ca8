"""The upstream side of a TCP proxy: the filter on a raw upstream connection, and the interface of a tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from outrider.event.timer import Timer, TimerOwner
from outrider.network.filter import CLOSE_ABORT_RESET, EVENT_CONNECTED, STOP, NetworkFilter
from outrider.stats.metrics import Gauge

if TYPE_CHECKING:
    from outrider.network.connection import Connection
    from outrider.network.tcp_proxy import TcpProxy
    from outrider.network.tcp_proxy_settings import TcpProxySettings


@mypyc_attr(allow_interpreted_subclasses=True)
class Tunnel:
    """A stream of another protocol that carries the bytes of a proxied connection (HTTP CONNECT, POST).

    It calls the proxy's `on_upstream_data`, `on_upstream_high` and `_low`, and once `on_tunnel_closed`.
    """

    # Bytes on the wire so far.
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0

    def write(self, data: bytes, end_stream: bool) -> None:
        """Bytes of the client."""
        raise NotImplementedError

    def read_disable(self, disable: bool) -> None:
        """Counted: stop or resume taking bytes of the upstream."""
        raise NotImplementedError

    def close(self) -> None:
        """The client is gone: give the stream up. No further calls."""
        raise NotImplementedError


class UpstreamReader(NetworkFilter):
    """The filter on the upstream connection."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.proxy: TcpProxy | None = proxy
        # Counted down when the last bytes of a vanished client have been flushed.
        self._flush_active: Gauge | None = None
        self._drain: _Drain | None = None

    def drain(self, settings: TcpProxySettings, idle_ms: int) -> None:
        """The client is gone; the upstream gets `idle_ms` (0: any time) for each step of taking what is left."""
        stats = settings.stats
        stats.upstream_flush_total.inc()
        stats.upstream_flush_active.inc()
        self._flush_active = stats.upstream_flush_active
        if idle_ms > 0:
            self._drain = _Drain(self.connection, settings, idle_ms)

    def on_data(self, data: bytes, end_stream: bool) -> int:
        proxy = self.proxy
        if proxy is not None:
            proxy.on_upstream_data(data, end_stream)
        return STOP

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            return
        if self._flush_active is not None:
            self._flush_active.dec()
            self._flush_active = None
        if self._drain is not None:
            self._drain.timer.disarm()
            self._drain = None
        proxy = self.proxy
        if proxy is not None:
            self.proxy = None
            proxy.on_upstream_closed(event, self.connection)

    def on_above_write_buffer_high_watermark(self) -> None:
        if self.proxy is not None:
            self.proxy.on_upstream_high()

    def on_below_write_buffer_low_watermark(self) -> None:
        if self.proxy is not None:
            self.proxy.on_upstream_low()


class _Drain(TimerOwner):
    """Ends the flush of an upstream connection that has stopped taking bytes."""

    def __init__(self, connection: Connection, settings: TcpProxySettings, idle_ms: int) -> None:
        self.connection = connection
        self.settings = settings
        self.idle_ms = idle_ms
        self.left: int = connection.transport.get_write_buffer_size()
        self.timer: Timer = connection.dispatcher.timer(self, 0)
        self.timer.arm(idle_ms)

    def on_timer(self, kind: int) -> None:
        connection = self.connection
        transport = connection.transport
        if transport is not None:
            left: int = transport.get_write_buffer_size()
            if 0 < left < self.left:
                self.left = left
                self.timer.arm(self.idle_ms)
                return
        self.settings.stats.idle_timeout.inc()
        connection.close(CLOSE_ABORT_RESET)
