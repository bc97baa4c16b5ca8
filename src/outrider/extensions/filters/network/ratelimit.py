"""envoy.filters.network.ratelimit: a service decides, for all proxies together, which connections are too many.

Source: Envoy documentation, "Rate limit" (network filter).
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import Formatter, parse_format
from outrider.access_log.syntax import FormatError
from outrider.data.stream_info import PROTOCOL_NONE, StreamInfo
from outrider.extensions.filters.network.held_bytes import HeldBytes
from outrider.extensions.ratelimit.service import (
    ERROR,
    OK,
    OVER_LIMIT,
    LimitAnswer,
    LimitCallbacks,
    RateLimitService,
)
from outrider.grpc.client import GrpcCall
from outrider.network.filter import CLOSE_NO_FLUSH, CONTINUE, EVENT_CONNECTED, STOP, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory
from outrider.router.rate_limit_actions import Descriptor

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.connection import Connection
    from outrider.stats.store import Scope

TYPE: Final = "envoy.extensions.filters.network.ratelimit.v3.RateLimit"
NAMESPACE: Final = "envoy.filters.network.ratelimit"


class LimitStats:
    __slots__ = ("total", "error", "over_limit", "ok", "failure_mode_allowed", "cx_closed", "active")

    def __init__(self, scope: Scope) -> None:
        self.total = scope.counter("total")
        self.error = scope.counter("error")
        self.over_limit = scope.counter("over_limit")
        self.ok = scope.counter("ok")
        self.failure_mode_allowed = scope.counter("failure_mode_allowed")
        self.cx_closed = scope.counter("cx_closed")
        self.active = scope.gauge("active")


class DescriptorFormat:
    """A configured descriptor, its values compiled."""

    __slots__ = ("entries", "hits", "limit")

    def __init__(self, view: View) -> None:
        """Raises ConfigError."""
        self.entries: list[tuple[str, Formatter]] = []
        for entry in view.messages("entries"):
            try:
                self.entries.append((entry.text("key"), parse_format(entry.text("value"), (), True)))
            except FormatError as error:
                raise entry.error(str(error), "value") from None
        self.hits = view.integer("hits_addend", -1)
        limit = view.message("limit")
        self.limit: tuple[int, str] | None = None
        if limit is not None:
            self.limit = limit.integer("requests_per_unit"), limit.enum("unit")

    def make(self, context: FormatContext) -> Descriptor:
        entries = tuple([(key, value.format(context)) for key, value in self.entries])
        return Descriptor(entries, self.hits, self.limit, -1)


class LimitSettings:
    __slots__ = ("service", "domain", "descriptors", "deny_on_failure", "stats", "runtime")

    def __init__(self, view: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        service = view.message("rate_limit_service")
        if service is None:
            raise view.error("value is required", "rate_limit_service")
        self.service = RateLimitService(service, context, view.millis("timeout"))
        self.domain = view.text("domain")
        self.descriptors = [DescriptorFormat(each) for each in view.messages("descriptors")]
        self.deny_on_failure = view.flag("failure_mode_deny")
        self.stats = LimitStats(context.root_scope.scope(f"ratelimit.{view.text('stat_prefix')}."))
        self.runtime = context.runtime

    def feature(self, key: str) -> bool:
        return not self.runtime.has(key) or self.runtime.feature_enabled(key, 100, getrandbits(63))


class _Answer(LimitCallbacks):
    def __init__(self, owner: NetworkLimitFilter) -> None:
        self.owner = owner

    def on_limit_answer(self, answer: LimitAnswer) -> None:
        self.owner.on_answer(answer)


class NetworkLimitFilter(NetworkFilter):
    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings
        self.held: HeldBytes | None = None
        self.call: GrpcCall | None = None
        self.calling = False
        self.starting = False
        self.closed = False

    def initialize(self, connection: Connection) -> None:
        super().initialize(connection)
        self.held = HeldBytes(connection)
        connection.add_callbacks(self)

    def on_new_connection(self) -> int:
        settings = self.settings
        if not settings.feature("ratelimit.tcp_filter_enabled"):
            return CONTINUE
        settings.stats.active.inc()
        settings.stats.total.inc()
        self.calling = True
        facts = self.connection.info
        context = FormatContext(StreamInfo(facts, facts.start_time_ns, facts.start_mono_ns, PROTOCOL_NONE))
        descriptors = [each.make(context) for each in settings.descriptors]
        self.starting = True
        self.call = settings.service.ask(_Answer(self), settings.domain, descriptors)
        self.starting = False
        return STOP if self.calling or self.closed else CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> int:
        if self.closed:
            return STOP
        if self.calling and self.held is not None:
            self.held.keep(data, end_stream)
            return STOP
        return CONTINUE

    def on_answer(self, answer: LimitAnswer) -> None:
        settings = self.settings
        stats = settings.stats
        self.call = None
        if not self.calling:
            return
        self.calling = False
        stats.active.dec()
        if answer.metadata:
            info = self.connection.info
            if info.metadata is None:
                info.metadata = {}
            info.metadata.setdefault(NAMESPACE, {}).update(answer.metadata)
        if answer.verdict == OK:
            stats.ok.inc()
        elif answer.verdict == OVER_LIMIT:
            stats.over_limit.inc()
            if settings.feature("ratelimit.tcp_filter_enforcing"):
                self._close("ratelimit_close_over_limit")
                return
        elif answer.verdict == ERROR:
            stats.error.inc()
            if settings.deny_on_failure:
                self._close("ratelimit_error_close")
                return
            stats.failure_mode_allowed.inc()
        held = self.held
        if not self.starting and held is not None:
            self.continue_reading(held.take(), held.ended)

    def _close(self, reason: str) -> None:
        self.closed = True
        self.settings.stats.cx_closed.inc()
        self.connection.close(CLOSE_NO_FLUSH, reason)

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


class NetworkLimitFactory(NetworkFilterFactory):
    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings

    def create(self) -> NetworkFilter:
        return NetworkLimitFilter(self.settings)


@NETWORK_FILTERS.register("envoy.filters.network.ratelimit", TYPE, "envoy.ratelimit")
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    return NetworkLimitFactory(LimitSettings(config, context))
