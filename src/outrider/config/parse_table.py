"""How each field of a message class is read from a tree: the tables behind `parse.Reader`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from outrider.config import scalar
from outrider.config.scalar import describe

_TYPES: Final = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_SINT64: "int64",
    FieldDescriptor.TYPE_SFIXED64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_FIXED64: "uint64",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_SINT32: "int32",
    FieldDescriptor.TYPE_SFIXED32: "int32",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_FIXED32: "uint32",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
}
SCALARS: Final[dict[str, Callable[[object], object]]] = {
    "double": scalar.to_double,
    "float": scalar.to_float,
    "bool": scalar.to_bool,
    "string": scalar.to_text,
    "bytes": scalar.to_bytes,
    **{name: partial(scalar.to_integer, low=low, high=high) for name, (low, high) in scalar.RANGES.items()},
}
VALUE: Final = "google.protobuf.Value"


class FieldReader:
    """How one field is read from a tree."""

    __slots__ = ("enum", "is_map", "key", "list_value", "name", "null", "oneof", "repeated", "scalar", "type_name")

    def __init__(self, field: FieldDescriptor) -> None:
        self.name: str = field.name
        self.repeated: bool = bool(field.is_repeated)
        oneof = field.containing_oneof
        self.oneof: str = oneof.name if oneof is not None and len(oneof.fields) > 1 else ""
        self.is_map: bool = False
        self.key: Callable[[object], object] = scalar.to_text
        value = field
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self.is_map = True
            self.key = _map_key(field.message_type.fields_by_name["key"])
            value = field.message_type.fields_by_name["value"]
        self.type_name: str = value.message_type.full_name if value.message_type is not None else ""
        self.enum: bool = value.enum_type is not None
        # A null stands for itself only where the field can hold one.
        self.null: bool = not self.repeated and self.type_name == VALUE
        self.scalar: Callable[[object], object] | None = None
        if value.enum_type is not None:
            self.scalar = _enum_reader(value.enum_type)
            self.null = not self.repeated and value.enum_type.full_name == "google.protobuf.NullValue"
        elif not self.type_name:
            self.scalar = SCALARS[_TYPES[value.type]]


class UnknownEnumValue(ValueError):
    """An enum value by a name that the enum does not have."""


def _map_key(field: FieldDescriptor) -> Callable[[object], object]:
    return SCALARS[_TYPES[field.type]]


def _enum_reader(enum: EnumDescriptor) -> Callable[[object], object]:
    names = {value.name: value.number for value in enum.values}
    folded = {name.lower(): number for name, number in reversed(names.items())}
    return partial(_read_enum, names=names, folded=folded)


def _read_enum(value: object, names: dict[str, int], folded: dict[str, int]) -> int:
    if value.__class__ is str:
        number = names.get(value)
        if number is None:
            number = folded.get(value.lower())
        if number is not None:
            return int(number)
        try:
            return scalar.to_integer(value, -(2**31), 2**31 - 1)
        except ValueError:
            raise UnknownEnumValue(
                f"unknown enum value '{value}'{suggestion(value.upper(), names)}; expected one of {', '.join(names)}"
            ) from None
    if value is None and not names.get("NULL_VALUE", 1):
        return 0
    try:
        return scalar.to_integer(value, -(2**31), 2**31 - 1)
    except ValueError:
        raise ValueError(f"expected one of {', '.join(names)}, found {describe(value)}") from None


def suggestion(name: str, known: Iterable[str], nearness: float = 0.6) -> str:
    """ " (did you mean 'x'?)", or nothing where no known name is near."""
    close = difflib.get_close_matches(name, list(known), 1, nearness)
    return f" (did you mean '{close[0]}'?)" if close else ""


_tables: dict[type[Message], dict[str, FieldReader]] = {}


def table_of(message_class: type[Message]) -> dict[str, FieldReader]:
    """The fields of a class by every name a file may give them; made when the class is first parsed."""
    found = _tables.get(message_class)
    if found is None:
        found = _tables[message_class] = {}
        for descriptor in message_class.DESCRIPTOR.fields:
            field = FieldReader(cast(FieldDescriptor, descriptor))
            found[descriptor.name] = field
            found[descriptor.camelcase_name] = field
            found[descriptor.json_name] = field
    return found
