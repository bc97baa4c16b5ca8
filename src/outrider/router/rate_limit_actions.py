"""Rate limit actions: what describes a request to a rate limiter.

Source: Envoy documentation, "Rate limiting: actions"; `config.route.v3.RateLimit`. A policy makes one descriptor, a
list of (key, value) entries, of all its actions. An action that has nothing to say for a request drops the whole
descriptor, unless it may be skipped.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import Formatter, format_field, parse_format
from outrider.access_log.operation import LiteralOp
from outrider.access_log.syntax import FormatError
from outrider.data.address import KIND_IP
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.matching.header_matcher import HeaderMatcher, parse_header_matchers
from outrider.matching.query_matcher import QueryMatcher, parse_query_matcher, query_value
from outrider.router.config.route_entry import RouteEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

Entry = tuple[str, str]
# An action's answers beside an entry.
SKIPPED: Final[Entry] = ("", "")
_UNITS: Final = ("SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR")
_MAX_HITS: Final = 1_000_000_000
_FORMATTER_FEATURE: Final = "envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value"


class RateLimitRequest:
    """What actions look at."""

    __slots__ = ("headers", "info", "service_cluster", "entry")

    def __init__(
        self, headers: RequestHeaderMap, info: StreamInfo, service_cluster: str, entry: RouteEntry | None
    ) -> None:
        self.headers = headers
        self.info = info
        self.service_cluster = service_cluster
        self.entry = entry


@mypyc_attr(allow_interpreted_subclasses=True)
class RateLimitAction:
    """One action."""

    def describe(self, request: RateLimitRequest) -> Entry | None:
        """Its entry, SKIPPED, or None: there is no descriptor for this request."""
        raise NotImplementedError


class SourceCluster(RateLimitAction):
    def describe(self, request: RateLimitRequest) -> Entry | None:
        return "source_cluster", request.service_cluster


class DestinationCluster(RateLimitAction):
    def describe(self, request: RateLimitRequest) -> Entry | None:
        return None if request.entry is None else ("destination_cluster", request.entry.cluster_name)


class RequestHeader(RateLimitAction):
    def __init__(self, name: bytes, key: str, skip: bool) -> None:
        self.name = name
        self.key = key
        self.skip = skip

    def describe(self, request: RateLimitRequest) -> Entry | None:
        value = request.headers.get(self.name)
        if value is None:
            return SKIPPED if self.skip else None
        return self.key, value.decode("utf-8", "surrogateescape")


class QueryParameter(RateLimitAction):
    def __init__(self, name: bytes, key: str, skip: bool) -> None:
        self.name = name
        self.key = key
        self.skip = skip

    def describe(self, request: RateLimitRequest) -> Entry | None:
        value = query_value(request.headers.path, self.name)
        if value is None:
            return SKIPPED if self.skip else None
        return self.key, unquote_to_bytes(value).decode("utf-8", "surrogateescape")


class RemoteAddress(RateLimitAction):
    """The client's address; with prefix lengths, the network that it is in."""

    def __init__(self, v4_bits: int = -1, v6_bits: int = -1) -> None:
        self.v4_bits = v4_bits
        self.v6_bits = v6_bits

    def describe(self, request: RateLimitRequest) -> Entry | None:
        address = request.info.connection.remote_address
        if address.kind != KIND_IP:
            return None
        if self.v4_bits < 0:
            return "remote_address", address.host
        bits = self.v6_bits if address.is_v6 else self.v4_bits
        network = ipaddress.ip_network(f"{address.host.partition('%')[0]}/{bits}", strict=False)
        return "masked_remote_address", network.with_prefixlen


class GenericKey(RateLimitAction):
    def __init__(self, key: str, value: Formatter, default: str) -> None:
        self.key = key
        self.value = value
        self.default = default

    def describe(self, request: RateLimitRequest) -> Entry | None:
        return _formatted(self.key, self.value, self.default, request)


class HeaderValueMatch(RateLimitAction):
    def __init__(
        self, key: str, value: Formatter, default: str, expect: bool, matchers: Sequence[HeaderMatcher]
    ) -> None:
        self.key = key
        self.value = value
        self.default = default
        self.expect = expect
        self.matchers = list(matchers)

    def describe(self, request: RateLimitRequest) -> Entry | None:
        for matcher in self.matchers:
            if not matcher.matches(request.headers):
                return None if self.expect else _formatted(self.key, self.value, self.default, request)
        return _formatted(self.key, self.value, self.default, request) if self.expect else None


class QueryParameterValueMatch(RateLimitAction):
    def __init__(
        self, key: str, value: Formatter, default: str, expect: bool, matchers: Sequence[QueryMatcher]
    ) -> None:
        self.key = key
        self.value = value
        self.default = default
        self.expect = expect
        self.matchers = list(matchers)

    def describe(self, request: RateLimitRequest) -> Entry | None:
        for matcher in self.matchers:
            if not matcher.matches(request.headers.path):
                return None if self.expect else _formatted(self.key, self.value, self.default, request)
        return _formatted(self.key, self.value, self.default, request) if self.expect else None


