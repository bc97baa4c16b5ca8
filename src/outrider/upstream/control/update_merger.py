"""`update_merge_window`: changes of health that follow one another closely reach the workers as one.

Changes of membership go out at once and take with them what was waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.stats.metrics import Counter
from outrider.stats.store import Scope
from outrider.upstream.control.control_host import ControlHost

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from outrider.event.dispatcher import Dispatcher
    from outrider.upstream.control.cluster_control import ClusterControl


class MergeStats:
    """`cluster_manager.*` counters of updates; shared by all clusters."""

    __slots__ = ("cluster_updated", "cluster_updated_via_merge", "update_merge_cancelled", "update_out_of_merge_window")

    def __init__(self, scope: Scope) -> None:
        self.cluster_updated: Counter = scope.counter("cluster_updated")
        self.cluster_updated_via_merge: Counter = scope.counter("cluster_updated_via_merge")
        self.update_merge_cancelled: Counter = scope.counter("update_merge_cancelled")
        self.update_out_of_merge_window: Counter = scope.counter("update_out_of_merge_window")


class UpdateMerger:
    """Of one cluster. A window of 0 merges nothing."""

    def __init__(self, control: ClusterControl, dispatcher: Dispatcher, window_ms: int, stats: MergeStats) -> None:
        self.control = control
        self.dispatcher = dispatcher
        self.window_ms = window_ms
        self.stats = stats
        # Of the last update; far in the past before the first.
        self._last_ms: int = -(1 << 60)
        self._waiting: dict[str, ControlHost] = {}
        self._timer: TimerHandle | None = None

    def on_health_changed(self, host: ControlHost) -> None:
        if not self.control.initialized:
            # Warming up: workers do not use the cluster yet, and Envoy counts nothing.
            self.control.publish_health([host])
            return
        now = self.dispatcher.clock.now_ms()
        if self.window_ms <= 0 or now - self._last_ms > self.window_ms:
            if self.window_ms > 0:
                self.stats.update_out_of_merge_window.inc()
            hosts = self._take_waiting()
            hosts[host.key] = host
            self._last_ms = now
            self.stats.cluster_updated.inc()
            self.control.publish_health(list(hosts.values()))
            return
        self._waiting[host.key] = host
        if self._timer is None:
            self._timer = self.dispatcher.call_later(self.window_ms / 1000, self._on_window_over)

    def on_membership(self) -> None:
        """All hosts are about to be published: what was waiting is part of that."""
        self._take_waiting()
        if self.control.initialized:
            self.stats.cluster_updated.inc()
            self._last_ms = self.dispatcher.clock.now_ms()

    def stop(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take_waiting(self) -> dict[str, ControlHost]:
        waiting = self._waiting
        self._waiting = {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.stats.update_merge_cancelled.inc()
        return waiting

    def _on_window_over(self) -> None:
        self._timer = None
        waiting = self._waiting
        self._waiting = {}
        self._last_ms = self.dispatcher.clock.now_ms()
        self.stats.cluster_updated_via_merge.inc()
        self.control.publish_health([host for host in waiting.values() if host.key in self.control.hosts])
