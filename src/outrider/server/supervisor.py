"""Main's side of its workers: makes them, talks to them, replaces those that die."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from outrider.server import messages
from outrider.server.channel import Channel, ChannelHandler, LocalChannel, SocketChannel
from outrider.server.worker import HEARTBEAT_ROW, Worker

if TYPE_CHECKING:
    from outrider.server.plan import ServerPlan
    from outrider.server.server_stats import WatchdogStats
    from outrider.server.template import Template

_log: Final = logging.getLogger("outrider.main")

# A worker that dies sooner than this was not well: its replacement waits, longer each time.
HEALTHY_AFTER_S: Final = 2.0
FIRST_DELAY_S: Final = 0.1
LAST_DELAY_S: Final = 5.0
# Longest wait for the workers' answers; who has not answered by then is left out.
ANSWER_TIMEOUT_S: Final = 1.0


class WorkerHandle(ChannelHandler):
    """One worker as main knows it."""

    def __init__(self, supervisor: Supervisor, index: int) -> None:
        self.supervisor = supervisor
        self.index = index
        self.pid = 0
        self.channel: Channel | None = None
        self.ready = False
        self.started_s = time.monotonic()
        self.delay_s = FIRST_DELAY_S
        # Watchdog: whether the current silence has been counted.
        self.missed = False
        self.megamissed = False

    @property
    def alive(self) -> bool:
        return self.channel is not None and self.channel.open

    def send(self, kind: str, payload: Any = None, descriptors: Sequence[int] = ()) -> None:
        if self.channel is not None:
            self.channel.send(kind, payload, descriptors)

    def on_message(self, channel: Channel, kind: str, payload: Any) -> None:
        if kind == messages.READY:
            self.pid = payload
            self.ready = True
            self.supervisor.on_worker_ready(self)
        elif kind == messages.TO_CONTROL:
            self.supervisor.owner.on_worker_message(self.index, payload)

    def on_channel_closed(self, channel: Channel) -> None:
        self.supervisor.on_worker_gone(self)


class SupervisorOwner:
    """What the supervisor tells main."""

    def worker_state(self) -> dict[str, Any]:
        """All that a new worker must know (START)."""
        raise NotImplementedError

    def start_worker(self, handle: WorkerHandle, state: dict[str, Any]) -> None:
        """Let a worker begin, with the state that `worker_state` gave."""
        handle.send(messages.START, state)

    def on_workers_ready(self) -> None:
        """Every worker has been built for the first time."""

    def on_worker_lost(self, index: int) -> None:
        """A worker is gone; a replacement is on its way."""

    def on_worker_message(self, index: int, payload: Any) -> None:
        """A worker speaks to the control plane."""


class Supervisor:
    """All workers."""

    def __init__(self, plan: ServerPlan, owner: SupervisorOwner, template: Template | None) -> None:
        """`template` is None for the inline form."""
        self.plan = plan
        self.owner = owner
        self.template = template
        self.workers = [WorkerHandle(self, index) for index in range(max(plan.workers, 1))]
        self.inline_worker: Worker | None = None
        # START is sent as soon as a worker is ready; before that it waits for `start_all`.
        self._started = False
        self._announced = False
        self._stopping = False

    async def spawn_all(self) -> None:
        """Make the workers; `on_workers_ready` follows."""
        loop = asyncio.get_running_loop()
        if self.template is not None:
            loop.add_reader(self.template.control.fileno(), self._read_reports)
        for handle in self.workers:
            if self.template is not None:
                await self._spawn(handle)

    async def adopt_inline(self, worker: Worker) -> None:
        """The one worker of the inline form."""
        self.inline_worker = worker
        handle = self.workers[0]
        handle.channel, theirs = LocalChannel.pair(asyncio.get_running_loop(), handle, worker)
        worker.attach(theirs)

    def start_all(self) -> None:
        """Let the workers accept connections, now and when replaced."""
        self._started = True
        state = self.owner.worker_state()
        for handle in self.workers:
            if handle.ready:
                self.owner.start_worker(handle, state)

    def started(self) -> list[WorkerHandle]:
        """The workers that serve."""
        return [handle for handle in self.workers if handle.ready and self._started]

    def broadcast(self, kind: str, payload: Any = None) -> None:
        """To every worker that has been started; others get the whole state when they are."""
        for handle in self.started():
            handle.send(kind, payload)

    def ask(self, kind: str, on_answer: Callable[[int, Any], None], on_done: Callable[[], None]) -> None:
        """Ask all workers. `on_answer` gets each index and answer; `on_done` comes when all have answered, or when
        the time is up (an answer may then still come)."""
        _Round(self, kind, on_answer, on_done).start()

    def on_worker_ready(self, handle: WorkerHandle) -> None:
        if self._started:
            self.owner.start_worker(handle, self.owner.worker_state())
        elif not self._announced and all(each.ready for each in self.workers):
            self._announced = True
            self.owner.on_workers_ready()

    def on_worker_gone(self, handle: WorkerHandle) -> None:
        if self._stopping:
            return
        handle.ready = False
        handle.channel = None
        lived = time.monotonic() - handle.started_s
        delay = 0.0 if lived >= HEALTHY_AFTER_S else handle.delay_s
        handle.delay_s = FIRST_DELAY_S if delay == 0.0 else min(handle.delay_s * 2, LAST_DELAY_S)
        _log.critical("worker %d (pid %d) died after %.1f s; starting a replacement", handle.index, handle.pid, lived)
        self.plan.arena.clear_column(handle.index)
        self.owner.on_worker_lost(handle.index)
        asyncio.get_running_loop().call_later(delay, self._respawn, handle)

    def check_watchdog(self, stats: list[WatchdogStats]) -> None:
        """Count the workers whose loop stands still; kill one that does for too long."""
        watchdog = self.plan.settings.worker_watchdog
        if self.template is None:
            return
        arena = self.plan.arena
        row = arena.row(HEARTBEAT_ROW) * arena.columns
        now = time.monotonic_ns() // 1_000_000
        for handle in self.workers:
            beat = int(arena.cells[row + handle.index])
            if not handle.ready or beat == 0:
                continue
            silence = now - beat
            if watchdog.kill_ms and silence > watchdog.kill_ms and handle.pid:
                _log.critical("worker %d (pid %d) is stuck for %d ms; killing it", handle.index, handle.pid, silence)
                handle.ready = False
                os.kill(handle.pid, signal.SIGKILL)
                continue
            handle.missed = self._count_silence(
                silence, watchdog.miss_ms, handle.missed, stats[handle.index].miss
            )
            handle.megamissed = self._count_silence(
                silence, watchdog.megamiss_ms, handle.megamissed, stats[handle.index].megamiss
            )

    @staticmethod
    def _count_silence(silence: int, limit: int, counted: bool, counters: list[Any]) -> bool:
        if not limit or silence <= limit:
            return False
        if not counted:
            for counter in counters:
                counter.inc()
        return True

    async def stop(self, timeout_s: float = 1.0) -> None:
        """End all workers; those that do not end in time are killed."""
        self._stopping = True
        for handle in self.workers:
            handle.send(messages.EXIT)
        if self.inline_worker is not None:
            self.inline_worker.close()
            return
        deadline = time.monotonic() + timeout_s
        while any(handle.alive for handle in self.workers) and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        for handle in self.workers:
            if handle.alive and handle.pid:
                os.kill(handle.pid, signal.SIGKILL)
        if self.template is not None:
            asyncio.get_running_loop().remove_reader(self.template.control.fileno())
            self.template.close()

    async def _spawn(self, handle: WorkerHandle) -> None:
        assert self.template is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        handle.started_s = time.monotonic()
        handle.pid = 0
        handle.missed = handle.megamissed = False
        try:
            self.template.spawn(handle.index, theirs)
        finally:
            theirs.close()
        handle.channel = await SocketChannel.connect(asyncio.get_running_loop(), ours, handle)

    def _respawn(self, handle: WorkerHandle) -> None:
        if not self._stopping:
            task = asyncio.ensure_future(self._spawn(handle))
            task.add_done_callback(self._respawned)

    def _respawned(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.critical("cannot start a worker: %s", task.exception())

    def _read_reports(self) -> None:
        assert self.template is not None
        reports = self.template.read_reports()
        if reports is None:
            asyncio.get_running_loop().remove_reader(self.template.control.fileno())
            if not self._stopping:
                _log.critical("the template process is gone: workers that die cannot be replaced any more")
            return
        for kind, first, second in reports:
            if kind == "born":
                self.workers[first].pid = second
            elif kind == "died":
                _log.debug("process %d ended with wait status %d", first, second)


class _Round:
    """One question to all workers."""

    def __init__(
        self, supervisor: Supervisor, kind: str, on_answer: Callable[[int, Any], None], on_done: Callable[[], None]
    ) -> None:
        self.supervisor = supervisor
        self.kind = kind
        self.on_answer = on_answer
        self.on_done = on_done
        self.missing: set[int] = set()
        self.timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        asked = [handle for handle in self.supervisor.workers if handle.ready and handle.channel is not None]
        self.missing = {handle.index for handle in asked}
        if not asked:
            self.on_done()
            return
        self.timer = asyncio.get_running_loop().call_later(ANSWER_TIMEOUT_S, self._finish)
        for handle in asked:
            assert handle.channel is not None
            handle.channel.request(self.kind, None, _Answer(self, handle.index))

    def answer(self, index: int, payload: Any) -> None:
        self.missing.discard(index)
        if payload is not None:
            self.on_answer(index, payload)
        if not self.missing:
            self._finish()

    def _finish(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
            self.on_done()


class _Answer:
    """Where one worker's answer goes."""

    __slots__ = ("index", "round")

    def __init__(self, asked: _Round, index: int) -> None:
        self.round = asked
        self.index = index

    def __call__(self, payload: Any) -> None:
        self.round.answer(self.index, payload)
