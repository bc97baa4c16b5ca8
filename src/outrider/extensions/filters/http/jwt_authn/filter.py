"""The filter of jwt_authn. Source: Envoy documentation, "JWT Authentication"."""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.filters.http.basic_auth import original_uri
from outrider.extensions.filters.http.jwt_authn.provider import Provider
from outrider.extensions.filters.http.jwt_authn.remote_keys import KeysWaiter
from outrider.extensions.filters.http.jwt_authn.requirement import PENDING, Attempt, Requirement, load_requirement
from outrider.extensions.filters.http.jwt_authn.stats import JwtStats
from outrider.extensions.filters.http.jwt_authn.token import AUDIENCE, MISSING, OK
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_WATERMARK,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.matching.value_matcher import filter_state_object, filter_state_text
from outrider.router.config.match_loader import load_match
from outrider.router.config.route_match import RouteMatch

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.stream_info import StreamInfo
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
NAMESPACE: Final = "envoy.filters.http.jwt_authn"
_MAX_URI: Final = 256


class JwtRoute:
    """`requirement` empty: nothing is asked on the route."""

    __slots__ = ("requirement",)

    def __init__(self, requirement: str) -> None:
        self.requirement = requirement


class JwtRule:
    __slots__ = ("match", "requirement")

    def __init__(self, match: RouteMatch, requirement: Requirement | None) -> None:
        self.match = match
        self.requirement: Requirement | None = requirement

    def matches(self, headers: RequestHeaderMap, info: StreamInfo) -> bool:
        path = headers.path.partition(b"?")[0]
        return self.match.path.matches(path) and (
            self.match.plain or self.match.conditions_hold(headers, info, getrandbits(64))
        )


