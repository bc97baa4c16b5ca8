"""A request's JSON body, path variables and query parameters become gRPC messages.

Source: Envoy documentation, "gRPC-JSON transcoder"; google/api/http.proto.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import EncodeError, Message

from outrider.config import api
from outrider.extensions.filters.http.grpc_frames import frame
from outrider.extensions.filters.http.grpc_json_transcoder.json_array import ArraySplitter, JsonError
from outrider.extensions.filters.http.grpc_json_transcoder.methods import Method

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.descriptor_pool import DescriptorPool

# Of the bodies that become messages of a client stream: gRPC servers refuse frames above 4 MiB by default.
_PIECE: Final = 1024 * 1024
_UNKNOWN: Final = "envoy.extensions.filters.http.grpc_json_transcoder.v3.UnknownQueryParams"
_BOOL_VALUE: Final = "google.protobuf.BoolValue"


class TranslationError(ValueError):
    """The request cannot be expressed as a message of the method."""


class Binding:
    """A value for the field at the end of `fields`."""

    __slots__ = ("fields", "value")

    def __init__(self, fields: list[FieldDescriptor], value: str) -> None:
        self.fields = fields
        self.value = value


class RequestOptions:
    __slots__ = ("pool", "any_case_enums", "reject_collisions")

    def __init__(self, pool: DescriptorPool, any_case_enums: bool, reject_collisions: bool) -> None:
        self.pool = pool
        self.any_case_enums = any_case_enums
        # A body that says otherwise than the path or query is refused.
        self.reject_collisions = reject_collisions


class RequestTranslator:
    """One request. `feed` gives frames; what it holds is for the caller to bound (`held`)."""

    __slots__ = ("method", "options", "bindings", "_first", "_held", "_chunks", "_array")

    def __init__(self, method: Method, options: RequestOptions, bindings: list[Binding]) -> None:
        self.method = method
        self.options = options
        self.bindings = bindings
        self._first = True
        self._held = 0
        self._chunks: list[bytes] = []
        self._array: ArraySplitter | None = ArraySplitter() if method.client_streaming and method.body else None

    @property
    def held(self) -> int:
        """Bytes of JSON that wait for more."""
        return self._held if self._array is None else self._array.held

    def feed(self, data: bytes, end_stream: bool) -> bytes:
        """The frames of the messages that are complete. Raises TranslationError."""
        try:
            if self._array is not None:
                return self._feed_array(self._array, data, end_stream)
            if self.method.body and data:
                self._chunks.append(data)
                self._held += len(data)
            if not end_stream:
                return b""
            body = b"".join(self._chunks)
            self._chunks = []
            self._held = 0
            return self._message(_parse(body) if body.strip() else {})
        except (JsonError, ParseError, EncodeError, RecursionError) as error:
            raise TranslationError(str(error)) from None

    def _feed_array(self, array: ArraySplitter, data: bytes, end_stream: bool) -> bytes:
        frames = [self._message(_parse(element)) for element in array.feed(data)]
        if end_stream:
            array.finish()
        return b"".join(frames)

    def _message(self, body: object) -> bytes:
        message = self.method.input()
        target: Any = message
        for field in self.method.body_path[:-1]:
            target = getattr(target, field.name)
        if self.method.body_path:
            field = self.method.body_path[-1]
            if _wants_object(field) and not isinstance(body, dict):
                raise TranslationError(f"{field.name}: the body is no JSON object")
            body = {field.name: body}
        if not isinstance(body, dict):
            raise TranslationError("the body is no JSON object")
        if self.options.any_case_enums:
            body = _with_known_enums(body, target.DESCRIPTOR)
        ParseDict(body, target, ignore_unknown_fields=True, descriptor_pool=self.options.pool)
        if self._first:
            self._first = False
            for binding in self.bindings:
                self._bind(message, binding)
        return frame(message.SerializeToString())

    def _bind(self, message: Message, binding: Binding) -> None:
        target: Any = message
        for field in binding.fields[:-1]:
            target = getattr(target, field.name)
        field = binding.fields[-1]
        value = _binding_value(field, binding.value)
        entry: dict[str, object] = {field.name: [value] if field.is_repeated else value}
        if self.options.any_case_enums:
            entry = _with_known_enums(entry, target.DESCRIPTOR)
        if field.is_repeated:
            more = type(target)()
            ParseDict(entry, more, descriptor_pool=self.options.pool)
            target.MergeFrom(more)
            return
        before = getattr(target, field.name) if self._says(target, field) else None
        ParseDict(entry, target, descriptor_pool=self.options.pool)
        if self.options.reject_collisions and before is not None and before != getattr(target, field.name):
            raise TranslationError(
                f'The binding value "{binding.value}" of the field "{field.name}" is conflicting with the value in '
                "the body."
            )

    def _says(self, target: Any, field: FieldDescriptor) -> bool:
        """Whether the body has set a scalar field."""
        if field.message_type is not None:
            return False
        return any(found.number == field.number for found, _ in target.ListFields())


class HttpBodyTranslator:
    """A body that is passed as it is, in a `google.api.HttpBody`: whole, or in pieces where the client may stream."""

    __slots__ = ("method", "options", "bindings", "content_type", "unknown", "_sent", "_chunks", "_held")

    def __init__(
        self, method: Method, options: RequestOptions, bindings: list[Binding], content_type: bytes,
        unknown: dict[str, list[str]],
    ) -> None:  # fmt: skip
        self.method = method
        self.options = options
        self.bindings = bindings
        self.content_type = content_type
        # Query parameters that are no fields; they go into the body's extensions.
        self.unknown = unknown
        self._sent = False
        self._chunks: list[bytes] = []
        self._held = 0

    @property
    def held(self) -> int:
        return self._held

    def feed(self, data: bytes, end_stream: bool) -> bytes:
        """The frames that are complete. Raises TranslationError."""
        if self.method.client_streaming:
            if not data and (self._sent or not end_stream):
                return b""
            pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)] or [b""]
            return b"".join(self._message(piece) for piece in pieces)
        if data:
            self._chunks.append(data)
            self._held += len(data)
        if not end_stream:
            return b""
        whole = b"".join(self._chunks)
        self._chunks = []
        self._held = 0
        return self._message(whole)

    def _message(self, data: bytes) -> bytes:
        message: Any = self.method.input()
        if not self._sent and self.bindings:
            binder = RequestTranslator(self.method, self.options, [])
            try:
                for binding in self.bindings:
                    binder._bind(message, binding)
            except (ParseError, RecursionError) as error:
                raise TranslationError(str(error)) from None
        body = message
        for field in self.method.body_path:
            body = getattr(body, field.name)
        body.data = data
        if not self._sent:
            body.content_type = self.content_type.decode("utf-8", "replace")
            if self.unknown:
                captured: Any = api.new(_UNKNOWN)
                for name, values in self.unknown.items():
                    captured.key[name].values.extend(values)
                packed = body.extensions.add()
                packed.type_url = f"type.googleapis.com/{_UNKNOWN}"
                packed.value = captured.SerializeToString()
        self._sent = True
        return frame(message.SerializeToString())


def _parse(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"broken JSON: {error}") from None


def _wants_object(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and not field.is_repeated and not kind.full_name.startswith("google.protobuf.")


def _binding_value(field: FieldDescriptor, value: str) -> object:
    kind = field.message_type
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL or (kind is not None and kind.full_name == _BOOL_VALUE):
        if value not in ("true", "false"):
            raise TranslationError(f'{field.name}: invalid value "{value}" for type TYPE_BOOL')
        return value == "true"
    return value


def _with_known_enums(value: dict[str, object], message: Descriptor) -> dict[str, object]:
    """The object with the names of enum values in the case that the descriptor has."""
    out: dict[str, object] = {}
    for name, each in value.items():
        field = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
        out[name] = each if field is None else _known_enums(each, field)
    return out


def _known_enums(value: object, field: FieldDescriptor) -> object:
    if isinstance(value, list):
        return [_known_enums(each, field) for each in value]
    if field.enum_type is not None and isinstance(value, str):
        wanted = value.upper().replace("-", "_")
        for name in field.enum_type.values_by_name:
            if name.upper() == wanted:
                return name
    if isinstance(value, dict) and field.message_type is not None:
        return _with_known_enums(value, field.message_type)
    return value
