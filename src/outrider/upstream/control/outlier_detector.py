"""Outlier detection: counts what the workers report, ejects hosts and lets them back (Envoy's `DetectorImpl`).

The engine takes reports and the time; `ClusterControl` publishes what it decides. All counting happens here, so hosts
are judged by the traffic of all workers together.
"""

from __future__ import annotations

import math
import random as _random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.upstream.config.outlier import OutlierConfig
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.event_log import EventLog, timestamp
from outrider.upstream.control.outlier_stats import (
    CONSECUTIVE_5XX,
    CONSECUTIVE_GATEWAY_FAILURE,
    CONSECUTIVE_LOCAL_ORIGIN_FAILURE,
    FAILURE_PERCENTAGE,
    FAILURE_PERCENTAGE_LOCAL_ORIGIN,
    SUCCESS_RATE,
    SUCCESS_RATE_LOCAL_ORIGIN,
    OutlierStats,
)
from outrider.upstream.control_link import OutlierReport
from outrider.upstream.host import (
    EXT_ORIGIN_REQUEST_FAILED,
    EXT_ORIGIN_REQUEST_SUCCESS,
    FAILED_OUTLIER_CHECK,
    LOCAL_ORIGIN_CONNECT_FAILED,
    LOCAL_ORIGIN_CONNECT_SUCCESS,
    LOCAL_ORIGIN_CONNECT_SUCCESS_FINAL,
    LOCAL_ORIGIN_TIMEOUT,
)
from outrider.upstream.outlier_reporter import REPORT_DEGRADED, REPORT_HTTP_CODE

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from outrider.factory_context import FactoryContext
    from outrider.upstream.control.cluster_control import ClusterControl

# What a result counts as when no status came with it; 0 = nothing.
_RESULT_CODES: Final[dict[int, int]] = {
    EXT_ORIGIN_REQUEST_SUCCESS: 200,
    EXT_ORIGIN_REQUEST_FAILED: 500,
    LOCAL_ORIGIN_TIMEOUT: 504,
    LOCAL_ORIGIN_CONNECT_FAILED: 503,
    LOCAL_ORIGIN_CONNECT_SUCCESS: 0,
    LOCAL_ORIGIN_CONNECT_SUCCESS_FINAL: 200,
}
_GATEWAY_ERRORS: Final = (502, 503, 504)


class HostRecord:
    """What is known of one host since the last ejection, and of its ejections."""

    __slots__ = (
        "host", "consecutive_5xx", "consecutive_gateway", "consecutive_local", "total", "success", "local_total",
        "local_success", "backoff", "ejections", "last_ejection_ms", "last_unejection_ms", "jitter_ms",
    )

    def __init__(self, host: ControlHost) -> None:
        self.host = host
        self.consecutive_5xx: int = 0
        self.consecutive_gateway: int = 0
        self.consecutive_local: int = 0
        # Since the interval began.
        self.total: int = 0
        self.success: int = 0
        self.local_total: int = 0
        self.local_success: int = 0
        # Multiplier of the ejection time.
        self.backoff: int = 0
        self.ejections: int = 0
        self.last_ejection_ms: int = -1
        self.last_unejection_ms: int = -1
        self.jitter_ms: int = 0


