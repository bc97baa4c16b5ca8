"""envoy.filters.network.rbac: role based access control of connections.

Source: Envoy documentation, "Role Based Access Control (RBAC) Network Filter".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import PROTOCOL_NONE, StreamInfo
from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.rbac.conditions import Subject
from outrider.extensions.rbac.engine import Engine, load_engine, response_details
from outrider.extensions.rbac.stats import RbacStats
from outrider.network.filter import CLOSE_NO_FLUSH, CONTINUE, EVENT_CONNECTED, STOP, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.network.rbac.v3.RBAC"
NAMESPACE: Final = "envoy.filters.network.rbac"
CLOSE_REASON: Final = "rbac_deny_close"


class NetworkRbacSettings:
    __slots__ = ("engine", "shadow", "shadow_prefix", "continuous", "delay_ms", "stats")

    def __init__(
        self,
        engine: Engine | None,
        shadow: Engine | None,
        shadow_prefix: str,
        continuous: bool,
        delay_ms: int,
        stats: RbacStats,
    ) -> None:
        self.engine: Engine | None = engine
        self.shadow: Engine | None = shadow
        self.shadow_prefix = shadow_prefix
        # Judge at each read, not only at the first.
        self.continuous = continuous
        # How long a denied connection is held before it is closed.
        self.delay_ms = delay_ms
        self.stats = stats


class _DelayedClose(TimerOwner):
    def __init__(self, owner: NetworkRbacFilter) -> None:
        self.owner: NetworkRbacFilter | None = owner

    def on_timer(self, kind: int) -> None:
        if self.owner is not None:
            self.owner.close()


class NetworkRbacFilter(NetworkFilter):
    def __init__(self, settings: NetworkRbacSettings) -> None:
        self.settings = settings
        self.judged = False
        self.denied = False
        self.delay: _DelayedClose | None = None
        self.timer: Timer | None = None

    def on_new_connection(self) -> int:
        self.connection.add_callbacks(self)
        return CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> int:
        if self.denied:
            return STOP
        if self.judged and not self.settings.continuous:
            return CONTINUE
        self.judged = True
        connection = self.connection
        facts = connection.info
        info = StreamInfo(facts, facts.start_time_ns, facts.start_mono_ns, PROTOCOL_NONE)
        if facts.metadata is None:
            facts.metadata = {}
        info.metadata = facts.metadata
        subject = Subject(facts, info, RequestHeaderMap(), None)
        settings = self.settings
        if settings.shadow is not None:
            verdict = settings.shadow.judge(subject)
            settings.stats.count_shadow(verdict.allowed, verdict.policy, False)
            prefix = settings.shadow_prefix
            told: dict[str, object] = {prefix + "shadow_engine_result": "allowed" if verdict.allowed else "denied"}
            if verdict.policy:
                told[prefix + "shadow_effective_policy_id"] = verdict.policy
            info.set_metadata(NAMESPACE, told)
        if settings.engine is None:
            return CONTINUE
        verdict = settings.engine.judge(subject)
        settings.stats.count(verdict.allowed, verdict.policy, False)
        if verdict.allowed:
            return CONTINUE
        self.denied = True
        facts.termination_details = response_details(verdict.policy)
        if settings.delay_ms > 0:
            connection.read_disable(True)
            self.delay = _DelayedClose(self)
            self.timer = connection.dispatcher.timer(self.delay, 0)
            self.timer.arm(settings.delay_ms)
        else:
            self.close()
        return STOP

    def close(self) -> None:
        self.connection.close(CLOSE_NO_FLUSH, CLOSE_REASON)

    def on_event(self, event: int) -> None:
        if event != EVENT_CONNECTED:
            self.on_destroy()

    def on_destroy(self) -> None:
        if self.timer is not None:
            self.timer.disarm()
            self.timer = None
        if self.delay is not None:
            self.delay.owner = None
            self.delay = None


class NetworkRbacFilterFactory(NetworkFilterFactory):
    def __init__(self, settings: NetworkRbacSettings) -> None:
        self.settings = settings

    def create(self) -> NetworkFilter:
        return NetworkRbacFilter(self.settings)


@NETWORK_FILTERS.register("envoy.filters.network.rbac", TYPE)
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    engine = load_engine(config, "rules", "matcher", True, context, False)
    shadow = load_engine(config, "shadow_rules", "shadow_matcher", False, context, False)
    shadow_prefix = config.text("shadow_rules_stat_prefix")
    prefix = config.text("stat_prefix")
    scope = context.root_scope.scope(prefix if prefix.endswith(".") else prefix + ".")
    return NetworkRbacFilterFactory(
        NetworkRbacSettings(
            engine,
            shadow,
            shadow_prefix,
            config.enum("enforcement_type") == "CONTINUOUS",
            config.millis("delay_deny") or 0,
            RbacStats(scope, "", shadow_prefix),
        )
    )
