"""`MatchPredicate`: decided bit by bit while a stream goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import HeaderMap
from outrider.matching.header_matcher import HeaderMatcher, parse_header_matcher

if TYPE_CHECKING:
    from outrider.config.view import View

REQUEST_HEADERS: Final = "http_request_headers_match"
REQUEST_TRAILERS: Final = "http_request_trailers_match"
RESPONSE_HEADERS: Final = "http_response_headers_match"
RESPONSE_TRAILERS: Final = "http_response_trailers_match"
REQUEST_BODY: Final = "http_request_generic_body_match"
RESPONSE_BODY: Final = "http_response_generic_body_match"
_HEADER_KINDS: Final = (REQUEST_HEADERS, REQUEST_TRAILERS, RESPONSE_HEADERS, RESPONSE_TRAILERS)
# Bytes of body that are searched where the configuration sets no limit.
_MOST_BODY: Final = 1 << 20


class Predicate:
    """The configured form. `begin` gives what follows one stream."""

    def begin(self) -> Progress:
        raise NotImplementedError


class Progress:
    """One predicate of one stream."""

    def matches(self) -> bool:
        raise NotImplementedError

    def on_headers(self, kind: str, headers: HeaderMap) -> None:
        """Headers or trailers have come."""

    def on_body(self, kind: str, data: bytes) -> None:
        """A chunk has come."""


class _Any(Predicate, Progress):
    def begin(self) -> Progress:
        return self

    def matches(self) -> bool:
        return True


class _Set(Predicate):
    def __init__(self, parts: list[Predicate], wants_all: bool) -> None:
        self.parts = parts
        self.wants_all = wants_all

    def begin(self) -> Progress:
        return _SetProgress([each.begin() for each in self.parts], self.wants_all)


class _SetProgress(Progress):
    def __init__(self, parts: list[Progress], wants_all: bool) -> None:
        self.parts = parts
        self.wants_all = wants_all

    def matches(self) -> bool:
        results = [each.matches() for each in self.parts]
        return all(results) if self.wants_all else any(results)

    def on_headers(self, kind: str, headers: HeaderMap) -> None:
        for each in self.parts:
            each.on_headers(kind, headers)

    def on_body(self, kind: str, data: bytes) -> None:
        for each in self.parts:
            each.on_body(kind, data)


class _Not(Predicate):
    def __init__(self, part: Predicate) -> None:
        self.part = part

    def begin(self) -> Progress:
        return _NotProgress([self.part.begin()], True)


class _NotProgress(_SetProgress):
    def matches(self) -> bool:
        return not self.parts[0].matches()


class _Headers(Predicate):
    def __init__(self, kind: str, matchers: list[HeaderMatcher]) -> None:
        self.kind = kind
        self.matchers = matchers

    def begin(self) -> Progress:
        return _HeadersProgress(self)


class _HeadersProgress(Progress):
    def __init__(self, predicate: _Headers) -> None:
        self.predicate = predicate
        self.found = False

    def matches(self) -> bool:
        return self.found

    def on_headers(self, kind: str, headers: HeaderMap) -> None:
        if kind == self.predicate.kind:
            self.found = all(each.matches(headers) for each in self.predicate.matchers)


class _Body(Predicate):
    def __init__(self, kind: str, limit: int, patterns: list[bytes]) -> None:
        self.kind = kind
        self.limit = limit
        self.patterns = patterns

    def begin(self) -> Progress:
        return _BodyProgress(self)


class _BodyProgress(Progress):
    def __init__(self, predicate: _Body) -> None:
        self.predicate = predicate
        self.seen = b""
        self.found = False

    def matches(self) -> bool:
        return self.found

    def on_body(self, kind: str, data: bytes) -> None:
        predicate = self.predicate
        if kind != predicate.kind or self.found or len(self.seen) >= predicate.limit:
            return
        self.seen = (self.seen + data)[: predicate.limit]
        self.found = all(each in self.seen for each in predicate.patterns)
        if self.found:
            self.seen = b""


def parse_predicate(view: View, context: Any) -> Predicate:
    """Raises ConfigError."""
    kind = view.which("rule")
    if kind is None:
        raise view.error("value is required", "rule")
    if kind == "any_match":
        if not view.flag(kind):
            raise view.error("value must equal true", kind)
        return _Any()
    inner = view.message(kind)
    assert inner is not None
    if kind in ("or_match", "and_match"):
        parts = [parse_predicate(each, context) for each in inner.messages("rules")]
        if len(parts) < 2:
            raise inner.error("value must contain at least 2 item(s)", "rules")
        return _Set(parts, kind == "and_match")
    if kind == "not_match":
        return _Not(parse_predicate(inner, context))
    if kind in _HEADER_KINDS:
        return _Headers(kind, [parse_header_matcher(each, context) for each in inner.messages("headers")])
    patterns: list[bytes] = []
    for each in inner.messages("patterns"):
        text = each.which("rule") == "string_match"
        pattern = each.text("string_match").encode() if text else each.data("binary_match")
        if not pattern:
            raise each.error("value is required", "rule")
        patterns.append(pattern)
    return _Body(kind, inner.integer("bytes_limit") or _MOST_BODY, patterns)
