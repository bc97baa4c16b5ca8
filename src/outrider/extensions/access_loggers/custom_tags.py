"""`envoy.type.tracing.v3.CustomTag` in log entries: a name, and where its value comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import Formatter, parse_format
from outrider.access_log.syntax import FormatError
from outrider.data.json_value import plain_text

if TYPE_CHECKING:
    from outrider.config.view import View

_LITERAL: Final = 0
_HEADER: Final = 1
_METADATA: Final = 2
_FORMAT: Final = 3


class CustomTag:
    """One tag. `text` is the literal, the value of the environment, or the default of the others."""

    __slots__ = ("name", "kind", "text", "header", "source", "namespace", "path", "formatter")

    def __init__(self, name: str, kind: int, text: str) -> None:
        self.name = name
        self.kind = kind
        self.text = text
        self.header: bytes = b""
        # Of metadata: request, route, cluster or host.
        self.source: str = ""
        self.namespace: str = ""
        self.path: list[str] = []
        self.formatter: Formatter | None = None

    def value(self, context: FormatContext) -> str:
        """Empty: there is none."""
        if self.kind == _LITERAL:
            return self.text
        if self.kind == _HEADER:
            headers = context.request_headers
            found = None if headers is None else headers.get(self.header)
            return self.text if found is None else found.decode("utf-8", "replace")
        if self.formatter is not None:
            return self.formatter.format(context)
        value: object = self._metadata(context)
        for step in self.path:
            value = value.get(step) if isinstance(value, dict) else None
        return self.text if value is None else plain_text(value)

    def _metadata(self, context: FormatContext) -> object:
        info = context.stream_info
        if self.source == "request":
            return info.get_metadata(self.namespace)
        holder: object = info.route
        if self.source == "cluster":
            holder = info.cluster
        elif self.source == "host":
            holder = None if info.upstream is None else info.upstream.host
        found = getattr(holder, "metadata", None)
        return found.get(self.namespace) if isinstance(found, dict) else None


def load_tags(views: list[View]) -> list[CustomTag]:
    """Raises ConfigError."""
    return [_load_tag(view) for view in views]


def _load_tag(view: View) -> CustomTag:
    name = view.text("tag")
    kind = view.which("type")
    if kind == "value":
        made = CustomTag(name, _FORMAT, "")
        try:
            made.formatter = parse_format(view.text("value"), (), True)
        except FormatError as error:
            raise view.error(str(error), "value") from None
        return made
    inner = None if kind is None else view.message(kind)
    if inner is None:
        raise view.error("value is required", "type")
    if kind == "literal":
        return CustomTag(name, _LITERAL, inner.text("value"))
    if kind == "environment":
        return CustomTag(name, _LITERAL, os.environ.get(inner.text("name"), inner.text("default_value")))
    if kind == "request_header":
        made = CustomTag(name, _HEADER, inner.text("default_value"))
        made.header = inner.text("name").lower().encode()
        return made
    made = CustomTag(name, _METADATA, inner.text("default_value"))
    source = inner.message("kind")
    made.source = "request" if source is None else source.which("kind") or "request"
    if source is not None and source.which("kind") is not None:
        source.message(made.source)
    key = inner.message("metadata_key")
    if key is not None:
        made.namespace = key.text("key")
        made.path = [segment.text("key") for segment in key.messages("path")]
    return made
