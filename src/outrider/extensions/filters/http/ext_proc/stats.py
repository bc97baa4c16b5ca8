"""Counters: `ext_proc.[<stat_prefix>.]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.stats.store import Scope


class ExtProcStats:
    __slots__ = (
        "clear_route_cache_disabled", "clear_route_cache_ignored", "clear_route_cache_upstream_ignored",
        "failure_mode_allowed", "http_not_ok_resp_received", "immediate_responses_sent", "message_timeouts",
        "override_message_timeout_ignored", "override_message_timeout_received", "rejected_header_mutations",
        "server_half_closed", "spurious_msgs_received", "stream_msgs_received", "stream_msgs_sent", "streams_closed",
        "streams_failed", "streams_started",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.clear_route_cache_disabled = scope.counter("clear_route_cache_disabled")
        self.clear_route_cache_ignored = scope.counter("clear_route_cache_ignored")
        self.clear_route_cache_upstream_ignored = scope.counter("clear_route_cache_upstream_ignored")
        self.failure_mode_allowed = scope.counter("failure_mode_allowed")
        self.http_not_ok_resp_received = scope.counter("http_not_ok_resp_received")
        self.immediate_responses_sent = scope.counter("immediate_responses_sent")
        self.message_timeouts = scope.counter("message_timeouts")
        self.override_message_timeout_ignored = scope.counter("override_message_timeout_ignored")
        self.override_message_timeout_received = scope.counter("override_message_timeout_received")
        self.rejected_header_mutations = scope.counter("rejected_header_mutations")
        self.server_half_closed = scope.counter("server_half_closed")
        self.spurious_msgs_received = scope.counter("spurious_msgs_received")
        self.stream_msgs_received = scope.counter("stream_msgs_received")
        self.stream_msgs_sent = scope.counter("stream_msgs_sent")
        self.streams_closed = scope.counter("streams_closed")
        self.streams_failed = scope.counter("streams_failed")
        self.streams_started = scope.counter("streams_started")
