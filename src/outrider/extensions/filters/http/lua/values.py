"""What scripts hold: headers, bodies, metadata; and plain values on their way between Python and Lua."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH

if TYPE_CHECKING:
    from outrider.extensions.filters.http.lua.handle import StreamHandle

# How deep tables may be nested.
_DEPTH: Final = 64
# Where the HTTP/1 codec looks for a reason phrase of its own (http/http1/framing.py).
_REASON: Final = b":reason"


class LuaFault(Exception):
    """An error that the script gets at the place of its call."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def want_text(value: object, position: int, method: str) -> bytes:
    """A string argument; numbers are taken as their text, as Lua does. Raises LuaFault."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    raise LuaFault(f"bad argument #{position} to '{method}' (string expected, got {lua_type(value)})")


def want_number(value: object, position: int, method: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, bytes):
        try:
            return float(value)
        except ValueError:
            pass
    raise LuaFault(f"bad argument #{position} to '{method}' (number expected, got {lua_type(value)})")


def number_text(value: float) -> bytes:
    """As Lua writes numbers ("%.14g")."""
    return b"%d" % value if isinstance(value, int) or value.is_integer() else f"{value:.14g}".encode()


def lua_type(value: object) -> str:
    if value is None:
        return "no value"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, bytes):
        return "string"
    return "table"


def to_lua(lua: Any, value: object, depth: int = 0) -> object:
    """JSON-like Python as Lua values; `lua` is the runtime."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, dict) and depth < _DEPTH:
        table = lua.table()
        for key, each in value.items():
            table[key.encode("utf-8", "surrogateescape")] = to_lua(lua, each, depth + 1)
        return table
    if isinstance(value, list | tuple) and depth < _DEPTH:
        table = lua.table()
        for index, each in enumerate(value):
            table[index + 1] = to_lua(lua, each, depth + 1)
        return table
    if value is None or isinstance(value, bool | int | float | bytes):
        return value
    return None


