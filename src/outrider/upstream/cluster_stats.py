"""Every `cluster.<name>.*` metric of Envoy 1.40, bound as attributes."""

from __future__ import annotations

from typing import Final

from outrider.stats.metrics import UNIT_BYTES, UNIT_MILLISECONDS, UNIT_UNSPECIFIED, Counter, Gauge, Histogram, Metric
from outrider.stats.store import Scope

# Stats of traffic beside `upstream_*`.
_OTHER_TRAFFIC: Final = ("bind_errors", "original_dst_host_invalid", "retry_or_shadow_abandoned")


def traffic_metrics(scope: Scope) -> list[Metric]:
    """Of a cluster's metrics those that only traffic changes (`enable_deferred_creation_stats`)."""
    found: list[Metric] = []
    for metric in scope.held.values():
        name = metric.name[len(scope.prefix) :]
        if name.startswith("upstream_") or name in _OTHER_TRAFFIC:
            found.append(metric)
    return found


class ClusterStats:
    """Traffic, membership, load balancer and update metrics. Gauges of membership belong to the main process."""

    __slots__ = (
        "assignment_stale",
        "assignment_timeout_received",
        "assignment_use_cached",
        "bind_errors",
        "lb_healthy_panic",
        "lb_local_cluster_not_ok",
        "lb_recalculate_zone_structures",
        "lb_subsets_created",
        "lb_subsets_fallback",
        "lb_subsets_fallback_panic",
        "lb_subsets_removed",
        "lb_subsets_selected",
        "lb_zone_cluster_too_small",
        "lb_zone_no_capacity_left",
        "lb_zone_routing_all_directly",
        "lb_zone_routing_cross_zone",
        "lb_zone_routing_sampled",
        "membership_change",
        "original_dst_host_invalid",
        "retry_or_shadow_abandoned",
        "update_attempt",
        "update_empty",
        "update_failure",
        "update_no_rebuild",
        "update_success",
        "upstream_cx_close_notify",
        "upstream_cx_connect_attempts_exceeded",
        "upstream_cx_connect_fail",
        "upstream_cx_connect_timeout",
        "upstream_cx_connect_with_0_rtt",
        "upstream_cx_destroy",
        "upstream_cx_destroy_local",
        "upstream_cx_destroy_local_with_active_rq",
        "upstream_cx_destroy_remote",
        "upstream_cx_destroy_remote_with_active_rq",
        "upstream_cx_destroy_with_active_rq",
        "upstream_cx_http1_total",
        "upstream_cx_http2_total",
        "upstream_cx_http3_total",
        "upstream_cx_idle_timeout",
        "upstream_cx_max_duration_reached",
        "upstream_cx_max_requests",
        "upstream_cx_none_healthy",
        "upstream_cx_overflow",
        "upstream_cx_pool_overflow",
        "upstream_cx_preconnect_skipped",
        "upstream_cx_protocol_error",
        "upstream_cx_rx_bytes_total",
        "upstream_cx_total",
        "upstream_cx_tx_bytes_total",
        "upstream_flow_control_backed_up_total",
        "upstream_flow_control_drained_total",
        "upstream_flow_control_paused_reading_total",
        "upstream_flow_control_resumed_reading_total",
        "upstream_http3_broken",
        "upstream_internal_redirect_failed_total",
        "upstream_internal_redirect_succeeded_total",
        "upstream_queue_overloaded",
        "upstream_rq_0rtt",
        "upstream_rq_active_overflow",
        "upstream_rq_cancelled",
        "upstream_rq_completed",
        "upstream_rq_maintenance_mode",
        "upstream_rq_max_duration_reached",
        "upstream_rq_pending_failure_eject",
        "upstream_rq_pending_overflow",
        "upstream_rq_pending_total",
        "upstream_rq_per_try_idle_timeout",
        "upstream_rq_per_try_timeout",
        "upstream_rq_retry",
        "upstream_rq_retry_backoff_exponential",
        "upstream_rq_retry_backoff_ratelimited",
        "upstream_rq_retry_limit_exceeded",
        "upstream_rq_retry_overflow",
        "upstream_rq_retry_success",
        "upstream_rq_rx_reset",
        "upstream_rq_rx_reset_no_error",
        "upstream_rq_timeout",
        "upstream_rq_total",
        "upstream_rq_tx_reset",
        "upstream_cx_active",
        "upstream_cx_rx_bytes_buffered",
        "upstream_cx_tx_bytes_buffered",
        "upstream_rq_active",
        "upstream_rq_pending_active",
        "lb_subsets_active",
        "max_host_weight",
        "membership_degraded",
        "membership_excluded",
        "membership_healthy",
        "membership_total",
        "version",
        "warming_state",
        "upstream_cx_connect_ms",
        "upstream_cx_length_ms",
        "upstream_rq_per_cx",
    )

    def __init__(self, scope: Scope) -> None:
        self.assignment_stale: Counter = scope.counter("assignment_stale")
        self.assignment_timeout_received: Counter = scope.counter("assignment_timeout_received")
        self.assignment_use_cached: Counter = scope.counter("assignment_use_cached")
        self.bind_errors: Counter = scope.counter("bind_errors")
        self.lb_healthy_panic: Counter = scope.counter("lb_healthy_panic")
        self.lb_local_cluster_not_ok: Counter = scope.counter("lb_local_cluster_not_ok")
        self.lb_recalculate_zone_structures: Counter = scope.counter("lb_recalculate_zone_structures")
        self.lb_subsets_created: Counter = scope.counter("lb_subsets_created")
        self.lb_subsets_fallback: Counter = scope.counter("lb_subsets_fallback")
        self.lb_subsets_fallback_panic: Counter = scope.counter("lb_subsets_fallback_panic")
        self.lb_subsets_removed: Counter = scope.counter("lb_subsets_removed")
        self.lb_subsets_selected: Counter = scope.counter("lb_subsets_selected")
        self.lb_zone_cluster_too_small: Counter = scope.counter("lb_zone_cluster_too_small")
        self.lb_zone_no_capacity_left: Counter = scope.counter("lb_zone_no_capacity_left")
        self.lb_zone_routing_all_directly: Counter = scope.counter("lb_zone_routing_all_directly")
        self.lb_zone_routing_cross_zone: Counter = scope.counter("lb_zone_routing_cross_zone")
        self.lb_zone_routing_sampled: Counter = scope.counter("lb_zone_routing_sampled")
        self.membership_change: Counter = scope.counter("membership_change")
        self.original_dst_host_invalid: Counter = scope.counter("original_dst_host_invalid")
        self.retry_or_shadow_abandoned: Counter = scope.counter("retry_or_shadow_abandoned")
        self.update_attempt: Counter = scope.counter("update_attempt")
        self.update_empty: Counter = scope.counter("update_empty")
        self.update_failure: Counter = scope.counter("update_failure")
        self.update_no_rebuild: Counter = scope.counter("update_no_rebuild")
        self.update_success: Counter = scope.counter("update_success")
        self.upstream_cx_close_notify: Counter = scope.counter("upstream_cx_close_notify")
        self.upstream_cx_connect_attempts_exceeded: Counter = scope.counter("upstream_cx_connect_attempts_exceeded")
        self.upstream_cx_connect_fail: Counter = scope.counter("upstream_cx_connect_fail")
        self.upstream_cx_connect_timeout: Counter = scope.counter("upstream_cx_connect_timeout")
        self.upstream_cx_connect_with_0_rtt: Counter = scope.counter("upstream_cx_connect_with_0_rtt")
        self.upstream_cx_destroy: Counter = scope.counter("upstream_cx_destroy")
        self.upstream_cx_destroy_local: Counter = scope.counter("upstream_cx_destroy_local")
        self.upstream_cx_destroy_local_with_active_rq: Counter = scope.counter(
            "upstream_cx_destroy_local_with_active_rq"
        )
        self.upstream_cx_destroy_remote: Counter = scope.counter("upstream_cx_destroy_remote")
        self.upstream_cx_destroy_remote_with_active_rq: Counter = scope.counter(
            "upstream_cx_destroy_remote_with_active_rq"
        )
        self.upstream_cx_destroy_with_active_rq: Counter = scope.counter("upstream_cx_destroy_with_active_rq")
        self.upstream_cx_http1_total: Counter = scope.counter("upstream_cx_http1_total")
        self.upstream_cx_http2_total: Counter = scope.counter("upstream_cx_http2_total")
        self.upstream_cx_http3_total: Counter = scope.counter("upstream_cx_http3_total")
        self.upstream_cx_idle_timeout: Counter = scope.counter("upstream_cx_idle_timeout")
        self.upstream_cx_max_duration_reached: Counter = scope.counter("upstream_cx_max_duration_reached")
        self.upstream_cx_max_requests: Counter = scope.counter("upstream_cx_max_requests")
        self.upstream_cx_none_healthy: Counter = scope.counter("upstream_cx_none_healthy")
        self.upstream_cx_overflow: Counter = scope.counter("upstream_cx_overflow")
        self.upstream_cx_pool_overflow: Counter = scope.counter("upstream_cx_pool_overflow")
        self.upstream_cx_preconnect_skipped: Counter = scope.counter("upstream_cx_preconnect_skipped")
        self.upstream_cx_protocol_error: Counter = scope.counter("upstream_cx_protocol_error")
        self.upstream_cx_rx_bytes_total: Counter = scope.counter("upstream_cx_rx_bytes_total")
        self.upstream_cx_total: Counter = scope.counter("upstream_cx_total")
        self.upstream_cx_tx_bytes_total: Counter = scope.counter("upstream_cx_tx_bytes_total")
        self.upstream_flow_control_backed_up_total: Counter = scope.counter("upstream_flow_control_backed_up_total")
        self.upstream_flow_control_drained_total: Counter = scope.counter("upstream_flow_control_drained_total")
        self.upstream_flow_control_paused_reading_total: Counter = scope.counter(
            "upstream_flow_control_paused_reading_total"
        )
        self.upstream_flow_control_resumed_reading_total: Counter = scope.counter(
            "upstream_flow_control_resumed_reading_total"
        )
        self.upstream_http3_broken: Counter = scope.counter("upstream_http3_broken")
        self.upstream_internal_redirect_failed_total: Counter = scope.counter("upstream_internal_redirect_failed_total")
        self.upstream_internal_redirect_succeeded_total: Counter = scope.counter(
            "upstream_internal_redirect_succeeded_total"
        )
        self.upstream_queue_overloaded: Counter = scope.counter("upstream_queue_overloaded")
        self.upstream_rq_0rtt: Counter = scope.counter("upstream_rq_0rtt")
        self.upstream_rq_active_overflow: Counter = scope.counter("upstream_rq_active_overflow")
        self.upstream_rq_cancelled: Counter = scope.counter("upstream_rq_cancelled")
        self.upstream_rq_completed: Counter = scope.counter("upstream_rq_completed")
        self.upstream_rq_maintenance_mode: Counter = scope.counter("upstream_rq_maintenance_mode")
        self.upstream_rq_max_duration_reached: Counter = scope.counter("upstream_rq_max_duration_reached")
        self.upstream_rq_pending_failure_eject: Counter = scope.counter("upstream_rq_pending_failure_eject")
        self.upstream_rq_pending_overflow: Counter = scope.counter("upstream_rq_pending_overflow")
        self.upstream_rq_pending_total: Counter = scope.counter("upstream_rq_pending_total")
        self.upstream_rq_per_try_idle_timeout: Counter = scope.counter("upstream_rq_per_try_idle_timeout")
        self.upstream_rq_per_try_timeout: Counter = scope.counter("upstream_rq_per_try_timeout")
        self.upstream_rq_retry: Counter = scope.counter("upstream_rq_retry")
        self.upstream_rq_retry_backoff_exponential: Counter = scope.counter("upstream_rq_retry_backoff_exponential")
        self.upstream_rq_retry_backoff_ratelimited: Counter = scope.counter("upstream_rq_retry_backoff_ratelimited")
        self.upstream_rq_retry_limit_exceeded: Counter = scope.counter("upstream_rq_retry_limit_exceeded")
        self.upstream_rq_retry_overflow: Counter = scope.counter("upstream_rq_retry_overflow")
        self.upstream_rq_retry_success: Counter = scope.counter("upstream_rq_retry_success")
        self.upstream_rq_rx_reset: Counter = scope.counter("upstream_rq_rx_reset")
        self.upstream_rq_rx_reset_no_error: Counter = scope.counter("upstream_rq_rx_reset_no_error")
        self.upstream_rq_timeout: Counter = scope.counter("upstream_rq_timeout")
        self.upstream_rq_total: Counter = scope.counter("upstream_rq_total")
        self.upstream_rq_tx_reset: Counter = scope.counter("upstream_rq_tx_reset")
        self.upstream_cx_active: Gauge = scope.gauge("upstream_cx_active")
        self.upstream_cx_rx_bytes_buffered: Gauge = scope.gauge("upstream_cx_rx_bytes_buffered")
        self.upstream_cx_tx_bytes_buffered: Gauge = scope.gauge("upstream_cx_tx_bytes_buffered")
        self.upstream_rq_active: Gauge = scope.gauge("upstream_rq_active")
        self.upstream_rq_pending_active: Gauge = scope.gauge("upstream_rq_pending_active")
        self.lb_subsets_active: Gauge = scope.gauge("lb_subsets_active")
        self.max_host_weight: Gauge = scope.gauge("max_host_weight", False)
        self.membership_degraded: Gauge = scope.gauge("membership_degraded", False)
        self.membership_excluded: Gauge = scope.gauge("membership_excluded", False)
        self.membership_healthy: Gauge = scope.gauge("membership_healthy", False)
        self.membership_total: Gauge = scope.gauge("membership_total", False)
        self.version: Gauge = scope.gauge("version", False)
        self.warming_state: Gauge = scope.gauge("warming_state", False)
        self.upstream_cx_connect_ms: Histogram = scope.histogram("upstream_cx_connect_ms", UNIT_MILLISECONDS)
        self.upstream_cx_length_ms: Histogram = scope.histogram("upstream_cx_length_ms", UNIT_MILLISECONDS)
        self.upstream_rq_per_cx: Histogram = scope.histogram("upstream_rq_per_cx", UNIT_UNSPECIFIED)
        # Transport socket matches without a match: main counts one per host that it makes.
        scope.counter("default.total_match_count")


