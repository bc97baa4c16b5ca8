"""envoy.filters.network.ext_authz: a gRPC service decides which connections may stay.

Source: Envoy documentation, "External Authorization" (network filter).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.data.response_flag import UNAUTHORIZED_EXTERNAL_SERVICE
from outrider.extensions.filters.http.ext_authz.answer import DENIED, ERROR, OK, AuthzAnswer
from outrider.extensions.filters.http.ext_authz.check_request import CheckSettings, fill_metadata, fill_peers
from outrider.extensions.filters.http.ext_authz.grpc_service import (
    METHOD,
    SERVICE,
    GrpcAuthzService,
    error_answer,
    read_answer,
)
from outrider.extensions.filters.network.held_bytes import HeldBytes
from outrider.grpc.client import GrpcCall, GrpcUnaryCallbacks
from outrider.matching.value_matcher import MetadataMatcher, parse_metadata_matcher
from outrider.network.filter import CLOSE_NO_FLUSH, CONTINUE, EVENT_CONNECTED, STOP, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.connection import Connection
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
NAMESPACE: Final = "envoy.filters.network.ext_authz"
_CLOSE_REASON: Final = "ext_authz_close"


class AuthzStats:
    __slots__ = (
        "total", "error", "denied", "disabled", "failure_mode_allowed", "ok", "cx_closed", "active",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.total = scope.counter("total")
        self.error = scope.counter("error")
        self.denied = scope.counter("denied")
        self.disabled = scope.counter("disabled")
        self.failure_mode_allowed = scope.counter("failure_mode_allowed")
        self.ok = scope.counter("ok")
        self.cx_closed = scope.counter("cx_closed")
        self.active = scope.gauge("active")


class AuthzSettings:
    __slots__ = ("service", "check", "failure_mode_allow", "enabled", "shadow", "stats")

    def __init__(self, view: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        service = view.message("grpc_service")
        if service is None:
            raise view.error("value is required", "grpc_service")
        if view.enum("transport_api_version") not in ("AUTO", "V3"):
            raise view.error("only V3 is spoken", "transport_api_version")
        self.service = GrpcAuthzService(service, context)
        self.failure_mode_allow = view.flag("failure_mode_allow")
        check = self.check = CheckSettings()
        check.certificate = view.flag("include_peer_certificate")
        check.tls_session = view.flag("include_tls_session")
        check.namespaces = view.texts("metadata_context_namespaces")
        key = view.text("bootstrap_metadata_labels_key")
        labels = context.server.node_metadata.get(key) if key else None
        if isinstance(labels, dict):
            check.labels = {str(name): value for name, value in labels.items() if isinstance(value, str)}
        metadata = view.message("filter_enabled_metadata")
        self.enabled: MetadataMatcher | None = None if metadata is None else parse_metadata_matcher(metadata, context)
        self.shadow = view.flag("shadow_mode")
        self.stats = AuthzStats(context.root_scope.scope(f"ext_authz.{view.text('stat_prefix')}."))


class _Answer(GrpcUnaryCallbacks):
    def __init__(self, owner: NetworkAuthzFilter) -> None:
        self.owner = owner

    def on_success(self, message: bytes) -> None:
        self.owner.on_answer(read_answer(message))

    def on_failure(self, status: int, message: str) -> None:
        self.owner.on_answer(error_answer(status))


class NetworkAuthzFilter(NetworkFilter):
    def __init__(self, settings: AuthzSettings) -> None:
        self.settings = settings
        self.held: HeldBytes | None = None
        self.call: GrpcCall | None = None
        self.asked = False
        self.calling = False
        self.starting = False
        self.closed = False
        self.asked_ns = 0

    def initialize(self, connection: Connection) -> None:
        super().initialize(connection)
        self.held = HeldBytes(connection)
        connection.add_callbacks(self)

    def on_data(self, data: bytes, end_stream: bool) -> int:
        settings = self.settings
        held = self.held
        if held is None or self.closed:
            return STOP
        if not self.asked and settings.enabled is not None:
            if not settings.enabled.matches(self.connection.info.metadata):
                if data:
                    settings.stats.disabled.inc()
                return CONTINUE
        if not self.asked:
            # The first bytes show that there is somebody, and whatever came before them is known by now.
            self._ask()
        if self.closed:
            return STOP
        if self.calling:
            held.keep(data, end_stream)
            return STOP
        return CONTINUE

    def _ask(self) -> None:
        settings = self.settings
        self.asked = self.calling = True
        settings.stats.active.inc()
        settings.stats.total.inc()
        self.asked_ns = self.connection.dispatcher.monotonic_ns()
        request: Any = api.new("envoy.service.auth.v3.CheckRequest")
        info = self.connection.info
        fill_peers(request.attributes, info, "", settings.check)
        fill_metadata(request.attributes.metadata_context, settings.check.namespaces, [info.metadata])
        self.starting = True
        service = settings.service
        self.call = service.client.send(
            SERVICE, METHOD, request.SerializeToString(), _Answer(self), service.timeout_ms
        )
        self.starting = False

    def on_answer(self, answer: AuthzAnswer) -> None:
        settings = self.settings
        stats = settings.stats
        self.call = None
        if not self.calling:
            return
        self.calling = False
        stats.active.dec()
        self._keep_metadata(answer)
        if answer.verdict == OK:
            stats.ok.inc()
        elif answer.verdict == DENIED:
            stats.denied.inc()
        else:
            stats.error.inc()
        denied = answer.verdict == DENIED and not settings.shadow
        if denied or (answer.verdict == ERROR and not settings.failure_mode_allow):
            self.closed = True
            stats.cx_closed.inc()
            facts = self.connection.info
            facts.response_flags |= UNAUTHORIZED_EXTERNAL_SERVICE
            facts.response_code_details = "ext_authz_denied" if denied else "ext_authz_error"
            self.connection.close(CLOSE_NO_FLUSH, _CLOSE_REASON)
            return
        if answer.verdict == ERROR:
            stats.failure_mode_allowed.inc()
        held = self.held
        if not self.starting and held is not None:
            self.continue_reading(held.take(), held.ended)

    def _keep_metadata(self, answer: AuthzAnswer) -> None:
        if not answer.metadata:
            return
        if answer.verdict == OK:
            elapsed_ms = (self.connection.dispatcher.monotonic_ns() - self.asked_ns) // 1_000_000
            answer.metadata["ext_authz_duration"] = float(elapsed_ms)
        info = self.connection.info
        if info.metadata is None:
            info.metadata = {}
        info.metadata.setdefault(NAMESPACE, {}).update(answer.metadata)

    def on_event(self, event: int) -> None:
        if event != EVENT_CONNECTED:
            self._drop()

    def on_destroy(self) -> None:
        self._drop()

    def _drop(self) -> None:
        call = self.call
        self.call = None
        self.held = None
        self.closed = True
        if self.calling:
            self.calling = False
            self.settings.stats.active.dec()
            if call is not None:
                call.cancel()


class NetworkAuthzFactory(NetworkFilterFactory):
    def __init__(self, settings: AuthzSettings) -> None:
        self.settings = settings

    def create(self) -> NetworkFilter:
        return NetworkAuthzFilter(self.settings)


@NETWORK_FILTERS.register("envoy.filters.network.ext_authz", TYPE, "envoy.ext_authz")
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    return NetworkAuthzFactory(AuthzSettings(config, context))
