"""A gRPC stream to a config source that is kept up: opened again after it broke, with back-off; and its rate limit.

Source: Envoy's `Config::GrpcStream` (what is logged at which level is its habit), "xDS REST and gRPC protocol".
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from outrider.data.grpc_status import DEADLINE_EXCEEDED, OK, RESOURCE_EXHAUSTED, UNAVAILABLE
from outrider.data.header_map import HeaderMap
from outrider.data.token_bucket import TokenBucket
from outrider.grpc.client import GrpcClient, GrpcStream, GrpcStreamCallbacks
from outrider.xds.subscription_stats import ControlPlaneStats
from outrider.xds.transport.back_off import BackOff

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

_log: Final = logging.getLogger("outrider.config")
# What may pass by itself: said aloud only when it goes on for this long.
_TRANSIENT: Final = (UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED)
_PATIENCE_NS: Final = 30_000_000_000


class StreamUser:
    """Whose messages a stream carries."""

    def on_stream_established(self) -> None:
        """A new stream: the server knows nothing yet."""
        raise NotImplementedError

    def on_stream_failed(self) -> None:
        """The stream could not be opened, or broke."""
        raise NotImplementedError

    def on_message(self, message: bytes) -> None:
        """One message of the server."""
        raise NotImplementedError

    def on_rate_limit_passed(self) -> None:
        """Messages that were held back may be tried again."""
        raise NotImplementedError


class RateLimit:
    """`rate_limit_settings`: at most so many requests at once and a second."""

    __slots__ = ("bucket",)

    def __init__(self, max_tokens: int = 100, fill_rate: float = 10.0) -> None:
        self.bucket = TokenBucket(max_tokens, 1, max(int(1e9 / fill_rate), 1), None, "")


class ConfigStream(GrpcStreamCallbacks):
    """`start` opens it; after that it opens itself again until `close`."""

    __slots__ = (
        "_broken_since_ns",
        "_broken_status",
        "_broken_text",
        "_closed",
        "_limit_timer",
        "_retry_timer",
        "_stopped",
        "_stream",
        "back_off",
        "client",
        "destination",
        "dispatcher",
        "established",
        "limit",
        "method",
        "service",
        "stats",
        "user",
    )

    def __init__(
        self,
        client: GrpcClient,
        service: str,
        method: str,
        user: StreamUser,
        dispatcher: Dispatcher,
        stats: ControlPlaneStats,
        back_off: BackOff,
        limit: RateLimit | None,
        destination: str,
    ) -> None:
        self.client = client
        self.service = service
        self.method = method
        self.user = user
        self.dispatcher = dispatcher
        self.stats = stats
        self.back_off = back_off
        self.limit = limit
        # For the log.
        self.destination = destination
        # Whether messages can be sent.
        self.established = False
        self._stream: GrpcStream | None = None
        self._closed = False
        self._stopped = False
        self._retry_timer: asyncio.TimerHandle | None = None
        self._limit_timer: asyncio.TimerHandle | None = None
        self._broken_status = OK
        self._broken_text = ""
        self._broken_since_ns = 0
        stats.connected_state.set(0)

    def start(self) -> None:
        """Open the stream, now."""
        self._stopped = False
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        if self._closed or self.established:
            return
        _log.debug("Establishing new gRPC bidi stream to %s for %s/%s", self.destination, self.service, self.method)
        stream = self.client.start(self.service, self.method, self)
        if stream is None:
            return  # on_remote_close has been told
        self._stream = stream
        self.established = True
        self.stats.connected_state.set(1)
        self.user.on_stream_established()

    def send(self, message: bytes) -> None:
        """Send one message; dropped when there is no stream."""
        if self._stream is not None:
            self._stream.send_message(message)

    def fail(self, status: int, message: str) -> None:
        """The server does not keep to the protocol: break the stream off, and open it again later."""
        stream = self._stream
        if stream is not None:
            stream.reset()
            self.on_remote_close(status, message)

    def stop(self) -> None:
        """Break the stream off, and do not open it again before the next `start`. Nothing is told."""
        self._stopped = True
        self.established = False
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        stream = self._stream
        self._stream = None
        if stream is not None:
            stream.reset()
            self.stats.connected_state.set(0)

    def close(self) -> None:
        """The end; nothing is told any more."""
        self.stop()
        self._closed = True
        if self._limit_timer is not None:
            self._limit_timer.cancel()

    def may_send(self) -> bool:
        """Whether the rate limit lets one more request pass, which is counted then. If not, the user is told when."""
        if self.limit is None:
            return True
        now = self.dispatcher.monotonic_ns()
        if self.limit.bucket.take(1, now):
            return True
        self.stats.rate_limit_enforced.inc()
        if self._limit_timer is None:
            delay = self.limit.bucket.token_ns / 1e9
            self._limit_timer = self.dispatcher.call_later(delay, self._limit_passed)
        return False

    def _limit_passed(self) -> None:
        self._limit_timer = None
        if not self._closed:
            self.user.on_rate_limit_passed()

    # The gRPC client tells

    def on_initial_metadata(self, headers: HeaderMap) -> None:
        pass

    def on_message(self, message: bytes) -> None:
        if self._closed:
            return
        # Only now is the server known to work: streams that are closed at once go on to be spaced out.
        self.back_off.reset()
        self._broken_status = OK
        self.user.on_message(message)

    def on_remote_close(self, status: int, message: str) -> None:
        if self._closed:
            return
        self._log_close(status, message)
        self._stream = None
        self.established = False
        self.stats.connected_state.set(0)
        self.user.on_stream_failed()
        if self._retry_timer is None and not self._closed and not self._stopped:
            self._retry_timer = self.dispatcher.call_later(self.back_off.next_ms() / 1000, self.start)

    def _log_close(self, status: int, message: str) -> None:
        if status == OK:
            _log.debug("%s gRPC config stream to %s closed: 0, %s", self.method, self.destination, message)
            return
        what = f"{self.method} gRPC config stream to {self.destination}"
        if status not in _TRANSIENT:
            _log.warning("%s closed: %d, %s", what, status, message)
            return
        now = self.dispatcher.monotonic_ns()
        if self._broken_status == OK:
            self._remember(status, message, now)
            _log.debug("%s closed: %d, %s", what, status, message)
            return
        age_ns = now - self._broken_since_ns
        age_s = age_ns // 1_000_000_000
        if status != self._broken_status:
            _log.warning(
                "%s closed: %d, %s (previously %d, %s since %ds ago)",
                what,
                status,
                message,
                self._broken_status,
                self._broken_text,
                age_s,
            )
            self._remember(status, message, now)
            return
        self._broken_text = message
        if age_ns > _PATIENCE_NS:
            _log.warning("%s closed since %ds ago: %d, %s", what, age_s, status, message)
        else:
            _log.debug("%s closed: %d, %s", what, status, message)

    def _remember(self, status: int, message: str, now: int) -> None:
        self._broken_status = status
        self._broken_text = message
        self._broken_since_ns = now
