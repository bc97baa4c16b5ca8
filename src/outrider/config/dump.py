"""Messages as JSON the way Envoy prints them (`/config_dump`), with secrets redacted, and field masks.

Field names in snake_case, enums by name, Anys expanded, durations as `0.250s`,
64-bit integers as strings, whole numbers without a fraction.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import struct as binary
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from outrider.config import api
from outrider.config.parse import Reader
from outrider.config.shape import ANY, ENUM, SCALAR, WRAPPER, FieldShape, shape_of
from outrider.config.struct import value_to_python

_REDACTED: Final = "[redacted]"
_REDACTED_BYTES: Final = base64.b64encode(_REDACTED.encode()).decode()
_64_BIT: Final = frozenset(
    (
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
    )
)
_VALUE_IN_ANY: Final = frozenset(
    f"google.protobuf.{name}" for name in ("Duration", "Timestamp", "FieldMask", "Struct", "Value", "ListValue")
)


def to_json_tree(message: Message, redact: bool = False, defaults: bool = False) -> Any:
    """The JSON form of a message as Python values.

    With `redact`, fields that the API marks as sensitive say `[redacted]`, as
    in Envoy's dumps. With `defaults`, fields without presence are there also
    where they have their default value, as in `/server_info`.
    """
    return _Printer(redact, defaults).message(message, False)


def to_json_text(tree: object) -> str:
    """A JSON tree as text, laid out and escaped as Envoy does: indented by one space."""
    text = json.dumps(tree, indent=1, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("\x7f", "\\u007f")


class _Printer:
    __slots__ = ("_defaults", "_redact", "_sensitive", "_special")

    def __init__(self, redact: bool, defaults: bool) -> None:
        self._redact = redact
        self._defaults = defaults
        self._sensitive = api.options("sensitive") if redact else {}
        self._special: dict[str, Callable[[Any], object]] = {
            "google.protobuf.Struct": lambda message: {
                key: _plain(value_to_python(message.fields[key])) for key in sorted(message.fields)
            },
            "google.protobuf.Value": lambda message: _plain(value_to_python(message)),
            "google.protobuf.ListValue": lambda message: [_plain(value_to_python(item)) for item in message.values],
            "google.protobuf.Duration": lambda message: duration_text(message.seconds, message.nanos),
            "google.protobuf.Timestamp": lambda message: timestamp_text(message.seconds, message.nanos),
            "google.protobuf.FieldMask": lambda message: ",".join(_camel(path) for path in message.paths),
        }

    def message(self, message: Any, secret: bool) -> object:
        shape = shape_of(type(message))
        special = self._special.get(shape.full_name)
        if special is not None:
            return special(message)
        if shape.full_name == "google.protobuf.Any":
            return self._any(message, secret)
        if self._redact and shape.is_typed_struct:
            return self._typed_struct(message, secret)
        result: dict[str, object] = {}
        for descriptor, value in _all_fields(message) if self._defaults else message.ListFields():
            name = descriptor.name
            field = shape.fields[name]
            hidden = secret or f"{shape.full_name}.{name}" in self._sensitive
            if hidden and field.kind in (SCALAR, ENUM) and not _is_text(descriptor, field):
                continue  # Envoy clears what is sensitive and not text
            result[name] = self._field(descriptor, field, value, hidden)
        return result

    def _field(self, descriptor: FieldDescriptor, field: FieldShape, value: Any, secret: bool) -> object:
        if field.is_map:
            assert descriptor.message_type is not None
            inner = descriptor.message_type.fields_by_name["value"]
            return {_key(key): self._one(inner, field, value[key], secret) for key in sorted(value)}
        if field.repeated:
            return [self._one(descriptor, field, item, secret) for item in value]
        return self._one(descriptor, field, value, secret)

    def _one(self, descriptor: FieldDescriptor, field: FieldShape, value: Any, secret: bool) -> object:
        if field.kind == SCALAR:
            return _scalar(descriptor, value, secret)
        if field.kind == ENUM:
            return field.enum_names.get(value, value)
        if field.kind == WRAPPER:
            return _scalar(cast(FieldDescriptor, value.DESCRIPTOR.fields_by_name["value"]), value.value, secret)
        if field.kind == ANY:
            return self._any(value, secret)
        return self.message(value, secret)

    def _any(self, message: Any, secret: bool) -> object:
        if not message.type_url and not message.value:
            return {}
        message_class = api.class_for_url(message.type_url)
        try:
            inner = message_class.FromString(message.value) if message_class is not None else None
        except DecodeError:
            inner = None
        if inner is None:
            hidden = _REDACTED_BYTES if secret else base64.b64encode(message.value).decode()
            return {"@type": message.type_url, "value": hidden}
        name = inner.DESCRIPTOR.full_name
        if name.startswith("google.protobuf.") and name.endswith("Value") and name not in _VALUE_IN_ANY:
            wrapped: Any = inner
            value = cast(FieldDescriptor, wrapped.DESCRIPTOR.fields_by_name["value"])
            return {"@type": message.type_url, "value": _scalar(value, wrapped.value, secret)}
        tree = self.message(inner, secret)
        if name in _VALUE_IN_ANY or name == "google.protobuf.Any":
            return {"@type": message.type_url, "value": tree}
        assert isinstance(tree, dict)
        return {"@type": message.type_url, **tree}

    def _typed_struct(self, message: Any, secret: bool) -> object:
        """Redacted as the type that it names; wholly where that is not known, as its secrets cannot be told apart."""
        inner_class = api.class_for_url(message.type_url)
        value: object = {}
        if inner_class is not None:
            inner = inner_class()
            reader = Reader()
            reader.read(value_to_python_struct(message.value), inner)
            value = self.message(inner, secret) if not reader.faults else _REDACTED
        elif message.HasField("value"):
            value = {key: _hidden(value_to_python(item)) for key, item in message.value.fields.items()}
        result: dict[str, object] = {"type_url": message.type_url} if message.type_url else {}
        if message.HasField("value"):
            result["value"] = value
        return result


def value_to_python_struct(struct: Any) -> dict[str, object]:
    """A Struct's fields, whole numbers as integers so that integer fields take them."""
    return {key: _plain(value_to_python(item)) for key, item in struct.fields.items()}


