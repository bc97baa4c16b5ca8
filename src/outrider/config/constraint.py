"""One constraint of `validate.rules`: the rules of a field, compiled to functions that name what a value breaks.

The wording is that of protoc-gen-validate, which Envoy shows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from outrider.config.scalar import to_duration

Check = Callable[[Any], str | None]
"""Takes a value; returns the reason why it is refused, or None."""

Rules = Mapping[str, Any]

_WELL_KNOWN: Final = {
    ("HTTP_HEADER_NAME", True): re.compile(r":?[0-9a-zA-Z!#$%&'*+-.^_|~\x60]+"),
    ("HTTP_HEADER_NAME", False): re.compile(r"[^\x00\x0A\x0D]*"),
    ("HTTP_HEADER_VALUE", True): re.compile(r"[^\x00-\x08\x0A-\x1F\x7F]*"),
    ("HTTP_HEADER_VALUE", False): re.compile(r"[^\x00\x0A\x0D]*"),
}
_NUMBERS: Final = frozenset(
    ("float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64")
)


def field_checks(rules: Rules, enum_numbers: frozenset[int]) -> list[Check]:
    """The checks of one value of a field, for the type-specific part of its rules."""
    checks: list[Check] = []
    for kind, content in rules.items():
        if kind in _NUMBERS:
            checks += _number_checks(content, float if kind in ("float", "double") else int)
        elif kind in ("string", "bytes"):
            checks += _text_checks(content)
        elif kind == "bool":
            checks.append(_const(content["const"]))
        elif kind == "enum":
            checks += _enum_checks(content, enum_numbers)
        elif kind == "duration":
            checks += _duration_checks(content)
        elif kind == "any":
            checks += _any_checks(content)
    return checks


def ignores_empty(rules: Rules) -> bool:
    """Whether the rules let the default value pass."""
    return any(isinstance(content, dict) and content.get("ignore_empty") for content in rules.values())


def is_required(rules: Rules) -> bool:
    """Whether a message, Duration, Timestamp or Any must be set."""
    return any(isinstance(content, dict) and content.get("required") for content in rules.values())


def count_checks(rules: Rules, noun: str, low: str, high: str) -> list[Check]:
    """The checks of how many items a list or pairs a map has."""
    checks: list[Check] = []
    least, most = (int(rules[key]) if key in rules else None for key in (low, high))
    if least is not None and least == most:
        checks.append(lambda values: f"value must contain exactly {least} {noun}(s)" if len(values) != least else None)
        return checks
    if least is not None:
        checks.append(lambda values: f"value must contain at least {least} {noun}(s)" if len(values) < least else None)
    if most is not None:
        checks.append(
            lambda values: f"value must contain no more than {most} {noun}(s)" if len(values) > most else None
        )
    return checks


def unique(values: Any) -> str | None:
    """The check of `repeated.unique`."""
    items = list(values)
    return "repeated value must contain unique items" if len(set(items)) != len(items) else None


def _const(expected: Any) -> Check:
    shown = str(expected).lower() if isinstance(expected, bool) else expected
    return lambda value: f"value must equal {shown}" if value != expected else None


def _among(expected: list[Any], wanted: bool) -> Check:
    shown = " ".join(str(item) for item in expected)
    if wanted:
        return lambda value: f"value must be in list [{shown}]" if value not in expected else None
    return lambda value: f"value must not be in list [{shown}]" if value in expected else None


def _number_checks(rules: Rules, number: Callable[[Any], Any]) -> list[Check]:
    checks = _range_checks({key: number(rules[key]) for key in ("lt", "lte", "gt", "gte") if key in rules}, str)
    if "const" in rules:
        checks.append(_const(number(rules["const"])))
    for key, wanted in (("in", True), ("not_in", False)):
        if rules.get(key):
            checks.append(_among([number(item) for item in rules[key]], wanted))
    return checks


def _range_checks(bounds: dict[str, Any], show: Callable[[Any], str]) -> list[Check]:
    high, low = bounds.get("lt", bounds.get("lte")), bounds.get("gt", bounds.get("gte"))
    below: Check | None = None
    above: Check | None = None
    if high is not None:
        if "lt" in bounds:
            below = lambda value: f"value must be less than {show(high)}" if value >= high else None  # noqa: E731
        else:
            below = lambda value: f"value must be less than or equal to {show(high)}" if value > high else None  # noqa: E731
    if low is not None:
        if "gt" in bounds:
            above = lambda value: f"value must be greater than {show(low)}" if value <= low else None  # noqa: E731
        else:
            above = lambda value: f"value must be greater than or equal to {show(low)}" if value < low else None  # noqa: E731
    if below is None or above is None or low is None or high is None:
        return [check for check in (below, above) if check is not None]
    is_below, is_above = below, above
    first, last = "[" if "gte" in bounds else "(", "]" if "lte" in bounds else ")"
    if low <= high:
        inside = f"value must be inside range {first}{show(low)}, {show(high)}{last}"
        return [lambda value: inside if is_below(value) or is_above(value) else None]
    # Bounds the wrong way round exclude what lies between them.
    outside = f"value must be outside range {first}{show(high)}, {show(low)}{last}"
    return [lambda value: outside if is_below(value) and is_above(value) else None]


def _enum_checks(rules: Rules, numbers: frozenset[int]) -> list[Check]:
    checks: list[Check] = []
    if "const" in rules:
        checks.append(_const(int(rules["const"])))
    if rules.get("defined_only"):
        checks.append(lambda value: "value must be one of the defined enum values" if value not in numbers else None)
    for key, wanted in (("in", True), ("not_in", False)):
        if rules.get(key):
            checks.append(_among([int(item) for item in rules[key]], wanted))
    return checks


def _duration_checks(rules: Rules) -> list[Check]:
    bounds = {key: to_duration(rules[key]) for key in ("lt", "lte", "gt", "gte") if key in rules}
    checks = _range_checks(bounds, _show_duration)
    if "const" in rules:
        wanted = to_duration(rules["const"])
        checks.append(lambda value: f"value must equal {_show_duration(wanted)}" if value != wanted else None)
    return [_on_duration(check) for check in checks]


def _on_duration(check: Check) -> Check:
    return lambda message: check((message.seconds, message.nanos))


def _show_duration(value: tuple[int, int]) -> str:
    seconds, nanos = value
    return f"{seconds}.{nanos:09}".rstrip("0").rstrip(".") + "s"


def _any_checks(rules: Rules) -> list[Check]:
    checks: list[Check] = []
    for key, wanted in (("in", True), ("not_in", False)):
        if rules.get(key):
            among = _among(rules[key], wanted)
            checks.append(_on_type_url(among))
    return checks


def _on_type_url(check: Check) -> Check:
    return lambda message: check(message.type_url)


def _text_checks(rules: Rules) -> list[Check]:
    checks: list[Check] = []
    if "const" in rules:
        checks.append(_const(rules["const"]))
    if "len" in rules:
        checks.append(_length(int(rules["len"]), int(rules["len"]), "characters", len))
    if "min_len" in rules or "max_len" in rules:
        checks.append(_length(rules.get("min_len"), rules.get("max_len"), "characters", len))
    if "min_bytes" in rules or "max_bytes" in rules:
        checks.append(_length(rules.get("min_bytes"), rules.get("max_bytes"), "bytes", _byte_length))
    if "pattern" in rules:
        checks.append(_matches(re.compile(rules["pattern"].removeprefix("^").removesuffix("$"), re.DOTALL), rules))
    if "well_known_regex" in rules and rules["well_known_regex"] != "UNKNOWN":
        pattern = _WELL_KNOWN[rules["well_known_regex"], rules.get("strict", True)]
        checks.append(_matches(pattern, {"pattern": f"^{pattern.pattern}$"}))
    for key, test, reason in (
        ("prefix", str.startswith, "does not have prefix"),
        ("suffix", str.endswith, "does not have suffix"),
        ("contains", str.__contains__, "does not contain substring"),
    ):
        if key in rules:
            checks.append(_holds(test, rules[key], reason))
    for key, wanted in (("in", True), ("not_in", False)):
        if rules.get(key):
            checks.append(_among(rules[key], wanted))
    for key, parse in (
        ("ip", ipaddress.ip_address),
        ("ipv4", ipaddress.IPv4Address),
        ("ipv6", ipaddress.IPv6Address),
    ):
        if rules.get(key):
            checks.append(_parses(parse, f"value must be a valid {key} address"))
    return checks


def _byte_length(value: str | bytes) -> int:
    return len(value.encode() if isinstance(value, str) else value)


def _length(least: Any, most: Any, unit: str, measure: Callable[[Any], int]) -> Check:
    low, high = int(least or 0), int(most) if most is not None else None

    def check(value: Any) -> str | None:
        length = measure(value)
        if low <= length and (high is None or length <= high):
            return None
        if low == high:
            return f"value length must be {low} {unit}"
        if low and high is not None:
            return f"value length must be between {low} and {high} {unit}, inclusive"
        return f"value length must be at least {low} {unit}" if low else f"value length must be at most {high} {unit}"

    return check


def _matches(pattern: re.Pattern[str], rules: Rules) -> Check:
    reason = f'value does not match regex pattern "{rules["pattern"]}"'
    return lambda value: None if pattern.fullmatch(value) else reason


def _holds(test: Callable[[str, str], bool], argument: str, reason: str) -> Check:
    return lambda value: None if test(value, argument) else f'value {reason} "{argument}"'


def _parses(parse: Callable[[str], object], reason: str) -> Check:
    def check(value: str) -> str | None:
        try:
            parse(value)
        except ValueError:
            return reason
        return None

    return check
