"""Data and queues that the plugins of one process share, by `vm_id`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outrider.extensions.wasm.context import RootContext

# Bounds against plugins that keep what requests say.
_MOST_BYTES: Final = 64 << 20
_MOST_QUEUED: Final = 100_000


class SharedQueue:
    __slots__ = ("items", "owner")

    def __init__(self, owner: RootContext) -> None:
        self.items: deque[bytes] = deque()
        # Who is told when something comes.
        self.owner = owner


class SharedStore:
    def __init__(self) -> None:
        # (vm_id, key) -> (value, version)
        self._data: dict[tuple[str, bytes], tuple[bytes, int]] = {}
        self._size = 0
        self._version = 0
        self._names: dict[tuple[str, bytes], int] = {}
        self.queues: dict[int, SharedQueue] = {}

    def get(self, vm_id: str, key: bytes) -> tuple[bytes, int] | None:
        return self._data.get((vm_id, key))

    def set(self, vm_id: str, key: bytes, value: bytes, version: int) -> bool | None:
        """False: another version is there (0: any). None: no room."""
        old = self._data.get((vm_id, key))
        if version and (old is None or old[1] != version):
            return False
        size = self._size + len(value) - (0 if old is None else len(old[0]))
        if size > _MOST_BYTES:
            return None
        self._size = size
        self._version += 1
        self._data[(vm_id, key)] = (value, self._version)
        return True

    def register_queue(self, vm_id: str, name: bytes, owner: RootContext) -> int:
        token = self._names.get((vm_id, name))
        if token is None:
            token = self._names[(vm_id, name)] = len(self._names) + 1
            self.queues[token] = SharedQueue(owner)
        else:
            self.queues[token].owner = owner
        return token

    def resolve_queue(self, vm_id: str, name: bytes) -> int | None:
        return self._names.get((vm_id, name))

    def enqueue(self, token: int, data: bytes) -> bool | None:
        """False: no such queue. None: it is full."""
        queue = self.queues.get(token)
        if queue is None:
            return False
        if len(queue.items) >= _MOST_QUEUED:
            return None
        queue.items.append(data)
        queue.owner.on_queue_ready(token)
        return True


SHARED: Final = SharedStore()
