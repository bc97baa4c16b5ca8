"""One half of the server, main's or a worker's: everything that is built from the bootstrap.

Both halves run the same code over the same configuration. Main's serves nothing: building it refuses what is wrong, and
its parts are what the control plane works on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.access_log.file_writer import AccessLogManager
from outrider.extensions.all_extensions import load_extensions
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.server.clusters import MainClusters, WorkerClusters
from outrider.server.discovery import MainDiscovery
from outrider.server.listener_entry import ListenerEntry
from outrider.server.static_listeners import build_listeners
from outrider.server.worker_subscriptions import WorkerSubscriptions
from outrider.stats.flush import StatsSink
from outrider.stats.sink_registry import STATS_SINKS
from outrider.stats.store import Store
from outrider.upstream.cluster_manager import ClusterManager

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.data.shared_limit import SharedArena
    from outrider.event.dispatcher import Dispatcher
    from outrider.network.transport_socket import TransportSocketFactory
    from outrider.server.bootstrap import BootstrapSettings
    from outrider.server.options import Options


class Proxy:
    """Stats, clusters and listeners of one half."""

    def __init__(
        self,
        options: Options,
        settings: BootstrapSettings,
        server: ServerInfo,
        store: Store,
        dispatcher: Dispatcher,
        runtime: Runtime,
        arena: SharedArena | None,
        worker_index: int,
        is_main: bool,
    ) -> None:
        """Build. Raises ConfigError (in main; a worker builds what main has built before)."""
        load_extensions()
        self.settings = settings
        self.store = store
        self.dispatcher = dispatcher
        self.access_logs = AccessLogManager(
            store, options.file_flush_interval_ms, options.file_flush_min_size_kb * 1024
        )
        self.cluster_manager = ClusterManager()
        self.cluster_manager.local_cluster_name = settings.local_cluster_name
        self.context = FactoryContext(
            store,
            dispatcher,
            self.cluster_manager,
            runtime,
            self.access_logs,
            arena,
            server,
            worker_index,
            max(options.worker_count(), 1),
            is_main,
        )
        self.context.overload = settings.overload.new_state(store)
        self.context.tracing_provider = settings.tracing_provider
        # Main shows the stats of all; workers report whatever is used.
        store.defers = is_main and settings.defers_stats
        for view in settings.secrets:
            self.context.secrets[view.text("name")] = view
        self.main_clusters: MainClusters | None = None
        self.worker_clusters: WorkerClusters | None = None
        self.discovery: MainDiscovery | None = None
        self.worker_subscriptions = WorkerSubscriptions()
        if is_main:
            self.main_clusters = MainClusters(settings, self.context)
            self.discovery = MainDiscovery(options, settings, self.context, self.main_clusters)
        else:
            self.context.subscriptions = self.worker_subscriptions
            self.worker_clusters = WorkerClusters(settings, self.context)
        self.stats_sinks: list[StatsSink] = []
        if is_main:
            self.stats_sinks = [STATS_SINKS.create(view, self.context) for view in settings.stats_sinks]
        self.listeners: list[ListenerEntry] = build_listeners(settings.listeners, self.context)
        for view in settings.secrets:
            # A secret that nothing refers to does nothing, as in Envoy; of the others each field must be honoured.
            kind = view.which("type")
            if kind is not None and not view.was_read(kind):
                view.accept(kind)

    def start(self) -> None:
        """Begin what needs the loop."""
        self.access_logs.start(self.dispatcher)

    def transport_socket_factories(self, listeners: list[ListenerEntry]) -> list[TransportSocketFactory]:
        """All that these listeners and main's clusters use."""
        found = [chain.transport_socket_factory for each in listeners for chain in each.config.chains]
        if self.main_clusters is not None:
            for entry in self.main_clusters.control.entries():
                matcher = entry.info.transport_socket_matcher
                found += [matcher.default_factory, *[match.factory for match in matcher.matches]]
        return [factory for factory in found if factory.implements_secure_transport]

    def close(self) -> None:
        """Write out and let go."""
        if self.main_clusters is not None:
            self.main_clusters.control.stop()
        if self.discovery is not None:
            self.discovery.close()
        self.access_logs.close()
