"""Log entries on their way to a service: gathered, sent when there are enough or after a while.

Source: Envoy's `Common::GrpcAccessLogger`; `CommonGrpcAccessLogConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.event.timer import Timer, TimerOwner
from outrider.grpc.client import GrpcCall, GrpcClient, GrpcStream, GrpcStreamCallbacks, GrpcUnaryCallbacks

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.stats.metrics import Counter
    from outrider.stats.store import Scope

DEFAULT_INTERVAL_MS: Final = 1000
DEFAULT_SIZE: Final = 16384


@mypyc_attr(allow_interpreted_subclasses=True)
class Transport:
    """Where batches go."""

    def send(self, entries: list[bytes]) -> bool:
        """False: not now, keep them."""
        raise NotImplementedError


class Batch(TimerOwner):
    """The entries of one logger of one worker. Each is a serialized message."""

    __slots__ = ("transport", "dispatcher", "interval_ms", "limit", "entries", "size", "timer", "written", "dropped")

    def __init__(
        self, transport: Transport, dispatcher: Dispatcher, interval_ms: int, limit: int, scope: Scope
    ) -> None:
        """`limit`: bytes from which a batch is sent; 0 = each entry at once."""
        self.transport = transport
        self.dispatcher = dispatcher
        self.interval_ms = interval_ms
        self.limit = limit
        self.entries: list[bytes] = []
        self.size: int = 0
        self.timer: Timer | None = None
        self.written: Counter = scope.counter("logs_written")
        self.dropped: Counter = scope.counter("logs_dropped")

    def add(self, entry: bytes) -> None:
        """Never blocks; drops the entry where the service takes no more."""
        if self.limit and self.size >= self.limit:
            self.flush()
            if self.size >= self.limit:
                self.dropped.inc()
                return
        self.written.inc()
        self.entries.append(entry)
        self.size += len(entry)
        if self.size >= self.limit:
            self.flush()
        else:
            self._wait()

    def flush(self) -> None:
        if self.entries:
            if self.transport.send(self.entries):
                self.entries = []
                self.size = 0
            else:
                self._wait()

    def _wait(self) -> None:
        if self.timer is None:
            self.timer = self.dispatcher.timer(self, 0)
        if not self.timer.armed:
            self.timer.arm(self.interval_ms)

    def on_timer(self, kind: int) -> None:
        self.flush()


@mypyc_attr(allow_interpreted_subclasses=True)
class Envelope:
    """Makes one message of entries."""

    def wrap(self, entries: list[bytes], first: bool) -> bytes:
        """`first`: it is the first message of its stream."""
        raise NotImplementedError


class StreamTransport(Transport):
    """One stream for all batches, opened with the first and again after it broke."""

    def __init__(self, client: GrpcClient, service: str, method: str, envelope: Envelope) -> None:
        self.client = client
        self.service = service
        self.method = method
        self.envelope = envelope
        self.stream: GrpcStream | None = None

    def send(self, entries: list[bytes]) -> bool:
        stream = self.stream
        first = stream is None
        if stream is None:
            stream = self.client.start(self.service, self.method, _StreamEnd(self))
            if stream is None:
                # As in Envoy, what could not even begin to be sent is lost.
                return True
            self.stream = stream
        elif stream.above_high_watermark():
            return False
        stream.send_message(self.envelope.wrap(entries, first))
        return True


class _StreamEnd(GrpcStreamCallbacks):
    def __init__(self, owner: StreamTransport) -> None:
        self.owner = owner

    def on_message(self, message: bytes) -> None:
        """An answer, which says nothing."""

    def on_remote_close(self, status: int, message: str) -> None:
        self.owner.stream = None


class UnaryTransport(Transport):
    """A call for each batch. A bounded number may be under way."""

    MAX_CALLS = 64

    def __init__(self, client: GrpcClient, service: str, method: str, envelope: Envelope) -> None:
        self.client = client
        self.service = service
        self.method = method
        self.envelope = envelope
        self.calls: set[_UnaryEnd] = set()

    def send(self, entries: list[bytes]) -> bool:
        if len(self.calls) >= self.MAX_CALLS:
            return False
        end = _UnaryEnd(self)
        self.calls.add(end)
        end.call = self.client.send(self.service, self.method, self.envelope.wrap(entries, True), end)
        return True


class _UnaryEnd(GrpcUnaryCallbacks):
    def __init__(self, owner: UnaryTransport) -> None:
        self.owner = owner
        self.call: GrpcCall | None = None

    def on_success(self, message: bytes) -> None:
        self.owner.calls.discard(self)

    def on_failure(self, status: int, message: str) -> None:
        self.owner.calls.discard(self)
