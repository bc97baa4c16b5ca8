"""Format strings: which are accepted, what the parser makes of them. Messages are those of Envoy 1.40."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.access_log.commands import COMMANDS, PLAIN
from outrider.access_log.formatter import parse_format
from outrider.access_log.syntax import FormatError

from .scene import local_answer, proxied, tcp_session

GOLDEN = Path(__file__).parent / "golden" / "commands.txt"


def golden_commands() -> list[tuple[str, str]]:
    lines = GOLDEN.read_text().split("\n")
    return [(lines[index], lines[index + 1].strip()) for index in range(0, len(lines) - 1, 2)]


def verdict(text: str) -> str:
    try:
        parse_format(text)
    except FormatError as error:
        return str(error).strip()
    return "accepted"


def test_every_command_is_accepted_or_refused_as_by_envoy() -> None:
    cases = golden_commands()
    assert len(cases) > 700
    wrong = [(text, expected, verdict(text)) for text, expected in cases if verdict(text) != expected]
    assert not wrong


def test_golden_file_knows_every_command() -> None:
    known = {text.strip("%") for text, _ in golden_commands()}
    # Expressions have tests of their own (tests/cel).
    assert not (set(PLAIN) | set(COMMANDS)) - known - {"CEL", "TYPED_CEL"}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", b""),
        ("plain", b"plain"),
        ("100%%", b"100%"),
        ("%%%%", b"%%"),
        ("a%%b %PROTOCOL% %RESPONSE_CODE%", b"a%b HTTP/1.1 200"),
        ("%%%PROTOCOL%", b"%HTTP/1.1"),
        ("%PROTOCOL%%RESPONSE_CODE%", b"HTTP/1.1200"),
        ("\u00e9%PROTOCOL%", b"\xc3\xa9HTTP/1.1"),
        ("line\n%PROTOCOL%\n", b"line\nHTTP/1.1\n"),
    ],
)
def test_text_between_commands(text: str, rendered: bytes) -> None:
    formatter = parse_format(text)
    assert formatter.format_bytes(proxied()) == rendered
    assert formatter.format(proxied()) == rendered.decode()


def test_constant_formats_are_known_as_such() -> None:
    assert parse_format("a%%b").constant == b"a%b"
    assert parse_format("%PROTOCOL%").constant is None


def test_absent_values() -> None:
    assert parse_format("[%REQ(nope)%]").format_bytes(proxied()) == b"[-]"
    assert parse_format("[%REQ(nope)%]", (), True).format_bytes(proxied()) == b"[]"
    # Flags print a dash of their own.
    assert parse_format("[%RESPONSE_FLAGS%]", (), True).format_bytes(proxied()) == b"[-]"


def test_length_beyond_64_bits_is_no_command() -> None:
    text = f"%REQ(X):{1 << 64}%"
    assert verdict(text) == f"Incorrect configuration: {text}. Couldn't find valid command at position 0"


def test_extra_commands_go_first() -> None:
    from outrider.access_log.operation import ConstantOp, FormatOp

    def parser(command: str, argument: str, length: int | None) -> FormatOp | None:
        return ConstantOp(f"{argument}/{length}".encode()) if command == "MINE" else None

    formatter = parse_format("%MINE(x):3% %PROTOCOL%", [parser])
    assert formatter.format_bytes(proxied()) == b"x/3 HTTP/1.1"


def test_expressions_are_compiled() -> None:
    assert verdict("%CEL(request.path)%") == "accepted"
    assert verdict("%CEL(nope())%").endswith("No overload found in reference resolve step for nope")


@given(st.text(alphabet="%ABREQ()x:?5 -_é\n", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        formatter = parse_format(text)
    except FormatError as error:
        assert "%" in text
        assert str(error)
    else:
        formatter.format_bytes(proxied())


@given(st.text(max_size=60))
def test_escaped_text_prints_itself(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert parse_format(text.replace("%", "%%")).format(proxied()) == text


@pytest.mark.parametrize("command", sorted(PLAIN))
def test_plain_commands_print_in_every_situation(command: str) -> None:
    formatter = parse_format(f"%{command}%")
    for context in (proxied(), local_answer(), tcp_session()):
        assert isinstance(formatter.format_bytes(context), bytes)
        formatter.ops[0].value(context)
