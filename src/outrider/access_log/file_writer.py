"""Log files: lines are buffered in the loop and written by a thread per file, so that no slow disk or pipe blocks it.

A batch of whole lines is one write() to a file opened for appending, so the workers may share a file. A pipe takes
batches of at most PIPE_BUF bytes, which POSIX promises not to interleave. As in Envoy the first line of a file is
written at once, later ones when the buffer is large enough or the flush interval is over.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import select
import stat
import threading
from typing import TYPE_CHECKING, Final

from outrider.event.timer import TimerOwner

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.event.timer import Timer
    from outrider.stats.store import Scope

_log: Final = logging.getLogger("outrider.file")

# Bytes a file may owe to the disk before further lines are dropped.
_BACKLOG_LIMIT: Final = 64 * 1024 * 1024
_PIPE_BATCH: Final = 4096
# How long `close` waits for a thread whose file takes nothing.
CLOSE_SECONDS: Final = 2.0
_STANDARD_STREAMS: Final[dict[str, int]] = {
    "/dev/stdout": 1,
    "/proc/self/fd/1": 1,
    "/dev/fd/1": 1,
    "/dev/stderr": 2,
    "/proc/self/fd/2": 2,
    "/dev/fd/2": 2,
}
_STOP: Final[list[bytes]] = []
_REOPEN: Final[list[bytes]] = []


class FileStats:
    """Envoy's `filesystem.*`, and `write_dropped`, made when the first line finds the backlog full."""

    __slots__ = (
        "write_buffered", "write_completed", "write_failed", "flushed_by_timer", "reopen_failed", "_scope",
        "write_total_buffered",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        inner = scope.scope("filesystem.")
        self.write_buffered = inner.counter("write_buffered")
        self.write_completed = inner.counter("write_completed")
        self.write_failed = inner.counter("write_failed")
        self.flushed_by_timer = inner.counter("flushed_by_timer")
        self.reopen_failed = inner.counter("reopen_failed")
        self._scope = inner
        self.write_total_buffered = inner.gauge("write_total_buffered")

    def drop(self) -> None:
        self._scope.counter("write_dropped").inc()


class FileThread:
    """The writing half of a file. Its counts are written by this thread only and read by the loop."""

    __slots__ = ("path", "batches", "completed", "failed", "reopen_failed", "done_bytes", "_fd", "_pipe", "_writer")

    def __init__(self, path: str) -> None:
        """Opens the file. Raises OSError."""
        self.path = path
        self.batches: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self.completed: int = 0
        self.failed: int = 0
        self.reopen_failed: int = 0
        # Bytes written or given up.
        self.done_bytes: int = 0
        self._fd: int = open_log(path)
        self._pipe: bool = stat.S_ISFIFO(os.fstat(self._fd).st_mode)
        self._writer: threading.Thread | None = None

    def hand_over(self, lines: list[bytes]) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._run, name=f"log {self.path}", daemon=True)
            self._writer.start()
        self.batches.put(lines)

    def stop(self, wait_seconds: float) -> None:
        """Write what is left, close the file."""
        thread = self._writer
        if thread is not None:
            self.batches.put(_STOP)
            thread.join(wait_seconds)
            if thread.is_alive():
                # It still uses the descriptor.
                return
        os.close(self._fd)

    def _run(self) -> None:
        while True:
            lines = self.batches.get()
            if lines is _STOP:
                return
            if lines is _REOPEN:
                self._reopen()
            elif self._pipe:
                for group in pipe_batches(lines):
                    self._write(group)
            else:
                self._write(b"".join(lines))

    def _reopen(self) -> None:
        try:
            fresh = open_log(self.path)
        except OSError as error:
            # The old file is kept: better a line in a renamed file than none.
            self.reopen_failed += 1
            _log.warning("unable to reopen file '%s': %s", self.path, error.strerror)
            return
        os.close(self._fd)
        self._fd = fresh
        self._pipe = stat.S_ISFIFO(os.fstat(fresh).st_mode)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self._fd, rest)
                rest = rest[written:]
            except BlockingIOError:
                # A terminal or pipe that somebody else made non-blocking.
                select.select([], [self._fd], [])
            except InterruptedError:
                continue
            except OSError as error:
                self.failed += 1
                if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EDQUOT):
                    _log.warning("unable to write to '%s': %s", self.path, error.strerror)
                break
        else:
            self.completed += 1
        self.done_bytes += len(data)


