"""`envoy.config.accesslog.v3.AccessLogFilter`: which requests are logged."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from outrider.access_log.access_log import LogFilter
from outrider.access_log.context import FormatContext
from outrider.access_log.grpc_ops import response_status
from outrider.access_log.operation import NO_NUMBER
from outrider.access_log.stream_ops import stream_id
from outrider.data.grpc_status import SNAKE_NAMES, UNKNOWN
from outrider.data.header_map import RequestHeaderMap
from outrider.data.response_flag import BY_SHORT_NAME
from outrider.matching.header_matcher import HeaderMatcher, parse_header_matcher
from outrider.matching.runtime_fraction import fractional_percent
from outrider.matching.value_matcher import ValueMatcher, parse_value_matcher
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.config.view import View

EQ: Final = 0
GE: Final = 1
LE: Final = 2
NE: Final = 3
_OPERATORS: Final[dict[str, int]] = {"EQ": EQ, "GE": GE, "LE": LE, "NE": NE}

# StreamInfo.trace_reason: the proxy itself was told to trace (x-envoy-force-trace).
_SERVICE_FORCED: Final = 2

# What requests without headers (L4 sessions) show to header matchers.
_NO_HEADERS: Final = RequestHeaderMap()

# Filters of `extension_filter`: factories `(config, context)`.
LOG_FILTERS: Final[ExtensionRegistry[LogFilter]] = ExtensionRegistry("envoy.access_loggers.extension_filters")


class Comparison:
    """A number that runtime may override, and how to compare with it."""

    __slots__ = ("operator", "default", "key", "runtime")

    def __init__(self, operator: int, default: int, key: str, runtime: Runtime) -> None:
        self.operator = operator
        self.default = default
        self.key = key
        self.runtime = runtime

    def holds(self, number: int) -> bool:
        value = self.runtime.get_integer(self.key, self.default) if self.key else self.default
        operator = self.operator
        if operator == EQ:
            return number == value
        if operator == GE:
            return number >= value
        return number <= value if operator == LE else number != value


class StatusCodeFilter(LogFilter):
    """The response code, 0 where there was no response."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def evaluate(self, context: FormatContext) -> bool:
        return self.comparison.holds(context.stream_info.response_code)


