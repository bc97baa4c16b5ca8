"""What there is: resources by type and name, with versions. Safe to use from several threads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from examples.control_plane.resources import ORDER, Resource, name_of, packed_from

from outrider.config import api


class TypeSnapshot:
    """All resources of one type at one version; never changed once it is in the cache."""

    __slots__ = ("resources", "version")

    def __init__(self, version: str = "", resources: Mapping[str, Resource] | None = None) -> None:
        self.version = version
        self.resources: dict[str, Resource] = dict(resources or {})


class SnapshotCache:
    """The resources of all types. Whoever listens is told which types have changed, in the order to send them in."""

    def __init__(self) -> None:
        # All types now, by one thread: protobuf's pools must not grow while others use them.
        api.pool()
        self._lock = threading.Lock()
        self._types: dict[str, TypeSnapshot] = {}
        self._listeners: list[Callable[[list[str]], None]] = []
        self._counter = 0

    def get(self, type_name: str) -> TypeSnapshot:
        """What there is now."""
        with self._lock:
            return self._types.get(type_name) or TypeSnapshot()

    def set(self, type_name: str, trees: Iterable[Mapping[str, object]], version: str = "") -> str:
        """Replace all resources of a type; `version` "" = the next number. Returns the version."""
        return self.set_all({type_name: list(trees)}, version)

    def set_all(self, trees: Mapping[str, Sequence[Mapping[str, object]]], version: str = "") -> str:
        """Replace all resources of several types at once, as one version."""
        made = {
            type_name: {name_of(type_name, tree): make(type_name, tree) for tree in each}
            for type_name, each in trees.items()
        }
        with self._lock:
            version = version or self._next_version()
            for type_name, resources in made.items():
                self._types[type_name] = TypeSnapshot(version, resources)
        self._tell(list(made))
        return version

    def put(self, type_name: str, resource: Resource, version: str = "") -> str:
        """Add or replace one resource."""
        return self._change(type_name, {resource.name: resource}, (), version)

    def update(self, type_name: str, tree: Mapping[str, object], version: str = "") -> str:
        """Add or replace one resource, given as a dict."""
        return self.put(type_name, make(type_name, tree), version)

    def remove(self, type_name: str, name: str, version: str = "") -> str:
        """Take one resource away."""
        return self._change(type_name, {}, (name,), version)

    def listen(self, listener: Callable[[list[str]], None]) -> None:
        with self._lock:
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[list[str]], None]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _change(self, type_name: str, put: Mapping[str, Resource], gone: Sequence[str], version: str) -> str:
        with self._lock:
            version = version or self._next_version()
            old = self._types.get(type_name) or TypeSnapshot()
            resources = {**old.resources, **put}
            for name in gone:
                resources.pop(name, None)
            self._types[type_name] = TypeSnapshot(version, resources)
        self._tell([type_name])
        return version

    def _next_version(self) -> str:
        self._counter += 1
        return str(self._counter)

    def _tell(self, types: list[str]) -> None:
        ordered = [each for each in ORDER if each in types] + [each for each in types if each not in ORDER]
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(ordered)


def make(type_name: str, tree: Mapping[str, object], aliases: Sequence[str] = (), name: str = "") -> Resource:
    """A resource whose version is a digest of its content."""
    packed = packed_from(type_name, tree)
    version = hashlib.sha256(packed.value).hexdigest()[:12]
    return Resource(name or name_of(type_name, tree), packed, version, aliases)
