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
    """Members with their keys. Rendered without the empty ones; None when all are left out."""

    def __init__(self, keys: list[bytes], members: list[JsonNode]) -> None:
        # Each with quotes and colon.
        self.keys = keys
        self.members = members

    def render(self, context: FormatContext) -> bytes:
        parts: list[bytes] = []
        keys = self.keys
        for index, member in enumerate(self.members):
            text = member.text(context)
            if text is not None:
                parts.append(keys[index] + text)
        return b"{" + b",".join(parts) + b"}"

    def text(self, context: FormatContext) -> bytes | None:
        rendered = self.render(context)
        return None if len(rendered) == 2 else rendered


class JsonList(JsonNode):
    """Items. Rendered without the empty ones; never left out itself."""

    def __init__(self, items: list[JsonNode]) -> None:
        self.items = items

    def text(self, context: FormatContext) -> bytes | None:
        parts: list[bytes] = []
        for item in self.items:
            text = item.text(context)
            if text is not None:
                parts.append(text)
        return b"[" + b",".join(parts) + b"]"


class JsonFormatter(LineFormatter):
    """A whole line, newline included, of a template whose empty members are left out."""

    def __init__(self, root: JsonObject) -> None:
        self.root = root

    def format_bytes(self, context: FormatContext) -> bytes:
        return self.root.render(context) + b"\n"


class FlatJsonFormatter(LineFormatter):
    """A whole line of a template whose members are all there: constant text with values between."""

    def __init__(self, texts: list[bytes], leaves: list[JsonNode]) -> None:
        # One more than there are leaves.
        self.texts = texts
        self.leaves = leaves

    def format_bytes(self, context: FormatContext) -> bytes:
        texts = self.texts
        parts: list[bytes] = [texts[0]]
        for index, leaf in enumerate(self.leaves):
            text = leaf.text(context)
            parts.append(b"null" if text is None else text)
            parts.append(texts[index + 1])
        return b"".join(parts)


class _Flattening:
    """A template on its way to FlatJsonFormatter."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.leaves: list[JsonNode] = []
        self.pending: bytes = b""

    def add(self, node: JsonNode) -> None:
        if isinstance(node, JsonObject):
            self.pending += b"{"
            for index, member in enumerate(node.members):
                self.pending += (b"," if index else b"") + node.keys[index]
                self.add(member)
            self.pending += b"}"
        elif isinstance(node, JsonList):
            self.pending += b"["
            for index, item in enumerate(node.items):
                self.pending += b"," if index else b""
                self.add(item)
            self.pending += b"]"
        elif isinstance(node, JsonConstant):
            self.pending += node.rendered or b"null"
        else:
            self.texts.append(self.pending)
            self.leaves.append(node)
            self.pending = b""


def parse_json_format(
    template: dict[str, object], parsers: Sequence[CommandParser] = (), omit_empty: bool = False
) -> LineFormatter:
    """Compile a `json_format`. Raises FormatError."""
    root = _object(template, parsers, omit_empty)
    if omit_empty:
        return JsonFormatter(root)
    flat = _Flattening()
    flat.add(root)
    flat.texts.append(flat.pending + b"\n")
    return FlatJsonFormatter(flat.texts, flat.leaves)


def _object(template: dict[str, object], parsers: Sequence[CommandParser], omit_empty: bool) -> JsonObject:
    keys = sorted(template)
    members = [_node(template[key], parsers, omit_empty) for key in keys]
    return JsonObject([quoted_key(key) + b":" for key in keys], members)


def _node(value: object, parsers: Sequence[CommandParser], omit_empty: bool) -> JsonNode:
    if isinstance(value, dict):
        return _object(value, parsers, omit_empty)
    if isinstance(value, list):
        return JsonList([_node(item, parsers, omit_empty) for item in value])
    if not isinstance(value, str):
        return JsonConstant(None if value is None else json_text(value))
    ops = parse_ops(value, parsers)
    literals = [op.literal for op in ops if isinstance(op, LiteralOp)]
    if len(literals) == len(ops):
        return JsonConstant(quoted(b"".join(literals)))
    return JsonValue(ops[0]) if len(ops) == 1 else JsonString(ops, omit_empty)
