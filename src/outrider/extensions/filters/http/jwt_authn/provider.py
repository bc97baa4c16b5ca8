"""Providers: who issues tokens, where they are in a request, which keys sign them, what becomes of their claims."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from outrider.config.data_source import read_data_source
from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import AUTHORIZATION
from outrider.extensions.filters.http.api_key_auth import without_parameter
from outrider.extensions.filters.http.jwt_authn.remote_keys import RemoteKeys
from outrider.extensions.filters.http.jwt_authn.token import Key, Token, TokenError, parse_keys
from outrider.matching.query_matcher import cookie_value, query_value
from outrider.matching.string_matcher import StringMatcher, parse_string_matcher

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.extensions.filters.http.jwt_authn.stats import JwtStats
    from outrider.factory_context import FactoryContext

_TOKEN_CHARS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_DEFAULT_SKEW: Final = 60
_DEFAULT_CACHE_SIZE: Final = 100
_DEFAULT_MAX_TOKEN: Final = 4096


class Place:
    """Where a token may be: one of the three names is set."""

    __slots__ = ("header", "prefix", "parameter", "cookie")

    def __init__(self, header: bytes, prefix: bytes, parameter: bytes, cookie: bytes) -> None:
        self.header = header
        self.prefix = prefix
        self.parameter = parameter
        self.cookie = cookie

    def token(self, headers: RequestHeaderMap) -> str | None:
        if self.header:
            value = headers.get_joined(self.header)
            if value is None:
                return None
            if self.prefix:
                at = value.find(self.prefix)
                if at < 0:
                    return None
                rest = value[at + len(self.prefix) :]
                value = rest if at == 0 else _first_run(value, at + len(self.prefix))
            return value.decode("latin-1")
        if self.parameter:
            found = query_value(headers.path, self.parameter)
            return None if found is None else unquote(found.decode("latin-1"))
        found = cookie_value(headers, self.cookie)
        return None if found is None else found.decode("latin-1")

    def remove(self, headers: RequestHeaderMap) -> None:
        if self.header:
            headers.remove(self.header)
        elif self.parameter:
            headers.path = without_parameter(headers.path, self.parameter)


def _first_run(value: bytes, start: int) -> bytes:
    """The first stretch of characters of a token from `start`; everything when there is none."""
    size = len(value)
    begin = start
    while begin < size and value[begin] not in _TOKEN_CHARS:
        begin += 1
    if begin == size:
        return value
    end = begin
    while end < size and value[end] in _TOKEN_CHARS:
        end += 1
    return value[begin:end]


class Provider:
    """A JwtProvider. Immutable but for its keys and its cache of verified tokens."""

    __slots__ = (
        "name", "issuer", "audiences", "subjects", "require_expiration", "max_lifetime", "skew", "places", "forward",
        "payload_header", "pad_payload", "payload_key", "header_key", "space_delimited", "claims", "clear_route_cache",
        "local_keys", "remote", "cache", "cache_size", "max_token",
    )  # fmt: skip

    def __init__(self, name: str, view: View, context: FactoryContext, stats: JwtStats) -> None:
        """Raises ConfigError."""
        self.name = name
        self.issuer = view.text("issuer")
        self.audiences: frozenset[str] = frozenset(audience_name(each) for each in view.texts("audiences"))
        subjects = view.message("subjects")
        self.subjects: StringMatcher | None = None if subjects is None else parse_string_matcher(subjects, context)
        self.require_expiration = view.flag("require_expiration")
        self.max_lifetime: float | None = view.seconds("max_lifetime")
        self.skew = view.integer("clock_skew_seconds") or _DEFAULT_SKEW
        self.forward = view.flag("forward")
        self.payload_header: bytes = view.text("forward_payload_header").lower().encode()
        self.pad_payload = view.flag("pad_forward_payload_header")
        self.payload_key = view.text("payload_in_metadata")
        self.header_key = view.text("header_in_metadata")
        normalize = view.message("normalize_payload_in_metadata")
        self.space_delimited: list[str] = [] if normalize is None else normalize.texts("space_delimited_claims")
        self.claims: list[tuple[bytes, list[str]]] = []
        for each in view.messages("claim_to_headers"):
            self.claims.append((each.text("header_name").lower().encode(), each.text("claim_name").split(".")))
        self.clear_route_cache = view.flag("clear_route_cache")
        self.places = _places(view)
        self.local_keys: list[Key] | None = None
        self.remote: RemoteKeys | None = None
        local = view.message("local_jwks")
        remote = view.message("remote_jwks")
        if local is not None:
            try:
                self.local_keys = parse_keys(read_data_source(local))
            except TokenError as error:
                raise view.error(f"Provider '{name}' in jwt_authn config has invalid local jwks: {error}") from None
        elif remote is not None:
            self.remote = RemoteKeys(remote, context, stats)
        else:
            raise view.error("value is required", "jwks_source_specifier")
        cache = view.message("jwt_cache_config")
        # Verified tokens by their text, oldest first; None without jwt_cache_config.
        self.cache: dict[str, Token] | None = None
        self.cache_size = _DEFAULT_CACHE_SIZE
        self.max_token = _DEFAULT_MAX_TOKEN
        if cache is not None:
            self.cache = {}
            self.cache_size = cache.integer("jwt_cache_size") or _DEFAULT_CACHE_SIZE
            self.max_token = cache.integer("jwt_max_token_size") or _DEFAULT_MAX_TOKEN

    def keep(self, text: str, token: Token) -> None:
        """Remember a token that was verified."""
        cache = self.cache
        if cache is not None and len(text) <= self.max_token:
            while len(cache) >= self.cache_size:
                del cache[next(iter(cache))]
            cache[text] = token

    def keys(self) -> list[Key] | None:
        """None: they have to be fetched (again)."""
        if self.local_keys is not None:
            return self.local_keys
        return None if self.remote is None else self.remote.current()

    def sanitize(self, headers: RequestHeaderMap) -> None:
        """Take away what only a verified token may put there."""
        if self.payload_header:
            headers.remove(self.payload_header)
        for name, _ in self.claims:
            headers.remove(name)

    def accept(self, token: Token, place: Place, headers: RequestHeaderMap) -> None:
        """Use a verified token: change the request."""
        if self.payload_header:
            section = token.payload_section
            if self.pad_payload:
                section += "=" * (-len(section) % 4)
            headers.add(self.payload_header, section.encode())
        for name, path in self.claims:
            value: Any = token.payload
            for part in path:
                value = value.get(part) if isinstance(value, dict) else None
            text = _claim_text(value)
            if text is not None:
                headers.add(name, text)
        if not self.forward:
            place.remove(headers)

    def metadata(self, token: Token) -> dict[str, object]:
        """What a verified token leaves in the dynamic metadata."""
        metadata: dict[str, object] = {}
        if self.payload_key:
            metadata[self.payload_key] = _struct(self._normalized(token.payload))
        if self.header_key:
            metadata[self.header_key] = _struct(token.header)
        return metadata

    def _normalized(self, payload: dict[str, Any]) -> dict[str, Any]:
        if not self.space_delimited:
            return payload
        made = dict(payload)
        for name in self.space_delimited:
            value = made.get(name)
            if isinstance(value, str):
                made[name] = value.split()
        return made


def audience_name(text: str) -> str:
    """Without scheme and trailing slash, which Envoy ignores."""
    for scheme in ("https://", "http://"):
        text = text.removeprefix(scheme)
    return text.removesuffix("/")


def audience_allowed(allowed: frozenset[str], audiences: list[str]) -> bool:
    return not allowed or any(audience_name(each) in allowed for each in audiences)


def _struct(value: Any) -> Any:
    """As a `Struct` holds it: all numbers are doubles."""
    if isinstance(value, dict):
        return {key: _struct(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_struct(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _claim_text(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int | float):
        return str(value).encode()
    if isinstance(value, dict | list):
        return base64.b64encode(json.dumps(value, separators=(",", ":"), sort_keys=True).encode())
    return None


def _places(view: View) -> list[Place]:
    headers = view.messages("from_headers")
    parameters = view.texts("from_params")
    cookies = view.texts("from_cookies")
    if not headers and not parameters and not cookies:
        return [Place(AUTHORIZATION, b"Bearer ", b"", b""), Place(b"", b"", b"access_token", b"")]
    places = [
        Place(each.text("name").lower().encode(), each.text("value_prefix").encode(), b"", b"") for each in headers
    ]
    places.extend(Place(b"", b"", name.encode(), b"") for name in parameters)
    places.extend(Place(b"", b"", b"", name.encode()) for name in cookies)
    return places
