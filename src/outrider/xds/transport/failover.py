"""Two servers for one stream: the second is used while the first was never reached.

As Envoy's `GrpcMuxFailover` (runtime `envoy.restart_features.xds_failover_support`): a first server that was connected
to once is waited for, however long it is away; a second one that breaks off is left for the first.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from outrider.xds.subscription_stats import ControlPlaneStats
from outrider.xds.transport.grpc_stream import ConfigStream, StreamUser

_log: Final = logging.getLogger("outrider.config")
_FAILURES: Final = 2
"""Attempts at the first server before the second is tried."""
_BACK_S: Final = 0.5


class FailoverStream:
    """Looks like a `ConfigStream` to the mux that uses it."""

    __slots__ = ("_back_timer", "_current", "_failures", "_was_connected", "failover", "primary", "user")

    def __init__(self, primary: ConfigStream, failover: ConfigStream, user: StreamUser) -> None:
        """Takes both streams over from `user`, who is told of the one in use."""
        self.primary = primary
        self.failover = failover
        self.user = user
        primary.user = _Primary(self)
        failover.user = _Failover(self)
        self._current = primary
        # A message came from the first server, ever.
        self._was_connected = False
        # Attempts at the first server that failed, in a row.
        self._failures = 0
        self._back_timer: asyncio.TimerHandle | None = None
        _log.warning(
            "Using xDS-Failover. Note that the implementation is currently considered experimental and may be modified "
            "in future Envoy versions!"
        )

    @property
    def established(self) -> bool:
        return self._current.established

    @property
    def stats(self) -> ControlPlaneStats:
        return self._current.stats

    def start(self) -> None:
        self._current.start()

    def send(self, message: bytes) -> None:
        self._current.send(message)

    def may_send(self) -> bool:
        return self._current.may_send()

    def fail(self, status: int, message: str) -> None:
        self._current.fail(status, message)

    def close(self) -> None:
        if self._back_timer is not None:
            self._back_timer.cancel()
            self._back_timer = None
        self.primary.close()
        self.failover.close()

    # What the streams tell

    def primary_answered(self) -> None:
        self._was_connected = True
        self._failures = 0

    def primary_failed(self) -> None:
        """It tries again by itself, unless it has failed often enough."""
        self.user.on_stream_failed()
        if self._was_connected:
            return
        self._failures += 1
        if self._failures < _FAILURES:
            _log.debug("Not trying to connect to failover. Will try again to reconnect to the primary (upon retry).")
            return
        _log.info(
            "Primary xDS stream failed to establish a connection at least 2 times in a row. Attempting to connect to "
            "the failover stream."
        )
        self.primary.stop()
        self._failures = 0
        self._current = self.failover
        self.failover.start()

    def failover_failed(self) -> None:
        _log.debug(
            "Failover xDS stream disconnected (either after establishing a connection or before). Attempting to "
            "connect to the primary stream."
        )
        self.failover.stop()
        self._current = self.primary
        self.user.on_stream_failed()
        if self._back_timer is None:
            self._back_timer = self.primary.dispatcher.call_later(_BACK_S, self._back)

    def _back(self) -> None:
        self._back_timer = None
        self.primary.start()


class _Primary(StreamUser):
    __slots__ = ("owner",)

    def __init__(self, owner: FailoverStream) -> None:
        self.owner = owner

    def on_stream_established(self) -> None:
        self.owner.user.on_stream_established()

    def on_stream_failed(self) -> None:
        self.owner.primary_failed()

    def on_message(self, message: bytes) -> None:
        self.owner.primary_answered()
        self.owner.user.on_message(message)

    def on_rate_limit_passed(self) -> None:
        self.owner.user.on_rate_limit_passed()


class _Failover(StreamUser):
    __slots__ = ("owner",)

    def __init__(self, owner: FailoverStream) -> None:
        self.owner = owner

    def on_stream_established(self) -> None:
        self.owner.user.on_stream_established()

    def on_stream_failed(self) -> None:
        self.owner.failover_failed()

    def on_message(self, message: bytes) -> None:
        self.owner.user.on_message(message)

    def on_rate_limit_passed(self) -> None:
        self.owner.user.on_rate_limit_passed()
