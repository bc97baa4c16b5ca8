"""%CEL(EXPRESSION):LENGTH% and %TYPED_CEL(EXPRESSION):LENGTH%."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import LENGTH_ALLOWED, PARAMS_REQUIRED, CommandTable, FormatError, check_syntax
from outrider.cel.attributes import Attributes

if TYPE_CHECKING:
    from outrider.cel.program import CelConfig, CelProgram


class CelOp(FormatOp):
    """The value of an expression, as text or (`typed`) as JSON has it."""

    def __init__(self, program: CelProgram, length: int, typed: bool) -> None:
        self.program = program
        self.length = length
        self.typed = typed

    def text(self, context: FormatContext) -> bytes | None:
        text = self.program.text(_attributes(context))
        if text is None:
            return None
        encoded = text.encode("utf-8", "surrogateescape")
        return encoded if self.length < 0 else encoded[: self.length]

    def value(self, context: FormatContext) -> object:
        if not self.typed:
            return self.text(context)
        value = self.program.json(_attributes(context))
        if isinstance(value, str) and self.length >= 0:
            return value[: self.length]
        return value


def _attributes(context: FormatContext) -> Attributes:
    return Attributes(
        context.stream_info, context.request_headers, context.response_headers, context.response_trailers
    )


def cel_command(command: str, argument: str, length: int | None, config: CelConfig | None = None) -> FormatOp:
    """The operator of one of the two commands. Raises FormatError."""
    # The engine is loaded with the first expression.
    from outrider.cel.program import CelError, compile_text

    check_syntax(PARAMS_REQUIRED | LENGTH_ALLOWED, command, argument, length)
    try:
        program = compile_text(argument, config)
    except CelError as error:
        raise FormatError(str(error)) from None
    return CelOp(program, -1 if length is None else length, command == "TYPED_CEL")


def _cel(argument: str, length: int | None) -> FormatOp:
    return cel_command("CEL", argument, length)


def _typed_cel(argument: str, length: int | None) -> FormatOp:
    return cel_command("TYPED_CEL", argument, length)


COMMANDS: CommandTable = {
    "CEL": (PARAMS_REQUIRED | LENGTH_ALLOWED, _cel),
    "TYPED_CEL": (PARAMS_REQUIRED | LENGTH_ALLOWED, _typed_cel),
}
