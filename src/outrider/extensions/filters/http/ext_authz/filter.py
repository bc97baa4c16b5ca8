"""The filter of ext_authz. Source: Envoy documentation, "External Authorization"."""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import UPGRADE
from outrider.data.response_flag import UNAUTHORIZED_EXTERNAL_SERVICE
from outrider.extensions.filters.http.ext_authz.service import AuthzAnswer, AuthzService
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_BUFFER,
    DATA_STOP_AND_WATERMARK,
    HEADERS_CONTINUE,
    HEADERS_STOP_ALL_AND_WATERMARK,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.matching.value_matcher import MetadataMatcher, parse_metadata_matcher
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster import Cluster

TYPE: Final = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
NAMESPACE: Final = "envoy.filters.http.ext_authz"
_FAILURE_ALLOWED: Final = b"x-envoy-auth-failure-mode-allowed"


class BodySettings:
    """How much of the body the service is told; 0 = nothing."""

    __slots__ = ("limit", "partial")

    def __init__(self, limit: int, partial: bool) -> None:
        self.limit = limit
        self.partial = partial


class AuthzRoute:
    """`body` None: as the filter says."""

    __slots__ = ("disabled", "body")

    def __init__(self, disabled: bool, body: BodySettings | None) -> None:
        self.disabled = disabled
        self.body: BodySettings | None = body


class AuthzStats:
    __slots__ = ("prefix", "ok", "denied", "error", "disabled", "failure_mode_allowed")

    def __init__(self, context: FactoryContext, prefix: str) -> None:
        self.prefix = "ext_authz." + (prefix + "." if prefix and not prefix.endswith(".") else prefix)
        own = context.scope.scope(self.prefix)
        self.ok = own.counter("ok")
        self.denied = own.counter("denied")
        self.error = own.counter("error")
        self.disabled = own.counter("disabled")
        self.failure_mode_allowed = own.counter("failure_mode_allowed")


