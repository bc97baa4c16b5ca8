"""envoy.filters.http.sse_to_metadata: dynamic metadata from the events of a response (`text/event-stream`).

Source: Envoy documentation, "SSE-To-Metadata Filter"; the WHATWG specification of server-sent events, section 9.2.
Content parsers: `envoy.content_parsers.json`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE
from outrider.data.stream_info import StreamInfo
from outrider.extensions.filters.http.json_to_metadata import JsonTarget
from outrider.http.filter import DATA_CONTINUE, HEADERS_CONTINUE, TRAILERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata"
_PARSER: Final = "envoy.extensions.content_parsers.json.v3.JsonContentParser"
_NAMESPACE: Final = "envoy.content_parsers.json"
_BOM: Final = b"\xef\xbb\xbf"
_EVENTS: Final = b"text/event-stream"
_DEFAULT_EVENT_BYTES: Final = 8192
# Where the configuration sets no limit (0).
_MOST_EVENT_BYTES: Final = 10 << 20


class SseRule:
    __slots__ = ("path", "present", "missing", "error", "stop_after")

    def __init__(self, view: View, stop_after: int) -> None:
        """Raises ConfigError."""
        self.path = [selector.text("key") for selector in view.messages("selectors")]
        self.present = _target(view.message("on_present"))
        self.missing = _target(view.message("on_missing"))
        self.error = _target(view.message("on_error"))
        # How often it may match before the rest of the stream is of no interest; 0 = always.
        self.stop_after = stop_after
        if self.present is None and self.missing is None and self.error is None:
            raise view.error("At least one of on_present, on_missing, or on_error must be specified")
        for name, target in (("on_missing", self.missing), ("on_error", self.error)):
            if target is not None and target.value is None:
                raise view.error(f"{name} KeyValuePair must have value set", name)


class SseStats:
    __slots__ = (
        "added", "from_fallback", "mismatched", "no_data", "parse_error", "preserved", "too_large",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.added = scope.counter("metadata_added")
        self.from_fallback = scope.counter("metadata_from_fallback")
        self.mismatched = scope.counter("mismatched_content_type")
        self.no_data = scope.counter("no_data_field")
        self.parse_error = scope.counter("parse_error")
        self.preserved = scope.counter("preserved_existing_metadata")
        self.too_large = scope.counter("event_too_large")


class SseSettings:
    """Raises ConfigError."""

    __slots__ = ("rules", "limit", "stats")

    def __init__(self, config: View, context: FactoryContext) -> None:
        rules = config.message("response_rules")
        if rules is None:
            raise config.error("value is required", "response_rules")
        held = rules.message("content_parser")
        if held is None:
            raise rules.error("value is required", "content_parser")
        name, type_name = held.text("name"), held.any_type("typed_config")
        if type_name != _PARSER:
            raise held.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
            )
        self.rules: list[SseRule] = []
        for each in held.any("typed_config").messages("rules"):
            rule = each.message("rule")
            if rule is None:
                raise each.error("value is required", "rule")
            self.rules.append(SseRule(rule, each.integer("stop_processing_after_matches")))
        self.limit = rules.integer("max_event_size", _DEFAULT_EVENT_BYTES) or _MOST_EVENT_BYTES
        self.stats = SseStats(context.root_scope.scope("sse_to_metadata.resp.json."))


def _target(view: View | None) -> JsonTarget | None:
    if view is None:
        return None
    value = view.value("value") if view.has("value") else None
    namespace = view.text("metadata_namespace") or _NAMESPACE
    return JsonTarget(
        namespace, view.text("key"), value, view.enum("type"), view.flag("preserve_existing_metadata_value")
    )


class EventReader:
    """Cuts a stream into events. `feed` gives the data of those that are complete; None for one without data."""

    __slots__ = ("limit", "too_large", "_pending", "_started")

    def __init__(self, limit: int) -> None:
        # Bytes of an event that is not complete yet.
        self.limit = limit
        # Events that were dropped since `feed` was called last.
        self.too_large = 0
        self._pending = b""
        self._started = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """What is left when the stream ends is no event."""
        self.too_large = 0
        whole = self._pending + data
        if not self._started and whole:
            if len(whole) < 3 and _BOM.startswith(whole):
                self._pending = whole
                return []
            self._started = True
            if whole.startswith(_BOM):
                whole = whole[3:]
        # A carriage return at the end may be half of a line end.
        held = b""
        if whole.endswith(b"\r"):
            whole, held = whole[:-1], b"\r"
        events = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")
        rest = events.pop()
        if len(rest) + len(held) > self.limit:
            self.too_large += 1
            rest = held = b""
        self._pending = rest + held
        return [_data_of(event) for event in events if event.strip(b"\n")]


def _data_of(event: bytes) -> bytes | None:
    lines: list[bytes] = []
    for line in event.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value[1:] if value.startswith(b" ") else value)
    return b"\n".join(lines) if lines else None


class SseToMetadataFilter(HttpFilter):
    def __init__(self, settings: SseSettings) -> None:
        self.settings = settings
        # None: this response is none of ours, or nothing more is wanted of it.
        self.reader: EventReader | None = None
        count = len(settings.rules)
        self.matched = [0] * count
        self.missing = [False] * count
        self.failed = False

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        media_type = (headers.get(CONTENT_TYPE) or b"").partition(b";")[0].strip().lower()
        if media_type != _EVENTS:
            settings.stats.mismatched.inc()
        else:
            self.reader = EventReader(settings.limit)
            if end_stream:
                self._finish()
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if self.reader is not None:
            self._read(data, end_stream)
        return DATA_CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self.reader is not None:
            self._read(b"", True)
        return TRAILERS_CONTINUE

    def _read(self, data: bytes, end: bool) -> None:
        reader, stats = self.reader, self.settings.stats
        assert reader is not None
        events = reader.feed(data)
        if reader.too_large:
            stats.too_large.add(reader.too_large)
        for event in events:
            if event is None:
                stats.no_data.inc()
            else:
                self._event(event)
            if self.reader is None:
                return
        if end:
            self._finish()

    def _event(self, data: bytes) -> None:
        settings = self.settings
        stats = settings.stats
        try:
            body: object = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            stats.parse_error.inc()
            self.failed = True
            return
        info = self.manager.stream_info
        for index, rule in enumerate(settings.rules):
            found: object = body
            for step in rule.path:
                found = found.get(step, _MISSING) if isinstance(found, dict) else _MISSING
                if found is _MISSING:
                    break
            if found is _MISSING:
                self.missing[index] = True
                continue
            self.matched[index] += 1
            if rule.present is not None:
                self._store(rule.present, info, found)
        stops = [rule.stop_after > 0 and self.matched[at] >= rule.stop_after for at, rule in enumerate(settings.rules)]
        if stops and all(stops):
            self.reader = None

    def _store(self, target: JsonTarget, info: StreamInfo, found: object) -> bool:
        stats = self.settings.stats
        if target.preserve and target.key in (info.get_metadata(target.namespace) or {}):
            stats.preserved.inc()
            return False
        target.store(info, found)
        if target.key in (info.get_metadata(target.namespace) or {}):
            stats.added.inc()
            return True
        return False

    def _finish(self) -> None:
        """The stream is over: what no event has given."""
        self.reader = None
        settings, info = self.settings, self.manager.stream_info
        for index, rule in enumerate(settings.rules):
            if self.matched[index]:
                continue
            fallback = rule.error if self.failed and rule.error is not None else None
            if fallback is None and self.missing[index]:
                fallback = rule.missing
            if fallback is not None and self._store(fallback, info, None):
                settings.stats.from_fallback.inc()


class _Missing:
    """Told from every JSON value."""


_MISSING: Final = _Missing()


class SseToMetadataFactory(HttpFilterFactory):
    def __init__(self, settings: SseSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return SseToMetadataFilter(self.settings)


@HTTP_FILTERS.register("envoy.filters.http.sse_to_metadata", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return SseToMetadataFactory(SseSettings(config, context))
