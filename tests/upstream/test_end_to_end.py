"""Both halves in one process, over real sockets: a Cluster message, a pool, a response."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from outrider.access_log.file_writer import AccessLogManager
from outrider.config.runtime import NO_RUNTIME
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.event.dispatcher import Dispatcher, new_event_loop
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.http.codec import RequestEncoder
from outrider.stats.store import Store
from outrider.upstream.builder import build_cluster
from outrider.upstream.cluster_manager import ClusterManager
from outrider.upstream.config.cluster_config import ClusterDefaults
from outrider.upstream.conn_pool import POOL_REMOTE_CONNECTION_FAILURE, POOL_TIMEOUT, PoolCallbacks
from outrider.upstream.control.manager import ControlManager
from outrider.upstream.host import Host
from tests.config.messages import CLUSTER, TYPE_URL, view_of
from tests.support.dns_server import DnsServer, Zone

pytestmark = pytest.mark.integration


class Fetch(PoolCallbacks):
    """One GET."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: bytes) -> None:
        self.path = path
        self.done: asyncio.Future[str] = loop.create_future()
        self.status = 0
        self.body = b""
        self.connection: Any = None

    def on_pool_ready(self, encoder: RequestEncoder, host: Host, connection: Any, protocol: int) -> None:
        self.connection = connection
        encoder.encode_headers(RequestHeaderMap(method=b"GET", path=self.path, authority=b"test", scheme=b"http"), True)

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.done.set_result(f"failure {reason} {details}".rstrip())

    def on_reset_stream(self, reason: int, details: str) -> None:
        self.done.set_result(f"reset {reason}")

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        pass

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.status = headers.status
        if end_stream:
            self._finish()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data
        if end_stream:
            self._finish()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._finish()

    def _finish(self) -> None:
        self.done.set_result(f"{self.status} {self.body.decode()}")


