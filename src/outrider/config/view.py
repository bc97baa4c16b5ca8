"""`View`: how the rest of the proxy reads a configuration message.

A view wraps one protobuf message, knows its path, and remembers which fields
were read. A field that is set and that nobody read is one we do not honour;
`SupportPolicy` refuses it by its path, so a factory cannot forget a field:
it is enough not to read what it does not implement.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from google.protobuf.message import DecodeError, Message

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.shape import ANY, ENUM, MESSAGE, WRAPPER, FieldShape, Shape, shape_of
from outrider.config.struct import fill_from_struct, struct_to_dict, value_to_python

_log: Final = logging.getLogger("outrider.config")


class Locator(Protocol):
    """Knows where in a file a field stands."""

    def place(self, path: str) -> tuple[str | None, int | None]:
        """File and line (from 1) of a field path, each None when not known."""


class View:
    """One message, its path, and which of its fields were read.

    Every getter marks its field as read. A getter that does not fit the field
    (no such name, wrong type) raises KeyError or AssertionError: a fault of the
    program, never of the configuration.
    """

    __slots__ = ("_children", "_deep", "_deep_names", "_label", "_parent", "_proto", "_read", "_shape", "locator")

    def __init__(
        self, proto: Message, path: str = "", parent: View | None = None, locator: Locator | None = None
    ) -> None:
        self._proto: Any = proto
        self._shape: Shape = shape_of(type(proto))
        self._label: str = path
        self._parent: View | None = parent
        self._read: set[str] = set()
        self._children: dict[str, Any] | None = None
        self._deep: bool = False
        self._deep_names: set[str] | None = None
        self.locator: Locator | None = locator

    # What it is

    @property
    def path(self) -> str:
        """The path of this message, "" for a root."""
        if self._parent is None:
            return self._label
        above = self._parent.path
        return f"{above}.{self._label}" if above else self._label

    @property
    def type_name(self) -> str:
        """The full name of the message's type."""
        return self._shape.full_name

    @property
    def proto(self) -> Message:
        """The message itself; reading it through this marks nothing."""
        return self._proto  # type: ignore[no-any-return]

    def copy_proto(self) -> Message:
        """A copy of the message."""
        copy = type(self._proto)()
        copy.CopyFrom(self._proto)
        return copy  # type: ignore[no-any-return]

    def message_bytes(self) -> bytes:
        """The message serialized, equal for equal messages."""
        return self._proto.SerializeToString(deterministic=True)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<View {self.type_name} at {self.path or 'root'}>"

    # Scalars

    def text(self, name: str, default: str = "") -> str:
        """A string or StringValue; the default where a field with presence is not set."""
        value = self._scalar(name, default)
        assert isinstance(value, str), name
        return value

    def data(self, name: str) -> bytes:
        """A bytes field or BytesValue."""
        value = self._scalar(name, b"")
        assert isinstance(value, bytes), name
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A bool or BoolValue; the default where the wrapper is not set."""
        value = self._scalar(name, default)
        assert isinstance(value, bool), name
        return value

    def integer(self, name: str, default: int = 0) -> int:
        """Any integer field or wrapper; the default where a field with presence is not set."""
        value = self._scalar(name, default)
        assert isinstance(value, int) and not isinstance(value, bool), name
        return value

    def number(self, name: str, default: float = 0.0) -> float:
        """A float, double, their wrappers, or an `envoy.type.v3.Percent` (0 to 100)."""
        shape = self._shape.fields[name]
        if shape.kind == MESSAGE:
            assert shape.type_name == "envoy.type.v3.Percent" and not shape.repeated, name
            self._read.add(name)
            return float(getattr(self._proto, name).value) if self._proto.HasField(name) else default
        value = self._scalar(name, default)
        assert isinstance(value, float | int) and not isinstance(value, bool), name
        return float(value)

    def seconds(self, name: str) -> float | None:
        """A Duration in seconds; None where it is not set."""
        self._expect(name, "google.protobuf.Duration")
        if not self._proto.HasField(name):
            return None
        duration = getattr(self._proto, name)
        return float(duration.seconds + duration.nanos / 1e9)

    def millis(self, name: str) -> int | None:
        """A Duration in whole milliseconds, rounded down; None where it is not set."""
        self._expect(name, "google.protobuf.Duration")
        if not self._proto.HasField(name):
            return None
        duration = getattr(self._proto, name)
        return int(duration.seconds) * 1000 + int(duration.nanos) // 1_000_000

    def enum(self, name: str) -> str:
        """The name of an enum value; the number as text for one without a name."""
        shape = self._shape.fields[name]
        assert shape.kind == ENUM and not shape.repeated and not shape.is_map, name
        self._read.add(name)
        number = getattr(self._proto, name)
        return shape.enum_names.get(number) or str(number)

    def texts(self, name: str) -> list[str]:
        """A repeated string."""
        values = self._list(name)
        assert all(isinstance(value, str) for value in values), name
        return values

    def integers(self, name: str) -> list[int]:
        """A repeated integer."""
        values = self._list(name)
        assert all(isinstance(value, int) for value in values), name
        return values

    def numbers(self, name: str) -> list[float]:
        """A repeated float or double."""
        values = self._list(name)
        assert all(isinstance(value, float) for value in values), name
        return values

    def enums(self, name: str) -> list[str]:
        """The names of a repeated enum's values."""
        shape = self._shape.fields[name]
        assert shape.kind == ENUM and shape.repeated, name
        self._read.add(name)
        return [shape.enum_names.get(number) or str(number) for number in getattr(self._proto, name)]

    def text_map(self, name: str) -> dict[str, str]:
        """A map of strings, sorted by key."""
        shape = self._map(name)
        values = dict(sorted(getattr(self._proto, name).items()))
        assert shape.kind not in (MESSAGE, ANY) and all(isinstance(value, str) for value in values.values()), name
        return values

    # Messages

    def message(self, name: str) -> View | None:
        """A singular message, None where it is not set. An Any is unpacked."""
        shape = self._shape.fields[name]
        assert shape.kind >= MESSAGE and not shape.repeated, name
        self._read.add(name)
        if not self._proto.HasField(name):
            return None
        children = self._own_children()
        child = children.get(name)
        if child is None:
            child = children[name] = self._child(getattr(self._proto, name), name, shape)
        return child

    def messages(self, name: str) -> list[View]:
        """A repeated message. Anys are unpacked."""
        shape = self._shape.fields[name]
        assert shape.kind >= MESSAGE and shape.repeated and not shape.is_map, name
        self._read.add(name)
        children = self._own_children()
        found = children.get(name)
        if found is None:
            values = getattr(self._proto, name)
            if shape.kind == ANY:
                found = [self._child(value, f"{name}[{index}]", shape) for index, value in enumerate(values)]
            else:
                found = [View(value, f"{name}[{index}]", self) for index, value in enumerate(values)]
            children[name] = found
        return list(found)

    def message_map(self, name: str) -> dict[str, View]:
        """A map of messages, sorted by key. Anys are unpacked."""
        shape = self._map(name)
        assert shape.kind >= MESSAGE, name
        children = self._own_children()
        found = children.get(name)
        if found is None:
            values = getattr(self._proto, name)
            found = children[name] = {
                key: self._child(values[key], f'{name}["{key}"]', shape) for key in sorted(values)
            }
        return dict(found)

    def any(self, name: str) -> View:
        """What a google.protobuf.Any field holds, unpacked.

        A TypedStruct becomes the message that it names, where that is known.
        Raises ConfigError where the field is not set, or its content is of an
        unknown type or malformed.
        """
        assert self._shape.fields[name].kind == ANY, name
        child = self.message(name)
        if child is None:
            raise self.error("is required", name)
        return child

    def any_map(self, name: str) -> dict[str, View]:
        """A map of Anys (`typed_per_filter_config`), unpacked."""
        assert self._shape.fields[name].kind == ANY, name
        return self.message_map(name)

    def any_type(self, name: str) -> str:
        """The type that an Any field names, "" where it is not set: the inner one for a TypedStruct. Marks nothing."""
        assert self._shape.fields[name].kind == ANY and not self._shape.fields[name].repeated, name
        if not self._proto.HasField(name):
            return ""
        value = getattr(self._proto, name)
        outer = api.type_name(value.type_url)
        if outer in ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"):
            typed_struct: Any = api.new(outer)
            try:
                typed_struct.ParseFromString(value.value)
            except DecodeError:
                return outer
            return api.type_name(typed_struct.type_url) or outer
        return outer

    def struct(self, name: str) -> dict[str, object] | None:
        """A google.protobuf.Struct as a dict; None where it is not set."""
        self._expect(name, "google.protobuf.Struct")
        return struct_to_dict(getattr(self._proto, name)) if self._proto.HasField(name) else None

    def struct_map(self, name: str) -> dict[str, dict[str, object]]:
        """A map of Structs (`filter_metadata`)."""
        shape = self._map(name)
        assert shape.type_name == "google.protobuf.Struct", name
        values = getattr(self._proto, name)
        return {key: struct_to_dict(values[key]) for key in sorted(values)}

    def value(self, name: str) -> object:
        """A google.protobuf.Value as Python; None where it is null or not set."""
        self._expect(name, "google.protobuf.Value")
        return value_to_python(getattr(self._proto, name)) if self._proto.HasField(name) else None

    # Presence, and reading without getters

    def which(self, oneof: str) -> str | None:
        """The name of the field that is set in a oneof; marks nothing."""
        if oneof not in self._shape.oneofs:
            raise KeyError(oneof)
        return self._proto.WhichOneof(oneof)  # type: ignore[no-any-return]

    def knows(self, name: str) -> bool:
        """Whether the message's type has such a field."""
        return name in self._shape.fields

    def has(self, name: str) -> bool:
        """Whether a field is set (without presence: differs from its default); marks nothing."""
        shape = self._shape.fields[name]
        if shape.has_presence:
            return self._proto.HasField(name)  # type: ignore[no-any-return]
        return bool(getattr(self._proto, name))

    def raw(self, name: str) -> Message:
        """A field's message itself (or its container), everything in it counted as read."""
        shape = self._shape.fields[name]
        assert shape.kind >= MESSAGE, name
        self.accept(name)
        return getattr(self._proto, name)  # type: ignore[no-any-return]

    def accept(self, *names: str) -> None:
        """Count fields as read with all below them: for those documented to have no effect here."""
        if self._deep_names is None:
            self._deep_names = set()
        for name in names:
            if name not in self._shape.fields:
                raise KeyError(name)
            self._read.add(name)
            self._deep_names.add(name)

    def take(self) -> Message:
        """The message itself, everything in it counted as read."""
        self._deep = True
        return self._proto  # type: ignore[no-any-return]

    def empty(self, type_name: str, label: str) -> View:
        """A view of an empty message of some type, as if it stood below this one. Raises KeyError."""
        return View(api.new(type_name), label, self)

    def was_read(self, name: str) -> bool:
        """Whether a getter was called for the field, or it was accepted."""
        return name in self._read

    def unread(self) -> list[str]:
        """The paths of all fields that are set and that nothing read.

        A message that was not read is named once, by its own path. A message
        whose getter was called is looked into, also when it came out of an Any.
        """
        found: list[str] = []
        self._collect_unread(found)
        return found

    # Messages to the user

    def error(self, text: str, field: str | None = None) -> ConfigError:
        """A ConfigError that names this message, or one of its fields."""
        path = self.path
        if field is not None:
            path = f"{path}.{field}" if path else field
        file, line = self.place(path)
        return ConfigError(text, path or None, file, line)

    def place(self, path: str) -> tuple[str | None, int | None]:
        """File and line of a full field path, where they are known."""
        view: View | None = self
        while view is not None:
            if view.locator is not None:
                return view.locator.place(path)
            view = view._parent
        return None, None

    def outdated(self, text: str, field: str | None = None) -> None:
        """Log a warning that a construct of an older Envoy is in use here."""
        _log.warning("outdated configuration: %s", self.error(text, field))

    # The rest is private

    def _scalar(self, name: str, default: object) -> object:
        shape = self._shape.fields[name]
        self._read.add(name)
        if shape.kind == WRAPPER:
            return getattr(self._proto, name).value if self._proto.HasField(name) else default
        if shape.has_presence and not self._proto.HasField(name):
            return default
        return getattr(self._proto, name)

    def _list(self, name: str) -> list[Any]:
        shape = self._shape.fields[name]
        assert shape.repeated and not shape.is_map, name
        self._read.add(name)
        values = getattr(self._proto, name)
        return [value.value for value in values] if shape.kind == WRAPPER else list(values)

    def _map(self, name: str) -> FieldShape:
        shape = self._shape.fields[name]
        assert shape.is_map, name
        self._read.add(name)
        return shape

    def _expect(self, name: str, type_name: str) -> None:
        shape = self._shape.fields[name]
        assert shape.type_name == type_name and not shape.repeated, name
        self._read.add(name)

    def _own_children(self) -> dict[str, Any]:
        if self._children is None:
            self._children = {}
        return self._children

    def _child(self, value: Any, label: str, shape: FieldShape) -> View:
        child = View(value, label, self)
        return unpack(child) if shape.kind == ANY else child

    def _collect_unread(self, found: list[str]) -> None:
        if self._deep:
            return
        for field, _ in self._proto.ListFields():
            name = field.name
            if name not in self._read:
                path = self.path
                found.append(f"{path}.{name}" if path else name)
                continue
            if self._children is None or (self._deep_names is not None and name in self._deep_names):
                continue
            children = self._children.get(name)
            if children is None:
                continue
            if isinstance(children, View):
                children._collect_unread(found)
            else:
                for child in children.values() if isinstance(children, Mapping) else children:
                    child._collect_unread(found)


def unpack(view: View) -> View:
    """The view of what a google.protobuf.Any holds, at the Any's own path.

    A TypedStruct becomes the message it names when that type is known. Raises
    ConfigError when the type is unknown or the content malformed.
    """
    packed: Any = view.proto
    message_class = api.class_for_url(packed.type_url)
    if message_class is None:
        raise view.error(f"unknown type {packed.type_url!r}" if packed.type_url else "has no @type")
    message: Any = message_class()
    try:
        message.ParseFromString(packed.value)
    except DecodeError:
        raise view.error(f"does not hold a valid {api.type_name(packed.type_url)}") from None
    if shape_of(message_class).is_typed_struct:
        inner = api.class_for_url(message.type_url)
        if inner is not None:
            converted = inner()
            fill_from_struct(converted, message.value, view)
            message = converted
    return View(message, view._label, view._parent, view.locator)
