"""envoy.rate_limit_descriptors.expr: the value of an entry is that of a CEL expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.cel.attributes import Attributes
from outrider.cel.config import expression_field, text_field
from outrider.router.rate_limit_actions import SKIPPED, Entry, RateLimitAction, RateLimitRequest
from outrider.router.rate_limit_extension import RATE_LIMIT_DESCRIPTORS

if TYPE_CHECKING:
    from outrider.cel.program import CelProgram
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"


class ExpressionAction(RateLimitAction):
    def __init__(self, key: str, program: CelProgram, skip: bool) -> None:
        self.key = key
        self.program = program
        # An expression that fails leaves out the entry, not the whole descriptor.
        self.skip = skip

    def describe(self, request: RateLimitRequest) -> Entry | None:
        text = self.program.text(Attributes(request.info, request.headers, None, None))
        if text is None:
            return SKIPPED if self.skip else None
        return self.key, text


@RATE_LIMIT_DESCRIPTORS.register("envoy.rate_limit_descriptors.expr", TYPE)
def create(config: View, context: FactoryContext) -> RateLimitAction:
    """Raises ConfigError."""
    program = text_field(config, "text") if config.which("expr_specifier") == "text" else None
    if program is None:
        program = expression_field(config, "parsed")
    if program is None:
        raise config.error("expression is not set", "expr_specifier")
    return ExpressionAction(config.text("descriptor_key"), program, config.flag("skip_if_error"))
