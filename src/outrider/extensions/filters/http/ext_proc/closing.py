"""A stream to the processor that nobody needs any more: it ends by itself, or is reset after a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.event.timer import TimerOwner
from outrider.grpc.client import GrpcStream

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher


class ClosingStream(TimerOwner):
    def __init__(self, stream: GrpcStream, dispatcher: Dispatcher, timeout_ms: int) -> None:
        self.stream: GrpcStream | None = stream
        self.timer = dispatcher.timer(self, 0)
        self.timer.arm(timeout_ms)

    def over(self) -> None:
        """The other side has ended it."""
        self.stream = None
        self.timer.disarm()

    def on_timer(self, kind: int) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.reset()
