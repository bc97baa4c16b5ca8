"""JSON scalars to protobuf scalars, as lenient as protobuf's own parser in the mode that Envoy uses.

Each function takes a value of a tree and returns what the field gets, or
raises ValueError with what was expected.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import math
import re
from typing import Final

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DURATION: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?s")
_TIMESTAMP: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_SECONDS: Final = 315_576_000_000
_FLOAT_MAX: Final = 3.4028235677973366e38  # values from here on round to infinity

RANGES: Final = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


def describe(value: object) -> str:
    """What a value is, for a message: `the string "x"`, `an object`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the string "{value if len(value) <= 60 else value[:57] + "..."}"'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # what came through a Struct is a float
    return f"the number {value}"


def to_text(value: object) -> str:
    if value.__class__ is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("expected a string of valid Unicode") from None
        return value
    hint = " (quote it)" if isinstance(value, bool | int | float) else ""
    raise ValueError(f"expected a string, found {describe(value)}{hint}")


def to_bool(value: object) -> bool:
    if value.__class__ is bool:
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"expected true or false, found {describe(value)}")


def to_integer(value: object, low: int, high: int) -> int:
    number: int
    if value.__class__ is int:
        number = value
    elif isinstance(value, float):
        number = _whole(value, str(value))
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        number = int(value) if _INTEGER.fullmatch(value) else _whole(float(value), value)
    else:
        raise ValueError(f"expected an integer, found {describe(value)}")
    if not low <= number <= high:
        raise ValueError(f"integer out of range: {number} is not within {low} to {high}")
    return number


def _whole(value: float, text: str) -> int:
    if not math.isfinite(value) or not value.is_integer():
        raise ValueError(f"expected an integer, found {text}")
    return int(value)


def to_double(value: object) -> float:
    if isinstance(value, float | int) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(f"number out of range: {value}") from None
        if math.isfinite(number):
            return number
        raise ValueError(f"number out of range: {value}")
    if isinstance(value, str):
        if value in _SPECIAL:
            return _SPECIAL[value]
        if _NUMBER.fullmatch(value):
            number = float(value)
            if math.isfinite(number):
                return number
            raise ValueError(f"number out of range: {value}")
    raise ValueError(f"expected a number, found {describe(value)}")


def to_float(value: object) -> float:
    number = to_double(value)
    if math.isfinite(number) and abs(number) >= _FLOAT_MAX:
        raise ValueError(f"number out of range for a 32-bit float: {value}")
    return number


def to_bytes(value: object) -> bytes:
    """Base64, standard or URL-safe, padded or not."""
    if not isinstance(value, str):
        raise ValueError(f"expected a base64 string, found {describe(value)}")
    text = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("expected a base64 string, found corrupt base64") from None


def to_duration(value: object) -> tuple[int, int]:
    """Seconds and nanoseconds of `1.5s`."""
    if not isinstance(value, str):
        raise ValueError(f'expected a duration like "1.5s", found {describe(value)}')
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ValueError(f'expected a duration like "1.5s" (it must end with a single "s"), found "{value}"')
    sign, whole, fraction = match.groups()
    if fraction is not None and len(fraction) > 9:
        raise ValueError(f'a duration has at most nine digits behind the point, found "{value}"')
    seconds, nanos = int(whole), int((fraction or "").ljust(9, "0"))
    if seconds > _MAX_SECONDS:
        raise ValueError(f'duration out of range: "{value}"')
    return (-seconds, -nanos) if sign else (seconds, nanos)


def to_timestamp(value: object) -> tuple[int, int]:
    """Seconds since 1970 and nanoseconds of an RFC 3339 time."""
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'expected a time like "2026-01-31T12:00:00Z", found {describe(value)}')
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = match.groups()
    try:
        moment = datetime.datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
    except ValueError as error:
        raise ValueError(f"expected a time, found {describe(value)}: {error}") from None
    delta = moment - datetime.datetime(1970, 1, 1)
    seconds = delta.days * 86_400 + delta.seconds
    if sign:
        offset = int(off_hours) * 3600 + int(off_minutes) * 60
        seconds -= offset if sign == "+" else -offset
    return seconds, int((fraction or "").ljust(9, "0"))


def to_field_mask(value: object) -> list[str]:
    """The paths of `a,b.cD`, in snake_case."""
    if not isinstance(value, str):
        raise ValueError(f'expected field paths like "a,b.c", found {describe(value)}')
    return [re.sub(r"[A-Z]", lambda match: "_" + match.group().lower(), path) for path in value.split(",") if path]
