"""envoy.tracers.opentelemetry: W3C trace context; spans go to a collector by OTLP, over HTTP or gRPC.

Source: Envoy documentation, "OpenTelemetry tracer"; W3C Trace Context; the OTLP specification.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

import outrider
from outrider.config import api
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.tracers.buffer import SpanBuffer
from outrider.extensions.tracers.ids import new_id
from outrider.grpc.client import GrpcClient, GrpcUnaryCallbacks
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient
from outrider.tracing.registry import TRACERS
from outrider.tracing.span import Span, Tracer

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_TRACEPARENT: Final = b"traceparent"
_TRACESTATE: Final = b"tracestate"
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST: Final = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"
_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_MAX_CACHE: Final = 1024
_SERVER: Final = 2
_CLIENT: Final = 3
# Flags of a span: the W3C ones, and whether the parent is remote (opentelemetry.proto.trace.v1.SpanFlags).
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_ERROR: Final = 2


class OtelSpan(Span):
    def __init__(self, tracer: OtelTracer, operation: str, start_ns: int, kind: int, sampled: bool) -> None:
        self.tracer = tracer
        self.operation = operation
        self.start_ns = start_ns
        self.end_ns = 0
        self.kind = kind
        self.sampled = sampled
        self.trace = ""
        self.id = new_id(64)
        self.parent = ""
        self.parent_is_remote = False
        self.state = b""
        self.tags: dict[str, str] = {}
        self.events: list[tuple[int, str]] = []

    def set_operation(self, operation: str) -> None:
        self.operation = operation

    def set_tag(self, name: str, value: str) -> None:
        self.tags[name] = value

    def log(self, time_ns: int, event: str) -> None:
        self.events.append((time_ns, event))

    def inject(self, headers: HeaderMap) -> None:
        flags = b"01" if self.sampled else b"00"
        headers.set(_TRACEPARENT, b"00-%s-%s-%s" % (self.trace.encode(), self.id.encode(), flags))
        headers.set(_TRACESTATE, self.state)

    def child(self, operation: str, start_ns: int) -> Span:
        child = OtelSpan(self.tracer, operation, start_ns, _CLIENT, self.sampled)
        child.trace = self.trace
        child.parent = self.id
        child.state = self.state
        return child

    def finish(self, end_ns: int) -> None:
        self.end_ns = end_ns
        if self.sampled:
            self.tracer.buffer.add(self)

    def trace_id(self) -> str:
        return self.trace

    def span_id(self) -> str:
        return self.id

    def fill(self, message: Any) -> None:
        """Into an `opentelemetry.proto.trace.v1.Span`."""
        message.trace_id = bytes.fromhex(self.trace)
        message.span_id = bytes.fromhex(self.id)
        if self.parent:
            message.parent_span_id = bytes.fromhex(self.parent)
        message.trace_state = self.state.decode("latin-1")
        message.name = self.operation
        message.kind = self.kind
        message.start_time_unix_nano = self.start_ns
        message.end_time_unix_nano = self.end_ns
        message.flags = int(self.sampled) | _HAS_IS_REMOTE | (_IS_REMOTE if self.parent_is_remote else 0)
        for name, value in self.tags.items():
            entry = message.attributes.add()
            entry.key = name
            entry.value.string_value = value
        for time_ns, event in self.events:
            noted = message.events.add()
            noted.time_unix_nano = time_ns
            noted.name = event
        if self.tags.get("error") == "true":
            message.status.code = _ERROR


class OtelTracer(Tracer):
    def __init__(self, context: FactoryContext, service: str, limit: int) -> None:
        self.service = service
        scope = context.root_scope.scope("tracing.opentelemetry")
        self.buffer = SpanBuffer(context, "opentelemetry", scope, limit, self.export)
        self.exporter: OtlpHttpExporter | OtlpGrpcExporter | None = None
        self.resource: dict[str, str] = {}
        self.scope_named = True

    def start_span(
        self, headers: HeaderMap, host: str, operation: str, start_ns: int, traced: bool, egress: bool, spawn: bool
    ) -> Span:
        kind = _CLIENT if egress and not spawn else _SERVER
        found = _PARENT.fullmatch(headers.get(_TRACEPARENT) or b"")
        if found is None or found.group(1) == b"ff" or not int(found.group(2), 16) or not int(found.group(3), 16):
            span = OtelSpan(self, operation, start_ns, kind, traced)
            span.trace = new_id(128)
            return span
        # The caller's decision stands.
        span = OtelSpan(self, operation, start_ns, kind, bool(int(found.group(4), 16) & 1))
        span.trace = found.group(2).decode()
        span.parent = found.group(3).decode()
        span.parent_is_remote = True
        span.state = headers.get_joined(_TRACESTATE) or b""
        return span

    def export(self, spans: list[OtelSpan]) -> None:
        if self.exporter is None:
            return
        request: Any = api.new(_REQUEST)
        resource_spans = request.resource_spans.add()
        for name, value in self.resource.items():
            entry = resource_spans.resource.attributes.add()
            entry.key = name
            entry.value.string_value = value
        scope_spans = resource_spans.scope_spans.add()
        if self.scope_named:
            scope_spans.scope.name = "envoy"
            scope_spans.scope.version = outrider.__version__
        for span in spans:
            span.fill(scope_spans.spans.add())
        self.exporter.send(request.SerializeToString())


class OtlpHttpExporter(AsyncCallbacks):
    """POST to a collector. What it answers changes nothing."""

    def __init__(self, context: FactoryContext, view: View) -> None:
        uri = view.message("http_uri")
        if uri is None:
            raise view.error("value is required", "http_uri")
        self.cluster = uri.text("cluster")
        if not context.cluster_manager.has(self.cluster):
            raise uri.error(f"OpenTelemetry trace exporter: unknown cluster '{self.cluster}'", "cluster")
        text = uri.text("uri")
        authority, slash, path = text.partition("://")[2].partition("/")
        self.authority = (authority or text).encode()
        self.path = (slash + path or "/").encode()
        self.timeout_ms = uri.millis("timeout") or 0
        self.headers: list[tuple[bytes, bytes]] = []
        for option in view.messages("request_headers_to_add"):
            header = option.message("header")
            if header is not None:
                self.headers.append((header.text("key").lower().encode(), header.text("value").encode()))
        self.client = AsyncClient(context)

    def send(self, body: bytes) -> None:
        headers = RequestHeaderMap(
            method=b"POST", path=self.path, authority=self.authority, scheme=b"http"
        )  # fmt: skip
        headers.set(b"content-type", b"application/x-protobuf")
        headers.set(b"user-agent", f"OTel-OTLP-Exporter-Outrider/{outrider.__version__}".encode())
        for name, value in self.headers:
            headers.set(name, value)
        AsyncCall(self.client, self.cluster, headers, body, self.timeout_ms, self).start()

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        """The collector has them, or not."""

    def on_failure(self, reason: str) -> None:
        """The collector does not have them."""


class OtlpGrpcExporter(GrpcUnaryCallbacks):
    def __init__(self, client: GrpcClient) -> None:
        self.client = client

    def send(self, body: bytes) -> None:
        self.client.send(_SERVICE, "Export", body, self)

    def on_success(self, message: bytes) -> None:
        """The collector has them."""

    def on_failure(self, status: int, message: str) -> None:
        """The collector does not have them."""


def _detect(view: View, found: dict[str, str]) -> None:
    """A resource detector adds attributes; the first that names one wins. Raises ConfigError."""
    kind = view.any_type("typed_config").rpartition(".")[2]
    view.text("name")
    if kind == "EnvironmentResourceDetectorConfig":
        view.any("typed_config")
        for entry in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
            name, equals, value = entry.partition("=")
            if equals:
                found.setdefault(name.strip(), value.strip())
    elif kind == "StaticConfigResourceDetectorConfig":
        for name, value in view.any("typed_config").text_map("attributes").items():
            if name and value:
                found.setdefault(name, value)
    else:
        raise view.error(
            f"Didn't find a registered implementation for '{view.text('name')}' with type URL: "
            f"'{view.any_type('typed_config')}'"
        )


@TRACERS.register("envoy.tracers.opentelemetry", "envoy.config.trace.v3.OpenTelemetryConfig")
def create(config: View, context: FactoryContext) -> Tracer:
    """Raises ConfigError."""
    grpc, http = config.message("grpc_service"), config.message("http_service")
    if grpc is not None and http is not None:
        raise config.error(
            "OpenTelemetry Tracer cannot have both gRPC and HTTP exporters configured. OpenTelemetry tracer will be "
            "disabled."
        )
    limit = config.integer("max_cache_size", _MAX_CACHE)
    tracer = OtelTracer(context, config.text("service_name") or "unknown_service:envoy", limit)
    if http is not None:
        tracer.exporter = OtlpHttpExporter(context, http)
    elif grpc is not None:
        from outrider.grpc.factory import grpc_client

        tracer.exporter = OtlpGrpcExporter(grpc_client(grpc, context))
    resource: dict[str, str] = {}
    if config.flag("set_telemetry_sdk_resource_attributes", True):
        resource["telemetry.sdk.language"] = "cpp"
        resource["telemetry.sdk.name"] = "envoy"
        resource["telemetry.sdk.version"] = outrider.__version__
    if config.flag("set_service_name_resource_attribute", True):
        resource["service.name"] = tracer.service
    for detector in config.messages("resource_detectors"):
        _detect(detector, resource)
    tracer.resource = resource
    tracer.scope_named = config.flag("set_instrumentation_scope", True)
    return tracer
