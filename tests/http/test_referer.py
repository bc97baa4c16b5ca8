"""What the real Envoy 1.40 forwards of Referer, and what it drops."""

from __future__ import annotations

import pytest

from outrider.http.referer import is_valid_referer

FORWARDED = [
    "http://x/y", "https://x", "http://x?q", "/path", "x.com", "ftp://x/", "android-app://com.x/", "http://[::1]/",
    "http://[::1]:8/", "http://@x/", "http://x:0/", "HTTP://X/", "*", "a://b", "a+b://c", "a1://c", "http://x-y./",
    "http//x", "http://x/<>", "-", 'http://x/y?z?"', "x_y", "a/b:c", "?", "/a:b", "/a://b", "a,b",
    "www.x.com/http://y", "/a?http://b", "//x/y", "/", "a@b", "http://x./", "http://1.2.3.4/", "http://[1.2.3.4]/",
    "http://x:00080/", "http://x:80?q",
]  # fmt: skip
DROPPED = [
    "http://x#f", "about:blank", "http://", "http:/x", "http://x y", "http://x/y z", "http://user@x/",
    "http://user:pw@x/", "http://x:99999/", "http://x:/", "http://x:ab/", "http:///a", "1a://b", "http://x/\xe9",
    "http://\xe9/", "http://x_y/", "http://x%20/", "http://a,b/", "://x", "http://[::1", "http://x]/", "http://x\\y",
    "http://?a", "http://#a", "http://x@y@z/", "a b", "a:80", "a?b:c", "#", "a#b", "/\xe9", "[::1]", "?http://b",
    "<a>", "a\\b", "http:", "/a b", "/a#b", "mailto:a@b", "x/ y", "http://[a]/", "http://[::1]x/", "http://x~/",
]  # fmt: skip


@pytest.mark.parametrize("value", FORWARDED)
def test_forwarded(value: str) -> None:
    assert is_valid_referer(value.encode("latin-1"))


@pytest.mark.parametrize("value", DROPPED)
def test_dropped(value: str) -> None:
    assert not is_valid_referer(value.encode("latin-1"))
