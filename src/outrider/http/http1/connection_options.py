"""The Connection field of requests: nominated fields, and upgrades that are not taken.

Source: RFC 9110 section 7.6.1; Envoy's `Utility::sanitizeConnectionHeader`, observed with 1.40.
"""

from __future__ import annotations

from typing import Final

from outrider.data.field_values import has_token
from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import CONNECTION, TE, UPGRADE
from outrider.matching.string_matcher import StringMatcher

_MAX_NOMINATED: Final = 10
_MAX_TE_SIZE: Final = 256
# Tokens that are not names of fields, or whose field is handled elsewhere.
_OPTIONS: Final = frozenset([b"close", b"http2-settings", b"keep-alive", b"upgrade"])
# To take these away would hide where a request comes from.
_REFUSED: Final = frozenset([b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"])
_HTTP2_SETTINGS: Final = b"http2-settings"
_PLAIN: Final = frozenset([b"keep-alive", b"close", b"Keep-Alive", b"Close"])


def remove_nominated(headers: RequestHeaderMap, value: bytes) -> bool:
    """Take away the fields that Connection (`value`) nominates, and their names from it. False: refuse the request."""
    if value in _PLAIN:
        return True
    tokens = [token for token in value.split(b",") if token]
    if len(tokens) >= _MAX_NOMINATED:
        return False
    removed = False
    kept: list[bytes] = []
    for token in tokens:
        name = token.strip(b" \t").lower()
        if name in _OPTIONS:
            kept.append(token.strip(b" \t"))
            continue
        if name in _REFUSED or name.startswith(b":"):
            return False
        if name == TE:
            te = headers.get(TE)
            if te is not None:
                if len(te) >= _MAX_TE_SIZE:
                    return False
                if _has_trailers(te):
                    # RFC 9110 section 10.1.4: the one value that concerns more than this hop.
                    headers.set(TE, b"trailers")
                    kept.append(token.strip(b" \t"))
                    continue
        if name != CONNECTION and name:
            headers.remove(name)
        removed = True
    if removed:
        if kept:
            headers.set(CONNECTION, b",".join(kept))
        else:
            headers.remove(CONNECTION)
    return True


def _has_trailers(value: bytes) -> bool:
    for token in value.split(b","):
        if token.strip(b" \t").lower() == b"trailers":
            return True
    return False


def drop_unwanted_upgrade(headers: HeaderMap, ignored: list[StringMatcher]) -> bool:
    """Take away an upgrade to h2c, and tokens that `ignored` matches. True when an upgrade is left."""
    value = headers.get_joined(UPGRADE)
    if value is None:
        return False
    if ignored:
        left = [token for token in value.split(b",") if not _matches(ignored, token.strip(b" \t"))]
        joined = b",".join(left).strip(b" \t")
        if not joined:
            headers.remove(UPGRADE)
            remove_tokens(headers, [b"upgrade"])
            return False
        if joined != value:
            headers.set(UPGRADE, joined)
            value = joined
    if value.lower() == b"h2c":
        headers.remove(UPGRADE)
        remove_tokens(headers, [b"upgrade", _HTTP2_SETTINGS])
        headers.remove(_HTTP2_SETTINGS)
        return False
    return True


def _matches(matchers: list[StringMatcher], token: bytes) -> bool:
    for matcher in matchers:
        if matcher.matches(token):
            return True
    return False


def remove_tokens(headers: HeaderMap, tokens: list[bytes]) -> None:
    """Take `tokens` (lower-case) out of the Connection field."""
    value = headers.get_joined(CONNECTION)
    if value is None:
        return
    left = [part.strip(b" \t") for part in value.split(b",") if part.strip(b" \t").lower() not in tokens]
    if left:
        headers.set(CONNECTION, b",".join(left))
    else:
        headers.remove(CONNECTION)


def is_upgrade(headers: HeaderMap) -> bool:
    """Whether the message asks for, or agrees to, another protocol (RFC 9110 section 7.8)."""
    return UPGRADE in headers.single and has_token(headers.get_joined(CONNECTION), b"upgrade")
