"""envoy.clusters.aggregate: several clusters as one, the next when those before it are unhealthy.

Source: Envoy documentation, "Aggregate cluster": the priorities of all clusters, one after the other, share the load as
those of a single cluster would; the balancer of the chosen cluster then picks within its priority.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.upstream.cluster import Cluster
from outrider.upstream.cluster_manager import ClusterCallbacks, ClusterManager
from outrider.upstream.cluster_type import CLUSTER_TYPES, ClusterType, ClusterTypeContext
from outrider.upstream.conn_pool import HttpConnPool, TcpConnPool
from outrider.upstream.connector import HostConnector
from outrider.upstream.control.reported_discovery import NoDiscovery
from outrider.upstream.hosts_update import HostsUpdate
from outrider.upstream.load_balancer.base import RANDOM, RandomSource
from outrider.upstream.load_balancer_context import LoadBalancerContext
from outrider.upstream.priority_load import PriorityLoad, compute
from outrider.upstream.priority_set import HostSet, PrioritySet, PrioritySetObserver

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.factory_context import FactoryContext
    from outrider.network.connection import Connection
    from outrider.network.transport_socket import TransportSocketOptions
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.control.cluster_control import ClusterControl
    from outrider.upstream.control.discovery import Discovery
    from outrider.upstream.control_link import ControlLink
    from outrider.upstream.host import Host


class PinnedContext(LoadBalancerContext):
    """The request's context, with all load on one priority of the chosen cluster."""

    __slots__ = ("inner", "priority", "degraded")

    def __init__(self, inner: LoadBalancerContext, priority: int, degraded: bool) -> None:
        self.inner = inner
        self.priority = priority
        self.degraded = degraded

    def determine_priority_load(self, load: PriorityLoad) -> PriorityLoad:
        count = len(load.healthy)
        pinned = PriorityLoad(count)
        if self.priority < count:
            if self.degraded:
                pinned.degraded[self.priority] = 100
            else:
                pinned.healthy[self.priority] = 100
        return pinned

    def compute_hash_key(self) -> int | None:
        return self.inner.compute_hash_key()

    def metadata_match(self) -> dict[str, object] | None:
        return self.inner.metadata_match()

    def downstream_connection(self) -> Connection | None:
        return self.inner.downstream_connection()

    def request_headers(self) -> RequestHeaderMap | None:
        return self.inner.request_headers()

    def stream_info(self) -> StreamInfo | None:
        return self.inner.stream_info()

    def attempt(self) -> int:
        return self.inner.attempt()

    def host_selection_retry_count(self) -> int:
        return self.inner.host_selection_retry_count()

    def should_select_another_host(self, host: Host) -> bool:
        return self.inner.should_select_another_host(host)

    def override_host(self) -> str | None:
        return self.inner.override_host()

    def transport_socket_options(self) -> TransportSocketOptions | None:
        return self.inner.transport_socket_options()


_NO_CONTEXT = LoadBalancerContext()


class _Watch(PrioritySetObserver):
    """Hosts of a member have changed."""

    __slots__ = ("cluster",)

    def __init__(self, cluster: AggregateCluster) -> None:
        self.cluster = cluster

    def on_priority_update(self, priority: int, added: list[Host], removed: list[Host]) -> None:
        self.cluster.stale = True


class _Arrivals(ClusterCallbacks):
    """Members come, go, or are replaced."""

    __slots__ = ("cluster",)

    def __init__(self, cluster: AggregateCluster) -> None:
        self.cluster = cluster

    def on_cluster_added(self, cluster: Cluster) -> None:
        if cluster.info.name in self.cluster.member_names:
            self.cluster.stale = True

    def on_cluster_removed(self, name: str) -> None:
        if name in self.cluster.member_names:
            self.cluster.stale = True


