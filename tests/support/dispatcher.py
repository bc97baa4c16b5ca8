"""Dispatchers for tests without sockets."""

from __future__ import annotations

import asyncio

from outrider.event.dispatcher import Dispatcher
from outrider.event.timer import TimerWheel, WheelClock


class StillClock(WheelClock):
    """Time that stands still: timers can be armed and never fire."""

    def now_ms(self) -> int:
        return 1_000

    def wake_at(self, when_ms: int) -> None:
        pass


def idle_dispatcher() -> Dispatcher:
    """A dispatcher whose loop never runs."""
    loop = asyncio.new_event_loop()
    loop.close()
    dispatcher = Dispatcher("test", loop)
    dispatcher.wheel = TimerWheel(StillClock())
    return dispatcher
