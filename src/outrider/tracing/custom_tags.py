"""`envoy.type.tracing.v3.CustomTag`: tags of a span that configuration names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import Formatter, format_field

if TYPE_CHECKING:
    from outrider.config.view import View


@mypyc_attr(allow_interpreted_subclasses=True)
class CustomTag:
    """A tag; `value` is None where the span does not get it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def value(self, context: FormatContext) -> str | None:
        raise NotImplementedError


class LiteralTag(CustomTag):
    """Always the same: a literal, or a variable of the environment."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name)
        self.text = text

    def value(self, context: FormatContext) -> str | None:
        return self.text or None


class HeaderTag(CustomTag):
    """A request header, all its values."""

    def __init__(self, name: str, header: bytes, default: str) -> None:
        super().__init__(name)
        self.header = header
        self.default = default

    def value(self, context: FormatContext) -> str | None:
        headers = context.request_headers
        found = None if headers is None else headers.get_joined(self.header)
        if found is None:
            return self.default or None
        return found.decode("utf-8", "replace")


class FormatTag(CustomTag):
    """A format string."""

    def __init__(self, name: str, formatter: Formatter) -> None:
        super().__init__(name)
        self.formatter = formatter

    def value(self, context: FormatContext) -> str | None:
        return self.formatter.format(context) or None


class MetadataTag(CustomTag):
    """A value of dynamic metadata, or of the metadata of route, cluster or host."""

    def __init__(self, name: str, kind: str, namespace: str, path: list[str], default: str) -> None:
        super().__init__(name)
        self.kind = kind
        self.namespace = namespace
        self.path = path
        self.default = default

    def value(self, context: FormatContext) -> str | None:
        info = context.stream_info
        source: Any
        if self.kind == "route":
            source = getattr(info.route, "metadata", None)
        elif self.kind == "cluster":
            source = getattr(info.cluster, "metadata", None)
        elif self.kind == "host":
            source = None if info.upstream is None else getattr(info.upstream.host, "metadata", None)
        else:
            source = info.metadata
        found: Any = None if source is None else source.get(self.namespace)
        for key in self.path:
            found = found.get(key) if isinstance(found, dict) else None
        return metadata_text(found) or self.default or None


def metadata_text(value: object) -> str:
    """A metadata value as a tag: structures as JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float | int):
        return f"{float(value):g}" if isinstance(value, float) else str(value)
    import json

    return json.dumps(value, separators=(",", ":"))


def parse_custom_tags(views: list[View]) -> list[CustomTag]:
    """The last of several tags with one name counts. Raises ConfigError."""
    tags: dict[str, CustomTag] = {}
    for view in views:
        name = view.text("tag")
        if view.enum("value_type") not in ("UNSPECIFIED", "STRING"):
            raise view.error("only strings are supported by this version of outrider", "value_type")
        tags[name] = _parse(view, name)
    return list(tags.values())


def _parse(view: View, name: str) -> CustomTag:
    kind = view.which("type")
    if kind == "value":
        return FormatTag(name, format_field(view, "value", (), True))
    inner = None if kind is None else view.message(kind)
    if inner is None:
        raise view.error("value is required", "type")
    if kind == "literal":
        return LiteralTag(name, inner.text("value"))
    if kind == "environment":
        return LiteralTag(name, os.environ.get(inner.text("name")) or inner.text("default_value"))
    if kind == "request_header":
        return HeaderTag(name, inner.text("name").lower().encode(), inner.text("default_value"))
    where = inner.message("kind")
    key = inner.message("metadata_key")
    if where is None or key is None:
        raise inner.error("value is required", "kind" if where is None else "metadata_key")
    chosen = where.which("kind") or "request"
    where.message(chosen)
    path = [segment.text("key") for segment in key.messages("path")]
    return MetadataTag(name, chosen, key.text("key"), path, inner.text("default_value"))


def operation_field(view: View, name: str) -> Formatter | None:
    """A format string for the name of spans; None where it is not set. Raises ConfigError."""
    return format_field(view, name, (), True) if view.text(name) else None
