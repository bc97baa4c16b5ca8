"""Access loggers from configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outrider.access_log.access_log import AccessLog, create_access_log, create_access_logs
from outrider.access_log.file_writer import AccessLogManager
from outrider.config.errors import ConfigError
from outrider.config.runtime import Runtime
from outrider.stats.store import Store
from tests.config.messages import TYPE_URL, view_of

from . import scene

FILE = TYPE_URL + "envoy.extensions.access_loggers.file.v3.FileAccessLog"
STDOUT = TYPE_URL + "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
STDERR = TYPE_URL + "envoy.extensions.access_loggers.stream.v3.StderrAccessLog"
WITHOUT_QUERY = TYPE_URL + "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"


class FakeContext:
    def __init__(self) -> None:
        self.runtime = Runtime()
        self.access_log_manager = AccessLogManager(Store())


def make(tree: dict[str, Any], context: FakeContext) -> AccessLog:
    view = view_of("envoy.config.accesslog.v3.AccessLog", tree)
    log = create_access_log(view, context)
    assert not view.unread()
    return log


def logged(path: Path, config: dict[str, Any], **more: Any) -> str:
    context = FakeContext()
    log = make({"name": "log", "typed_config": {"@type": FILE, "path": str(path), **config}, **more}, context)
    log.log(scene.proxied())
    context.access_log_manager.close()
    return path.read_text()


def inline(text: str, **more: Any) -> dict[str, Any]:
    return {"log_format": {"text_format_source": {"inline_string": text}, **more}}


DEFAULT = (
    '[2026-11-23T00:49:40.746Z] "GET /p HTTP/1.1" 200 - 4 180 2 1 "-" "curl/8" '
    '"8275d158-2e1c-47e9-96c3-cf798f8f24a9" "h.com:80" "127.0.0.1:46189"\n'
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, DEFAULT),
        ({"format": ""}, DEFAULT),
        ({"format": "old %PROTOCOL%\n"}, "old HTTP/1.1\n"),
        ({"json_format": {"b": "%PROTOCOL%", "a": "%DURATION%"}}, '{"a":2,"b":"HTTP/1.1"}\n'),
        ({"typed_json_format": {"b": "%PROTOCOL%", "a": "%DURATION%"}}, '{"a":2,"b":"HTTP/1.1"}\n'),
        ({"log_format": {"text_format": "%PROTOCOL%\n"}}, "HTTP/1.1\n"),
        ({"log_format": {"text_format": ""}}, ""),
        (inline("%PROTOCOL%"), "HTTP/1.1"),
        (inline("%REQ(nope)%|"), "-|"),
        (inline("%REQ(nope)%|", omit_empty_values=True), "|"),
        ({"log_format": {"text_format_source": {"inline_bytes": "YSVQUk9UT0NPTCUK"}}}, "aHTTP/1.1\n"),
        (
            {"log_format": {"json_format": {"b": "x", "a": "%REQ(nope)%"}, "omit_empty_values": True}},
            '{"b":"x"}\n',
        ),
        (
            {"log_format": {"json_format": {"b": "x", "a": "y"}, "json_format_options": {"sort_properties": True}}},
            '{"a":"y","b":"x"}\n',
        ),
        (
            inline(
                "%REQ_WITHOUT_QUERY(x-envoy-original-path?:path)%",
                formatters=[{"name": "f", "typed_config": {"@type": WITHOUT_QUERY}}],
            ),
            "/p",
        ),
    ],
)
def test_file(tmp_path: Path, config: dict[str, Any], expected: str) -> None:
    assert logged(tmp_path / "log", config) == expected


def test_format_from_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "format"
    source.write_text("file %PROTOCOL%")
    config = {"log_format": {"text_format_source": {"filename": str(source)}}}
    assert logged(tmp_path / "one", config) == "file HTTP/1.1"
    monkeypatch.setenv("LOG_FORMAT", "env %PROTOCOL%")
    config = {"log_format": {"text_format_source": {"environment_variable": "LOG_FORMAT"}}}
    assert logged(tmp_path / "two", config) == "env HTTP/1.1"


def test_filter_decides(tmp_path: Path) -> None:
    def status(code: int) -> dict[str, Any]:
        return {"status_code_filter": {"comparison": {"value": {"default_value": code, "runtime_key": "k"}}}}

    assert logged(tmp_path / "yes", inline("x"), filter=status(200)) == "x"
    assert logged(tmp_path / "no", inline("x"), filter=status(404)) == ""


def test_standard_streams(capfd: pytest.CaptureFixture[str]) -> None:
    context = FakeContext()
    views = [
        view_of("envoy.config.accesslog.v3.AccessLog", {"name": "a", "typed_config": {"@type": STDOUT}}),
        view_of(
            "envoy.config.accesslog.v3.AccessLog", {"name": "b", "typed_config": {"@type": STDERR, **inline("e\n")}}
        ),
    ]
    for log in create_access_logs(views, context):
        log.log(scene.proxied())
    context.access_log_manager.close()
    captured = capfd.readouterr()
    assert captured.out == DEFAULT
    assert captured.err == "e\n"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"path": "/nonexistent/x.log"}, "path: unable to open file '/nonexistent/x.log': No such file or directory"),
        ({"format": "%FOO%"}, "format: Not supported field in StreamInfo: FOO"),
        ({"json_format": {"a": "%REQ%"}}, "json_format: REQ requires parameters"),
        ({"log_format": {"json_format": {"a": "%FOO%"}}}, "Not supported field in StreamInfo: FOO"),
        ({"log_format": {"text_format_source": {"filename": "/nope"}}}, "Invalid path: /nope"),
        (
            {"log_format": {"text_format_source": {"environment_variable": "NOPE_X"}}},
            "Environment variable doesn't exist: NOPE_X",
        ),
        (inline("%REQ_WITHOUT_QUERY(:path)%"), "Not supported field in StreamInfo: REQ_WITHOUT_QUERY"),
        (inline("a", formatters=[{"name": "x"}]), "Didn't find a registered implementation for name: 'x'"),
    ],
)
def test_refused(config: dict[str, Any], message: str) -> None:
    tree = {"name": "log", "typed_config": {"@type": FILE, "path": "/dev/null", **config}}
    with pytest.raises(ConfigError, match=message):
        make(tree, FakeContext())


def test_loggers_that_do_not_exist_yet_are_refused() -> None:
    tree = {
        "name": "envoy.access_loggers.dynamic_modules",
        "typed_config": {
            "@type": TYPE_URL + "envoy.extensions.access_loggers.dynamic_modules.v3.DynamicModuleAccessLog"
        },
    }
    with pytest.raises(ConfigError, match="Didn't find a registered implementation"):
        make(tree, FakeContext())
