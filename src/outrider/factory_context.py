"""What a factory may reach. Only attributes, no behaviour; the one module that may name types of higher ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from outrider.overload.state import OverloadState

if TYPE_CHECKING:
    from outrider.access_log.file_writer import AccessLogManager
    from outrider.config.init_manager import InitManager
    from outrider.config.runtime import Runtime
    from outrider.config.subscription import SubscriptionFactory
    from outrider.config.support import SupportPolicy
    from outrider.config.view import View
    from outrider.data.shared_limit import SharedArena
    from outrider.event.dispatcher import Dispatcher
    from outrider.http.conn_manager_settings import DrainDecision
    from outrider.server.admin.config_tracker import ConfigTracker
    from outrider.stats.store import Scope
    from outrider.upstream.cluster_manager import ClusterManager


class ServerInfo:
    """Facts of the process that extensions may show: node identity, command line, drain state."""

    __slots__ = (
        "node_id",
        "node_cluster",
        "node_zone",
        "node_region",
        "node_sub_zone",
        "node_metadata",
        "node_user_agent",
        "header_prefix",
        "hostname",
        "drain_time_s",
        "drain_gradual",
        "start_time",
        "health_check_failed",
        "draining",
        "drain_started",
    )

    def __init__(self) -> None:
        self.node_id: str = ""
        self.node_cluster: str = ""
        self.node_zone: str = ""
        self.node_region: str = ""
        self.node_sub_zone: str = ""
        self.node_metadata: dict[str, object] = {}
        self.node_user_agent: str = ""
        # Bootstrap.header_prefix: replaces "x-envoy" in the names of Envoy's own headers.
        self.header_prefix: str = "x-envoy"
        self.hostname: str = ""
        self.drain_time_s: float = 600.0
        self.drain_gradual: bool = True
        self.start_time: float = 0.0
        # `/healthcheck/fail`
        self.health_check_failed: bool = False
        # `/drain_listeners?graceful`, hot restart: connections are asked to go away over `drain_time_s`.
        self.draining: bool = False
        # Monotonic seconds at which the drain began.
        self.drain_started: float = 0.0


class FactoryContext:
    """One per process half (main, worker) and per scope; `with_scope` makes the narrower ones."""

    def __init__(
        self,
        scope: Scope,
        dispatcher: Dispatcher,
        cluster_manager: ClusterManager,
        runtime: Runtime,
        access_log_manager: AccessLogManager,
        arena: SharedArena | None,
        server: ServerInfo,
        worker_index: int = 0,
        concurrency: int = 1,
        is_main: bool = False,
    ) -> None:
        self.scope = scope
        self.dispatcher = dispatcher
        self.cluster_manager = cluster_manager
        self.runtime = runtime
        self.access_log_manager = access_log_manager
        # Rows for limits shared with the other workers; None when nothing is shared (validation, inline worker).
        self.arena = arena
        self.server = server
        self.worker_index = worker_index
        self.concurrency = concurrency
        # True in the main process, which builds everything once to refuse bad configuration, and serves none of it.
        self.is_main = is_main
        # Objects shared by extensions, by name.
        self.singletons: dict[str, object] = {}
        # Server-scoped stats (`server.`), independent of the listener's or cluster's scope.
        self.root_scope: Scope = scope
        # Prefix of the stats of the listener, `listener.<address>.`, when one is being built.
        self.listener_scope: Scope | None = None
        # Direction of the listener being built: UNSPECIFIED, INBOUND or OUTBOUND.
        self.traffic_direction: str = "UNSPECIFIED"
        # DEFAULT, or MODIFY_ONLY: a failed health check does not drain the connections of this listener.
        self.drain_type: str = "DEFAULT"
        # Name, direction and metadata of the listener being built (network.listener_config.ListenerInfo).
        self.listener_info: object = None
        # Secrets of the bootstrap by name (tls_certificate, validation_context, ...), as config views.
        self.secrets: dict[str, object] = {}
        # Default for HTTP filters' per-route configuration: set by the HCM that is being built.
        self.stat_prefix: str = ""
        # When connections of the listener being built are asked to go away; None outside listeners.
        self.drain_decision: DrainDecision | None = None
        # Where configuration that changes comes from: config sources in main, main in a worker; None in validation.
        self.subscriptions: SubscriptionFactory | None = None
        # What must be there before that which is being built may serve (the server's, or a listener's own); None where
        # nothing waits (workers: main has waited for them).
        self.init_manager: InitManager | None = None
        # What is to be called once that which is being built is gone: a removed listener or filter chain, a cluster, a
        # route table. Who builds such a thing gives its parts a list of its own (`owned_by`) and empties it in the end.
        self.on_close: list[Callable[[], None]] = []
        # What is done about fields of discovered resources that nobody reads; None in workers: main has looked.
        self.support: SupportPolicy | None = None
        # What is shown in /config_dump: routes, secrets and extensions that were discovered. None in workers.
        self.config_tracker: ConfigTracker | None = None
        # Called with each warning that configuration gives rise to.
        self.warn: Callable[[str], None] | None = None
        # `Bootstrap.tracing.http`: the tracer of connection managers that name none.
        self.tracing_provider: View | None = None
        # How far overload actions are on; all off where there is no overload manager.
        self.overload: OverloadState = OverloadState()

    def with_scope(self, scope: Scope) -> FactoryContext:
        """The same context with another stats scope."""
        twin = FactoryContext.__new__(FactoryContext)
        twin.__dict__.update(self.__dict__)
        twin.scope = scope
        return twin

    def owned_by(self, on_close: list[Callable[[], None]]) -> FactoryContext:
        """The same context for something that has an end of its own: `on_close` collects what is to be done then."""
        twin = self.with_scope(self.scope)
        twin.on_close = on_close
        return twin
