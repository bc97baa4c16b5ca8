"""google.protobuf.Struct as Python values, and messages from Structs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from outrider.config.errors import raise_all
from outrider.config.parse import Reader

if TYPE_CHECKING:
    from outrider.config.view import View


def value_to_python(value: Any) -> object:
    """A google.protobuf.Value: None, bool, float, str, list or dict."""
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "struct_value":
        return struct_to_dict(value.struct_value)
    if kind == "list_value":
        return [value_to_python(item) for item in value.list_value.values]
    return getattr(value, kind)


def struct_to_dict(struct: Any) -> dict[str, object]:
    """A google.protobuf.Struct; keys sorted (a protobuf map has no order), numbers floats, as on the wire."""
    fields = struct.fields
    return {key: value_to_python(fields[key]) for key in sorted(fields)}


def fill_from_struct(message: Message, struct: Any, view: View) -> None:
    """Read a message from a Struct by the JSON mapping. Raises ConfigError or ConfigErrors below the view's path."""
    reader = Reader()
    reader.read(struct_to_dict(struct), message)
    raise_all([view.error(fault.text, fault.path or None) for fault in reader.faults])
