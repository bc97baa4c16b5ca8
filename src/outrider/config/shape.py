"""What the fields of a message class are, computed once per class: the table that `View` reads by."""

from __future__ import annotations

from typing import Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

SCALAR: Final = 0
ENUM: Final = 1
MESSAGE: Final = 2
ANY: Final = 3
WRAPPER: Final = 4

_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
TYPED_STRUCTS: Final = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")


class FieldShape:
    """One field: its kind, cardinality and, for messages and enums, its type."""

    __slots__ = ("enum_names", "has_presence", "is_map", "kind", "name", "repeated", "type_name")

    def __init__(self, field: FieldDescriptor) -> None:
        self.name: str = field.name
        self.repeated: bool = bool(field.is_repeated)
        self.is_map: bool = False
        self.has_presence: bool = field.has_presence
        self.type_name: str = ""
        self.enum_names: dict[int, str] = {}
        self.kind: int = SCALAR
        value = field
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self.is_map = True
            value = field.message_type.fields_by_name["value"]
        if value.message_type is not None:
            self.type_name = value.message_type.full_name
            if self.type_name == "google.protobuf.Any":
                self.kind = ANY
            elif self.type_name in _WRAPPERS:
                self.kind = WRAPPER
            else:
                self.kind = MESSAGE
        elif value.enum_type is not None:
            self.type_name = value.enum_type.full_name
            self.kind = ENUM
            self.enum_names = {item.number: item.name for item in reversed(value.enum_type.values)}


class Shape:
    """One message class."""

    __slots__ = ("fields", "full_name", "is_typed_struct", "oneofs")

    def __init__(self, descriptor: Descriptor) -> None:
        self.full_name: str = descriptor.full_name
        self.fields: dict[str, FieldShape] = {field.name: FieldShape(field) for field in descriptor.fields}
        self.oneofs: frozenset[str] = frozenset(oneof.name for oneof in descriptor.oneofs)
        self.is_typed_struct: bool = self.full_name in TYPED_STRUCTS


_shapes: dict[type[Message], Shape] = {}


def shape_of(message_class: type[Message]) -> Shape:
    """The shape of a message class, cached."""
    found = _shapes.get(message_class)
    if found is None:
        found = _shapes[message_class] = Shape(cast(Descriptor, message_class.DESCRIPTOR))
    return found
