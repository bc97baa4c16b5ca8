"""All checkers of a cluster: a host is healthy when every one of them says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.upstream.connector import Connector, HostConnector
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.health.checker import HealthChecker
from outrider.upstream.control.health.health_stats import HealthStats
from outrider.upstream.control.health.session import CHANGED, HealthSession
from outrider.upstream.host import ACTIVE_HC_TIMEOUT, DEGRADED_ACTIVE_HC, FAILED_ACTIVE_HC

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.upstream.control.cluster_control import ClusterControl


class HealthChecks:
    """See the module."""

    def __init__(self, control: ClusterControl, context: FactoryContext, connector: Connector | None = None) -> None:
        self.control = control
        self.stats = HealthStats(control.info.scope)
        used = connector if connector is not None else HostConnector(context.dispatcher, control.info.config.bind)
        self.checkers = [
            HealthChecker(self, config, control.info, self.stats, used, context)
            for config in control.info.config.health_checks
        ]
        # Hosts of the first list that have not been checked yet; None before the first list.
        self._waiting: set[str] | None = None
        self._reported: bool = False

    def on_hosts(self, added: list[ControlHost], removed: list[ControlHost]) -> None:
        if self._waiting is None:
            self._waiting = {host.key for host in added if not host.hc_disabled}
        for host in removed:
            for checker in self.checkers:
                checker.remove(host)
            self._waiting.discard(host.key)
        for host in added:
            for checker in self.checkers:
                checker.add(host)
        self._check_first_round()

    def stop(self) -> None:
        for checker in self.checkers:
            checker.stop()

    def set_unhealthy(self, host: ControlHost) -> None:
        """Passive failure: traffic said so."""
        for checker in self.checkers:
            session = checker.sessions.get(host.key)
            if session is not None:
                session.set_unhealthy()

    def on_result(self, checker: HealthChecker, session: HealthSession, change: int, failed: bool) -> None:
        """A check of a host is over."""
        host = session.host
        before = host.flags
        flags = 0
        for each in self.checkers:
            other = each.sessions.get(host.key)
            if other is not None:
                flags |= other.flags
        host.flags = (before & ~(FAILED_ACTIVE_HC | DEGRADED_ACTIVE_HC | ACTIVE_HC_TIMEOUT)) | flags
        first = not host.first_check_done
        host.first_check_done = True
        if not failed and self.control.outliers is not None and not flags & FAILED_ACTIVE_HC:
            self.control.outliers.on_active_health_success(host)
        if change == CHANGED:
            now_failed = bool(flags & FAILED_ACTIVE_HC) and not before & FAILED_ACTIVE_HC
            self.control.on_health_changed(host, now_failed)
        if first and self._waiting is not None:
            self._waiting.discard(host.key)
            self._check_first_round()

    def _check_first_round(self) -> None:
        if not self._reported and self._waiting is not None and not self._waiting:
            self._reported = True
            self.control.on_first_checks_done()
