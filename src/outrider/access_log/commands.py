"""Every built-in command by name, and COALESCE, which is made of the others."""

from __future__ import annotations

import json
from typing import Final

from outrider.access_log import (
    address_ops,
    cel_ops,
    duration_ops,
    grpc_ops,
    header_ops,
    metadata_ops,
    number_ops,
    request_ops,
    stream_ops,
    time_ops,
    tls_ops,
    upstream_ops,
)
from outrider.access_log.context import FormatContext
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import (
    COMMAND_ONLY,
    LENGTH_ALLOWED,
    PARAMS_REQUIRED,
    CommandTable,
    FormatError,
    check_syntax,
)

# Commands without argument: their operators have no state and are shared.
PLAIN: Final[dict[str, FormatOp]] = {
    **number_ops.PLAIN,
    **duration_ops.PLAIN,
    **stream_ops.PLAIN,
    **address_ops.PLAIN,
    **upstream_ops.PLAIN,
    **tls_ops.PLAIN,
    **grpc_ops.PLAIN,
}

COMMANDS: Final[CommandTable] = {
    **header_ops.COMMANDS,
    **request_ops.COMMANDS,
    **time_ops.COMMANDS,
    **duration_ops.COMMANDS,
    **stream_ops.COMMANDS,
    **address_ops.COMMANDS,
    **tls_ops.COMMANDS,
    **metadata_ops.COMMANDS,
    **grpc_ops.COMMANDS,
    **cel_ops.COMMANDS,
}


class CoalesceOp(FormatOp):
    """%COALESCE({"operators": [...]}):LENGTH%: the first operator that has a value."""

    def __init__(self, ops: list[FormatOp], length: int) -> None:
        self.ops = ops
        self.length = length

    def text(self, context: FormatContext) -> bytes | None:
        for op in self.ops:
            text = op.text(context)
            if text is not None:
                return text if self.length < 0 else text[: self.length]
        return None

    def value(self, context: FormatContext) -> object:
        for op in self.ops:
            value = op.value(context)
            if value is not None:
                if self.length >= 0 and isinstance(value, bytes):
                    return value[: self.length]
                return value
        return None


def built_in_command(command: str, argument: str, length: int | None) -> FormatOp:
    """The operator of a command. Raises FormatError."""
    op = PLAIN.get(command)
    if op is not None:
        check_syntax(COMMAND_ONLY, command, argument, length)
        return op
    if command == "COALESCE":
        check_syntax(PARAMS_REQUIRED | LENGTH_ALLOWED, command, argument, length)
        return _coalesce(argument, length)
    entry = COMMANDS.get(command)
    if entry is None:
        raise FormatError(f"Not supported field in StreamInfo: {command}")
    flags, builder = entry
    check_syntax(flags, command, argument, length)
    return builder(argument, length)


def _coalesce(argument: str, length: int | None) -> FormatOp:
    try:
        config = json.loads(argument)
    except ValueError as error:
        raise FormatError(f"COALESCE: failed to parse JSON configuration: {error}") from None
    if not isinstance(config, dict) or "operators" not in config:
        raise FormatError("COALESCE: JSON configuration must contain 'operators' array")
    entries = config["operators"]
    if not isinstance(entries, list):
        raise FormatError("COALESCE: 'operators' must be an array: key 'operators' missing or not an array")
    if not entries:
        raise FormatError("COALESCE: 'operators' array must not be empty")
    ops: list[FormatOp] = []
    for index, entry in enumerate(entries):
        try:
            ops.append(_coalesce_entry(entry))
        except FormatError as error:
            raise FormatError(f"COALESCE: failed to parse operator at index {index}: {error}") from None
    return CoalesceOp(ops, -1 if length is None else length)


def _coalesce_entry(entry: object) -> FormatOp:
    if isinstance(entry, str):
        return _coalesce_command(entry, "", None)
    if not isinstance(entry, dict):
        raise FormatError("operator entry must be either a string (command name) or an object with 'command' field")
    command = entry.get("command")
    if not isinstance(command, str):
        raise FormatError("operator object must have 'command' field: key 'command' missing or not a string")
    argument = entry.get("param", "")
    if not isinstance(argument, str):
        raise FormatError("'param' field must be a string: key 'param' missing or not a string")
    length = entry.get("max_length")
    if length is not None:
        if not isinstance(length, int) or isinstance(length, bool):
            raise FormatError("'max_length' field must be an integer: key 'max_length' missing or not an integer")
        if length <= 0:
            raise FormatError("'max_length' must be a positive integer")
    return _coalesce_command(command, argument, length)


def _coalesce_command(command: str, argument: str, length: int | None) -> FormatOp:
    if command not in PLAIN and command not in COMMANDS and command != "COALESCE":
        raise FormatError(f"unknown command: '{command}'")
    return built_in_command(command, argument, length)
