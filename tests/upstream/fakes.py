"""Time moved by hand, connections that only remember, and clusters made of a few words."""

from __future__ import annotations

from typing import Any

from outrider.config.runtime import NO_RUNTIME, Runtime
from outrider.data.address import Address, ip_address
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import ConnectionInfo
from outrider.event.timer import Timer, TimerOwner, TimerWheel, WheelClock
from outrider.http.codec import ClientConnection, ClientConnectionCallbacks, RequestEncoder, ResponseDecoder
from outrider.network.connection import Connection
from outrider.network.filter import EVENT_CONNECTED, EVENT_LOCAL_CLOSE, EVENT_REMOTE_CLOSE
from outrider.network.transport_socket import RAW_BUFFER
from outrider.stats.store import Store
from outrider.upstream.cluster import Cluster
from outrider.upstream.cluster_info import ClusterInfo, cluster_scope
from outrider.upstream.config.cluster_config import ClusterConfig
from outrider.upstream.connector import Connector
from outrider.upstream.control_link import NO_LINK, ControlLink
from outrider.upstream.host import Host, Locality
from outrider.upstream.hosts_update import HostSpec, HostsUpdate
from outrider.upstream.load_balancer.base import RandomSource
from outrider.upstream.priority_set import PrioritySet
from outrider.upstream.transport_socket_matcher import TransportSocketMatcher
from tests.support.dispatcher import idle_dispatcher

HERE = ip_address("127.0.0.1", 1)


class FakeClock(WheelClock):
    def __init__(self) -> None:
        self.now = 1_000_000
        self.wheel: TimerWheel | None = None

    def now_ms(self) -> int:
        return self.now

    def wake_at(self, when_ms: int) -> None:
        pass


