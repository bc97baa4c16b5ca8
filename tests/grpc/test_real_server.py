"""The client against a real grpcio server: all kinds of calls, over a cluster and through grpcio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

import grpc
from outrider.access_log.file_writer import AccessLogManager
from outrider.config.errors import ConfigError
from outrider.config.runtime import NO_RUNTIME
from outrider.data import grpc_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.event.dispatcher import Dispatcher, new_event_loop
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.grpc.client import GrpcClient, GrpcStream, GrpcStreamCallbacks, GrpcUnaryCallbacks
from outrider.grpc.factory import grpc_client
from outrider.stats.store import Store
from outrider.upstream.builder import build_cluster
from outrider.upstream.cluster_manager import ClusterManager
from outrider.upstream.config.cluster_config import ClusterDefaults
from outrider.upstream.control.manager import ControlManager
from tests.config.messages import CLUSTER, view_of
from tests.support.grpc_server import GrpcTestServer, Received, echo
from tests.support.ports import free_port

pytestmark = pytest.mark.integration

GRPC_SERVICE = "envoy.config.core.v3.GrpcService"
SERVICE = "test.Things"


class StreamLog(GrpcStreamCallbacks):
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.initial: HeaderMap | None = None
        self.trailing: HeaderMap | None = None
        self.end: tuple[int, str] | None = None
        self.drained = 0

    def on_create_initial_metadata(self, headers: RequestHeaderMap) -> None:
        headers.set(b"x-added", b"late")

    def on_initial_metadata(self, headers: HeaderMap) -> None:
        self.initial = headers

    def on_message(self, message: bytes) -> None:
        self.messages.append(message)

    def on_trailing_metadata(self, trailers: HeaderMap) -> None:
        self.trailing = trailers

    def on_remote_close(self, status: int, message: str) -> None:
        assert self.end is None
        self.end = (status, message)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.drained += 1


class UnaryLog(GrpcUnaryCallbacks):
    def __init__(self) -> None:
        self.outcome: object = None

    def on_success(self, message: bytes) -> None:
        assert self.outcome is None
        self.outcome = message

    def on_failure(self, status: int, message: str) -> None:
        assert self.outcome is None
        self.outcome = (status, message)


def sum_up(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield b"+".join(messages)


def count(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.send_initial_metadata((("x-first", "yes"),))
    for number in range(int(next(messages))):
        yield b"%d" % number
    context.set_trailing_metadata((("x-last", "also"),))


def refuse(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
    yield b""


ATTEMPTS: list[str] = []


def flaky(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    ATTEMPTS.append(received.path)
    if len(ATTEMPTS) < 3:
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
    yield next(messages)


def sleep(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    next(messages)
    time.sleep(0.5)
    yield b"late"


class World:
    """A cluster with one host, the server."""

    def __init__(self, port: int, http2: bool = True) -> None:
        self.loop = new_event_loop()
        self.dispatcher = Dispatcher("test", self.loop)
        self.store = Store()
        self.clusters = ClusterManager()
        logs = AccessLogManager(self.store)
        self.context = FactoryContext(self.store, self.dispatcher, self.clusters, NO_RUNTIME, logs, None, ServerInfo())
        control = ControlManager(self.context, ClusterDefaults(), self.clusters.apply_hosts)
        self.port = port
        cluster = {
            "name": "things",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": "things",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
        }
        info = control.add(view_of(CLUSTER, cluster))
        self.clusters.add(build_cluster(info, self.context, control))
        self.control = control

        async def wait() -> None:
            ready: asyncio.Future[None] = self.loop.create_future()
            control.start(lambda: ready.set_result(None))
            await asyncio.wait_for(ready, 10)

        self.loop.run_until_complete(wait())

    def client(self, kind: str, **more: Any) -> GrpcClient:
        if kind == "envoy_grpc":
            target = {"envoy_grpc": {"cluster_name": "things"}}
        else:
            target = {"google_grpc": {"target_uri": f"127.0.0.1:{self.port}", "stat_prefix": "things"}}
        return grpc_client(view_of(GRPC_SERVICE, {**target, **more}), self.context)

    def start(self, client: GrpcClient, method: str, log: StreamLog) -> GrpcStream:
        """Open a stream from within the loop, as everything in the proxy runs."""

        async def run() -> GrpcStream | None:
            return client.start(SERVICE, method, log)

        stream = self.loop.run_until_complete(run())
        assert stream is not None
        return stream

    def send(self, client: GrpcClient, method: str, message: bytes, log: UnaryLog, timeout_ms: int = 0) -> None:
        async def run() -> None:
            client.send(SERVICE, method, message, log, timeout_ms)

        self.loop.run_until_complete(run())
        self.until(lambda: log.outcome is not None)

    def until(self, condition: Any, seconds: float = 5.0) -> None:
        async def wait() -> None:
            end = self.loop.time() + seconds
            while not condition():
                assert self.loop.time() < end, "timed out"
                await asyncio.sleep(0.005)

        self.loop.run_until_complete(wait())

    def counter(self, name: str) -> int:
        return self.store.counter(name).value

    def close(self) -> None:
        self.control.stop()
        for cluster in self.clusters.clusters():
            cluster.close_all()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.run_until_complete(self.dispatcher.shutdown())
        self.loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[GrpcTestServer]:
    running = GrpcTestServer(
        {
            f"/{SERVICE}/Echo": echo,
            f"/{SERVICE}/Sum": sum_up,
            f"/{SERVICE}/Count": count,
            f"/{SERVICE}/Refuse": refuse,
            f"/{SERVICE}/Sleep": sleep,
            f"/{SERVICE}/Flaky": flaky,
        }
    )
    yield running
    running.stop()


@pytest.fixture
def world(server: GrpcTestServer) -> Iterator[World]:
    made = World(server.port)
    yield made
    made.close()


KINDS = pytest.mark.parametrize("kind", ["envoy_grpc", "google_grpc"])


@KINDS
def test_unary(world: World, server: GrpcTestServer, kind: str) -> None:
    log = UnaryLog()
    client = world.client(kind, initial_metadata=[{"key": "X-Who", "value": "me"}], timeout="3s")
    world.send(client, "Echo", b"hello", log)
    assert log.outcome == b"hello"
    call = server.calls[-1]
    assert call.path == "/test.Things/Echo" and call.header("x-who") == "me"
    assert call.deadline_s is not None and 1 < call.deadline_s <= 3
    if kind == "envoy_grpc":
        assert world.counter("cluster.things.internal.upstream_rq_200") == 1
        assert world.counter("http.async-client.rq_total") == 1
    else:
        world.until(lambda: world.counter("grpc.things.streams_closed_0") == 1)
        assert world.counter("grpc.things.streams_total") == 1


@KINDS
def test_unary_failure(world: World, kind: str) -> None:
    log = UnaryLog()
    world.send(world.client(kind), "Refuse", b"", log)
    assert log.outcome == (grpc_status.PERMISSION_DENIED, "not you")


@KINDS
def test_client_streaming(world: World, kind: str) -> None:
    log = StreamLog()
    stream = world.start(world.client(kind), "Sum", log)
    for part in (b"a", b"bb", b"ccc"):
        stream.send_message(part)
    stream.close()
    world.until(lambda: log.end is not None)
    assert log.messages == [b"a+bb+ccc"] and log.end == (grpc_status.OK, "")


@KINDS
def test_server_streaming_with_metadata(world: World, server: GrpcTestServer, kind: str) -> None:
    log = StreamLog()
    stream = world.start(world.client(kind), "Count", log)
    stream.send_message(b"40", True)
    world.until(lambda: log.end is not None)
    assert log.messages == [b"%d" % number for number in range(40)]
    assert log.initial is not None and log.initial.get(b"x-first") == b"yes"
    assert log.trailing is not None and log.trailing.get(b"x-last") == b"also"
    assert server.calls[-1].header("x-added") == "late"


@KINDS
def test_bidirectional(world: World, kind: str) -> None:
    log = StreamLog()
    stream = world.start(world.client(kind), "Echo", log)
    for number in range(5):
        stream.send_message(b"%d" % number)
        world.until(lambda wanted=number + 1: len(log.messages) == wanted)
    assert log.end is None
    stream.close()
    world.until(lambda: log.end is not None)
    assert log.messages == [b"0", b"1", b"2", b"3", b"4"] and log.end == (grpc_status.OK, "")


@KINDS
def test_reset_is_seen_by_the_server_and_tells_nothing(world: World, server: GrpcTestServer, kind: str) -> None:
    log = StreamLog()
    stream = world.start(world.client(kind), "Echo", log)
    stream.send_message(b"x")
    world.until(lambda: bool(log.messages))
    call = server.calls[-1]
    stream.reset()
    world.until(lambda: call.cancelled)
    stream.send_message(b"y")
    assert log.end is None


def test_large_messages_pass_and_back_pressure_is_told(world: World) -> None:
    log = StreamLog()
    message = bytes(range(256)) * (1 << 13)

    async def begin() -> GrpcStream:
        stream = world.client("envoy_grpc").start(SERVICE, "Echo", log)
        assert stream is not None
        # There is no connection yet: the message waits.
        stream.send_message(message)
        assert stream.above_high_watermark()
        return stream

    stream = world.loop.run_until_complete(begin())
    world.until(lambda: bool(log.messages), 20)
    assert log.messages == [message]
    assert not stream.above_high_watermark() and log.drained > 0
    stream.reset()


def test_message_over_the_limit(world: World) -> None:
    log = StreamLog()
    view = view_of(GRPC_SERVICE, {"envoy_grpc": {"cluster_name": "things", "max_receive_message_length": 10}})
    stream = world.start(grpc_client(view, world.context), "Echo", log)
    stream.send_message(b"0123456789")
    world.until(lambda: bool(log.messages))
    stream.send_message(b"0123456789a")
    world.until(lambda: log.end is not None)
    assert log.end == (grpc_status.RESOURCE_EXHAUSTED, "")


def test_timeout_is_unavailable_as_with_envoy(world: World) -> None:
    log = UnaryLog()
    world.send(world.client("envoy_grpc"), "Sleep", b"", log, 100)
    # The server may be first to notice.
    assert log.outcome in ((grpc_status.UNAVAILABLE, "upstream request timeout"), (grpc_status.DEADLINE_EXCEEDED, "Deadline Exceeded"))
    assert world.counter("cluster.things.upstream_rq_timeout") <= 1


def test_nobody_listens() -> None:
    world = World(free_port())
    try:
        log = UnaryLog()
        world.send(world.client("envoy_grpc"), "Echo", b"", log)
        status, message = log.outcome
        assert status == grpc_status.UNAVAILABLE
        assert message == (
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
        )
        assert world.counter("cluster.things.internal.upstream_rq_503") == 1
    finally:
        world.close()


@pytest.mark.parametrize(("retries", "outcome"), [(2, b"again"), (1, (grpc_status.UNAVAILABLE, "not yet"))])
def test_retries(world: World, retries: int, outcome: object) -> None:
    ATTEMPTS.clear()
    log = UnaryLog()
    policy = {"retry_on": "unavailable", "num_retries": retries, "retry_back_off": {"base_interval": "0.01s", "max_interval": "1s"}}
    world.send(world.client("envoy_grpc", retry_policy=policy), "Flaky", b"again", log)
    assert log.outcome == outcome and len(ATTEMPTS) == retries + 1
    assert world.counter("cluster.things.upstream_rq_retry") == retries
    assert world.counter("cluster.things.retry.upstream_rq_200") == retries
    assert world.counter("cluster.things.upstream_rq_200") == 1
    assert world.counter("cluster.things.upstream_rq_retry_limit_exceeded") == (1 if retries == 1 else 0)


def test_unknown_cluster(world: World) -> None:
    log = UnaryLog()
    client = grpc_client(view_of(GRPC_SERVICE, {"envoy_grpc": {"cluster_name": "nope"}}), world.context)
    assert client.send(SERVICE, "Echo", b"", log) is None
    assert log.outcome == (grpc_status.UNAVAILABLE, "Cluster not available")
    with pytest.raises(ConfigError, match="Unknown gRPC client cluster 'nope'"):
        grpc_client(view_of(GRPC_SERVICE, {"envoy_grpc": {"cluster_name": "nope"}}), world.context, must_exist=True)
    assert isinstance(grpc_client(view_of(GRPC_SERVICE, {"envoy_grpc": {"cluster_name": "things"}}), world.context, must_exist=True), GrpcClient)


def test_what_is_not_supported_is_refused(world: World) -> None:
    view = view_of(GRPC_SERVICE, {"google_grpc": {"target_uri": "x", "stat_prefix": "y", "credentials_factory_name": "z"}})
    grpc_client(view, world.context)
    assert view.unread() == ["google_grpc.credentials_factory_name"]
    with pytest.raises(ConfigError, match="call credentials need channel credentials"):
        grpc_client(view_of(GRPC_SERVICE, {"google_grpc": {"target_uri": "x", "stat_prefix": "y", "call_credentials": [{"access_token": "t"}]}}), world.context)


def test_server_goes_away_in_the_middle() -> None:
    own = GrpcTestServer({f"/{SERVICE}/Echo": echo})
    world = World(own.port)
    try:
        log = StreamLog()
        stream = world.start(world.client("envoy_grpc"), "Echo", log)
        stream.send_message(b"x")
        world.until(lambda: bool(log.messages))
        own.stop()
        world.until(lambda: log.end is not None)
        # The response had begun: a status of its own from the server, or a stream that broke off.
        assert log.end is not None and log.end[0] in (grpc_status.INTERNAL, grpc_status.UNAVAILABLE, grpc_status.CANCELLED)
        stream.send_message(b"y")
        assert not stream.above_high_watermark()
        after = UnaryLog()
        world.send(world.client("envoy_grpc"), "Echo", b"", after)
        assert isinstance(after.outcome, tuple) and after.outcome[0] == grpc_status.UNAVAILABLE
    finally:
        world.close()


def test_many_calls_at_once(world: World) -> None:
    client = world.client("envoy_grpc")
    logs = [UnaryLog() for _ in range(1000)]

    async def begin() -> None:
        for number, log in enumerate(logs):
            client.send(SERVICE, "Echo", b"%d" % number, log)

    world.loop.run_until_complete(begin())
    world.until(lambda: all(log.outcome is not None for log in logs), 60)
    assert [log.outcome for log in logs] == [b"%d" % number for number in range(1000)]
    assert world.counter("cluster.things.upstream_rq_200") == 1000


def test_cancelled_calls_tell_nothing(world: World) -> None:
    client = world.client("envoy_grpc")
    log = UnaryLog()

    async def begin() -> None:
        call = client.send(SERVICE, "Sleep", b"", log)
        assert call is not None
        call.cancel()
        call.cancel()
        await asyncio.sleep(0.1)

    world.loop.run_until_complete(begin())
    assert log.outcome is None
