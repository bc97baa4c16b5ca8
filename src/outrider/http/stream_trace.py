"""Tracing of one HTTP stream: its span from the first header to the last byte.

Source: Envoy documentation, "Tracing"; `ConnectionManagerImpl::ActiveStream::traceRequest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.context import FormatContext
from outrider.access_log.filters import request_id_number
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import X_ENVOY_DECORATOR_OPERATION, X_REQUEST_ID
from outrider.data.stream_info import StreamInfo, UpstreamInfo
from outrider.http.request_id import with_trace_reason
from outrider.tracing.config import (
    CLIENT_FORCED,
    NOT_TRACEABLE,
    SERVICE_FORCED,
    RouteTracing,
    TracingConfig,
)
from outrider.tracing.span import Span
from outrider.tracing.tags import finish_downstream, finish_upstream

if TYPE_CHECKING:
    from outrider.http.conn_manager_stats import TracingStats
    from outrider.http.route import HttpRoute


class StreamTrace:
    """The span of a request, and what is to be said of its upstream requests."""

    __slots__ = ("config", "span", "route", "_decorated")

    def __init__(self, config: TracingConfig, span: Span, route: RouteTracing | None) -> None:
        self.config = config
        self.span = span
        self.route: RouteTracing | None = route
        # The decorator's operation, as long as it is to be told to others.
        self._decorated: bytes = b""

    def on_response_headers(self, headers: ResponseHeaderMap) -> None:
        """`x-envoy-decorator-operation`: said to who called us; heard from whom we called."""
        if not self.config.egress:
            if self._decorated:
                headers.set(X_ENVOY_DECORATOR_OPERATION, self._decorated)
            return
        operation = headers.get(X_ENVOY_DECORATOR_OPERATION)
        if operation is not None:
            if operation:
                self.span.set_operation(operation.decode("utf-8", "replace"))
            headers.remove(X_ENVOY_DECORATOR_OPERATION)

    def upstream_span(
        self, headers: RequestHeaderMap, info: StreamInfo, cluster: str, start_mono_ns: int, own: bool
    ) -> Span | None:
        """Tell `headers`, on their way upstream, of the trace. Gives the span of the upstream request, when it has one
        (`own`: the router is to make one)."""
        config = self.config
        child: Span | None = None
        if own or config.spawn_upstream_span:
            context = FormatContext(info, headers)
            name = config.upstream_operation_name(context, self.route) or f"router {cluster} egress"
            child = self.span.child(name, info.start_time_ns + start_mono_ns - info.start_mono_ns)
        if not config.no_context_propagation:
            (self.span if child is None else child).inject(headers)
        return child

    def finish_upstream(
        self, span: Span, context: FormatContext, upstream: UpstreamInfo, status: int, end_ns: int
    ) -> None:
        finish_upstream(span, context, self.config, self.route, upstream, status, end_ns)

    def finish(self, context: FormatContext) -> None:
        finish_downstream(self.span, context, self.config, self.route)


def start_trace(
    config: TracingConfig, stats: TracingStats, headers: RequestHeaderMap, info: StreamInfo, route: HttpRoute | None
) -> StreamTrace:
    """Decide whether the request is traced, and begin its span (which also tells others that it is not)."""
    own = None if route is None else route.tracing_settings()
    request_id = headers.get(X_REQUEST_ID)
    number = -1 if request_id is None else request_id_number(request_id)
    reason = config.decide(headers, info, own, number)
    if config.use_request_id and request_id is not None and reason != info.trace_reason:
        headers.set(X_REQUEST_ID, with_trace_reason(request_id, reason))
    info.trace_reason = reason
    traced = reason != NOT_TRACEABLE and not info.health_check
    if info.health_check:
        stats.health_check.inc()
    elif reason == NOT_TRACEABLE:
        stats.not_traceable.inc()
    elif reason == CLIENT_FORCED:
        stats.client_enabled.inc()
    elif reason == SERVICE_FORCED:
        stats.service_forced.inc()
    else:
        stats.random_sampling.inc()
    host = headers.authority.decode("utf-8", "replace")
    operation = f"egress {host}" if config.egress else "ingress"
    span = config.tracer.start_span(
        headers, host, operation, info.start_time_ns, traced, config.egress, config.spawn_upstream_span
    )
    span.set_tag("node_id", config.node_id)
    span.set_tag("zone", config.zone)
    info.trace_id = span.trace_id()
    info.span_id = span.span_id()
    trace = StreamTrace(config, span, own)
    name = config.operation_name(FormatContext(info, headers), own)
    if name:
        span.set_operation(name)
    _decorate(trace, headers, route)
    return trace


def _decorate(trace: StreamTrace, headers: RequestHeaderMap, route: HttpRoute | None) -> None:
    operation = b"" if route is None else route.decorator_operation()
    if operation:
        trace.span.set_operation(operation.decode("utf-8", "replace"))
    propagated = operation if route is not None and route.decorator_propagates() else b""
    if trace.config.egress:
        if propagated:
            headers.set(X_ENVOY_DECORATOR_OPERATION, propagated)
        return
    trace._decorated = propagated
    given = headers.get(X_ENVOY_DECORATOR_OPERATION)
    if given is not None:
        if given:
            trace.span.set_operation(given.decode("utf-8", "replace"))
            trace._decorated = b""
        headers.remove(X_ENVOY_DECORATOR_OPERATION)
