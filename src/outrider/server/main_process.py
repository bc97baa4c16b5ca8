"""The main process: control plane, admin, supervision. It carries no traffic."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.network.listen_socket import BindError, ListenSocket
from outrider.server import messages
from outrider.server.drain_control import DrainControl
from outrider.server.listener_link import WorkerListenerLink, send_listener, static_sockets
from outrider.server.listener_manager import MainListeners
from outrider.server.listener_manager_stats import ListenerManagerStats
from outrider.server.load_reporting import MainLoads
from outrider.server.memory import allocated_bytes, data_bytes, resident_bytes
from outrider.server.overload_refresh import OverloadRefresh
from outrider.server.server_stats import (
    DRAINING,
    INITIALIZING,
    LIVE,
    NO_CERTIFICATE,
    PRE_INITIALIZING,
    ServerStats,
)
from outrider.server.supervisor import Supervisor, SupervisorOwner, WorkerHandle
from outrider.stats.flush import StatsFlusher
from outrider.stats.merge import StatsMerger

if TYPE_CHECKING:
    from outrider.config.runtime_layers import RuntimeLoader
    from outrider.event.dispatcher import Dispatcher
    from outrider.server.plan import ServerPlan
    from outrider.server.proxy import Proxy
    from outrider.server.template import Template

_log: Final = logging.getLogger("outrider.main")

WATCHDOG_INTERVAL_S: Final = 0.1
RUNTIME_CHECK_INTERVAL_S: Final = 1.0


class MainProcess(SupervisorOwner):
    """Runs from the moment at which everything is checked and bound, until it is told to end."""

    def __init__(
        self,
        plan: ServerPlan,
        proxy: Proxy,
        listeners: MainListeners,
        manager_stats: ListenerManagerStats,
        runtime: RuntimeLoader,
        dispatcher: Dispatcher,
        template: Template | None,
    ) -> None:
        self.plan = plan
        self.proxy = proxy
        self.listeners = listeners
        self.manager_stats = manager_stats
        self.runtime = runtime
        self.dispatcher = dispatcher
        self.store = proxy.store
        assert proxy.main_clusters is not None
        assert proxy.discovery is not None
        self.clusters = proxy.main_clusters
        self.discovery = proxy.discovery
        self.stats = ServerStats(self.store, plan.workers)
        self.merger = StatsMerger(self.store)
        settings = plan.settings
        self.flusher = StatsFlusher(
            self.store, settings.stats.producer, proxy.stats_sinks, self.merger,
            settings.flush_interval_ms / 1000, settings.flush_on_admin,
        )  # fmt: skip
        self.overload = OverloadRefresh(settings.overload, self.store, self._overload_changed)
        settings.overload.context.runtime = runtime.runtime
        settings.overload.context.process_ids = self.process_ids
        self.supervisor = Supervisor(plan, self, template)
        self.clusters.send = self.discovery.relay.send = self.send
        if self.discovery.load_reporter is not None:
            self.discovery.load_reporter.source = MainLoads(self)
        self.listeners.workers = WorkerListenerLink(self)
        self.start_s = time.monotonic()
        self.drains = DrainControl(plan.info, listeners, self.supervisor)
        self.connections: dict[int, int] = {}
        self.exit_code = 0
        # Requests are served.
        self.serves = False
        # Called once, when requests are served.
        self.on_live: Callable[[], object] | None = None
        self._finished = asyncio.Event()
        self._watchdog_due_s = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        runtime.on_change = self._runtime_changed
        if settings.version_override is not None:
            self.stats.version.set(settings.version_override)

    # --- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """The process' exit code."""
        loop = asyncio.get_running_loop()
        self.install_signals(loop)
        self.stats.state.set(PRE_INITIALIZING)
        await self.start()
        _log.info("starting main dispatch loop")
        await self._finished.wait()
        _log.info("main dispatch loop exited")
        await self.stop()
        _log.info("exiting")
        return self.exit_code

    async def start(self) -> None:
        """Start workers and control plane; the server is live some time later."""
        self.proxy.start()
        # Envoy loads its runtime a second time when the cluster manager is there.
        self.runtime.load()
        if self.supervisor.template is None:
            await self._start_inline()
        else:
            await self.supervisor.spawn_all()

    async def _start_inline(self) -> None:
        from outrider.server.worker import Worker

        worker = Worker(self.plan, 0, self.dispatcher, self.sockets(), inline=True)
        await self.supervisor.adopt_inline(worker)

    def sockets(self) -> dict[int, list[ListenSocket]]:
        """Of the static listeners, by number."""
        return static_sockets(self.listeners)

    def on_workers_ready(self) -> None:
        self.discovery.start(self._before_secondary, self._clusters_ready)

    def _before_secondary(self, go_on: Callable[[], None]) -> None:
        """Clusters that need no management server are there."""
        go_on()

    def _clusters_ready(self) -> None:
        _log.info("all clusters initialized. initializing init manager")
        self.stats.state.set(INITIALIZING)
        self.discovery.init_manager.initialize(self._dependencies_ready)

    def _dependencies_ready(self) -> None:
        """Listeners, their first routes and their secrets are there: serve."""
        if self.plan.options.mode == "init_only":
            self.shut_down()
            return
        _log.info("all dependencies initialized. starting workers")
        try:
            self.listeners.listen()
        except BindError as error:
            _log.critical("%s", error)
            self.exit_code = 1
            self.shut_down()
            return
        self.supervisor.start_all()
        self.listeners.workers_started = True
        self.manager_stats.workers_started.set(1)
        self.manager_stats.listener_create_success.add(len(self.listeners.active) * max(self.plan.workers, 1))
        if self.plan.settings.worker_cpu_affinity:
            self.manager_stats.workers_pinned.set(self.plan.workers)
        self.stats.initialization_time_ms.record(int((time.time() - self.plan.start_time_s) * 1000))
        self.serves = True
        self.stats.live.set(1)
        flags = self.plan.settings.flags_path
        if flags and os.path.exists(os.path.join(flags, "drain")):
            # Envoy: a server started with this flag file fails its health check until told otherwise.
            _log.info("starting in drain mode: %s/drain exists", flags)
            self.fail_health_check(True)
        if self.on_live is not None:
            self.on_live()
        self.stats.state.set(LIVE)
        if not self.flusher.on_admin:
            self._arm("flush", self.flusher.interval_s, self._flush_timer)
        self.overload.start()
        if self.runtime.has_disk():
            self._arm("runtime", RUNTIME_CHECK_INTERVAL_S, self._runtime_timer)
        self._arm_watchdog()

    async def serving(self) -> None:
        """Wait until the workers have taken over their sockets (they answer in order)."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.collect_stats(lambda: done.set_result(None))
        await done
        # Their listeners start in a task of their own.
        worker = self.supervisor.inline_worker
        while worker is not None and not worker.started.is_set():
            await asyncio.sleep(0)

    def shut_down(self) -> None:
        if not self._finished.is_set():
            _log.info("shutting down server instance")
            self._finished.set()

    async def stop(self) -> None:
        """End workers, sockets and sinks."""
        for timer in self._timers.values():
            timer.cancel()
        self.overload.stop()
        if self.serves and self.flusher.sinks:
            # The last flush is to hold what the workers have counted until now.
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.collect_stats(lambda: done.set_result(None))
            await done
        self.serves = False
        self.stats.live.set(0)
        self.listeners.close()
        await self.supervisor.stop()
        self.flusher.close()
        self.proxy.close()

    # --- signals ---------------------------------------------------------------------------------------------------

    def install_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate, "ENVOY_SIGTERM")
        loop.add_signal_handler(signal.SIGINT, self._on_terminate, "SIGINT")
        loop.add_signal_handler(signal.SIGHUP, self._on_hang_up)
        loop.add_signal_handler(signal.SIGUSR1, self.reopen_logs)

    def _on_terminate(self, name: str) -> None:
        _log.warning("caught %s", name)
        self.shut_down()

    def _on_hang_up(self) -> None:
        _log.warning("caught and eating SIGHUP. See documentation for how to hot restart.")

    def reopen_logs(self) -> None:
        """Access logs and the application log, in every process."""
        _log.info("caught SIGUSR1. Reopening access logs.")
        self.plan.log.reopen()
        self.proxy.access_logs.reopen()
        self.supervisor.broadcast(messages.REOPEN_LOGS)

    # --- workers ---------------------------------------------------------------------------------------------------

    def worker_state(self) -> dict[str, Any]:
        info = self.plan.info
        clusters, hosts = self.clusters.state()
        return {
            "runtime": self.runtime.plain(),
            "log_levels": self.plan.log.levels,
            "health_failed": info.health_check_failed,
            "server_drain": info.drain_started if info.draining else -1.0,
            "overload": self.overload.states,
            "rows": self.plan.arena.names() if self.plan.workers > 1 else {},
            "clusters": clusters,
            "hosts": hosts,
            "relay": self.discovery.relay.snapshot(),
            "draining": self.drains.draining,
            "stopped": self.drains.stopped,
        }

    def on_worker_lost(self, index: int) -> None:
        self.merger.drop(index)
        self.connections.pop(index, None)

    def start_worker(self, handle: WorkerHandle, state: dict[str, Any]) -> None:
        """Everything there is, then the dynamic listeners with their sockets."""
        handle.send(messages.START, state)
        for entry in self.listeners.all_active():
            if entry.added_via_api and not entry.stopped:
                send_listener(handle, entry)

    def on_worker_message(self, index: int, payload: Any) -> None:
        if payload[0] == "on_demand":
            self.discovery.relay.request_on_demand(payload[1], payload[2])
        else:
            self.clusters.on_worker_message(payload)

    def send(self, kind: str, payload: Any) -> None:
        """To every worker that has been started."""
        self.send_rows()
        self.supervisor.broadcast(kind, payload)

    def send_rows(self) -> None:
        """Tell the workers of rows of shared limits that they will need."""
        if self.plan.workers > 1:
            rows = self.plan.arena.fresh()
            if rows:
                self.supervisor.broadcast(messages.ROWS, rows)

    def _overload_changed(self, states: Any) -> None:
        self.supervisor.broadcast(messages.OVERLOAD, states)

    def process_ids(self) -> list[int]:
        """Of main, the template and the workers."""
        found = [os.getpid(), *[handle.pid for handle in self.supervisor.workers if handle.pid]]
        if self.supervisor.template is not None:
            found.append(self.supervisor.template.pid)
        return list(dict.fromkeys(found))

    def _runtime_changed(self) -> None:
        self.proxy.cluster_manager.on_runtime_changed()
        self.supervisor.broadcast(messages.RUNTIME, self.runtime.plain())

    # --- periodic --------------------------------------------------------------------------------------------------

    def collect_stats(self, done: Any) -> None:
        """Fetch what the workers have counted, then call `done()`."""
        self.supervisor.ask(messages.STATS, self._take_stats, done)

    def _take_stats(self, index: int, answer: Any) -> None:
        snapshot, connections = answer
        self.merger.apply(index, snapshot)
        self.connections[index] = connections

    def refresh_gauges(self) -> None:
        """Bring the gauges of the process itself up to date."""
        stats = self.stats
        stats.uptime.set(int(time.monotonic() - self.start_s))
        stats.total_connections.set(sum(self.connections.values()))
        stats.memory_allocated.set(allocated_bytes())
        stats.memory_heap_size.set(data_bytes())
        stats.memory_physical_size.set(resident_bytes())
        stats.days_until_first_cert_expiring.set(self._days_until_first_certificate_expires())
        for gauge in stats.clusters_inflated:
            gauge.set(len(self.clusters.control.active))
        self.clusters.control.show_circuit_breakers()
        self.store.reveal_used()
        self.refresh_state()

    def _days_until_first_certificate_expires(self) -> int:
        factories = self.proxy.transport_socket_factories(self.listeners.all_active())
        if not factories:
            return NO_CERTIFICATE
        from outrider.server.certificates import days_until_first_expires

        days = days_until_first_expires(factories)
        return NO_CERTIFICATE if days is None else days

    def refresh_state(self) -> None:
        """LIVE, or DRAINING while the health check fails (as in Envoy not while listeners drain)."""
        if self.serves:
            failed = self.plan.info.health_check_failed
            self.stats.state.set(DRAINING if failed else LIVE)
            self.stats.live.set(0 if failed else 1)

    def _flush_timer(self) -> None:
        self.collect_stats(self._flush)
        self._arm("flush", self.flusher.interval_s, self._flush_timer)

    def _flush(self) -> None:
        self.refresh_gauges()
        self.flusher.flush()
        self.merger.prune()
        self.plan.arena.sweep()

    def _runtime_timer(self) -> None:
        self.runtime.check_disk()
        self._arm("runtime", RUNTIME_CHECK_INTERVAL_S, self._runtime_timer)

    def _watchdog_timer(self) -> None:
        loop = asyncio.get_running_loop()
        late_ms = (loop.time() - self._watchdog_due_s) * 1000
        own = self.plan.settings.main_watchdog
        if own.miss_ms and late_ms > own.miss_ms:
            for counter in self.stats.main_watchdog.miss:
                counter.inc()
        if own.megamiss_ms and late_ms > own.megamiss_ms:
            for counter in self.stats.main_watchdog.megamiss:
                counter.inc()
        self.supervisor.check_watchdog(self.stats.worker_watchdogs)
        self._arm_watchdog()

    def _arm_watchdog(self) -> None:
        self._watchdog_due_s = asyncio.get_running_loop().time() + WATCHDOG_INTERVAL_S
        self._arm("watchdog", WATCHDOG_INTERVAL_S, self._watchdog_timer)

    def _arm(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, callback)

    # --- what admin asks for -----------------------------------------------------------------------------------------

    def fail_health_check(self, failed: bool) -> None:
        self.plan.info.health_check_failed = failed
        self.supervisor.broadcast(messages.HEALTH, failed)

    def unready_targets(self) -> list[tuple[str, list[str]]]:
        """What initialization still waits for (`/init_dump`)."""
        return self.discovery.unready() + self.listeners.unready()

    def uptime_s(self) -> int:
        return int(time.monotonic() - self.start_s)

    def __repr__(self) -> str:
        return f"<MainProcess {os.getpid()} {len(self.supervisor.workers)} workers>"
