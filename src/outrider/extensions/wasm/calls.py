"""HTTP and gRPC calls of plugins. What comes back is told to the plugin's root context, which knows who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.view import View
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.wasm.abi import Pairs
from outrider.grpc.client import GrpcCall, GrpcStream, GrpcStreamCallbacks, GrpcUnaryCallbacks
from outrider.grpc.factory import grpc_client
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient

if TYPE_CHECKING:
    from outrider.extensions.wasm.context import WasmContext

_LIMIT: Final = 16 << 20
# Calls of one plugin that may be under way.
_MOST: Final = 10_000


class PluginCall:
    """Base: one call, known to the module by its token."""

    token = 0
    context: WasmContext

    def cancel(self) -> None:
        raise NotImplementedError


def add_call(context: WasmContext, call: PluginCall) -> int:
    """Its token; 0 when there are too many."""
    root = context.root_context()
    if len(root.calls) >= _MOST:
        return 0
    token = root.next_token
    root.next_token += 1
    call.token = token
    root.calls[token] = call
    return token


class PluginHttpCall(AsyncCallbacks, PluginCall):
    def __init__(self, context: WasmContext) -> None:
        self.context = context
        self.call: AsyncCall | None = None

    def start(self, client: AsyncClient, cluster: str, headers: Pairs, body: bytes, timeout_ms: int) -> bool:
        request = RequestHeaderMap(scheme=b"http")
        for name, value in headers:
            request.add(name.lower(), value)
        if not request.path or not request.method or not request.authority or client.clusters.get(cluster) is None:
            return False
        if body:
            request.set(b"content-length", b"%d" % len(body))
        self.call = AsyncCall(client, cluster, request, body, timeout_ms, self, _LIMIT, send_xff=False)
        self.call.start()
        return True

    def cancel(self) -> None:
        if self.call is not None:
            self.call.cancel()
            self.call = None

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        self.call = None
        self.context.vm.after(lambda: self._tell(headers, body))

    def on_failure(self, reason: str) -> None:
        self.call = None
        self.context.vm.after(lambda: self._tell(None, b""))

    def _tell(self, headers: ResponseHeaderMap | None, body: bytes) -> None:
        root = self.context.root_context()
        if root.calls.pop(self.token, None) is None:
            return
        root.call_headers, root.call_body = headers, body
        count = 0 if headers is None else headers.count()
        name = "proxy_on_http_call_response"
        root.vm.call(name, root.number, self.token, count, len(body), 0, context=root)
        root.call_headers = root.call_body = None


class PluginGrpcCall(GrpcUnaryCallbacks, PluginCall):
    def __init__(self, context: WasmContext, metadata: Pairs) -> None:
        self.context = context
        self.metadata = metadata
        self.call: GrpcCall | None = None

    def start(self, service: bytes, name: str, method: str, message: bytes, timeout_ms: int) -> bool:
        client = _client(self.context, service)
        if client is None:
            return False
        self.call = client.send(name, method, message, self, timeout_ms)
        return True

    def cancel(self) -> None:
        if self.call is not None:
            self.call.cancel()
            self.call = None

    def on_create_initial_metadata(self, headers: RequestHeaderMap) -> None:
        for name, value in self.metadata:
            headers.add(name.lower(), value)

    def on_success(self, message: bytes) -> None:
        self.context.vm.after(lambda: self._tell(message, 0))

    def on_failure(self, status: int, message: str) -> None:
        self.context.vm.after(lambda: self._tell(None, status, message))

    def _tell(self, data: bytes | None, status: int, text: str = "") -> None:
        root = self.context.root_context()
        if root.calls.pop(self.token, None) is None:
            return
        if data is None:
            root.plugin.set_status(status, text)
            root.vm.call("proxy_on_grpc_close", root.number, self.token, status, context=root)
            return
        root.grpc_message = data
        root.vm.call("proxy_on_grpc_receive", root.number, self.token, len(data), context=root)
        root.grpc_message = None


class PluginGrpcStream(GrpcStreamCallbacks, PluginCall):
    def __init__(self, context: WasmContext, metadata: Pairs) -> None:
        self.context = context
        self.metadata = metadata
        self.stream: GrpcStream | None = None

    def start(self, service: bytes, name: str, method: str) -> bool:
        client = _client(self.context, service)
        if client is None:
            return False
        self.stream = client.start(name, method, self)
        return self.stream is not None

    def cancel(self) -> None:
        if self.stream is not None:
            self.stream.reset()
            self.stream = None

    def on_create_initial_metadata(self, headers: RequestHeaderMap) -> None:
        for name, value in self.metadata:
            headers.add(name.lower(), value)

    def on_initial_metadata(self, headers: HeaderMap) -> None:
        self._tell_metadata("proxy_on_grpc_receive_initial_metadata", headers)

    def on_trailing_metadata(self, trailers: HeaderMap) -> None:
        self._tell_metadata("proxy_on_grpc_receive_trailing_metadata", trailers)

    def on_message(self, message: bytes) -> None:
        root = self.context.root_context()
        root.grpc_message = message
        root.vm.call("proxy_on_grpc_receive", root.number, self.token, len(message), context=root)
        root.grpc_message = None

    def on_remote_close(self, status: int, message: str) -> None:
        self.stream = None
        root = self.context.root_context()
        if root.calls.pop(self.token, None) is not None:
            root.plugin.set_status(status, message)
            root.vm.call("proxy_on_grpc_close", root.number, self.token, status, context=root)

    def _tell_metadata(self, name: str, headers: HeaderMap) -> None:
        root = self.context.root_context()
        root.grpc_metadata = headers
        root.vm.call(name, root.number, self.token, headers.count(), context=root)
        root.grpc_metadata = None


def _client(context: WasmContext, service: bytes) -> Any:
    """For a serialized GrpcService, or the name of a cluster."""
    message: Any = api.new("envoy.config.core.v3.GrpcService")
    try:
        message.ParseFromString(service)
    except DecodeError:
        message = api.new("envoy.config.core.v3.GrpcService")
    if message.WhichOneof("target_specifier") is None:
        message.envoy_grpc.cluster_name = service.decode("utf-8", "replace")
    if message.HasField("envoy_grpc") and not context.plugin.context.cluster_manager.has(
        message.envoy_grpc.cluster_name
    ):
        return None
    try:
        return grpc_client(View(message), context.plugin.context)
    except ConfigError:
        return None