def from_lua(value: object, depth: int = 0) -> object:
    """Lua values as JSON-like Python: a table with a first element is a list. Raises LuaFault."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(value)
    items = getattr(value, "items", None)
    if items is None or depth >= _DEPTH:
        raise LuaFault("unexpected type")
    pairs = list(items())
    length = len(value)  # type: ignore[arg-type]
    if length > 0:
        found = dict(pairs)
        return [from_lua(found.get(index), depth + 1) for index in range(1, length + 1)]
    made: dict[str, object] = {}
    for key, each in pairs:
        if not isinstance(key, bytes):
            raise LuaFault("unexpected type")
        made[key.decode("utf-8", "surrogateescape")] = from_lua(each, depth + 1)
    return made


def fill_headers(headers: HeaderMap, table: object, method: str) -> None:
    """The entries of a Lua table: a text, or a table of texts, for each name. Raises LuaFault."""
    items = getattr(table, "items", None)
    if items is None:
        raise LuaFault(f"bad argument to '{method}' (table expected, got {lua_type(table)})")
    for key, value in items():
        name = want_text(key, 2, method).lower()
        values = getattr(value, "values", None)
        for each in [value] if values is None else list(values()):
            _check_field(name, want_text(each, 2, method))
            if isinstance(headers, ResponseHeaderMap) and name == b":status":
                text = want_text(each, 2, method)
                headers.status = int(text) if text.isdigit() and len(text) < 4 else 0
            else:
                headers.add(name, want_text(each, 2, method))


def _check_field(name: bytes, value: bytes) -> None:
    """No text of a script ends a field line (RFC 9110 section 5.5)."""
    if b"\r" in value or b"\n" in value or b"\0" in value or not name or any(byte <= 32 for byte in name):
        raise LuaFault("header name or value contains characters that are not allowed")


class Iteration:
    """A walk over a snapshot; nothing may be changed until it is over."""

    __slots__ = ("entries", "position", "active")

    def __init__(self) -> None:
        self.entries: list[tuple[object, object]] = []
        self.position = 0
        self.active = False

    def begin(self, entries: list[tuple[object, object]]) -> None:
        if self.active:
            raise LuaFault("cannot create a second iterator before completing the first")
        self.entries = entries
        self.position = 0
        self.active = True

    def step(self) -> tuple[object, object]:
        if self.position >= len(self.entries):
            self.active = False
            self.entries = []
            return None, None
        entry = self.entries[self.position]
        self.position += 1
        return entry


class Headers:
    """`headers()` and `trailers()`. `handle` None: trailers, which may be changed at any time."""

    __slots__ = ("map", "handle", "iteration")

    def __init__(self, header_map: HeaderMap, handle: StreamHandle | None) -> None:
        self.map = header_map
        self.handle = handle
        self.iteration = Iteration()

    def add(self, name: object, value: object) -> None:
        self._check_modifiable()
        key, text = want_text(name, 1, "add").lower(), want_text(value, 2, "add")
        _check_field(key, text)
        self.map.add(key, text)

    def replace(self, name: object, value: object) -> None:
        self._check_modifiable()
        key, text = want_text(name, 1, "replace").lower(), want_text(value, 2, "replace")
        _check_field(key, text)
        if key == b":status" and not (text.isdigit() and len(text) == 3):
            raise LuaFault(":status must be between 200-599")
        # At the end, as Envoy puts it.
        self.map.remove(key)
        self.map.set(key, text)

    def remove(self, name: object) -> None:
        self._check_modifiable()
        self.map.remove(want_text(name, 1, "remove").lower())

    def get(self, name: object) -> bytes | None:
        return self.map.get_joined(want_text(name, 1, "get").lower())

    def get_at_index(self, name: object, index: object) -> bytes | None:
        values = self.map.get_all(want_text(name, 1, "getAtIndex").lower())
        position = int(want_number(index, 2, "getAtIndex"))
        return (values[position] or None) if 0 <= position < len(values) else None

    def get_num_values(self, name: object) -> int:
        return len(self.map.get_all(want_text(name, 1, "getNumValues").lower()))

    def set_reason(self, phrase: object) -> None:
        text = want_text(phrase, 1, "setHttp1ReasonPhrase")
        if not isinstance(self.map, ResponseHeaderMap):
            raise LuaFault("setHttp1ReasonPhrase can be used in the response path only")
        _check_field(b"reason", text)
        case = dict(self.map.case or {})
        case[_REASON] = text
        self.map.case = case

    def begin_iteration(self) -> None:
        self.iteration.begin([(name, value) for name, value in self.map.all_items()])

    def next_entry(self) -> tuple[object, object]:
        return self.iteration.step()

    def _check_modifiable(self) -> None:
        if self.iteration.active:
            raise LuaFault("header map cannot be modified while iterating")
        handle = self.handle
        if handle is None:
            return
        if handle.headers_continued:
            raise LuaFault("header map can no longer be modified")
        handle.on_headers_modified()


class Body:
    """The whole body, or a chunk of it."""

    __slots__ = ("data", "headers", "changed")

    def __init__(self, data: bytes, headers: HeaderMap) -> None:
        self.data = data
        self.headers = headers
        self.changed = False

    def length(self) -> int:
        return len(self.data)

    def get_bytes(self, index: object, length: object) -> bytes:
        start, count = int(want_number(index, 1, "getBytes")), int(want_number(length, 2, "getBytes"))
        if start < 0 or count < 0 or start + count > len(self.data):
            raise LuaFault("index/length must be >= 0 and (index + length) must be <= buffer size")
        return self.data[start : start + count]

    def set_bytes(self, value: object) -> int:
        self.data = want_text(value, 1, "setBytes")
        self.changed = True
        self.headers.set(CONTENT_LENGTH, b"%d" % len(self.data))
        return len(self.data)


def set_body_bytes(body: Body, value: object) -> int:
    """`setBytes`, of a chunk or of the whole body."""
    return body.set_bytes(value)


class Metadata:
    """Values by key: of a route, a virtual host, the filter's context."""

    __slots__ = ("lua", "values", "iteration")

    def __init__(self, lua: Any, values: dict[str, object]) -> None:
        self.lua = lua
        self.values = values
        self.iteration = Iteration()

    def get(self, key: object) -> object:
        return to_lua(self.lua, self.values.get(want_text(key, 1, "get").decode("utf-8", "surrogateescape")))

    def begin_iteration(self) -> None:
        self.iteration.begin([(to_lua(self.lua, key), to_lua(self.lua, each)) for key, each in self.values.items()])

    def next_entry(self) -> tuple[object, object]:
        return self.iteration.step()
