"""The pieces that a format string is compiled into."""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext

# What an operator without a value prints, unless empty values are to be omitted.
UNSPECIFIED: Final = b"-"

# Decimal texts of small numbers, so that few are made per line.
_SMALL: Final[list[bytes]] = [b"%d" % number for number in range(2048)]


def number_text(number: int) -> bytes:
    """Decimal text of an integer."""
    return _SMALL[number] if 0 <= number < 2048 else b"%d" % number


@mypyc_attr(allow_interpreted_subclasses=True)
class FormatOp:
    """One operator. Values are bytes, since header values are; text of other origin is UTF-8."""

    def text(self, context: FormatContext) -> bytes | None:
        """The value, or None where there is none (printed as `-`)."""
        raise NotImplementedError

    def value(self, context: FormatContext) -> object:
        """The value for JSON: None, bool, int, float, str, list or dict; bytes for what must be made valid UTF-8."""
        return self.text(context)


class LiteralOp(FormatOp):
    """Text between operators."""

    def __init__(self, literal: bytes) -> None:
        self.literal = literal

    def text(self, context: FormatContext) -> bytes | None:
        return self.literal

    def __repr__(self) -> str:
        return f"LiteralOp({self.literal!r})"
