"""Every built-in command by name."""

from __future__ import annotations

from typing import Final

from outrider.access_log import header_ops
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import CommandTable, FormatError, check_syntax

COMMANDS: Final[CommandTable] = {**header_ops.COMMANDS}


def built_in_command(command: str, argument: str, length: int | None) -> FormatOp:
    """The operator of a command. Raises FormatError."""
    entry = COMMANDS.get(command)
    if entry is None:
        raise FormatError(f"Not supported field in StreamInfo: {command}")
    flags, builder = entry
    check_syntax(flags, command, argument, length)
    return builder(argument, length)
