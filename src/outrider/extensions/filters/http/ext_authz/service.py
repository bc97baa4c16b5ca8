"""An authorization service that speaks plain HTTP: building its requests and reading its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import AUTHORIZATION, CONTENT_LENGTH
from outrider.extensions.filters.http.ext_authz.answer import DENIED, ERROR, OK, AuthzAnswer
from outrider.matching.string_matcher import AnyOfStrings, StringMatcher, parse_string_matcher
from outrider.router.async_client import AsyncRetry, load_retry

if TYPE_CHECKING:
    from outrider.config.view import View

_PARTIAL_BODY: Final = b"x-envoy-auth-partial-body"
_TO_REMOVE: Final = b"x-envoy-auth-headers-to-remove"
# Always told, and always passed on to a client that is denied.
_ALWAYS_ASKED: Final = frozenset((AUTHORIZATION,))
_ALWAYS_ANSWERED: Final = frozenset((b"www-authenticate", b"location"))
# Framing of the service's own answer.
_FRAMING: Final = frozenset((CONTENT_LENGTH, b"transfer-encoding", b"connection", b"host"))
_RETRY_ON: Final = "5xx,gateway-error,connect-failure,reset"
_NO_MATCHER: Final = AnyOfStrings([])


class AuthzService:
    """`HttpService`."""

    def __init__(self, view: View, allowed: View | None, disallowed: View | None, context: Any) -> None:
        """`allowed`, `disallowed`: the filter's own lists of request headers. Raises ConfigError."""
        uri = view.message("server_uri")
        if uri is None:
            raise view.error("value is required", "server_uri")
        # Only the cluster counts: path and host are those of the request.
        uri.text("uri")
        self.cluster = uri.text("cluster")
        self.timeout_ms = uri.millis("timeout") or 0
        self.path_prefix: bytes = view.text("path_prefix").encode()
        self.path_override: bytes = view.text("path_override").encode()
        if self.path_prefix and not self.path_prefix.startswith(b"/"):
            raise view.error('path_prefix should start with "/".', "path_prefix")
        if self.path_override and not self.path_override.startswith(b"/"):
            raise view.error('path_override should start with "/".', "path_override")
        if self.path_prefix and self.path_override:
            raise view.error("Only one of path_prefix or path_override may be set.", "path_override")
        self.to_add: list[tuple[bytes, bytes]] = []
        asked = view.message("authorization_request")
        own = None
        if asked is not None:
            own = asked.message("allowed_headers")
            for each in asked.messages("headers_to_add"):
                self.to_add.append((each.text("key").lower().encode(), each.text("value").encode()))
        if own is not None and allowed is not None:
            raise view.error("Invalid duplicate configuration for allowed_headers.")
        self.asked = _matcher(own or allowed, context)
        self.not_asked = _matcher(disallowed, context)
        answer = view.message("authorization_response")
        self.upstream = _matcher(None if answer is None else answer.message("allowed_upstream_headers"), context)
        self.append = _matcher(
            None if answer is None else answer.message("allowed_upstream_headers_to_append"), context
        )
        client = None if answer is None else answer.message("allowed_client_headers")
        # None: all of them.
        self.client: StringMatcher | None = None
        if client is not None and client.has("patterns"):
            self.client = _matcher(client, context)
        self.client_on_success = _matcher(
            None if answer is None else answer.message("allowed_client_headers_on_success"), context
        )
        self.metadata = _matcher(None if answer is None else answer.message("dynamic_metadata_from_headers"), context)
        retry = view.message("retry_policy")
        self.retry: AsyncRetry | None = None if retry is None else load_retry(retry, _RETRY_ON)

    def request(self, headers: RequestHeaderMap, body: bytes, with_body: bool, partial: bool) -> RequestHeaderMap:
        """What the service is asked."""
        path = self.path_override or self.path_prefix + headers.path
        made = RequestHeaderMap(
            {CONTENT_LENGTH: b"%d" % len(body)},
            method=headers.method, path=path, authority=headers.authority, scheme=headers.scheme or b"http",
        )  # fmt: skip
        for name in headers.names():
            if name == CONTENT_LENGTH or name in _FRAMING:
                continue
            if (name in _ALWAYS_ASKED or self.asked.matches(name)) and not self.not_asked.matches(name):
                value = headers.get_joined(name)
                if value is not None:
                    made.set(name, value)
        if with_body:
            made.set(_PARTIAL_BODY, b"true" if partial else b"false")
        for name, value in self.to_add:
            made.set(name, value)
        return made

    def read(self, headers: ResponseHeaderMap, body: bytes) -> AuthzAnswer:
        """What an answer comes to."""
        if headers.status >= 500:
            return AuthzAnswer(ERROR)
        if headers.status != 200:
            answer = AuthzAnswer(DENIED, headers.status, body.decode("utf-8", "surrogateescape"))
            for name, value in headers.items():
                if name in _FRAMING and not (name == CONTENT_LENGTH and body):
                    continue
                if (
                    self.client is None
                    or name in _ALWAYS_ANSWERED
                    or name == CONTENT_LENGTH
                    or self.client.matches(name)
                ):
                    answer.client_set.append((name, value))
        else:
            answer = AuthzAnswer(OK)
            for name, value in headers.items():
                if self.upstream.matches(name):
                    answer.to_set.append((name, value))
                if self.append.matches(name):
                    answer.to_append.append((name, value))
                if self.client_on_success.matches(name):
                    answer.client_add.append((name, value))
            for field in headers.get_all(_TO_REMOVE):
                for part in field.split(b","):
                    name = part.strip().lower()
                    if name:
                        answer.to_remove.append(name)
        for name, value in headers.items():
            if self.metadata.matches(name):
                answer.metadata[name.decode("latin-1")] = value.decode("utf-8", "replace")
        return answer


def _matcher(view: View | None, context: Any) -> StringMatcher:
    if view is None:
        return _NO_MATCHER
    return AnyOfStrings([parse_string_matcher(each, context) for each in view.messages("patterns")])
