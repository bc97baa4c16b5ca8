"""Log patterns: the syntax of spdlog (`--log-format`), with Envoy's additions `%_` and `%j`.

Source: spdlog wiki, "Custom formatting"; Envoy documentation, `--log-format` and `application_log_config`.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from typing import Any, Final

TRACE: Final = 5
OFF: Final = 100
LEVEL_NUMBERS: Final = {
    "trace": TRACE, "debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
    "critical": logging.CRITICAL, "off": OFF,
}  # fmt: skip
_LEVEL_NAMES: Final = {number: name for name, number in LEVEL_NUMBERS.items()}
_START: Final = time.time()


def level_name(number: int) -> str:
    """Envoy's name of a level; the next lower one for a number in between."""
    name = _LEVEL_NAMES.get(number)
    if name is not None:
        return name
    return _LEVEL_NAMES[max((known for known in _LEVEL_NAMES if known <= number), default=TRACE)]


def source_path(path: str) -> str:
    """A source file as seen from the package: `outrider/server/main_process.py`."""
    _, found, rest = path.rpartition("/outrider/")
    return f"outrider/{rest}" if found else os.path.basename(path)


class Pattern:
    """A parsed pattern; `render` makes the line."""

    __slots__ = ("pieces",)

    def __init__(self, text: str) -> None:
        """Parse. An unknown flag stands for itself, as in spdlog."""
        # (flag or "", literal text, width, alignment)
        self.pieces: list[tuple[str, str, int, str]] = []
        literal: list[str] = []
        position = 0
        while position < len(text):
            character = text[position]
            position += 1
            if character != "%" or position >= len(text):
                literal.append(character)
                continue
            alignment = ">"
            if text[position] in "-=":
                alignment = "<" if text[position] == "-" else "^"
                position += 1
            start = position
            while position < len(text) and text[position].isdigit():
                position += 1
            width = min(int(text[start:position] or "0"), 64)
            if position >= len(text):
                break
            flag = text[position]
            position += 1
            if flag == "%":
                literal.append("%")
                continue
            if flag not in _FLAGS:
                literal.append("%" + flag)
                continue
            if literal:
                self.pieces.append(("", "".join(literal), 0, ""))
                literal = []
            self.pieces.append((flag, "", width, alignment))
        if literal:
            self.pieces.append(("", "".join(literal), 0, ""))

    def render(self, record: logging.LogRecord, message: str) -> str:
        moment = time.localtime(record.created)
        parts: list[str] = []
        for flag, literal, width, alignment in self.pieces:
            if not flag:
                parts.append(literal)
                continue
            text = _FLAGS[flag](record, message, moment)
            parts.append(f"{text:{alignment}{width}}" if width else text)
        return "".join(parts)


def _zone(moment: time.struct_time) -> str:
    offset = moment.tm_gmtoff // 60
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"


def _hour12(moment: time.struct_time) -> int:
    return (moment.tm_hour + 11) % 12 + 1


def _fraction(record: logging.LogRecord, scale: int) -> int:
    return int(record.created * scale) % scale