class JwtConfig:
    """Everything but the state of requests."""

    __slots__ = ("rules", "named", "state_key", "state_rules", "bypass_preflight", "strip_response", "stats")

    def __init__(self, view: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        self.stats = JwtStats(context.scope, view.text("stat_prefix"))
        providers = {
            name: Provider(name, each, context, self.stats) for name, each in view.message_map("providers").items()
        }
        known = list(providers.values())
        self.named: dict[str, Requirement | None] = {
            name: load_requirement(each, providers, known) for name, each in view.message_map("requirement_map").items()
        }
        self.rules: list[JwtRule] = []
        for each in view.messages("rules"):
            match = each.message("match")
            if match is None:
                raise each.error("value is required", "match")
            requirement: Requirement | None = None
            if each.which("requirement_type") == "requirement_name":
                name = each.text("requirement_name")
                if name not in self.named:
                    raise each.error(f"Wrong requirement_name: {name}. It should be in the requirement_map.")
                requirement = self.named[name]
            else:
                requires = each.message("requires")
                requirement = None if requires is None else load_requirement(requires, providers, known)
            self.rules.append(JwtRule(load_match(match, context), requirement))
        by_state = view.message("filter_state_rules")
        self.state_key = ""
        self.state_rules: dict[bytes, Requirement | None] = {}
        if by_state is not None:
            self.state_key = by_state.text("name")
            for key, each in by_state.message_map("requires").items():
                self.state_rules[key.encode()] = load_requirement(each, providers, known)
        self.bypass_preflight = view.flag("bypass_cors_preflight")
        self.strip_response = view.flag("strip_failure_response")

    def requirement(self, headers: RequestHeaderMap, info: StreamInfo) -> Requirement | None:
        """Of the first rule that matches, or of the filter state."""
        for rule in self.rules:
            if rule.matches(headers, info):
                return rule.requirement
        if self.state_rules:
            text = filter_state_text(filter_state_object(info, self.state_key))
            if text is not None:
                return self.state_rules.get(text)
        return None


class _Challenge(LocalReplyModifier):
    def __init__(self, uri: bytes, invalid: bool) -> None:
        self.uri = uri
        self.invalid = invalid

    def modify(self, headers: ResponseHeaderMap) -> None:
        # RFC 6750 section 3.
        value = b'Bearer realm="' + self.uri + b'"'
        headers.set(b"www-authenticate", value + b', error="invalid_token"' if self.invalid else value)


class _Waiter(KeysWaiter):
    __slots__ = ("owner",)

    def __init__(self, owner: JwtFilter) -> None:
        self.owner: JwtFilter | None = owner

    def on_keys(self, success: bool) -> None:
        if self.owner is not None:
            self.owner.on_keys(success)


class JwtFilter(HttpFilter):
    __slots__ = ("config", "asked", "needs", "failed", "waiter", "starting", "stopped")

    def __init__(self, config: JwtConfig) -> None:
        self.config = config
        self.asked: Requirement | None = None
        # The provider whose keys are being fetched, and those where that failed.
        self.needs: Provider | None = None
        self.failed: set[str] = set()
        self.waiter: _Waiter | None = None
        # A fetch is being started; its outcome may come meanwhile.
        self.starting = False
        self.stopped = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        config = self.config
        manager = self.manager
        if (
            config.bypass_preflight
            and headers.method == b"OPTIONS"
            and headers.single.get(b"origin")
            and headers.single.get(b"access-control-request-method")
        ):
            config.stats.cors_preflight_bypassed.inc()
            config.stats.allowed.inc()
            return HEADERS_CONTINUE
        route = manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        if isinstance(special, JwtRoute):
            name = special.requirement
            if name and name not in config.named:
                config.stats.denied.inc()
                names = ",".join(config.named)
                self._refuse(403, f"Wrong requirement_name: {name}. It should be one of [{names}]", None, True)
                return HEADERS_STOP_ITERATION
            self.asked = config.named[name] if name else None
        else:
            self.asked = config.requirement(headers, manager.stream_info)
        if self.asked is None:
            config.stats.allowed.inc()
            return HEADERS_CONTINUE
        for provider in self.asked.providers():
            provider.sanitize(headers)
        self.stopped = not self._evaluate(headers)
        return HEADERS_STOP_ITERATION if self.stopped else HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return DATA_STOP_AND_WATERMARK if self.stopped else DATA_CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> int:
        return TRAILERS_STOP if self.stopped else TRAILERS_CONTINUE

    def on_keys(self, success: bool) -> None:
        """The keys that were needed have come, or have not."""
        needs = self.needs
        headers = self.manager.request_headers
        self.needs = None
        self.waiter = None
        if needs is None or headers is None:
            return
        if not success:
            self.failed.add(needs.name)
        if not self.starting and self._evaluate(headers):
            self.stopped = False
            self.continue_decoding()

    def _evaluate(self, headers: RequestHeaderMap) -> bool:
        """True: let the request pass. Otherwise it was answered, or waits for keys."""
        asked = self.asked
        assert asked is not None
        config = self.config
        first = self.needs is None and not self.stopped
        while True:
            attempt = Attempt(headers, self.failed, config.stats, first)
            first = False
            status = asked.evaluate(attempt)
            if status != PENDING:
                break
            needs = attempt.needs
            assert needs is not None and needs.remote is not None
            self.needs = needs
            self.waiter = _Waiter(self)
            self.starting = True
            needs.remote.wait(self.waiter)
            self.starting = False
            # Without a cluster or a host the outcome is known at once.
            if self.needs is not None:
                return False
        self._tell(attempt)
        if status != OK:
            config.stats.denied.inc()
            text = "" if config.strip_response else status
            challenge = None
            if not config.strip_response:
                challenge = _Challenge(original_uri(headers, _MAX_URI), status != MISSING)
            self._refuse(403 if status == AUDIENCE else 401, text, challenge, False, status)
            return False
        clear = False
        for accepted in attempt.accepted:
            provider = accepted.provider
            provider.accept(accepted.token, accepted.place, headers)
            clear = clear or (provider.clear_route_cache and bool(provider.claims))
        if clear:
            self.manager.clear_route_cache()
        config.stats.allowed.inc()
        return True

    def _tell(self, attempt: Attempt) -> None:
        """What is right about the tokens, even where it is not enough."""
        for accepted in attempt.accepted:
            metadata = accepted.provider.metadata(accepted.token)
            if metadata:
                self.manager.stream_info.set_metadata(NAMESPACE, metadata)

    def _refuse(self, code: int, text: str, challenge: _Challenge | None, by_name: bool, reason: str = "") -> None:
        details = "jwt_authn_access_denied{" + (reason or text).replace(" ", "_") + "}"
        body = f"Failed JWT authentication: {text}" if by_name else text
        self.manager.send_local_reply_full(code, body, challenge, -1, details)

    def on_destroy(self) -> None:
        if self.waiter is not None:
            self.waiter.owner = None
            if self.needs is not None and self.needs.remote is not None:
                self.needs.remote.forget(self.waiter)
            self.waiter = None


class JwtFilterFactory(HttpFilterFactory):
    def __init__(self, config: JwtConfig) -> None:
        self.config = config

    def create(self) -> HttpFilter:
        return JwtFilter(self.config)


@HTTP_FILTERS.register("envoy.filters.http.jwt_authn", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return JwtFilterFactory(JwtConfig(config, context))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> JwtRoute:
    """Raises ConfigError."""
    if config.which("requirement_specifier") == "disabled":
        if not config.flag("disabled"):
            raise config.error("value must be true", "disabled")
        return JwtRoute("")
    return JwtRoute(config.text("requirement_name"))
