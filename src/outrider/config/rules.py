"""The constraints of Envoy's API (`validate.rules`), checked over a whole message tree, what Anys hold included.

The rules of a class are compiled when a message of it is first checked. A
class below which no rule stands is never looked into. All faults are found at
once; each names its field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from outrider.config import api
from outrider.config.constraint import Check, count_checks, field_checks, ignores_empty, is_required, unique
from outrider.config.errors import ConfigError
from outrider.config.parse import Reader
from outrider.config.reach import MAP, REPEATED, SINGLE, Reach, cardinality_of
from outrider.config.shape import TYPED_STRUCTS
from outrider.config.source import Places
from outrider.config.struct import struct_to_dict

_ANY: Final = "google.protobuf.Any"
_DURATION: Final = "google.protobuf.Duration"
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
# Envoy holds durations as nanoseconds in 64 bits (`DurationUtil`).
_MAX_SECONDS: Final = (2**63 - 1) // 10**9


class _FieldRules:
    """The constraints of one field."""

    __slots__ = (
        "cardinality", "checks", "ignore_empty", "item_checks", "key_checks", "name", "needs_presence", "required",
        "wrapper",
    )  # fmt: skip

    def __init__(self, field: FieldDescriptor, rules: Mapping[str, Any]) -> None:
        self.name: str = field.name
        self.cardinality: int = SINGLE
        self.wrapper: bool = False
        self.needs_presence: bool = field.has_presence
        # A member of a oneof is checked only where it is the one that is set.
        self.required: bool = is_required(rules) and field.containing_oneof is None
        self.ignore_empty: bool = ignores_empty(rules)
        self.key_checks: list[Check] = []
        self.item_checks: list[Check] = []
        self.checks: list[Check] = []
        message = field.message_type
        if "map" in rules and message is not None:
            self.cardinality = MAP
            content = rules["map"]
            self.checks = count_checks(content, "pair", "min_pairs", "max_pairs")
            self.key_checks = field_checks(content.get("keys", {}), frozenset())
            value = message.fields_by_name["value"]
            self.item_checks = field_checks(content.get("values", {}), _numbers(value))
        elif "repeated" in rules:
            self.cardinality = REPEATED
            content = rules["repeated"]
            self.checks = count_checks(content, "item", "min_items", "max_items")
            if content.get("unique"):
                self.checks.append(unique)
            self.item_checks = field_checks(content.get("items", {}), _numbers(field))
        else:
            self.wrapper = message is not None and message.full_name in _WRAPPERS
            self.checks = field_checks(rules, _numbers(field))


def _numbers(field: FieldDescriptor) -> frozenset[int]:
    enum = field.enum_type
    return frozenset(value.number for value in enum.values) if enum is not None else frozenset()


class _Plan:
    """What to check in messages of one class, and which of their fields lead to more rules.

    `always` holds the fields whose rules an unset field can break; the others,
    and the way down, are looked up for the fields that are set.
    """

    __slots__ = ("always", "children", "full_name", "oneofs", "when_set")

    def __init__(self, descriptor: Descriptor) -> None:
        self.full_name: str = descriptor.full_name
        all_rules = cast("Mapping[str, Mapping[str, Any]]", api.options("rules"))
        rules = {} if descriptor.full_name in api.options("disabled") else all_rules.get(descriptor.full_name, {})
        self.always: list[_FieldRules] = []
        self.when_set: dict[str, _FieldRules] = {}
        self.children: dict[str, int] = {}
        self.oneofs = cast("list[str]", api.options("required_oneofs").get(descriptor.full_name, []))
        for field in descriptor.fields:
            own = rules.get(field.name, {})
            if own:
                compiled = _FieldRules(field, own)
                if compiled.needs_presence and not compiled.required:
                    self.when_set[compiled.name] = compiled
                else:
                    self.always.append(compiled)
            if own.get("message", {}).get("skip"):
                continue
            cardinality, message = cardinality_of(field)
            if message is not None and _REACH.reaches(message):
                self.children[field.name] = cardinality


def _rule_here(name: str) -> bool:
    return name in (_ANY, _DURATION) or name in api.options("rules") or name in api.options("required_oneofs")


_REACH: Final = Reach(_rule_here)


_plans: dict[type[Message], _Plan] = {}


def _plan_of(message_class: type[Message]) -> _Plan:
    found = _plans.get(message_class)
    if found is None:
        found = _plans[message_class] = _Plan(cast(Descriptor, message_class.DESCRIPTOR))
    return found


class _Checker:
    """One run over a tree."""

    __slots__ = ("_labels", "_places", "errors")

    def __init__(self, prefix: str, places: Places | None) -> None:
        self._labels: list[str] = [prefix] if prefix else []
        self._places = places
        self.errors: list[ConfigError] = []

    def fail(self, reason: str, label: str) -> None:
        path = ""
        for part in (*self._labels, label):
            path = f"{path}{part}" if part.startswith("[") or not path or not part else f"{path}.{part}"
        file, line = self._places.place(path) if self._places is not None else (None, None)
        self.errors.append(ConfigError(reason, path or None, file, line))

    def message(self, message: Any) -> None:
        plan = _plan_of(type(message))
        if plan.full_name == _ANY:
            self._any(message)
            return
        if plan.full_name == _DURATION:
            self._duration(message)
            return
        for field in plan.always:
            self._field(message, field)
        for oneof in plan.oneofs:
            if message.WhichOneof(oneof) is None:
                options = ", ".join(field.name for field in message.DESCRIPTOR.oneofs_by_name[oneof].fields)
                self.fail(f"one of {options} is required", "")
        for descriptor, value in message.ListFields():
            name = descriptor.name
            field_rules = plan.when_set.get(name)
            if field_rules is not None:
                self._value(value, field_rules)
            cardinality = plan.children.get(name)
            if cardinality is None:
                continue
            if cardinality == SINGLE:
                self._descend(value, name)
            elif cardinality == REPEATED:
                for index, item in enumerate(value):
                    self._descend(item, f"{name}[{index}]")
            else:
                for key in value:
                    self._descend(value[key], f'{name}["{key}"]')

    def _descend(self, message: Any, label: str) -> None:
        self._labels.append(label)
        self.message(message)
        self._labels.pop()

    def _field(self, message: Any, field: _FieldRules) -> None:
        value = getattr(message, field.name)
        if field.cardinality != SINGLE:
            self._collection(value, field)
        elif not field.needs_presence or message.HasField(field.name):
            self._value(value, field)
        elif field.required:
            self.fail("value is required", field.name)

    def _value(self, value: Any, field: _FieldRules) -> None:
        if field.wrapper:
            value = value.value
        if field.ignore_empty and not value:
            return
        for check in field.checks:
            reason = check(value)
            if reason is not None:
                self.fail(reason, field.name)
                return

    def _collection(self, values: Any, field: _FieldRules) -> None:
        if field.ignore_empty and not values:
            return
        for check in field.checks:
            reason = check(values)
            if reason is not None:
                self.fail(reason, field.name)
        if field.cardinality == MAP:
            for key in values:
                label = f'{field.name}["{key}"]'
                self._item(key, field.key_checks, label)
                self._item(values[key], field.item_checks, label)
        elif field.item_checks:
            for index, value in enumerate(values):
                self._item(value, field.item_checks, f"{field.name}[{index}]")

    def _item(self, value: Any, checks: list[Check], label: str) -> None:
        for check in checks:
            reason = check(value)
            if reason is not None:
                self.fail(reason, label)
                return

    def _any(self, message: Any) -> None:
        message_class = api.class_for_url(message.type_url)
        if message_class is None:
            return
        is_typed_struct = message_class.DESCRIPTOR.full_name in TYPED_STRUCTS
        if not is_typed_struct and not _REACH.reaches(cast(Descriptor, message_class.DESCRIPTOR)):
            return
        inner = message_class()
        try:
            inner.ParseFromString(message.value)
        except DecodeError:
            self.fail(f"does not hold a valid {api.type_name(message.type_url)}", "")
            return
        if is_typed_struct:
            self._typed_struct(inner)
        else:
            self.message(inner)

    def _typed_struct(self, message: Any) -> None:
        """What it says is checked as the type that it names: it must be readable as such."""
        inner_class = api.class_for_url(message.type_url)
        if inner_class is None:
            return
        inner = inner_class()
        reader = Reader()
        reader.read(struct_to_dict(message.value), inner)
        for fault in reader.faults:
            self.fail(fault.text, fault.path)
        if not reader.faults:
            self.message(inner)

    def _duration(self, message: Any) -> None:
        if message.seconds < 0 or message.nanos < 0:
            self.fail("Invalid duration: Expected positive duration", "")
        elif message.nanos > 999_999_999 or message.seconds >= _MAX_SECONDS:
            self.fail("Invalid duration: Duration out-of-range", "")


def check(message: Message, path: str = "", places: Places | None = None) -> list[ConfigError]:
    """Every constraint that the message, or anything in it, breaks."""
    checker = _Checker(path, places)
    checker.message(message)
    return checker.errors
