"""google.protobuf.Struct as Python values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.message import Message

from outrider.config import api

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
    """A google.protobuf.Struct; numbers are floats, as on the wire."""
    return {key: value_to_python(item) for key, item in struct.fields.items()}


def fill_from_struct(message: Message, struct: Any, view: View) -> None:
    """Read a message from a Struct by the JSON mapping. Raises ConfigError with the view's path."""
    try:
        json_format.ParseDict(struct_to_dict(struct), message, descriptor_pool=api.pool())
    except json_format.ParseError as error:
        raise view.error(str(error)) from None
