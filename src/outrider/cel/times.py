"""Points in time and durations as expressions see them, and how their results print."""

from __future__ import annotations

import datetime

_SECOND = 1_000_000_000


class Timestamp:
    """Unix nanoseconds."""

    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        self.nanos = nanos


class Duration:
    """Nanoseconds."""

    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        self.nanos = nanos


def timestamp_text(moment: datetime.datetime) -> str:
    """RFC 3339 with as many digits as are needed, as Abseil prints it."""
    text = moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "+00:00"


def timestamp_json(moment: datetime.datetime) -> str:
    """As protobuf's JSON has it: none, 3 or 6 digits."""
    moment = moment.astimezone(datetime.UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}{_fraction(moment.microsecond * 1000)}Z"


def duration_json(span: datetime.timedelta) -> str:
    """As protobuf's JSON has it."""
    nanos = _nanos(span)
    sign = "-" if nanos < 0 else ""
    seconds, rest = divmod(abs(nanos), _SECOND)
    return f"{sign}{seconds}{_fraction(rest)}s"


def duration_text(span: datetime.timedelta) -> str:
    """`1h2m3.5s`, or below a second one unit with a fraction, as Abseil prints it."""
    nanos = _nanos(span)
    if nanos == 0:
        return "0"
    sign = "-" if nanos < 0 else ""
    nanos = abs(nanos)
    if nanos < _SECOND:
        for unit, size in (("ms", 1_000_000), ("us", 1000), ("ns", 1)):
            if nanos >= size:
                return f"{sign}{_decimal(nanos, size)}{unit}"
    hours, rest = divmod(nanos, 3600 * _SECOND)
    minutes, rest = divmod(rest, 60 * _SECOND)
    text = sign
    if hours:
        text += f"{hours}h"
    if minutes:
        text += f"{minutes}m"
    if rest:
        text += f"{_decimal(rest, _SECOND)}s"
    return text


def _nanos(span: datetime.timedelta) -> int:
    return (span.days * 86400 + span.seconds) * _SECOND + span.microseconds * 1000


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    digits = str(rest).rjust(len(str(size)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    if nanos % 1_000_000 == 0:
        return f".{nanos // 1_000_000:03d}"
    if nanos % 1000 == 0:
        return f".{nanos // 1000:06d}"
    return f".{nanos:09d}"
