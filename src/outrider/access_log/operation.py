"""The pieces that a format string is compiled into."""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext

# What an operator without a value prints, unless empty values are to be omitted.
UNSPECIFIED: Final = b"-"
# "No value" among integers.
NO_NUMBER: Final = -(1 << 61)

# Decimal texts of small numbers, so that few are made per line.
_SMALL: Final[list[bytes]] = [b"%d" % number for number in range(2048)]


def number_text(number: int) -> bytes:
    """Decimal text of an integer."""
    return _SMALL[number] if 0 <= number < 2048 else str(number).encode()


@mypyc_attr(allow_interpreted_subclasses=True)
class FormatOp:
    """One operator. Values are bytes, since header values are; text of other origin is UTF-8."""

    def text(self, context: FormatContext) -> bytes | None:
        """The value, or None where there is none (printed as `-`)."""
        raise NotImplementedError

    def value(self, context: FormatContext) -> object:
        """The value for JSON: None, bool, int, float, str, list or dict; bytes for what must be made valid UTF-8."""
        return self.text(context)


@mypyc_attr(allow_interpreted_subclasses=True)
class NumberOp(FormatOp):
    """An operator whose value is an integer."""

    def number(self, context: FormatContext) -> int:
        """The value, or NO_NUMBER."""
        raise NotImplementedError

    def text(self, context: FormatContext) -> bytes | None:
        number = self.number(context)
        return None if number == NO_NUMBER else number_text(number)

    def value(self, context: FormatContext) -> object:
        number = self.number(context)
        return None if number == NO_NUMBER else number


@mypyc_attr(allow_interpreted_subclasses=True)
class StringOp(FormatOp):
    """An operator whose value is text from within the proxy; the empty string means that there is none."""

    def string(self, context: FormatContext) -> str:
        raise NotImplementedError

    def text(self, context: FormatContext) -> bytes | None:
        text = self.string(context)
        return text.encode("utf-8", "surrogateescape") if text else None


class LiteralOp(FormatOp):
    """Text between operators."""

    def __init__(self, literal: bytes) -> None:
        self.literal = literal

    def text(self, context: FormatContext) -> bytes | None:
        return self.literal

    def __repr__(self) -> str:
        return f"LiteralOp({self.literal!r})"


class ConstantOp(FormatOp):
    """A command whose value is known when configuration loads (%HOSTNAME%, %ENVIRONMENT(X)%)."""

    def __init__(self, constant: bytes) -> None:
        self.constant = constant

    def text(self, context: FormatContext) -> bytes | None:
        return self.constant
