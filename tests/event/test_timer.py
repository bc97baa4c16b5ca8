"""The timer wheel, with time moved by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.event.timer import Timer, TimerOwner, TimerWheel, WheelClock


class HandClock(WheelClock):
    """Time that stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000
        self.wake = 0

    def now_ms(self) -> int:
        return self.now

    def wake_at(self, when_ms: int) -> None:
        self.wake = when_ms


class Recorder(TimerOwner):
    def __init__(self) -> None:
        self.fired: list[tuple[int, int]] = []
        self.clock: HandClock | None = None
        self.again: Timer | None = None
        self.fail = False

    def on_timer(self, kind: int) -> None:
        if self.fail:
            self.fail = False
            raise RuntimeError("a callback's bug")
        assert self.clock is not None
        self.fired.append((kind, self.clock.now))
        if self.again is not None:
            self.again.arm(50)


def wheel() -> tuple[HandClock, TimerWheel, Recorder]:
    clock = HandClock()
    recorder = Recorder()
    recorder.clock = clock
    return clock, TimerWheel(clock), recorder


def advance(clock: HandClock, timers: TimerWheel, until: int) -> None:
    """Wake the wheel whenever it asked for it."""
    while clock.wake and clock.wake <= until:
        clock.now = clock.wake
        clock.wake = 0
        timers.advance()
    clock.now = until


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=40))
def test_never_early_and_at_most_a_tick_late(delays: list[int]) -> None:
    clock, timers, recorder = wheel()
    for kind, delay in enumerate(delays):
        Timer(timers, recorder, kind).arm(delay)
    advance(clock, timers, 100_000)
    assert sorted(kind for kind, _ in recorder.fired) == list(range(len(delays)))
    for kind, at in recorder.fired:
        late = at - 1_000 - delays[kind]
        assert 0 < late <= (100 if delays[kind] >= 10_000 else 10)
    assert timers.pending() == 0


def test_disarmed_timers_leave_nothing_behind() -> None:
    clock, timers, recorder = wheel()
    several = [Timer(timers, recorder, kind) for kind in range(5)]
    for timer in several:
        timer.arm(100)
    for timer in several:
        timer.disarm()
        timer.disarm()
    assert timers.pending() == 0
    advance(clock, timers, 5_000)
    assert recorder.fired == []
    assert timers._rings == {}


def test_arming_again_moves_the_deadline() -> None:
    clock, timers, recorder = wheel()
    timer = Timer(timers, recorder, 7)
    timer.arm(100)
    timer.arm(500)
    advance(clock, timers, 1_300)
    assert recorder.fired == []
    advance(clock, timers, 1_600)
    assert [kind for kind, _ in recorder.fired] == [7]


def test_a_timer_may_be_armed_from_its_own_callback() -> None:
    clock, timers, recorder = wheel()
    timer = Timer(timers, recorder, 1)
    recorder.again = timer
    timer.arm(50)
    advance(clock, timers, 1_300)
    assert len(recorder.fired) >= 4
    assert timer.armed


def test_a_callback_that_raises_does_not_lose_its_neighbours() -> None:
    clock, timers, recorder = wheel()
    for kind in range(3):
        Timer(timers, recorder, kind).arm(20)
    recorder.fail = True
    clock.now = 1_100
    with pytest.raises(RuntimeError):
        timers.advance()
    timers.advance()
    assert [kind for kind, _ in recorder.fired] == [1, 2]
