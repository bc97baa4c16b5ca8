"""envoy.filters.http.json_to_metadata: dynamic metadata from JSON bodies.

Source: Envoy documentation, "Envoy Json-To-Metadata Filter".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE
from outrider.data.stream_info import StreamInfo
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.matching.regex import Regex, parse_regex

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

_NAMESPACE: Final = "envoy.filters.http.json_to_metadata"
_JSON: Final = b"application/json"


class JsonTarget:
    """A KeyValuePair. `value` None: what the body says."""

    __slots__ = ("namespace", "key", "value", "kind", "preserve")

    def __init__(self, namespace: str, key: str, value: object, kind: str, preserve: bool) -> None:
        self.namespace = namespace
        self.key = key
        self.value = value
        # PROTOBUF_VALUE, STRING or NUMBER.
        self.kind = kind
        self.preserve = preserve

    def store(self, info: StreamInfo, found: object) -> None:
        value = self._convert(found) if self.value is None else self.value
        if value is None:
            return
        if self.preserve:
            existing = info.get_metadata(self.namespace)
            if existing is not None and self.key in existing:
                return
        info.set_metadata(self.namespace, {self.key: value})

    def _convert(self, found: object) -> object:
        """None: nothing is stored."""
        if found is None or isinstance(found, dict | list):
            return None
        if self.kind == "STRING":
            if isinstance(found, bool):
                return "1" if found else "0"
            return found if isinstance(found, str) else f"{found:f}" if isinstance(found, float) else str(found)
        if self.kind == "NUMBER":
            try:
                return float(found) if isinstance(found, int | float | str) else None
            except ValueError:
                return None
        return float(found) if isinstance(found, int) and not isinstance(found, bool) else found


class JsonRule:
    __slots__ = ("path", "present", "missing", "error")

    def __init__(
        self, path: list[str], present: JsonTarget | None, missing: JsonTarget | None, error: JsonTarget | None
    ) -> None:
        self.path = path
        self.present = present
        self.missing = missing
        self.error = error

    def apply(self, body: object, info: StreamInfo) -> None:
        found = body
        for step in self.path:
            if not isinstance(found, dict) or step not in found:
                if self.missing is not None:
                    self.missing.store(info, None)
                return
            found = found[step]
        if self.present is not None:
            self.present.store(info, found)


class JsonRules:
    """MatchRules of one direction, and its stats."""

    __slots__ = ("rules", "types", "regex", "allow_no_type", "success", "mismatched", "no_body", "invalid")

    def __init__(self, rules: list[JsonRule], scope: Scope) -> None:
        self.rules = rules
        self.types: frozenset[bytes] = frozenset((_JSON,))
        self.regex: Regex | None = None
        self.allow_no_type: bool = False
        self.success = scope.counter("success")
        self.mismatched = scope.counter("mismatched_content_type")
        self.no_body = scope.counter("no_body")
        self.invalid = scope.counter("invalid_json_body")

    def wants(self, headers: HeaderMap, end_stream: bool, info: StreamInfo) -> bool:
        """Whether the body is to be waited for."""
        if not self.rules:
            return False
        value = headers.get(CONTENT_TYPE)
        if value:
            media_type = value.partition(b";")[0].strip().lower()
            allowed = media_type in self.types or (self.regex is not None and self.regex.full_match(value))
        else:
            allowed = self.allow_no_type
        if not allowed:
            self.mismatched.inc()
            self._fail(info)
            return False
        if end_stream:
            self.apply(b"", info)
            return False
        return True

    def apply(self, data: bytes, info: StreamInfo) -> None:
        """The body is complete."""
        body: object = None
        if not data:
            self.no_body.inc()
        else:
            try:
                body = json.loads(data)
            except (ValueError, RecursionError):
                self.invalid.inc()
                self._fail(info)
                return
            self.success.inc()
        for rule in self.rules:
            rule.apply(body, info)

    def _fail(self, info: StreamInfo) -> None:
        for rule in self.rules:
            if rule.error is not None:
                rule.error.store(info, None)


class JsonToMetadataFilter(HttpFilter):
    _reading_request: bool = False
    _reading_response: bool = False

    def __init__(self, request: JsonRules, response: JsonRules) -> None:
        self.request = request
        self.response = response

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        self._reading_request = self.request.wants(headers, end_stream, self.manager.stream_info)
        return HEADERS_STOP_ITERATION if self._reading_request else HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if not self._reading_request:
            return DATA_CONTINUE
        if not end_stream:
            return DATA_STOP_AND_BUFFER
        self._reading_request = False
        self.request.apply((self.manager.decoding_buffer() or b"") + data, self.manager.stream_info)
        return DATA_CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self._reading_request:
            self._reading_request = False
            self.request.apply(self.manager.decoding_buffer() or b"", self.manager.stream_info)
        return TRAILERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        self._reading_response = self.response.wants(headers, end_stream, self.manager.stream_info)
        return HEADERS_STOP_ITERATION if self._reading_response else HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if not self._reading_response:
            return DATA_CONTINUE
        if not end_stream:
            return DATA_STOP_AND_BUFFER
        self._reading_response = False
        self.response.apply((self.manager.encoding_buffer() or b"") + data, self.manager.stream_info)
        return DATA_CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self._reading_response:
            self._reading_response = False
            self.response.apply(self.manager.encoding_buffer() or b"", self.manager.stream_info)
        return TRAILERS_CONTINUE


class JsonToMetadataFactory(HttpFilterFactory):
    def __init__(self, request: JsonRules, response: JsonRules) -> None:
        self.request = request
        self.response = response

    def create(self) -> HttpFilter:
        return JsonToMetadataFilter(self.request, self.response)


def _target(view: View | None) -> JsonTarget | None:
    if view is None:
        return None
    value = view.value("value") if view.has("value") else None
    namespace = view.text("metadata_namespace") or _NAMESPACE
    return JsonTarget(
        namespace, view.text("key"), value, view.enum("type"), view.flag("preserve_existing_metadata_value")
    )


def _rule(view: View) -> JsonRule:
    path = [selector.text("key") for selector in view.messages("selectors")]
    rule = JsonRule(
        path,
        _target(view.message("on_present")),
        _target(view.message("on_missing")),
        _target(view.message("on_error")),
    )
    if rule.present is None and rule.missing is None:
        raise view.error("json to metadata filter: neither `on_present` nor `on_missing` set")
    for name, target in (("on_missing", rule.missing), ("on_error", rule.error)):
        if target is not None and target.value is None:
            raise view.error(f"json to metadata filter: cannot specify {name} rule with empty value", name)
    return rule


def _rules(view: View | None, scope: Scope) -> JsonRules:
    if view is None:
        return JsonRules([], scope)
    made = JsonRules([_rule(each) for each in view.messages("rules")], scope)
    types = view.texts("allow_content_types")
    if types:
        made.types = frozenset(each.lower().encode() for each in types)
    made.allow_no_type = view.flag("allow_empty_content_type")
    regex = view.message("allow_content_types_regex")
    if regex is not None:
        made.regex = parse_regex(regex)
    return made


@HTTP_FILTERS.register(
    "envoy.filters.http.json_to_metadata", "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    scope = context.root_scope.scope("json_to_metadata.")
    return JsonToMetadataFactory(
        _rules(config.message("request_rules"), scope.scope("rq.")),
        _rules(config.message("response_rules"), scope.scope("resp.")),
    )
