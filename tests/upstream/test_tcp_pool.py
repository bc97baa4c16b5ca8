"""Raw connections: made on demand, given away, counted until they end."""

from __future__ import annotations

from typing import Any

from outrider.upstream.cluster import Cluster
from outrider.upstream.config.cluster_config import ClusterConfig
from outrider.upstream.conn_pool import POOL_OVERFLOW, POOL_REMOTE_CONNECTION_FAILURE, TcpPoolCallbacks
from outrider.upstream.host import Host
from tests.upstream.fakes import FakeConnector, make_cluster


class Taker(TcpPoolCallbacks):
    def __init__(self) -> None:
        self.connection: Any = None
        self.failure: tuple[int, str] | None = None

    def on_pool_ready(self, connection: Any, host: Host) -> None:
        self.connection = connection

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.failure = (reason, details)


def take(cluster: Cluster) -> Taker:
    taker = Taker()
    pool = cluster.choose_tcp_pool(0, None)
    assert pool is not None
    pool.new_connection(taker)
    return taker


def counts(connector: FakeConnector, cluster: Cluster) -> tuple[int, int, int]:
    stats = cluster.info.stats
    return len(connector.connections), stats.upstream_cx_active.value, stats.upstream_rq_active.value


def test_each_taker_gets_a_connection_of_its_own() -> None:
    cluster, connector, _ = make_cluster(None, 80)
    first, second = take(cluster), take(cluster)
    assert first.connection is None
    # Nothing is read before somebody listens.
    assert connector.connections[0].read_disabled == 1
    connector.connections[0].connect()
    connector.connections[1].connect()
    assert first.connection is connector.connections[0]
    assert second.connection is connector.connections[1]
    assert first.connection.read_disabled == 0
    assert counts(connector, cluster) == (2, 2, 2)


def test_the_end_of_a_connection() -> None:
    cluster, connector, _ = make_cluster(None, 80)
    taker = take(cluster)
    connector.connections[0].connect()
    taker.connection.remote_close()
    assert counts(connector, cluster) == (1, 0, 0)
    assert cluster.info.stats.upstream_cx_destroy_remote_with_active_rq.value == 1
    # A connection is never used twice; the pool itself is forgotten with it.
    assert next(iter(cluster.hosts.values())).tcp_pools == {}


def test_failure_and_overflow() -> None:
    config = ClusterConfig("c")
    config.thresholds[0].max_pending_requests = 1
    cluster, connector, _ = make_cluster(config, 80)
    first, second = take(cluster), take(cluster)
    assert second.failure == (POOL_OVERFLOW, "")
    connector.connections[0].remote_close("delayed connect error: Connection refused")
    assert first.failure == (POOL_REMOTE_CONNECTION_FAILURE, "delayed connect error: Connection refused")


def test_idle_timeout_of_a_connection_nobody_took() -> None:
    config = ClusterConfig("c")
    config.tcp_idle_timeout_ms = 500
    config.per_upstream_preconnect_ratio = 2.0
    cluster, connector, dispatcher = make_cluster(config, 80)
    take(cluster)
    connector.connections[0].connect()
    connector.connections[1].connect()
    dispatcher.advance(600)
    taken = [connection.open for connection in connector.connections]
    assert taken.count(False) == 1
    assert cluster.info.stats.upstream_cx_idle_timeout.value == 1
