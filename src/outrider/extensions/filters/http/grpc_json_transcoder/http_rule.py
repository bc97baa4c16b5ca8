"""The `google.api.http` option of a method. The option is an extension that the descriptor's own pool need not know.

Source: google/api/annotations.proto; protobuf documentation, "Encoding".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from outrider.config import api

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

_EXTENSION: Final = 72295728
_LENGTH_DELIMITED: Final = 2


def http_rule(method: MethodDescriptor) -> Any | None:
    """The HttpRule, None where the method has none. Raises DecodeError for options that are malformed."""
    data = method.GetOptions().SerializeToString()
    merged: Any | None = None
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            size, at = _varint(data, at)
            if tag >> 3 == _EXTENSION:
                if merged is None:
                    merged = api.new("google.api.HttpRule")
                merged.MergeFromString(data[at : at + size])
            at += size
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        else:
            raise DecodeError("unknown wire type in method options")
    return merged


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    shift = 0
    while True:
        if at >= len(data):
            raise DecodeError("method options are cut off")
        octet = data[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7
