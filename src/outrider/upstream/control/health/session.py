"""The state machine of one host under one checker (Envoy's `ActiveHealthCheckSession`). No I/O: probes do that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.event.timer import TimerOwner
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.host import (
    ACTIVE_HC_TIMEOUT,
    DEGRADED_ACTIVE_HC,
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL,
    FAILED_ACTIVE_HC,
    PENDING_ACTIVE_HC,
)

if TYPE_CHECKING:
    from outrider.upstream.control.health.checker import HealthChecker
    from outrider.upstream.control.health.probe import Probe

# Kinds of failure, with Envoy's names.
ACTIVE: Final = "ACTIVE"
PASSIVE: Final = "PASSIVE"
NETWORK: Final = "NETWORK"
NETWORK_TIMEOUT: Final = "NETWORK_TIMEOUT"

# What a result did to a host's health.
UNCHANGED: Final = 0
CHANGED: Final = 1
CHANGE_PENDING: Final = 2

_TIMER_INTERVAL: Final = 0
_TIMER_TIMEOUT: Final = 1


class HealthSession(TimerOwner):
    """One host. A probe is under way, or the interval timer runs."""

    __slots__ = (
        "checker", "host", "flags", "num_healthy", "num_unhealthy", "first_check", "probe", "interval_timer",
        "timeout_timer", "stopped", "last_status",
    )

    def __init__(self, checker: HealthChecker, host: ControlHost) -> None:
        self.checker = checker
        self.host = host
        # Health as this checker alone sees it (FAILED_ACTIVE_HC, DEGRADED_ACTIVE_HC, ACTIVE_HC_TIMEOUT).
        self.flags: int = host.flags & (FAILED_ACTIVE_HC | DEGRADED_ACTIVE_HC)
        self.num_healthy: int = 0
        self.num_unhealthy: int = 0
        self.first_check: bool = True
        self.interval_timer = checker.dispatcher.timer(self, _TIMER_INTERVAL)
        self.timeout_timer = checker.dispatcher.timer(self, _TIMER_TIMEOUT)
        self.stopped: bool = False
        # Status of the last HTTP response, for the event log.
        self.last_status: int = 0
        self.probe: Probe = checker.make_probe(self)
        if not self.flags & FAILED_ACTIVE_HC:
            checker.stats.healthy.inc()

    # --- time ---

    def start(self) -> None:
        jitter = self.checker.config.initial_jitter_ms
        if jitter > 0:
            self.interval_timer.arm(self.checker.below(jitter))
        else:
            self.check()

    def stop(self) -> None:
        """The host is gone."""
        if self.stopped:
            return
        self.stopped = True
        self.interval_timer.disarm()
        self.timeout_timer.disarm()
        self.probe.close()
        if not self.flags & FAILED_ACTIVE_HC:
            self.checker.stats.healthy.dec()
        if self.flags & DEGRADED_ACTIVE_HC:
            self.checker.stats.degraded.dec()

    def on_timer(self, kind: int) -> None:
        if kind == _TIMER_INTERVAL:
            self.check()
        else:
            self.probe.give_up()
            self.on_failure(NETWORK_TIMEOUT, False)

    def check(self) -> None:
        self.checker.stats.attempt.inc()
        self.timeout_timer.arm(self.checker.config.timeout_ms)
        self.probe.begin()

    # --- results ---

    def on_success(self, degraded: bool) -> None:
        """The probe is content."""
        if self.stopped:
            return
        checker = self.checker
        host = self.host
        self.num_unhealthy = 0
        change = UNCHANGED
        if self.flags & FAILED_ACTIVE_HC:
            self.num_healthy += 1
            if self.first_check or self.num_healthy == checker.config.healthy_threshold:
                self.flags &= ~FAILED_ACTIVE_HC
                host.clear_flag(EXCLUDED_VIA_IMMEDIATE_HC_FAIL)
                checker.stats.healthy.inc()
                change = CHANGED
                checker.log(host, {"add_healthy_event": {"first_check": self.first_check}})
            else:
                change = CHANGE_PENDING
        self.flags &= ~ACTIVE_HC_TIMEOUT
        if host.clear_flag(PENDING_ACTIVE_HC):
            change = CHANGED
        if degraded != bool(self.flags & DEGRADED_ACTIVE_HC):
            if degraded:
                self.flags |= DEGRADED_ACTIVE_HC
                checker.stats.degraded.inc()
                checker.log(host, {"degraded_healthy_host": {}})
            else:
                self.flags &= ~DEGRADED_ACTIVE_HC
                checker.stats.degraded.dec()
                checker.log(host, {"no_longer_degraded_host": {}})
            if change == UNCHANGED:
                change = CHANGED
        if checker.config.always_log_success:
            checker.log(host, {"successful_health_check_event": {}})
        checker.stats.success.inc()
        self.first_check = False
        self.timeout_timer.disarm()
        self.interval_timer.arm(checker.interval_ms(True, change))
        checker.on_result(self, change, False)

    def on_failure(self, kind: str, retriable: bool) -> None:
        """The probe failed, or did not answer in time."""
        if self.stopped:
            return
        change = self._fail(kind, retriable)
        if self.stopped:
            return
        self.timeout_timer.disarm()
        self.interval_timer.arm(self.checker.interval_ms(False, change))

    def set_unhealthy(self) -> None:
        """Passive: a response of the host asked for it."""
        if not self.stopped:
            self.last_status = 0
            self._fail(PASSIVE, False)

    def _fail(self, kind: str, retriable: bool) -> int:
        checker = self.checker
        host = self.host
        network = kind == NETWORK or kind == NETWORK_TIMEOUT
        self.num_healthy = 0
        change = UNCHANGED
        if not self.flags & FAILED_ACTIVE_HC:
            # What the host itself says counts at once; that it cannot be reached only after some attempts.
            self.num_unhealthy += 1
            if (not network and not retriable) or self.num_unhealthy == checker.config.unhealthy_threshold:
                self.flags |= FAILED_ACTIVE_HC
                checker.stats.healthy.dec()
                change = CHANGED
                checker.log(
                    host, {"eject_unhealthy_event": {"failure_type": kind, "http_status_code": self.last_status}}
                )
            else:
                change = CHANGE_PENDING
        if kind == NETWORK_TIMEOUT:
            self.flags |= ACTIVE_HC_TIMEOUT
        else:
            self.flags &= ~ACTIVE_HC_TIMEOUT
        if host.clear_flag(PENDING_ACTIVE_HC):
            change = CHANGED
        if self.first_check or checker.config.always_log_failures:
            checker.log(
                host,
                {
                    "health_check_failure_event": {
                        "failure_type": kind, "first_check": self.first_check, "http_status_code": self.last_status,
                    }
                },
            )
        checker.stats.failure.inc()
        if network:
            checker.stats.network_failure.inc()
        elif kind == PASSIVE:
            checker.stats.passive_failure.inc()
        self.first_check = False
        checker.on_result(self, change, True)
        return change
