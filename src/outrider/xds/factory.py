"""`XdsSubscriptions`: main's subscriptions, served by what a `ConfigSource` names.

Source: Envoy's `SubscriptionFactoryImpl` and `XdsManagerImpl`; "xDS configuration API overview".
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from outrider.config.errors import ConfigError
from outrider.config.subscription import Subscription, SubscriptionCallbacks, SubscriptionFactory
from outrider.event.file_watch import FileWatches
from outrider.grpc.client import GrpcClient
from outrider.grpc.factory import grpc_client
from outrider.router.async_client import AsyncClient
from outrider.xds import api_types
from outrider.xds.authorities import Authorities, NamedSubscription
from outrider.xds.grpc_subscription import InitialFetch, MuxSubscription
from outrider.xds.load_reports import LoadReporter
from outrider.xds.mux import Mux
from outrider.xds.mux_delta import DeltaMux
from outrider.xds.mux_state import StateMux
from outrider.xds.node import full_node, node_context
from outrider.xds.resource import DynamicPolicy
from outrider.xds.source import ApiSource, FileSource, initial_fetch_s
from outrider.xds.subscription_stats import ControlPlaneStats, SubscriptionStats
from outrider.xds.transport.back_off import read_back_off
from outrider.xds.transport.failover import FailoverStream
from outrider.xds.transport.files import FileSubscription
from outrider.xds.transport.grpc_stream import ConfigStream
from outrider.xds.transport.rest import RestSettings, RestSubscription
from outrider.xds.validators import CONFIG_VALIDATORS

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

_FAILOVER: Final = "envoy.restart_features.xds_failover_support"


class XdsSubscriptions(SubscriptionFactory):
    """Subscriptions from config sources.

    `ads_config` is `dynamic_resources.ads_config`; its stream opens with `start`, once the cluster behind it is there.
    """

    def __init__(
        self,
        context: FactoryContext,
        ads_config: View | None,
        node: Message | None = None,
        reject_unknown_dynamic: bool = False,
        is_primary_cluster: Callable[[str], bool] | None = None,
        make_client: Callable[[View, FactoryContext], GrpcClient] = grpc_client,
        config_sources: Sequence[View] = (),
        default_config_source: View | None = None,
        ignore_unknown_dynamic: bool = False,
        node_context_params: Sequence[str] = (),
    ) -> None:
        """`node`: what goes into requests. `is_primary_cluster`: whether a name is that of a static cluster that is not
        itself discovered (EDS); None = any cluster known by now. `config_sources`, `default_config_source`: those of
        the bootstrap, for `xdstp://` authorities. Raises ConfigError."""
        self.context = context
        unknown = context.root_scope.counter("server.dynamic_unknown_fields")
        self.policy = DynamicPolicy(reject_unknown_dynamic, ignore_unknown_dynamic, unknown)
        # Serialized once. The extensions have been registered by now.
        self.node: bytes = full_node(node).SerializeToString(deterministic=True) if node is not None else b""
        self.context_params = node_context(node, node_context_params) if node is not None else {}
        self._is_primary = is_primary_cluster
        self._make_client = make_client
        self._watches: FileWatches | None = None
        self._async_client: AsyncClient | None = None
        # The streams beside ADS, as long as somebody uses them.
        self._muxes: weakref.WeakSet[Mux] = weakref.WeakSet()
        self.ads: Mux | None = None
        # What the streams of several types were made from: their clusters are checked when there are any.
        self.aggregated_sources: list[ApiSource] = []
        if ads_config is not None:
            source = self._source(ads_config)
            source.check_is_stream()
            self.aggregated_sources.append(source)
            self.ads = self._mux(source, None, context.root_scope)
        self.authorities = Authorities(config_sources, default_config_source, self._authority)

    # Subscriptions

    def subscribe(
        self, source: View | None, type_name: str, callbacks: SubscriptionCallbacks, scope: Scope, path_key: str = ""
    ) -> Subscription:
        server = self.context.server
        if not (server.node_id and server.node_cluster):
            # Of files, too, as in Envoy.
            raise _error(
                source,
                f"{api_types.type_url(type_name)}: node 'id' and 'cluster' are required. Set it either in 'node' "
                "config or via --service-node and --service-cluster options.",
            )
        if source is not None:
            # One version of the API is left.
            source.accept("resource_api_version")
        stats = SubscriptionStats(scope)
        kind = source.which("config_source_specifier") if source is not None else "ads"
        fetch = InitialFetch(self.context.dispatcher, initial_fetch_s(source))
        if kind == "ads":
            if source is not None:
                source.accept("ads")
            aggregated = partial(self._aggregated, source, type_name, callbacks, stats, fetch)
            if source is None and self.authorities.muxes:
                return NamedSubscription(self.authorities, aggregated)
            return aggregated(None)
        assert source is not None
        if kind in ("path", "path_config_source"):
            return self._file(source, type_name, callbacks, stats)
        if kind == "api_config_source":
            inner = source.message("api_config_source")
            assert inner is not None
            return self._api(self._source(inner), type_name, callbacks, stats, fetch, scope)
        raise source.error("Missing config source specifier in envoy::config::core::v3::ConfigSource")

    def _aggregated(
        self, source: View | None, type_name: str, callbacks: SubscriptionCallbacks, stats: SubscriptionStats,
        fetch: InitialFetch, mux: Mux | None,
    ) -> Subscription:  # fmt: skip
        """Over an authority's stream, or for None over ADS."""
        mux = mux if mux is not None else self.ads
        if mux is None:
            raise _error(source, "ADS must be configured to support an ADS config source")
        return MuxSubscription(mux, type_name, callbacks, stats, fetch, False)

    def _authority(self, config: View) -> Mux:
        source = self._source(config)
        self.aggregated_sources.append(source)
        return self._mux(source, None, self.context.root_scope)

    def _file(
        self, source: View, type_name: str, callbacks: SubscriptionCallbacks, stats: SubscriptionStats
    ) -> Subscription:
        file = FileSource(source)
        if self._watches is None:
            self._watches = FileWatches(self.context.dispatcher)
        try:
            return FileSubscription(
                file.path, file.folder, file.poll_s, type_name, callbacks, stats, self.policy, self._watches
            )
        except OSError as error:
            raise source.error(f"unable to watch '{file.folder or file.path}': {error.strerror}") from None

    def _api(
        self, source: ApiSource, type_name: str, callbacks: SubscriptionCallbacks, stats: SubscriptionStats,
        fetch: InitialFetch, scope: Scope,
    ) -> Subscription:  # fmt: skip
        service = api_types.SERVICES.get(type_name)
        if source.api_type in ("GRPC", "DELTA_GRPC"):
            if service is None:
                raise source.view.error(f"{type_name} is served over ADS only")
            source.check_clusters(self._cluster_is_primary)
            mux = self._mux(source, service, scope)
            self._muxes.add(mux)
            return MuxSubscription(mux, type_name, callbacks, stats, fetch, True)
        if source.api_type == "REST":
            source.check_clusters(self._cluster_is_primary)
            if service is None or not service.rest_path:
                raise source.view.error(f"{type_name} has no REST form", "api_type")
            if source.refresh_ms <= 0:
                raise source.view.error("refresh_delay is required for REST API configuration sources", "refresh_delay")
            if self._async_client is None:
                self._async_client = AsyncClient(self.context)
            settings = RestSettings(
                source.clusters[0], service.rest_path, source.refresh_ms, source.timeout_ms, self.node
            )
            return RestSubscription(self._async_client, settings, type_name, callbacks, stats, fetch, self.policy)
        if source.api_type in ("AGGREGATED_GRPC", "AGGREGATED_DELTA_GRPC"):
            raise source.view.error(f"Unsupported config source {source.api_type}", "api_type")
        raise source.view.error(
            "REST_LEGACY no longer a supported ApiConfigSource. Please specify an explicit supported api_type",
            "api_type",
        )

    def _mux(self, source: ApiSource, service: api_types.ApiService | None, scope: Scope) -> Mux:
        """A stream of its own; `service` None: the aggregated one. Raises ConfigError."""
        which = service if service is not None else api_types.ADS
        dispatcher = self.context.dispatcher
        stats = ControlPlaneStats(scope)
        mux: Mux
        if source.is_delta:
            mux = DeltaMux(dispatcher, self.policy, self.node, source.node_once)
            method = which.delta
        else:
            mux = StateMux(dispatcher, self.policy, self.node, source.node_once)
            method = which.stream
        mux.context_params = self.context_params
        mux.validators = [CONFIG_VALIDATORS.create(each, self.context) for each in source.validators]
        streams = [
            ConfigStream(
                self._make_client(each, self.context), which.service, method, mux, dispatcher, stats,
                read_back_off(each), source.limit, source.destination(each),
            )
            for each in source.services
        ]  # fmt: skip
        mux.stream = streams[0] if len(streams) == 1 else FailoverStream(streams[0], streams[1], mux)
        return mux

    def load_reporter(self, config: View) -> LoadReporter:
        """From `cluster_manager.load_stats_config`. Raises ConfigError."""
        source = self._source(config)
        source.check_is_stream()
        source.check_clusters(self._cluster_is_primary)
        context = self.context
        client = self._make_client(source.services[0], context)
        return LoadReporter(client, self.node, context.dispatcher, context.root_scope)

    def _source(self, view: View) -> ApiSource:
        return ApiSource(view, 2 if self.context.runtime.get_boolean(_FAILOVER, False) else 1)

    def _cluster_is_primary(self, name: str) -> bool:
        if self._is_primary is not None:
            return self._is_primary(name)
        return self.context.cluster_manager.has(name)

    # The life of the streams

    def start(self) -> None:
        """Open the ADS stream: the clusters that it needs are ready."""
        for mux in self._aggregated_muxes():
            mux.start()

    def _aggregated_muxes(self) -> list[Mux]:
        return [*([self.ads] if self.ads is not None else ()), *self.authorities.muxes]

    def pause(self, type_name: str) -> None:
        """Hold back requests of a type (EDS while clusters are taken over, RDS while listeners are). Counted."""
        for mux in self._aggregated_muxes():
            mux.pause(type_name)

    def resume(self, type_name: str) -> None:
        """Undo one `pause`."""
        for mux in self._aggregated_muxes():
            mux.resume(type_name)

    def close(self) -> None:
        """The end of all streams and watches."""
        for mux in list(self._muxes):
            mux.close()
        self._muxes.clear()
        for mux in self._aggregated_muxes():
            mux.close()
        if self._watches is not None:
            self._watches.close()
            self._watches = None


def _error(source: View | None, text: str) -> ConfigError:
    return source.error(text) if source is not None else ConfigError(text)
