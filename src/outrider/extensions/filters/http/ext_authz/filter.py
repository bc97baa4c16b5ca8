"""The filter of ext_authz: when to ask, and what to do with the answer.

Source: Envoy documentation, "External Authorization".
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import UPGRADE
from outrider.data.response_flag import UNAUTHORIZED_EXTERNAL_SERVICE
from outrider.data.stream_info import StreamInfo
from outrider.extensions.filters.http.ext_authz import mutations, shadow
from outrider.extensions.filters.http.ext_authz.answer import DENIED, ERROR, AuthzAnswer, Fields
from outrider.extensions.filters.http.ext_authz.call_facts import CallFacts, keep_call
from outrider.extensions.filters.http.ext_authz.check_request import http_check
from outrider.extensions.filters.http.ext_authz.grpc_service import (
    METHOD,
    SERVICE,
    GrpcAuthzService,
    error_answer,
    read_answer,
)
from outrider.extensions.filters.http.ext_authz.service import AuthzService
from outrider.extensions.filters.http.ext_authz.settings import (
    NAMESPACE,
    AuthzConfig,
    AuthzRoute,
    load_route,
    merge_routes,
)
from outrider.grpc.client import GrpcCall, GrpcUnaryCallbacks
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
from outrider.router.async_client import AsyncCall, AsyncCallbacks

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster import Cluster

TYPE: Final = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
_FAILURE_ALLOWED: Final = b"x-envoy-auth-failure-mode-allowed"
_OK_STATUS: Final = 200
_NO_METADATA: Final[dict[str, dict[str, object]]] = {}


class _ClientHeaders(LocalReplyModifier):
    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.fields = fields

    def modify(self, headers: ResponseHeaderMap) -> None:
        for name, value in self.fields:
            if name == b"set-cookie":
                headers.add(name, value)
            else:
                headers.set(name, value)


class _HttpAnswer(AsyncCallbacks):
    def __init__(self, owner: AuthzFilter, service: AuthzService) -> None:
        self.owner = owner
        self.service = service

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        self.owner.on_answer(self.service.read(headers, body))

    def on_failure(self, reason: str) -> None:
        self.owner.on_answer(AuthzAnswer(ERROR))


class _GrpcAnswer(GrpcUnaryCallbacks):
    def __init__(self, owner: AuthzFilter) -> None:
        self.owner = owner

    def parent_stream_info(self) -> StreamInfo | None:
        return self.owner.manager.stream_info

    def on_wire_bytes(self, sent: int, received: int) -> None:
        if self.owner.facts is not None:
            self.owner.facts.sent = sent
            self.owner.facts.received = received

    def on_success(self, message: bytes) -> None:
        self.owner.on_answer(read_answer(message))

    def on_failure(self, status: int, message: str) -> None:
        self.owner.on_answer(error_answer(status))


# Where a request stands.
_IDLE: Final = 0
_BUFFERING: Final = 1
_CALLING: Final = 2
_DONE: Final = 3
_REFUSED: Final = 4


class AuthzFilter(HttpFilter):
    __slots__ = (
        "config", "route", "body", "state", "http_call", "grpc_call", "starting", "asked_ns", "answer", "facts",
    )  # fmt: skip

    def __init__(self, config: AuthzConfig) -> None:
        self.config = config
        self.route: AuthzRoute | None = None
        self.body = config.body
        self.state = _IDLE
        self.http_call: AsyncCall | None = None
        self.grpc_call: GrpcCall | None = None
        self.starting = False
        self.asked_ns = 0
        # What allowed the request; its fields for the client are still to be sent.
        self.answer: AuthzAnswer | None = None
        # `emit_filter_state_stats`: what logs may tell of the call.
        self.facts: CallFacts | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        config = self.config
        manager = self.manager
        route = manager.route()
        special = None if route is None else merge_routes(route.per_filter_configs(self.config_name))
        if special is not None:
            self.route = special
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
            if config.shadow:
                config.stats.shadow_denied.inc()
                info.response_flags |= UNAUTHORIZED_EXTERNAL_SERVICE
                self._shadow(shadow.DENIED_DECISION, config.status_on_error, [])
                return HEADERS_CONTINUE
            self._refuse(config.status_on_error, "", [], "ext_authz_error")
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
        if self.answer is not None:
            mutations.edit_response(self.answer, headers)
        return HEADERS_CONTINUE

    def _ask(self, body: bytes, partial: bool) -> None:
        headers = self.manager.request_headers
        assert headers is not None
        with_body = self.state == _BUFFERING
        self.state = _CALLING
        self.asked_ns = self.manager.dispatcher.monotonic_ns()
        http = self.config.http
        grpc = self.config.grpc
        route = self.route
        if route is not None and (route.http is not None or route.grpc is not None):
            http = route.http
            grpc = route.grpc
        if self.config.keeps_call:
            self.facts = keep_call(self.manager.stream_info, self.config_name)
        self.starting = True
        if grpc is not None:
            self._ask_grpc(grpc, headers, body if with_body else None, partial)
        elif http is not None:
            asked = http.request(headers, body, with_body, partial)
            self.http_call = AsyncCall(
                self.config.client,
                http.cluster,
                asked,
                body,
                http.timeout_ms,
                _HttpAnswer(self, http),
                retry=http.retry,
                send_xff=False,
            )
            self.http_call.start()
        self.starting = False

    def _ask_grpc(self, grpc: GrpcAuthzService, headers: RequestHeaderMap, body: bytes | None, partial: bool) -> None:
        info = self.manager.stream_info
        route = self.manager.route()
        metadata = getattr(route, "metadata", None)
        request = http_check(
            self.config.check,
            str(getrandbits(63)),
            info,
            headers,
            body,
            partial,
            {} if self.route is None else self.route.extensions,
            metadata if isinstance(metadata, dict) else _NO_METADATA,
        )
        self.grpc_call = grpc.client.send(SERVICE, METHOD, request, _GrpcAnswer(self), grpc.timeout_ms)

    def on_answer(self, answer: AuthzAnswer) -> None:
        """The service has answered, or has failed to."""
        self.http_call = None
        self.grpc_call = None
        headers = self.manager.request_headers
        if headers is None or self.state != _CALLING:
            return
        if self.facts is not None:
            self.facts.latency_us = (self.manager.dispatcher.monotonic_ns() - self.asked_ns) // 1000
        self._take_metadata(answer)
        if answer.verdict == ERROR:
            self._on_error(answer, headers)
        elif answer.verdict == DENIED:
            self._on_denied(answer)
        else:
            self._on_allowed(answer, headers)

    def _take_metadata(self, answer: AuthzAnswer) -> None:
        if not answer.metadata:
            return
        config = self.config
        if not config.take_metadata:
            config.stats.ignored_dynamic_metadata.inc()
            return
        if answer.verdict != DENIED:
            elapsed_ms = (self.manager.dispatcher.monotonic_ns() - self.asked_ns) // 1_000_000
            answer.metadata["ext_authz_duration"] = float(elapsed_ms)
        self.manager.stream_info.set_metadata(NAMESPACE, answer.metadata)

    def _on_error(self, answer: AuthzAnswer, headers: RequestHeaderMap) -> None:
        config = self.config
        config.stats.error.inc()
        self._count("error")
        if config.shadow:
            config.stats.shadow_error.inc()
            self._shadow(shadow.ERROR_DECISION, answer.status or config.status_on_error, answer.client_set)
            self._pass()
            return
        if not config.failure_mode_allow:
            self._refuse(answer.status or config.status_on_error, answer.body, answer.client_set, "ext_authz_error")
            return
        config.stats.failure_mode_allowed.inc()
        self._count("failure_mode_allowed")
        if config.failure_header:
            headers.set(_FAILURE_ALLOWED, b"true")
        self._pass()

    def _on_denied(self, answer: AuthzAnswer) -> None:
        config = self.config
        config.stats.denied.inc()
        self._count("denied")
        if config.shadow:
            config.stats.shadow_denied.inc()
            self._shadow(shadow.DENIED_DECISION, answer.status, answer.client_set)
            self._charge(answer.status)
            self._pass()
            return
        if config.validate and not mutations.all_valid(answer.client_set):
            self._reject()
            return
        body = answer.body
        if config.max_denied_body:
            body = body.encode("utf-8", "surrogateescape")[: config.max_denied_body].decode("utf-8", "surrogateescape")
        self._refuse(answer.status, body, answer.client_set, "ext_authz_denied")

    def _on_allowed(self, answer: AuthzAnswer, headers: RequestHeaderMap) -> None:
        config = self.config
        if config.validate and not mutations.answer_valid(answer):
            self._reject()
            return
        if not mutations.edit_request(answer, headers, config.rules):
            self._reject()
            return
        if config.clear_route_cache and mutations.edits_request(answer, config.clearing_headers):
            self.manager.clear_route_cache()
        self.answer = answer
        if config.shadow:
            self._shadow(shadow.OK_DECISION, _OK_STATUS, [])
        config.stats.ok.inc()
        self._count("ok")
        self._pass()

    def _reject(self) -> None:
        """The answer itself is invalid."""
        self.config.stats.invalid.inc()
        self._count("invalid")
        self._refuse(500, "", [], "ext_authz_invalid")

    def _shadow(self, result: str, status: int, fields: Fields) -> None:
        shadow.keep(self.manager.stream_info, self.config_name, shadow.ShadowDecision(result, status, fields))

    def _pass(self) -> None:
        self.state = _DONE
        if not self.starting:
            self.continue_decoding()

    def _refuse(self, code: int, body: str, fields: Fields, details: str) -> None:
        self.state = _REFUSED
        manager = self.manager
        manager.stream_info.response_flags |= UNAUTHORIZED_EXTERNAL_SERVICE
        if details == "ext_authz_denied":
            self._charge(code)
        manager.send_local_reply_full(code, body, _ClientHeaders(fields) if fields else None, -1, details)

    def _charge(self, code: int) -> None:
        """`charge_cluster_response_stats`: as if the upstream had refused."""
        cluster = self._route_cluster() if self.config.charge else None
        if cluster is not None:
            cluster.info.code_stats.charge(code, True, False)

    def _route_cluster(self) -> Cluster | None:
        name = getattr(self.manager.route(), "cluster_name", None)
        return self.config.clusters.get(name) if isinstance(name, str) else None

    def _count(self, what: str) -> None:
        """Envoy counts outcomes on the cluster of the route, too."""
        cluster = self._route_cluster()
        if cluster is not None:
            cluster.info.scope.counter(self.config.stats.prefix + what).inc()

    def on_destroy(self) -> None:
        if self.http_call is not None:
            self.http_call.cancel()
            self.http_call = None
        if self.grpc_call is not None:
            self.grpc_call.cancel()
            self.grpc_call = None


class AuthzFilterFactory(HttpFilterFactory):
    def __init__(self, config: AuthzConfig) -> None:
        self.config = config

    def create(self) -> HttpFilter:
        return AuthzFilter(self.config)


@HTTP_FILTERS.register("envoy.filters.http.ext_authz", TYPE, "envoy.ext_authz")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return AuthzFilterFactory(AuthzConfig(config, context))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> AuthzRoute:
    """Raises ConfigError."""
    return load_route(config, context)
