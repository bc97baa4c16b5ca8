"""The loggers that write lines: envoy.access_loggers.file, stdout and stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.access_log import ACCESS_LOGGERS, AccessLog
from outrider.access_log.context import FormatContext
from outrider.access_log.file_writer import LogFile
from outrider.access_log.format_string import default_formatter, parse_format_string
from outrider.access_log.formatter import LineFormatter, format_field
from outrider.access_log.json_format import parse_json_format
from outrider.access_log.syntax import FormatError

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class FileAccessLog(AccessLog):
    """Lines to a file."""

    def __init__(self, formatter: LineFormatter, file: LogFile) -> None:
        self.formatter = formatter
        self.file = file

    def emit(self, context: FormatContext) -> None:
        self.file.write(self.formatter.format_bytes(context))


def _open(view: View, context: FactoryContext, path: str, field: str | None) -> LogFile:
    try:
        return context.access_log_manager.file(path)
    except OSError as error:
        raise view.error(f"unable to open file '{path}': {error.strerror}", field) from None


def _json(view: View, field: str) -> LineFormatter:
    try:
        return parse_json_format(view.struct(field) or {})
    except FormatError as error:
        raise view.error(str(error), field) from None


@ACCESS_LOGGERS.register(
    "envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", "envoy.file_access_log"
)
def create_file(config: View, context: FactoryContext) -> AccessLog:
    kind = config.which("access_log_format")
    if kind == "log_format":
        log_format = config.message("log_format")
        assert log_format is not None
        formatter = parse_format_string(log_format, context).formatter
    elif kind == "format" and config.text("format"):
        formatter = format_field(config, "format")
    elif kind in ("json_format", "typed_json_format"):
        formatter = _json(config, kind)
    else:
        formatter = default_formatter()
    path = config.text("path")
    if not path:
        raise config.error("value length must be at least 1 characters", "path")
    return FileAccessLog(formatter, _open(config, context, path, "path"))


def _stream(config: View, context: FactoryContext, path: str) -> AccessLog:
    log_format = config.message("log_format")
    formatter = default_formatter() if log_format is None else parse_format_string(log_format, context).formatter
    return FileAccessLog(formatter, _open(config, context, path, None))


@ACCESS_LOGGERS.register(
    "envoy.access_loggers.stdout",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "envoy.stdout_access_log",
)
def create_stdout(config: View, context: FactoryContext) -> AccessLog:
    return _stream(config, context, "/dev/stdout")


@ACCESS_LOGGERS.register(
    "envoy.access_loggers.stderr",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
    "envoy.stderr_access_log",
)
def create_stderr(config: View, context: FactoryContext) -> AccessLog:
    return _stream(config, context, "/dev/stderr")
