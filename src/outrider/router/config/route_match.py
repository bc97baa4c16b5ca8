"""The conditions under which a route takes a request, besides those the route table has already checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_names import CONTENT_TYPE

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.matching.header_matcher import HeaderMatcher
    from outrider.matching.query_matcher import CookieMatcher, QueryMatcher
    from outrider.matching.runtime_fraction import RuntimeFraction
    from outrider.matching.value_matcher import FilterStateMatcher, MetadataMatcher
    from outrider.router.config.path_match import PathMatch

# Shared by all routes that have none of these conditions; never changed.
_NO_HEADERS: Final[list[HeaderMatcher]] = []
_NO_QUERY: Final[list[QueryMatcher]] = []
_NO_COOKIES: Final[list[CookieMatcher]] = []
_NO_METADATA: Final[list[MetadataMatcher]] = []
_NO_STATE: Final[list[FilterStateMatcher]] = []


def is_grpc_content_type(value: bytes | None) -> bool:
    """application/grpc, alone or with a suffix such as "+proto"."""
    if value is None or not value.startswith(b"application/grpc"):
        return False
    return len(value) == 16 or value[16] == 43


class RouteMatch:
    """`config.route.v3.RouteMatch`; all conditions must hold."""

    __slots__ = (
        "path",
        "plain",
        "fraction",
        "grpc",
        "headers",
        "query",
        "cookies",
        "tls_presented",
        "tls_validated",
        "metadata",
        "filter_state",
    )

    def __init__(self, path: PathMatch) -> None:
        self.path: PathMatch = path
        # True when there is nothing to check but the path.
        self.plain: bool = True
        self.fraction: RuntimeFraction | None = None
        self.grpc: bool = False
        self.headers: list[HeaderMatcher] = _NO_HEADERS
        self.query: list[QueryMatcher] = _NO_QUERY
        self.cookies: list[CookieMatcher] = _NO_COOKIES
        # Client certificate: -1 not asked, else 0 or 1 as wanted.
        self.tls_presented: int = -1
        self.tls_validated: int = -1
        self.metadata: list[MetadataMatcher] = _NO_METADATA
        self.filter_state: list[FilterStateMatcher] = _NO_STATE

    def seal(self) -> None:
        """To be called when all conditions are set."""
        self.plain = not (
            self.fraction is not None
            or self.grpc
            or self.headers
            or self.query
            or self.cookies
            or self.tls_presented >= 0
            or self.tls_validated >= 0
            or self.metadata
            or self.filter_state
        )

    def conditions_hold(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> bool:
        """Everything but the path, in Envoy's order."""
        if self.fraction is not None and not self.fraction.enabled(random_value):
            return False
        if self.grpc and not (headers.path and is_grpc_content_type(headers.get(CONTENT_TYPE))):
            return False
        for header in self.headers:
            if not header.matches(headers):
                return False
        for parameter in self.query:
            if not parameter.matches(headers.path):
                return False
        for cookie in self.cookies:
            if not cookie.matches(headers):
                return False
        if self.tls_presented >= 0 or self.tls_validated >= 0:
            ssl = info.connection.ssl
            if self.tls_presented >= 0 and (ssl is not None and ssl.peer_presented()) != (self.tls_presented == 1):
                return False
            if self.tls_validated >= 0 and (ssl is not None and ssl.peer_validated()) != (self.tls_validated == 1):
                return False
        for value in self.metadata:
            if not value.matches(info.metadata):
                return False
        for state in self.filter_state:
            if not state.matches(info):
                return False
        return True

    def explain(self, path: bytes, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> str:
        """Why a request does not match: the first condition that fails, "" when it matches."""
        if not self.path.matches(path):
            return self.path.describe()
        if self.fraction is not None and not self.fraction.enabled(random_value):
            return self.fraction.describe()
        if self.grpc and not (headers.path and is_grpc_content_type(headers.get(CONTENT_TYPE))):
            return "gRPC request"
        for header in self.headers:
            if not header.matches(headers):
                return header.describe()
        for parameter in self.query:
            if not parameter.matches(headers.path):
                return parameter.describe()
        for cookie in self.cookies:
            if not cookie.matches(headers):
                return cookie.describe()
        for value in self.metadata:
            if not value.matches(info.metadata):
                return value.describe()
        for state in self.filter_state:
            if not state.matches(info):
                return state.describe()
        return "" if self.conditions_hold(headers, info, random_value) else "client certificate"

    def describe(self) -> str:
        parts = [self.path.describe()]
        if self.fraction is not None:
            parts.append(self.fraction.describe())
        if self.grpc:
            parts.append("gRPC request")
        parts.extend([matcher.describe() for matcher in self.headers])
        parts.extend([matcher.describe() for matcher in self.query])
        parts.extend([matcher.describe() for matcher in self.cookies])
        if self.tls_presented >= 0:
            parts.append(f"client certificate {'presented' if self.tls_presented else 'not presented'}")
        if self.tls_validated >= 0:
            parts.append(f"client certificate {'validated' if self.tls_validated else 'not validated'}")
        parts.extend([matcher.describe() for matcher in self.metadata])
        parts.extend([matcher.describe() for matcher in self.filter_state])
        return ", ".join(parts)
