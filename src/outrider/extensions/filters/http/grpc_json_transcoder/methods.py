"""The methods of the configured services: their messages, and which requests lead to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from outrider.config import api
from outrider.extensions.filters.http.grpc_json_transcoder.http_rule import http_rule
from outrider.extensions.filters.http.grpc_json_transcoder.path_matcher import PathMatcher, Template, TemplateError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

    from outrider.config.view import View

HTTP_BODY: Final = "google.api.HttpBody"


class FieldPathError(ValueError):
    """A field path that leads nowhere."""


def resolve_field_path(message: Descriptor, path: str) -> list[FieldDescriptor]:
    """The fields that `a.b.c` names, by their names in the proto or in JSON. Raises FieldPathError."""
    fields: list[FieldDescriptor] = []
    current: Descriptor | None = message
    for name in path.split(".") if path else ():
        if current is None:
            raise FieldPathError(f'Could not find a field path "{path}" in the type "{message.full_name}".')
        found = current.fields_by_name.get(name) or current.fields_by_camelcase_name.get(name)
        if found is None:
            raise FieldPathError(f'Could not find field "{name}" in the type "{current.full_name}".')
        fields.append(found)
        current = None if found.message_type is None or found.is_repeated else found.message_type
    return fields


def resolve_message_path(message: Descriptor, path: str) -> list[FieldDescriptor]:
    """As `resolve_field_path`, but by the names of the proto only, and through repeated messages."""
    fields: list[FieldDescriptor] = []
    current: Descriptor | None = message
    for name in path.split("."):
        found = None if current is None else current.fields_by_name.get(name)
        if found is None:
            raise FieldPathError(f"Could not find the field `{path}` in the type `{message.full_name}`")
        fields.append(found)
        current = found.message_type
    return fields


class Method:
    """One method, and one of the HTTP bindings that lead to it."""

    __slots__ = (
        "full_path", "input", "input_type", "output", "client_streaming", "server_streaming", "body", "body_path",
        "body_is_http", "answer_path", "answer_is_http",
    )  # fmt: skip

    def __init__(self, method: MethodDescriptor, body: str, response_body: str) -> None:
        """Raises FieldPathError, NotImplementedError."""
        service = method.containing_service
        self.full_path = f"/{service.full_name}/{method.name}".encode()
        self.input: type[Message] = GetMessageClass(method.input_type)
        self.output: type[Message] = GetMessageClass(method.output_type)
        self.input_type: Descriptor = method.input_type
        self.client_streaming: bool = method.client_streaming
        self.server_streaming: bool = method.server_streaming
        # "" = the body is not used, "*" = it is the message, else the path of the field that it is.
        self.body = body
        self.body_path = resolve_field_path(method.input_type, "" if body == "*" else body)
        self.body_is_http = _is_http_body(method.input_type, self.body_path)
        self.answer_path = resolve_field_path(method.output_type, response_body)
        self.answer_is_http = _is_http_body(method.output_type, self.answer_path)
        if self.answer_path and not self.answer_is_http:
            raise NotImplementedError(
                f'Setting "response_body" is not supported yet for non-HttpBody fields: {method.full_name}'
            )


def _is_http_body(message: Descriptor, path: list[FieldDescriptor]) -> bool:
    if path:
        kind = path[-1].message_type
        return kind is not None and kind.full_name == HTTP_BODY
    return message.full_name == HTTP_BODY


def load_pool(data: bytes, view: View, field: str) -> DescriptorPool:
    """The types of a serialised FileDescriptorSet. Raises ConfigError."""
    files = FileDescriptorSet()
    try:
        files.ParseFromString(data)
    except DecodeError:
        raise view.error("transcoding_filter: Unable to parse proto descriptor", field) from None
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except (TypeError, ValueError) as error:
            raise view.error(
                f"transcoding_filter: Unable to build proto descriptor pool: {file.name}: {error}", field
            ) from None
    return pool


def add_rpc_status(pool: DescriptorPool) -> type[Message]:
    """`google.rpc.Status`, added unless the descriptor set brings it."""
    for name in ("google.protobuf.Any", "google.rpc.Status"):
        try:
            pool.FindMessageTypeByName(name)
        except KeyError:
            pool.AddSerializedFile(api.new(name).DESCRIPTOR.file.serialized_pb)
    return GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))


def register(
    matcher: PathMatcher[Method], pool: DescriptorPool, services: list[str], auto_mapping: bool, view: View
) -> None:
    """All bindings of all methods of the services. Raises ConfigError."""
    for index, name in enumerate(services):
        try:
            service = pool.FindServiceByName(name)
        except KeyError:
            raise view.error(
                f"transcoding_filter: Could not find '{name}' in the proto descriptor", f"services[{index}]"
            ) from None
        for method in service.methods:
            try:
                _register_method(matcher, method, auto_mapping)
            except (TemplateError, FieldPathError, NotImplementedError, DecodeError) as error:
                raise view.error(f"transcoding_filter: Cannot register '{method.full_name}': {error}") from None


def _register_method(matcher: PathMatcher[Method], method: MethodDescriptor, auto_mapping: bool) -> None:
    rule = http_rule(method)
    if rule is None:
        if auto_mapping:
            template = Template(f"/{method.containing_service.full_name}/{method.name}")
            matcher.add("POST", template, Method(method, "*", ""))
        return
    for each in [rule, *rule.additional_bindings]:
        verb, path = _pattern(each)
        if verb:
            matcher.add(verb, Template(path), Method(method, each.body, rule.response_body))


def _pattern(rule: Any) -> tuple[str, str]:
    kind = rule.WhichOneof("pattern")
    if kind is None:
        return "", ""
    if kind == "custom":
        return rule.custom.kind, rule.custom.path
    return kind.upper(), getattr(rule, kind)
