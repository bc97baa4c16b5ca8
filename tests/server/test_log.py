"""The application log: patterns, levels, files."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider.server.log import ApplicationLog
from outrider.server.log_pattern import JsonPattern, Pattern, component, level_name
from outrider.server.options import Options


def record(message: str = "hello", name: str = "outrider.config", level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "/somewhere/outrider/server/run.py", 12, message, None, None, "serve")
    made.created = 1_700_000_000.123456
    return made


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%v", "hello"),
        ("[%l][%n] %v", "[info][config] hello"),
        ("%g:%#", "outrider/server/run.py:12"),
        ("%s", "run.py"),
        ("%@", "outrider/server/run.py:12"),
        ("%e %f", "123 123456"),
        ("%E", "1700000000"),
        ("%L", "I"),
        ("%%", "%"),
        ("%8l|%-8l|%=8l|", "    info|info    |  info  |"),
        ("%!", "serve"),
        ("%q%v", "%qhello"),
        ("%t", str(__import__("threading").get_native_id())),
        ("%P", str(os.getpid())),
        ("%^%v%$", "hello"),
    ],
)
def test_patterns(pattern: str, expected: str) -> None:
    assert Pattern(pattern).render(record(), "hello") == expected


def test_default_pattern_has_envoys_shape() -> None:
    line = Pattern("[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v").render(record(), "hello")
    assert line.startswith("[2023-11-1")
    assert line.endswith("[info][config] [outrider/server/run.py:12] hello")


def test_escaped_messages() -> None:
    assert Pattern("%_").render(record(), "a\nb") == "a\\nb"
    assert Pattern("%j").render(record(), 'a"\nb') == 'a\\"\\nb'


def test_json_pattern_is_one_object_whatever_the_message() -> None:
    line = JsonPattern({"level": "%l", "message": "%v", "n": 3.0}).render(record(), 'say "hi"\n')
    assert json.loads(line) == {"level": "info", "message": 'say "hi"\n', "n": 3.0}


def test_json_pattern_refuses_nested_values() -> None:
    with pytest.raises(ValueError, match="json_format"):
        JsonPattern({"a": {"b": "c"}})


def test_component_and_level_names() -> None:
    assert component("outrider.upstream.dns") == "upstream"
    assert component("outrider") == "misc"
    assert level_name(5) == "trace"
    assert level_name(logging.WARNING) == "warning"
    assert level_name(33) == "warning"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ApplicationLog]:
    options = Options()
    options.log_path = str(tmp_path / "log")
    options.log_format = "%l %n %v"
    options.component_log_level = "config:debug"
    made = ApplicationLog(options)
    yield made
    made.close()


def test_levels_per_component(log: ApplicationLog) -> None:
    logging.getLogger("outrider.config").debug("seen")
    logging.getLogger("outrider.main").debug("unseen")
    log.set_level("main", "debug")
    logging.getLogger("outrider.main").debug("now seen")
    log.set_all("off")
    logging.getLogger("outrider.main").critical("never")
    assert Path(log.handler.path).read_text() == "debug config seen\ndebug main now seen\n"


def test_reopen_follows_a_rotation(log: ApplicationLog, tmp_path: Path) -> None:
    logging.getLogger("outrider.main").info("one")
    (tmp_path / "log").rename(tmp_path / "log.1")
    logging.getLogger("outrider.main").info("two")
    log.reopen()
    logging.getLogger("outrider.main").info("three")
    assert (tmp_path / "log.1").read_text() == "info main one\ninfo main two\n"
    assert (tmp_path / "log").read_text() == "info main three\n"


def test_a_trace_is_logged_line_by_line(log: ApplicationLog) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("outrider.main").exception("failed")
    lines = Path(log.handler.path).read_text().splitlines()
    assert lines[0] == "error main failed"
    assert lines[-1] == "error main ValueError: broken"
    assert all(line.startswith("error main ") for line in lines)
