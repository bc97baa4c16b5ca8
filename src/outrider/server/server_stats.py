"""`server.*`, `main_thread.*`, `workers.*`. Source: Envoy documentation, "Server" statistics."""

from __future__ import annotations

from typing import Final

from outrider.stats.metrics import UNIT_MILLISECONDS, Counter, Gauge, Histogram
from outrider.stats.store import Scope

# `ServerInfo.State`
LIVE: Final = 0
DRAINING: Final = 1
PRE_INITIALIZING: Final = 2
INITIALIZING: Final = 3
STATE_NAMES: Final = ("LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING")

NO_CERTIFICATE: Final = 4294967295


class WatchdogStats:
    """The misses of one loop, in both places where Envoy shows them, and in the total of its kind."""

    __slots__ = ("miss", "megamiss")

    def __init__(self, scopes: list[Scope]) -> None:
        self.miss: list[Counter] = [scope.counter("watchdog_miss") for scope in scopes]
        self.megamiss: list[Counter] = [scope.counter("watchdog_mega_miss") for scope in scopes]


class ServerStats:
    """Kept by main."""

    def __init__(self, root: Scope, workers: int) -> None:
        scope = root.scope("server")
        self.live: Gauge = scope.gauge("live", accumulate=False)
        self.state: Gauge = scope.gauge("state", accumulate=False)
        self.concurrency: Gauge = scope.gauge("concurrency", accumulate=False)
        self.uptime: Gauge = scope.gauge("uptime", accumulate=False)
        self.version: Gauge = scope.gauge("version", accumulate=False)
        self.total_connections: Gauge = scope.gauge("total_connections", accumulate=False)
        self.parent_connections: Gauge = scope.gauge("parent_connections", accumulate=False)
        self.memory_allocated: Gauge = scope.gauge("memory_allocated", accumulate=False)
        self.memory_heap_size: Gauge = scope.gauge("memory_heap_size", accumulate=False)
        self.memory_physical_size: Gauge = scope.gauge("memory_physical_size", accumulate=False)
        self.days_until_first_cert_expiring: Gauge = scope.gauge("days_until_first_cert_expiring", accumulate=False)
        self.seconds_until_first_ocsp: Gauge = scope.gauge("seconds_until_first_ocsp_response_expiring", False)
        self.hot_restart_epoch: Gauge = scope.gauge("hot_restart_epoch", accumulate=False)
        self.hot_restart_generation: Gauge = scope.gauge("hot_restart_generation", accumulate=False)
        self.stats_recent_lookups: Gauge = scope.gauge("stats_recent_lookups", accumulate=False)
        self.fips_mode: Gauge = scope.gauge("compilation_settings.fips_mode", accumulate=False)
        self.debug_assertion_failures: Counter = scope.counter("debug_assertion_failures")
        self.envoy_bug_failures: Counter = scope.counter("envoy_bug_failures")
        self.envoy_notifications: Counter = scope.counter("envoy_notifications")
        self.dynamic_unknown_fields: Counter = scope.counter("dynamic_unknown_fields")
        self.static_unknown_fields: Counter = scope.counter("static_unknown_fields")
        self.wip_protos: Counter = scope.counter("wip_protos")
        self.dropped_stat_flushes: Counter = scope.counter("dropped_stat_flushes")
        self.initialization_time_ms: Histogram = scope.histogram("initialization_time_ms", UNIT_MILLISECONDS)
        root.counter("envoy.overload_actions.reset_high_memory_stream.count")
        root.histogram("overload.refresh_interval_delay", UNIT_MILLISECONDS)
        clusters = root.scope("thread_local_cluster_manager")
        # Clusters are built when they are configured: every process has all of them.
        self.clusters_inflated: list[Gauge] = [clusters.gauge("main_thread.clusters_inflated", accumulate=False)]
        for index in range(max(workers, 1)):
            self.clusters_inflated.append(clusters.gauge(f"worker_{index}.clusters_inflated", accumulate=False))
        self.main_watchdog = WatchdogStats([scope.scope("main_thread"), root.scope("main_thread")])
        total = root.scope("workers")
        self.worker_watchdogs = [
            WatchdogStats([scope.scope(f"worker_{index}"), total]) for index in range(max(workers, 1))
        ]
        self.concurrency.set(max(workers, 1))
        self.state.set(PRE_INITIALIZING)
        self.days_until_first_cert_expiring.set(NO_CERTIFICATE)
        self.hot_restart_generation.set(1)
