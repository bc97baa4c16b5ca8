"""envoy.access_loggers.extension_filters.cel: logged is what an expression is true for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.access_log.access_log import LogFilter
from outrider.access_log.context import FormatContext
from outrider.access_log.filters import LOG_FILTERS
from outrider.cel.attributes import Attributes
from outrider.cel.config import text_field

if TYPE_CHECKING:
    from outrider.cel.program import CelProgram
    from outrider.config.view import View


class CelLogFilter(LogFilter):
    def __init__(self, program: CelProgram) -> None:
        self.program = program

    def evaluate(self, context: FormatContext) -> bool:
        return self.program.is_true(
            Attributes(
                context.stream_info, context.request_headers, context.response_headers, context.response_trailers
            )
        )


@LOG_FILTERS.register(
    "envoy.access_loggers.extension_filters.cel",
    "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
)
def create(config: View, context: Any) -> LogFilter:
    return CelLogFilter(text_field(config, "expression", config.message("cel_config")))
