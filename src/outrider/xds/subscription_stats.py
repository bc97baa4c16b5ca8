"""Stats of a subscription and of a control plane, under Envoy's names ("xDS subscription statistics")."""

from __future__ import annotations

import time

import xxhash

from outrider.stats.metrics import UNIT_MILLISECONDS
from outrider.stats.store import Scope


class SubscriptionStats:
    """Of one subscription, or of all that share a scope."""

    __slots__ = (
        "init_fetch_timeout",
        "update_attempt",
        "update_duration",
        "update_failure",
        "update_rejected",
        "update_success",
        "update_time",
        "version",
        "version_text",
    )

    def __init__(self, scope: Scope) -> None:
        self.init_fetch_timeout = scope.counter("init_fetch_timeout")
        self.update_attempt = scope.counter("update_attempt")
        self.update_failure = scope.counter("update_failure")
        self.update_rejected = scope.counter("update_rejected")
        self.update_success = scope.counter("update_success")
        self.update_time = scope.gauge("update_time", False)
        self.version = scope.gauge("version", False)
        self.version_text = scope.text_readout("version_text")
        self.update_duration = scope.histogram("update_duration", UNIT_MILLISECONDS)

    def accepted(self, version: str, took_ms: float) -> None:
        """An update is in force."""
        self.update_success.inc()
        self.applied(version)
        self.update_duration.record(int(took_ms))

    def applied(self, version: str) -> None:
        """Of this version is what is in force since now."""
        self.update_time.set(time.time_ns() // 1_000_000)
        self.version.set(xxhash.xxh64_intdigest(version.encode()))
        self.version_text.set(version)


class ControlPlaneStats:
    """`control_plane.*`: the state of one stream."""

    __slots__ = ("connected_state", "identifier", "pending_requests", "rate_limit_enforced")

    def __init__(self, scope: Scope) -> None:
        within = scope.scope("control_plane.")
        self.rate_limit_enforced = within.counter("rate_limit_enforced")
        self.connected_state = within.gauge("connected_state", False)
        self.pending_requests = within.gauge("pending_requests", True)
        self.identifier = within.text_readout("identifier")

    def waiting(self, count: int) -> None:
        """So many requests wait for the rate limit. Left alone until there ever was one."""
        if count > 0 or self.pending_requests.ever_used():
            self.pending_requests.set(count)
