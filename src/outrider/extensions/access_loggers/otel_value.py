"""OpenTelemetry values whose texts are access log formats.

Source: Envoy documentation, `OpenTelemetryAccessLogConfig.body` and `attributes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import Formatter, parse_format
from outrider.access_log.syntax import FormatError

if TYPE_CHECKING:
    from outrider.config.view import View


@mypyc_attr(allow_interpreted_subclasses=True)
class ValueFormat:
    """Fills a common.v1.AnyValue."""

    def fill(self, target: Any, context: FormatContext) -> None:
        raise NotImplementedError


class TextFormat(ValueFormat):
    def __init__(self, formatter: Formatter) -> None:
        self.formatter = formatter

    def fill(self, target: Any, context: FormatContext) -> None:
        target.string_value = self.formatter.format_bytes(context).decode("utf-8", "replace")


class ListFormat(ValueFormat):
    def __init__(self, values: list[ValueFormat]) -> None:
        self.values = values

    def fill(self, target: Any, context: FormatContext) -> None:
        target.array_value.SetInParent()
        for value in self.values:
            value.fill(target.array_value.values.add(), context)


class PairsFormat(ValueFormat):
    def __init__(self, pairs: list[tuple[str, ValueFormat]]) -> None:
        self.pairs = pairs

    def fill(self, target: Any, context: FormatContext) -> None:
        target.kvlist_value.SetInParent()
        self.fill_pairs(target.kvlist_value.values, context)

    def fill_pairs(self, target: Any, context: FormatContext) -> None:
        """A repeated KeyValue."""
        for key, value in self.pairs:
            made = target.add()
            made.key = key
            value.fill(made.value, context)


def load_value(view: View) -> ValueFormat:
    """From an AnyValue. Raises ConfigError."""
    kind = view.which("value")
    if kind == "string_value":
        try:
            return TextFormat(parse_format(view.text("string_value"), ()))
        except FormatError as error:
            raise view.error(str(error), kind) from None
    inner = view.message(kind) if kind in ("kvlist_value", "array_value") else None
    if inner is None:
        raise view.error(
            "Only string values, nested key value lists and array values are supported in OpenTelemetry access log "
            "format."
        )
    if kind == "array_value":
        return ListFormat([load_value(each) for each in inner.messages("values")])
    return load_pairs(inner)


def load_pairs(view: View | None) -> PairsFormat:
    """From a KeyValueList. Raises ConfigError."""
    pairs: list[tuple[str, ValueFormat]] = []
    for each in [] if view is None else view.messages("values"):
        value = each.message("value")
        pairs.append((each.text("key"), TextFormat(parse_format("", ())) if value is None else load_value(value)))
    return PairsFormat(pairs)
