"""ValueMatcher, MetadataMatcher and FilterStateMatcher: conditions on metadata and filter state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from outrider.data.address import Address, ip_address
from outrider.matching.cidr import CidrList, parse_cidr_list
from outrider.matching.string_matcher import StringMatcher, parse_string_matcher

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.stream_info import StreamInfo


@mypyc_attr(allow_interpreted_subclasses=True)
class ValueMatcher:
    """A condition on a metadata value (None, bool, float, str, list, dict). `present` tells null from absent."""

    def matches(self, value: object, present: bool) -> bool:
        return False

    def describe(self) -> str:
        return "never"


class NullValue(ValueMatcher):
    def matches(self, value: object, present: bool) -> bool:
        return present and value is None

    def describe(self) -> str:
        return "is null"


class DoubleValue(ValueMatcher):
    """A number in [start, end); `exact` when end is None."""

    def __init__(self, start: float, end: float | None) -> None:
        self.start = start
        self.end = end

    def matches(self, value: object, present: bool) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.end is None:
            return value == self.start
        return self.start <= value < self.end

    def describe(self) -> str:
        return f"= {self.start}" if self.end is None else f"in [{self.start}, {self.end})"


class TextValue(ValueMatcher):
    def __init__(self, matcher: StringMatcher) -> None:
        self.matcher = matcher

    def matches(self, value: object, present: bool) -> bool:
        return isinstance(value, str) and self.matcher.matches(value.encode("utf-8", "surrogateescape"))

    def describe(self) -> str:
        return self.matcher.describe()


class BoolValue(ValueMatcher):
    def __init__(self, expected: bool) -> None:
        self.expected = expected

    def matches(self, value: object, present: bool) -> bool:
        return isinstance(value, bool) and value == self.expected

    def describe(self) -> str:
        return f"is {self.expected}"


class PresentValue(ValueMatcher):
    def __init__(self, expected: bool) -> None:
        self.expected = expected

    def matches(self, value: object, present: bool) -> bool:
        return present == self.expected

    def describe(self) -> str:
        return "present" if self.expected else "absent"


class ListValue(ValueMatcher):
    """A list of which one item satisfies the condition."""

    def __init__(self, item: ValueMatcher) -> None:
        self.item = item

    def matches(self, value: object, present: bool) -> bool:
        if isinstance(value, list):
            for each in value:
                if self.item.matches(each, True):
                    return True
        return False

    def describe(self) -> str:
        return f"a list where one {self.item.describe()}"


class OrValue(ValueMatcher):
    def __init__(self, matchers: list[ValueMatcher]) -> None:
        self.matchers = matchers

    def matches(self, value: object, present: bool) -> bool:
        for matcher in self.matchers:
            if matcher.matches(value, present):
                return True
        return False

    def describe(self) -> str:
        return " or ".join([matcher.describe() for matcher in self.matchers])


class MetadataMatcher:
    """A value deep in the metadata of one filter."""

    __slots__ = ("filter", "path", "value", "invert")

    def __init__(self, filter_name: str, path: list[str], value: ValueMatcher, invert: bool) -> None:
        self.filter = filter_name
        self.path = path
        self.value = value
        self.invert = invert

    def matches(self, metadata: dict[str, dict[str, object]] | None) -> bool:
        value: object = None
        present = False
        if metadata is not None:
            value = metadata.get(self.filter)
            present = value is not None
            for key in self.path:
                if not isinstance(value, dict) or key not in value:
                    present = False
                    value = None
                    break
                value = value[key]
        return self.value.matches(value, present) != self.invert

    def describe(self) -> str:
        return f"metadata {self.filter}:{'.'.join(self.path)} {'not ' if self.invert else ''}{self.value.describe()}"


def filter_state_object(info: StreamInfo, key: str) -> object | None:
    """An object of the stream's filter state, or of its connection's."""
    state = info.filter_state
    if state is not None:
        found = state.get(key)
        if found is not None:
            return found
    state = info.connection.filter_state
    return None if state is None else state.get(key)


def filter_state_text(value: object) -> bytes | None:
    """An object's string form (Envoy's serializeAsString): text, bytes, addresses, or what `serialize()` gives."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, Address):
        return value.text.encode()
    serialize = getattr(value, "serialize", None)
    if serialize is None:
        return None
    text = serialize()
    return (
        text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text if isinstance(text, bytes) else None
    )


class FilterStateMatcher:
    """A condition on one filter state object: on its text, or, when it is an address, on its range."""

    __slots__ = ("key", "matcher", "ranges", "invert_ranges")

    def __init__(
        self, key: str, matcher: StringMatcher | None, ranges: CidrList | None = None, invert_ranges: bool = False
    ) -> None:
        self.key = key
        self.matcher: StringMatcher | None = matcher
        self.ranges: CidrList | None = ranges
        self.invert_ranges = invert_ranges

    def matches(self, info: StreamInfo) -> bool:
        value = filter_state_object(info, self.key)
        if value is None:
            return False
        if self.ranges is not None:
            address = value if isinstance(value, Address) else _as_address(filter_state_text(value))
            return address is not None and self.ranges.contains(address) != self.invert_ranges
        text = filter_state_text(value)
        return text is not None and self.matcher is not None and self.matcher.matches(text)

    def describe(self) -> str:
        if self.ranges is not None:
            return f"filter state {self.key} {'not ' if self.invert_ranges else ''}{self.ranges.describe()}"
        return f"filter state {self.key} {'' if self.matcher is None else self.matcher.describe()}"


def _as_address(text: bytes | None) -> Address | None:
    if text is None:
        return None
    try:
        return ip_address(text.decode("ascii", "replace"), 0)
    except ValueError:
        return None


def parse_value_matcher(view: View, context: Any = None) -> ValueMatcher:
    """From a ValueMatcher. Raises ConfigError."""
    kind = view.which("match_pattern")
    if kind is None:
        raise view.error("value is required", "match_pattern")
    if kind == "bool_match":
        return BoolValue(view.flag(kind))
    if kind == "present_match":
        return PresentValue(view.flag(kind))
    inner = view.message(kind)
    assert inner is not None
    if kind == "null_match":
        return NullValue()
    if kind == "string_match":
        return TextValue(parse_string_matcher(inner, context))
    if kind == "double_match":
        bounds = inner.message("range")
        if bounds is not None:
            return DoubleValue(bounds.number("start"), bounds.number("end"))
        return DoubleValue(inner.number("exact"), None)
    if kind == "list_match":
        item = inner.message("one_of")
        if item is None:
            raise inner.error("value is required", "one_of")
        return ListValue(parse_value_matcher(item, context))
    return OrValue([parse_value_matcher(each, context) for each in inner.messages("value_matchers")])


def parse_metadata_matcher(view: View, context: Any = None) -> MetadataMatcher:
    """From a MetadataMatcher. Raises ConfigError."""
    value = view.message("value")
    if value is None:
        raise view.error("value is required", "value")
    path = [segment.text("key") for segment in view.messages("path")]
    return MetadataMatcher(view.text("filter"), path, parse_value_matcher(value, context), view.flag("invert"))


def parse_filter_state_matcher(view: View, context: Any = None) -> FilterStateMatcher:
    """From a FilterStateMatcher. Raises ConfigError."""
    key = view.text("key")
    address = view.message("address_match")
    if address is not None:
        return FilterStateMatcher(key, None, parse_cidr_list(address.messages("ranges")), address.flag("invert_match"))
    text = view.message("string_match")
    if text is None:
        raise view.error("value is required", "matcher")
    return FilterStateMatcher(key, parse_string_matcher(text, context))
