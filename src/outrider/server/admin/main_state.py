"""The admin interface's view of a running server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from outrider.server import messages
from outrider.server.admin.clusters import ClusterDump
from outrider.server.admin.config_tracker import ConfigTracker
from outrider.server.admin.dynamic_dump import DynamicClusters, DynamicListeners
from outrider.server.admin.state import AdminState
from outrider.server.clusters import host_stats
from outrider.server.memory import allocated_bytes, resident_bytes
from outrider.server.server_stats import STATE_NAMES

if TYPE_CHECKING:
    from outrider.data.address import Address
    from outrider.server.main_process import MainProcess


class MainState(AdminState):
    def __init__(self, main: MainProcess) -> None:
        self.main = main
        self.store = main.store
        self.tag_producer = main.plan.settings.stats.producer
        self.runtime = main.runtime
        self.options = main.plan.options
        self.settings = main.plan.settings

    async def collect_stats(self) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.main.collect_stats(lambda: done.set_result(None))
        await done
        self.main.refresh_gauges()
        if self.main.flusher.on_admin:
            self.main.flusher.flush()

    async def memory(self) -> list[tuple[int, int]]:
        own = (resident_bytes(), allocated_bytes())
        if self.main.supervisor.inline_worker is not None:
            return [own]
        return [own, *await self._ask(messages.MEMORY)]

    async def host_stats(self) -> list[Any]:
        # Main sends requests, too: to management servers.
        return [host_stats(self.main.proxy.cluster_manager), *await self._ask(messages.CLUSTERS)]

    async def _ask(self, kind: str) -> list[Any]:
        answers: dict[int, Any] = {}
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.main.supervisor.ask(kind, answers.__setitem__, lambda: done.set_result(None))
        await done
        return [answers[index] for index in sorted(answers)]

    def state_name(self) -> str:
        self.main.refresh_state()
        return STATE_NAMES[self.main.stats.state.value]

    def uptime_s(self) -> int:
        return self.main.uptime_s()

    def started_at_s(self) -> float:
        return self.main.plan.start_time_s

    def listener_addresses(self) -> list[tuple[str, list[Address]]]:
        return self.main.listeners.addresses()

    def fail_health_check(self, failed: bool) -> None:
        self.main.fail_health_check(failed)

    def drain_listeners(self, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        self.main.drains.drain(graceful, inbound_only, skip_exit)

    def reopen_logs(self) -> None:
        self.main.reopen_logs()

    def quit(self) -> None:
        # The answer goes out first.
        asyncio.get_running_loop().call_later(0.01, self.main.shut_down)

    def log_levels(self) -> dict[str, str]:
        return self.main.plan.log.levels

    def set_log_levels(self, levels: dict[str, str]) -> None:
        self.main.plan.log.set_levels(levels)
        self.main.supervisor.broadcast(messages.LOG_LEVELS, levels)

    def cluster_dumps(self) -> list[ClusterDump]:
        return [ClusterDump(entry.info, entry.control) for entry in self.main.clusters.control.active.values()]

    def certificates(self) -> list[dict[str, Any]]:
        factories = self.main.proxy.transport_socket_factories(self.main.listeners.all_active())
        if not factories:
            return []
        from outrider.server.certificates import certificate_trees

        return certificate_trees(factories)

    def dynamic_clusters(self) -> DynamicClusters:
        control = self.main.clusters.control
        found = DynamicClusters()
        found.version_info = self.main.discovery.cds.version_info if self.main.discovery.cds is not None else ""
        found.active = [entry for entry in control.active.values() if entry.added_via_api]
        found.warming = [entry for entry in control.warming.values() if entry.added_via_api]
        return found

    def dynamic_listeners(self) -> DynamicListeners:
        listeners = self.main.listeners
        found = DynamicListeners()
        found.active = [entry for entry in listeners.active.values() if entry.added_via_api]
        found.warming = [entry for entry in listeners.warming.values() if entry.added_via_api]
        found.draining = list(listeners.draining)
        if self.main.discovery.lds is not None:
            found.version_info = self.main.discovery.lds.version_info
            found.failures = self.main.discovery.lds.failures
        return found

    @property
    def config_tracker(self) -> ConfigTracker | None:
        return self.main.discovery.tracker

    def unready_targets(self) -> list[tuple[str, list[str]]]:
        return self.main.unready_targets()
