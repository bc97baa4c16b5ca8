"""A worker's cluster: hosts as the control half tells them, pools, choices."""

from __future__ import annotations

import marshal

from outrider.data.address import ip_address
from outrider.network.transport_socket import TransportSocket, TransportSocketFactory, TransportSocketOptions
from outrider.stats.store import Store
from outrider.upstream.cluster import Cluster
from outrider.upstream.cluster_manager import ClusterCallbacks, ClusterManager
from outrider.upstream.config.cluster_config import ClusterConfig
from outrider.upstream.config.outlier import OutlierConfig
from outrider.upstream.control_link import ControlLink, OutlierReport
from outrider.upstream.host import FAILED_ACTIVE_HC, FAILED_EDS_HEALTH, LOCAL_ORIGIN_TIMEOUT
from outrider.upstream.hosts_update import HostSpec, HostsUpdate
from outrider.upstream.load_balancer_context import LoadBalancerContext
from outrider.upstream.outlier_reporter import REPORT_HTTP_CODE
from tests.upstream.fakes import make_cluster, make_update


def test_an_update_keeps_hosts_that_stay() -> None:
    cluster, _, _ = make_cluster(None, 1, 2)
    kept = cluster.hosts["10.0.0.1:1"]
    pool = cluster.choose_pool(0, None)
    update = make_update(1, 3)
    update.hosts[0].weight = 7
    update.hosts[0].metadata = {"envoy.lb": {"canary": True}}
    cluster.apply_hosts(update)
    assert list(cluster.hosts) == ["10.0.0.1:1", "10.0.0.1:3"]
    assert cluster.hosts["10.0.0.1:1"] is kept
    assert kept.http_pool_default is pool
    assert (kept.weight, kept.canary) == (7, True)


def test_a_logical_host_moves() -> None:
    cluster, _, _ = make_cluster(None)
    update = HostsUpdate("c")
    update.hosts = [HostSpec(ip_address("10.0.0.1", 80))]
    update.hosts[0].key = "name:80"
    cluster.apply_hosts(update)
    host = cluster.hosts["name:80"]
    moved = HostsUpdate("c")
    moved.hosts = [HostSpec(ip_address("10.0.0.2", 80))]
    moved.hosts[0].key = "name:80"
    cluster.apply_hosts(moved)
    assert cluster.hosts["name:80"] is host
    assert host.address.text == "10.0.0.2:80"


def test_health_updates_change_flags_only() -> None:
    cluster, _, _ = make_cluster(None, 1, 2)
    update = HostsUpdate("c")
    update.full = False
    update.health_flags = {"10.0.0.1:1": FAILED_ACTIVE_HC, "10.0.0.1:99": FAILED_ACTIVE_HC}
    cluster.apply_hosts(update)
    hosts = {cluster.choose_host(None) for _ in range(4)}
    assert hosts == {cluster.hosts["10.0.0.1:2"]}
    assert len(cluster.hosts) == 2


def test_idle_connections_of_a_failed_host_are_closed() -> None:
    cluster, connector, _ = make_cluster(None, 1)
    pool = cluster.choose_pool(0, None)
    assert pool is not None
    pool.connecting[pool.new_client()] = None
    connector.connections[0].connect()
    update = HostsUpdate("c")
    update.full = False
    update.failed_hosts = ["10.0.0.1:1"]
    cluster.apply_hosts(update)
    assert not connector.connections[0].open


def test_updates_survive_marshal() -> None:
    update = make_update(1, 2)
    update.hosts[0].metadata = {"a": {"b": [1, 2.5, None, True, "x"]}}
    update.hosts[0].addresses = [ip_address("::1", 5)]
    update.hosts[1].priority = 3
    update.hosts[1].limit_row = 17
    update.locality_weights = {(0, "r", "z", ""): 4}
    update.failed_hosts = ["k"]
    update.drop_overload = 12.5
    again = HostsUpdate.from_plain(marshal.loads(marshal.dumps(update.plain())))
    assert again.plain() == update.plain()
    assert again.hosts[0].addresses[0].text == "[::1]:5"
    assert (again.hosts[1].priority, again.hosts[1].limit_row) == (3, 17)
    assert (again.locality_weights, again.failed_hosts, again.drop_overload) == ({(0, "r", "z", ""): 4}, ["k"], 12.5)


def test_priorities_and_localities() -> None:
    cluster, _, _ = make_cluster(None)
    update = make_update(1, 2, 3)
    update.hosts[1].priority = 1
    update.hosts[2].locality = ("r", "z", "s")
    update.locality_weights = {(0, "r", "z", "s"): 5}
    cluster.apply_hosts(update)
    assert [len(host_set.hosts) for host_set in cluster.priorities.sets] == [2, 1]
    first = cluster.priorities.sets[0]
    assert [locality.key for locality in first.localities] == [("", "", ""), ("r", "z", "s")]
    assert first.locality_weights == [0, 5]


class Wants(LoadBalancerContext):
    def __init__(self, address: str = "", sni: str = "") -> None:
        self.address = address
        self.options = TransportSocketOptions(server_name=sni) if sni else None

    def override_host(self) -> str | None:
        return self.address or None

    def transport_socket_options(self) -> TransportSocketOptions | None:
        return self.options


