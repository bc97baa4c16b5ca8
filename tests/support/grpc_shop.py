"""A descriptor set for tests of filters that know protobuf: a small book shop with HTTP bindings, made without protoc."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodOptions,
)

from outrider.config import api

F = FieldDescriptorProto
_HTTP = 72295728
_KINDS = {
    "string": F.TYPE_STRING, "bytes": F.TYPE_BYTES, "int32": F.TYPE_INT32, "int64": F.TYPE_INT64,
    "uint64": F.TYPE_UINT64, "bool": F.TYPE_BOOL, "double": F.TYPE_DOUBLE, "float": F.TYPE_FLOAT,
}  # fmt: skip


def _message(file: FileDescriptorProto, name: str, *fields: tuple[str, str]) -> DescriptorProto:
    """Fields as (name, type): a scalar, a message (".pkg.Name"), an enum ("enum .pkg.Name"), or "repeated" one of these."""
    message = file.message_type.add(name=name)
    for number, (field, text) in enumerate(fields, 1):
        made = message.field.add(name=field, number=number, label=F.LABEL_OPTIONAL)
        kind = text.removeprefix("repeated ")
        if kind != text:
            made.label = F.LABEL_REPEATED
        if kind.startswith("enum "):
            made.type = F.TYPE_ENUM
            made.type_name = kind.removeprefix("enum ")
        elif kind.startswith("."):
            made.type = F.TYPE_MESSAGE
            made.type_name = kind
        else:
            made.type = _KINDS[kind]
        parts = field.split("_")
        made.json_name = parts[0] + "".join(part.title() for part in parts[1:])
    return message


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _method(
    service: Any, name: str, takes: str, gives: str, rule: dict[str, Any] | None, streams: tuple[bool, bool] = (False, False)
) -> None:
    method = service.method.add(name=name, input_type=takes, output_type=gives)
    method.client_streaming, method.server_streaming = streams
    if rule is None:
        return
    made: Any = api.new("google.api.HttpRule")
    for each, message in [(rule, made), *((more, made.additional_bindings.add()) for more in rule.get("more", ()))]:
        for key, value in each.items():
            if key == "custom":
                message.custom.kind, message.custom.path = value
            elif key != "more":
                setattr(message, key, value)
    raw = made.SerializeToString()
    method.options.CopyFrom(MethodOptions.FromString(_varint(_HTTP << 3 | 2) + _varint(len(raw)) + raw))


def _shop() -> FileDescriptorProto:
    file = FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.dependency.extend([
        "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto", "google/protobuf/struct.proto",
        "google/api/httpbody.proto",
    ])
    kind = file.enum_type.add(name="Kind")
    for number, name in enumerate(("PAPER", "AUDIO", "E_BOOK")):
        kind.value.add(name=name, number=number)
    _message(file, "Author", ("name", "string"), ("born", "int32"))
    book = _message(
        file, "Book", ("id", "int64"), ("title", "string"), ("author", ".shop.Author"), ("kind", "enum .shop.Kind"),
        ("tags", "repeated string"), ("price", "double"), ("weight", "float"), ("cover_image", "bytes"), ("sold", "bool"),
        ("printed", ".google.protobuf.Timestamp"), ("stars", ".google.protobuf.Int32Value"),
        ("extra", ".google.protobuf.Struct"), ("reviews", "repeated .shop.Author"),
    )  # fmt: skip
    entry = book.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=F.LABEL_OPTIONAL, type=F.TYPE_STRING, json_name="key")
    entry.field.add(name="value", number=2, label=F.LABEL_OPTIONAL, type=F.TYPE_INT32, json_name="value")
    book.field.add(
        name="counts", number=20, label=F.LABEL_REPEATED, type=F.TYPE_MESSAGE, type_name=".shop.Book.CountsEntry",
        json_name="counts",
    )  # fmt: skip
    _message(file, "Get", ("shelf", "string"), ("id", "int64"), ("verbose", "bool"), ("kinds", "repeated enum .shop.Kind"), ("author", ".shop.Author"), ("path", "string"))  # fmt: skip
    _message(file, "Create", ("shelf", "string"), ("book", ".shop.Book"), ("dry_run", "bool"))
    _message(file, "Upload", ("name", "string"), ("body", ".google.api.HttpBody"))
    service = file.service.add(name="Shop")
    get, book_, create = ".shop.Get", ".shop.Book", ".shop.Create"
    _method(service, "GetBook", get, book_, {
        "get": "/v1/shelves/{shelf}/books/{id}",
        "more": [{"get": "/v1/books/{id}"}, {"get": "/v1/{path=paths/**}"}, {"post": "/v1/find", "body": "author"}],
    })  # fmt: skip
    _method(service, "CreateBook", create, book_, {"post": "/v1/shelves/{shelf}/books", "body": "book"})
    _method(service, "PutBook", create, book_, {"put": "/v1/books", "body": "*"})
    _method(service, "Burn", get, book_, {"post": "/v1/shelves/{shelf=*}:burn", "body": "*"})
    _method(service, "Head", get, book_, {"custom": ("SEARCH", "/v1/search/{id}")})
    _method(service, "ListBooks", get, book_, {"get": "/v1/shelves/{shelf}/books"}, (False, True))
    _method(service, "AddBooks", create, book_, {"post": "/v1/add/{shelf}", "body": "*"}, (True, False))
    _method(service, "Chat", book_, book_, {"post": "/v1/chat", "body": "*"}, (True, True))
    _method(service, "Store", ".shop.Upload", ".google.api.HttpBody", {"post": "/v1/files/{name}", "body": "body"})
    _method(service, "Fetch", get, ".google.api.HttpBody", {"get": "/v1/files/{id}"}, (False, True))
    _method(service, "Plain", get, book_, None)
    return file


def descriptor_set() -> bytes:
    """The shop and what it imports, serialised."""
    files = FileDescriptorSet()
    for module in (any_pb2, timestamp_pb2, wrappers_pb2, struct_pb2):
        files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    body: Any = api.new("google.api.HttpBody")
    files.file.add().ParseFromString(body.DESCRIPTOR.file.serialized_pb)
    files.file.append(_shop())
    return files.SerializeToString()