class DurationFilter(LogFilter):
    """Milliseconds the request took."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def evaluate(self, context: FormatContext) -> bool:
        info = context.stream_info
        if info.end_ns == 0:
            return False
        return self.comparison.holds((info.end_ns - info.start_mono_ns) // 1_000_000)


class NotHealthCheckFilter(LogFilter):
    def evaluate(self, context: FormatContext) -> bool:
        return not context.stream_info.health_check


class TraceableFilter(LogFilter):
    """Requests whose tracing was forced on this side."""

    def evaluate(self, context: FormatContext) -> bool:
        info = context.stream_info
        return info.trace_reason == _SERVICE_FORCED and not info.health_check


class RuntimeFilter(LogFilter):
    """A share of the requests: the same ones at every hop, since the request id decides, unless told otherwise."""

    def __init__(self, runtime: Runtime, key: str, numerator: int, denominator: int, independent: bool) -> None:
        self.runtime = runtime
        self.key = key
        self.numerator = numerator
        self.denominator = denominator
        self.independent = independent

    def evaluate(self, context: FormatContext) -> bool:
        number = -1
        if not self.independent:
            number = request_id_number(stream_id(context))
        if number < 0:
            number = random.getrandbits(62)
        share = self.runtime.get_integer(self.key, self.numerator)
        return number % self.denominator < share


class AndFilter(LogFilter):
    def __init__(self, filters: list[LogFilter]) -> None:
        self.filters = filters

    def evaluate(self, context: FormatContext) -> bool:
        for each in self.filters:
            if not each.evaluate(context):
                return False
        return True


class OrFilter(LogFilter):
    def __init__(self, filters: list[LogFilter]) -> None:
        self.filters = filters

    def evaluate(self, context: FormatContext) -> bool:
        for each in self.filters:
            if each.evaluate(context):
                return True
        return False


class HeaderFilter(LogFilter):
    def __init__(self, matcher: HeaderMatcher) -> None:
        self.matcher = matcher

    def evaluate(self, context: FormatContext) -> bool:
        headers = context.request_headers
        return self.matcher.matches(_NO_HEADERS if headers is None else headers)


class ResponseFlagFilter(LogFilter):
    """One of these flags, or any flag at all."""

    def __init__(self, flags: int) -> None:
        # 0: any.
        self.flags = flags

    def evaluate(self, context: FormatContext) -> bool:
        flags = context.stream_info.response_flags
        return flags != 0 if self.flags == 0 else flags & self.flags != 0


class GrpcStatusFilter(LogFilter):
    def __init__(self, statuses: list[int], exclude: bool) -> None:
        self.statuses = statuses
        self.exclude = exclude

    def evaluate(self, context: FormatContext) -> bool:
        status = response_status(context)
        if status == NO_NUMBER:
            status = UNKNOWN
        return (status in self.statuses) != self.exclude


class MetadataFilter(LogFilter):
    """A value in the dynamic metadata; `missing` is the answer where the key is not there."""

    def __init__(self, namespace: str, path: list[str], value: ValueMatcher | None, missing: bool) -> None:
        self.namespace = namespace
        self.path = path
        self.value = value
        self.missing = missing

    def evaluate(self, context: FormatContext) -> bool:
        matcher = self.value
        if matcher is None:
            return self.missing
        metadata = context.stream_info.metadata
        if metadata is None or self.namespace not in metadata:
            return self.missing
        value: object = metadata[self.namespace]
        for key in self.path:
            if not isinstance(value, dict) or key not in value:
                return self.missing
            value = value[key]
        return matcher.matches(value, True)


class LogTypeFilter(LogFilter):
    def __init__(self, types: list[str], exclude: bool) -> None:
        self.types = types
        self.exclude = exclude

    def evaluate(self, context: FormatContext) -> bool:
        return (context.log_type in self.types) != self.exclude


def request_id_number(request_id: bytes) -> int:
    """The first 32 bits of a UUID; -1 where the id is none."""
    try:
        return int(request_id[:8], 16) if len(request_id) == 36 else -1
    except ValueError:
        return -1


def parse_log_filter(view: View, context: Any) -> LogFilter:
    """From an AccessLogFilter. Raises ConfigError."""
    kind = view.which("filter_specifier")
    if kind is None:
        raise view.error("a filter is required", "filter_specifier")
    inner = view.message(kind)
    assert inner is not None
    if kind == "status_code_filter":
        return StatusCodeFilter(_comparison(inner, context))
    if kind == "duration_filter":
        return DurationFilter(_comparison(inner, context))
    if kind == "not_health_check_filter":
        return NotHealthCheckFilter()
    if kind == "traceable_filter":
        return TraceableFilter()
    if kind == "runtime_filter":
        percent = inner.message("percent_sampled")
        numerator, denominator = (0, 100) if percent is None else fractional_percent(percent)
        independent = inner.flag("use_independent_randomness")
        return RuntimeFilter(context.runtime, inner.text("runtime_key"), numerator, denominator, independent)
    if kind == "and_filter":
        return AndFilter([parse_log_filter(each, context) for each in inner.messages("filters")])
    if kind == "or_filter":
        return OrFilter([parse_log_filter(each, context) for each in inner.messages("filters")])
    if kind == "header_filter":
        header = inner.message("header")
        if header is None:
            raise inner.error("value is required", "header")
        return HeaderFilter(parse_header_matcher(header, context))
    if kind == "response_flag_filter":
        return ResponseFlagFilter(_flags(inner))
    if kind == "grpc_status_filter":
        statuses = [_grpc_number(name) for name in inner.enums("statuses")]
        return GrpcStatusFilter(statuses, inner.flag("exclude"))
    if kind == "metadata_filter":
        return _metadata_filter(inner, context)
    if kind == "log_type_filter":
        return LogTypeFilter(inner.enums("types"), inner.flag("exclude"))
    return LOG_FILTERS.create(inner, context)


def _comparison(view: View, context: Any) -> Comparison:
    comparison = view.message("comparison")
    if comparison is None:
        raise view.error("value is required", "comparison")
    value = comparison.message("value")
    if value is None:
        raise comparison.error("value is required", "value")
    operator = _OPERATORS[comparison.enum("op")]
    return Comparison(operator, value.integer("default_value"), value.text("runtime_key"), context.runtime)


def _flags(view: View) -> int:
    flags = 0
    for name in view.texts("flags"):
        bit = BY_SHORT_NAME.get(name)
        if bit is None:
            raise view.error(f"unknown response flag '{name}'", "flags")
        flags |= bit
    return flags


def _grpc_number(name: str) -> int:
    # The enum spells CANCELED with one L.
    return SNAKE_NAMES.index("CANCELLED" if name == "CANCELED" else name)


def _metadata_filter(view: View, context: Any) -> MetadataFilter:
    missing = view.flag("match_if_key_not_found", True)
    matcher = view.message("matcher")
    if matcher is None:
        return MetadataFilter("", [], None, missing)
    # Envoy ignores `invert` here.
    matcher.accept("invert")
    value = matcher.message("value")
    if value is None:
        raise matcher.error("value is required", "value")
    path = [segment.text("key") for segment in matcher.messages("path")]
    return MetadataFilter(matcher.text("filter"), path, parse_value_matcher(value, context), missing)
