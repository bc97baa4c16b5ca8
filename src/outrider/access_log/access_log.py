"""Access loggers: interface, registry, and the decision whether to log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.access_log.context import FormatContext
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View


@mypyc_attr(allow_interpreted_subclasses=True)
class LogFilter:
    """Decides whether a request is logged."""

    def evaluate(self, context: FormatContext) -> bool:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class AccessLog:
    """One configured access log."""

    # None: everything is logged.
    filter: LogFilter | None = None

    def log(self, context: FormatContext) -> None:
        """Log the request if the filter agrees. Never blocks, never raises."""
        log_filter = self.filter
        if log_filter is None or log_filter.evaluate(context):
            self.emit(context)

    def emit(self, context: FormatContext) -> None:
        """Write the entry."""
        raise NotImplementedError


# Factories take `(config, context)`: `(View, FactoryContext)`.
ACCESS_LOGGERS: Final[ExtensionRegistry[AccessLog]] = ExtensionRegistry("envoy.access_loggers")


def create_access_log(view: View, context: Any) -> AccessLog:
    """From an `envoy.config.accesslog.v3.AccessLog`. Raises ConfigError."""
    from outrider.access_log import loggers  # noqa: F401 (registers the loggers of this folder)
    from outrider.access_log.filters import parse_log_filter

    log_filter = view.message("filter")
    log = ACCESS_LOGGERS.create(view, context)
    if log_filter is not None:
        log.filter = parse_log_filter(log_filter, context)
    return log


def create_access_logs(views: Sequence[View], context: Any) -> list[AccessLog]:
    """One log for each entry. Raises ConfigError."""
    return [create_access_log(view, context) for view in views]
