"""envoy.filters.http.api_key_auth: clients told apart by a key in a header, query parameter or cookie.

Source: Envoy documentation, "API key auth".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import COOKIE
from outrider.http.filter import HEADERS_CONTINUE, HEADERS_STOP_ITERATION, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.matching.query_matcher import cookie_value, query_value

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute"
_BEARER: Final = b"bearer "
_FAILED: Final = "Client authentication failed."


class KeySource:
    """One place: exactly one of the names is set."""

    __slots__ = ("header", "query", "cookie")

    def __init__(self, header: bytes, query: bytes, cookie: bytes) -> None:
        self.header = header
        self.query = query
        self.cookie = cookie

    def key(self, headers: RequestHeaderMap) -> bytes:
        """b"" when it is not there."""
        if self.header:
            value = headers.get(self.header) or b""
            return value[len(_BEARER) :] if value[: len(_BEARER)].lower() == _BEARER else value
        if self.query:
            return unquote_to_bytes(query_value(headers.path, self.query) or b"")
        return cookie_value(headers, self.cookie) or b""

    def hide(self, headers: RequestHeaderMap) -> None:
        """Take the key out of the request."""
        if self.header:
            headers.remove(self.header)
        elif self.query:
            headers.path = without_parameter(headers.path, self.query)
        else:
            remove_cookie(headers, self.cookie)


class Forwarding:
    __slots__ = ("header", "hide")

    def __init__(self, header: bytes, hide: bool) -> None:
        self.header = header
        self.hide = hide


class ApiKeyConfig:
    """Of the filter, or of a route, whose credentials and sources go before the filter's where they are set."""

    __slots__ = ("credentials", "sources", "forwarding", "allowed_clients")

    def __init__(
        self,
        credentials: dict[bytes, str],
        sources: list[KeySource],
        forwarding: Forwarding | None,
        allowed_clients: frozenset[str],
    ) -> None:
        self.credentials = credentials
        self.sources = sources
        self.forwarding: Forwarding | None = forwarding
        # Empty: all of them.
        self.allowed_clients = allowed_clients


class ApiKeyStats:
    __slots__ = ("allowed", "unauthorized", "forbidden")

    def __init__(self, scope: Scope) -> None:
        self.allowed = scope.counter("api_key_auth.allowed")
        self.unauthorized = scope.counter("api_key_auth.unauthorized")
        self.forbidden = scope.counter("api_key_auth.forbidden")


class ApiKeyAuthFilter(HttpFilter):
    __slots__ = ("config", "stats")

    def __init__(self, config: ApiKeyConfig, stats: ApiKeyStats) -> None:
        self.config = config
        self.stats = stats

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        config = self.config
        credentials = config.credentials
        sources = config.sources
        forwarding = config.forwarding
        special: object | None = None
        route = self.manager.route()
        if route is not None:
            special = route.per_filter_config(self.config_name)
            if isinstance(special, ApiKeyConfig):
                credentials = special.credentials or credentials
                sources = special.sources or sources
                forwarding = special.forwarding
        if not sources:
            return self._unauthorized("missing_key_sources")
        if not credentials:
            return self._unauthorized("missing_credentials")
        for source in sources:
            key = source.key(headers)
            if key:
                break
        else:
            return self._unauthorized("missing_api_key")
        client = credentials.get(key)
        if client is None:
            return self._unauthorized("unknown_api_key")
        if isinstance(special, ApiKeyConfig) and special.allowed_clients and client not in special.allowed_clients:
            self.stats.forbidden.inc()
            self.manager.send_local_reply(403, "Client is forbidden.", "client_not_allowed")
            return HEADERS_STOP_ITERATION
        if forwarding is not None:
            if forwarding.header:
                headers.set(forwarding.header, client.encode())
            if forwarding.hide:
                for source in sources:
                    source.hide(headers)
        self.stats.allowed.inc()
        return HEADERS_CONTINUE

    def _unauthorized(self, details: str) -> int:
        self.stats.unauthorized.inc()
        self.manager.send_local_reply(401, _FAILED, details)
        return HEADERS_STOP_ITERATION


class ApiKeyAuthFilterFactory(HttpFilterFactory):
    def __init__(self, config: ApiKeyConfig, stats: ApiKeyStats) -> None:
        self.config = config
        self.stats = stats

    def create(self) -> HttpFilter:
        return ApiKeyAuthFilter(self.config, self.stats)


def without_parameter(path: bytes, name: bytes) -> bytes:
    """A path without all parameters of that name."""
    before, question, query = path.partition(b"?")
    if not question:
        return path
    kept = [part for part in query.split(b"&") if part.partition(b"=")[0] != name]
    return before + b"?" + b"&".join(kept) if kept else before


def remove_cookie(headers: RequestHeaderMap, name: bytes) -> None:
    """Take all cookies of that name out of the request's cookie headers."""
    fields = headers.get_all(COOKIE)
    if not fields:
        return
    headers.remove(COOKIE)
    for field in fields:
        pairs = [pair.strip(b" ") for pair in field.split(b";")]
        kept = [pair for pair in pairs if pair.partition(b"=")[0] != name]
        if kept:
            headers.add(COOKIE, b"; ".join(kept))


def _load(config: View, allowed_clients: frozenset[str]) -> ApiKeyConfig:
    credentials: dict[bytes, str] = {}
    for each in config.messages("credentials"):
        key = each.text("key").encode()
        if key in credentials:
            raise each.error("Duplicate API key.", "key")
        credentials[key] = each.text("client")
    sources: list[KeySource] = []
    for each in config.messages("key_sources"):
        source = KeySource(
            each.text("header").lower().encode(), each.text("query").encode(), each.text("cookie").encode()
        )
        if not source.header and not source.query and not source.cookie:
            raise each.error("One of 'header'/'query'/'cookie' must be set.")
        sources.append(source)
    forwarding = config.message("forwarding")
    return ApiKeyConfig(
        credentials,
        sources,
        None
        if forwarding is None
        else Forwarding(forwarding.text("header").lower().encode(), forwarding.flag("hide_credentials")),
        allowed_clients,
    )


@HTTP_FILTERS.register("envoy.filters.http.api_key_auth", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return ApiKeyAuthFilterFactory(_load(config, frozenset()), ApiKeyStats(context.scope))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> ApiKeyConfig:
    """Raises ConfigError."""
    return _load(config, frozenset(config.texts("allowed_clients")))
