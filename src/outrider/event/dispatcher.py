"""The dispatcher: one event loop with its clock, timer wheel and socket operations (Envoy's `Event::Dispatcher`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outrider.event.timer import Timer, TimerOwner, TimerWheel, WheelClock
from outrider.native.load_sockets import new_poller

if TYPE_CHECKING:
    from outrider.native.sockets import Poller


class LoopClock(WheelClock):
    """The wheel's view of an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.wheel: TimerWheel | None = None
        self._handle: asyncio.TimerHandle | None = None

    def now_ms(self) -> int:
        return int(self.loop.time() * 1000)

    def wake_at(self, when_ms: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        delay = when_ms / 1000 - self.loop.time()
        self._handle = self.loop.call_later(delay if delay > 0 else 0, self._wake)

    def _wake(self) -> None:
        self._handle = None
        if self.wheel is not None:
            self.wheel.advance()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Dispatcher:
    """Owner of one loop. Everything that runs in a worker reaches the loop through it."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.loop = loop
        self.clock = LoopClock(loop)
        self.wheel = TimerWheel(self.clock)
        self.clock.wheel = self.wheel
        # Kept so that background work is neither collected early nor lost silently.
        self._tasks: set[asyncio.Task[Any]] = set()
        # Main makes its dispatcher before it has a loop.
        given: object = loop
        self._attached: bool = given is not None
        # To be called when there is a loop.
        self._waiting: list[Callable[[], object]] = []
        self._next_connection_id = 0
        # network.connection.WriteCork of this loop, made by its first connection.
        self.cork: object = None
        # network.internal_connection.InternalAcceptor by the name of its listener.
        self.internal: dict[str, object] = {}
        self._poller: Poller | None = None
        self._polls: bool = True

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the loop of a dispatcher that was made (by main, before it forks) without one."""
        self.loop = loop
        self.clock.loop = loop
        self._attached = True
        waiting = self._waiting
        self._waiting = []
        for callback in waiting:
            callback()

    def when_attached(self, callback: Callable[[], object]) -> None:
        """Call once there is a loop: now, or at `attach`."""
        if self._attached:
            callback()
        else:
            self._waiting.append(callback)

    def poller(self) -> Poller | None:
        """What watches the sockets of this loop natively; None where that is not to be had."""
        if self._poller is None and self._polls:
            self._poller = new_poller(self)
            self._polls = self._poller is not None
        return self._poller

    def timer(self, owner: TimerOwner, kind: int) -> Timer:
        """A coarse one-shot timer (see `event.timer`)."""
        return Timer(self.wheel, owner, kind)

    def next_connection_id(self) -> int:
        self._next_connection_id += 1
        return self._next_connection_id

    def post(self, callback: Callable[..., object], *args: object) -> None:
        """Run `callback` in the next loop iteration."""
        self.loop.call_soon(callback, *args)

    def call_later(self, seconds: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        """A precise timer for the control plane; per-request timers use `timer`."""
        return self.loop.call_later(seconds, callback, *args)

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        """Start control-plane work; the task is kept until it ends."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    def monotonic_ns() -> int:
        return time.monotonic_ns()

    @staticmethod
    def wall_ns() -> int:
        return time.time_ns()

    async def shutdown(self) -> None:
        """Cancel background work and wait for it."""
        self.clock.stop()
        if self._poller is not None:
            self._poller.close()
            self._poller = None
            self._polls = False
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop loop, or asyncio's own where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
