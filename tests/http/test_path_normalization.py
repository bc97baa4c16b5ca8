"""Path normalisation; expectations recorded with Envoy 1.40."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.http.path_normalization import merge_slashes, normalize_path, unescape_slashes

RECORDED = [
    (b"/a/%41%7e%2d", b"/a/A~-"),
    (b'/a"<b>', b"/a%22%3Cb%3E"),
    (b"/a%c3%a9", b"/a%c3%a9"),
    (b"/a%00b", None),
    (b"/a/%zz", b"/a/%zz"),
    (b"/a//b/../c", b"/a//c"),
    (b"//x", b"//x"),
    (b"/../..", b"/"),
    (b"/a/..;/b", b"/b"),
    (b"/a%5cb", b"/a%5cb"),
    (b"/a|b^c`d{e}", b"/a%7Cb%5Ec%60d%7Be%7D"),
    (b"/a%2Fb/../c", b"/c"),
    (b"/a/%2E%2e/b?q=/../x", b"/b?q=/../x"),
    (b"/a%20b", b"/a%20b"),
    (b"/a;b,c:@!$&'()*+=~", b"/a;b,c:@!$&'()*+=~"),
    (b"/a/./b/..", b"/a/"),
    (b"/x\\y", b"/x/y"),
    (b"/%2e%2e/%2E/x\\y", b"/x/y"),
]


@pytest.mark.parametrize(("path", "normal"), RECORDED)
def test_as_envoy(path: bytes, normal: bytes | None) -> None:
    assert normalize_path(path) == normal


@given(st.binary(max_size=40))
def test_normal_forms_are_stable_and_never_climb(tail: bytes) -> None:
    normal = normalize_path(b"/" + tail)
    if normal is None:
        return
    assert normal.startswith(b"/")
    only_path = normal.split(b"?")[0].split(b"#")[0]
    assert b".." not in only_path.split(b"/")
    assert b"." not in only_path.split(b"/")


def test_slashes() -> None:
    assert merge_slashes(b"/a///b//c?x=//y") == b"/a/b/c?x=//y"
    assert merge_slashes(b"/a/b") == b"/a/b"
    assert unescape_slashes(b"/a%2fb%5Cc%2F?x=%2f") == b"/a/b\\c/?x=%2f"
