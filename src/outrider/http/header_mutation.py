"""Header edits of routes, virtual hosts, clusters, local replies, and of the header mutation filters.

Source: Envoy documentation, "HTTP header manipulation"; `envoy.config.core.v3.HeaderValueOption`;
`envoy.config.common.mutation_rules.v3`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import Formatter, parse_format
from outrider.access_log.syntax import FormatError
from outrider.config.errors import ConfigError
from outrider.data.header_map import HeaderMap
from outrider.data.inline_headers import add_field, is_inline

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.matching.string_matcher import StringMatcher

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

# Forms of older Envoys that today's still translates.
_JSON_METADATA: Final = re.compile(r"%(UPSTREAM|DYNAMIC)_METADATA\(\s*(\[.*?\])\s*\)%")
_REQUEST_STATE: Final = re.compile(r"%PER_REQUEST_STATE\((.+?)\)%")


class HeaderAddition:
    """One HeaderValueOption, its value compiled."""

    __slots__ = ("name", "formatter", "constant", "action", "keep_empty")

    def __init__(self, name: bytes, formatter: Formatter, action: int, keep_empty: bool) -> None:
        self.name = name
        self.formatter = formatter
        self.constant: bytes | None = formatter.constant
        self.action = action
        self.keep_empty = keep_empty

    def __repr__(self) -> str:
        return f"<HeaderAddition {self.name.decode()} action={self.action}>"


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
        """Compile HeaderValueOption views and the names to remove.

        Raises ConfigError, for a name to remove without a path.
        """
        return cls([parse_addition(option) for option in options], parse_removals(remove))

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
                _overwrite(headers, name, value)
        if added is not None:
            for name, value in added:
                add_field(headers, name, value)

    def __repr__(self) -> str:
        return f"HeaderParser({self.additions!r}, remove={self.removals!r})"


@mypyc_attr(allow_interpreted_subclasses=True)
class HeaderMutation:
    """One step of a HeaderMutations list."""

    def mutate(self, headers: HeaderMap, context: FormatContext) -> None:
        raise NotImplementedError


class AppendMutation(HeaderMutation):
    """Add, append or overwrite one field, as the option's action says."""

    def __init__(self, addition: HeaderAddition) -> None:
        self.addition = addition

    def mutate(self, headers: HeaderMap, context: FormatContext) -> None:
        addition = self.addition
        value = addition.constant
        if value is None:
            value = addition.formatter.format_bytes(context)
        if not value and not addition.keep_empty:
            return
        name = addition.name
        action = addition.action
        if action == APPEND_IF_EXISTS_OR_ADD:
            add_field(headers, name, value)
        elif action == OVERWRITE_IF_EXISTS_OR_ADD or (headers.get(name) is None) == (action == ADD_IF_ABSENT):
            _overwrite(headers, name, value)


class RemoveMutation(HeaderMutation):
    def __init__(self, name: bytes) -> None:
        self.name = name

    def mutate(self, headers: HeaderMap, context: FormatContext) -> None:
        headers.remove(self.name)


class RemoveOnMatchMutation(HeaderMutation):
    """Remove the fields whose names match."""

    def __init__(self, matcher: StringMatcher) -> None:
        self.matcher = matcher

    def mutate(self, headers: HeaderMap, context: FormatContext) -> None:
        for name, _ in headers.all_items():
            if self.matcher.matches(name):
                headers.remove(name)


class HeaderMutations:
    """`envoy.config.common.mutation_rules.v3.HeaderMutation` steps, each seeing what those before it did."""

    __slots__ = ("steps",)

    def __init__(self, steps: list[HeaderMutation]) -> None:
        self.steps = steps

    @classmethod
    def from_views(cls, views: Sequence[View], context: Any = None) -> HeaderMutations:
        """Compile the steps. Raises ConfigError."""
        return cls([parse_mutation(view, context) for view in views])

    def evaluate_headers(self, headers: HeaderMap, context: FormatContext) -> None:
        for step in self.steps:
            step.mutate(headers, context)


def _overwrite(headers: HeaderMap, name: bytes, value: bytes) -> None:
    # Envoy moves a field that has no fixed slot to the end of the section.
    if not is_inline(headers, name):
        headers.remove(name)
    headers.set(name, value)


def translate_legacy_formats(text: str) -> str:
    """`%UPSTREAM_METADATA(["ns", "key"])%` and `%PER_REQUEST_STATE(key)%` in today's notation."""
    if "_METADATA(" in text:
        text = _JSON_METADATA.sub(_colon_form, text)
    if "PER_REQUEST_STATE" in text:
        text = _REQUEST_STATE.sub(r"%FILTER_STATE(\1:PLAIN)%", text)
    return text


def _colon_form(match: re.Match[str]) -> str:
    try:
        parts = json.loads(match.group(2))
    except ValueError:
        return match.group(0)
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return match.group(0)
    return f"%{match.group(1)}_METADATA({':'.join(parts)})%"


def parse_addition(option: View) -> HeaderAddition:
    """One HeaderValueOption. Raises ConfigError."""
    header = option.message("header")
    if header is None:
        raise option.error("value is required", "header")
    # Only services that answer with headers (ext_proc, ext_authz) use `raw_value`; here Envoy does not look at it.
    header.accept("raw_value")
    key = header.text("key")
    if _is_protected(key):
        raise header.error(":-prefixed or host headers may not be modified", "key")
    try:
        formatter = parse_format(translate_legacy_formats(header.text("value")), (), True)
    except FormatError as error:
        raise header.error(str(error), "value") from None
    action = _ACTIONS[option.enum("append_action")]
    if option.has("append"):
        if option.has("append_action"):
            raise option.error("Both append and append_action are set and it's not allowed", "append")
        action = APPEND_IF_EXISTS_OR_ADD if option.flag("append", True) else OVERWRITE_IF_EXISTS_OR_ADD
    return HeaderAddition(key.lower().encode(), formatter, action, option.flag("keep_empty_value"))


def parse_removals(names: Sequence[str]) -> list[bytes]:
    """Names to remove, lower-case. Raises ConfigError without a path."""
    for name in names:
        if _is_protected(name):
            raise ConfigError(":-prefixed or host headers may not be removed")
    return [name.lower().encode() for name in names]


def parse_mutation(view: View, context: Any = None) -> HeaderMutation:
    """One step. Raises ConfigError."""
    kind = view.which("action")
    if kind == "append":
        append = view.message("append")
        assert append is not None
        return AppendMutation(parse_addition(append))
    if kind == "remove":
        return RemoveMutation(view.text("remove").lower().encode())
    if kind == "remove_on_match":
        from outrider.matching.string_matcher import parse_string_matcher

        remove = view.message("remove_on_match")
        assert remove is not None
        matcher = remove.message("key_matcher")
        if matcher is None:
            raise remove.error("value is required", "key_matcher")
        return RemoveOnMatchMutation(parse_string_matcher(matcher, context))
    raise view.error("an action is required: append, remove or remove_on_match")


def _is_protected(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"
