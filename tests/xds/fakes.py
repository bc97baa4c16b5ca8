"""A dispatcher whose time is moved by hand, a gRPC client without a network, and callbacks that remember."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.load import LoadPolicy
from outrider.config.subscription import Resource, SubscriptionCallbacks
from outrider.event.dispatcher import Dispatcher
from outrider.grpc.client import GrpcClient, GrpcStream, GrpcStreamCallbacks
from outrider.stats.store import Store
from outrider.xds.grpc_subscription import InitialFetch, MuxSubscription
from outrider.xds.mux import Mux
from outrider.xds.mux_delta import DeltaMux
from outrider.xds.mux_state import StateMux
from outrider.xds.subscription_stats import ControlPlaneStats, SubscriptionStats
from outrider.xds.transport.back_off import BackOff
from outrider.xds.transport.grpc_stream import ConfigStream, RateLimit

CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
URL = "type.googleapis.com/"


class Call:
    """A timer handle."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualDispatcher(Dispatcher):
    """`advance` moves its time; `post` waits for `turn`."""

    def __init__(self) -> None:
        loop = asyncio.new_event_loop()
        loop.close()
        super().__init__("manual", loop)
        self.now_s = 1000.0
        self._timers: list[tuple[float, int, Call, Callable[..., object], tuple[object, ...]]] = []
        self._count = 0
        self.posted: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def call_later(self, seconds: float, callback: Callable[..., object], *args: object) -> Any:
        call = Call()
        self._count += 1
        heapq.heappush(self._timers, (self.now_s + seconds, self._count, call, callback, args))
        return call

    def post(self, callback: Callable[..., object], *args: object) -> None:
        self.posted.append((callback, args))

    def turn(self) -> None:
        posted, self.posted = self.posted, []
        for callback, args in posted:
            callback(*args)

    def advance(self, seconds: float) -> None:
        until = self.now_s + seconds
        while self._timers and self._timers[0][0] <= until:
            when, _, call, callback, args = heapq.heappop(self._timers)
            self.now_s = max(self.now_s, when)
            if not call.cancelled:
                callback(*args)
        self.now_s = until

    def timers(self) -> int:
        return sum(not call.cancelled for _, _, call, _, _ in self._timers)

    def monotonic_ns(self) -> int:  # type: ignore[override]
        return int(self.now_s * 1e9)


class FakeStream(GrpcStream):
    def __init__(self, client: FakeClient, callbacks: GrpcStreamCallbacks, method: str) -> None:
        self.client = client
        self.callbacks = callbacks
        self.method = method
        self.sent: list[Any] = []
        self.was_reset = False

    def send_message(self, message: bytes, end_stream: bool = False) -> None:
        kind = "DeltaDiscoveryRequest" if self.method.startswith("Delta") else "DiscoveryRequest"
        request: Any = api.new(f"envoy.service.discovery.v3.{kind}")
        request.ParseFromString(message)
        self.sent.append(request)

    def close(self) -> None:
        raise AssertionError("configuration streams are not half-closed")

    def reset(self) -> None:
        self.was_reset = True

    def above_high_watermark(self) -> bool:
        return False

    def take(self) -> list[Any]:
        """The requests since the last call."""
        sent, self.sent = self.sent, []
        return sent


class FakeClient(GrpcClient):
    """`refuse`: the status with which streams fail to open."""

    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.refuse: int | None = None
        self.attempts = 0

    def start(
        self, service: str, method: str, callbacks: GrpcStreamCallbacks, timeout_ms: int = 0
    ) -> GrpcStream | None:
        self.attempts += 1
        if self.refuse is not None:
            callbacks.on_remote_close(self.refuse, "no")
            return None
        stream = FakeStream(self, callbacks, method)
        self.streams.append(stream)
        return stream

    @property
    def stream(self) -> FakeStream:
        return self.streams[-1]


