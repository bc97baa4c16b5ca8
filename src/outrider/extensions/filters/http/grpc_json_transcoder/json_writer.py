"""Messages as JSON, as the C++ protobuf library writes them, whose text clients of Envoy know.

Source: protobuf documentation, "ProtoJSON Format".
"""

from __future__ import annotations

import base64
import math
import struct
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

_SPECIAL: Final = frozenset(
    f"google.protobuf.{name}"
    for name in (
        "Any", "BoolValue", "BytesValue", "DoubleValue", "Duration", "FieldMask", "FloatValue", "Int32Value",
        "Int64Value", "ListValue", "StringValue", "Struct", "Timestamp", "UInt32Value", "UInt64Value", "Value",
    )
)  # fmt: skip
_SHORT: Final = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_ESCAPED: Final = {
    **{code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x3C, 0x3E, 0xAD, 0x2028, 0x2029, 0xFEFF)},
    **_SHORT,
}
_LONG: Final = frozenset(
    (
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT64,
    )
)


class PrintOptions:
    """`PrintOptions` of the configuration."""

    __slots__ = ("whitespace", "defaults", "enums_as_ints", "proto_names")

    def __init__(self, whitespace: bool, defaults: bool, enums_as_ints: bool, proto_names: bool) -> None:
        self.whitespace = whitespace
        # Also fields without presence that have their default value.
        self.defaults = defaults
        self.enums_as_ints = enums_as_ints
        self.proto_names = proto_names


def quote(text: str) -> str:
    return '"' + text.translate(_ESCAPED) + '"'


def number_text(value: float, single: bool) -> str:
    """The shortest decimal text that gives the number back."""
    if math.isnan(value):
        return '"NaN"'
    if math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if single:
        for digits in (6, 7, 8, 9):
            text = f"{value:.{digits}g}"
            if _as_single(float(text)) == value:
                break
    else:
        text = f"{value:.15g}"
        if float(text) != value:
            text = f"{value:.17g}"
    return text


def _as_single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.inf


class JsonWriter:
    """Writes messages of one configuration."""

    __slots__ = ("options", "_pool")

    def __init__(self, options: PrintOptions, pool: DescriptorPool) -> None:
        self.options = options
        self._pool = pool

    def write(self, message: Message) -> bytes:
        """The message as JSON text. Raises TypeError or ValueError for values that JSON cannot express."""
        out: list[str] = []
        self._message(message, out, 0)
        if self.options.whitespace:
            out.append("\n")
        return "".join(out).encode("utf-8", "surrogatepass")

    def _message(self, message: Message, out: list[str], depth: int) -> None:
        if message.DESCRIPTOR.full_name in _SPECIAL:
            shown = MessageToDict(
                message, preserving_proto_field_name=self.options.proto_names,
                use_integers_for_enums=self.options.enums_as_ints, descriptor_pool=self._pool,
            )  # fmt: skip
            self._plain(shown, out, depth)
            return
        entries: list[tuple[FieldDescriptor, Any]]
        if self.options.defaults:
            present = {field.number for field, _ in message.ListFields()}
            entries = [
                (field, getattr(message, field.name))
                for field in _fields(message)
                if field.number in present or not field.has_presence
            ]
        else:
            entries = list(message.ListFields())
        self._open(out, "{", bool(entries), depth)
        for position, (field, value) in enumerate(entries):
            if position:
                self._next(out, depth)
            name = field.name if self.options.proto_names else field.json_name
            out.append(quote(name) + (": " if self.options.whitespace else ":"))
            self._field(field, value, out, depth + 1)
        self._close(out, "}", bool(entries), depth)

    def _field(self, field: FieldDescriptor, value: Any, out: list[str], depth: int) -> None:
        if not field.is_repeated:
            self._value(field, value, out, depth)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._map(field, value, out, depth)
        else:
            self._open(out, "[", bool(value), depth)
            for position, each in enumerate(value):
                if position:
                    self._next(out, depth)
                self._value(field, each, out, depth + 1)
            self._close(out, "]", bool(value), depth)

    def _map(self, field: FieldDescriptor, value: Any, out: list[str], depth: int) -> None:
        assert field.message_type is not None
        of_value = field.message_type.fields_by_name["value"]
        self._open(out, "{", bool(value), depth)
        for position, key in enumerate(sorted(value)):
            if position:
                self._next(out, depth)
            text = ("true" if key else "false") if isinstance(key, bool) else str(key)
            out.append(quote(text) + (": " if self.options.whitespace else ":"))
            self._value(of_value, value[key], out, depth + 1)
        self._close(out, "}", bool(value), depth)

    def _value(self, field: FieldDescriptor, value: Any, out: list[str], depth: int) -> None:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_MESSAGE:
            self._message(value, out, depth)
        elif kind == FieldDescriptor.CPPTYPE_STRING:
            text = value if isinstance(value, str) else base64.b64encode(value).decode()
            out.append(quote(text))
        elif kind == FieldDescriptor.CPPTYPE_BOOL:
            out.append("true" if value else "false")
        elif kind == FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            known = field.enum_type.values_by_number.get(value)
            if field.enum_type.full_name == "google.protobuf.NullValue":
                out.append("null")
            elif known is None or self.options.enums_as_ints:
                out.append(str(value))
            else:
                out.append(quote(known.name))
        elif kind in _LONG:
            out.append(f'"{value}"')
        elif kind == FieldDescriptor.CPPTYPE_DOUBLE or kind == FieldDescriptor.CPPTYPE_FLOAT:
            out.append(number_text(value, kind == FieldDescriptor.CPPTYPE_FLOAT))
        else:
            out.append(str(value))

    def _plain(self, value: object, out: list[str], depth: int) -> None:
        """JSON values as Python objects."""
        if value is None:
            out.append("null")
        elif isinstance(value, bool):
            out.append("true" if value else "false")
        elif isinstance(value, str):
            out.append(quote(value))
        elif isinstance(value, float):
            out.append(number_text(value, False))
        elif isinstance(value, dict):
            self._open(out, "{", bool(value), depth)
            for position, (key, each) in enumerate(value.items()):
                if position:
                    self._next(out, depth)
                out.append(quote(key) + (": " if self.options.whitespace else ":"))
                self._plain(each, out, depth + 1)
            self._close(out, "}", bool(value), depth)
        elif isinstance(value, list):
            self._open(out, "[", bool(value), depth)
            for position, each in enumerate(value):
                if position:
                    self._next(out, depth)
                self._plain(each, out, depth + 1)
            self._close(out, "]", bool(value), depth)
        else:
            out.append(str(value))

    def _open(self, out: list[str], mark: str, filled: bool, depth: int) -> None:
        out.append(mark)
        if filled and self.options.whitespace:
            out.append("\n" + " " * (depth + 1))

    def _next(self, out: list[str], depth: int) -> None:
        out.append(",")
        if self.options.whitespace:
            out.append("\n" + " " * (depth + 1))

    def _close(self, out: list[str], mark: str, filled: bool, depth: int) -> None:
        if filled and self.options.whitespace:
            out.append("\n" + " " * depth)
        out.append(mark)


def _fields(message: Message) -> list[FieldDescriptor]:
    fields: list[Any] = [*message.DESCRIPTOR.fields]
    fields.sort(key=_field_number)
    return fields


def _field_number(field: FieldDescriptor) -> int:
    return field.number
