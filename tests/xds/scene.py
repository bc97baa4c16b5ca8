"""Subscriptions over real sockets: a loop, a cluster named `xds` with one host, and the factory on top."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from outrider.access_log.file_writer import AccessLogManager
from outrider.config.runtime import NO_RUNTIME
from outrider.config.subscription import Subscription
from outrider.event.dispatcher import Dispatcher, new_event_loop
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.stats.store import Store
from outrider.upstream.builder import build_cluster
from outrider.upstream.cluster_manager import ClusterManager
from outrider.upstream.config.cluster_config import ClusterDefaults
from outrider.upstream.control.manager import ControlManager
from outrider.xds.factory import XdsSubscriptions
from tests.config.messages import CLUSTER, message_of, view_of
from tests.support.control_plane import xds_cluster
from tests.xds.fakes import Memory

SOURCE = "envoy.config.core.v3.ConfigSource"
API_SOURCE = "envoy.config.core.v3.ApiConfigSource"


def grpc_source(api_type: str = "GRPC", **more: Any) -> dict[str, Any]:
    return {
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
        **more,
    }


class World:
    """`ads`: an ApiConfigSource as a tree. Everything runs on its loop, within `run`."""

    def __init__(
        self, port: int, ads: dict[str, Any] | None = None, http2: bool = True, reject_unknown: bool = False
    ) -> None:
        self.loop = new_event_loop()
        self.dispatcher = Dispatcher("test", self.loop)
        self.store = Store()
        self.clusters = ClusterManager()
        logs = AccessLogManager(self.store)
        server = ServerInfo()
        server.node_id, server.node_cluster = "me", "ours"
        self.context = FactoryContext(self.store, self.dispatcher, self.clusters, NO_RUNTIME, logs, None, server)
        control = ControlManager(self.context, ClusterDefaults(), self.clusters.apply_hosts)
        tree = xds_cluster(port)
        if not http2:
            del tree["typed_extension_protocol_options"]
        self.clusters.add(build_cluster(control.add(view_of(CLUSTER, tree)), self.context, control))

        async def wait() -> None:
            ready: asyncio.Future[None] = self.loop.create_future()
            control.start(lambda: ready.set_result(None))
            await asyncio.wait_for(ready, 10)

        self.loop.run_until_complete(wait())
        view = view_of(API_SOURCE, ads, "ads_config") if ads is not None else None
        node = message_of("envoy.config.core.v3.Node", {"id": "me"})
        self.context.server.node_id, self.context.server.node_cluster = "test-id", "test-cluster"
        self.sources = XdsSubscriptions(self.context, view, node, reject_unknown)
        self.run(self.sources.start)

    def run(self, what: Callable[..., Any], *arguments: Any) -> Any:
        async def call() -> Any:
            return what(*arguments)

        return self.loop.run_until_complete(call())

    def subscribe(
        self, source: dict[str, Any] | None, type_name: str, names: list[str] | None = None, scope: str = "s."
    ) -> tuple[Subscription, Memory]:
        """A started subscription."""
        memory = Memory()
        view = view_of(SOURCE, source, "source") if source is not None else None
        subscription = self.sources.subscribe(view, type_name, memory, self.store.scope(scope))
        self.run(subscription.start, names)
        return subscription, memory

    def until(self, condition: Callable[[], object], seconds: float = 8.0) -> None:
        """Let the loop run until something is true. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            self.loop.run_until_complete(asyncio.sleep(0.01))

    def idle(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def value(self, name: str) -> object:
        for metric in self.store.all_metrics():
            if metric.name == name:
                return metric.value  # type: ignore[attr-defined]
        raise AssertionError(f"no stat {name}")

    def close(self) -> None:
        self.run(self.sources.close)
        for cluster in self.clusters.clusters():
            self.run(self.clusters.remove, cluster.info.name)
        self.idle(0.02)
        self.loop.run_until_complete(self.dispatcher.shutdown())
        self.loop.close()
