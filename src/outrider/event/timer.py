"""A coarse timer wheel: arming and disarming cost a few attribute writes, and nothing is left behind.

Deadlines are rounded up to a tick (10 ms below ten seconds, 100 ms above), which is finer than any timeout of a proxy
needs; a timer never fires early. Timers are linked into their tick's list, so a disarmed timer is unlinked at once.
"""

from __future__ import annotations

import heapq
from typing import Final

from mypy_extensions import mypyc_attr

FINE_TICK_MS: Final = 10
COARSE_TICK_MS: Final = 100
COARSE_FROM_MS: Final = 10_000


@mypyc_attr(allow_interpreted_subclasses=True)
class TimerOwner:
    """Whoever arms timers. `kind` tells its timers apart."""

    def on_timer(self, kind: int) -> None:
        """Called once when the timer that was made with this `kind` has run out."""
        raise NotImplementedError


class TimerLink:
    """A node of a tick's ring. Out of a ring it points nowhere: not at itself, which would be a reference cycle."""

    __slots__ = ("prev", "next")

    def __init__(self) -> None:
        self.prev: TimerLink | None = None
        self.next: TimerLink | None = None


class Timer(TimerLink):
    """A one-shot timer of `owner`. Reusable: arm, disarm, arm again."""

    __slots__ = ("wheel", "owner", "kind", "armed")

    def __init__(self, wheel: TimerWheel, owner: TimerOwner, kind: int) -> None:
        super().__init__()
        self.wheel = wheel
        self.owner = owner
        self.kind = kind
        self.armed: bool = False

    def arm(self, delay_ms: int) -> None:
        """(Re)start: `on_timer(kind)` comes after at least `delay_ms` milliseconds."""
        if self.armed:
            self.disarm()
        self.armed = True
        ring = self.wheel.ring_for(delay_ms)
        last = ring.prev
        assert last is not None
        self.prev = last
        self.next = ring
        last.next = self
        ring.prev = self

    def disarm(self) -> None:
        """Stop; no effect on a timer that is not armed."""
        if self.armed:
            self.armed = False
            before = self.prev
            after = self.next
            assert before is not None and after is not None
            before.next = after
            after.prev = before
            self.prev = None
            self.next = None


@mypyc_attr(allow_interpreted_subclasses=True)
class WheelClock:
    """What the wheel needs of the loop: the time, and one wake-up. Tests move it by hand."""

    def now_ms(self) -> int:
        raise NotImplementedError

    def wake_at(self, when_ms: int) -> None:
        """Have `TimerWheel.advance` called at `when_ms`; replaces an earlier request."""
        raise NotImplementedError


class TimerWheel:
    """All timers of one loop."""

    __slots__ = ("clock", "_rings", "_heap", "_next_wake", "_advancing")

    def __init__(self, clock: WheelClock) -> None:
        self.clock = clock
        self._rings: dict[int, TimerLink] = {}
        self._heap: list[int] = []
        self._next_wake: int = 0
        self._advancing: bool = False

    def ring_for(self, delay_ms: int) -> TimerLink:
        due = self.clock.now_ms() + (delay_ms if delay_ms > 0 else 0)
        tick = COARSE_TICK_MS if delay_ms >= COARSE_FROM_MS else FINE_TICK_MS
        slot = (due // tick + 1) * tick
        ring = self._rings.get(slot)
        if ring is None:
            ring = TimerLink()
            ring.prev = ring
            ring.next = ring
            self._rings[slot] = ring
            heapq.heappush(self._heap, slot)
            if not self._advancing and (self._next_wake == 0 or slot < self._next_wake):
                self._next_wake = slot
                self.clock.wake_at(slot)
        return ring

    def advance(self) -> None:
        """Fire what is due, then ask for the next wake-up."""
        now = self.clock.now_ms()
        heap = self._heap
        self._advancing = True
        self._next_wake = 0
        try:
            while heap and heap[0] <= now:
                slot = heap[0]
                ring = self._rings[slot]
                # The slot stays until it is empty: should a callback raise, the rest fires at the next wake-up.
                while True:
                    node = ring.next
                    if node is ring:
                        break
                    assert isinstance(node, Timer)
                    node.disarm()
                    node.owner.on_timer(node.kind)
                heapq.heappop(heap)
                self._drop(slot)
        finally:
            self._advancing = False
            # Empty slots (all disarmed) are dropped here rather than woken for.
            while heap:
                slot = heap[0]
                ring = self._rings[slot]
                if ring.next is not ring:
                    break
                heapq.heappop(heap)
                self._drop(slot)
            if heap:
                self._next_wake = heap[0]
                self.clock.wake_at(self._next_wake)

    def _drop(self, slot: int) -> None:
        ring = self._rings.pop(slot)
        ring.prev = None
        ring.next = None

    def pending(self) -> int:
        """Number of armed timers (for tests and the admin page)."""
        count = 0
        for ring in self._rings.values():
            node = ring.next
            while node is not None and node is not ring:
                count += 1
                node = node.next
        return count
