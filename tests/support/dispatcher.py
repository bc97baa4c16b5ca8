"""Dispatchers for tests without sockets."""

from __future__ import annotations

import asyncio

from outrider.event.dispatcher import Dispatcher


def idle_dispatcher() -> Dispatcher:
    """A dispatcher whose loop never runs: its clock stands, its timers do not fire."""
    loop = asyncio.new_event_loop()
    loop.close()
    return Dispatcher("test", loop)