class AggregateCluster(Cluster):
    """No hosts of its own: hosts, pools and limits are those of the members."""

    def __init__(
        self, info: ClusterInfo, context: FactoryContext, link: ControlLink, members: list[str],
        random: RandomSource = RANDOM,
    ) -> None:
        super().__init__(info, HostConnector(context.dispatcher, info.config.bind), context.runtime, link)
        self.member_names = members
        self.clusters: ClusterManager = context.cluster_manager
        self.random = random
        # The members' priorities are other than when they were last looked at.
        self.stale: bool = True
        self.load: PriorityLoad | None = None
        # By overall priority: the member, and the priority within it.
        self._places: list[tuple[Cluster, int]] = []
        self._watched: dict[str, PrioritySet] = {}
        self._watch = _Watch(self)
        context.cluster_manager.add_callbacks(_Arrivals(self))

    def _refresh(self) -> None:
        self.stale = False
        self._places = []
        sets: list[HostSet] = []
        for name in self.member_names:
            member = self.clusters.get(name)
            if member is None:
                continue
            if self._watched.get(name) is not member.priorities:
                self._watched[name] = member.priorities
                member.priorities.observers.append(self._watch)
            self._add_places(member, sets)
        if not self._places:
            self.load = None
            return
        together = PrioritySet()
        together.sets = sets
        self.load = compute(together, self.info.config.lb_policy.common.panic_threshold)

    def _add_places(self, member: Cluster, sets: list[HostSet]) -> None:
        for host_set in member.priorities.sets:
            # Priorities that nobody is in are skipped, as the documentation says of the linearized order.
            if not host_set.hosts:
                continue
            view = HostSet(len(sets))
            view.hosts = host_set.hosts
            view.healthy = host_set.healthy
            view.degraded = host_set.degraded
            view.excluded = host_set.excluded
            view.overprovisioning_factor = host_set.overprovisioning_factor
            view.weighted_priority_health = host_set.weighted_priority_health
            sets.append(view)
            self._places.append((member, host_set.priority))

    def choose_member(self, context: LoadBalancerContext | None) -> tuple[Cluster, PinnedContext] | None:
        """The member that is to serve, and the context to ask it with."""
        if self.stale:
            self._refresh()
        load = self.load
        if load is None:
            return None
        inner = _NO_CONTEXT if context is None else context
        load = inner.determine_priority_load(load)
        chosen = load.choose(self.random.below(100))
        degraded = chosen < 0
        member, priority = self._places[-1 - chosen if degraded else chosen]
        return member, PinnedContext(inner, priority, degraded)

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        found = self.choose_member(context)
        if found is None:
            return None
        member, pinned = found
        return member.choose_host(pinned)

    def choose_pool(
        self, priority: int, context: LoadBalancerContext | None, downstream_protocol: int = 1
    ) -> HttpConnPool | None:
        found = self.choose_member(context)
        pool = None
        if found is not None:
            member, pinned = found
            pool = member.choose_pool(priority, pinned, downstream_protocol)
        if pool is None:
            self.info.stats.upstream_cx_none_healthy.inc()
        return pool

    def choose_tcp_pool(self, priority: int, context: LoadBalancerContext | None) -> TcpConnPool | None:
        found = self.choose_member(context)
        pool = None
        if found is not None:
            member, pinned = found
            pool = member.choose_tcp_pool(priority, pinned)
        if pool is None:
            self.info.stats.upstream_cx_none_healthy.inc()
        return pool

    def _replace_hosts(self, update: HostsUpdate) -> None:
        self._begin()


class Aggregate(ClusterType):
    """Both halves of it."""

    name = "envoy.clusters.aggregate"

    def __init__(self, members: list[str]) -> None:
        self.members = members

    def make_discovery(self, control: ClusterControl) -> Discovery:
        return NoDiscovery(control)

    def make_cluster(
        self, info: ClusterInfo, context: FactoryContext, link: ControlLink, local: Cluster | None
    ) -> Cluster:
        return AggregateCluster(info, context, link, self.members)


@CLUSTER_TYPES.register("envoy.clusters.aggregate", "envoy.extensions.clusters.aggregate.v3.ClusterConfig")
def create(config: View, context: ClusterTypeContext) -> ClusterType:
    return Aggregate(config.texts("clusters"))
