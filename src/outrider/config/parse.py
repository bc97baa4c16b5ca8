"""Trees (of YAML, JSON, a Struct) to messages: protobuf's JSON mapping, with all faults found at once.

It accepts what protobuf's parser accepts in Envoy: both spellings of a field
(`connect_timeout`, `connectTimeout`), enum names in any case, one value where a
list is expected, null for "not set". Each fault names the field and, through
`Places`, the line.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from google.protobuf import descriptor_pb2

from outrider.config import api, scalar
from outrider.config.errors import ConfigError
from outrider.config.outdated import RENAMED_FIELDS, renamed_type
from outrider.config.parse_table import SCALARS, VALUE, FieldReader, UnknownEnumValue, suggestion, table_of
from outrider.config.scalar import describe
from outrider.config.source import Key, Places

_ANY: Final = "google.protobuf.Any"
_LIST_VALUE: Final = "google.protobuf.ListValue"
_IN_ANY_AS_VALUE: Final = frozenset(
    f"google.protobuf.{name}"
    for name in (
        "Any", "Duration", "Timestamp", "FieldMask", "Struct", "Value", "ListValue", "DoubleValue", "FloatValue",
        "Int64Value", "UInt64Value", "Int32Value", "UInt32Value", "BoolValue", "StringValue", "BytesValue",
    )
)  # fmt: skip


class Fault:
    """Something wrong at one place of a tree; `unknown` for a field or enum value that does not exist."""

    __slots__ = ("keys", "path", "text", "unknown")

    def __init__(self, text: str, path: str, keys: tuple[Key, ...], unknown: bool) -> None:
        self.text = text
        self.path = path
        self.keys = keys
        self.unknown = unknown

    def error(self, places: Places | None, prefix: str = "") -> ConfigError:
        path = ".".join(part for part in (prefix, self.path) if part) or None
        if places is None:
            return ConfigError(self.text, path)
        file, line, column = places.find(list(self.keys))
        return ConfigError(self.text, path, file, line, column)


class Reader:
    """Fills messages from trees; collects what is wrong in `faults`, outdated forms it translated in `warnings`."""

    __slots__ = ("_keys", "_labels", "_special", "faults", "warnings")

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []
        self._keys: list[Key] = []
        self._labels: list[str] = []
        self._special: dict[str, Callable[[Any, object], None]] = {
            _ANY: self._any,
            VALUE: self._value,
            "google.protobuf.Struct": self._struct,
            "google.protobuf.ListValue": self._list_value,
            "google.protobuf.Duration": self._duration,
            "google.protobuf.Timestamp": self._timestamp,
            "google.protobuf.FieldMask": self._field_mask,
        }
        for name, reader in SCALARS.items():
            wrapper = "UInt" + name[4:] if name.startswith("uint") else name.capitalize()
            self._special[f"google.protobuf.{wrapper}Value"] = partial(self._wrapper, reader)

    def read(self, tree: object, message: Any) -> None:
        """Read any message, well-known types included, from its JSON form."""
        special = self._special.get(message.DESCRIPTOR.full_name)
        if special is not None:
            special(message, tree)
        else:
            self._message(message, tree)

    def _fault(self, text: str, key: Key | None = None, label: str | None = None, unknown: bool = False) -> None:
        self.faults.append(self._at(text, key, label, unknown))

    def _at(self, text: str, key: Key | None, label: str | None, unknown: bool = False) -> Fault:
        labels = [*self._labels, label] if label else self._labels
        keys = (*self._keys, key) if key is not None else tuple(self._keys)
        path = ""
        for part in labels:
            path = f"{path}{part}" if part.startswith("[") or not path else f"{path}.{part}"
        return Fault(text, path, keys, unknown)

    def _message(self, message: Any, tree: object, skip: str = "") -> None:
        if not isinstance(tree, dict):
            self._fault(f"expected an object ({message.DESCRIPTOR.full_name}), found {describe(tree)}")
            return
        table = table_of(type(message))
        for key, value in tree.items():
            field = table.get(key)
            if field is None:
                if key == skip:
                    continue
                field = self._renamed(message, key, table)
                if field is None:
                    continue
            if value is None and not field.null:
                continue
            if field.oneof and message.WhichOneof(field.oneof) is not None:
                other = message.WhichOneof(field.oneof)
                twice = "is given twice" if other == field.name else f"excludes '{other}', which is set too"
                self._fault(f"{twice} (one of a kind: {field.oneof})", key, field.name)
                continue
            if field.repeated:
                self._repeated(message, field, key, value)
            elif field.scalar is not None:
                try:
                    setattr(message, field.name, field.scalar(value))
                except ValueError as error:
                    self._fault(str(error), key, field.name, isinstance(error, UnknownEnumValue))
            else:
                self._keys.append(key)
                self._labels.append(field.name)
                child = getattr(message, field.name)
                child.SetInParent()
                special = self._special.get(field.type_name)
                if special is not None:
                    special(child, value)
                else:
                    self._message(child, value)
                self._keys.pop()
                self._labels.pop()

    def _renamed(self, message: Any, key: str, table: dict[str, FieldReader]) -> FieldReader | None:
        type_name = message.DESCRIPTOR.full_name
        today = RENAMED_FIELDS.get((type_name, key))
        if today is not None:
            self.warnings.append(self._at(f"field is called '{today}' today", key, key))
            return table[today]
        hint = suggestion(key, [field.name for field in table.values()])
        if _was_removed(message, key):
            hint = " (Envoy removed it from its API)" + hint
        self._fault(f"no such field in {type_name}{hint}", key, key, unknown=True)
        return None

    def _repeated(self, message: Any, field: FieldReader, key: str, value: object) -> None:
        self._keys.append(key)
        self._labels.append(field.name)
        container = getattr(message, field.name)
        if field.is_map:
            self._map(container, field, value)
        else:
            items = value if isinstance(value, list) else [value]
            if field.scalar is not None:
                self._scalars(container, field, field.scalar, items)
            else:
                self._messages(container, field, items)
        self._keys.pop()
        self._labels.pop()

    def _messages(self, container: Any, field: FieldReader, items: list[object]) -> None:
        special = self._special.get(field.type_name)
        for index, item in enumerate(items):
            self._keys.append(index)
            if isinstance(item, list) and field.type_name not in (VALUE, _LIST_VALUE):
                self._messages(container, field, item)  # protobuf's parser flattens lists in lists
                self._keys.pop()
                continue
            child = container.add()
            if item is not None or field.type_name == VALUE:
                self._labels.append(f"[{len(container) - 1}]")
                if special is not None:
                    special(child, item)
                else:
                    self._message(child, item)
                self._labels.pop()
            self._keys.pop()

    def _scalars(
        self, container: Any, field: FieldReader, read: Callable[[object], object], items: list[object]
    ) -> None:
        for index, item in enumerate(items):
            if isinstance(item, list):
                self._keys.append(index)
                self._scalars(container, field, read, item)
                self._keys.pop()
                continue
            try:
                container.append(read(item))
            except ValueError as error:
                self._fault(str(error), index, f"[{index}]", isinstance(error, UnknownEnumValue))

    def _map(self, container: Any, field: FieldReader, tree: object) -> None:
        if not isinstance(tree, dict):
            self._fault(f"expected an object (a map), found {describe(tree)}")
            return
        for key, value in tree.items():
            label = f'["{key}"]'
            try:
                name = field.key(key)
                if field.scalar is not None:
                    container[name] = field.scalar(value)
                    continue
            except ValueError as error:
                self._fault(str(error), key, label, isinstance(error, UnknownEnumValue))
                continue
            child = container[name]
            if value is None and field.type_name != VALUE:
                continue
            self._keys.append(key)
            self._labels.append(label)
            self.read(value, child)
            self._keys.pop()
            self._labels.pop()

    # Well-known types

    def _any(self, message: Any, tree: object) -> None:
        if not isinstance(tree, dict):
            self._fault(f"expected an object with @type, found {describe(tree)}")
            return
        url = tree.get("@type")
        if url is None:
            if tree:
                self._fault("@type is missing")
            return
        if not isinstance(url, str) or "/" not in url[1:]:
            self._fault(
                f"@type must be like type.googleapis.com/envoy.config..., found {describe(url)}", "@type", "@type"
            )
            return
        inner_class = api.class_for_url(url)
        if inner_class is None:
            today = renamed_type(api.type_name(url))
            if today is not None:
                self.warnings.append(
                    self._at(f"type '{api.type_name(url)}' is called '{today}' today", "@type", "@type")
                )
                url = api.TYPE_URL_PREFIX + today
                inner_class = api.message_class(today)
        if inner_class is None:
            self._fault(f"could not find @type '{url}'{_type_hint(url)}", "@type", "@type")
            return
        inner: Any = inner_class()
        name = inner.DESCRIPTOR.full_name
        if name in _IN_ANY_AS_VALUE:
            for key in tree:
                if key not in ("@type", "value"):
                    self._fault(f"a {name} in an Any has only @type and value", key, key)
            if "value" in tree:
                self._keys.append("value")
                self.read(tree["value"], inner)
                self._keys.pop()
        else:
            self._message(inner, tree, skip="@type")
        message.type_url = url
        message.value = inner.SerializeToString(deterministic=True)

    def _value(self, message: Any, tree: object) -> None:
        if tree is None:
            message.null_value = 0
        elif isinstance(tree, bool):
            message.bool_value = tree
        elif isinstance(tree, str):
            message.string_value = tree
        elif isinstance(tree, dict):
            message.struct_value.SetInParent()
            self._struct(message.struct_value, tree)
        elif isinstance(tree, list):
            message.list_value.SetInParent()
            self._list_value(message.list_value, tree)
        else:
            try:
                message.number_value = scalar.to_double(tree)
            except ValueError as error:
                self._fault(str(error))

    def _struct(self, message: Any, tree: object) -> None:
        if not isinstance(tree, dict):
            self._fault(f"expected an object, found {describe(tree)}")
            return
        fields = message.fields
        for key, value in tree.items():
            self._keys.append(key)
            self._labels.append(f'["{key}"]')
            self._value(fields[key], value)
            self._keys.pop()
            self._labels.pop()

    def _list_value(self, message: Any, tree: object) -> None:
        if not isinstance(tree, list):
            self._fault(f"expected a list, found {describe(tree)}")
            return
        for item in tree:
            self._value(message.values.add(), item)

    def _seconds(self, convert: Callable[[object], tuple[int, int]], message: Any, tree: object) -> None:
        if isinstance(tree, dict):
            self._message(message, tree)
            return
        try:
            message.seconds, message.nanos = convert(tree)
        except ValueError as error:
            self._fault(str(error))

    def _duration(self, message: Any, tree: object) -> None:
        self._seconds(scalar.to_duration, message, tree)

    def _timestamp(self, message: Any, tree: object) -> None:
        self._seconds(scalar.to_timestamp, message, tree)

    def _field_mask(self, message: Any, tree: object) -> None:
        if isinstance(tree, dict):
            self._message(message, tree)
            return
        try:
            message.paths.extend(scalar.to_field_mask(tree))
        except ValueError as error:
            self._fault(str(error))

    def _wrapper(self, convert: Callable[[object], object], message: Any, tree: object) -> None:
        if isinstance(tree, dict):
            self._message(message, tree)
            return
        try:
            message.value = convert(tree)
        except ValueError as error:
            self._fault(str(error))


def _was_removed(message: Any, key: str) -> bool:
    """Whether the API reserves the name of a field that it once had (`Cluster.hosts` of v2)."""
    definition = descriptor_pb2.DescriptorProto()
    message.DESCRIPTOR.CopyToProto(definition)
    return key in definition.reserved_name


def _type_hint(url: str) -> str:
    name = api.type_name(url)
    if ".v2." in name or ".v2alpha." in name or name.startswith("envoy.api."):
        return " (Envoy removed the v2 API in version 1.18: use the v3 type)"
    return suggestion(name, api.symbols(), 0.9)