class FakeHandle:
    def __init__(self, dispatcher: FakeDispatcher, when: float, call: Any, args: Any) -> None:
        self.when = when
        self.call = call
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeDispatcher:
    """What the code asks of a Dispatcher; `advance` lets time pass, `turn` is one turn of the loop."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.wheel = TimerWheel(self.clock)
        self.posted: list[tuple[Any, Any]] = []
        self.handles: list[FakeHandle] = []
        self.connections = 0

    def timer(self, owner: TimerOwner, kind: int) -> Timer:
        return Timer(self.wheel, owner, kind)

    def post(self, call: Any, *args: Any) -> None:
        self.posted.append((call, args))

    def call_later(self, seconds: float, call: Any, *args: Any) -> FakeHandle:
        handle = FakeHandle(self, self.clock.now + seconds * 1000, call, args)
        self.handles.append(handle)
        return handle

    def next_connection_id(self) -> int:
        self.connections += 1
        return self.connections

    def wall_ns(self) -> int:
        return self.clock.now * 1_000_000

    def monotonic_ns(self) -> int:
        return self.clock.now * 1_000_000

    def turn(self) -> None:
        posted, self.posted = self.posted, []
        for call, args in posted:
            call(*args)

    def advance(self, milliseconds: int) -> None:
        end = self.clock.now + milliseconds
        while self.clock.now < end:
            self.clock.now = min(self.clock.now + 10, end)
            self.wheel.advance()
            for handle in list(self.handles):
                if handle.when <= self.clock.now:
                    self.handles.remove(handle)
                    if not handle.cancelled:
                        handle.call(*handle.args)
            self.turn()


class FakeConnection(Connection):
    """Remembers what was done to it; the test plays the network."""

    def __init__(self, connection_id: int, address: Address) -> None:
        super().__init__(idle_dispatcher(), ConnectionInfo(connection_id, HERE, address))
        self.callbacks: list[Any] = []
        self.filters: list[Any] = []
        self.written = b""
        self.open = True
        self.read_disabled = 0

    def set_buffer_limits(self, limit: int) -> None:
        self.limit = limit

    def add_filter(self, network_filter: Any) -> None:
        network_filter.index = 0
        self.filters.append(network_filter)
        network_filter.initialize(self)

    def add_callbacks(self, callbacks: Any) -> None:
        self.callbacks.append(callbacks)

    def remove_callbacks(self, callbacks: Any) -> None:
        self.callbacks.remove(callbacks)

    def start_filters(self) -> bool:
        return bool(self.filters)

    def enable_half_close(self, enabled: bool) -> None:
        pass

    def read_disable(self, disable: bool) -> None:
        self.read_disabled += 1 if disable else -1

    def write(self, data: bytes, end_stream: bool = False) -> None:
        self.written += data

    def _raise(self, event: int) -> None:
        for each in list(self.callbacks):
            each.on_event(event)

    def connect(self) -> None:
        self._raise(EVENT_CONNECTED)

    def receive(self, data: bytes) -> None:
        for each in self.filters:
            each.on_data(data, False)

    def close(self, close_type: int, details: str = "") -> None:
        if self.open:
            self.open = False
            self._raise(EVENT_LOCAL_CLOSE)

    def remote_close(self, reason: str = "") -> None:
        if self.open:
            self.open = False
            self.info.transport_failure_reason = reason
            self._raise(EVENT_REMOTE_CLOSE)


class FakeEncoder(RequestEncoder):
    def __init__(self, codec: FakeCodec, decoder: ResponseDecoder) -> None:
        self.codec = codec
        self.decoder = decoder
        self.headers: RequestHeaderMap | None = None
        self.body = b""

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self.headers = headers

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data

    def reset_stream(self, reason: int) -> None:
        self.codec.callbacks.on_stream_reset(reason)


class FakeCodec(ClientConnection):
    """One stream at a time; the test completes it."""

    def __init__(self, connection: FakeConnection, callbacks: ClientConnectionCallbacks) -> None:
        self.connection = connection
        self.callbacks = callbacks
        self.encoder: FakeEncoder | None = None
        self.closing = False
        self.ends_with_connection = False
        self.closed_reasons: list[int] = []
        self.fault: Exception | None = None

    def new_stream(self, decoder: ResponseDecoder) -> RequestEncoder:
        self.encoder = FakeEncoder(self, decoder)
        return self.encoder

    def dispatch(self, data: bytes) -> None:
        if self.fault is not None:
            raise self.fault

    def complete(self) -> None:
        self.encoder = None
        self.callbacks.on_stream_complete()

    def respond(self, status: int, fields: dict[bytes, bytes] | None = None, body: bytes = b"") -> None:
        assert self.encoder is not None
        decoder = self.encoder.decoder
        decoder.decode_headers(ResponseHeaderMap(dict(fields or {}), status=status), not body)
        if body:
            decoder.decode_data(body, True)
        self.complete()

    def should_close(self) -> bool:
        return self.closing

    def close_was_said(self) -> bool:
        return self.closing

    def on_eof(self) -> None:
        if self.ends_with_connection:
            self.complete()

    def on_connection_closed(self, reason: int, details: str) -> None:
        self.closed_reasons.append(reason)
        if self.encoder is not None:
            decoder = self.encoder.decoder
            self.encoder = None
            decoder.on_reset_stream(reason, details)


class FakeConnector(Connector):
    def __init__(self, dispatcher: FakeDispatcher) -> None:
        self.dispatcher = dispatcher  # type: ignore[assignment]
        self.connections: list[FakeConnection] = []
        self.codecs: list[FakeCodec] = []
        self.hosts: list[Host] = []

    def connect(self, host: Host, options: Any) -> Any:
        connection = FakeConnection(len(self.connections) + 1, host.address)
        self.connections.append(connection)
        self.hosts.append(host)
        return connection

    def http1_codec(self, connection: Any, info: ClusterInfo, callbacks: ClientConnectionCallbacks) -> ClientConnection:
        codec = FakeCodec(connection, callbacks)
        self.codecs.append(codec)
        return codec


class Rolls(RandomSource):
    """Gives the numbers it was told, again and again."""

    def __init__(self, *rolls: int) -> None:
        self.rolls = list(rolls) or [0]
        self.position = 0

    def _next(self) -> int:
        value = self.rolls[self.position % len(self.rolls)]
        self.position += 1
        return value

    def below(self, limit: int) -> int:
        return self._next() % limit

    def bits64(self) -> int:
        return self._next()


def make_info(config: ClusterConfig | None = None, store: Store | None = None) -> ClusterInfo:
    config = config or ClusterConfig("c")
    scope = cluster_scope(store or Store(), config.observability_name)
    return ClusterInfo(config, scope, TransportSocketMatcher(RAW_BUFFER, scope))


def make_host(port: int, info: ClusterInfo | None = None, *, weight: int = 1, flags: int = 0, zone: str = "") -> Host:
    host = Host(info or make_info(), ip_address("10.0.0.1", port), RAW_BUFFER)
    host.weight = weight
    host.locality = Locality("", zone, "")
    host.set_health_flags(flags)
    return host


def make_priorities(*levels: list[Host]) -> PrioritySet:
    priorities = PrioritySet()
    for priority, hosts in enumerate(levels):
        for host in hosts:
            host.priority = priority
        priorities.update(priority, hosts, {})
    return priorities


def make_update(*ports: int, cluster: str = "c") -> HostsUpdate:
    update = HostsUpdate(cluster)
    update.hosts = [HostSpec(ip_address("10.0.0.1", port)) for port in ports]
    return update


def make_cluster(
    config: ClusterConfig | None = None,
    *ports: int,
    store: Store | None = None,
    runtime: Runtime = NO_RUNTIME,
    link: ControlLink = NO_LINK,
    random: RandomSource | None = None,
) -> tuple[Cluster, FakeConnector, FakeDispatcher]:
    dispatcher = FakeDispatcher()
    connector = FakeConnector(dispatcher)
    cluster = Cluster(make_info(config, store), connector, runtime, link, random or Rolls(0))
    cluster.apply_hosts(make_update(*ports))
    return cluster, connector, dispatcher