class AuthzConfig:
    __slots__ = (
        "service", "client", "stats", "body", "failure_mode_allow", "failure_header", "clear_route_cache",
        "status_on_error", "enabled", "enabled_metadata", "deny_at_disable", "runtime_key", "runtime", "charge",
        "clusters",
    )  # fmt: skip

    def __init__(self, view: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        http_service = view.message("http_service")
        if http_service is None:
            # `grpc_service` is not read, and therefore refused.
            raise view.error("http_service is required", "services")
        # Of no meaning for an HTTP service.
        view.accept("transport_api_version")
        self.service = AuthzService(
            http_service, view.message("allowed_headers"), view.message("disallowed_headers"), context
        )
        self.client = AsyncClient(context)
        self.clusters = context.cluster_manager
        self.stats = AuthzStats(context, view.text("stat_prefix"))
        self.body = _body_settings(view.message("with_request_body"))
        self.failure_mode_allow = view.flag("failure_mode_allow")
        self.failure_header = view.flag("failure_mode_allow_header_add")
        self.clear_route_cache = view.flag("clear_route_cache")
        self.status_on_error = 403
        status = view.message("status_on_error")
        if status is not None and status.enum("code") != "Empty":
            self.status_on_error = int(getattr(status.proto, "code", 403))
        enabled = view.message("filter_enabled")
        self.enabled: RuntimeFraction | None = None if enabled is None else runtime_fraction(enabled, context.runtime)
        metadata = view.message("filter_enabled_metadata")
        self.enabled_metadata: MetadataMatcher | None = (
            None if metadata is None else parse_metadata_matcher(metadata, context)
        )
        deny = view.message("deny_at_disable")
        self.deny_at_disable = deny is not None and deny.flag("default_value")
        self.runtime_key = "" if deny is None else deny.text("runtime_key")
        self.runtime = context.runtime
        self.charge = view.flag("charge_cluster_response_stats", True)

    def denies_when_disabled(self) -> bool:
        if self.runtime_key:
            return self.runtime.get_boolean(self.runtime_key, self.deny_at_disable)
        return self.deny_at_disable


class _ClientHeaders(LocalReplyModifier):
    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.fields = fields

    def modify(self, headers: ResponseHeaderMap) -> None:
        for name, value in self.fields:
            if name == b"set-cookie":
                headers.add(name, value)
            else:
                headers.set(name, value)


class _Answer(AsyncCallbacks):
    def __init__(self, owner: AuthzFilter) -> None:
        self.owner = owner

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        self.owner.on_answer(self.owner.config.service.read(headers, body))

    def on_failure(self, reason: str) -> None:
        self.owner.on_answer(None)


# Where a request stands.
_IDLE: Final = 0
_BUFFERING: Final = 1
_CALLING: Final = 2
_DONE: Final = 3
_REFUSED: Final = 4


class AuthzFilter(HttpFilter):
    __slots__ = ("config", "body", "state", "call", "starting", "asked_ns", "to_client")

    def __init__(self, config: AuthzConfig) -> None:
        self.config = config
        self.body = config.body
        self.state = _IDLE
        self.call: AsyncCall | None = None
        self.starting = False
        self.asked_ns = 0
        self.to_client: list[tuple[bytes, bytes]] = []

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        config = self.config
        manager = self.manager
        route = manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        if isinstance(special, AuthzRoute):
            if special.disabled:
                return HEADERS_CONTINUE
            if special.body is not None:
                self.body = special.body
        info = manager.stream_info
        if (config.enabled is not None and not config.enabled.enabled(getrandbits(64))) or (
            config.enabled_metadata is not None and not config.enabled_metadata.matches(info.metadata)
        ):
            config.stats.disabled.inc()
            if not config.denies_when_disabled():
                return HEADERS_CONTINUE
            self._refuse(config.status_on_error, "", None, "ext_authz_error")
            return HEADERS_STOP_ITERATION
        if self.body.limit and not end_stream and UPGRADE not in headers.single and headers.method != b"CONNECT":
            self.state = _BUFFERING
            if not self.body.partial:
                manager.set_decoder_buffer_limit(self.body.limit)
            return HEADERS_STOP_ITERATION
        self._ask(b"", False)
        return HEADERS_CONTINUE if self.state == _DONE else HEADERS_STOP_ALL_AND_WATERMARK

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if self.state != _BUFFERING:
            return DATA_CONTINUE if self.state in (_IDLE, _DONE) else DATA_STOP_AND_WATERMARK
        body = (self.manager.decoding_buffer() or b"") + data
        limit = self.body.limit
        if not end_stream and not (self.body.partial and len(body) >= limit):
            return DATA_STOP_AND_BUFFER
        if len(body) > limit and not self.body.partial:
            # The filter manager answers 413 when this is put into its buffer.
            return DATA_STOP_AND_BUFFER
        self._ask(body[:limit], len(body) > limit or not end_stream)
        return DATA_CONTINUE if self.state == _DONE else DATA_STOP_AND_WATERMARK

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self.state == _BUFFERING:
            self._ask((self.manager.decoding_buffer() or b"")[: self.body.limit], False)
        return TRAILERS_CONTINUE if self.state in (_IDLE, _DONE) else TRAILERS_STOP

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        for name, value in self.to_client:
            headers.add(name, value)
        return HEADERS_CONTINUE

    def _ask(self, body: bytes, partial: bool) -> None:
        headers = self.manager.request_headers
        assert headers is not None
        service = self.config.service
        asked = service.request(headers, body, self.state == _BUFFERING, partial)
        self.state = _CALLING
        self.asked_ns = self.manager.dispatcher.monotonic_ns()
        call = AsyncCall(
            self.config.client,
            service.cluster,
            asked,
            body,
            service.timeout_ms,
            _Answer(self),
            retry=service.retry,
            send_xff=False,
        )
        self.call = call
        self.starting = True
        call.start()
        self.starting = False

    def on_answer(self, answer: AuthzAnswer | None) -> None:
        """The service has answered; None: it failed."""
        self.call = None
        config = self.config
        headers = self.manager.request_headers
        if headers is None or self.state != _CALLING:
            return
        info = self.manager.stream_info
        if answer is None:
            config.stats.error.inc()
            self._count("error")
            if not config.failure_mode_allow:
                self._refuse(config.status_on_error, "", None, "ext_authz_error")
                return
            config.stats.failure_mode_allowed.inc()
            self._count("failure_mode_allowed")
            if config.failure_header:
                headers.set(_FAILURE_ALLOWED, b"true")
            self._pass()
            return
        if answer.metadata:
            if answer.allowed:
                elapsed_ms = (self.manager.dispatcher.monotonic_ns() - self.asked_ns) // 1_000_000
                answer.metadata["ext_authz_duration"] = float(elapsed_ms)
            info.set_metadata(NAMESPACE, answer.metadata)
        if not answer.allowed:
            config.stats.denied.inc()
            self._count("denied")
            self._refuse(answer.status, answer.body, _ClientHeaders(answer.to_client), "ext_authz_denied")
            return
        for name, value in answer.to_set:
            headers.remove(name)
            headers.set(name, value)
        for name, value in answer.to_append:
            if headers.contains(name):
                headers.add(name, value)
        for name in answer.to_remove:
            headers.remove(name)
        if config.clear_route_cache and (answer.to_set or answer.to_append or answer.to_remove):
            self.manager.clear_route_cache()
        self.to_client = answer.to_client
        config.stats.ok.inc()
        self._count("ok")
        self._pass()

    def _pass(self) -> None:
        self.state = _DONE
        if not self.starting:
            self.continue_decoding()

    def _refuse(self, code: int, body: str, modifier: LocalReplyModifier | None, details: str) -> None:
        self.state = _REFUSED
        manager = self.manager
        manager.stream_info.response_flags |= UNAUTHORIZED_EXTERNAL_SERVICE
        if self.config.charge and details == "ext_authz_denied":
            cluster = self._route_cluster()
            if cluster is not None:
                cluster.info.code_stats.charge(code, True, False)
        manager.send_local_reply_full(code, body, modifier, -1, details)

    def _route_cluster(self) -> Cluster | None:
        name = getattr(self.manager.route(), "cluster_name", None)
        return self.config.clusters.get(name) if isinstance(name, str) else None

    def _count(self, what: str) -> None:
        """Envoy counts outcomes on the cluster of the route, too."""
        cluster = self._route_cluster()
        if cluster is not None:
            cluster.info.scope.counter(self.config.stats.prefix + what).inc()

    def on_destroy(self) -> None:
        if self.call is not None:
            self.call.cancel()
            self.call = None


class AuthzFilterFactory(HttpFilterFactory):
    def __init__(self, config: AuthzConfig) -> None:
        self.config = config

    def create(self) -> HttpFilter:
        return AuthzFilter(self.config)


def _body_settings(view: View | None) -> BodySettings:
    if view is None:
        return BodySettings(0, False)
    # `pack_as_bytes` is a matter of gRPC.
    view.flag("pack_as_bytes")
    return BodySettings(view.integer("max_request_bytes"), view.flag("allow_partial_message"))


@HTTP_FILTERS.register("envoy.filters.http.ext_authz", TYPE, "envoy.ext_authz")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return AuthzFilterFactory(AuthzConfig(config, context))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> AuthzRoute:
    """Raises ConfigError."""
    if config.which("override") == "disabled":
        if not config.flag("disabled"):
            raise config.error("value must be true", "disabled")
        return AuthzRoute(True, None)
    settings = config.message("check_settings")
    if settings is None:
        raise config.error("value is required", "override")
    # Only gRPC services are told of these.
    settings.accept("context_extensions")
    body = settings.message("with_request_body")
    if settings.flag("disable_request_body_buffering"):
        return AuthzRoute(False, BodySettings(0, False))
    return AuthzRoute(False, None if body is None else _body_settings(body))
