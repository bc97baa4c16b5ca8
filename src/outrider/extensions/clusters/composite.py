"""envoy.clusters.composite: the first attempt goes to the first cluster, each retry to the next.

Source: Envoy documentation, "Composite cluster"; attempts beyond the list have no host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.upstream.cluster import Cluster
from outrider.upstream.cluster_manager import ClusterManager
from outrider.upstream.cluster_type import CLUSTER_TYPES, ClusterType, ClusterTypeContext
from outrider.upstream.conn_pool import HttpConnPool, TcpConnPool
from outrider.upstream.connector import HostConnector
from outrider.upstream.control.reported_discovery import NoDiscovery
from outrider.upstream.hosts_update import HostsUpdate

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.control.cluster_control import ClusterControl
    from outrider.upstream.control.discovery import Discovery
    from outrider.upstream.control_link import ControlLink
    from outrider.upstream.host import Host
    from outrider.upstream.load_balancer_context import LoadBalancerContext


class CompositeCluster(Cluster):
    """No hosts of its own."""

    def __init__(self, info: ClusterInfo, context: FactoryContext, link: ControlLink, members: list[str]) -> None:
        super().__init__(info, HostConnector(context.dispatcher, info.config.bind), context.runtime, link)
        self.member_names = members
        self.clusters: ClusterManager = context.cluster_manager

    def _member(self, context: LoadBalancerContext | None) -> Cluster | None:
        attempt = 1 if context is None else context.attempt()
        return self.clusters.get(self.member_names[attempt - 1]) if attempt <= len(self.member_names) else None

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        member = self._member(context)
        return None if member is None else member.choose_host(context)

    def choose_pool(
        self, priority: int, context: LoadBalancerContext | None, downstream_protocol: int = 1
    ) -> HttpConnPool | None:
        member = self._member(context)
        if member is None:
            self.info.stats.upstream_cx_none_healthy.inc()
            return None
        return member.choose_pool(priority, context, downstream_protocol)

    def choose_tcp_pool(self, priority: int, context: LoadBalancerContext | None) -> TcpConnPool | None:
        member = self._member(context)
        if member is None:
            self.info.stats.upstream_cx_none_healthy.inc()
            return None
        return member.choose_tcp_pool(priority, context)

    def _replace_hosts(self, update: HostsUpdate) -> None:
        self._begin()


class Composite(ClusterType):
    """Both halves of it."""

    name = "envoy.clusters.composite"

    def __init__(self, members: list[str]) -> None:
        self.members = members

    def make_discovery(self, control: ClusterControl) -> Discovery:
        return NoDiscovery(control)

    def make_cluster(
        self, info: ClusterInfo, context: FactoryContext, link: ControlLink, local: Cluster | None
    ) -> Cluster:
        return CompositeCluster(info, context, link, self.members)


@CLUSTER_TYPES.register("envoy.clusters.composite", "envoy.extensions.clusters.composite.v3.ClusterConfig")
def create(config: View, context: ClusterTypeContext) -> ClusterType:
    return Composite([entry.text("name") for entry in config.messages("clusters")])
