"""envoy.filters.http.basic_auth: user names and passwords (RFC 7617), checked against an htpasswd list of SHA1 hashes.

Source: Envoy documentation, "Basic Auth".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from outrider.config.data_source import read_data_source
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import AUTHORIZATION
from outrider.http.filter import (
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.http.basic_auth.v3.BasicAuth"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute"
NAMESPACE: Final = "envoy.filters.http.basic_auth"
_MAX_URI: Final = 256
_SHA: Final = "{SHA}"
_SHA_TEXT_LENGTH: Final = 28


def original_uri(headers: RequestHeaderMap, limit: int) -> bytes:
    """The URI as the client asked for it, its path cut to `limit` bytes."""
    path = headers.single.get(b"x-envoy-original-path") or headers.path
    return (headers.scheme or b"http") + b"://" + headers.authority + path[:limit]


class BasicAuthRoute:
    """Users of a route in place of the filter's; an empty realm leaves the filter's."""

    __slots__ = ("users", "realm")

    def __init__(self, users: dict[bytes, str], realm: str) -> None:
        self.users = users
        self.realm = realm


class BasicAuthConfig:
    __slots__ = ("users", "forward_header", "header", "allow_missing", "emit_metadata", "realm", "allowed", "denied")

    def __init__(self, config: View, scope: Scope) -> None:
        self.users = load_users(config)
        self.forward_header: bytes = config.text("forward_username_header").lower().encode()
        self.header: bytes = config.text("authentication_header").lower().encode() or AUTHORIZATION
        self.allow_missing = config.flag("allow_missing")
        self.emit_metadata = config.flag("emit_dynamic_metadata")
        self.realm = config.text("realm")
        self.allowed = scope.counter("basic_auth.allowed")
        self.denied = scope.counter("basic_auth.denied")


class _Challenge(LocalReplyModifier):
    def __init__(self, realm: bytes) -> None:
        self.realm = realm

    def modify(self, headers: ResponseHeaderMap) -> None:
        headers.set(b"www-authenticate", b'Basic realm="' + self.realm + b'"')


class BasicAuthFilter(HttpFilter):
    __slots__ = ("config",)

    def __init__(self, config: BasicAuthConfig) -> None:
        self.config = config

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        config = self.config
        users = config.users
        realm = config.realm
        route = self.manager.route()
        if route is not None:
            special = route.per_filter_config(self.config_name)
            if isinstance(special, BasicAuthRoute):
                users = special.users
                realm = special.realm or realm
        given = headers.single.get(config.header)
        if given is None:
            if config.allow_missing:
                return HEADERS_CONTINUE
            return self._deny(headers, realm, "Missing username and password.", "no_credential_for_basic_auth")
        if given[:6] != b"Basic ":
            return self._deny(
                headers, realm, "Expected 'Basic' authentication scheme.", "invalid_scheme_for_basic_auth"
            )
        name, colon, password = _decoded(given[6:]).partition(b":")
        if not colon:
            return self._deny(headers, realm, "Invalid basic credential format.", "invalid_format_for_basic_auth")
        known = users.get(name)
        given_hash = base64.b64encode(hashlib.sha1(password, usedforsecurity=False).digest()).decode()
        if known is None or not hmac.compare_digest(known, given_hash):
            return self._deny(
                headers, realm, "Invalid username/password combination.", "invalid_credential_for_basic_auth"
            )
        if config.forward_header:
            headers.set(config.forward_header, name)
        if config.emit_metadata:
            self.manager.stream_info.set_metadata(NAMESPACE, {"username": name.decode("utf-8", "replace")})
        config.allowed.inc()
        return HEADERS_CONTINUE

    def _deny(self, headers: RequestHeaderMap, realm: str, why: str, details: str) -> int:
        self.config.denied.inc()
        challenge = _Challenge(realm.encode() or original_uri(headers, _MAX_URI))
        self.manager.send_local_reply_full(401, f"User authentication failed. {why}", challenge, -1, details)
        return HEADERS_STOP_ITERATION


class BasicAuthFilterFactory(HttpFilterFactory):
    def __init__(self, config: BasicAuthConfig) -> None:
        self.config = config

    def create(self) -> HttpFilter:
        return BasicAuthFilter(self.config)


def _decoded(token: bytes) -> bytes:
    """Base64 with or without padding; b"" for anything else."""
    token = token.removesuffix(b"=").removesuffix(b"=")
    if token.endswith(b"="):
        return b""
    try:
        return base64.b64decode(token + b"=" * (-len(token) % 4), validate=True)
    except binascii.Error:
        return b""


def load_users(view: View) -> dict[bytes, str]:
    """User name -> SHA1 hash in base64, from the `users` of a configuration. Raises ConfigError."""
    source = view.message("users")
    if source is None:
        raise view.error("value is required", "users")
    users: dict[bytes, str] = {}
    for each in read_data_source(source).decode("utf-8", "surrogateescape").split("\n"):
        line = each.removesuffix("\r")
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        if not colon:
            raise view.error("basic auth: invalid htpasswd format, username:password is expected", "users")
        if not name or not hashed:
            raise view.error("basic auth: empty user name or password is not allowed", "users")
        key = name.encode("utf-8", "surrogateescape")
        if key in users:
            raise view.error("basic auth: duplicate users", "users")
        if not hashed.startswith(_SHA):
            raise view.error("basic auth: unsupported htpasswd format: please use {SHA}", "users")
        if len(hashed) != len(_SHA) + _SHA_TEXT_LENGTH:
            raise view.error("basic auth: invalid htpasswd format, invalid SHA hash length", "users")
        users[key] = hashed.removeprefix(_SHA)
    return users


@HTTP_FILTERS.register("envoy.filters.http.basic_auth", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return BasicAuthFilterFactory(BasicAuthConfig(config, context.scope))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> BasicAuthRoute:
    """Raises ConfigError."""
    return BasicAuthRoute(load_users(config), config.text("realm"))
