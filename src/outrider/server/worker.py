"""A worker: a small proxy on one loop, with main as its only management server."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from outrider.config.runtime import Runtime
from outrider.config.runtime_layers import build_entries
from outrider.event.dispatcher import Dispatcher, new_event_loop
from outrider.network.listen_socket import ListenSocket
from outrider.server import messages
from outrider.server.channel import Channel, ChannelHandler, SocketChannel
from outrider.server.listener_pause import ListenerPause
from outrider.server.memory import allocated_bytes, resident_bytes
from outrider.server.overload_refresh import HeapShrinker
from outrider.server.proxy import Proxy
from outrider.server.template import name_process
from outrider.server.worker_listeners import WorkerListeners
from outrider.stats.merge import SnapshotWriter
from outrider.stats.store import Store

if TYPE_CHECKING:
    from outrider.server.plan import ServerPlan

_log: Final = logging.getLogger("outrider.main")

HEARTBEAT_ROW: Final = "heartbeat"
HEARTBEAT_S: Final = 0.1

Sockets = dict[int, list[ListenSocket]]
"""Of static listeners, by number."""


class Worker(ChannelHandler):
    """Builds, then does what main says. The inline form is the same object on main's loop."""

    def __init__(self, plan: ServerPlan, index: int, dispatcher: Dispatcher, sockets: Sockets, inline: bool) -> None:
        self.plan = plan
        self.index = index
        self.dispatcher = dispatcher
        self.sockets = sockets
        self.inline = inline
        self.runtime = Runtime()
        self.store = Store(plan.settings.stats.policy)
        with _quiet_configuration():
            self.proxy = Proxy(
                plan.options, plan.settings, plan.info, self.store, dispatcher, self.runtime,
                None if plan.workers <= 1 else plan.arena, index, False,
            )  # fmt: skip
        assert self.proxy.worker_clusters is not None
        self.clusters = self.proxy.worker_clusters
        self.listeners = WorkerListeners(
            self.proxy.listeners, self.proxy.context, plan.settings.max_downstream_connections
        )
        overload = self.proxy.context.overload
        pause = ListenerPause(self.listeners, dispatcher)
        self.listeners.is_paused = lambda: pause.paused
        overload.observers.append(pause)
        self.shrinker = HeapShrinker(plan.settings.overload, overload, self.store)
        self.snapshots = SnapshotWriter(self.store)
        self.channel: Channel | None = None
        self.finished = asyncio.Event()
        # It accepts connections.
        self.started = asyncio.Event()

    def attach(self, channel: Channel) -> None:
        """The channel is up: tell main that everything is built."""
        self.channel = channel
        self.clusters.link.channel = channel
        self.proxy.worker_subscriptions.ask = self._ask_for_resources
        self.proxy.start()
        channel.send(messages.READY, os.getpid())

    def on_message(self, channel: Channel, kind: str, payload: Any) -> None:
        if kind == messages.START:
            self._start(payload)
        elif kind == messages.RUNTIME:
            self.runtime.replace(build_entries(payload))
            self.clusters.manager.on_runtime_changed()
        elif kind == messages.HOSTS:
            self.clusters.apply(payload)
        elif kind == messages.CLUSTER:
            self.clusters.apply_cluster(payload)
        elif kind == messages.REMOVE_CLUSTER:
            self.clusters.remove(payload)
        elif kind == messages.RELAY:
            self.proxy.worker_subscriptions.apply(payload)
        elif kind == messages.RELAY_FORGET:
            self.proxy.worker_subscriptions.forget(payload)
        elif kind == messages.ROWS:
            self._adopt_rows(payload)
        elif kind == messages.LISTENER:
            self.listeners.apply(payload, channel.take_descriptors())
        elif kind == messages.DRAIN_LISTENER:
            self.listeners.drain_and_stop(payload)
        elif kind == messages.CLOSE_LISTENER:
            self.listeners.close_listener(payload)
        elif kind == messages.CLOSE_CHAINS:
            self.listeners.close_chains(payload)
        elif kind == messages.OVERLOAD:
            self._overload(payload)
        elif kind == messages.LOG_LEVELS:
            self.plan.log.set_levels(payload)
        elif kind == messages.REOPEN_LOGS:
            self.reopen_logs()
        elif kind == messages.HEALTH:
            self.plan.info.health_check_failed = payload
        elif kind == messages.DRAIN:
            self.listeners.drain(payload)
        elif kind == messages.SERVER_DRAIN:
            self._server_drain(payload)
        elif kind == messages.STOP_LISTENERS:
            self.listeners.stop(payload)
        elif kind == messages.EXIT:
            self.finished.set()

    def on_request(self, channel: Channel, kind: str, payload: Any) -> Any:
        if kind == messages.STATS:
            return self.snapshots.take(), self.listeners.connections()
        if kind == messages.CLUSTERS:
            return self.clusters.host_stats()
        if kind == messages.MEMORY:
            return resident_bytes(), allocated_bytes()
        raise ValueError(f"unknown request {kind}")

    def on_channel_closed(self, channel: Channel) -> None:
        # Main is gone, and nobody else may tell us anything.
        self.finished.set()

    def reopen_logs(self) -> None:
        self.proxy.access_logs.reopen()
        if not self.inline:
            self.plan.log.reopen()

    def close(self) -> None:
        """Stop at once: connections are closed, logs written."""
        self.shrinker.stop()
        self.listeners.close()
        self.proxy.close()

    def _ask_for_resources(self, key: Any, names: list[str]) -> None:
        if self.channel is not None:
            self.channel.send(messages.TO_CONTROL, ("on_demand", key, names))

    def _adopt_rows(self, rows: dict[str, int]) -> None:
        # The inline worker has main's own arena.
        if not self.inline:
            self.plan.arena.adopt(rows)

    def _start(self, state: dict[str, Any]) -> None:
        self.runtime.replace(build_entries(state["runtime"]))
        self.clusters.manager.on_runtime_changed()
        if not self.inline:
            self.plan.log.set_levels(state["log_levels"])
            self.plan.info.health_check_failed = state["health_failed"]
            self._server_drain(state["server_drain"])
        self._overload(state["overload"])
        self._adopt_rows(state["rows"])
        for each in state["clusters"]:
            self.clusters.apply_cluster(each)
        for update in state["hosts"]:
            self.clusters.apply(update)
        for each in state["relay"]:
            self.proxy.worker_subscriptions.apply(each)
        self.listeners.drain(state["draining"])
        stopped = state["stopped"]
        sockets = {number: opened for number, opened in self.sockets.items() if number not in stopped}
        self.listeners.start_static(sockets, self._on_started)

    async def _on_started(self) -> None:
        self.started.set()
        if not self.inline:
            # Ours are duplicates; the others' are no business of this process.
            for opened in self.sockets.values():
                for each in opened:
                    each.forget()

    def _overload(self, states: tuple[dict[str, int], dict[str, int]]) -> None:
        self.proxy.context.overload.apply(states[0], states[1])
        self.shrinker.check()

    def _server_drain(self, started: float) -> None:
        self.plan.info.draining = started >= 0
        self.plan.info.drain_started = started