def test_override_host() -> None:
    cluster, _, _ = make_cluster(None, 1, 2)
    wanted = cluster.hosts["10.0.0.1:2"]
    assert cluster.choose_host(Wants("10.0.0.1:2")) is wanted
    assert cluster.choose_host(Wants("10.9.9.9:2")) is not None
    assert cluster.choose_host(Wants("!10.9.9.9:2")) is None
    update = HostsUpdate("c")
    update.full = False
    update.health_flags = {"10.0.0.1:2": FAILED_EDS_HEALTH}
    cluster.apply_hosts(update)
    assert cluster.choose_host(Wants("10.0.0.1:2")) is not wanted
    cluster.info.config.override_host_statuses = {"UNHEALTHY"}
    assert cluster.choose_host(Wants("10.0.0.1:2")) is wanted


class Secure(TransportSocketFactory):
    def __init__(self) -> None:
        self.implements_secure_transport = True

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return None


def test_pools_differ_by_options_when_they_matter() -> None:
    cluster, _, _ = make_cluster(None, 1)
    assert cluster.choose_pool(0, Wants(sni="a")) is cluster.choose_pool(0, Wants(sni="b"))
    assert cluster.choose_pool(0, None) is not cluster.choose_pool(1, None)
    secure, _, _ = make_cluster(None, 1)
    secure.info.transport_socket_matcher.default_factory = Secure()
    secure = Cluster(secure.info, secure.connector, secure.runtime, secure.link)
    secure.apply_hosts(make_update(1))
    first = secure.choose_pool(0, Wants(sni="a"))
    assert first is secure.choose_pool(0, Wants(sni="a"))
    assert first is not secure.choose_pool(0, Wants(sni="b"))
    # Idle pools of options are forgotten, so that no client can make them pile up.
    assert first is not None
    first.check_idle()
    assert len(next(iter(secure.hosts.values())).http_pools) == 1


def test_limit_of_pools() -> None:
    config = ClusterConfig("c")
    config.thresholds[0].max_connection_pools = 1
    cluster, connector, _ = make_cluster(config, 1, 2)
    pool = cluster.choose_pool(0, None)
    assert pool is not None
    pool.connecting[pool.new_client()] = None
    assert cluster.choose_pool(0, None) is None
    assert cluster.info.stats.upstream_cx_pool_overflow.value == 1
    connector.connections[0].remote_close()
    assert cluster.choose_pool(0, None) is not None


class Listener(ControlLink):
    def __init__(self) -> None:
        self.heard: list[tuple[str, list[OutlierReport]]] = []
        self.failed: list[tuple[str, str]] = []

    def report_outliers(self, cluster: str, reports: list[OutlierReport]) -> None:
        self.heard.append((cluster, reports))

    def immediate_health_check_fail(self, cluster: str, host_key: str) -> None:
        self.failed.append((cluster, host_key))


def test_outlier_reports_go_out_once_per_turn() -> None:
    config = ClusterConfig("c")
    config.outlier_detection = OutlierConfig()
    link = Listener()
    cluster, _, dispatcher = make_cluster(config, 1, link=link)
    monitor = cluster.hosts["10.0.0.1:1"].outlier
    assert monitor.active
    monitor.put_http_response_code(503)
    monitor.put_result(LOCAL_ORIGIN_TIMEOUT, 504)
    assert link.heard == []
    dispatcher.turn()
    assert link.heard == [("c", [("10.0.0.1:1", REPORT_HTTP_CODE, 503), ("10.0.0.1:1", LOCAL_ORIGIN_TIMEOUT, 504)])]


def test_without_outlier_detection_nothing_is_reported() -> None:
    link = Listener()
    cluster, _, dispatcher = make_cluster(None, 1, link=link)
    monitor = cluster.hosts["10.0.0.1:1"].outlier
    assert not monitor.active
    monitor.put_http_response_code(503)
    dispatcher.turn()
    assert link.heard == []
    cluster.immediate_health_check_fail(cluster.hosts["10.0.0.1:1"])
    assert link.failed == [("c", "10.0.0.1:1")]


def test_per_endpoint_stats() -> None:
    config = ClusterConfig("c")
    config.per_endpoint_stats = True
    store = Store()
    cluster, _, _ = make_cluster(config, 1, store=store)
    cluster.hosts["10.0.0.1:1"].stats.rq_total.inc()
    assert store.counters["cluster.c.endpoint.10.0.0.1_1.rq_total"].value == 1


class Watcher(ClusterCallbacks):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_cluster_added(self, cluster: Cluster) -> None:
        self.seen.append("+" + cluster.info.name)

    def on_cluster_removed(self, name: str) -> None:
        self.seen.append("-" + name)


def test_manager() -> None:
    manager = ClusterManager()
    watcher = Watcher()
    manager.add_callbacks(watcher)
    cluster, _, _ = make_cluster(None, 1)
    manager.add(cluster)
    assert manager.get("c") is cluster
    assert manager.get("d") is None
    manager.apply_hosts(make_update(1, 2))
    manager.apply_hosts(make_update(1, cluster="gone"))
    assert len(cluster.hosts) == 2
    replacement, _, _ = make_cluster(None, 1)
    manager.add(replacement)
    assert cluster.draining
    assert manager.remove("c")
    assert not manager.remove("c")
    assert watcher.seen == ["+c", "+c", "-c"]