class MetadataValue(RateLimitAction):
    """A string of dynamic metadata, or of the route's."""

    def __init__(self, key: str, namespace: str, path: list[str], default: str, from_route: bool, skip: bool) -> None:
        self.key = key
        self.namespace = namespace
        self.path = path
        self.default = default
        self.from_route = from_route
        self.skip = skip

    def describe(self, request: RateLimitRequest) -> Entry | None:
        value: object = None
        if not self.from_route:
            value = request.info.get_metadata(self.namespace)
        elif request.entry is not None:
            value = request.entry.metadata.get(self.namespace)
        for step in self.path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, str) and value:
            return self.key, value
        if self.default:
            return self.key, self.default
        return SKIPPED if self.skip else None


def _formatted(key: str, value: Formatter, default: str, request: RateLimitRequest) -> Entry | None:
    text = value.format(FormatContext(request.info, request.headers)) or default
    return (key, text) if text else None


class LimitOverride:
    """The limit that a policy asks the service for: fixed, or from dynamic metadata."""

    __slots__ = ("namespace", "path", "fixed")

    def __init__(self, namespace: str, path: list[str], fixed: tuple[int, str] | None) -> None:
        self.namespace = namespace
        self.path = path
        # Requests in a unit of time, and that unit's name.
        self.fixed: tuple[int, str] | None = fixed

    def find(self, info: StreamInfo) -> tuple[int, str] | None:
        """None: metadata does not say."""
        if self.fixed is not None:
            return self.fixed
        value: object = info.get_metadata(self.namespace)
        for step in self.path:
            value = value.get(step) if isinstance(value, dict) else None
        if not isinstance(value, dict):
            return None
        requests = value.get("requests_per_unit")
        unit = value.get("unit")
        if isinstance(requests, float | int) and isinstance(unit, str) and unit in _UNITS:
            return int(requests), unit
        return None


class Descriptor:
    """What one policy says of a request."""

    __slots__ = ("entries", "hits", "limit", "x_headers")

    def __init__(self, entries: tuple[Entry, ...], hits: int, limit: tuple[int, str] | None, x_headers: int) -> None:
        self.entries = entries
        # How much the request counts; -1 where the policy does not say.
        self.hits = hits
        self.limit: tuple[int, str] | None = limit
        # `x_ratelimit_option`: -1 not said, 0 off, 1 on.
        self.x_headers = x_headers

    def __repr__(self) -> str:
        return f"Descriptor({self.entries!r}, hits={self.hits})"


class RateLimitPolicy:
    """One RateLimit message."""

    __slots__ = ("stage", "disable_key", "actions", "hits", "hits_format", "limit", "on_stream_done", "x_headers")

    def __init__(self, actions: list[RateLimitAction], stage: int = 0, disable_key: str = "") -> None:
        self.actions = actions
        self.stage = stage
        self.disable_key = disable_key
        self.hits: int = -1
        self.hits_format: Formatter | None = None
        self.limit: LimitOverride | None = None
        # Told when the request is over, whatever the answer.
        self.on_stream_done: bool = False
        self.x_headers: int = -1

    def describe(self, request: RateLimitRequest) -> Descriptor | None:
        """None: this policy does not apply to the request."""
        entries: list[Entry] = []
        for action in self.actions:
            entry = action.describe(request)
            if entry is None:
                return None
            if entry != SKIPPED:
                entries.append(entry)
        hits = self.hits
        if self.hits_format is not None:
            text = self.hits_format.format(FormatContext(request.info, request.headers))
            if text.isdecimal():
                hits = min(int(text[:20]), _MAX_HITS)
        limit = None if self.limit is None else self.limit.find(request.info)
        return Descriptor(tuple(entries), hits, limit, self.x_headers)


def _value(view: View, default_key: str, context: FactoryContext) -> tuple[str, Formatter, str]:
    """Key, value and default value of the actions that have a `descriptor_value`: literal, unless runtime says else."""
    key = view.text("descriptor_key") or default_key
    default = view.text("default_value")
    if context.runtime.get_boolean(_FORMATTER_FEATURE, False):
        return key, format_field(view, "descriptor_value", (), True), default
    return key, Formatter([LiteralOp(view.text("descriptor_value").encode())], True), default


def _metadata(view: View, from_route: bool, skip: bool) -> RateLimitAction:
    key_view = view.message("metadata_key")
    if key_view is None:
        raise view.error("value is required", "metadata_key")
    path = [segment.text("key") for segment in key_view.messages("path")]
    return MetadataValue(
        view.text("descriptor_key"), key_view.text("key"), path, view.text("default_value"), from_route, skip
    )