class World:
    """A control half and a worker half, connected directly."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self.dispatcher = Dispatcher("test", self.loop)
        self.store = Store()
        self.clusters = ClusterManager()
        logs = AccessLogManager(self.store)
        self.context = FactoryContext(self.store, self.dispatcher, self.clusters, NO_RUNTIME, logs, None, ServerInfo())
        self.control = ControlManager(self.context, ClusterDefaults(), self.clusters.apply_hosts)
        self.health = 200
        self.server: asyncio.AbstractServer = self.loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        self.port: int = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split()[1]
                status = self.health if path == b"/healthz" else 200
                body = path
                writer.write(b"HTTP/1.1 %d OK\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def start(self, **fields: Any) -> None:
        """Bring a cluster up and wait until it is initialized."""
        view = view_of(CLUSTER, {"name": "c"} | fields, "cluster")
        info = self.control.add(view)
        assert view.unread() == []
        self.clusters.add(build_cluster(info, self.context, self.control))

        async def wait() -> None:
            ready: asyncio.Future[None] = self.loop.create_future()
            self.control.start(lambda: ready.set_result(None))
            await asyncio.wait_for(ready, 10)

        self.loop.run_until_complete(wait())

    def get(self, path: bytes = b"/x") -> str:
        cluster = self.clusters.get("c")
        assert cluster is not None

        async def fetch() -> str:
            pool = cluster.choose_pool(0, None)
            if pool is None:
                return "no host"
            request = Fetch(self.loop, path)
            pool.new_stream(request, request)
            return await asyncio.wait_for(request.done, 10)

        return self.loop.run_until_complete(fetch())

    def counter(self, name: str) -> int:
        return self.store.counters["cluster.c." + name].value


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.control.stop()
    for cluster in made.clusters.clusters():
        cluster.close_all()
    made.server.close()
    made.loop.run_until_complete(asyncio.sleep(0.01))
    made.loop.run_until_complete(made.dispatcher.shutdown())
    made.loop.close()


def assignment(host: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": host, "port_value": port}}
    return {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def test_static(world: World) -> None:
    world.start(load_assignment=assignment("127.0.0.1", world.port))
    assert world.get(b"/one") == "200 /one"
    assert world.get(b"/two") == "200 /two"
    assert (world.counter("upstream_cx_total"), world.counter("upstream_rq_total")) == (1, 2)
    assert world.counter("upstream_cx_rx_bytes_total") > 0


def test_nobody_listens(world: World) -> None:
    world.server.close()
    world.start(load_assignment=assignment("127.0.0.1", world.port))
    assert world.get() == f"failure {POOL_REMOTE_CONNECTION_FAILURE} delayed connect error: Connection refused"


def test_nobody_answers(world: World) -> None:
    # An address of TEST-NET-1 (RFC 5737); where it is refused at once there is nothing to time out.
    world.start(load_assignment=assignment("192.0.2.1", 9), connect_timeout="0.1s")
    outcome = world.get()
    if "timeout" in outcome or outcome == f"failure {POOL_TIMEOUT}":
        assert world.counter("upstream_cx_connect_timeout") == 1
    else:
        assert outcome.startswith("failure")


def test_names(world: World) -> None:
    server = DnsServer({"a.test": Zone(["127.0.0.1"])})
    try:
        cares = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
        resolver = {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": TYPE_URL + cares,
                "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": server.port}}],
                "dns_resolver_options": {"no_default_search_domain": True},
            },
        }
        world.start(
            type="LOGICAL_DNS",
            load_assignment=assignment("a.test", world.port),
            typed_dns_resolver_config=resolver,
        )
        assert world.get(b"/name") == "200 /name"
        hosts = world.control.active["c"].control.hosts
        assert [host.hostname for host in hosts.values()] == ["a.test"]
    finally:
        server.close()


def test_health_checks(world: World) -> None:
    world.health = 503
    check = {
        "timeout": "1s",
        "interval": "0.05s",
        "no_traffic_interval": "0.05s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/healthz"},
    }
    world.start(
        load_assignment=assignment("127.0.0.1", world.port),
        health_checks=[check],
        common_lb_config={"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
    )
    assert world.get() == "no host"
    world.health = 200
    world.loop.run_until_complete(asyncio.sleep(0.3))
    assert world.get() == "200 /x"
    assert world.counter("health_check.failure") >= 1


def test_outliers(world: World) -> None:
    world.server.close()
    world.start(
        load_assignment=assignment("127.0.0.1", world.port),
        outlier_detection={"consecutive_5xx": 1, "max_ejection_percent": 100},
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
    )
    cluster = world.clusters.get("c")
    assert cluster is not None
    next(iter(cluster.hosts.values())).outlier.put_http_response_code(503)
    world.loop.run_until_complete(asyncio.sleep(0.05))
    assert world.get() == "no host"
    assert world.counter("outlier_detection.ejections_enforced_consecutive_5xx") == 1


def test_source_address(world: World) -> None:
    world.start(
        load_assignment=assignment("127.0.0.1", world.port),
        upstream_bind_config={"source_address": {"address": "127.0.0.9", "port_value": 0}},
    )

    async def local_address() -> str:
        cluster = world.clusters.get("c")
        assert cluster is not None
        pool = cluster.choose_pool(0, None)
        assert pool is not None
        request = Fetch(world.loop, b"/")
        pool.new_stream(request, request)
        await asyncio.wait_for(request.done, 10)
        return str(request.connection.info.local_address.host)

    assert world.loop.run_until_complete(local_address()) == "127.0.0.9"


def test_happy_eyeballs(world: World) -> None:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
    world.start(
        load_assignment={
            "cluster_name": "c",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": address,
                                "additional_addresses": [
                                    {"address": {"socket_address": {"address": "127.0.0.1", "port_value": world.port}}}
                                ],
                            }
                        }
                    ]
                }
            ],
        }
    )
    assert world.get(b"/second") == "200 /second"
