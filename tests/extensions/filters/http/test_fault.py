"""envoy.filters.http.fault: delays, aborts, the limit of active faults. Headers are in tests/parity."""

from __future__ import annotations

from outrider.data import response_flag
from outrider.event.timer import Timer, TimerOwner, TimerWheel, WheelClock
from outrider.extensions.filters.http import fault
from tests.extensions.filters.http.scene import Scene, request_headers

assert fault
TYPE = "envoy.extensions.filters.http.fault.v3.HTTPFault"
ALL = {"numerator": 100}


class HandClock(WheelClock):
    def __init__(self) -> None:
        self.now = 1000

    def now_ms(self) -> int:
        return self.now

    def wake_at(self, when_ms: int) -> None:
        pass


class HandDispatcher:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.wheel = TimerWheel(self.clock)

    def timer(self, owner: TimerOwner, kind: int) -> Timer:
        return Timer(self.wheel, owner, kind)


def test_delay_then_goes_on() -> None:
    dispatcher = HandDispatcher()
    scene = Scene("fault", TYPE, {"delay": {"fixed_delay": "0.1s", "percentage": ALL}}, dispatcher)
    stream = scene.stream(request_headers())
    assert not stream.passed
    assert scene.store.gauge("fault.active_faults").value == 1
    dispatcher.clock.now += 200
    dispatcher.wheel.advance()
    assert stream.passed
    assert stream.stream_info.response_flags == response_flag.DELAY_INJECTED
    stream.destroy_filters()
    assert scene.store.gauge("fault.active_faults").value == 0


def test_delay_ends_with_the_stream() -> None:
    dispatcher = HandDispatcher()
    scene = Scene("fault", TYPE, {"delay": {"fixed_delay": "0.1s", "percentage": ALL}}, dispatcher)
    scene.stream(request_headers()).destroy_filters()
    assert dispatcher.wheel.pending() == 0


def test_abort_counts_and_tells() -> None:
    scene = Scene("fault", TYPE, {"abort": {"http_status": 418, "percentage": ALL}, "filter_metadata": {"a": "b"}})
    stream = scene.stream(request_headers())
    assert stream.out == ["reply 418 fault filter abort"]
    assert stream.details == "fault_filter_abort"
    assert stream.stream_info.get_metadata("fault") == {"a": "b"}
    assert scene.counter("fault.aborts_injected") == 1


def test_no_more_than_the_active_faults_allowed() -> None:
    dispatcher = HandDispatcher()
    config = {"max_active_faults": 1, "delay": {"fixed_delay": "0.1s", "percentage": ALL}}
    scene = Scene("fault", TYPE, config, dispatcher)
    assert not scene.stream(request_headers()).passed
    assert scene.stream(request_headers()).passed
    assert scene.counter("fault.faults_overflow") == 1
