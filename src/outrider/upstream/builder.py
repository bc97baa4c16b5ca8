"""From a `Cluster` message to its info and, in a worker, to the cluster: the one place where the parts meet.

Both halves build the info from the same message with the same code, so whatever main accepts a worker can build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.config.view import View
from outrider.network.transport_socket import RAW_BUFFER, UPSTREAM_TRANSPORT_SOCKETS, TransportSocketFactory
from outrider.upstream.cluster import Cluster
from outrider.upstream.cluster_info import UPSTREAM_AUTO, ClusterInfo, cluster_scope
from outrider.upstream.config.cluster_config import ClusterConfig, ClusterDefaults
from outrider.upstream.connector import HostConnector
from outrider.upstream.control_link import ControlLink
from outrider.upstream.host import Locality
from outrider.upstream.transport_socket_matcher import TransportSocketMatcher

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext


def build_cluster_info(
    view: View, context: FactoryContext, defaults: ClusterDefaults, added_via_api: bool = False
) -> ClusterInfo:
    """Settings, stats and transport sockets of a cluster. Raises ConfigError."""
    config = ClusterConfig.from_view(view, defaults)
    scope = cluster_scope(context.root_scope, config.observability_name)
    socket_context = context.with_scope(scope)
    default_factory: TransportSocketFactory = RAW_BUFFER
    given = view.message("transport_socket")
    if given is not None:
        default_factory = UPSTREAM_TRANSPORT_SOCKETS.create(given, socket_context)
    matcher = TransportSocketMatcher(default_factory, scope)
    for match in view.messages("transport_socket_matches"):
        name = match.text("name")
        inner = match.message("transport_socket")
        factory = RAW_BUFFER if inner is None else UPSTREAM_TRANSPORT_SOCKETS.create(inner, socket_context)
        matcher.add(name, match.struct("match") or {}, factory, scope)
    if config.protocol_choice == UPSTREAM_AUTO and not default_factory.supports_alpn():
        raise view.error(f"ALPN configured for cluster {config.name} which has a non-ALPN transport socket")
    info = ClusterInfo(config, scope, matcher, context.arena, context.worker_index, added_via_api)
    if config.custom is not None:
        config.custom.check(context, view, info)
    return info


def build_cluster(
    info: ClusterInfo, context: FactoryContext, link: ControlLink, local: Cluster | None = None
) -> Cluster:
    """The worker's half. `local` is the cluster named by `local_cluster_name`, when there is one."""
    if info.config.custom is not None:
        return info.config.custom.make_cluster(info, context, link, local)
    server = context.server
    own = Locality(server.node_region, server.node_zone, server.node_sub_zone)
    return Cluster(
        info,
        HostConnector(context.dispatcher, info.config.bind),
        context.runtime,
        link,
        local=local,
        arena=context.arena,
        column=context.worker_index,
        own_locality=own if any(own.key) else None,
    )