def _all_fields(message: Any) -> Iterator[tuple[FieldDescriptor, Any]]:
    """The fields that are set, and those without presence, in the order of their numbers."""
    for descriptor in sorted(message.DESCRIPTOR.fields, key=_number_of):
        if not descriptor.has_presence or message.HasField(descriptor.name):
            yield descriptor, getattr(message, descriptor.name)


def _number_of(descriptor: FieldDescriptor) -> int:
    return descriptor.number


def _hidden(value: object) -> object:
    if isinstance(value, dict):
        return {key: _hidden(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return _REDACTED if isinstance(value, str) else None


def _plain(value: object) -> object:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _is_text(descriptor: FieldDescriptor, field: FieldShape) -> bool:
    if field.kind == ENUM:
        return False
    if field.is_map and descriptor.message_type is not None:
        descriptor = descriptor.message_type.fields_by_name["value"]
    return descriptor.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _scalar(descriptor: FieldDescriptor, value: Any, secret: bool) -> object:
    kind = descriptor.type
    if kind == FieldDescriptor.TYPE_STRING:
        return _REDACTED if secret else value
    if kind == FieldDescriptor.TYPE_BYTES:
        return _REDACTED_BYTES if secret else base64.b64encode(value).decode()
    if kind in _64_BIT:
        return str(value)
    if kind == FieldDescriptor.TYPE_DOUBLE:
        return _number(value)
    if kind == FieldDescriptor.TYPE_FLOAT:
        return _number(_shortest_float(value))
    return value


def _number(value: float) -> object:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    is_whole = value.is_integer() and abs(value) < 1e16 and (value or math.copysign(1, value) > 0)
    return int(value) if is_whole else value


def _shortest_float(value: float) -> float:
    """The double with the fewest digits that is the same 32-bit float."""
    if not math.isfinite(value):
        return value
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        if binary.unpack("f", binary.pack("f", short))[0] == value:
            return short
    return value


def duration_text(seconds: int, nanos: int) -> str:
    """A Duration in JSON: `5s`, `0.250s`, `0.000001s`, `-1.500s`."""
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"


def timestamp_text(seconds: int, nanos: int) -> str:
    """A Timestamp in JSON: `2026-01-31T12:00:00.250Z`."""
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{moment.isoformat()}{_fraction(nanos)}Z"


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    digits = f"{nanos:09}"
    for length in (3, 6):
        if not digits[length:].strip("0"):
            return f".{digits[:length]}"
    return f".{digits}"


def _camel(path: str) -> str:
    first, *rest = path.split("_")
    return first + "".join(part.capitalize() for part in rest)


def trim(message: Message, paths: Iterable[str]) -> bool:
    """Clear every field of a message that no path of a field mask names (`a,b.c`); a path may lead into an Any.

    Returns False, with the message unchanged, where a path does not exist or
    goes through a list or map, which a mask cannot do.
    """
    tree: dict[str, Any] = {}
    for path in paths:
        if not _is_path(message, path.split(".")):
            return False
        node = tree
        for part in path.split("."):
            node = node.setdefault(part, {})
    _trim(message, tree)
    return True


def _is_path(message: Any, parts: list[str]) -> bool:
    shape = shape_of(type(message))
    if shape.full_name == "google.protobuf.Any":
        message_class = api.class_for_url(message.type_url)
        return message_class is not None and _is_path(message_class.FromString(message.value), parts)
    field = shape.fields.get(parts[0])
    if field is None:
        return False
    if len(parts) == 1:
        return True
    if field.repeated or field.kind in (SCALAR, ENUM):
        return False
    return _is_path(getattr(message, parts[0]), parts[1:])


def _trim(message: Any, tree: dict[str, Any]) -> None:
    if shape_of(type(message)).full_name == "google.protobuf.Any":
        message_class = api.class_for_url(message.type_url)
        if message_class is not None:
            inner = message_class.FromString(message.value)
            _trim(inner, tree)
            message.value = inner.SerializeToString(deterministic=True)
        return
    for descriptor, value in message.ListFields():
        below = tree.get(descriptor.name)
        if below is None:
            message.ClearField(descriptor.name)
        elif below:
            _trim(value, below)