@contextmanager
def _quiet_configuration() -> Iterator[None]:
    """Main has said already what there is to say about the configuration."""
    logger = logging.getLogger("outrider.config")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def run_worker(plan: ServerPlan, sockets: Sockets, index: int, channel_socket: socket.socket) -> None:
    """The whole life of a worker process."""
    name_process(f"wrk:worker_{index}")
    # The terminal's Ctrl-C and a service manager's reload go to the whole group: main decides.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if plan.settings.worker_cpu_affinity and hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[index % len(processors)]})
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_serve(plan, sockets, index, channel_socket, loop))


async def _serve(
    plan: ServerPlan, sockets: Sockets, index: int, channel_socket: socket.socket, loop: asyncio.AbstractEventLoop
) -> None:
    dispatcher = Dispatcher(f"worker_{index}", loop)
    # Nearly all that is built here stays.
    gc.disable()
    worker = Worker(plan, index, dispatcher, sockets, inline=False)
    loop.add_signal_handler(signal.SIGUSR1, worker.reopen_logs)
    # What has been built stays; what requests make is freed by reference counts, so the collector rarely need look.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    gc.enable()
    channel = await SocketChannel.connect(loop, channel_socket, worker)
    worker.attach(channel)
    heart = loop.create_task(_beat(plan, index))
    await worker.finished.wait()
    heart.cancel()
    worker.close()
    channel.close()
    # One turn of the loop, for the closing of connections.
    await asyncio.sleep(0)


async def _beat(plan: ServerPlan, index: int) -> None:
    """Show main's watchdog that the loop turns."""
    cell = plan.arena.row(HEARTBEAT_ROW) * plan.arena.columns + index
    while True:
        plan.arena.cells[cell] = time.monotonic_ns() // 1_000_000
        await asyncio.sleep(HEARTBEAT_S)