def parse_action(view: View, context: FactoryContext) -> RateLimitAction:
    """From a RateLimit.Action. Raises ConfigError."""
    kind = view.which("action_specifier")
    inner = None if kind is None else view.message(kind)
    if inner is None:
        raise view.error("an action is required")
    if kind == "source_cluster":
        return SourceCluster()
    if kind == "destination_cluster":
        return DestinationCluster()
    if kind == "remote_address":
        return RemoteAddress()
    if kind == "masked_remote_address":
        return RemoteAddress(inner.integer("v4_prefix_mask_len", 32), inner.integer("v6_prefix_mask_len", 128))
    if kind == "request_headers":
        name = inner.text("header_name").lower().encode()
        return RequestHeader(name, inner.text("descriptor_key"), inner.flag("skip_if_absent"))
    if kind == "query_parameters":
        name = inner.text("query_parameter_name").encode()
        return QueryParameter(name, inner.text("descriptor_key"), inner.flag("skip_if_absent"))
    if kind in ("extension", "remote_address_match"):
        return _further(kind, inner, context)
    if kind == "generic_key":
        return GenericKey(*_value(inner, "generic_key", context))
    if kind == "header_value_match":
        matchers = parse_header_matchers(inner.messages("headers"), context)
        return HeaderValueMatch(*_value(inner, "header_match", context), inner.flag("expect_match", True), matchers)
    if kind == "query_parameter_value_match":
        queries = [parse_query_matcher(each, context) for each in inner.messages("query_parameters")]
        expect = inner.flag("expect_match", True)
        return QueryParameterValueMatch(*_value(inner, "query_match", context), expect, queries)
    if kind == "dynamic_metadata":
        return _metadata(inner, False, False)
    source = inner.enum("source")
    if source not in ("DYNAMIC", "ROUTE_ENTRY"):
        raise inner.error(f"{source} is not supported", "source")
    return _metadata(inner, source == "ROUTE_ENTRY", inner.flag("skip_if_absent"))


def _further(kind: str, view: View, context: FactoryContext) -> RateLimitAction:
    from outrider.matching.cidr import parse_cidr_list
    from outrider.router.rate_limit_extension import RATE_LIMIT_DESCRIPTORS, RemoteAddressMatch

    if kind == "extension":
        return RATE_LIMIT_DESCRIPTORS.create(view, context)
    matcher = view.message("address_matcher")
    if matcher is None:
        raise view.error("value is required", "address_matcher")
    ranges = parse_cidr_list(matcher.messages("ranges"))
    invert = matcher.flag("invert_match")
    return RemoteAddressMatch(*_value(view, "remote_address_match", context), ranges, invert)


def parse_policy(view: View, context: FactoryContext) -> RateLimitPolicy:
    """From a RateLimit. Raises ConfigError. What concerns a rate limit service alone means nothing to a local limit."""
    actions = [parse_action(each, context) for each in view.messages("actions")]
    made = RateLimitPolicy(actions, view.integer("stage"), view.text("disable_key"))
    hits = view.message("hits_addend")
    if hits is not None:
        if hits.has("number"):
            made.hits = hits.integer("number")
        text = hits.text("format")
        if text:
            if made.hits >= 0:
                raise hits.error("hits_addend must only have one of number or format", "format")
            try:
                made.hits_format = parse_format(text, (), True)
            except FormatError as error:
                raise hits.error(str(error), "format") from None
    made.limit = _limit_override(view)
    made.on_stream_done = view.flag("apply_on_stream_done")
    option = view.enum("x_ratelimit_option")
    made.x_headers = -1 if option == "UNSPECIFIED" else int(option == "DRAFT_VERSION_03")
    return made


def _limit_override(view: View) -> LimitOverride | None:
    override = view.message("limit")
    if override is None:
        return None
    kind = override.which("override_specifier")
    if kind == "rate_limit":
        fixed = override.message("rate_limit")
        assert fixed is not None
        return LimitOverride("", [], (fixed.integer("requests_per_unit"), fixed.enum("unit")))
    metadata = override.message("dynamic_metadata")
    key = None if metadata is None else metadata.message("metadata_key")
    if key is None:
        raise override.error("value is required", "override_specifier")
    return LimitOverride(key.text("key"), [segment.text("key") for segment in key.messages("path")], None)


def parse_policies(views: Sequence[View], context: FactoryContext) -> list[RateLimitPolicy]:
    return [parse_policy(view, context) for view in views]


def descriptors_of(policies: list[RateLimitPolicy], request: RateLimitRequest, stage: int = -1) -> list[Descriptor]:
    """The descriptors of all policies of a stage (-1: of any)."""
    found: list[Descriptor] = []
    for policy in policies:
        if stage < 0 or policy.stage == stage:
            descriptor = policy.describe(request)
            if descriptor is not None:
                found.append(descriptor)
    return found
