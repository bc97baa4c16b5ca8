"""CONNECT-UDP requests (RFC 9298): the target is in the path, and becomes the authority that routes and filters see."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

CONNECT_UDP: Final = b"connect-udp"
PREFIX: Final = b"/.well-known/masque/udp/"


def target_authority(path: bytes) -> bytes:
    """`host:port` of a path by the default template (RFC 9298 section 2); empty when it is another."""
    if not path.startswith(PREFIX):
        return b""
    parts = path[len(PREFIX) :].split(b"/")
    if len(parts) != 3 or not parts[0] or not parts[1] or parts[2]:
        return b""
    host = unquote_to_bytes(parts[0])
    # Whatever stands there is looked up, or not found; it must not break the line.
    if any(byte <= 0x20 or byte == 0x7F for byte in host + parts[1]):
        return b""
    return host + b":" + parts[1]
