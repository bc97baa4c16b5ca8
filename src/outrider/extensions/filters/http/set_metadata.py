"""envoy.filters.http.set_metadata: constant dynamic metadata.

Source: Envoy documentation, "Set Metadata". Typed metadata (`typed_value`) is not supported.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from outrider.data.header_map import RequestHeaderMap
from outrider.http.filter import HEADERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter


class MetadataEntry:
    __slots__ = ("namespace", "values", "overwrite")

    def __init__(self, namespace: str, values: dict[str, object], overwrite: bool) -> None:
        self.namespace = namespace
        self.values = values
        # Merge into what the namespace holds; otherwise it is left alone.
        self.overwrite = overwrite


def merge(into: dict[str, object], values: dict[str, object]) -> None:
    """Structs are merged, lists appended to, everything else is replaced."""
    for key, value in values.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            old.extend(copy.deepcopy(value))
        else:
            into[key] = copy.deepcopy(value)


class SetMetadataFilter(HttpFilter):
    __slots__ = ("entries", "denied")

    def __init__(self, entries: list[MetadataEntry], denied: Counter) -> None:
        self.entries = entries
        self.denied = denied

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        info = self.manager.stream_info
        for entry in self.entries:
            existing = info.get_metadata(entry.namespace)
            if existing is None:
                info.set_metadata(entry.namespace, copy.deepcopy(entry.values))
            elif entry.overwrite:
                merge(existing, entry.values)
            else:
                self.denied.inc()
        return HEADERS_CONTINUE


class SetMetadataFactory(HttpFilterFactory):
    def __init__(self, entries: list[MetadataEntry], denied: Counter) -> None:
        self.entries = entries
        self.denied = denied

    def create(self) -> HttpFilter:
        return SetMetadataFilter(self.entries, self.denied)


@HTTP_FILTERS.register("envoy.filters.http.set_metadata", "envoy.extensions.filters.http.set_metadata.v3.Config")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    entries: list[MetadataEntry] = []
    if config.has("value"):
        entries.append(MetadataEntry(config.text("metadata_namespace"), config.struct("value") or {}, True))
    for view in config.messages("metadata"):
        values = view.struct("value") or {}
        entries.append(MetadataEntry(view.text("metadata_namespace"), values, view.flag("allow_overwrite")))
    return SetMetadataFactory(entries, context.scope.counter("set_metadata.overwrite_denied"))
