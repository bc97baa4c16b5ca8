"""Targets in the paths of CONNECT-UDP requests."""

from __future__ import annotations

import pytest

from outrider.http.connect_udp import target_authority


@pytest.mark.parametrize(
    ("path", "authority"),
    [
        (b"/.well-known/masque/udp/192.0.2.6/443/", b"192.0.2.6:443"),
        (b"/.well-known/masque/udp/target.test/53/", b"target.test:53"),
        # RFC 9298 section 3: IPv6 addresses have their colons encoded.
        (b"/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/", b"2001:db8::42:443"),
        (b"/.well-known/masque/udp/a.test/443", b""),
        (b"/.well-known/masque/udp//443/", b""),
        (b"/.well-known/masque/udp/a.test//", b""),
        (b"/.well-known/masque/udp/a.test/443/more", b""),
        (b"/.well-known/masque/udp/a%0d%0ab/443/", b""),
        (b"/other/a.test/443/", b""),
        (b"", b""),
    ],
)
def test_targets(path: bytes, authority: bytes) -> None:
    assert target_authority(path) == authority