def escape_newlines(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


# flag -> function(record, message, local time)
_FLAGS: Final[dict[str, Any]] = {
    "v": lambda record, message, moment: message,
    "_": lambda record, message, moment: escape_newlines(message),
    "j": lambda record, message, moment: json.dumps(message, ensure_ascii=False)[1:-1],
    "t": lambda record, message, moment: str(threading.get_native_id()),
    "P": lambda record, message, moment: str(os.getpid()),
    "n": lambda record, message, moment: component(record.name),
    "l": lambda record, message, moment: level_name(record.levelno),
    "L": lambda record, message, moment: level_name(record.levelno)[0].upper(),
    "a": lambda record, message, moment: time.strftime("%a", moment),
    "A": lambda record, message, moment: time.strftime("%A", moment),
    "b": lambda record, message, moment: time.strftime("%b", moment),
    "h": lambda record, message, moment: time.strftime("%b", moment),
    "B": lambda record, message, moment: time.strftime("%B", moment),
    "c": lambda record, message, moment: time.strftime("%a %b %e %H:%M:%S %Y", moment),
    "C": lambda record, message, moment: f"{moment.tm_year % 100:02d}",
    "Y": lambda record, message, moment: f"{moment.tm_year:04d}",
    "D": lambda record, message, moment: time.strftime("%m/%d/%y", moment),
    "x": lambda record, message, moment: time.strftime("%m/%d/%y", moment),
    "m": lambda record, message, moment: f"{moment.tm_mon:02d}",
    "d": lambda record, message, moment: f"{moment.tm_mday:02d}",
    "H": lambda record, message, moment: f"{moment.tm_hour:02d}",
    "I": lambda record, message, moment: f"{_hour12(moment):02d}",
    "M": lambda record, message, moment: f"{moment.tm_min:02d}",
    "S": lambda record, message, moment: f"{moment.tm_sec:02d}",
    "e": lambda record, message, moment: f"{_fraction(record, 1000):03d}",
    "f": lambda record, message, moment: f"{_fraction(record, 1_000_000):06d}",
    "F": lambda record, message, moment: f"{_fraction(record, 1_000_000_000):09d}",
    "p": lambda record, message, moment: "PM" if moment.tm_hour >= 12 else "AM",
    "r": lambda record, message, moment: time.strftime("%I:%M:%S %p", moment),
    "R": lambda record, message, moment: time.strftime("%H:%M", moment),
    "T": lambda record, message, moment: time.strftime("%H:%M:%S", moment),
    "X": lambda record, message, moment: time.strftime("%H:%M:%S", moment),
    "z": lambda record, message, moment: _zone(moment),
    "E": lambda record, message, moment: str(int(record.created)),
    "@": lambda record, message, moment: f"{source_path(record.pathname)}:{record.lineno}",
    "s": lambda record, message, moment: os.path.basename(record.pathname),
    "g": lambda record, message, moment: source_path(record.pathname),
    "#": lambda record, message, moment: str(record.lineno),
    "!": lambda record, message, moment: record.funcName or "",
    "o": lambda record, message, moment: str(int((record.created - _START) * 1000)),
    "i": lambda record, message, moment: str(int((record.created - _START) * 1_000_000)),
    "u": lambda record, message, moment: str(int((record.created - _START) * 1_000_000_000)),
    "O": lambda record, message, moment: str(int(record.created - _START)),
    # Colour ranges: nothing, as Envoy's sink has no colours.
    "^": lambda record, message, moment: "",
    "$": lambda record, message, moment: "",
    "&": lambda record, message, moment: "",
}


def component(logger_name: str) -> str:
    """Envoy's logger name: the part behind `outrider.`."""
    _, _, rest = logger_name.partition(".")
    return rest.partition(".")[0] or "misc"


class JsonPattern:
    """`application_log_config.log_format.json_format`: an object whose texts are patterns."""

    __slots__ = ("patterns",)

    def __init__(self, template: dict[str, object]) -> None:
        """Raises ValueError for a value that is not a text, number or truth value."""
        self.patterns: list[tuple[str, Pattern | None, object]] = []
        for key, value in template.items():
            if isinstance(value, str):
                # The message must not break the JSON object.
                self.patterns.append((key, Pattern(value.replace("%v", "%j").replace("%_", "%j")), None))
            elif isinstance(value, (bool, int, float)):
                self.patterns.append((key, None, value))
            else:
                raise ValueError(f"json_format value of {key} must be a text, a number or a truth value")

    def render(self, record: logging.LogRecord, message: str) -> str:
        parts = []
        for key, pattern, value in self.patterns:
            shown = json.dumps(value) if pattern is None else f'"{pattern.render(record, message)}"'
            parts.append(f"{json.dumps(key)}:{shown}")
        return "{" + ",".join(parts) + "}"
