"""What a valid configuration should not rely on: deprecated fields and enum values, work in progress, unknown fields.

Envoy logs a warning for each, and refuses the few deprecated ones that are
"disallowed by default" unless a runtime key allows them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from outrider.config import api
from outrider.config.reach import MAP, REPEATED, SINGLE, Reach, cardinality_of

_ANY: Final = "google.protobuf.Any"

DEPRECATED: Final = "deprecated"
DISALLOWED: Final = "disallowed"
WORK_IN_PROGRESS: Final = "work_in_progress"
UNKNOWN: Final = "unknown"


class Notice:
    """One remark: its kind, the field path, the name in the API that it is about, and the text."""

    __slots__ = ("kind", "path", "subject", "text")

    def __init__(self, kind: str, path: str, subject: str, text: str) -> None:
        self.kind = kind
        self.path = path
        self.subject = subject
        self.text = text


class _Plan:
    """What of one message class calls for a notice."""

    __slots__ = ("children", "deprecated", "enums", "full_name", "wip", "wip_fields")

    def __init__(self, descriptor: Descriptor) -> None:
        self.full_name: str = descriptor.full_name
        deprecated, wip = api.options("deprecated"), api.options("work_in_progress")
        self.wip: bool = descriptor.full_name in wip
        self.wip_fields: set[str] = set()
        self.deprecated: set[str] = set()
        self.enums: list[tuple[str, bool, dict[int, str]]] = []
        self.children: dict[str, int] = {}
        for field in descriptor.fields:
            name = field.name
            if f"{self.full_name}.{name}" in deprecated:
                self.deprecated.add(name)
            if f"{self.full_name}.{name}" in wip:
                self.wip_fields.add(name)
            enum = field.enum_type
            if enum is not None and not field.is_repeated:
                old = {
                    value.number: f"{enum.full_name}.{value.name}"
                    for value in enum.values
                    if f"{enum.full_name}.{value.name}" in deprecated
                }
                if old:
                    self.enums.append((name, field.has_presence, old))
            cardinality, message = cardinality_of(field)
            if message is not None and (message.full_name == _ANY or _REACH.reaches(message)):
                self.children[name] = cardinality


def _owners(kind: str) -> frozenset[str]:
    """The messages that a deprecated or unfinished field, or an enum with a deprecated value, belongs to."""
    return frozenset(name.rpartition(".")[0] for name in api.options(kind)) | frozenset(api.options(kind))


def _notice_here(name: str) -> bool:
    if name == _ANY or name in _owners_of_notices():
        return True
    old_enums = _owners("deprecated")
    return any(
        field.enum_type is not None and field.enum_type.full_name in old_enums for field in api.descriptor(name).fields
    )


_cached_owners: list[frozenset[str]] = []


def _owners_of_notices() -> frozenset[str]:
    if not _cached_owners:
        _cached_owners.append(_owners("deprecated") | _owners("work_in_progress"))
    return _cached_owners[0]


_REACH: Final = Reach(_notice_here)
_plans: dict[type[Message], _Plan] = {}


class _Walk:
    __slots__ = ("_allowed", "_labels", "_look_for_unknown", "notices")

    def __init__(self, prefix: str, allowed: Callable[[str], bool], look_for_unknown: bool) -> None:
        self._labels: list[str] = [prefix] if prefix else []
        self._allowed = allowed
        self._look_for_unknown = look_for_unknown
        self.notices: list[Notice] = []

    def _add(self, kind: str, label: str, subject: str, text: str) -> None:
        path = ".".join(part for part in (*self._labels, label) if part)
        self.notices.append(Notice(kind, path, subject, text))

    def _deprecated(self, label: str, subject: str, what: str) -> None:
        if subject in api.options("disallowed") and not self._allowed(subject):
            text = f"{what} '{subject}' is deprecated; Envoy refuses it unless the runtime key"
            self._add(DISALLOWED, label, subject, f"{text} envoy.deprecated_features:{subject} is true")
        else:
            self._add(DEPRECATED, label, subject, f"{what} '{subject}' is deprecated")

    def message(self, message: Any) -> None:
        plan = _plans.get(type(message))
        if plan is None:
            plan = _plans[type(message)] = _Plan(cast(Descriptor, type(message).DESCRIPTOR))
        if plan.full_name == _ANY:
            self._any(message)
            return
        if plan.wip:
            self._add(WORK_IN_PROGRESS, "", plan.full_name, f"{plan.full_name} is work in progress in Envoy's API")
        if self._look_for_unknown:
            numbers = sorted({field.field_number for field in cast(Any, UnknownFieldSet(message))})
            if numbers:
                self._add(UNKNOWN, "", plan.full_name, f"unknown fields with the numbers {numbers} in {plan.full_name}")
        for name, has_presence, old in plan.enums:
            subject = old.get(getattr(message, name))
            if subject is not None and (not has_presence or message.HasField(name)):
                self._deprecated(name, subject, "enum value")
        children, deprecated = plan.children, plan.deprecated
        for field, value in message.ListFields():
            name = field.name
            if name in deprecated:
                self._deprecated(name, f"{plan.full_name}.{name}", "field")
            if name in plan.wip_fields:
                subject = f"{plan.full_name}.{name}"
                self._add(WORK_IN_PROGRESS, name, subject, f"{subject} is work in progress in Envoy's API")
            cardinality = children.get(name)
            if cardinality is None and not (self._look_for_unknown and field.message_type is not None):
                continue
            if cardinality is None:
                cardinality = cardinality_of(field)[0]
            if cardinality == SINGLE:
                self._descend(value, name)
            elif cardinality == REPEATED:
                for index, item in enumerate(value):
                    self._descend(item, f"{name}[{index}]")
            elif cardinality == MAP and cardinality_of(field)[1] is not None:
                for key in value:
                    self._descend(value[key], f'{name}["{key}"]')

    def _descend(self, message: Any, label: str) -> None:
        self._labels.append(label)
        self.message(message)
        self._labels.pop()

    def _any(self, message: Any) -> None:
        message_class = api.class_for_url(message.type_url)
        if message_class is None:
            return
        inner = message_class()
        try:
            inner.ParseFromString(message.value)
        except DecodeError:  # rules.check reports it
            return
        self.message(inner)


def _nothing_allowed(subject: str) -> bool:
    return False


def collect(
    message: Message,
    path: str = "",
    allowed: Callable[[str], bool] = _nothing_allowed,
    look_for_unknown: bool = False,
) -> list[Notice]:
    """Every notice on the message and all in it, what Anys hold included.

    `allowed` says of a field or enum value that Envoy disallows whether runtime
    allows it after all. Unknown fields can only be in what came as binary.
    """
    walk = _Walk(path, allowed, look_for_unknown)
    walk.message(message)
    return walk.notices
