"""envoy.filters.udp_listener.udp_proxy: datagrams to clusters and back, by sessions.

Source: Envoy documentation, "UDP proxy"; `envoy.extensions.filters.udp.udp_proxy.v3`.
"""

from __future__ import annotations

import socket
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final

from outrider.access_log.access_log import AccessLog, create_access_logs
from outrider.access_log.context import FormatContext
from outrider.data import response_flag
from outrider.data.address import KIND_PIPE, Address
from outrider.data.stream_info import PROTOCOL_NONE, ConnectionInfo, StreamInfo
from outrider.extensions.filters.udp.session_filter import UDP_SESSION_FILTERS, UdpSessionFilterFactory
from outrider.extensions.filters.udp.udp_session import SessionContext, UdpSession, peer_address
from outrider.extensions.filters.udp.udp_stats import UdpProxyStats, UdpUpstreamStats
from outrider.extensions.filters.udp.udp_tunnel import UdpTunnelSettings, read_udp_tunnel
from outrider.matching.data import MatchingData
from outrider.matching.tree import MatchTree
from outrider.matching.tree_loader import ActionLoader, load_tree
from outrider.network.udp_filter import (
    UDP_LISTENER_FILTERS,
    Peer,
    UdpListenerFilter,
    UdpListenerFilterFactory,
)
from outrider.network.udp_socket import UdpSocketConfig, read_udp_socket
from outrider.router.config.hash_policy import hash64
from outrider.upstream.cluster_manager import ClusterCallbacks, ClusterManager
from outrider.upstream.host import UNHEALTHY

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.udp_listener import UdpAddress
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.host import Host

TYPE: Final = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
ROUTE_TYPE: Final = "envoy.extensions.filters.udp.udp_proxy.v3.Route"
DEFAULT_IDLE_MS: Final = 60_000
# Of the log of the whole proxy, which has no peer.
_UNSET: Final = Address(KIND_PIPE, "", 0)


class UdpRoute:
    """The action of the matcher."""

    __slots__ = ("cluster",)

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster


class _Routes(ActionLoader):
    def load(self, action: View) -> object:
        if action.any_type("typed_config") != ROUTE_TYPE:
            raise action.error(
                f"Didn't find a registered implementation for '{action.text('name')}' with type URL: "
                f"'{action.any_type('typed_config')}'"
            )
        action.text("name")
        return UdpRoute(action.any("typed_config").text("cluster"))


class UdpProxySettings:
    """What the filter was configured to do. Times in milliseconds, 0 = off."""

    def __init__(self, stats: UdpProxyStats, clusters: ClusterManager) -> None:
        self.stats = stats
        self.clusters = clusters
        # One of the two.
        self.cluster: str = ""
        self.matcher: MatchTree | None = None
        self.idle_timeout_ms: int = DEFAULT_IDLE_MS
        self.use_original_src_ip: bool = False
        self.per_packet: bool = False
        # Of hash policies the last one that is set counts, as they are one value each.
        self.hash_source_ip: bool = False
        self.hash_key: int | None = None
        self.upstream_socket: UdpSocketConfig = read_udp_socket(None, True)
        self.session_filters: list[UdpSessionFilterFactory] = []
        self.tunnel: UdpTunnelSettings | None = None
        self.access_logs: list[AccessLog] = []
        self.proxy_access_logs: list[AccessLog] = []
        self.log_flush_interval_ms: int = 0
        self.log_on_tunnel_connected: bool = False


