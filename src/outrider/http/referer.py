"""Which values of the Referer field are forwarded: Envoy drops what is not a URI reference (as observed with 1.40).

RFC 9110 section 10.1.3: an absolute or partial URI, without fragment and userinfo.
"""

from __future__ import annotations

import re
from typing import Final

_PATH: Final = rb"""[!"$-~]*"""
_ABSOLUTE: Final = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.\-]*://@?(?:[A-Za-z0-9.\-]+|\[[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]*\])(?::([0-9]+))?(?:[/?]"
    + _PATH
    + rb")?"
)
# A first segment with a colon would be a scheme (RFC 3986 section 4.2).
_RELATIVE: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=@%?]*)(?:/" + _PATH + rb")?")
_HIGHEST_PORT: Final = 65535


def is_valid_referer(value: bytes) -> bool:
    """Whether the field may go upstream."""
    match = _ABSOLUTE.fullmatch(value)
    if match is None:
        return value != b"" and _RELATIVE.fullmatch(value) is not None
    port = match[1]
    return port is None or int(port) <= _HIGHEST_PORT
