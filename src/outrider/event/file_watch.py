"""Who tells when a file was replaced: inotify where there is one, else a look at the folder once a second.

Envoy watches for files that are moved into place (`rename`), because a file that is written in place can be seen half
done; so do we. Source: Envoy documentation, "Filesystem subscriptions", `core.v3.PathConfigSource`.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

_IN_MOVED_TO: Final = 0x80
_IN_NONBLOCK: Final = os.O_NONBLOCK
_EVENT: Final = struct.Struct("iIII")
_POLL_S: Final = 1.0


class FileWatches:
    """All watches of a process over one inotify descriptor."""

    def __init__(self, dispatcher: Dispatcher, use_inotify: bool = True) -> None:
        self._dispatcher = dispatcher
        self._libc: ctypes.CDLL | None = None
        self._descriptor = -1
        # By the number of the inotify watch: file names ("" = any) and who is told.
        self._by_number: dict[int, list[FileWatch]] = {}
        if use_inotify and sys.platform == "linux":
            self._open()

    def _open(self) -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            descriptor = int(libc.inotify_init1(_IN_NONBLOCK | os.O_CLOEXEC))
        except (OSError, AttributeError):
            return
        if descriptor < 0:
            return  # out of inotify instances: polling does
        self._libc = libc
        self._descriptor = descriptor
        self._dispatcher.when_attached(self._listen)

    def _listen(self) -> None:
        if self._descriptor >= 0:
            self._dispatcher.loop.add_reader(self._descriptor, self._readable)

    def watch(self, folder: str, name: str, changed: Callable[[], None], poll_s: float = 0.0) -> FileWatch:
        """Have `changed` called when a file is moved to `folder`/`name`; `name` "": to any name in it.

        `poll_s` > 0: look that often instead. Raises OSError: there is no such folder.
        """
        watch = FileWatch(self, folder, name, changed)
        os.stat(folder)
        if self._libc is not None and poll_s <= 0:
            number = int(self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _IN_MOVED_TO))
            if number >= 0:
                watch.number = number
                self._by_number.setdefault(number, []).append(watch)
                return watch
        watch.poll_s = poll_s if poll_s > 0 else _POLL_S
        watch.seen = watch.look()
        self._dispatcher.when_attached(lambda: self._begin(watch))
        return watch

    def _begin(self, watch: FileWatch) -> None:
        if not watch.closed:
            watch.handle = self._dispatcher.call_later(watch.poll_s, self._poll, watch)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except (BlockingIOError, InterruptedError):
            return
        offset = 0
        told: dict[FileWatch, None] = {}
        while offset + _EVENT.size <= len(data):
            number, _, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            for watch in self._by_number.get(number, ()):
                if not watch.name or watch.name == name:
                    told[watch] = None
        for watch in told:
            if not watch.closed:
                watch.changed()

    def _poll(self, watch: FileWatch) -> None:
        if watch.closed:
            return
        watch.handle = self._dispatcher.call_later(watch.poll_s, self._poll, watch)
        seen = watch.look()
        if seen != watch.seen:
            watch.seen = seen
            watch.changed()

    def forget(self, watch: FileWatch) -> None:
        watches = self._by_number.get(watch.number)
        if watches is None or watch not in watches:
            return
        watches.remove(watch)
        if not watches:
            del self._by_number[watch.number]
            if self._libc is not None:
                self._libc.inotify_rm_watch(self._descriptor, watch.number)

    def close(self) -> None:
        if self._descriptor >= 0:
            if self._dispatcher.loop is not None:
                self._dispatcher.loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        self._libc = None
        self._by_number.clear()


class FileWatch:
    """One watched file, or folder."""

    __slots__ = ("changed", "closed", "folder", "handle", "name", "number", "owner", "poll_s", "seen")

    def __init__(self, owner: FileWatches, folder: str, name: str, changed: Callable[[], None]) -> None:
        self.owner = owner
        self.folder = folder
        self.name = name
        self.changed = changed
        self.closed = False
        # Of inotify; -1: polled.
        self.number = -1
        self.poll_s = _POLL_S
        self.seen: object = None
        self.handle: asyncio.TimerHandle | None = None

    def look(self) -> object:
        """Something that differs when the file (or anything moved into the folder) has been replaced."""
        try:
            found = os.stat(os.path.join(self.folder, self.name) if self.name else self.folder)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def close(self) -> None:
        self.closed = True
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        self.owner.forget(self)