class UdpProxy(UdpListenerFilter):
    """The filter of one listening socket."""

    def __init__(self, settings: UdpProxySettings) -> None:
        self.settings = settings
        # By peer, and with per-packet balancing by peer and host.
        self.sessions: dict[object, UdpSession] = {}
        self.session_total: int = 0
        self.idle_timeouts: int = 0
        self.no_route: int = 0
        self.bytes_received: int = 0
        self._upstream_stats: dict[str, UdpUpstreamStats] = {}
        self._callbacks: _Clusters | None = None

    def initialize(self, listener: UdpAddress) -> None:
        self.listener: UdpAddress = listener
        self._callbacks = _Clusters(self)
        self.settings.clusters.add_callbacks(self._callbacks)

    def on_data(self, data: bytes, peer: Peer) -> bool:
        self.bytes_received += len(data)
        if self.settings.per_packet:
            self._per_packet(data, peer)
            return False
        session = self.sessions.get(peer)
        if session is not None:
            host = session.host
            if host is not None and (host.removed or host.health == UNHEALTHY):
                session = self._replace(session, host)
        if session is None:
            session = self._new_session(peer)
        if session is not None and not session.closed:
            session.on_downstream(data)
        return False

    def _replace(self, session: UdpSession, host: Host) -> UdpSession | None:
        """The session's host is gone or unhealthy: a session with a better one, if there is any."""
        if not host.removed:
            other = self.choose_host(session.cluster, session.info)
            if other is None or other is host or other.health == UNHEALTHY:
                return session
        self.end_session(session)
        return None

    def _cluster_for(self, peer: Peer, info: StreamInfo | None) -> Cluster | None:
        settings = self.settings
        name = settings.cluster
        if settings.matcher is not None:
            if info is None:
                info = self._info(peer)
            action = settings.matcher.evaluate(MatchingData(info))
            name = action.cluster if isinstance(action, UdpRoute) else ""
        cluster = settings.clusters.get(name) if name else None
        if cluster is None:
            settings.stats.sess_no_route.inc()
            self.no_route += 1
        return cluster

    def _info(self, peer: Peer) -> StreamInfo:
        return StreamInfo(
            ConnectionInfo(0, self.listener.address, peer_address(peer)), time_ns(), monotonic_ns(), PROTOCOL_NONE
        )

    def choose_host(self, cluster: Cluster, info: StreamInfo) -> Host | None:
        settings = self.settings
        key = settings.hash_key
        if settings.hash_source_ip:
            key = hash64(info.connection.remote_address.host_bytes)
        host = cluster.choose_host(SessionContext(info, key))
        if host is None:
            cluster.info.stats.upstream_cx_none_healthy.inc()
        return host

    def _new_session(self, peer: Peer) -> UdpSession | None:
        cluster = self._cluster_for(peer, None)
        if cluster is None:
            return None
        session = UdpSession(self, peer, cluster, self.upstream_stats(cluster))
        if not self._may_connect(cluster):
            self.settings.stats.sess_total.inc()
            self.session_total += 1
            session.info.response_flags |= response_flag.UPSTREAM_OVERFLOW
            session.close()
            return None
        host: Host | None = None
        if self.settings.tunnel is None and not self.settings.session_filters:
            host = self.choose_host(cluster, session.info)
            if host is None:
                return None
        self.sessions[peer] = session
        return session if session.start(host) else None

    def _may_connect(self, cluster: Cluster) -> bool:
        if cluster.info.resource_manager(0).connections.can_create():
            return True
        cluster.info.stats.upstream_cx_overflow.inc()
        return False

    def _per_packet(self, data: bytes, peer: Peer) -> None:
        """Each datagram goes to a host of its own choice; a session for each pair of peer and host."""
        info = self._info(peer)
        cluster = self._cluster_for(peer, info)
        if cluster is None:
            return
        host = self.choose_host(cluster, info)
        if host is None:
            return
        key = (peer, host.key)
        session = self.sessions.get(key)
        if session is None:
            if not self._may_connect(cluster):
                return
            session = UdpSession(self, peer, cluster, self.upstream_stats(cluster))
            self.sessions[key] = session
            if not session.start(host):
                return
        session.on_downstream(data)

    def upstream_stats(self, cluster: Cluster) -> UdpUpstreamStats:
        name = cluster.info.name
        found = self._upstream_stats.get(name)
        if found is None:
            found = UdpUpstreamStats(cluster.info.scope.scope("udp."))
            self._upstream_stats[name] = found
        return found

    # --- the end ---

    def end_session(self, session: UdpSession) -> None:
        """Close and forget a session."""
        key: object = session.peer
        if self.settings.per_packet and session.host is not None:
            key = (session.peer, session.host.key)
        if self.sessions.get(key) is session:
            del self.sessions[key]
        session.close()

    def forget_cluster(self, name: str) -> None:
        """The cluster is replaced or gone: its sessions end."""
        self._upstream_stats.pop(name, None)
        for session in list(self.sessions.values()):
            if session.cluster.info.name == name:
                self.end_session(session)

    def on_close(self) -> None:
        if self._callbacks is not None:
            self.settings.clusters.remove_callbacks(self._callbacks)
            self._callbacks = None
        for session in list(self.sessions.values()):
            session.close()
        self.sessions.clear()
        self._log()

    def _log(self) -> None:
        settings = self.settings
        if not settings.proxy_access_logs:
            return
        stats = settings.stats
        info = StreamInfo(ConnectionInfo(0, _UNSET, _UNSET), time_ns(), monotonic_ns(), PROTOCOL_NONE)
        info.bytes_received = self.bytes_received
        info.bytes_sent = stats.sess_tx_bytes.value
        info.metadata = {
            "udp.proxy.proxy": {
                "bytes_sent": stats.sess_tx_bytes.value,
                "bytes_received": stats.sess_rx_bytes.value,
                "errors_sent": stats.sess_tx_errors.value,
                "errors_received": stats.sess_rx_errors.value,
                "datagrams_sent": stats.sess_tx_datagrams.value,
                "datagrams_received": stats.sess_rx_datagrams.value,
                "no_route": self.no_route,
                "session_total": self.session_total,
                "idle_timeout": self.idle_timeouts,
            }
        }
        context = FormatContext(info)
        for log in settings.proxy_access_logs:
            log.log(context)


