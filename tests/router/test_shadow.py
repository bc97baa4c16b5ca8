"""Request mirroring."""

from __future__ import annotations

import pytest

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.http.codec import RESET_CONNECTION_TERMINATION, RESET_LOCAL
from outrider.matching.runtime_fraction import RuntimeFraction
from outrider.router.config.shadow_policy import ShadowPolicy
from outrider.router.shadow import local_address, shadow_host
from outrider.upstream.conn_pool import POOL_OVERFLOW
from tests.router.support.playbook import Attempt, World


def mirrored(**settings: object) -> World:
    world = World()
    world.add_cluster("shadow", 1)
    policy = ShadowPolicy("shadow", b"")
    for name, value in settings.items():
        setattr(policy, name, value)
    world.route.shadow_policies = [policy]
    return world


def split(world: World) -> tuple[Attempt, Attempt]:
    """The copy's attempt, and the original's."""
    copy, original = world.attempts
    assert copy.pool.host.cluster.name == "shadow"
    return copy, original


def test_a_request_without_body() -> None:
    world = mirrored()
    world.request((b"x-a", b"1"), (b"x-forwarded-for", b"192.0.2.9"))
    copy, original = split(world)
    assert original.encoder.headers is not None and original.encoder.headers.authority == b"a.test"
    sent = copy.encoder.headers
    assert sent is not None and copy.encoder.ended
    assert sent.authority == b"a.test-shadow"
    assert sent.get(b"x-a") == b"1"
    assert sent.get(b"x-envoy-internal") == b"true"
    assert sent.get(b"x-forwarded-for") == b"192.0.2.9," + local_address()
    assert original.encoder.headers.get(b"x-envoy-internal") is None
    original.respond(200)
    copy.respond(500, b"whatever")
    assert world.manager.status == 200
    for name in ("completed", "5xx", "500"):
        assert world.counter(f"cluster.shadow.upstream_rq_{name}") == 1
        assert world.counter(f"cluster.shadow.internal.upstream_rq_{name}") == 1
    assert world.counter("http.h.rq_total") == world.counter("http.async-client.rq_total") == 1
    assert copy.pool.host.stats.rq_error.value == 1
    assert world.dispatcher.wheel.pending() == 0


def test_the_body_streams() -> None:
    world = mirrored()
    world.request(method=b"POST", end=False)
    copy, original = split(world)
    world.send(b"abc", False)
    assert copy.encoder.body == original.encoder.body == b"abc"
    world.send_trailers(HeaderMap({b"t": b"1"}))
    assert copy.encoder.trailers is not None and copy.encoder.ended
    copy.callbacks.decode_headers(ResponseHeaderMap(status=200), False)
    copy.callbacks.decode_data(b"x", False)
    copy.callbacks.decode_trailers(HeaderMap())
    assert copy.encoder.reset is None
    assert "cluster.shadow.internal.upstream_rq_time" in world.store.histograms


def test_the_body_waits_for_a_connection() -> None:
    world = mirrored()
    world.connected = False
    world.request(method=b"POST", end=False)
    copy, _ = split(world)
    world.send(b"abc", True)
    copy.connect()
    assert (copy.encoder.body, copy.encoder.ended) == (b"abc", True)


def test_too_much_body_without_a_connection() -> None:
    world = mirrored()
    world.connected = False
    world.request(method=b"POST", end=False)
    copy, original = split(world)
    world.send(b"x" * 1001, False)
    assert copy.cancelled and not original.cancelled


def test_the_copy_survives_the_original() -> None:
    world = mirrored()
    world.request()
    copy, original = split(world)
    original.respond(200)
    assert copy.encoder.reset is None
    copy.respond(200)
    assert world.counter("cluster.shadow.upstream_rq_200") == 1


def test_the_copy_of_an_unfinished_request_dies_with_it() -> None:
    world = mirrored()
    world.request(method=b"POST", end=False)
    copy, _ = split(world)
    world.manager.destroy_filters()
    assert copy.encoder.reset == RESET_LOCAL


def test_the_copy_times_out() -> None:
    world = mirrored()
    world.route.timeout_ms = 100
    world.request()
    copy, original = split(world)
    original.respond(200)
    world.loop.advance(150)
    assert copy.encoder.reset == RESET_LOCAL
    assert world.counter("cluster.shadow.upstream_rq_timeout") == 1
    assert world.counter("cluster.shadow.upstream_rq_504") == 1


def test_the_copy_is_reset() -> None:
    world = mirrored()
    world.request()
    copy, original = split(world)
    copy.reset(RESET_CONNECTION_TERMINATION)
    assert world.counter("cluster.shadow.upstream_rq_503") == 1
    original.respond(200)
    assert world.manager.status == 200


def test_the_copy_finds_no_place() -> None:
    world = mirrored()
    world.failure = POOL_OVERFLOW
    world.request()
    assert world.counter("cluster.shadow.upstream_rq_503") == 1


def test_no_host_for_the_copy() -> None:
    world = mirrored()
    world.add_cluster("shadow", 0)
    world.request()
    assert len(world.attempts) == 1
    assert world.counter("cluster.shadow.upstream_rq_503") == 1


@pytest.mark.parametrize(("roll", "copies"), [(29, 1), (30, 0)])
def test_only_some(roll: int, copies: int) -> None:
    world = mirrored(fraction=RuntimeFraction(None, "", 30, 100))
    world.random.values = [roll]
    world.request()
    assert len(world.attempts) == 1 + copies


def test_cluster_from_a_header() -> None:
    world = mirrored(cluster="", cluster_header=b"x-c")
    world.request((b"x-c", b"shadow"))
    split(world)
    world = mirrored(cluster="", cluster_header=b"x-c")
    world.request()
    assert len(world.attempts) == 1


def test_host_of_the_copy() -> None:
    world = mirrored(append_host_suffix=False)
    world.request()
    sent = split(world)[0].encoder.headers
    assert sent is not None and sent.authority == b"a.test"
    world = mirrored(host_rewrite=b"mirror.test")
    world.request()
    sent = split(world)[0].encoder.headers
    assert sent is not None and sent.authority == b"mirror.test"


def test_connect_and_upgrades_are_not_mirrored() -> None:
    world = mirrored()
    world.request(method=b"CONNECT", end=False)
    assert len(world.attempts) == 1
    world = mirrored()
    world.request((b"upgrade", b"websocket"), end=False)
    assert len(world.attempts) == 1


def test_back_pressure_of_the_copy() -> None:
    world = mirrored()
    world.request(method=b"POST", end=False)
    copy, _ = split(world)
    copy.callbacks.on_above_write_buffer_high_watermark()
    assert world.manager.read_disabled == 1
    world.send(b"x", True)
    assert world.manager.read_disabled == 0


@pytest.mark.parametrize(
    ("authority", "expected"),
    [(b"a", b"a-shadow"), (b"a:81", b"a-shadow:81"), (b"[::1]:81", b"[::1]:81-shadow"), (b"a:", b"a:-shadow")],
)
def test_shadow_host(authority: bytes, expected: bytes) -> None:
    assert shadow_host(authority) == expected
