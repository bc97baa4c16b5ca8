"""The command line: Envoy's flags, values and refusals."""

from __future__ import annotations

import pytest

from outrider import cli
from outrider.server import options as options_module
from outrider.server.options import Options, UsageError, parse
from outrider.server.usage import USAGE


def test_defaults_are_envoys() -> None:
    described = Options().describe()
    assert described["drain_time"] == "600s"
    assert described["parent_shutdown_time"] == "900s"
    assert described["file_flush_interval"] == "10s"
    assert described["mode"] == "Serve"
    assert described["drain_strategy"] == "Gradual"
    assert described["log_format"] == "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"
    assert described["local_address_ip_version"] == "v4"


def test_short_and_long_flags_set_the_same_option() -> None:
    assert parse(["-c", "a.yaml", "-l", "debug"]).config_path == parse(["--config-path", "a.yaml"]).config_path
    assert parse(["-l", "warn"]).log_level == "warning"
    assert parse(["--concurrency=3"]).concurrency == 3


def test_everything_behind_two_dashes_is_ignored() -> None:
    assert parse(["-c", "a.yaml", "--", "--nonsense"]).config_path == "a.yaml"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--zz"], "--zz -- Couldn't find match for argument"),
        (["extra"], "extra -- Couldn't find match for argument"),
        (["-c"], "-c (--config-path) -- Missing a value for this argument!"),
        (["--concurrency", "1", "--concurrency", "2"], "(--concurrency) -- Argument already set!"),
        (["--concurrency", "x"], "(--concurrency) -- Couldn't read argument value from string 'x'"),
        (["--concurrency", "-1"], "(--concurrency) -- Couldn't read argument value from string '-1'"),
        (["--mode", "foo"], "error: unknown mode 'foo'"),
        (["-l", "zz"], "error: invalid log level specified 'zz'"),
        (["--component-log-level", "zz:debug"], "error: invalid component specified 'zz'"),
        (["--component-log-level", "upstream"], "error: component log level not correctly specified 'upstream'"),
        (["--drain-strategy", "zz"], "error: unknown drain-strategy 'zz'"),
        (["--local-address-ip-version", "v5"], "error: unknown IP address version 'v5'"),
        (["--stats-tag", "zz"], "error: misformatted stats-tag 'zz'"),
        (["--stats-tag", "a:b", "--stats-tag", "a:c"], "error: duplicate stats-tag 'a'"),
        (["--use-dynamic-base-id", "--restart-epoch", "1"], "error: cannot use --restart-epoch=1 with"),
        (["--restart-epoch", "1"], "--restart-epoch above 0"),
        (["--enable-fine-grain-logging"], "--enable-fine-grain-logging is not supported"),
        (["--socket-path", "@x"], "--socket-path is not supported"),
    ],
)
def test_wrong_command_lines_are_refused_by_name(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    assert message in str(caught.value)


def test_every_flag_is_documented() -> None:
    for flag in [*options_module.TEXT_FLAGS, *options_module.NUMBER_FLAGS, *options_module.SWITCHES]:
        assert flag in USAGE
    for flag in options_module.NOT_SERVED:
        assert flag in USAGE


def test_component_levels() -> None:
    assert parse(["--component-log-level", "upstream:debug,config:trace"]).component_levels() == [
        ("upstream", "debug"),
        ("config", "trace"),
    ]


def test_zero_concurrency_means_inline_and_absence_means_processors() -> None:
    assert parse(["--concurrency", "0"]).worker_count() == 0
    assert parse([]).worker_count() >= 1


def test_version_and_help_win_over_other_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--zz", "--version"]) == 0
    line = capsys.readouterr().out
    assert "  version: " in line
    assert len(line.strip().split("  version: ")[1].split("/")) == 5
    assert cli.main(["-h"]) == 0
    assert "USAGE" in capsys.readouterr().out


def test_a_usage_error_is_one_message_and_exit_code_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--nonsense"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("--nonsense -- Couldn't find match for argument\n")


def test_demo_cannot_be_combined_with_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--demo", "-c", "a.yaml"]) == 1
    assert "--demo" in capsys.readouterr().err
