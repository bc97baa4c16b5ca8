"""Request targets that are not a path, and which authorities are valid. Source: RFC 9112 section 3.2; Envoy 1.40.

Hosts of a request target are held to letters, digits, `.` and `-` (or an IPv6 literal), as Envoy's URL parser does; the
Host field to the characters of RFC 3986's authority.
"""

from __future__ import annotations

from typing import Final

_ALPHA: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS: Final = b"0123456789"
_HOST_FIELD: Final = _ALPHA + _DIGITS + b"!$%&'()*+,-.:;=@[]_~"
_REG_NAME: Final = _ALPHA + _DIGITS + b".-"
_IPV6: Final = b"0123456789abcdefABCDEF:."
_MAX_PORT: Final = 65535


class AbsoluteTarget:
    """The parts of an absolute-form target. `authority` is without user information."""

    __slots__ = ("scheme", "authority", "path")

    def __init__(self, scheme: bytes, authority: bytes, path: bytes) -> None:
        self.scheme = scheme
        self.authority = authority
        self.path = path


def is_valid_host_field(value: bytes) -> bool:
    """Whether a Host field has only characters of an authority."""
    return not value.translate(None, _HOST_FIELD)


def parse_absolute(target: bytes) -> AbsoluteTarget | None:
    """Split an absolute-form target; None when it is none. The scheme is lower-case, an absent path is `/`."""
    colon = target.find(b"://")
    if colon <= 0:
        return None
    scheme = target[:colon]
    if scheme.translate(None, _ALPHA):
        return None
    start = colon + 3
    end = len(target)
    for mark in (b"/", b"?", b"#"):
        found = target.find(mark, start)
        if 0 <= found < end:
            end = found
    authority = target[start:end]
    at = authority.find(b"@")
    if at >= 0:
        authority = authority[at + 1 :]
        if b"@" in authority:
            return None
    if not _is_host_and_port(authority, False):
        return None
    path = target[end:]
    return AbsoluteTarget(scheme.lower(), authority, path if path else b"/")


def is_authority_form(target: bytes) -> bool:
    """Whether a CONNECT target is `host:port` (RFC 9112 section 3.2.3)."""
    return _is_host_and_port(target, True)


def _is_host_and_port(text: bytes, port_needed: bool) -> bool:
    if text.startswith(b"["):
        end = text.find(b"]")
        if end < 2 or text[1:end].translate(None, _IPV6):
            return False
        rest = text[end + 1 :]
    else:
        colon = text.find(b":")
        end = len(text) if colon < 0 else colon
        if end == 0 or text[:end].translate(None, _REG_NAME):
            return False
        rest = text[end:]
    if not rest:
        return not port_needed
    port = rest[1:]
    if rest[0] != 58 or not port or port.translate(None, _DIGITS):
        return False
    # Leading zeros do not make a port larger, however many there are.
    digits = port.lstrip(b"0")
    return len(digits) <= 5 and int(digits or b"0") <= _MAX_PORT
