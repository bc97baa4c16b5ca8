"""Header edits of routes, virtual hosts, clusters and local replies.

Source: Envoy documentation, "HTTP header manipulation"; `envoy.config.core.v3.HeaderValueOption`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import FormatError, Formatter, parse_format
from outrider.data.header_map import HeaderMap

if TYPE_CHECKING:
    from outrider.config.view import View

# HeaderValueOption.HeaderAppendAction
APPEND_IF_EXISTS_OR_ADD: Final = 0
ADD_IF_ABSENT: Final = 1
OVERWRITE_IF_EXISTS_OR_ADD: Final = 2
OVERWRITE_IF_EXISTS: Final = 3

_ACTIONS: Final[dict[str, int]] = {
    "APPEND_IF_EXISTS_OR_ADD": APPEND_IF_EXISTS_OR_ADD,
    "ADD_IF_ABSENT": ADD_IF_ABSENT,
    "OVERWRITE_IF_EXISTS_OR_ADD": OVERWRITE_IF_EXISTS_OR_ADD,
    "OVERWRITE_IF_EXISTS": OVERWRITE_IF_EXISTS,
}


class HeaderAddition:
    """One HeaderValueOption, its value compiled."""

    __slots__ = ("name", "formatter", "constant", "action", "keep_empty")

    def __init__(self, name: bytes, formatter: Formatter, action: int, keep_empty: bool) -> None:
        self.name = name
        self.formatter = formatter
        self.constant: bytes | None = formatter.constant
        self.action = action
        self.keep_empty = keep_empty


class HeaderParser:
    """Removals, then additions, as one list of `*_headers_to_add` and `*_headers_to_remove` asks for them."""

    __slots__ = ("additions", "removals", "empty")

    def __init__(self, additions: list[HeaderAddition], removals: list[bytes]) -> None:
        self.additions = additions
        self.removals = removals
        # True when evaluating changes nothing: callers may skip it.
        self.empty: bool = not additions and not removals

    @classmethod
    def from_views(cls, options: Sequence[View], remove: Sequence[str] = ()) -> HeaderParser:
        """Compile HeaderValueOption views and the names to remove. Raises ConfigError."""
        return cls([parse_addition(option) for option in options], parse_removals(options, remove))

    def evaluate_headers(self, headers: HeaderMap, context: FormatContext) -> None:
        """Edit `headers`. Every value is computed from the headers as they are after the removals."""
        for removed in self.removals:
            headers.remove(removed)
        added: list[tuple[bytes, bytes]] | None = None
        overwritten: list[tuple[bytes, bytes]] | None = None
        for addition in self.additions:
            value = addition.constant
            if value is None:
                value = addition.formatter.format_bytes(context)
            if not value and not addition.keep_empty:
                continue
            action = addition.action
            name = addition.name
            if action >= OVERWRITE_IF_EXISTS_OR_ADD:
                if action == OVERWRITE_IF_EXISTS and headers.get(name) is None:
                    continue
                if overwritten is None:
                    overwritten = []
                overwritten.append((name, value))
            elif action == APPEND_IF_EXISTS_OR_ADD or headers.get(name) is None:
                if added is None:
                    added = []
                added.append((name, value))
        if overwritten is not None:
            for name, value in overwritten:
                headers.set(name, value)
        if added is not None:
            for name, value in added:
                headers.add(name, value)


def parse_addition(option: View) -> HeaderAddition:
    """One HeaderValueOption. Raises ConfigError."""
    header = option.message("header")
    if header is None:
        raise option.error("value is required", "header")
    key = header.text("key")
    if key.startswith(":") or key.lower() == "host":
        raise header.error(":-prefixed or host headers may not be modified", "key")
    raw = header.data("raw_value")
    text = raw.decode("utf-8", "surrogateescape") if raw else header.text("value")
    try:
        formatter = parse_format(text, (), True)
    except FormatError as error:
        raise header.error(str(error), "value") from None
    action = _ACTIONS[option.enum("append_action")]
    if option.has("append"):
        if option.has("append_action"):
            raise option.error("Both append and append_action are set and it's not allowed", "append")
        action = APPEND_IF_EXISTS_OR_ADD if option.flag("append", True) else OVERWRITE_IF_EXISTS_OR_ADD
    return HeaderAddition(key.lower().encode(), formatter, action, option.flag("keep_empty_value"))


def parse_removals(owner: Sequence[View], names: Sequence[str]) -> list[bytes]:
    """Names to remove, lower-case. Raises ConfigError."""
    removals: list[bytes] = []
    for name in names:
        if name.startswith(":") or name.lower() == "host":
            from outrider.config.errors import ConfigError

            raise ConfigError(":-prefixed or host headers may not be removed")
        removals.append(name.lower().encode())
    return removals
