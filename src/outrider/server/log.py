"""The application log: Envoy's line format, levels per component, a file that can be reopened.

Everything logs through the standard library, to loggers `outrider.<component>` with Envoy's component names.
"""

from __future__ import annotations

import logging
import os
import traceback
from typing import Final

from outrider.server.log_pattern import LEVEL_NUMBERS, JsonPattern, Pattern, escape_newlines
from outrider.server.options import LOGGER_NAMES, Options

ROOT: Final = "outrider"


class LogHandler(logging.Handler):
    """Writes each record with one system call to standard error or a file."""

    def __init__(self, path: str, pattern: Pattern | JsonPattern, escaped: bool, single_entry_traces: bool) -> None:
        """Raises OSError when the file cannot be opened."""
        super().__init__(logging.NOTSET)
        self.path = path
        self.pattern = pattern
        self.escaped = escaped
        self.single_entry_traces = single_entry_traces
        self.descriptor = self._open()

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644) if self.path else 2

    def reopen(self) -> None:
        """After a rotation: go on in a new file of the same name."""
        if self.path:
            old, self.descriptor = self.descriptor, self._open()
            os.close(old)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        messages = [message]
        if record.exc_info and record.exc_info[0] is not None:
            lines = "".join(traceback.format_exception(*record.exc_info)).rstrip().split("\n")
            messages = [message + "\n" + "\n".join(lines)] if self.single_entry_traces else [message, *lines]
        for text in messages:
            shown = escape_newlines(text) if self.escaped else text
            line = self.pattern.render(record, shown) + "\n"
            try:
                os.write(self.descriptor, line.encode("utf-8", "replace"))
            except OSError:
                # Nobody is there to be told.
                return


class ApplicationLog:
    """The log of this process and the levels of its components."""

    def __init__(self, options: Options) -> None:
        """Install the handler. Raises OSError when the log file cannot be opened."""
        self.handler = LogHandler(
            options.log_path,
            Pattern(options.log_format),
            options.log_format_escaped,
            options.log_stacktrace_single_entry,
        )
        self.levels: dict[str, str] = {}
        root = logging.getLogger(ROOT)
        root.propagate = False
        for old in list(root.handlers):
            root.removeHandler(old)
        root.addHandler(self.handler)
        self.set_all(options.log_level)
        for name, level in options.component_levels():
            self.set_level(name, "warning" if level == "warn" else level)

    def set_all(self, level: str) -> None:
        logging.getLogger(ROOT).setLevel(LEVEL_NUMBERS[level])
        for name in LOGGER_NAMES:
            self.set_level(name, level)

    def set_level(self, name: str, level: str) -> None:
        self.levels[name] = level
        logging.getLogger(f"{ROOT}.{name}").setLevel(LEVEL_NUMBERS[level])

    def set_levels(self, levels: dict[str, str]) -> None:
        """Take over the levels of another process."""
        for name, level in levels.items():
            self.set_level(name, level)

    def set_pattern(self, pattern: Pattern | JsonPattern) -> None:
        self.handler.pattern = pattern

    def reopen(self) -> None:
        self.handler.reopen()

    def close(self) -> None:
        logging.getLogger(ROOT).removeHandler(self.handler)
        if self.handler.path:
            os.close(self.handler.descriptor)
