"""envoy.filters.http.header_to_metadata: dynamic metadata from headers and cookies.

Source: Envoy documentation, "Envoy Header-To-Metadata Filter".
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from outrider.config.struct import value_to_python
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.http.filter import HEADERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.matching.query_matcher import cookie_value
from outrider.matching.regex import RegexRewrite, parse_regex_rewrite

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_TYPE: Final = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
_NAMESPACE: Final = "envoy.filters.http.header_to_metadata"
_MAX_VALUE: Final = 8 * 1024


class MetadataTarget:
    """A KeyValuePair: where a value goes, and what is made of it."""

    __slots__ = ("namespace", "key", "value", "rewrite", "kind", "base64")

    def __init__(
        self, namespace: str, key: str, value: bytes, rewrite: RegexRewrite | None, kind: str, base64: bool
    ) -> None:
        self.namespace = namespace
        self.key = key
        # Stored in place of what the header says, unless empty.
        self.value = value
        self.rewrite = rewrite
        # STRING, NUMBER or PROTOBUF_VALUE.
        self.kind = kind
        self.base64 = base64

    def convert(self, found: bytes) -> object:
        """What is to be stored; None for nothing."""
        value = self.value
        if not value:
            value = found if self.rewrite is None else self.rewrite.replace_all(found)
        if not value or len(value) >= _MAX_VALUE:
            return None
        if self.base64:
            try:
                value = base64.b64decode(value.rstrip(b"=") + b"=" * (-len(value.rstrip(b"=")) % 4), validate=True)
            except (binascii.Error, ValueError):
                return None
        if self.kind == "STRING":
            return value.decode("utf-8", "replace")
        if self.kind == "NUMBER":
            try:
                return float(value)
            except ValueError:
                return None
        message = Value()
        try:
            message.ParseFromString(value)
        except DecodeError:
            return None
        return value_to_python(message)


class MetadataRule:
    __slots__ = ("header", "cookie", "present", "missing", "remove")

    def __init__(
        self,
        header: bytes,
        cookie: bytes,
        present: MetadataTarget | None,
        missing: MetadataTarget | None,
        remove: bool,
    ) -> None:
        self.header = header
        self.cookie = cookie
        self.present = present
        self.missing = missing
        self.remove = remove

    def read(self, headers: HeaderMap) -> bytes | None:
        if self.cookie:
            return cookie_value(headers, self.cookie) or None
        value = headers.get_joined(self.header)
        if value is not None and self.remove:
            headers.remove(self.header)
        return value


class RuleSet:
    """Rules of the filter, or of a route in their place."""

    __slots__ = ("request", "response")

    def __init__(self, request: list[MetadataRule], response: list[MetadataRule]) -> None:
        self.request = request
        self.response = response


class HeaderToMetadataFilter(HttpFilter):
    __slots__ = ("rules",)

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules

    def _current(self) -> RuleSet:
        route = self.manager.route()
        if route is not None:
            special = route.per_filter_config(self.config_name)
            if isinstance(special, RuleSet):
                return special
        return self.rules

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        self._apply(self._current().request, headers)
        return HEADERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        self._apply(self._current().response, headers)
        return HEADERS_CONTINUE

    def _apply(self, rules: list[MetadataRule], headers: HeaderMap) -> None:
        info = self.manager.stream_info
        for rule in rules:
            found = rule.read(headers)
            target = rule.missing if found is None else rule.present
            if target is not None:
                value = target.convert(b"" if found is None else found)
                if value is not None:
                    info.set_metadata(target.namespace, {target.key: value})


class HeaderToMetadataFactory(HttpFilterFactory):
    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules

    def create(self) -> HttpFilter:
        return HeaderToMetadataFilter(self.rules)


def _target(view: View | None) -> MetadataTarget | None:
    if view is None:
        return None
    rewrite_view = view.message("regex_value_rewrite")
    value = view.text("value")
    if value and rewrite_view is not None:
        raise view.error("Cannot specify both value and regex_value_rewrite.")
    rewrite = None if rewrite_view is None else parse_regex_rewrite(rewrite_view)
    namespace = view.text("metadata_namespace") or _NAMESPACE
    kind = view.enum("type")
    return MetadataTarget(namespace, view.text("key"), value.encode(), rewrite, kind, view.enum("encode") == "BASE64")


def _rule(view: View) -> MetadataRule:
    header = view.text("header")
    cookie = view.text("cookie")
    remove = view.flag("remove")
    if header and cookie:
        raise view.error("Cannot specify both header and cookie")
    if not header and not cookie:
        raise view.error("One of Cookie or Header option needs to be specified")
    if cookie and remove:
        raise view.error("Cannot specify remove for cookie", "remove")
    present = _target(view.message("on_header_present"))
    missing = _target(view.message("on_header_missing"))
    if missing is not None and not missing.value:
        raise view.error("Cannot specify on_header_missing rule with empty value", "on_header_missing")
    if present is None and missing is None:
        raise view.error(
            f"header to metadata filter: rule for header '{header or cookie}' has neither `on_header_present` "
            "nor `on_header_missing` set"
        )
    return MetadataRule(header.lower().encode(), cookie.encode(), present, missing, remove)


def parse_rules(config: View) -> RuleSet:
    """From a Config. Raises ConfigError. `stat_prefix` is not read: there are no stats."""
    return RuleSet(
        [_rule(view) for view in config.messages("request_rules")],
        [_rule(view) for view in config.messages("response_rules")],
    )


@HTTP_FILTERS.register("envoy.filters.http.header_to_metadata", _TYPE, "envoy.header_to_metadata")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return HeaderToMetadataFactory(parse_rules(config))


@route_config(_TYPE)
def create_for_route(config: View, context: FactoryContext) -> object:
    rules = parse_rules(config)
    if not rules.request and not rules.response:
        raise config.error(
            "header_to_metadata_filter: Per filter configs must at least specify either request or response rules"
        )
    return rules