class LogFile:
    """One file as loggers see it, shared by all that name its path."""

    __slots__ = (
        "path", "_stats", "_min_flush", "_lines", "_size", "_buffered", "_writer", "_started", "_completed", "_failed",
        "_reopen_failed", "_done",
    )  # fmt: skip

    def __init__(self, path: str, stats: FileStats, min_flush: int) -> None:
        """Opens the file. Raises OSError."""
        self.path = path
        self._stats = stats
        self._min_flush = min_flush
        self._lines: list[bytes] = []
        # Bytes in `_lines`, and bytes ever accepted.
        self._size: int = 0
        self._buffered: int = 0
        self._writer = FileThread(path)
        self._started: bool = False
        # What of the thread's counts is already in the stats.
        self._completed: int = 0
        self._failed: int = 0
        self._reopen_failed: int = 0
        self._done: int = 0

    def write(self, line: bytes) -> None:
        """Buffer whole lines. Dropped and counted when the file is 64 MiB behind."""
        size = len(line)
        if not size:
            return
        stats = self._stats
        if self._buffered - self._writer.done_bytes > _BACKLOG_LIMIT:
            stats.drop()
            return
        self._lines.append(line)
        self._size += size
        self._buffered += size
        stats.write_buffered.inc()
        stats.write_total_buffered.add(size)
        if self._size > self._min_flush or not self._started:
            self.flush()

    def flush(self) -> None:
        """Hand what is buffered to the thread, take its counts over."""
        if self._lines:
            self._started = True
            self._writer.hand_over(self._lines)
            self._lines = []
            self._size = 0
        self.collect()

    def collect(self) -> None:
        """Bring the stats up to what the thread has done."""
        thread = self._writer
        stats = self._stats
        completed = thread.completed
        if completed != self._completed:
            stats.write_completed.add(completed - self._completed)
            self._completed = completed
        failed = thread.failed
        if failed != self._failed:
            stats.write_failed.add(failed - self._failed)
            self._failed = failed
        reopen_failed = thread.reopen_failed
        if reopen_failed != self._reopen_failed:
            stats.reopen_failed.add(reopen_failed - self._reopen_failed)
            self._reopen_failed = reopen_failed
        done = thread.done_bytes
        if done != self._done:
            stats.write_total_buffered.sub(done - self._done)
            self._done = done

    def reopen(self) -> None:
        """Write what is buffered to the old file, then open the path anew."""
        self.flush()
        self._writer.hand_over(_REOPEN)

    def close(self, wait_seconds: float) -> None:
        self.flush()
        self._writer.stop(wait_seconds)
        self.collect()


class AccessLogManager(TimerOwner):
    """All log files of a process. Reopening is asked for by SIGUSR1 and by `/reopen_logs`."""

    def __init__(self, scope: Scope, flush_interval_ms: int = 10_000, min_flush_bytes: int = 64 * 1024) -> None:
        self._stats = FileStats(scope)
        self._interval_ms = flush_interval_ms
        self._min_flush = min_flush_bytes
        self._files: dict[str, LogFile] = {}
        self._timer: Timer | None = None

    def start(self, dispatcher: Dispatcher) -> None:
        """Begin to flush by time. To be called once, in the process that writes."""
        if self._timer is None:
            self._timer = dispatcher.timer(self, 0)
            self._timer.arm(self._interval_ms)

    def file(self, path: str) -> LogFile:
        """The file of that path, opened when it is asked for first. Raises OSError."""
        found = self._files.get(path)
        if found is None:
            found = LogFile(path, self._stats, self._min_flush)
            self._files[path] = found
        return found

    def on_timer(self, kind: int) -> None:
        for file in self._files.values():
            self._stats.flushed_by_timer.inc()
            file.flush()
        if self._timer is not None:
            self._timer.arm(self._interval_ms)

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def reopen(self) -> None:
        for file in self._files.values():
            file.reopen()

    def close(self, wait_seconds: float = CLOSE_SECONDS) -> None:
        """Write everything out; waits at most that long for each file."""
        if self._timer is not None:
            self._timer.disarm()
            self._timer = None
        for file in self._files.values():
            file.close(wait_seconds)
        self._files = {}


def open_log(path: str) -> int:
    """A descriptor to append to. Standard streams are duplicated: a container's may not be opened again by name."""
    standard = _STANDARD_STREAMS.get(path)
    if standard is not None:
        return os.dup(standard)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def pipe_batches(lines: list[bytes]) -> list[bytes]:
    """Lines joined into pieces of at most PIPE_BUF bytes; a longer line is a piece of its own."""
    batches: list[bytes] = []
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and size + len(line) > _PIPE_BATCH:
            batches.append(b"".join(group))
            group = []
            size = 0
        group.append(line)
        size += len(line)
    if group:
        batches.append(b"".join(group))
    return batches
