"""The graph of message types: how a field leads to the type below it, and whether something is anywhere below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

SINGLE: Final = 0
REPEATED: Final = 1
MAP: Final = 2


def cardinality_of(field: FieldDescriptor) -> tuple[int, Descriptor | None]:
    """SINGLE, REPEATED or MAP, and the message type of the field's values (None for scalars)."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return MAP, message.fields_by_name["value"].message_type
    return (REPEATED if field.is_repeated else SINGLE), message


class Reach:
    """Whether a property holds for a message type or for any type below it; answers are kept."""

    __slots__ = ("_holds", "_known")

    def __init__(self, holds: Callable[[str], bool]) -> None:
        self._holds = holds
        self._known: dict[str, bool] = {}

    def reaches(self, start: Descriptor) -> bool:
        known = self._known.get(start.full_name)
        if known is not None:
            return known
        seen = {start.full_name}
        pending = [start]
        found = False
        while pending and not found:
            descriptor = pending.pop()
            found = self._known.get(descriptor.full_name, False) or self._holds(descriptor.full_name)
            for field in descriptor.fields:
                message = field.message_type
                if message is not None and message.full_name not in seen:
                    seen.add(message.full_name)
                    pending.append(message)
        self._known[start.full_name] = found
        return found