class TimeoutBudgetStats:
    """`track_cluster_stats.timeout_budgets`: how much of the timeouts was used, in per cent."""

    __slots__ = ("percent_used", "per_try_percent_used")

    def __init__(self, scope: Scope) -> None:
        self.percent_used: Histogram = scope.histogram("upstream_rq_timeout_budget_percent_used", UNIT_UNSPECIFIED)
        self.per_try_percent_used: Histogram = scope.histogram(
            "upstream_rq_timeout_budget_per_try_percent_used", UNIT_UNSPECIFIED
        )


class RequestResponseSizeStats:
    """`track_cluster_stats.request_response_sizes`."""

    __slots__ = (
        "upstream_rq_headers_size",
        "upstream_rq_headers_count",
        "upstream_rq_body_size",
        "upstream_rs_headers_size",
        "upstream_rs_headers_count",
        "upstream_rs_body_size",
    )

    def __init__(self, scope: Scope) -> None:
        self.upstream_rq_headers_size: Histogram = scope.histogram("upstream_rq_headers_size", UNIT_BYTES)
        self.upstream_rq_headers_count: Histogram = scope.histogram("upstream_rq_headers_count", UNIT_UNSPECIFIED)
        self.upstream_rq_body_size: Histogram = scope.histogram("upstream_rq_body_size", UNIT_BYTES)
        self.upstream_rs_headers_size: Histogram = scope.histogram("upstream_rs_headers_size", UNIT_BYTES)
        self.upstream_rs_headers_count: Histogram = scope.histogram("upstream_rs_headers_count", UNIT_UNSPECIFIED)
        self.upstream_rs_body_size: Histogram = scope.histogram("upstream_rs_body_size", UNIT_BYTES)
