"""What arguments a command takes: Envoy's syntax check and its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from outrider.access_log.operation import FormatOp

COMMAND_ONLY: Final = 0
PARAMS_REQUIRED: Final = 1
PARAMS_OPTIONAL: Final = 2
LENGTH_ALLOWED: Final = 4

# (argument, maximal length or None) -> operator. May raise FormatError.
OpBuilder = Callable[[str, int | None], FormatOp]
# Syntax flags and builder by command name.
CommandTable = dict[str, tuple[int, OpBuilder]]


class FormatError(ValueError):
    """A format string that Envoy refuses; `str()` is Envoy's message."""


def check_syntax(flags: int, command: str, argument: str, length: int | None) -> None:
    """Raise FormatError where the command does not take what it was given."""
    if flags == COMMAND_ONLY and (argument or length is not None):
        raise FormatError(f"{command} does not take any parameters or length")
    if flags & PARAMS_REQUIRED and not argument:
        raise FormatError(f"{command} requires parameters")
    if not flags & LENGTH_ALLOWED and length is not None:
        raise FormatError(f"{command} does not allow length to be specified.")
