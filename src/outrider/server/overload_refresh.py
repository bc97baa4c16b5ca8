"""Main's side of the overload manager: measures pressures, sets actions, tells the workers."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.overload.monitor import ConnectionLimit
from outrider.overload.settings import PREFIX, OverloadAction, OverloadSettings
from outrider.overload.state import FULL
from outrider.stats.metrics import UNIT_MILLISECONDS

if TYPE_CHECKING:
    from outrider.overload.state import OverloadState
    from outrider.stats.metrics import Counter, Gauge
    from outrider.stats.store import Store

_log: Final = logging.getLogger("outrider.main")

SHRINK_COUNT: Final = f"overload.{PREFIX}shrink_heap.shrink_count"


class _ResourceStats:
    """`overload.<resource>.*`"""

    def __init__(self, store: Store, name: str, measured: bool) -> None:
        self.pressure = store.gauge(f"overload.{name}.pressure", False)
        self.failed_updates = store.counter(f"overload.{name}.failed_updates")
        if measured:
            store.counter(f"overload.{name}.skipped_updates")


class _ActionStats:
    """`overload.<action>.*`; a load shed point has no `active`."""

    def __init__(self, store: Store, name: str, is_action: bool) -> None:
        self.active: Gauge | None = store.gauge(f"overload.{name}.active", False) if is_action else None
        self.scale_percent: Gauge = store.gauge(f"overload.{name}.scale_percent", False)

    def set(self, scale: int) -> None:
        if self.active is not None:
            self.active.set(1 if scale >= FULL else 0)
        self.scale_percent.set(scale * 100 // FULL)


class OverloadRefresh:
    """Runs while the server runs, if anything is to be watched."""

    def __init__(self, settings: OverloadSettings, store: Store, publish: Callable[[Any], None]) -> None:
        """`publish` gets the payload for the workers whenever a state has changed."""
        self.settings = settings
        self.publish = publish
        self.store = store
        self._resources = {
            name: _ResourceStats(store, name, not isinstance(monitor, ConnectionLimit))
            for name, monitor in settings.monitors.items()
        }
        self._actions = {each.name: _ActionStats(store, PREFIX + each.name, True) for each in settings.actions}
        self._points = {each.name: _ActionStats(store, each.name, False) for each in settings.points}
        if settings.has_action("shrink_heap"):
            store.counter(SHRINK_COUNT)
        self._delay = store.histogram("overload.refresh_interval_delay", UNIT_MILLISECONDS)
        self._failing: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_s = 0.0
        # action or point -> 0..FULL
        self.states: tuple[dict[str, int], dict[str, int]] = (
            {each.name: 0 for each in settings.actions},
            {each.name: 0 for each in settings.points},
        )

    def start(self) -> None:
        """Begin to watch; nothing happens without monitors."""
        if self.settings.monitors and self._timer is None:
            self._last_s = time.monotonic()
            self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.settings.refresh_ms / 1000, self._refresh)

    def _refresh(self) -> None:
        now = time.monotonic()
        self._delay.record(int((now - self._last_s) * 1000))
        self._last_s = now
        self._arm()
        self.refresh()

    def refresh(self) -> None:
        """Measure everything once."""
        pressures: dict[str, float] = {}
        for name, monitor in self.settings.monitors.items():
            if isinstance(monitor, ConnectionLimit):
                continue
            stats = self._resources[name]
            try:
                pressures[name] = monitor.pressure()
            except (OSError, ValueError) as error:
                stats.failed_updates.inc()
                if name not in self._failing:
                    self._failing.add(name)
                    _log.info("Failed to update resource %s: %s", name, error)
                continue
            self._failing.discard(name)
            stats.pressure.set(int(pressures[name] * 100))
        states = (
            self._evaluate(self.settings.actions, self.states[0], pressures, self._actions),
            self._evaluate(self.settings.points, self.states[1], pressures, self._points),
        )
        if states != self.states:
            self.states = states
            self.publish(states)

    def _evaluate(
        self,
        actions: list[OverloadAction],
        before: dict[str, int],
        pressures: dict[str, float],
        stats: dict[str, _ActionStats],
    ) -> dict[str, int]:
        states: dict[str, int] = {}
        for action in actions:
            known = [trigger for trigger in action.triggers if trigger.resource in pressures]
            # What cannot be measured now keeps the action as it was.
            state = max([trigger.state(pressures[trigger.resource]) for trigger in known], default=None)
            scale = before.get(action.name, 0) if state is None else state
            states[action.name] = scale
            if scale != before.get(action.name, 0):
                _log.info("overload action %s is at %d %%", action.name, scale * 100 // FULL)
            stats[action.name].set(scale)
        return states


class HeapShrinker:
    """Gives memory back to the system, now and then, while `shrink_heap` is on. One per worker."""

    def __init__(self, settings: OverloadSettings, state: OverloadState, store: Store) -> None:
        self.state = state
        self.interval_s = settings.shrink_interval_ms / 1000
        self.count: Counter | None = store.counter(SHRINK_COUNT) if settings.has_action("shrink_heap") else None
        self._timer: asyncio.TimerHandle | None = None

    def check(self) -> None:
        """To be called when the state may have changed."""
        if self.state.shrink_heap < FULL:
            self.stop()
        elif self._timer is None:
            self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.interval_s, self._shrink)

    def _shrink(self) -> None:
        self._arm()
        release_memory()
        if self.count is not None:
            self.count.inc()


def release_memory() -> None:
    """Collect garbage, and return free pages of the C heap where the platform's library can."""
    import ctypes

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
