"""Points in time. Expected texts were read off Envoy 1.40."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.access_log.formatter import parse_format
from outrider.access_log.syntax import FormatError
from outrider.access_log.time_format import DEFAULT_LOCAL_PATTERN, DEFAULT_PATTERN, TimePattern

from .scene import proxied

# 2026-11-23T00:49:40.746631Z
NOW = 1_795_394_980_746_631_000


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (DEFAULT_PATTERN, "2026-11-23T00:49:40.746Z"),
        ("%Y-%m-%dT%H:%M:%S.%3fZ", "2026-11-23T00:49:40.746Z"),
        (
            "%f %1f %2f %3f %4f %5f %6f %7f %8f %9f",
            "746631000 7 74 746 7466 74663 746631 7466310 74663100 746631000",
        ),
        ("%s %1s %3s %9s %12s", "1795394980 1795394980 1795394980 1795394980   1795394980"),
        ("%E3S %E*S %E3f %E4Y %Ez %E*z %Es", "40.746 40.746631 746 2026 +00:00 +00:00:00 1795394980"),
        ("%E", "%E"),
        ("%Q %q %J %L", "%Q %q %J %L"),
        (
            "%a %A %b %B %c %C %d %D %e %F %g %G %h %H %I %j %k %l %m %M %p %r %R %S",
            "Mon Monday Nov November Mon Nov 23 00:49:40 2026 20 23 11/23/26 23 2026-11-23 26 2026 Nov 00 12 327  0 12 "
            "11 49 AM 12:49:40 AM 00:49 40",
        ),
        ("%t %T %u %U %V %w %W %x %X %y %Y %z %Z", "\t 00:49:40 1 47 48 1 47 11/23/26 00:49:40 26 2026 +0000 UTC"),
        (":%:z %::z %Oy %Ey %EY %EX", ":+00:00 +00:00:00 26 26 2026 00:49:40"),
        ("%%", "%"),
        ("%%f", "%f"),
        ("%-d %_d %05d %^a", "23 23 00023 MON"),
        ("plain", "plain"),
        ("{}", "{}"),
    ],
)
def test_patterns(pattern: str, expected: str) -> None:
    assert TimePattern(pattern).render(NOW).decode() == expected


@pytest.mark.parametrize("pattern", ["%n", "a%nb", "%-En", "%%n"])
def test_newlines_are_refused(pattern: str) -> None:
    with pytest.raises(FormatError, match=r"Invalid header configuration. Format string contains newline."):
        TimePattern(pattern)


def test_trailing_zeros() -> None:
    second = NOW // 1_000_000_000 * 1_000_000_000
    pattern = TimePattern("%E*S|%E*f|%E0S|%3f")
    assert pattern.render(second) == b"40||40|000"
    assert pattern.render(second + 500_000_000) == b"40.5|5|40|500"


def test_seconds_are_rendered_anew_when_they_change() -> None:
    pattern = TimePattern("%H:%M:%S.%3f")
    assert pattern.render(NOW) == b"00:49:40.746"
    assert pattern.render(NOW + 100_000_000) == b"00:49:40.846"
    assert pattern.render(NOW + 1_000_000_000) == b"00:49:41.746"
    assert pattern.render(NOW) == b"00:49:40.746"


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        local = TimePattern(DEFAULT_LOCAL_PATTERN, local=True).render(NOW)
        zones = TimePattern("%H %Z %z %Ez %3f", local=True).render(NOW)
        universal = TimePattern(DEFAULT_PATTERN).render(NOW)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert local == b"2026-11-22T19:49:40.746-0500"
    assert zones == b"19 EST -0500 -05:00 746"
    assert universal == b"2026-11-23T00:49:40.746Z"


def test_commands() -> None:
    formatter = parse_format("%START_TIME% %START_TIME(%s.%6f)% %START_TIME(a)b)%")
    assert formatter.format(proxied()) == "2026-11-23T00:49:40.746Z 1795394980.746631 a)b"
    before = time.time()
    emitted = float(parse_format("%EMIT_TIME(%s.%9f)%").format(proxied()))
    assert before - 0.001 <= emitted <= time.time() + 0.001


@given(st.text(alphabet="%EfSzsYHMd*0123456789:- \u00e9", max_size=20), st.integers(0, 4_000_000_000_000_000_000))
def test_any_pattern_renders(pattern: str, moment: int) -> None:
    assert isinstance(TimePattern(pattern).render(moment), bytes)
