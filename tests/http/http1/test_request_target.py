"""Forms of the request target. What is expected here was observed with Envoy 1.40."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.http.http1.request_target import is_authority_form, is_valid_host_field, parse_absolute


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://a.example/x?y", (b"http", b"a.example", b"/x?y")),
        (b"http://a.example", (b"http", b"a.example", b"/")),
        (b"http://a.example?q", (b"http", b"a.example", b"?q")),
        (b"HTTPS://A.example:80/", (b"https", b"A.example:80", b"/")),
        (b"http://a:0/", (b"http", b"a:0", b"/")),
        (b"http://a:00080/", (b"http", b"a:00080", b"/")),
        (b"http://a:65535/", (b"http", b"a:65535", b"/")),
        (b"http://u:p@a/", (b"http", b"a", b"/")),
        (b"http://[::1]:81/x", (b"http", b"[::1]:81", b"/x")),
        (b"ftp://a/x", (b"ftp", b"a", b"/x")),
    ],
)
def test_absolute_form(target: bytes, expected: tuple[bytes, bytes, bytes]) -> None:
    parts = parse_absolute(target)
    assert parts is not None
    assert (parts.scheme, parts.authority, parts.path) == expected


@pytest.mark.parametrize(
    "target",
    [b"*", b"foo", b"http:/a/", b"http:///x", b"http://a:x/", b"http://a:/", b"http://a:99999/", b"http://a:+80/",
     b"http://a@b@c/", b"http://a_b/", b"http://a%20b/", b"http://a;b/", b"http://[::1/", b"http://[]/",
     b"http://[::zz]/", b"http://[fe80::1%25eth0]/", b"http://:80/", b"http://u@/", b"1http://a/", b"://a/"],
)  # fmt: skip
def test_not_absolute_form(target: bytes) -> None:
    assert parse_absolute(target) is None


def test_authority_form() -> None:
    for target in (b"a.example:443", b"[::1]:443", b"b:0"):
        assert is_authority_form(target)
    for target in (b"a.example", b"a.example:", b"a:b", b":443", b"u@a:443", b"a:443/x", b"a:70000", b"/x", b"*", b""):
        assert not is_authority_form(target)


def test_host_field() -> None:
    for value in (b"", b"a.example:80", b"a_b", b"u@a", b"a!$&'()*+,;=:@[]%_~-.", b"a:b"):
        assert is_valid_host_field(value)
    for char in b'"#<>?\\^`{|}/ \t\x80\xe9':
        assert not is_valid_host_field(b"a%cb" % char)


@given(st.binary(max_size=30))
def test_any_bytes(data: bytes) -> None:
    parts = parse_absolute(b"http://" + data)
    if parts is not None:
        assert is_valid_host_field(parts.authority)
        assert b"@" not in parts.authority