class OutlierDetector:
    """Of one cluster."""

    def __init__(
        self,
        control: ClusterControl,
        config: OutlierConfig,
        context: FactoryContext,
        chance: Callable[[], float] = _random.random,
    ) -> None:
        self.control = control
        self.config = config
        self.dispatcher = context.dispatcher
        self.runtime = context.runtime
        self.log_manager = context.access_log_manager
        self.stats = OutlierStats(control.info.scope)
        self.chance = chance
        self.records: dict[str, HostRecord] = {}
        self.log_path: str = ""
        self._timer: TimerHandle | None = None

    # --- life ---

    def start(self) -> None:
        interval = self._setting("interval_ms", self.config.interval_ms)
        self._timer = self.dispatcher.call_later(interval / 1000, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.on_interval(self.now_ms())
        self.start()

    def now_ms(self) -> int:
        return self.dispatcher.clock.now_ms()

    def on_hosts(self, added: list[ControlHost], removed: list[ControlHost]) -> None:
        for host in removed:
            if self.records.pop(host.key, None) is not None and host.has_flag(FAILED_OUTLIER_CHECK):
                self.stats.ejections_active.dec()
        for host in added:
            self.records[host.key] = HostRecord(host)

    def _setting(self, name: str, default: int) -> int:
        return self.runtime.get_integer("outlier_detection." + name, default)

    # --- reports ---

    def take(self, reports: list[OutlierReport]) -> None:
        """What workers saw, in order."""
        for key, kind, value in reports:
            record = self.records.get(key)
            if record is None or kind == REPORT_DEGRADED:
                continue
            if kind == REPORT_HTTP_CODE:
                self._on_code(record, value)
            elif self.config.split_external_local:
                self._on_split_result(record, kind)
            else:
                code = value or _RESULT_CODES[kind]
                if code:
                    self._on_code(record, code)

    def _on_code(self, record: HostRecord, code: int) -> None:
        record.total += 1
        if 500 <= code < 600:
            if code in _GATEWAY_ERRORS:
                record.consecutive_gateway += 1
                limit = self._setting("consecutive_gateway_failure", self.config.consecutive_gateway_failure)
                if record.consecutive_gateway == limit:
                    self._on_consecutive(record, CONSECUTIVE_GATEWAY_FAILURE)
            else:
                record.consecutive_gateway = 0
            record.consecutive_5xx += 1
            if record.consecutive_5xx == self._setting("consecutive_5xx", self.config.consecutive_5xx):
                self._on_consecutive(record, CONSECUTIVE_5XX)
        else:
            record.success += 1
            record.consecutive_5xx = 0
            record.consecutive_gateway = 0

    def _on_split_result(self, record: HostRecord, result: int) -> None:
        if result == EXT_ORIGIN_REQUEST_FAILED or result == EXT_ORIGIN_REQUEST_SUCCESS:
            self._on_code(record, _RESULT_CODES[result])
            return
        record.local_total += 1
        if result == LOCAL_ORIGIN_TIMEOUT or result == LOCAL_ORIGIN_CONNECT_FAILED:
            record.consecutive_local += 1
            limit = self._setting("consecutive_local_origin_failure", self.config.consecutive_local_origin_failure)
            if record.consecutive_local == limit:
                self._on_consecutive(record, CONSECUTIVE_LOCAL_ORIGIN_FAILURE)
        else:
            record.local_success += 1
            record.consecutive_local = 0

    def _on_consecutive(self, record: HostRecord, kind: str) -> None:
        if record.host.has_flag(FAILED_OUTLIER_CHECK):
            return
        self.stats.detected[kind].inc()
        self.eject(record, kind)
        # A new bout is noticed also without a success in between.
        if kind == CONSECUTIVE_5XX:
            self.stats.ejections_consecutive_5xx.inc()
            record.consecutive_5xx = 0
        elif kind == CONSECUTIVE_GATEWAY_FAILURE:
            record.consecutive_gateway = 0
        else:
            record.consecutive_local = 0

    # --- ejection ---

    def eject(self, record: HostRecord, kind: str, event: dict[str, object] | None = None) -> None:
        """Take a host out, if the share of ejected hosts and the enforcing percentage allow."""
        stats = self.stats
        active = stats.ejections_active.value
        percent = 100.0 * (active + 1) / len(self.records)
        allowed = percent <= min(100, self._setting("max_ejection_percent", self.config.max_ejection_percent))
        if not allowed and self.config.always_eject_one_host and active == 0:
            allowed = True
        if not allowed:
            stats.ejections_overflow.inc()
            return
        if kind in (CONSECUTIVE_5XX, SUCCESS_RATE):
            stats.ejections_total.inc()
        enforced = self._enforces(kind)
        if enforced:
            stats.ejections_active.inc()
            stats.ejections_enforced_total.inc()
            stats.enforced[kind].inc()
            now = self.now_ms()
            record.ejections += 1
            previous = record.last_unejection_ms
            record.last_ejection_ms = now
            jitter = self._setting("max_ejection_time_jitter_ms", self.config.max_ejection_jitter_ms)
            record.jitter_ms = int(self.chance() * jitter) if jitter > 0 else 0
            base = self._setting("base_ejection_time_ms", self.config.base_ejection_ms)
            longest = self._setting("max_ejection_time_ms", self.config.max_ejection_ms)
            if record.backoff * base < longest + base:
                record.backoff += 1
            record.host.set_flag(FAILED_OUTLIER_CHECK)
            self._log(record, "EJECT", kind, True, previous, event)
            self.control.on_health_changed(record.host, True)
        else:
            self._log(record, "EJECT", kind, False, record.last_unejection_ms, event)

    def _enforces(self, kind: str) -> bool:
        config = self.config
        name, percent = {
            CONSECUTIVE_5XX: ("enforcing_consecutive_5xx", config.enforcing_consecutive_5xx),
            CONSECUTIVE_GATEWAY_FAILURE: (
                "enforcing_consecutive_gateway_failure", config.enforcing_consecutive_gateway_failure,
            ),
            CONSECUTIVE_LOCAL_ORIGIN_FAILURE: (
                "enforcing_consecutive_local_origin_failure", config.enforcing_consecutive_local_origin_failure,
            ),
            SUCCESS_RATE: ("enforcing_success_rate", config.enforcing_success_rate),
            SUCCESS_RATE_LOCAL_ORIGIN: (
                "enforcing_local_origin_success_rate", config.enforcing_local_origin_success_rate,
            ),
            FAILURE_PERCENTAGE: ("enforcing_failure_percentage", config.enforcing_failure_percentage),
            FAILURE_PERCENTAGE_LOCAL_ORIGIN: (
                "enforcing_failure_percentage_local_origin", config.enforcing_failure_percentage_local_origin,
            ),
        }[kind]
        return self.chance() * 100 < self._setting(name, percent)

    def _uneject(self, record: HostRecord) -> None:
        self.stats.ejections_active.dec()
        record.host.clear_flag(FAILED_OUTLIER_CHECK)
        record.consecutive_5xx = record.consecutive_gateway = record.consecutive_local = 0
        record.last_unejection_ms = self.now_ms()
        self._log(record, "UNEJECT", "", False, record.last_ejection_ms, None)
        self.control.on_health_changed(record.host)

    def on_active_health_success(self, host: ControlHost) -> None:
        """An active check passed: an ejected host may come back early."""
        record = self.records.get(host.key)
        if record is None or not self.config.uneject_on_health_success:
            return
        if host.has_flag(FAILED_OUTLIER_CHECK):
            self._uneject(record)

    # --- every interval ---

    def on_interval(self, now_ms: int) -> None:
        base = self._setting("base_ejection_time_ms", self.config.base_ejection_ms)
        longest = self._setting("max_ejection_time_ms", self.config.max_ejection_ms)
        for record in list(self.records.values()):
            if not record.host.has_flag(FAILED_OUTLIER_CHECK):
                if record.backoff:
                    record.backoff -= 1
            elif min(base * record.backoff, longest) + record.jitter_ms <= now_ms - record.last_ejection_ms:
                self._uneject(record)
            record.host.success_rate = record.host.local_origin_success_rate = -1.0
        self.control.info.outlier_rates = (*self._judge(False), *self._judge(True))
        for record in self.records.values():
            record.total = record.success = record.local_total = record.local_success = 0

    def _judge(self, local: bool) -> tuple[float, float]:
        """Eject by success rate and failure percentage; the average and threshold of the success rate."""
        config = self.config
        minimum_hosts = self._setting("success_rate_minimum_hosts", config.success_rate_minimum_hosts)
        volume = self._setting("success_rate_request_volume", config.success_rate_request_volume)
        failure_hosts = self._setting("failure_percentage_minimum_hosts", config.failure_percentage_minimum_hosts)
        failure_volume = self._setting("failure_percentage_request_volume", config.failure_percentage_request_volume)
        if len(self.records) < minimum_hosts and len(self.records) < failure_hosts:
            return -1.0, -1.0
        rated: list[tuple[HostRecord, float]] = []
        failure_rated: list[tuple[HostRecord, float]] = []
        for record in self.records.values():
            total = record.local_total if local else record.total
            if not total or record.host.has_flag(FAILED_OUTLIER_CHECK):
                continue
            rate = 100.0 * (record.local_success if local else record.success) / total
            if total >= min(volume, failure_volume):
                if local:
                    record.host.local_origin_success_rate = rate
                else:
                    record.host.success_rate = rate
            if total >= volume:
                rated.append((record, rate))
            if total >= failure_volume:
                failure_rated.append((record, rate))
        numbers = (-1.0, -1.0)
        if rated and len(rated) >= minimum_hosts:
            numbers = self._judge_success_rate(rated, SUCCESS_RATE_LOCAL_ORIGIN if local else SUCCESS_RATE)
        if failure_rated and len(failure_rated) >= failure_hosts:
            threshold = self._setting("failure_percentage_threshold", config.failure_percentage_threshold)
            kind = FAILURE_PERCENTAGE_LOCAL_ORIGIN if local else FAILURE_PERCENTAGE
            for record, rate in failure_rated:
                if 100.0 - rate >= threshold:
                    self.stats.detected[kind].inc()
                    self.eject(record, kind, {"host_success_rate": int(rate)})
        return numbers

    def _judge_success_rate(self, rated: list[tuple[HostRecord, float]], kind: str) -> tuple[float, float]:
        factor = self._setting("success_rate_stdev_factor", self.config.success_rate_stdev_factor) / 1000.0
        average, threshold = ejection_threshold([rate for _, rate in rated], factor)
        for record, rate in rated:
            if rate < threshold:
                self.stats.ejections_success_rate.inc()
                self.stats.detected[kind].inc()
                self.eject(
                    record, kind,
                    {
                        "host_success_rate": int(rate), "cluster_average_success_rate": int(average),
                        "cluster_success_rate_ejection_threshold": int(threshold),
                    },
                )
        return average, threshold

    # --- the event log ---

    def _log(
        self, record: HostRecord, action: str, kind: str, enforced: bool, since_ms: int, event: dict[str, object] | None
    ) -> None:
        if not self.log_path:
            return
        line: dict[str, object] = {
            "type": kind or CONSECUTIVE_5XX, "timestamp": timestamp(self.dispatcher.wall_ns()),
        }
        if since_ms >= 0:
            line["secs_since_last_action"] = str((self.now_ms() - since_ms) // 1000)
        line["cluster_name"] = self.control.info.name
        line["upstream_url"] = record.host.address.text
        line["action"] = action
        line["num_ejections"] = record.ejections
        line["enforced"] = enforced
        if kind in (SUCCESS_RATE, SUCCESS_RATE_LOCAL_ORIGIN):
            line["eject_success_rate_event"] = event or {}
        elif kind in (FAILURE_PERCENTAGE, FAILURE_PERCENTAGE_LOCAL_ORIGIN):
            line["eject_failure_percentage_event"] = event or {}
        elif kind:
            line["eject_consecutive_event"] = {}
        EventLog(self.log_manager, [self.log_path]).write(line)


def ejection_threshold(rates: list[float], factor: float) -> tuple[float, float]:
    """The mean of the rates, and the mean less `factor` standard deviations."""
    mean = sum(rates) / len(rates)
    variance = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    return mean, mean - factor * math.sqrt(variance)
