"""JSON log lines: a nested template whose strings are format strings.

A string that is one operator alone becomes that operator's value, with its type; any other string becomes text. Members
are in the order of their keys. Source: Envoy documentation, "Access logging", "Format dictionaries".
"""

from __future__ import annotations

from collections.abc import Sequence

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import CommandParser, LineFormatter, parse_ops
from outrider.access_log.json_text import json_text, quoted, quoted_key
from outrider.access_log.operation import UNSPECIFIED, FormatOp, LiteralOp


class JsonNode:
    """A part of the template."""

    def text(self, context: FormatContext) -> bytes | None:
        """JSON text; None for nothing (null, or left out)."""
        raise NotImplementedError


class JsonConstant(JsonNode):
    """A value without operators."""

    def __init__(self, rendered: bytes | None) -> None:
        self.rendered = rendered

    def text(self, context: FormatContext) -> bytes | None:
        return self.rendered


class JsonValue(JsonNode):
    """One operator, typed."""

    def __init__(self, op: FormatOp) -> None:
        self.op = op

    def text(self, context: FormatContext) -> bytes | None:
        value = self.op.value(context)
        if value is None:
            return None
        if isinstance(value, bytes):
            return quoted(value)
        return json_text(value)


class JsonString(JsonNode):
    """Operators amid text. Each is made valid UTF-8 on its own."""

    def __init__(self, ops: list[FormatOp], omit_empty: bool) -> None:
        self.ops = ops
        self.absent: bytes = b"" if omit_empty else UNSPECIFIED

    def text(self, context: FormatContext) -> bytes | None:
        parts: list[bytes] = [b'"']
        for op in self.ops:
            text = op.text(context)
            parts.append(quoted(self.absent if text is None else text)[1:-1])
        parts.append(b'"')
        return b"".join(parts)


class JsonObject(JsonNode):
    """Members with their keys; None when all are left out."""

    def __init__(self, keys: list[bytes], members: list[JsonNode], omit_empty: bool) -> None:
        # Each with quotes and colon.
        self.keys = keys
        self.members = members
        self.omit_empty = omit_empty

    def render(self, context: FormatContext) -> bytes:
        parts: list[bytes] = []
        keys = self.keys
        omit_empty = self.omit_empty
        for index, member in enumerate(self.members):
            text = member.text(context)
            if text is not None:
                parts.append(keys[index] + text)
            elif not omit_empty:
                parts.append(keys[index] + b"null")
        return b"{" + b",".join(parts) + b"}"

    def text(self, context: FormatContext) -> bytes | None:
        rendered = self.render(context)
        return None if self.omit_empty and len(rendered) == 2 else rendered


class JsonList(JsonNode):
    """Items; never left out itself."""

    def __init__(self, items: list[JsonNode], omit_empty: bool) -> None:
        self.items = items
        self.omit_empty = omit_empty

    def text(self, context: FormatContext) -> bytes | None:
        parts: list[bytes] = []
        for item in self.items:
            text = item.text(context)
            if text is not None:
                parts.append(text)
            elif not self.omit_empty:
                parts.append(b"null")
        return b"[" + b",".join(parts) + b"]"


class JsonFormatter(LineFormatter):
    """A whole line, newline included."""

    def __init__(self, root: JsonObject) -> None:
        self.root = root

    def format_bytes(self, context: FormatContext) -> bytes:
        return self.root.render(context) + b"\n"


def parse_json_format(
    template: dict[str, object], parsers: Sequence[CommandParser] = (), omit_empty: bool = False
) -> JsonFormatter:
    """Compile a `json_format`. Raises FormatError."""
    return JsonFormatter(_object(template, parsers, omit_empty))


def _object(template: dict[str, object], parsers: Sequence[CommandParser], omit_empty: bool) -> JsonObject:
    keys = sorted(template)
    members = [_node(template[key], parsers, omit_empty) for key in keys]
    return JsonObject([quoted_key(key) + b":" for key in keys], members, omit_empty)


def _node(value: object, parsers: Sequence[CommandParser], omit_empty: bool) -> JsonNode:
    if isinstance(value, dict):
        return _object(value, parsers, omit_empty)
    if isinstance(value, list):
        return JsonList([_node(item, parsers, omit_empty) for item in value], omit_empty)
    if not isinstance(value, str):
        return JsonConstant(None if value is None else json_text(value))
    ops = parse_ops(value, parsers)
    literals = [op.literal for op in ops if isinstance(op, LiteralOp)]
    if len(literals) == len(ops):
        return JsonConstant(quoted(b"".join(literals)))
    return JsonValue(ops[0]) if len(ops) == 1 else JsonString(ops, omit_empty)
