"""One request through the router filter: what the client and the upstreams say, and what was answered.

Everything on the way is real except the ends: the filter manager's downstream side, the pools of hosts, and the clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from outrider.config.runtime import Runtime, make_entry
from outrider.data.address import Address, ip_address
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, StreamInfo
from outrider.event.dispatcher import Dispatcher
from outrider.http.codec import CodecProtocolError, RequestEncoder
from outrider.http.filter import LocalReplyModifier
from outrider.http.filter_chain import FilterChainEntry
from outrider.http.filter_manager import FilterManager
from outrider.network.connection import Connection
from outrider.network.transport_socket import RAW_BUFFER
from outrider.router.config.retry_policy import RetryPolicy
from outrider.router.config.route_config import RouteConfig
from outrider.router.config.route_entry import RouteEntry
from outrider.router.config.virtual_host import VirtualHost
from outrider.router.filter import RouterFilter
from outrider.router.router_config import RandomSource, RouterConfig, RouterFilterFactory
from outrider.stats.store import Store
from outrider.upstream.cluster import Cluster
from outrider.upstream.cluster_info import ClusterInfo, cluster_scope
from outrider.upstream.cluster_manager import ClusterManager
from outrider.upstream.config.cluster_config import ClusterConfig
from outrider.upstream.conn_pool import HttpConnPool, PendingStream, PoolCallbacks
from outrider.upstream.connector import Connector
from outrider.upstream.control_link import ControlLink
from outrider.upstream.host import Host
from outrider.upstream.hosts_update import HostSpec, HostsUpdate
from outrider.upstream.transport_socket_matcher import TransportSocketMatcher

CLIENT = ip_address("10.0.0.9", 4711)
PROXY = ip_address("10.0.0.1", 80)


class FakeHandle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """As much of an event loop as a dispatcher needs."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.count = 0
        self.queue: list[tuple[float, int, FakeHandle, Callable[..., object], tuple[object, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> FakeHandle:
        handle = FakeHandle()
        self.count += 1
        heapq.heappush(self.queue, (self.now + delay, self.count, handle, callback, args))
        return handle

    def call_soon(self, callback: Callable[..., object], *args: object) -> FakeHandle:
        return self.call_later(0.0, callback, *args)

    def advance(self, milliseconds: int) -> None:
        """Let time pass; whatever becomes due meanwhile is called at its time."""
        end = self.now + milliseconds / 1000
        while self.queue and self.queue[0][0] <= end:
            when, _, handle, callback, args = heapq.heappop(self.queue)
            self.now = max(self.now, when)
            if not handle.cancelled:
                callback(*args)
        self.now = end


class FixedRandom(RandomSource):
    """Gives the numbers it was told, then zeros."""

    def __init__(self) -> None:
        self.values: list[int] = []

    def value(self) -> int:
        return self.values.pop(0) if self.values else 0


class FakeTransport:
    """The loop's side of a connection: what was written, and whether it is read and open."""

    def __init__(self) -> None:
        self.written = b""
        self.ended = False
        self.closed = False
        self.reading = True

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def open_connection(dispatcher: Dispatcher, remote: Address) -> tuple[Connection, FakeTransport]:
    """An established connection without a socket."""
    info = ConnectionInfo(7, ip_address("127.0.0.1", 5), remote)
    connection = Connection(dispatcher, info)
    transport = FakeTransport()
    connection.connection_made(transport)
    connection.connect_start_ns = 1
    connection.connect_end_ns = 2
    return connection, transport


class FakeEncoder(RequestEncoder):
    """One request as an upstream received it."""

    def __init__(self) -> None:
        self.wire_bytes_received = 0
        self.wire_bytes_sent = 0
        self.header_bytes_received = 0
        self.header_bytes_sent = 0
        self.headers: RequestHeaderMap | None = None
        self.body = b""
        self.trailers: HeaderMap | None = None
        self.ended = False
        self.reset: int | None = None
        self.read_disabled = 0
        self.refuse = ""

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        if self.refuse:
            raise CodecProtocolError(self.refuse)
        self.headers = headers.copy()
        self.ended = end_stream

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        assert self.headers is not None and not self.ended
        self.body += data
        self.ended = end_stream

    def encode_trailers(self, trailers: HeaderMap) -> None:
        assert not self.ended
        self.trailers = trailers
        self.ended = True

    def reset_stream(self, reason: int) -> None:
        assert self.reset is None
        self.reset = reason

    def read_disable(self, disable: bool) -> None:
        self.read_disabled += 1 if disable else -1


class Attempt(PendingStream):
    """One stream that was asked of a pool; the test plays its upstream."""

    def __init__(self, pool: FakePool, callbacks: PoolCallbacks) -> None:
        self.pool = pool
        self.callbacks = callbacks
        self.encoder = FakeEncoder()
        self.cancelled = False

    def cancel(self, policy: int = 0) -> None:
        self.cancelled = True

    def connect(self) -> None:
        """The connection is there."""
        connection, _ = open_connection(self.pool.world.dispatcher, self.pool.host.address)
        self.callbacks.on_pool_ready(self.encoder, self.pool.host, connection, HTTP11)

    def fail(self, reason: int, details: str = "", host: Host | None = None) -> None:
        self.callbacks.on_pool_failure(reason, details, self.pool.host)

    def respond(self, status: int, body: bytes | None = b"", *fields: tuple[bytes, bytes]) -> None:
        """Headers, and the body with the end of the response (None: the response goes on)."""
        headers = ResponseHeaderMap(status=status)
        for name, value in fields:
            headers.add(name, value)
        self.callbacks.decode_headers(headers, body == b"")
        if body:
            self.callbacks.decode_data(body, True)

    def reset(self, reason: int, details: str = "") -> None:
        self.callbacks.on_reset_stream(reason, details)


class FakePool(HttpConnPool):
    """Connections to one host: at once when `connected`, else when the test says."""

    def __init__(self, world: World, host: Host, cluster: Cluster) -> None:
        super().__init__(host, 0, cluster.connector, cluster, "")
        self.world = world

    def new_stream(self, decoder: object, callbacks: PoolCallbacks) -> PendingStream | None:
        attempt = Attempt(self, callbacks)
        self.world.attempts.append(attempt)
        failure = self.world.failure
        if failure is not None:
            attempt.fail(failure)
            return None
        if not self.world.connected:
            return attempt
        attempt.connect()
        return None


class FakeManager(FilterManager):
    """The downstream end of the filter chain."""

    def __init__(self, world: World) -> None:
        connection, _ = open_connection(world.dispatcher, CLIENT)
        info = ConnectionInfo(1, PROXY, CLIENT)
        super().__init__(
            connection,
            world.dispatcher,
            StreamInfo(info, 1_000_000_000, world.dispatcher.monotonic_ns(), HTTP11),
            1000,
        )
        self.world = world
        self.routes: list[object] = [world.route]
        self.status = 0
        self.sent: ResponseHeaderMap | None = None
        self.body = b""
        self.ended = False
        self.trailers: HeaderMap | None = None
        self.local: tuple[int, str, str] | None = None
        self.informational: list[int] = []
        self.reset_with = ""
        self.read_disabled = 0
        self.recreated: RequestHeaderMap | None = None

    def send_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        self.informational.append(headers.status)

    def send_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        assert self.sent is None
        self.sent = headers
        self.status = headers.status
        self.ended = end_stream

    def send_data(self, data: bytes, end_stream: bool) -> None:
        assert not self.ended
        self.body += data
        self.ended = end_stream

    def send_trailers(self, trailers: HeaderMap) -> None:
        self.trailers = trailers
        self.ended = True

    def on_response_sent(self) -> None:
        self.destroy_filters()

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        self.read_disabled += 1

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        self.read_disabled -= 1

    def send_local_reply_full(
        self, code: int, body: str, modifier: LocalReplyModifier | None, grpc_status: int, details: str
    ) -> None:
        self.stream_info.response_code_details = details
        if self.sent is not None:
            self.reset_stream(0, details)
            return
        self.local = (code, body, details)
        headers = ResponseHeaderMap(status=code)
        if modifier is not None:
            modifier.modify(headers)
        self.stream_info.response_code = code
        self.send_headers(headers, not body)
        if body:
            self.send_data(body.encode(), True)
        self.destroy_filters()

    def reset_stream(self, reason: int, details: str) -> None:
        self.reset_with = details
        self.destroy_filters()

    def route(self) -> object:
        return self.routes[0]

    def clear_route_cache(self) -> None:
        if len(self.routes) > 1:
            self.routes.pop(0)

    def recreate_stream(self, headers: RequestHeaderMap | None) -> bool:
        self.recreated = headers
        self.destroy_filters()
        return True


class World:
    """A router with one cluster `up` of two hosts, one route, and a client."""

    def __init__(self, config: ClusterConfig | None = None) -> None:
        self.loop = FakeLoop()
        self.dispatcher = Dispatcher("test", self.loop)  # type: ignore[arg-type]
        self.store = Store()
        self.runtime = Runtime()
        self.random = FixedRandom()
        self.clusters = ClusterManager()
        self.attempts: list[Attempt] = []
        self.connected = True
        self.failure: int | None = None
        self.cluster = self.add_cluster("up" if config is None else config.name, 2, config)
        self.host = VirtualHost("vh", RouteConfig("routes"))
        self.route = RouteEntry(self.host, None)
        self.route.cluster_name = self.cluster.info.name
        self.config = RouterConfig(
            self.clusters, self.runtime, self.store.scope("http.h."), self.store, "", self.random
        )
        self.manager = FakeManager(self)

    def add_cluster(self, name: str, hosts: int, config: ClusterConfig | None = None) -> Cluster:
        settings = ClusterConfig(name) if config is None else config
        scope = cluster_scope(self.store, name)
        info = ClusterInfo(settings, scope, TransportSocketMatcher(RAW_BUFFER, scope))
        connector = Connector()
        connector.dispatcher = self.dispatcher
        cluster = Cluster(info, connector, self.runtime, ControlLink())
        update = HostsUpdate(name)
        update.full = True
        for number in range(hosts):
            spec = HostSpec(ip_address(f"192.0.2.{number + 1}", 80))
            spec.hostname = f"host{number + 1}"
            update.hosts.append(spec)
        cluster.apply_hosts(update)
        for host in cluster.hosts.values():
            host.http_pool_default = FakePool(self, host, cluster)
        self.clusters.add(cluster)
        return cluster

    # --- the client ---

    @property
    def router(self) -> RouterFilter:
        found = self.manager._filters[0]
        assert isinstance(found, RouterFilter)
        return found

    def request(
        self,
        *fields: tuple[bytes, bytes],
        method: bytes = b"GET",
        path: bytes = b"/",
        end: bool = True,
    ) -> RequestHeaderMap:
        """Send request headers (and, with `end`, nothing more)."""
        headers = RequestHeaderMap(method=method, path=path, authority=b"a.test", scheme=b"http")
        for name, value in fields:
            headers.add(name, value)
        manager = self.manager
        manager.request_headers = headers
        manager.remote_complete = end
        manager.create_filter(FilterChainEntry(RouterFilterFactory(self.config), "router"))
        manager.finish_chain()
        manager.run_decode_headers(0, headers, end)
        return headers

    def send(self, data: bytes, end: bool) -> None:
        self.manager.remote_complete = end
        self.manager.run_decode_data(0, data, end)

    def send_trailers(self, trailers: HeaderMap) -> None:
        self.manager.remote_complete = True
        self.manager.request_trailers = trailers
        self.manager.run_decode_trailers(0, trailers)

    # --- what can be asked ---

    def counter(self, name: str) -> int:
        """Value of a counter, 0 when there is none."""
        found = self.store.counters.get(name)
        return 0 if found is None else found.value

    def up(self, name: str) -> int:
        return self.counter("cluster.up." + name)

    def flags(self) -> int:
        return self.manager.stream_info.response_flags

    def details(self) -> str:
        return self.manager.stream_info.response_code_details

    def set_runtime(self, key: str, value: object) -> None:
        self.runtime.replace({key: make_entry(value)})

    def retry(self, retry_on: int, num_retries: int = 1) -> RetryPolicy:
        """Give the route a retry policy."""
        policy = RetryPolicy()
        policy.retry_on = retry_on
        policy.num_retries = num_retries
        self.route.retry_policy = policy
        return policy
