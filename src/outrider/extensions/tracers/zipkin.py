"""envoy.tracers.zipkin: B3 propagation (and W3C where asked); spans go to a collector as JSON or protobuf.

Source: Envoy documentation, "Zipkin tracer"; openzipkin/b3-propagation; the Zipkin v2 API.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from outrider.config import api
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.tracers.buffer import SpanBuffer
from outrider.extensions.tracers.ids import new_id
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient
from outrider.router.shadow import local_address
from outrider.tracing.registry import TRACERS
from outrider.tracing.span import Span, Tracer

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_TRACE_ID: Final = b"x-b3-traceid"
_SPAN_ID: Final = b"x-b3-spanid"
_PARENT_ID: Final = b"x-b3-parentspanid"
_SAMPLED: Final = b"x-b3-sampled"
_FLAGS: Final = b"x-b3-flags"
_SINGLE: Final = b"b3"
_ID: Final = re.compile(rb"[0-9a-fA-F]{16}")
_LONG_ID: Final = re.compile(rb"[0-9a-fA-F]{16}([0-9a-fA-F]{16})?")
_W3C: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST_TIMEOUT_MS: Final = 5000
_MAX_WAITING: Final = 1024
_CLIENT: Final = "CLIENT"
_SERVER: Final = "SERVER"


class ZipkinSpan(Span):
    def __init__(self, tracer: ZipkinTracer, name: str, start_ns: int, kind: str, sampled: bool) -> None:
        self.tracer = tracer
        self.name = name
        self.start_ns = start_ns
        self.end_ns = 0
        self.kind = kind
        self.sampled = sampled
        self.trace = ""
        self.id = ""
        self.parent = ""
        # The context came in the one header `b3` and goes on in it.
        self.single = False
        # The caller's span is ours, too.
        self.shared = False
        self.tags: dict[str, str] = {}
        self.annotations: list[tuple[int, str]] = []

    def set_operation(self, operation: str) -> None:
        self.name = operation

    def set_tag(self, name: str, value: str) -> None:
        if value:
            self.tags[name] = value

    def log(self, time_ns: int, event: str) -> None:
        self.annotations.append((time_ns, event))

    def inject(self, headers: HeaderMap) -> None:
        if self.single:
            parent = f"-{self.parent}" if self.parent else ""
            headers.set(_SINGLE, f"{self.trace}-{self.id}-{'1' if self.sampled else '0'}{parent}".encode())
            return
        headers.set(_TRACE_ID, self.trace.encode())
        headers.set(_SPAN_ID, self.id.encode())
        if self.parent:
            headers.set(_PARENT_ID, self.parent.encode())
        headers.set(_SAMPLED, b"1" if self.sampled else b"0")
        if self.tracer.w3c:
            trace = self.trace.rjust(32, "0")
            headers.set(b"traceparent", f"00-{trace}-{self.id}-{'01' if self.sampled else '00'}".encode())

    def child(self, operation: str, start_ns: int) -> Span:
        child = ZipkinSpan(self.tracer, operation, start_ns, _CLIENT, self.sampled)
        child.trace = self.trace
        child.parent = self.id
        child.id = new_id(64)
        child.single = self.single
        return child

    def finish(self, end_ns: int) -> None:
        self.end_ns = end_ns
        self.annotations.append((end_ns, "cr" if self.kind == _CLIENT else "ss"))
        if self.sampled:
            self.tracer.buffer.add(self)

    def trace_id(self) -> str:
        return self.trace

    def span_id(self) -> str:
        return self.id

    def json(self) -> dict[str, object]:
        """As the v2 API has it; times in microseconds."""
        found: dict[str, object] = {
            "traceId": self.trace,
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "timestamp": self.start_ns // 1000,
            "duration": max((self.end_ns - self.start_ns) // 1000, 0),
            "localEndpoint": {"serviceName": self.tracer.service, "ipv4": local_address().decode(), "port": 0},
            "annotations": [{"timestamp": time_ns // 1000, "value": event} for time_ns, event in self.annotations],
            "tags": self.tags,
        }
        if self.parent:
            found["parentId"] = self.parent
        if self.shared:
            found["shared"] = True
        return found

    def fill(self, message: Any) -> None:
        """Into a `zipkin.proto3.Span`."""
        message.trace_id = bytes.fromhex(self.trace)
        message.id = bytes.fromhex(self.id)
        if self.parent:
            message.parent_id = bytes.fromhex(self.parent)
        message.name = self.name
        message.kind = 1 if self.kind == _CLIENT else 2
        message.timestamp = self.start_ns // 1000
        message.duration = max((self.end_ns - self.start_ns) // 1000, 0)
        message.local_endpoint.service_name = self.tracer.service
        for name, value in self.tags.items():
            message.tags[name] = value
        for time_ns, event in self.annotations:
            entry = message.annotations.add()
            entry.timestamp = time_ns // 1000
            entry.value = event
        message.shared = self.shared


class ZipkinTracer(Tracer):
    def __init__(self, context: FactoryContext) -> None:
        self.service = context.server.node_cluster
        self.long_ids = False
        self.shared = True
        self.split = False
        self.w3c = False
        scope = context.root_scope.scope("tracing.zipkin")
        self.buffer = SpanBuffer(context, "zipkin", scope, _MAX_WAITING, self.export)
        self.collector: Collector | None = None

    def start_span(
        self, headers: HeaderMap, host: str, operation: str, start_ns: int, traced: bool, egress: bool, spawn: bool
    ) -> Span:
        separate = spawn or self.split
        kind = _CLIENT if egress and not separate else _SERVER
        trace, above, parent, sampled = self._context(headers)
        span = ZipkinSpan(self, host, start_ns, kind, traced if sampled is None else sampled)
        span.shared = kind == _SERVER and self.shared
        if not trace:
            span.id = new_id(64)
            span.trace = new_id(64) + span.id if self.long_ids else span.id
            return span
        span.trace = trace
        span.single = headers.get(_SINGLE) is not None
        if kind == _SERVER and self.shared and above:
            span.id, span.parent = above, parent
        else:
            span.id, span.parent = new_id(64), above
        return span

    def _context(self, headers: HeaderMap) -> tuple[str, str, str, bool | None]:
        """Trace, span and its parent as the caller tells them; whether it samples (None: it does not say)."""
        sampled: bool | None = None
        given = headers.get(_SAMPLED)
        if headers.get(_FLAGS) == b"1":
            sampled = True
        elif given is not None:
            sampled = given.lower() in (b"1", b"true")
        single = headers.get(_SINGLE)
        trace, span, parent = headers.get(_TRACE_ID), headers.get(_SPAN_ID), headers.get(_PARENT_ID) or b""
        if single is not None:
            parts = single.split(b"-")
            if len(parts) == 1:
                return "", "", "", parts[0] in (b"1", b"d")
            trace, span = parts[0], parts[1]
            if len(parts) > 2:
                sampled = parts[2] in (b"1", b"d")
            parent = parts[3] if len(parts) > 3 else b""
        if trace is None or span is None or not _LONG_ID.fullmatch(trace) or not _ID.fullmatch(span):
            if self.w3c:
                return self._w3c_context(headers, sampled)
            return "", "", "", sampled
        return trace.decode().lower(), span.decode().lower(), parent.decode("latin-1").lower(), sampled

    def _w3c_context(self, headers: HeaderMap, sampled: bool | None) -> tuple[str, str, str, bool | None]:
        found = _W3C.fullmatch(headers.get(b"traceparent") or b"")
        if found is None:
            return "", "", "", sampled
        return found.group(1).decode(), found.group(2).decode(), "", bool(int(found.group(3), 16) & 1)

    def export(self, spans: list[ZipkinSpan]) -> None:
        if self.collector is not None:
            self.collector.send(spans)


class Collector(AsyncCallbacks):
    """POSTs spans."""

    def __init__(self, context: FactoryContext, cluster: str, path: str, host: str, as_json: bool) -> None:
        self.cluster = cluster
        self.path = path.encode()
        self.host = host.encode()
        self.as_json = as_json
        self.runtime = context.runtime
        self.client = AsyncClient(context)
        scope = context.root_scope.scope("tracing.zipkin")
        self.reports_sent = scope.counter("reports_sent")
        self.reports_dropped = scope.counter("reports_dropped")
        self.reports_failed = scope.counter("reports_failed")
        self.reports_skipped_no_cluster = scope.counter("reports_skipped_no_cluster")
        self.headers: list[tuple[bytes, bytes]] = []

    def send(self, spans: list[ZipkinSpan]) -> None:
        if self.client.clusters.get(self.cluster) is None:
            self.reports_skipped_no_cluster.inc()
            return
        headers = RequestHeaderMap(method=b"POST", path=self.path, authority=self.host, scheme=b"http")
        if self.as_json:
            headers.set(b"content-type", b"application/json")
            body = orjson.dumps([span.json() for span in spans])
        else:
            headers.set(b"content-type", b"application/x-protobuf")
            listed: Any = api.new("zipkin.proto3.ListOfSpans")
            for span in spans:
                span.fill(listed.spans.add())
            body = listed.SerializeToString()
        for name, value in self.headers:
            headers.set(name, value)
        timeout = self.runtime.get_integer("tracing.zipkin.request_timeout", _REQUEST_TIMEOUT_MS)
        AsyncCall(self.client, self.cluster, headers, body, timeout, self).start()

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        # Envoy takes only 202 for success.
        if headers.status == 202:
            self.reports_sent.inc()
        else:
            self.reports_dropped.inc()

    def on_failure(self, reason: str) -> None:
        self.reports_failed.inc()


@TRACERS.register("envoy.tracers.zipkin", "envoy.config.trace.v3.ZipkinConfig", "envoy.zipkin")
def create(config: View, context: FactoryContext) -> Tracer:
    """Raises ConfigError."""
    tracer = ZipkinTracer(context)
    tracer.long_ids = config.flag("trace_id_128bit")
    tracer.shared = config.flag("shared_span_context", True)
    tracer.split = config.flag("split_spans_for_request")
    tracer.w3c = config.enum("trace_context_option") == "USE_B3_WITH_W3C_PROPAGATION"
    version = config.enum("collector_endpoint_version")
    if version not in ("HTTP_JSON", "HTTP_PROTO", "DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE"):
        raise config.error(f"{version} is not supported by this version of outrider", "collector_endpoint_version")
    service = config.message("collector_service")
    extra: list[tuple[bytes, bytes]] = []
    if service is not None:
        uri = service.message("http_uri")
        if uri is None:
            raise service.error("value is required", "http_uri")
        cluster = uri.text("cluster")
        uri.accept("timeout")
        authority, slash, path = uri.text("uri").partition("://")[2].partition("/")
        host, path = authority or cluster, slash + path or "/"
        for option in service.messages("request_headers_to_add"):
            header = option.message("header")
            if header is not None:
                extra.append((header.text("key").lower().encode(), header.text("value").encode()))
    else:
        cluster = config.text("collector_cluster")
        path = config.text("collector_endpoint")
        host = config.text("collector_hostname") or cluster
        if not cluster or not path:
            raise config.error(
                "collector_cluster and collector_endpoint must be specified when not using collector_service"
            )
    if not context.cluster_manager.has(cluster):
        raise config.error(f"Unknown cluster: '{cluster}'", "collector_cluster")
    tracer.collector = Collector(context, cluster, path, host, version != "HTTP_PROTO")
    tracer.collector.headers = extra
    return tracer
