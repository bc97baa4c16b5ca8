"""Any order of events leaves the router in order: one answer, nothing held, no timer running."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.http.codec import RESET_CONNECTION_TERMINATION, RESET_PROTOCOL_ERROR
from outrider.router.config.retry_policy import (
    RETRY_ON_5XX,
    RETRY_ON_CONNECT_FAILURE,
    RETRY_ON_RESET,
    HedgePolicy,
)
from outrider.router.config.shadow_policy import ShadowPolicy
from outrider.upstream.conn_pool import POOL_OVERFLOW, POOL_REMOTE_CONNECTION_FAILURE
from tests.router.support.playbook import Attempt, World


class Upstream:
    """What one attempt's upstream may still do."""

    def __init__(self, attempt: Attempt, connected: bool) -> None:
        self.attempt = attempt
        self.connected = connected
        self.headers_sent = False
        self.over = False

    @property
    def live(self) -> bool:
        attempt = self.attempt
        return not (self.over or attempt.cancelled or attempt.encoder.reset is not None)

    def act(self, action: str) -> None:
        attempt = self.attempt
        callbacks = attempt.callbacks
        if not self.live:
            return
        if not self.connected:
            if action == "fail":
                self.over = True
                attempt.fail(POOL_REMOTE_CONNECTION_FAILURE)
            elif action == "overflow":
                self.over = True
                attempt.fail(POOL_OVERFLOW)
            else:
                self.connected = True
                attempt.connect()
        elif action in ("reset", "fail"):
            self.over = True
            attempt.reset(RESET_CONNECTION_TERMINATION)
        elif action == "garbage":
            self.over = True
            attempt.reset(RESET_PROTOCOL_ERROR)
        elif action == "high":
            callbacks.on_above_write_buffer_high_watermark()
        elif action == "low":
            callbacks.on_below_write_buffer_low_watermark()
        elif not self.headers_sent:
            self.headers_sent = True
            if action == "interim":
                self.headers_sent = False
                callbacks.decode_1xx_headers(ResponseHeaderMap(status=103))
            else:
                ended = action == "end"
                self.over = ended
                status = 503 if action == "bad" else 200
                callbacks.decode_headers(ResponseHeaderMap(status=status), ended)
        elif action == "end":
            self.over = True
            callbacks.decode_data(b"end", True)
        elif action == "trailers":
            self.over = True
            callbacks.decode_trailers(HeaderMap())
        else:
            callbacks.decode_data(b"more", False)


UPSTREAM = ["go", "bad", "end", "trailers", "reset", "garbage", "fail", "overflow", "high", "low", "interim"]
CLIENT = ["data", "finish", "trailers", "high", "low", "leave"]
EVENTS = st.one_of(
    st.tuples(st.just("up"), st.sampled_from(UPSTREAM), st.integers(0, 3)),
    st.tuples(st.just("client"), st.sampled_from(CLIENT), st.just(0)),
    st.tuples(st.just("time"), st.just(""), st.sampled_from([1, 30, 120, 400])),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(EVENTS, max_size=30),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, RETRY_ON_5XX, RETRY_ON_RESET | RETRY_ON_CONNECT_FAILURE]),
    st.booleans(),
    st.booleans(),
)
def test_any_sequence(
    events: list[tuple[str, str, int]],
    connected: bool,
    body: bool,
    hedging: bool,
    retry_on: int,
    mirrored: bool,
    small: bool,
) -> None:
    world = World()
    world.connected = connected
    world.route.timeout_ms = 300
    if retry_on:
        policy = world.retry(retry_on, 2)
        policy.per_try_timeout_ms = 100
        policy.per_try_idle_timeout_ms = 250
    if hedging:
        world.route.hedge_policy = HedgePolicy(1, 0, 100, True)
    if small:
        world.route.request_body_buffer_limit = 6
    if mirrored:
        world.add_cluster("shadow", 1)
        world.route.shadow_policies = [ShadowPolicy("shadow", b"")]
    upstreams: list[Upstream] = []
    manager = world.manager
    world.request(method=b"POST" if body else b"GET", end=not body)
    open_request = body
    for kind, action, number in events:
        while len(upstreams) < len(world.attempts):
            upstreams.append(Upstream(world.attempts[len(upstreams)], connected))
        if kind == "up":
            upstreams[number % len(upstreams)].act(action)
        elif kind == "time":
            world.loop.advance(number)
        elif action == "leave":
            manager.destroy_filters()
        elif action == "high":
            manager.tell_downstream_high()
        elif action == "low":
            manager.tell_downstream_low()
        elif open_request and not manager._destroyed:
            if action == "data":
                world.send(b"abc", False)
            elif action == "finish":
                open_request = False
                world.send(b"abc", True)
            else:
                open_request = False
                world.send_trailers(HeaderMap())
    manager.destroy_filters()
    for upstream in upstreams:
        upstream.act("reset")
    world.loop.advance(2000)
    for cluster in world.clusters.clusters():
        assert cluster.info.resource_manager(0).retries.count.value == 0
    assert world.dispatcher.wheel.pending() == 0
    assert manager.read_disabled == 0
    for upstream in upstreams:
        assert not upstream.live or upstream.attempt.pool.host.cluster.name == "shadow"
        encoder = upstream.attempt.encoder
        if encoder.reset is None and upstream.over:
            assert encoder.read_disabled in (0, 1)
