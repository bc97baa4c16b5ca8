"""The tags that every span gets, as Envoy's `HttpTracerUtility` sets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.context import FormatContext
from outrider.data import response_flag
from outrider.data.grpc_status import is_grpc_content_type
from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import CONTENT_TYPE, GRPC_STATUS, USER_AGENT, X_ENVOY_ORIGINAL_PATH, X_REQUEST_ID
from outrider.data.stream_info import PROTOCOL_TEXT, StreamInfo, UpstreamInfo
from outrider.tracing.config import X_CLIENT_TRACE_ID, RouteTracing, TracingConfig
from outrider.tracing.span import Span

if TYPE_CHECKING:
    from outrider.tracing.custom_tags import CustomTag

_DOWNSTREAM_CLUSTER = b"x-envoy-downstream-service-cluster"


def finish_downstream(span: Span, context: FormatContext, config: TracingConfig, route: RouteTracing | None) -> None:
    """Tell the span of a request all that is known, and finish it."""
    info = context.stream_info
    headers = context.request_headers
    if headers is not None:
        _request_tags(span, headers, info, config.max_path_tag_length)
    span.set_tag("request_size", str(info.bytes_received))
    span.set_tag("response_size", str(info.bytes_sent))
    _common_tags(span, context, config, route, info.upstream, info.response_code)
    end_ns = info.start_time_ns + (info.end_ns - info.start_mono_ns if info.end_ns else 0)
    span.finish(end_ns)


def finish_upstream(
    span: Span, context: FormatContext, config: TracingConfig, route: RouteTracing | None, upstream: UpstreamInfo,
    status: int, end_ns: int,
) -> None:  # fmt: skip
    """Tell the span of an upstream request all that is known, and finish it."""
    info = context.stream_info
    if upstream.protocol >= 0:
        span.set_tag("http.protocol", PROTOCOL_TEXT[upstream.protocol])
    if upstream.host_address is not None:
        span.set_tag("upstream_address", upstream.host_address.text)
        span.set_tag("peer.address", upstream.host_address.text)
    _common_tags(span, context, config, route, upstream, status)
    span.finish(info.start_time_ns + end_ns - info.start_mono_ns)


def _request_tags(span: Span, headers: RequestHeaderMap, info: StreamInfo, max_path: int) -> None:
    request_id = headers.get(X_REQUEST_ID)
    if request_id:
        span.set_tag("guid:x-request-id", _text(request_id))
    path = headers.get(X_ENVOY_ORIGINAL_PATH) or headers.path
    span.set_tag("http.url", _text(headers.scheme + b"://" + headers.authority + path[:max_path]))
    span.set_tag("http.method", _text(headers.method))
    span.set_tag("downstream_cluster", _text(headers.get(_DOWNSTREAM_CLUSTER) or b"-"))
    span.set_tag("user_agent", _text(headers.get(USER_AGENT) or b"-"))
    span.set_tag("http.protocol", PROTOCOL_TEXT[info.protocol] if info.protocol >= 0 else "-")
    peer = info.connection.direct_remote_address
    span.set_tag("peer.address", peer.host or peer.text)
    client_id = headers.get(X_CLIENT_TRACE_ID)
    if client_id:
        span.set_tag("guid:x-client-trace-id", _text(client_id))
    if is_grpc_content_type(headers.get(CONTENT_TYPE) or b""):
        span.set_tag("grpc.path", _text(headers.path))
        span.set_tag("grpc.authority", _text(headers.authority))
        span.set_tag("grpc.content_type", _text(headers.get(CONTENT_TYPE) or b""))
        timeout = headers.get(b"grpc-timeout")
        if timeout:
            span.set_tag("grpc.timeout", _text(timeout))


def _common_tags(
    span: Span, context: FormatContext, config: TracingConfig, route: RouteTracing | None,
    upstream: UpstreamInfo | None, status: int,
) -> None:  # fmt: skip
    info = context.stream_info
    span.set_tag("component", "proxy")
    if info.cluster is not None:
        span.set_tag("upstream_cluster", str(getattr(info.cluster, "name", "")))
        span.set_tag("upstream_cluster.name", str(getattr(info.cluster, "observability_name", "") or ""))
    span.set_tag("http.status_code", str(status))
    span.set_tag("response_flags", response_flag.short_text(info.response_flags) or "-")
    if config.verbose:
        _events(span, info, upstream)
    failed = status == 0 or status >= 500
    grpc = _grpc_status(context)
    if grpc:
        span.set_tag("grpc.status_code", grpc)
        # CANCELLED and UNKNOWN are, and what the server is to blame for.
        failed = failed or grpc in ("1", "2", "4", "12", "13", "14", "15")
    if failed:
        span.set_tag("error", "true")
    for tag in config.custom_tags:
        _custom(span, tag, context)
    if route is not None:
        for tag in route.custom_tags:
            _custom(span, tag, context)


def _custom(span: Span, tag: CustomTag, context: FormatContext) -> None:
    value = tag.value(context)
    if value is not None:
        span.set_tag(tag.name, value)


def _grpc_status(context: FormatContext) -> str:
    headers = context.response_headers
    if headers is None or not is_grpc_content_type(headers.get(CONTENT_TYPE) or b""):
        return ""
    fields: HeaderMap | None = context.response_trailers
    value = None if fields is None else fields.get(GRPC_STATUS)
    return _text(value or headers.get(GRPC_STATUS) or b"")


def _events(span: Span, info: StreamInfo, upstream: UpstreamInfo | None) -> None:
    _event(span, info, info.last_downstream_rx_ns, "last_downstream_rx_byte_received")
    if upstream is not None:
        _event(span, info, upstream.first_upstream_tx_ns, "first_upstream_tx_byte_sent")
        _event(span, info, upstream.last_upstream_tx_ns, "last_upstream_tx_byte_sent")
        _event(span, info, upstream.first_upstream_rx_ns, "first_upstream_rx_byte_received")
        _event(span, info, upstream.last_upstream_rx_ns, "last_upstream_rx_byte_received")
    _event(span, info, info.first_downstream_tx_ns, "first_downstream_tx_byte_sent")
    _event(span, info, info.last_downstream_tx_ns, "last_downstream_tx_byte_sent")


def _event(span: Span, info: StreamInfo, mono_ns: int, name: str) -> None:
    if mono_ns:
        span.log(info.start_time_ns + mono_ns - info.start_mono_ns, name)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
