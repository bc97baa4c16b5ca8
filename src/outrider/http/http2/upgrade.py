"""Extended CONNECT (RFC 8441) is an HTTP/1 upgrade to everybody but the HTTP/2 codecs, as in Envoy."""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONNECTION, CONTENT_LENGTH, UPGRADE

_CONNECT: Final = b"CONNECT"
_SWITCHING_PROTOCOLS: Final = 101


def is_upgrade_request(headers: RequestHeaderMap) -> bool:
    """Whether a request asks for an HTTP/1 upgrade."""
    single = headers.single
    if UPGRADE not in single or CONNECTION not in single:
        return False
    wish = headers.get_joined(CONNECTION)
    return wish is not None and b"upgrade" in [part.strip() for part in wish.lower().split(b",")]


def request_to_http1(headers: RequestHeaderMap) -> None:
    """CONNECT with `:protocol` becomes GET with Upgrade."""
    headers.method = b"GET"
    headers.set(UPGRADE, headers.protocol)
    headers.set(CONNECTION, b"upgrade")
    headers.protocol = b""


def request_to_http2(headers: RequestHeaderMap) -> RequestHeaderMap:
    """GET with Upgrade becomes CONNECT with `:protocol`; the given map stays as it is, it may be sent again."""
    twin = headers.copy()
    twin.method = _CONNECT
    twin.protocol = headers.single[UPGRADE]
    twin.remove(UPGRADE)
    twin.remove(CONNECTION)
    if twin.single.get(CONTENT_LENGTH) == b"0":
        twin.remove(CONTENT_LENGTH)
    return twin


def response_to_http2(headers: ResponseHeaderMap) -> ResponseHeaderMap:
    """101 becomes 200; other answers pass."""
    if headers.status != _SWITCHING_PROTOCOLS:
        return headers
    twin = headers.copy()
    twin.status = 200
    twin.remove(UPGRADE)
    twin.remove(CONNECTION)
    if twin.single.get(CONTENT_LENGTH) == b"0":
        twin.remove(CONTENT_LENGTH)
    return twin


def response_to_http1(headers: ResponseHeaderMap, protocol: bytes) -> None:
    """200 to an extended CONNECT becomes 101 with Upgrade."""
    if headers.status == 200:
        headers.set(UPGRADE, protocol)
        headers.set(CONNECTION, b"upgrade")
        headers.status = _SWITCHING_PROTOCOLS
