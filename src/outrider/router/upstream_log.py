"""Entries of the router's `upstream_log`: one per attempt, with the attempt's own stream info.

Source: Envoy documentation, router filter (`upstream_log`, `upstream_log_options`), "Access log types".
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from outrider.access_log.context import FormatContext
from outrider.data.stream_info import StreamInfo

if TYPE_CHECKING:
    from outrider.router.filter import RouterFilter
    from outrider.router.upstream_request import UpstreamRequest


def attempt_info(router: RouterFilter, request: UpstreamRequest, now_ns: int) -> StreamInfo:
    """The attempt as a stream: its bytes, status and flags, on the downstream stream's connection and route."""
    downstream = router.manager.stream_info
    start = request.start_ns
    info = StreamInfo(
        downstream.connection,
        downstream.start_time_ns + (start - downstream.start_mono_ns),
        start,
        request.info.protocol,
    )
    info.response_code = request.status
    info.response_flags = request.flags
    # Seen from the attempt, the request is sent and the response received.
    info.bytes_sent = request.bytes_sent
    info.bytes_received = request.bytes_received
    info.upstream = request.info
    info.route = downstream.route
    info.route_name = downstream.route_name
    info.virtual_host_name = downstream.virtual_host_name
    info.cluster_name = downstream.cluster_name
    info.cluster = downstream.cluster
    info.health_check = downstream.health_check
    info.filter_state = downstream.filter_state
    info.metadata = downstream.metadata
    info.end_ns = now_ns
    return info


def write(router: RouterFilter, request: UpstreamRequest, log_type: str) -> None:
    """Tell every logger of the state of an attempt."""
    request.take_bytes()
    info = attempt_info(router, request, monotonic_ns())
    context = FormatContext(info, router.headers, request.response_headers, request.response_trailers, b"", log_type)
    for log in router.config.upstream_logs:
        log.log(context)
