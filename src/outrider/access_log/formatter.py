"""Format strings: `%COMMAND(ARGUMENT):LENGTH%` between literal text, compiled once into a list of operators.

Source: Envoy documentation, "Access logging", "Format strings" and "Command operators".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.access_log.commands import built_in_command
from outrider.access_log.context import FormatContext
from outrider.access_log.operation import UNSPECIFIED, FormatOp, LiteralOp
from outrider.access_log.syntax import FormatError

if TYPE_CHECKING:
    from outrider.config.view import View

# A command, its argument, its maximal length. Commands that the built-in table lacks are asked of these in order;
# None means "not mine". May raise FormatError.
CommandParser = Callable[[str, str, int | None], FormatOp | None]

_COMMAND: Final = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%")


@mypyc_attr(allow_interpreted_subclasses=True)
class LineFormatter:
    """What makes a log line or a body of a context."""

    def format_bytes(self, context: FormatContext) -> bytes:
        raise NotImplementedError


class Formatter(LineFormatter):
    """A compiled format string."""

    def __init__(self, ops: list[FormatOp], omit_empty: bool = False) -> None:
        self.ops = ops
        self.absent: bytes = b"" if omit_empty else UNSPECIFIED
        # Set when there are no operators: the text itself.
        self.constant: bytes | None = None
        literals = [op.literal for op in ops if isinstance(op, LiteralOp)]
        if len(literals) == len(ops):
            self.constant = b"".join(literals)

    def format_bytes(self, context: FormatContext) -> bytes:
        """The text with every operator replaced by its value."""
        if self.constant is not None:
            return self.constant
        absent = self.absent
        parts: list[bytes] = []
        for op in self.ops:
            text = op.text(context)
            parts.append(absent if text is None else text)
        return b"".join(parts)

    def format(self, context: FormatContext) -> str:
        """`format_bytes` as text; bytes that are not UTF-8 become surrogate escapes."""
        return self.format_bytes(context).decode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        return f"Formatter({self.ops!r})"


def _length(digits: str, text: str, position: int) -> int:
    length = int(digits)
    if length >= 1 << 64:
        raise FormatError(f"Incorrect configuration: {text}. Couldn't find valid command at position {position}")
    return length


def parse_ops(text: str, parsers: Sequence[CommandParser] = ()) -> list[FormatOp]:
    """The operators of a format string. Raises FormatError."""
    ops: list[FormatOp] = []
    literal: list[str] = []
    position = 0
    while position < len(text):
        percent = text.find("%", position)
        if percent < 0:
            literal.append(text[position:])
            break
        literal.append(text[position:percent])
        if text.startswith("%%", percent):
            literal.append("%")
            position = percent + 2
            continue
        match = _COMMAND.match(text, percent)
        if match is None:
            raise FormatError(f"Incorrect configuration: {text}. Couldn't find valid command at position {percent}")
        joined = "".join(literal)
        if joined:
            ops.append(LiteralOp(joined.encode("utf-8", "surrogateescape")))
        literal = []
        command = match.group(1)
        argument = match.group(2) or ""
        length = None if match.group(3) is None else _length(match.group(3), text, percent)
        op: FormatOp | None = None
        for parser in parsers:
            op = parser(command, argument, length)
            if op is not None:
                break
        if op is None:
            op = built_in_command(command, argument, length)
        ops.append(op)
        position = match.end()
    joined = "".join(literal)
    if joined or not ops:
        ops.append(LiteralOp(joined.encode("utf-8", "surrogateescape")))
    return ops


def parse_format(text: str, parsers: Sequence[CommandParser] = (), omit_empty: bool = False) -> Formatter:
    """Compile a format string. Raises FormatError with Envoy's message."""
    return Formatter(parse_ops(text, parsers), omit_empty)


def format_field(view: View, name: str, parsers: Sequence[CommandParser] = (), omit_empty: bool = False) -> Formatter:
    """Compile the format string in a text field. Raises ConfigError with its path."""
    try:
        return parse_format(view.text(name), parsers, omit_empty)
    except FormatError as error:
        raise view.error(str(error), name) from None
