"""Operators that print points in time: START_TIME, EMIT_TIME and their local forms."""

from __future__ import annotations

import time
from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import PARAMS_OPTIONAL, CommandTable
from outrider.access_log.time_format import DEFAULT_LOCAL_PATTERN, DEFAULT_PATTERN, TimePattern


class StartTimeOp(FormatOp):
    """%START_TIME(PATTERN)%: when the request, or the L4 session, began."""

    def __init__(self, pattern: TimePattern) -> None:
        self.pattern = pattern

    def text(self, context: FormatContext) -> bytes | None:
        return self.pattern.render(context.stream_info.start_time_ns)


class EmitTimeOp(FormatOp):
    """%EMIT_TIME(PATTERN)%: now, when the line is made."""

    def __init__(self, pattern: TimePattern) -> None:
        self.pattern = pattern

    def text(self, context: FormatContext) -> bytes | None:
        return self.pattern.render(time.time_ns())


def _start_time(argument: str, length: int | None) -> FormatOp:
    return StartTimeOp(TimePattern(argument or DEFAULT_PATTERN))


def _start_time_local(argument: str, length: int | None) -> FormatOp:
    return StartTimeOp(TimePattern(argument or DEFAULT_LOCAL_PATTERN, local=True))


def _emit_time(argument: str, length: int | None) -> FormatOp:
    return EmitTimeOp(TimePattern(argument or DEFAULT_PATTERN))


def _emit_time_local(argument: str, length: int | None) -> FormatOp:
    return EmitTimeOp(TimePattern(argument or DEFAULT_LOCAL_PATTERN, local=True))


COMMANDS: Final[CommandTable] = {
    "START_TIME": (PARAMS_OPTIONAL, _start_time),
    "START_TIME_LOCAL": (PARAMS_OPTIONAL, _start_time_local),
    "EMIT_TIME": (PARAMS_OPTIONAL, _emit_time),
    "EMIT_TIME_LOCAL": (PARAMS_OPTIONAL, _emit_time_local),
}
