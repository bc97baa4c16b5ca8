"""envoy.http.stateful_session.cookie: the host's address in a cookie.

The cookie is the base64 form of a protobuf message with the address (field 1) and, with a `ttl`, the time at which it
expires in Unix seconds (field 2), as Envoy writes it.
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import SET_COOKIE
from outrider.extensions.http.stateful_session.session_state import SESSION_STATES, SessionState
from outrider.matching.query_matcher import cookie_value

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_ADDRESS_TAG: Final = 0x0A
_EXPIRES_TAG: Final = 0x10
_MAX_ADDRESS: Final = 127


def pack(address: str, expires: int) -> bytes:
    """The message; addresses are shorter than 128 bytes."""
    data = bytes((_ADDRESS_TAG, len(address))) + address.encode()
    if expires:
        data += bytes((_EXPIRES_TAG,))
        while expires > 127:
            data += bytes((expires & 127 | 128,))
            expires >>= 7
        data += bytes((expires,))
    return data


def unpack(data: bytes) -> tuple[str, int]:
    """Address and expiry, "" and 0 where they are absent. Raises ValueError."""
    if len(data) < 2 or data[0] != _ADDRESS_TAG or data[1] > _MAX_ADDRESS or len(data) < 2 + data[1]:
        raise ValueError("no session cookie")
    end = 2 + data[1]
    address = data[2:end].decode("ascii")
    expires = 0
    if end < len(data):
        if data[end] != _EXPIRES_TAG or len(data) - end > 11:
            raise ValueError("no session cookie")
        for position, byte in enumerate(data[end + 1 :]):
            expires |= (byte & 127) << 7 * position
    return address, expires


class CookieSession(SessionState):
    def __init__(self, name: bytes, path: bytes, ttl_s: int, attributes: bytes) -> None:
        self.name = name
        self.path = path
        self.ttl_s = ttl_s
        self.attributes = attributes

    def applies(self, headers: RequestHeaderMap) -> bool:
        """RFC 6265 section 5.1.4: the cookie's path is the request's, or a folder above it."""
        path = self.path
        if not path or path == b"/":
            return True
        asked = headers.path.partition(b"?")[0]
        return asked.startswith(path) and (path[-1:] == b"/" or len(asked) == len(path) or asked[len(path)] == 47)

    def address(self, headers: RequestHeaderMap) -> str:
        value = cookie_value(headers, self.name)
        if not value:
            return ""
        try:
            address, expires = unpack(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            return ""
        if self.ttl_s and expires and expires < time.time():
            return ""
        return address

    def update(self, address: str, headers: ResponseHeaderMap) -> None:
        if len(address) > _MAX_ADDRESS:
            return
        expires = int(time.time()) + self.ttl_s if self.ttl_s else 0
        value = self.name + b'="' + base64.b64encode(pack(address, expires)) + b'"'
        if self.ttl_s:
            value += b"; Max-Age=%d" % self.ttl_s
        if self.path:
            value += b"; Path=" + self.path
        headers.add(SET_COOKIE, value + self.attributes + b"; HttpOnly")


@SESSION_STATES.register(
    "envoy.http.stateful_session.cookie", "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState"
)
def create(config: View, context: FactoryContext) -> SessionState:
    cookie = config.message("cookie")
    if cookie is None:
        raise config.error("value is required", "cookie")
    attributes = b""
    for each in cookie.messages("attributes"):
        value = each.text("value")
        attributes += b"; " + each.text("name").encode() + (b"=" + value.encode() if value else b"")
    ttl = int(cookie.seconds("ttl") or 0)
    return CookieSession(cookie.text("name").encode(), cookie.text("path").encode(), ttl, attributes)
