"""The HTTP/1 pool: who gets which connection, what is counted, what happens when it goes wrong."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP11
from outrider.http.codec import (
    RESET_CONNECTION_TERMINATION,
    RESET_LOCAL,
    RESET_PROTOCOL_ERROR,
    CodecProtocolError,
    PrematureResponseError,
    RequestEncoder,
)
from outrider.upstream.cluster import Cluster
from outrider.upstream.config.cluster_config import ClusterConfig
from outrider.upstream.conn_pool import (
    CANCEL_CLOSE_EXCESS,
    POOL_LOCAL_CONNECTION_FAILURE,
    POOL_OVERFLOW,
    POOL_REMOTE_CONNECTION_FAILURE,
    POOL_TIMEOUT,
    HttpConnPool,
    PoolCallbacks,
)
from outrider.upstream.host import Host
from tests.upstream.fakes import (
    FakeCodec,
    FakeConnection,
    FakeConnector,
    FakeDispatcher,
    FakeEncoder,
    make_cluster,
    make_update,
)


class Stream(PoolCallbacks):
    """A request: asks for a stream and notes what it is told."""

    def __init__(self) -> None:
        self.encoder: FakeEncoder | None = None
        self.failure: tuple[int, str] | None = None
        self.resets: list[int] = []
        self.protocol = -1
        self.on_failure: Any = None

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Any, protocol: int) -> None:
        assert isinstance(encoder, FakeEncoder)
        self.encoder = encoder
        self.protocol = protocol

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.failure = (reason, details)
        if self.on_failure is not None:
            self.on_failure()

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        pass

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        pass

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        pass

    def decode_trailers(self, trailers: HeaderMap) -> None:
        pass

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.resets.append(reason)


class World:
    """One cluster with one host."""

    def __init__(self, config: ClusterConfig | None = None) -> None:
        self.cluster: Cluster
        self.connector: FakeConnector
        self.dispatcher: FakeDispatcher
        self.cluster, self.connector, self.dispatcher = make_cluster(config, 80)
        self.host = next(iter(self.cluster.hosts.values()))
        self.stats = self.cluster.info.stats

    @property
    def pool(self) -> HttpConnPool:
        pool = self.cluster.choose_pool(0, None)
        assert pool is not None
        return pool

    def ask(self) -> Stream:
        stream = Stream()
        self.pool.new_stream(stream, stream)
        return stream

    def connection(self, index: int = -1) -> FakeConnection:
        return self.connector.connections[index]

    def codec(self, index: int = -1) -> FakeCodec:
        return self.connector.codecs[index]

    def idle(self) -> None:
        """An established connection that waits for its next stream."""
        self.ask()
        self.connection().connect()
        self.codec().complete()


def counted(world: World, **expected: int) -> None:
    found = {name: getattr(world.stats, name).value for name in expected}
    assert found == expected


def test_first_request_waits_for_its_connection() -> None:
    world = World()
    stream = world.ask()
    assert stream.encoder is None
    counted(world, upstream_rq_pending_active=1, upstream_rq_pending_total=1, upstream_rq_total=0, upstream_cx_total=1)
    world.connection().connect()
    assert stream.encoder is not None
    assert stream.protocol == HTTP11
    counted(world, upstream_rq_pending_active=0, upstream_rq_active=1, upstream_rq_total=1, upstream_cx_active=1)
    assert world.host.stats.plain() == (1, 0, 1, 1, 0, 0, 0, 0, 1)


def test_an_idle_connection_is_used_at_once() -> None:
    world = World()
    world.idle()
    stream = world.ask()
    assert stream.encoder is not None
    counted(world, upstream_cx_total=1, upstream_cx_http1_total=1, upstream_rq_total=2, upstream_rq_pending_total=1)


def test_the_connection_used_last_is_used_first() -> None:
    world = World()
    for _ in range(2):
        world.ask()
    world.connection(0).connect()
    world.connection(1).connect()
    world.codec(1).complete()
    world.codec(0).complete()
    stream = world.ask()
    assert stream.encoder is not None
    assert stream.encoder.codec is world.codec(0)


def test_the_queue_is_served_in_order() -> None:
    config = ClusterConfig("c")
    config.thresholds[0].max_connections = 1
    world = World(config)
    streams = [world.ask() for _ in range(3)]
    counted(world, upstream_cx_total=1, upstream_cx_overflow=2, upstream_rq_pending_active=3)
    world.connection().connect()
    assert [stream.encoder is not None for stream in streams] == [True, False, False]
    world.codec().complete()
    # Not from within the codec's call.
    assert streams[1].encoder is None
    world.dispatcher.turn()
    assert [stream.encoder is not None for stream in streams] == [True, True, False]


def test_pending_overflow() -> None:
    config = ClusterConfig("c")
    config.thresholds[0].max_pending_requests = 1
    world = World(config)
    world.ask()
    refused = world.ask()
    assert refused.failure == (POOL_OVERFLOW, "")
    counted(world, upstream_rq_pending_overflow=1, upstream_rq_pending_active=1)


def test_request_overflow() -> None:
    config = ClusterConfig("c")
    config.thresholds[0].max_requests = 1
    world = World(config)
    world.idle()
    assert world.ask().encoder is not None
    # Another connection would be free.
    second = world.ask()
    world.connection().connect()
    assert second.failure == (POOL_OVERFLOW, "")
    counted(world, upstream_rq_active_overflow=1, upstream_rq_active=1)


def test_a_pool_without_connections_always_gets_one() -> None:
    config = ClusterConfig("c")
    config.thresholds[0].max_connections = 0
    world = World(config)
    stream = world.ask()
    world.connection().connect()
    assert stream.encoder is not None
    counted(world, upstream_cx_overflow=1, upstream_cx_total=1)


def test_connections_per_host() -> None:
    config = ClusterConfig("c")
    config.per_host_max_connections = 1
    world = World(config)
    world.ask()
    world.ask()
    counted(world, upstream_cx_total=1, upstream_cx_overflow=1)
    world.connection().remote_close()
    assert world.host.connection_limit is not None
    assert world.host.connection_limit.count.total() == 0


def test_refused_connections_fail_everyone_who_waits() -> None:
    world = World()
    streams = [world.ask(), world.ask()]
    world.connection(0).remote_close("delayed connect error: Connection refused")
    expected = (POOL_REMOTE_CONNECTION_FAILURE, "delayed connect error: Connection refused")
    assert [stream.failure for stream in streams] == [expected, expected]
    counted(
        world,
        upstream_cx_connect_fail=1,
        upstream_rq_pending_failure_eject=2,
        upstream_cx_destroy=1,
        upstream_cx_destroy_remote=1,
        upstream_cx_destroy_local=0,
        upstream_cx_destroy_with_active_rq=0,
    )
    assert world.host.stats.cx_connect_fail.value == 1


def test_a_retry_in_the_failure_callback_is_not_failed_with_the_others() -> None:
    world = World()
    first = world.ask()
    again = Stream()
    first.on_failure = lambda: world.pool.new_stream(again, again)
    world.connection(0).remote_close("x")
    assert first.failure is not None
    assert again.failure is None
    world.connection(1).connect()
    assert again.encoder is not None


def test_connect_timeout() -> None:
    config = ClusterConfig("c")
    config.connect_timeout_ms = 250
    world = World(config)
    stream = world.ask()
    world.dispatcher.advance(240)
    assert stream.failure is None
    world.dispatcher.advance(40)
    assert stream.failure == (POOL_TIMEOUT, "")
    counted(world, upstream_cx_connect_timeout=1, upstream_cx_connect_fail=1, upstream_cx_destroy_local=1)


def test_closed_by_ourselves_before_it_was_connected() -> None:
    world = World()
    stream = world.ask()
    world.connection().close(1)
    assert stream.failure == (POOL_LOCAL_CONNECTION_FAILURE, "")


def test_cancel_leaves_the_queue_and_keeps_the_connection() -> None:
    world = World()
    stream = Stream()
    pending = world.pool.new_stream(stream, stream)
    assert pending is not None
    pending.cancel()
    pending.cancel()
    counted(world, upstream_rq_cancelled=1, upstream_rq_pending_active=0)
    world.connection().connect()
    assert stream.encoder is None
    assert world.ask().encoder is not None


def test_cancel_may_close_the_excess_connection() -> None:
    world = World()
    stream = Stream()
    pending = world.pool.new_stream(stream, stream)
    assert pending is not None
    pending.cancel(CANCEL_CLOSE_EXCESS)
    assert not world.connection().open
    assert stream.failure is None


def test_the_upstream_asks_to_close() -> None:
    world = World()
    world.ask()
    world.connection().connect()
    world.codec().closing = True
    world.codec().complete()
    assert not world.connection().open
    counted(world, upstream_cx_close_notify=1, upstream_cx_destroy_local=1, upstream_cx_destroy_with_active_rq=0)


def test_max_requests_per_connection() -> None:
    config = ClusterConfig("c")
    config.max_requests_per_connection = 2
    world = World(config)
    world.idle()
    world.ask()
    counted(world, upstream_cx_max_requests=1)
    assert world.connection().open
    world.codec().complete()
    assert not world.connection().open
    counted(world, upstream_cx_max_requests=1, upstream_cx_active=0)


def test_upstream_goes_away_in_the_middle() -> None:
    world = World()
    stream = world.ask()
    world.connection().connect()
    world.connection().remote_close()
    assert stream.resets == [RESET_CONNECTION_TERMINATION]
    counted(
        world,
        upstream_cx_destroy_remote_with_active_rq=1,
        upstream_cx_destroy_with_active_rq=1,
        upstream_rq_active=0,
        upstream_cx_active=0,
    )
    assert world.host.stats.rq_active.value == 0
    assert world.cluster.info.resource_manager(0).requests.count.total() == 0
    assert world.cluster.info.resource_manager(0).connections.count.total() == 0


def test_a_body_that_ends_with_the_connection_is_complete() -> None:
    world = World()
    stream = world.ask()
    world.connection().connect()
    world.codec().ends_with_connection = True
    world.connection().remote_close()
    assert stream.resets == []
    counted(world, upstream_cx_destroy_remote=1, upstream_cx_destroy_with_active_rq=0, upstream_rq_active=0)


def test_a_reset_stream_costs_the_connection() -> None:
    world = World()
    stream = world.ask()
    world.connection().connect()
    assert stream.encoder is not None
    stream.encoder.reset_stream(RESET_LOCAL)
    assert not world.connection().open
    counted(world, upstream_cx_destroy_local_with_active_rq=1, upstream_rq_active=0, upstream_cx_active=0)


@pytest.mark.parametrize(
    ("fault", "active", "counts"),
    [
        (CodecProtocolError("bad"), True, 1),
        (PrematureResponseError("early", "408"), False, 0),
        (PrematureResponseError("early", "200"), False, 1),
    ],
)
def test_protocol_errors(fault: Exception, active: bool, counts: int) -> None:
    world = World()
    world.idle()
    stream = world.ask() if active else Stream()
    world.codec().fault = fault
    world.connection().receive(b"?")
    assert not world.connection().open
    counted(world, upstream_cx_protocol_error=counts)
    assert stream.resets == ([RESET_PROTOCOL_ERROR] if active else [])


def test_idle_timeout_counts_from_the_last_stream() -> None:
    config = ClusterConfig("c")
    config.idle_timeout_ms = 1000
    world = World(config)
    world.idle()
    world.dispatcher.advance(900)
    world.ask()
    world.dispatcher.advance(500)
    assert world.connection().open
    world.codec().complete()
    world.dispatcher.advance(900)
    assert world.connection().open
    world.dispatcher.advance(200)
    assert not world.connection().open
    counted(world, upstream_cx_idle_timeout=1)


def test_no_idle_timeout() -> None:
    config = ClusterConfig("c")
    config.idle_timeout_ms = 0
    world = World(config)
    world.idle()
    world.dispatcher.advance(50_000)
    assert world.connection().open


def test_max_connection_duration_lets_the_stream_end() -> None:
    config = ClusterConfig("c")
    config.max_connection_duration_ms = 500
    world = World(config)
    world.ask()
    world.connection().connect()
    world.dispatcher.advance(600)
    counted(world, upstream_cx_max_duration_reached=1)
    assert world.connection().open
    assert world.ask().encoder is None
    world.codec(0).complete()
    assert not world.connection(0).open


def test_max_connection_duration_of_an_idle_connection() -> None:
    config = ClusterConfig("c")
    config.max_connection_duration_ms = 500
    world = World(config)
    world.idle()
    world.dispatcher.advance(600)
    assert not world.connection().open


def test_preconnect() -> None:
    config = ClusterConfig("c")
    config.per_upstream_preconnect_ratio = 2.0
    world = World(config)
    world.ask()
    assert len(world.connector.connections) == 2
    world.connection(0).connect()
    world.connection(1).connect()
    counted(world, upstream_rq_total=1, upstream_cx_active=2)
    # The next one finds its connection, and another is made ready.
    assert world.ask().encoder is not None
    assert len(world.connector.connections) == 4


def test_a_removed_host_drains() -> None:
    world = World()
    world.idle()
    busy = world.ask()
    second = world.ask()
    world.connection(1).connect()
    assert second.encoder is not None
    world.codec(1).complete()
    world.cluster.apply_hosts(make_update())
    assert world.connection(0).open
    assert not world.connection(1).open
    assert busy.encoder is not None
    world.codec(0).complete()
    assert not world.connection(0).open
    assert world.cluster.choose_pool(0, None) is None
    counted(world, upstream_cx_none_healthy=1)


def test_close_all() -> None:
    world = World()
    stream = world.ask()
    world.connection().connect()
    world.pool.close_all()
    assert stream.resets == [RESET_CONNECTION_TERMINATION]
    assert world.pool.is_idle()


def test_histograms() -> None:
    world = World()
    world.ask()
    world.dispatcher.advance(30)
    world.connection().connect()
    world.dispatcher.advance(70)
    world.codec().complete()
    world.connection().remote_close()
    assert world.stats.upstream_cx_connect_ms.pending == [30]
    assert world.stats.upstream_cx_length_ms.pending == [100]
    assert world.stats.upstream_rq_per_cx.pending == [1]


def test_watermarks_are_counted() -> None:
    world = World()
    world.idle()
    client = world.connection().filters[0]
    client.on_above_write_buffer_high_watermark()
    client.on_below_write_buffer_low_watermark()
    counted(world, upstream_flow_control_backed_up_total=1, upstream_flow_control_drained_total=1)
