"""Hash policies: the key by which ring hash and Maglev balancers, and weighted clusters, stick to a choice.

Source: `config.route.v3.RouteAction.HashPolicy`; hashes are xxHash64 as in Envoy, so keys fall alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import xxhash
from mypy_extensions import mypyc_attr

from outrider.data.address import KIND_IP
from outrider.matching.query_matcher import cookie_value, query_value
from outrider.matching.value_matcher import filter_state_object, filter_state_text

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.matching.regex import RegexRewrite

_MASK: Final = (1 << 64) - 1


def hash64(value: bytes, seed: int = 0) -> int:
    """xxHash64."""
    return int(xxhash.xxh64_intdigest(value, seed))


@mypyc_attr(allow_interpreted_subclasses=True)
class HashMethod:
    """Base of all parts of a hash policy."""

    def __init__(self, terminal: bool) -> None:
        # Ends the policy once there is a hash.
        self.terminal = terminal

    def compute(self, headers: RequestHeaderMap, info: StreamInfo, set_cookies: list[bytes] | None) -> int | None:
        return None


class HeaderHash(HashMethod):
    def __init__(self, terminal: bool, name: bytes, rewrite: RegexRewrite | None) -> None:
        super().__init__(terminal)
        self.name = name
        self.rewrite: RegexRewrite | None = rewrite

    def compute(self, headers: RequestHeaderMap, info: StreamInfo, set_cookies: list[bytes] | None) -> int | None:
        value = headers.get(self.name)
        if value is None:
            return None
        if headers.multi is None:
            return hash64(value if self.rewrite is None else self.rewrite.replace_all(value))
        # The order of repeated headers does not matter.
        values = headers.get_all(self.name)
        if len(values) > 1:
            values.sort()
        result = 0
        for each in values:
            result = hash64(each if self.rewrite is None else self.rewrite.replace_all(each), result)
        return result


class CookieHash(HashMethod):
    """A cookie; with a `ttl` one is made where there is none, from the connection's addresses."""

    def __init__(
        self, terminal: bool, name: bytes, ttl_s: int, path: bytes, attributes: list[tuple[bytes, bytes]]
    ) -> None:
        super().__init__(terminal)
        self.name = name
        # Whole seconds; -1 when not set.
        self.ttl_s = ttl_s
        tail = b""
        if ttl_s > 0:
            tail += b"; Max-Age=%d" % ttl_s
        if path:
            tail += b"; Path=" + path
        for key, value in attributes:
            tail += b"; " + key + (b"=" + value if value else b"")
        self.tail: bytes = tail + b"; HttpOnly"

    def compute(self, headers: RequestHeaderMap, info: StreamInfo, set_cookies: list[bytes] | None) -> int | None:
        value = cookie_value(headers, self.name)
        if not value:
            if self.ttl_s < 0 or set_cookies is None:
                return None
            connection = info.connection
            value = b"%016x" % hash64((connection.remote_address.text + connection.local_address.text).encode())
            set_cookies.append(self.name + b'="' + value + b'"' + self.tail)
        return hash64(value)


class SourceIpHash(HashMethod):
    def compute(self, headers: RequestHeaderMap, info: StreamInfo, set_cookies: list[bytes] | None) -> int | None:
        address = info.connection.remote_address
        return hash64(address.host_bytes) if address.kind == KIND_IP else None


class QueryHash(HashMethod):
    def __init__(self, terminal: bool, name: bytes) -> None:
        super().__init__(terminal)
        self.name = name

    def compute(self, headers: RequestHeaderMap, info: StreamInfo, set_cookies: list[bytes] | None) -> int | None:
        value = query_value(headers.path, self.name)
        return None if value is None else hash64(value)


class FilterStateHash(HashMethod):
    """The text of a filter state object."""

    def __init__(self, terminal: bool, key: str) -> None:
        super().__init__(terminal)
        self.key = key

    def compute(self, headers: RequestHeaderMap, info: StreamInfo, set_cookies: list[bytes] | None) -> int | None:
        value = filter_state_object(info, self.key)
        text = None if value is None else filter_state_text(value)
        return None if text is None else hash64(text)


class HashPolicy:
    """Parts that are combined into one hash."""

    __slots__ = ("methods",)

    def __init__(self, methods: list[HashMethod]) -> None:
        self.methods = methods

    def compute(
        self, headers: RequestHeaderMap, info: StreamInfo, set_cookies: list[bytes] | None = None
    ) -> int | None:
        """An unsigned 64-bit hash, or None. Values for `set-cookie` response headers are added to `set_cookies`."""
        result: int | None = None
        for method in self.methods:
            found = method.compute(headers, info, set_cookies)
            if found is not None:
                if result is not None:
                    # Rotated, so that two equal parts do not cancel each other.
                    found ^= ((result << 1) & _MASK) | (result >> 63)
                result = found
            if method.terminal and result is not None:
                break
        return result
