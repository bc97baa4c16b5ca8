"""The listener's local rate limit: as many connections as there are tokens."""

from __future__ import annotations

from outrider.config.runtime import NO_RUNTIME
from outrider.data.token_bucket import TokenBucket
from outrider.extensions.filters.listener.local_ratelimit import LocalRateLimit
from outrider.extensions.filters.network.runtime_switch import RuntimeSwitch
from outrider.network.connection import STATE_CLOSED, STATE_OPEN
from outrider.stats.store import Store
from tests.network.test_listener_filters import Bench

HOUR_NS = 3600 * 1_000_000_000


def test_connections_beyond_the_tokens_are_closed() -> None:
    counter = Store().counter("x")
    bucket = TokenBucket(2, 1, HOUR_NS, None, "x")
    on = RuntimeSwitch(NO_RUNTIME, "", True)
    scenes = [Bench(LocalRateLimit(bucket, on, counter)) for _ in range(3)]
    assert [scene.connection.state for scene in scenes] == [STATE_OPEN, STATE_OPEN, STATE_CLOSED]
    assert [scene.owner.outcome for scene in scenes] == ["done", "done", "closed"]
    assert counter.value == 1
    assert scenes[2].counter("listener.x.downstream_listener_filter_error") == 0


def test_switched_off() -> None:
    counter = Store().counter("x")
    bucket = TokenBucket(1, 1, HOUR_NS, None, "x")
    off = RuntimeSwitch(NO_RUNTIME, "", False)
    scenes = [Bench(LocalRateLimit(bucket, off, counter)) for _ in range(3)]
    assert all(scene.owner.outcome == "done" for scene in scenes)
    assert counter.value == 0