class _Clusters(ClusterCallbacks):
    """Clusters come and go."""

    def __init__(self, proxy: UdpProxy) -> None:
        self.proxy = proxy

    def on_cluster_added(self, cluster: Cluster) -> None:
        self.proxy.forget_cluster(cluster.info.name)

    def on_cluster_removed(self, name: str) -> None:
        self.proxy.forget_cluster(name)


class UdpProxyFactory(UdpListenerFilterFactory):
    """Makes the filter of each worker."""

    def __init__(self, settings: UdpProxySettings) -> None:
        self.settings = settings

    def create(self) -> UdpListenerFilter:
        return UdpProxy(self.settings)


def _may_be_transparent() -> bool:
    """Whether this process may send from addresses that are not its own (CAP_NET_ADMIN)."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_TRANSPARENT", 19), 1)
    except OSError:
        return False
    finally:
        probe.close()
    return True


@UDP_LISTENER_FILTERS.register("envoy.filters.udp_listener.udp_proxy", TYPE)
def create(config: View, context: FactoryContext) -> UdpListenerFilterFactory:
    """Raises ConfigError."""
    stats = UdpProxyStats(context.root_scope.scope(f"udp.{config.text('stat_prefix')}."))
    settings = UdpProxySettings(stats, context.cluster_manager)
    matcher = config.message("matcher")
    if matcher is not None:
        settings.matcher = load_tree(matcher, _Routes(), context, http=False)
    else:
        settings.cluster = config.text("cluster")
    idle = config.millis("idle_timeout")
    if idle is not None:
        settings.idle_timeout_ms = idle
    settings.use_original_src_ip = config.flag("use_original_src_ip")
    if settings.use_original_src_ip and not _may_be_transparent():
        raise config.error(
            "The platform does not support either IP_TRANSPARENT or IPV6_TRANSPARENT. Or the envoy is not running "
            "with the CAP_NET_ADMIN capability.",
            "use_original_src_ip",
        )
    settings.per_packet = config.flag("use_per_packet_load_balancing")
    for policy in config.messages("hash_policies"):
        if policy.which("policy_specifier") == "source_ip":
            settings.hash_source_ip = policy.flag("source_ip")
        else:
            settings.hash_key = hash64(policy.text("key").encode())
    settings.upstream_socket = read_udp_socket(config.message("upstream_socket_config"), True)
    for each in config.messages("session_filters"):
        settings.session_filters.append(UDP_SESSION_FILTERS.create(each, context))
    tunnel = config.message("tunneling_config")
    if tunnel is not None:
        settings.tunnel = read_udp_tunnel(tunnel, context)
    if settings.per_packet and (settings.session_filters or tunnel is not None):
        raise config.error(
            "Only one of use_per_packet_load_balancing or session_filters can be used."
            if settings.session_filters
            else "Only one of use_per_packet_load_balancing or tunneling_config can be used.",
            "use_per_packet_load_balancing",
        )
    settings.access_logs = create_access_logs(config.messages("access_log"), context)
    settings.proxy_access_logs = create_access_logs(config.messages("proxy_access_log"), context)
    options = config.message("access_log_options")
    if options is not None:
        settings.log_flush_interval_ms = options.millis("access_log_flush_interval") or 0
        settings.log_on_tunnel_connected = options.flag("flush_access_log_on_tunnel_connected")
    return UdpProxyFactory(settings)
