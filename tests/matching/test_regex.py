from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.matching.regex import Regex, RegexError, RegexRewrite, literal_prefix


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("a+", b"aaa", True),
        ("a+", b"aab", False),
        ("a+", b"baa", False),
        ("", b"", True),
        (".*", "é".encode(), True),
        (".", "é".encode(), True),
        (".", b"\xff", False),
        ("(?i)ab", b"AB", True),
        ("a$", b"a", True),
        ("a|bc", b"bc", True),
    ],
)
def test_full_match(pattern: str, value: bytes, expected: bool) -> None:
    assert Regex(pattern).full_match(value) is expected


def test_refused_patterns_give_the_message_of_the_library() -> None:
    with pytest.raises(RegexError, match=r"^missing \): \(a$"):
        Regex("(a")
    with pytest.raises(RegexError):
        RegexRewrite("a(?=b)", "x")


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/a/b.*", "/a/b"),
        ("^/a", "/a"),
        ("/ab?c", "/a"),
        ("/ab*", "/a"),
        ("/ab{2}", "/a"),
        (r"/a\.b\d+", "/a.b"),
        (r"/a\/b", "/a/b"),
        ("/a|/b", ""),
        ("/a/(b|c)/d", "/a/"),
        ("/a[|]b|c", ""),
        (r"/a\Q|\E", ""),
        ("(?i)/a", ""),
        ("/é+", "/"),
        ("", ""),
    ],
)
def test_literal_prefix(pattern: str, prefix: str) -> None:
    assert literal_prefix(pattern) == prefix


patterns = st.lists(
    st.sampled_from(
        ["a", "b", "/", "*", "+", "?", "|", "(", ")", "[", "]", "^", "$", ".", "\\", "Q", "E", "{1}", "(?i)", "-"]
    ),
    max_size=9,
).map("".join)


@settings(max_examples=2000, deadline=None)
@given(patterns, st.lists(st.sampled_from(list("abAB/.|()[]\\QE-+*?$^")), max_size=6).map("".join))
def test_every_match_begins_with_the_literal_prefix(pattern: str, value: str) -> None:
    try:
        regex = Regex(pattern)
    except RegexError:
        return
    if regex.full_match(value.encode()):
        assert value.encode().startswith(regex.prefix)


@pytest.mark.parametrize(
    ("pattern", "substitution", "value", "expected"),
    [
        ("g", "[\\0]", b"/g/g", b"/[g]/[g]"),
        ("^/(\\w+)/(\\w+)", "/\\2/\\1", b"/a/b/c", b"/b/a/c"),
        ("x", "y", b"abc", b"abc"),
        ("h", "\\1", b"/h", b"/h"),
        ("i", "x\\", b"/i/i", b"/x/x"),
        ("i", "\\\\", b"/i", b"/\\"),
        ("j*", "-", b"/j/aa", b"-/-/-a-a-"),
        ("", "-", "é".encode(), "-é-".encode()),
        ("(b)(c)?", "[\\2\\1]", b"ab", b"a[b]"),
    ],
)
def test_replace_all(pattern: str, substitution: str, value: bytes, expected: bytes) -> None:
    assert RegexRewrite(pattern, substitution).replace_all(value) == expected


@given(st.text(alphabet="ab/", max_size=12))
def test_replacing_equals_the_standard_library(value: str) -> None:
    """Where both libraries mean the same: no empty matches."""
    expected = re.sub("a(b?)", r"<\1>", value)
    assert RegexRewrite("a(b?)", "<\\1>").replace_all(value.encode()) == expected.encode()
