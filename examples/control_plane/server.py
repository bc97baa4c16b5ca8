"""`ControlPlane`: the discovery services over gRPC."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Final

from examples.control_plane import resources
from examples.control_plane.sessions import DeltaSession, StateSession
from examples.control_plane.snapshot import SnapshotCache

import grpc
from outrider.config import api

_log: Final = logging.getLogger("control_plane")
_MAX_STREAMS: Final = 500

# The services, the noun in their methods' names, and the type each serves ("" = all).
SERVICES: Final = (
    ("envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources", ""),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", resources.LISTENER),
    ("envoy.service.route.v3.RouteDiscoveryService", "Routes", resources.ROUTE),
    ("envoy.service.route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", resources.SCOPED_ROUTE),
    ("envoy.service.route.v3.VirtualHostDiscoveryService", "VirtualHosts", resources.VIRTUAL_HOST),
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", resources.CLUSTER),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", resources.ENDPOINT),
    ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets", resources.SECRET),
    ("envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", resources.EXTENSION),
    ("envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime", resources.RUNTIME),
)


class Stream:
    """One open stream. Requests, changes and messages to send meet in its queue; one thread of grpcio works it off."""

    def __init__(self, number: int, method: str, only: str) -> None:
        self.number = number
        # For example "StreamAggregatedResources".
        self.method = method
        self.only = only
        self.inbox: queue.Queue[tuple[str, Any]] = queue.Queue()

    @property
    def is_delta(self) -> bool:
        return self.method.startswith("Delta")

    def changed(self, types: list[str]) -> None:
        """Resources of these types have changed."""
        self.inbox.put(("changed", types))

    def push(self, response: Any) -> None:
        """Send a response of the caller's making."""
        self.inbox.put(("push", response))

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the stream."""
        self.inbox.put(("abort", (code, details)))


class ControlPlane:
    """Serves a cache. `on_request` is called with each stream and request (before it is answered), in many threads."""

    def __init__(self, cache: SnapshotCache, on_request: Callable[[Stream, Any], None] | None = None) -> None:
        self.cache = cache
        self.on_request = on_request
        self.port = 0
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._count = 0
        self._server: grpc.Server | None = None

    def start(self, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen; returns the port. Raises RuntimeError when the address is taken."""
        options = [("grpc.so_reuseport", 0), *((f"grpc.max_{way}_message_length", -1) for way in ("send", "receive"))]
        server = grpc.server(futures.ThreadPoolExecutor(_MAX_STREAMS, "xds"), options=options)
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        if credentials is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, credentials)
        server.start()
        self._server = server
        return self.port

    def stop(self) -> None:
        """Break off all streams and stop listening."""
        server = self._server
        self._server = None
        for stream in self.streams():
            stream.inbox.put(("end", None))
        if server is not None:
            server.stop(0).wait()

    def streams(self) -> list[Stream]:
        """The streams that are open now."""
        with self._lock:
            return list(self._streams.values())

    def _handlers(self) -> Iterator[grpc.GenericRpcHandler]:
        for service, noun, type_name in SERVICES:
            methods = {
                f"{form}{noun}": grpc.stream_stream_rpc_method_handler(
                    self._behaviour(f"{form}{noun}", type_name),
                    api.message_class(f"envoy.service.discovery.v3.{kind}Request").FromString,
                    _serialized,
                )
                for form, kind in (("Stream", "Discovery"), ("Delta", "DeltaDiscovery"))
            }
            yield grpc.method_handlers_generic_handler(service, methods)

    def _behaviour(self, method: str, type_name: str) -> Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]:
        def behave(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            return self._serve(method, type_name, requests, context)

        return behave

    def _serve(
        self, method: str, type_name: str, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        with self._lock:
            self._count += 1
            stream = self._streams[self._count] = Stream(self._count, method, type_name)
        session = DeltaSession(self.cache, type_name) if stream.is_delta else StateSession(self.cache, type_name)
        threading.Thread(target=_read, args=(requests, stream.inbox), daemon=True, name="xds-read").start()
        self.cache.listen(stream.changed)
        try:
            while True:
                kind, content = stream.inbox.get()
                if kind == "end":
                    return
                if kind == "abort":
                    context.abort(*content)
                elif kind == "push":
                    yield content
                elif kind == "request":
                    self._note(stream, content)
                    yield from self.answers(stream, session, content)
                else:
                    for changed in content:
                        yield from session.on_change(changed)
        finally:
            self.cache.unlisten(stream.changed)
            with self._lock:
                del self._streams[stream.number]

    def answers(self, stream: Stream, session: StateSession | DeltaSession, request: Any) -> list[Any]:
        """What a request is answered with; tests that want something else override it."""
        return session.on_request(request)

    def _note(self, stream: Stream, request: Any) -> None:
        if request.HasField("error_detail"):
            _log.warning("%s was refused: %s", request.type_url, request.error_detail.message)
        if self.on_request is not None:
            self.on_request(stream, request)


def _read(requests: Iterator[Any], inbox: queue.Queue[tuple[str, Any]]) -> None:
    try:
        for request in requests:
            inbox.put(("request", request))
    except grpc.RpcError:
        pass
    inbox.put(("end", None))


def _serialized(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