class Memory(SubscriptionCallbacks):
    """`refuse`: the text with which updates are refused."""

    def __init__(self) -> None:
        self.states: list[tuple[list[str], str]] = []
        self.deltas: list[tuple[list[str], list[str], str]] = []
        self.failures: list[tuple[int, str]] = []
        self.resources: list[Resource] = []
        self.refuse = ""

    def on_state(self, resources: list[Resource], version: str) -> None:
        if self.refuse:
            raise ConfigError(self.refuse)
        self.resources = resources
        self.states.append(([each.name for each in resources], version))

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        if self.refuse:
            raise ConfigError(self.refuse)
        self.resources = added
        self.deltas.append(([each.name for each in added], removed, version))

    def on_failed(self, reason: int, error: str) -> None:
        self.failures.append((reason, error))


class Scene:
    """A mux over a fake client."""

    def __init__(self, delta: bool = False, limit: RateLimit | None = None, node_once: bool = False) -> None:
        self.dispatcher = ManualDispatcher()
        self.client = FakeClient()
        self.store = Store()
        node: Any = api.new("envoy.config.core.v3.Node")
        node.id = "me"
        kind: type[DeltaMux | StateMux] = DeltaMux if delta else StateMux
        self.mux: Mux = kind(self.dispatcher, LoadPolicy(True), node.SerializeToString(), node_once)
        self.mux.stream = ConfigStream(
            self.client, "S", "DeltaX" if delta else "StreamX", self.mux, self.dispatcher,
            ControlPlaneStats(self.store), BackOff(), limit, "xds",
        )  # fmt: skip

    def subscribe(
        self, type_name: str, fetch_s: float = 0.0, scope: str = "s.", owns: bool = False
    ) -> tuple[MuxSubscription, Memory]:
        memory = Memory()
        stats = SubscriptionStats(self.store.scope(scope))
        fetch = InitialFetch(self.dispatcher, fetch_s)
        return MuxSubscription(self.mux, type_name, memory, stats, fetch, owns), memory

    def answer(self, message: Any, settle: bool = True) -> None:
        """A message of the server; decoded at once unless `settle` is False."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        self.client.stream.callbacks.on_message(data)
        while settle and self.dispatcher.posted:
            self.dispatcher.turn()

    def requests(self) -> list[Any]:
        return self.client.stream.take()

    def value(self, name: str) -> object:
        for metric in self.store.all_metrics():
            if metric.name == name:
                return metric.value  # type: ignore[attr-defined]
        raise AssertionError(f"no stat {name}")


def cluster(name: str, timeout_s: int = 1) -> Any:
    message: Any = api.new(CLUSTER)
    message.name = name
    message.connect_timeout.seconds = timeout_s
    return message


def assignment(name: str) -> Any:
    message: Any = api.new(ENDPOINT)
    message.cluster_name = name
    return message


def pack(message: Any, url: str = "") -> Any:
    packed: Any = api.new("google.protobuf.Any")
    packed.type_url = url or URL + message.DESCRIPTOR.full_name
    packed.value = message.SerializeToString()
    return packed


def response(type_name: str, version: str, nonce: str, *messages: Any) -> Any:
    """A DiscoveryResponse; messages are packed unless they are an Any already."""
    made: Any = api.new("envoy.service.discovery.v3.DiscoveryResponse")
    made.type_url = URL + type_name
    made.version_info = version
    made.nonce = nonce
    for message in messages:
        made.resources.append(message if message.DESCRIPTOR.name == "Any" else pack(message))
    return made


def wrapper(name: str, version: str, message: Any = None, ttl_s: int = 0, aliases: tuple[str, ...] = ()) -> Any:
    made: Any = api.new("envoy.service.discovery.v3.Resource")
    made.name = name
    made.version = version
    made.aliases.extend(aliases)
    if message is not None:
        made.resource.CopyFrom(pack(message))
    if ttl_s:
        made.ttl.seconds = ttl_s
    return made


def delta_response(type_name: str, version: str, nonce: str, *wrappers: Any, removed: tuple[str, ...] = ()) -> Any:
    made: Any = api.new("envoy.service.discovery.v3.DeltaDiscoveryResponse")
    made.type_url = URL + type_name
    made.system_version_info = version
    made.nonce = nonce
    made.resources.extend(wrappers)
    made.removed_resources.extend(removed)
    return made
