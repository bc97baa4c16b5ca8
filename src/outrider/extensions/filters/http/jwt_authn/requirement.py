"""What a rule asks of a request's tokens: one provider's, some, all, or any at all if there is one."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Final

from outrider.extensions.filters.http.jwt_authn.provider import Place, Provider, audience_allowed, audience_name
from outrider.extensions.filters.http.jwt_authn.token import (
    AUDIENCE,
    FETCH_FAILED,
    MISSING,
    OK,
    UNKNOWN_ISSUER,
    VERIFICATION,
    Token,
    TokenError,
    check_signature,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import RequestHeaderMap
    from outrider.extensions.filters.http.jwt_authn.stats import JwtStats

# The keys of a provider have to be fetched first: `Attempt.needs` names it.
PENDING: Final = ""


class Accepted:
    __slots__ = ("provider", "token", "place")

    def __init__(self, provider: Provider, token: Token, place: Place) -> None:
        self.provider = provider
        self.token = token
        self.place = place


class Attempt:
    """One evaluation. It changes nothing, so that it can be repeated when keys have come."""

    __slots__ = ("headers", "failed", "needs", "accepted", "count", "stats")

    def __init__(self, headers: RequestHeaderMap, failed: set[str], stats: JwtStats, count: bool) -> None:
        self.headers = headers
        # Providers whose keys could not be fetched for this request.
        self.failed = failed
        self.needs: Provider | None = None
        self.accepted: list[Accepted] = []
        # The first evaluation counts looks into the caches.
        self.count = count
        self.stats = stats

    def verify(self, provider: Provider, text: str, place: Place, audiences: frozenset[str]) -> str:
        """The status of one token."""
        cache = provider.cache
        cached = None if cache is None else cache.get(text)
        if self.count:
            (self.stats.jwt_cache_miss if cached is None else self.stats.jwt_cache_hit).inc()
        try:
            token = Token(text) if cached is None else cached
        except TokenError as error:
            return str(error)
        if provider.issuer and token.issuer != provider.issuer:
            return UNKNOWN_ISSUER
        if provider.subjects is not None and not provider.subjects.matches(token.subject.encode()):
            return VERIFICATION
        now = int(time())
        expires = token.payload.get("exp", 0)
        if provider.require_expiration and not expires:
            return VERIFICATION
        if provider.max_lifetime is not None and (not expires or expires - now > provider.max_lifetime):
            return VERIFICATION
        status = token.check_time(now, provider.skew)
        if status != OK:
            return status
        if not audience_allowed(audiences, token.audiences):
            return AUDIENCE
        if cached is None:
            if provider.name in self.failed:
                return FETCH_FAILED
            keys = provider.keys()
            if keys is None:
                self.needs = provider
                return PENDING
            status = check_signature(token, keys)
            if status != OK:
                return status
            provider.keep(text, token)
        self.accepted.append(Accepted(provider, token, place))
        return OK


class Requirement:
    def evaluate(self, attempt: Attempt) -> str:
        """OK, PENDING, or the reason for refusing."""
        raise NotImplementedError

    def providers(self) -> list[Provider]:
        """Those whose headers are to be cleaned."""
        return []


class ProviderRequirement(Requirement):
    def __init__(self, provider: Provider, audiences: frozenset[str]) -> None:
        self.provider = provider
        self.audiences = audiences or provider.audiences

    def evaluate(self, attempt: Attempt) -> str:
        status = MISSING
        for place in self.provider.places:
            text = place.token(attempt.headers)
            if text is not None:
                status = attempt.verify(self.provider, text, place, self.audiences)
                if status in (OK, PENDING):
                    return status
        return status

    def providers(self) -> list[Provider]:
        return [self.provider]


class AnyRequirement(Requirement):
    def __init__(self, parts: list[Requirement]) -> None:
        self.parts = parts

    def evaluate(self, attempt: Attempt) -> str:
        # A token that is there and wrong tells more than one that is missing.
        told = MISSING
        for part in self.parts:
            status = part.evaluate(attempt)
            if status in (OK, PENDING):
                return status
            if told in (MISSING, UNKNOWN_ISSUER) or status not in (MISSING, UNKNOWN_ISSUER):
                told = status
        return told

    def providers(self) -> list[Provider]:
        return [provider for part in self.parts for provider in part.providers()]


class AllRequirement(Requirement):
    def __init__(self, parts: list[Requirement]) -> None:
        self.parts = parts

    def evaluate(self, attempt: Attempt) -> str:
        for part in self.parts:
            status = part.evaluate(attempt)
            if status != OK:
                return status
        return OK

    def providers(self) -> list[Provider]:
        return [provider for part in self.parts for provider in part.providers()]


class OptionalRequirement(Requirement):
    """`allow_missing`: tokens that are there must be right. `allow_missing_or_failed`: they need not even be that."""

    def __init__(self, known: list[Provider], may_fail: bool) -> None:
        self.known = known
        self.may_fail = may_fail

    def evaluate(self, attempt: Attempt) -> str:
        # Envoy looks into the caches only where a provider is named.
        count = attempt.count
        attempt.count = False
        status = self._evaluate(attempt)
        attempt.count = count
        return status

    def _evaluate(self, attempt: Attempt) -> str:
        seen: set[str] = set()
        told = OK
        for provider in self.known:
            for place in provider.places:
                text = place.token(attempt.headers)
                if text is None or text in seen:
                    continue
                status = attempt.verify(provider, text, place, provider.audiences)
                if status == PENDING:
                    return PENDING
                if status == UNKNOWN_ISSUER and provider is not self.known[-1]:
                    told = status if told == OK else told
                    continue
                seen.add(text)
                if status == OK:
                    if not self.may_fail:
                        return OK
                else:
                    told = status
        return OK if self.may_fail else told

    def providers(self) -> list[Provider]:
        return self.known


def load_requirement(view: View, providers: dict[str, Provider], within: list[Provider]) -> Requirement | None:
    """From a JwtRequirement; None: nothing is asked. Raises ConfigError.

    `within`: the providers whose tokens `allow_missing` looks at.
    """
    kind = view.which("requires_type")
    if kind is None:
        return None
    if kind == "provider_name":
        return ProviderRequirement(_provider(view, view.text(kind), providers), frozenset())
    if kind in ("extract_only_without_validation",):
        # Not read, and therefore refused.
        return None
    inner = view.message(kind)
    assert inner is not None
    if kind == "provider_and_audiences":
        named = _provider(inner, inner.text("provider_name"), providers)
        return ProviderRequirement(named, frozenset(audience_name(each) for each in inner.texts("audiences")))
    if kind in ("allow_missing", "allow_missing_or_failed"):
        return OptionalRequirement(within, kind == "allow_missing_or_failed")
    views = inner.messages("requirements")
    named_here = [
        providers[each.text("provider_name")]
        for each in views
        if each.which("requires_type") == "provider_name" and each.text("provider_name") in providers
    ]
    loaded = [load_requirement(each, providers, named_here or within) for each in views]
    parts = [part for part in loaded if part is not None]
    return AnyRequirement(parts) if kind == "requires_any" else AllRequirement(parts)


def _provider(view: View, name: str, providers: dict[str, Provider]) -> Provider:
    found = providers.get(name)
    if found is None:
        raise view.error(f"Required provider ['{name}'] is not configured.", "provider_name")
    return found
