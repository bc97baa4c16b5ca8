"""Envoy's configuration messages, made from the descriptors that `tools/build_api.py` wrote.

The descriptors live in a private pool, never in protobuf's default one, so that
no installed package that owns the name `envoy` collides with ours. A file of
the API is added to the pool when a message of it is first asked for.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

FOLDER: Final = Path(__file__).resolve().parent / "_api"

TYPE_URL_PREFIX: Final = "type.googleapis.com/"


class MissingApi(RuntimeError):
    """The data files are not there: the package was not built."""


class _Api:
    """The pool, and the index that says which file defines a symbol."""

    __slots__ = ("_added", "_blob", "_classes", "_files", "_lock", "_options", "pool", "source", "symbols")

    def __init__(self, folder: Path) -> None:
        try:
            index = json.loads((folder / "index.json").read_bytes())
            self._blob = (folder / "descriptors.bin").read_bytes()
        except FileNotFoundError as error:
            raise MissingApi(f"{error.filename} is missing: run python tools/build_api.py") from None
        self.source: str = index["source"]
        self.symbols: dict[str, int] = index["symbols"]
        self._files: list[tuple[str, int, int, list[int]]] = index["files"]
        self._added = bytearray(len(self._files))
        self._classes: dict[str, type[Message]] = {}
        self._options: dict[str, dict[str, object]] | None = None
        self._lock = threading.RLock()
        self.pool = descriptor_pool.DescriptorPool()

    def _add(self, number: int) -> None:
        if self._added[number]:
            return
        _, start, length, dependencies = self._files[number]
        for dependency in dependencies:
            self._add(dependency)
        self.pool.AddSerializedFile(self._blob[start : start + length])
        self._added[number] = 1

    def file_names(self) -> list[str]:
        return [file[0] for file in self._files]

    def descriptor(self, full_name: str) -> Descriptor:
        with self._lock:
            self._add(self.symbols[full_name])
            return self.pool.FindMessageTypeByName(full_name)

    def message_class(self, full_name: str) -> type[Message]:
        found = self._classes.get(full_name)
        if found is None:
            found = message_factory.GetMessageClass(self.descriptor(full_name))
            self._classes[full_name] = found
        return found

    def add_all(self) -> None:
        with self._lock:
            for number in range(len(self._files)):
                self._add(number)

    def options(self) -> dict[str, dict[str, object]]:
        if self._options is None:
            self._options = cast("dict[str, dict[str, object]]", json.loads((FOLDER / "options.json").read_bytes()))
        return self._options


@cache
def _loaded() -> _Api:
    return _Api(FOLDER)


def message_class(full_name: str) -> type[Message]:
    """The class of a message, by its full name (`envoy.config.cluster.v3.Cluster`). Raises KeyError."""
    return _loaded().message_class(full_name)


def new(full_name: str) -> Message:
    """An empty message. Raises KeyError when there is no such type."""
    return _loaded().message_class(full_name)()


def descriptor(full_name: str) -> Descriptor:
    """The descriptor of a message. Raises KeyError."""
    return _loaded().descriptor(full_name)


def has_type(full_name: str) -> bool:
    """Whether a message of that name exists."""
    api = _loaded()
    if full_name not in api.symbols:
        return False
    try:
        api.descriptor(full_name)
    except KeyError:  # an enum or a service
        return False
    return True


def class_for_url(type_url: str) -> type[Message] | None:
    """The class that a type URL (`type.googleapis.com/...`) names, or None."""
    name = type_name(type_url)
    return message_class(name) if has_type(name) else None


def type_name(type_url: str) -> str:
    """The message name in a type URL: what stands behind its last slash."""
    return type_url.rpartition("/")[2]


def pool() -> descriptor_pool.DescriptorPool:
    """The private pool with every file in it (for `json_format`, reflection)."""
    api = _loaded()
    api.add_all()
    return api.pool


def file_names() -> list[str]:
    """The .proto files that make up the surface."""
    return _loaded().file_names()


def symbols() -> list[str]:
    """The full names of all messages, enums and services."""
    return list(_loaded().symbols)


def source() -> str:
    """From what the surface was made."""
    return _loaded().source


def options(kind: str) -> Mapping[str, object]:
    """The custom options of one kind: `rules`, `required_oneofs`, `deprecated`, `disallowed`, `sensitive`, ...

    Messages and fields are keyed as `tools/build_api.py` documents it.
    """
    return _loaded().options()[kind]
