"""Keep-alive pings of one HTTP/2 connection (`KeepaliveSettings`): whether the peer is still there.

Source: Envoy documentation, `envoy.config.core.v3.KeepaliveSettings`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from outrider.event.timer import Timer, TimerOwner
from outrider.network.connection import STATE_OPEN
from outrider.network.filter import CLOSE_NO_FLUSH

if TYPE_CHECKING:
    from outrider.http.http2.engine import Http2Engine

_TIMER_PING: Final = 0
_TIMER_ACK: Final = 1
_PING_DATA: Final = b"outrider"


class KeepAlive(TimerOwner):
    """Sends a PING each interval, or before a stream on a connection that was silent; closes when none is answered."""

    def __init__(self, engine: Http2Engine) -> None:
        self.engine = engine
        settings = engine.settings
        self._interval_ms: int = settings.keepalive_interval_ms
        self._jitter: float = settings.keepalive_jitter
        self._timeout_ms: int = settings.keepalive_timeout_ms
        self._idle_ms: int = settings.keepalive_idle_ms
        dispatcher = engine.connection.dispatcher
        self._ping_timer: Timer = dispatcher.timer(self, _TIMER_PING)
        self._ack_timer: Timer = dispatcher.timer(self, _TIMER_ACK)
        self._last_received_ms: int = dispatcher.clock.now_ms() if self._idle_ms > 0 else 0
        self._arm()

    def _arm(self) -> None:
        if self._interval_ms > 0:
            spread = self._jitter * self._interval_ms / 100.0
            self._ping_timer.arm(self._interval_ms + int(spread * random.random()))

    def on_timer(self, kind: int) -> None:
        if kind == _TIMER_PING:
            self.send()
            return
        engine = self.engine
        engine.stats.keepalive_timeout.inc()
        engine.connection.close(CLOSE_NO_FLUSH, "http2_ping_timeout")

    def send(self) -> None:
        """PING, and wait for its acknowledgement."""
        engine = self.engine
        if self._ack_timer.armed or engine.connection.state != STATE_OPEN:
            return
        engine.session.ping(_PING_DATA)
        self._ack_timer.arm(self._timeout_ms)
        engine.flush()

    def probe(self) -> None:
        """A connection that was silent for long is probed with its next stream."""
        if self._idle_ms > 0:
            now_ms = self.engine.connection.dispatcher.clock.now_ms()
            if now_ms - self._last_received_ms > self._idle_ms:
                self.send()

    def on_received(self) -> None:
        """Bytes have come."""
        if self._idle_ms > 0:
            self._last_received_ms = self.engine.connection.dispatcher.clock.now_ms()

    def on_ack(self) -> None:
        """A PING of ours was answered."""
        if self._ack_timer.armed:
            self._ack_timer.disarm()
            self._arm()

    def stop(self) -> None:
        """The connection is gone."""
        self._ping_timer.disarm()
        self._ack_timer.disarm()
