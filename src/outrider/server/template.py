"""The template: a warm process with one thread and no loop, from which workers are forked.

Main cannot fork workers itself: by then it has an event loop and threads. It forks the template first, when the
configuration is loaded and checked; the template then makes each worker, the first ones and replacements alike,
within milliseconds, sharing memory with them. Main orders one with an index and the worker's end of a socket pair; the
template tells main of births and deaths.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

WorkerMain = Callable[[int, socket.socket], None]
"""Runs a worker to its end: index, its end of the channel."""

_SPAWN: Final = b"S"
_EXIT_FAILURE: Final = 70


class Template:
    """Main's handle on the template process."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        # Reports come here: see `read_reports`.
        self.control = control
        self._partial = b""

    @classmethod
    def start(cls, worker_main: WorkerMain) -> Template:
        """Fork it. To be called once, before this process has a loop or threads."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        sys.stdout.flush()
        sys.stderr.flush()
        # Everything made so far lives for ever: the collector need not touch (and so unshare) it.
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _run_to_end(lambda: _serve(theirs, worker_main))
        theirs.close()
        ours.setblocking(False)
        return cls(pid, ours)

    def spawn(self, index: int, channel: socket.socket) -> None:
        """Ask for a worker; it gets `channel`, which the caller then closes. Raises OSError: the template is gone."""
        socket.send_fds(self.control, [_SPAWN + index.to_bytes(4, "big")], [channel.fileno()])

    def read_reports(self) -> list[tuple[str, int, int]] | None:
        """What there is: ("born", index, pid) and ("died", pid, wait status); None when the template is gone."""
        try:
            data = self.control.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self._partial += data
        reports: list[tuple[str, int, int]] = []
        while len(self._partial) >= 4:
            size = int.from_bytes(self._partial[:4], "big")
            if len(self._partial) < 4 + size:
                break
            reports.append(marshal.loads(self._partial[4 : 4 + size]))
            self._partial = self._partial[4 + size :]
        return reports

    def close(self) -> None:
        """Let the template end; its workers end with their channels."""
        self.control.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _run_to_end(body: Callable[[], None]) -> None:
    """Run the body of a forked process and leave without running anything of the parent's."""
    status = _EXIT_FAILURE
    try:
        body()
        status = 0
    except KeyboardInterrupt:
        status = 0
    except BaseException:  # the last stop before the process ends: say what happened
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def name_process(name: str) -> None:
    """What `ps` and `top` show; at most 15 characters."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(name[:15])


def _ignore(number: int, frame: Any) -> None:
    """Only there so that the wake-up descriptor is written to."""


def _serve(control: socket.socket, worker_main: WorkerMain) -> None:
    name_process("outrider-tmpl")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    wake_read, wake_write = socket.socketpair()
    wake_read.setblocking(False)
    wake_write.setblocking(False)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _ignore)
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(wake_read, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == wake_read.fileno():
                with contextlib.suppress(BlockingIOError):
                    wake_read.recv(4096)
                _reap(control)
            elif not _take_order(control, worker_main, (wake_read, wake_write)):
                return


def _take_order(control: socket.socket, worker_main: WorkerMain, own: tuple[socket.socket, ...]) -> bool:
    """One order of main's. False when main is gone."""
    try:
        order, descriptors, _, _ = socket.recv_fds(control, 5, 1)
    except ConnectionResetError:
        # Main is gone and has not read our last report.
        return False
    if not order:
        return False
    index = int.from_bytes(order[1:], "big")
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        for each in own:
            each.close()
        _run_to_end(lambda: worker_main(index, socket.socket(fileno=descriptors[0])))
    for descriptor in descriptors:
        os.close(descriptor)
    _report(control, ("born", index, pid))
    return True


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _report(control, ("died", pid, status))


def _report(control: socket.socket, report: tuple[str, int, int]) -> None:
    frame = marshal.dumps(report)
    # Main is gone: the next look at `control` says so.
    with contextlib.suppress(OSError):
        control.sendall(len(frame).to_bytes(4, "big") + frame)
