"""The query of a path, taken apart and put together again, as Envoy's `QueryParamsMulti`: sorted by name.

Envoy writes the decoded values back as they are. Here, what cannot stand in a request line stays encoded.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

_UNSAFE: Final = re.compile(rb"[\x00-\x20\x7f]")


def _encode(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match.group(0)[0]


class QueryParameters:
    """Parameters by name, each with its values in order. Names and values are percent-decoded."""

    __slots__ = ("_before", "_values")

    def __init__(self, path: bytes) -> None:
        """`path` may lack a query; a fragment counts as part of it."""
        before, _, query = path.partition(b"?")
        self._before = before
        self._values: dict[bytes, list[bytes]] = {}
        if query:
            for part in query.split(b"&"):
                name, _, value = part.partition(b"=")
                self.add(unquote_to_bytes(name), unquote_to_bytes(value))

    def has(self, name: bytes) -> bool:
        return name in self._values

    def add(self, name: bytes, value: bytes) -> None:
        self._values.setdefault(name, []).append(value)

    def set(self, name: bytes, value: bytes) -> None:
        """Make `value` the only one of `name`."""
        self._values[name] = [value]

    def remove(self, name: bytes) -> None:
        self._values.pop(name, None)

    def path(self) -> bytes:
        """The path with the query as it is now."""
        parts = [name + b"=" + value for name in sorted(self._values) for value in self._values[name]]
        return self._before + b"?" + _UNSAFE.sub(_encode, b"&".join(parts)) if parts else self._before
