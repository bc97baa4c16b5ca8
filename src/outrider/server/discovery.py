"""Main's discovery: config sources, what goes to the workers, CDS and LDS, and the order in which they come up.

Source: Envoy documentation, "Initialization": primary clusters, ADS, the other clusters, CDS, what listeners wait for
together with LDS, then the workers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.config.init_manager import InitManager
from outrider.config.rtds import RuntimeDiscoveries
from outrider.config.support import SupportPolicy
from outrider.server.admin.config_tracker import ConfigTracker
from outrider.server.cds import CdsApi
from outrider.server.clusters import MainClusters
from outrider.server.lds import LdsApi
from outrider.server.relay import RelaySubscriptions
from outrider.xds.api_types import CLUSTER
from outrider.xds.factory import XdsSubscriptions
from outrider.xds.load_reports import LoadReporter

if TYPE_CHECKING:
    from outrider.config.runtime_layers import RuntimeLoader
    from outrider.factory_context import FactoryContext
    from outrider.server.bootstrap import BootstrapSettings
    from outrider.server.listener_manager import MainListeners
    from outrider.server.options import Options

_log: Final = logging.getLogger("outrider.runtime")


class MainDiscovery:
    """Everything of main that talks to management servers. Nothing is connected to before `start`."""

    def __init__(
        self, options: Options, settings: BootstrapSettings, context: FactoryContext, clusters: MainClusters
    ) -> None:
        """Builds the static clusters, too, between the parts that need them. Raises ConfigError(s)."""
        self.settings = settings
        self.context = context
        self.clusters = clusters
        # What must be there before the workers start: first routes, secrets, listeners.
        self.init_manager = InitManager("Server")
        self.tracker = ConfigTracker()
        context.init_manager = self.init_manager
        context.config_tracker = self.tracker
        context.support = SupportPolicy("warn" if options.unsupported == "warn" else "reject")
        self.sources = XdsSubscriptions(
            context, settings.ads_config, settings.node, options.reject_unknown_dynamic_fields, clusters.is_primary,
            config_sources=settings.config_sources, default_config_source=settings.default_config_source,
            ignore_unknown_dynamic=options.ignore_unknown_dynamic_fields,
            node_context_params=settings.node_context_params,
        )  # fmt: skip
        self.relay = RelaySubscriptions(self.sources)
        context.subscriptions = self.relay
        clusters.control.subscriptions = self.sources
        clusters.load()
        for source in self.sources.aggregated_sources:
            source.check_clusters(clusters.is_primary)
        self.load_reporter: LoadReporter | None = None
        if settings.load_stats_config is not None:
            self.load_reporter = self.sources.load_reporter(settings.load_stats_config)
        self.cds: CdsApi | None = None
        if settings.cds_config is not None or settings.cds_locator:
            scope = context.root_scope.scope("cluster_manager.cds")
            self.cds = CdsApi(settings.cds_config, settings.cds_locator, self.sources, clusters, scope)
        self.lds: LdsApi | None = None
        self.validating = options.mode == "validate"
        self.runtime: RuntimeDiscoveries | None = None
        self._cds_held = False
        clusters.control.on_warming = self._on_warming

    def _on_warming(self, some: bool) -> None:
        """While clusters warm, CDS is not acknowledged: an ADS server sees by it when routes to them may follow."""
        if some != self._cds_held:
            self._cds_held = some
            if some:
                self.sources.pause(CLUSTER)
            else:
                self.sources.resume(CLUSTER)

    def add_lds(self, listeners: MainListeners) -> None:
        """The subscription to listeners, which the server waits for. Raises ConfigError."""
        settings = self.settings
        if settings.lds_config is None and not settings.lds_locator:
            return
        if self.validating:
            # As Envoy: validation does not look at where listeners would come from.
            if settings.lds_config is not None:
                settings.lds_config.take()
            return
        scope = listeners.stats.scope.scope("lds")
        self.lds = LdsApi(settings.lds_config, settings.lds_locator, self.sources, listeners, scope)
        self.init_manager.add(self.lds.init_target)

    def add_runtime(self, loader: RuntimeLoader) -> None:
        """The subscriptions to runtime layers, which clusters that need a management server wait for. Raises
        ConfigError."""
        self.runtime = RuntimeDiscoveries(loader, self.sources, self.context.root_scope)

    def start(
        self, before_secondary: Callable[[Callable[[], None]], None], on_clusters: Callable[[], None]
    ) -> None:
        """Bring the clusters up. `before_secondary` gets a function to call when what needs only primary clusters
        (runtime discovery) is there; `on_clusters` is called when all are initialized."""
        init = self.clusters.control.init
        init.on_primary_done = lambda: before_secondary(self._start_runtime)
        if self.cds is not None:
            init.start_cds = self.cds.start
            self.cds.on_initialized = init.on_cds_initialized
        self.clusters.control.start(on_clusters)

    def _start_runtime(self) -> None:
        self.sources.start()
        if self.runtime is not None:
            self.runtime.start(self._start_secondary)
        else:
            self._start_secondary()

    def _start_secondary(self) -> None:
        _log.info("RTDS has finished initialization")
        self.clusters.control.init.start_secondary()
        if self.load_reporter is not None:
            self.load_reporter.start()

    def unready(self) -> list[tuple[str, list[str]]]:
        """Init managers and the targets they wait for (`/init_dump`)."""
        found: list[tuple[str, list[str]]] = []
        for manager in [self.init_manager] + ([self.runtime.init_manager] if self.runtime is not None else []):
            waiting = manager.unready()
            if waiting:
                found.append((manager.name, waiting))
        for entry in self.clusters.control.warming.values():
            waiting = entry.control.init_manager.unready()
            if waiting:
                found.append((entry.control.init_manager.name, waiting))
        return found

    def close(self) -> None:
        if self.load_reporter is not None:
            self.load_reporter.close()
        if self.runtime is not None:
            self.runtime.close()
        self.sources.close()
