"""A UDP session: the datagrams of one downstream peer on their way to one upstream host, and back."""

from __future__ import annotations

import socket
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final

from outrider.access_log import context as log_types
from outrider.access_log.context import FormatContext
from outrider.data import response_flag
from outrider.data.address import KIND_IP, Address
from outrider.data.stream_info import PROTOCOL_NONE, ConnectionInfo, StreamInfo, UpstreamInfo
from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.filters.udp.session_filter import CONTINUE, UdpSessionFilter
from outrider.extensions.filters.udp.udp_stats import UdpUpstreamStats
from outrider.network.udp_socket import DatagramReader, DatagramReceiver
from outrider.upstream.load_balancer_context import LoadBalancerContext

if TYPE_CHECKING:
    from outrider.extensions.filters.udp.udp_proxy import UdpProxy
    from outrider.extensions.filters.udp.udp_tunnel import UdpTunnel
    from outrider.network.udp_filter import Peer
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.host import Host

_TIMER_IDLE: Final = 0
_TIMER_LOG: Final = 1
_IP_TRANSPARENT: Final = getattr(socket, "IP_TRANSPARENT", 19)
_IPV6_TRANSPARENT: Final = 75


class SessionContext(LoadBalancerContext):
    """What the load balancer may know of a session."""

    __slots__ = ("info", "hash_key")

    def __init__(self, info: StreamInfo, hash_key: int | None) -> None:
        self.info = info
        self.hash_key = hash_key

    def compute_hash_key(self) -> int | None:
        return self.hash_key

    def stream_info(self) -> StreamInfo | None:
        return self.info


class UdpSession(DatagramReceiver):
    """One session. It counts, logs, and ends when it has been idle."""

    def __init__(self, proxy: UdpProxy, peer: Peer, cluster: Cluster, stats: UdpUpstreamStats) -> None:
        self.proxy = proxy
        self.peer = peer
        self.cluster = cluster
        self.upstream_stats = stats
        # None until there is one (tunnels find theirs later).
        self.host: Host | None = None
        self.tunnel: UdpTunnel | None = None
        self.socket: socket.socket | None = None
        self.closed: bool = False
        self._reader: DatagramReader | None = None
        self._counted_connection: bool = False
        self._last_ns: int = 0
        # Of the access log.
        self.datagrams_received: int = 0
        self.datagrams_sent: int = 0
        self.errors_sent: int = 0
        connection = ConnectionInfo(
            proxy.listener.dispatcher.next_connection_id(), proxy.listener.address, peer_address(peer)
        )
        connection.listener_name = proxy.listener.listener.config.name
        self.info = StreamInfo(connection, time_ns(), monotonic_ns(), PROTOCOL_NONE)
        self.filters: list[UdpSessionFilter] = []
        for factory in proxy.settings.session_filters:
            session_filter = factory.create()
            session_filter.initialize(self, len(self.filters))
            self.filters.append(session_filter)
        self._idle: Timer = proxy.listener.dispatcher.timer(_SessionTimers(self), _TIMER_IDLE)
        self._log_timer: Timer | None = None

    # --- the beginning ---

    def start(self, host: Host | None) -> bool:
        """Count the session, run the filters' `on_new_session`, make the upstream. False when that failed."""
        stats = self.proxy.settings.stats
        stats.sess_total.inc()
        stats.sess_active.inc()
        self.proxy.session_total += 1
        self.cluster.info.resource_manager(0).connections.inc()
        self._counted_connection = True
        self.host = host
        self._last_ns = monotonic_ns()
        idle = self.proxy.settings.idle_timeout_ms
        if idle > 0:
            self._idle.arm(idle)
        interval = self.proxy.settings.log_flush_interval_ms
        if interval > 0 and self.proxy.settings.access_logs:
            self._log_timer = self.proxy.listener.dispatcher.timer(_SessionTimers(self), _TIMER_LOG)
            self._log_timer.arm(interval)
        for session_filter in self.filters:
            if session_filter.on_new_session() != CONTINUE:
                return True
        return self._make_upstream()

    def continue_filter_chain(self, session_filter: UdpSessionFilter) -> bool:
        """Go on with the filters behind one that had stopped the creation of the session; False when it failed."""
        if self.closed:
            return False
        for each in self.filters[session_filter.index + 1 :]:
            if each.on_new_session() != CONTINUE:
                return True
        return self._make_upstream()

    def _make_upstream(self) -> bool:
        settings = self.proxy.settings
        if settings.tunnel is not None:
            from outrider.extensions.filters.udp.udp_tunnel import UdpTunnel

            self.tunnel = UdpTunnel(self, settings.tunnel)
            self.tunnel.connect()
            return not self.closed
        if self.host is None:
            self.host = self.proxy.choose_host(self.cluster, self.info)
            if self.host is None:
                self.proxy.end_session(self)
                return False
        return self._open_socket(self.host)

    def _open_socket(self, host: Host) -> bool:
        """A socket of the session's own, connected, so that errors of the host come back."""
        address = host.address
        v6 = address.is_v6
        opened = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            source = self.cluster.info.config.bind.choose(address)
            for level, option, value in source.options:
                opened.setsockopt(level, option, value)
            if self.proxy.settings.use_original_src_ip:
                if v6:
                    opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
                else:
                    opened.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
                opened.bind((self.peer[0], 0))
            elif source.address is not None:
                opened.bind((source.address.host, source.address.port))
            opened.connect((address.host, address.port))
        except OSError:
            opened.close()
            self.upstream_stats.sess_tx_errors.inc()
            self.proxy.end_session(self)
            return False
        self.socket = opened
        facts = UpstreamInfo()
        facts.host = host
        facts.host_address = address
        self.info.upstream = facts
        self._reader = DatagramReader(opened, self, self.proxy.settings.upstream_socket.max_rx_datagram_size)
        self.proxy.listener.dispatcher.loop.add_reader(opened.fileno(), self._reader.on_readable)
        return True

    # --- towards upstream ---

    def on_downstream(self, data: bytes) -> None:
        """A datagram of the peer."""
        size = len(data)
        stats = self.proxy.settings.stats
        stats.sess_rx_bytes.value += size
        stats.sess_rx_datagrams.value += 1
        self.info.bytes_received += size
        self.datagrams_received += 1
        self._last_ns = monotonic_ns()
        for session_filter in self.filters:
            if session_filter.on_data(data) != CONTINUE:
                return
        self.write_upstream(data)

    def inject_to_upstream(self, session_filter: UdpSessionFilter, data: bytes) -> None:
        """Hand a datagram on behind a filter."""
        for each in self.filters[session_filter.index + 1 :]:
            if each.on_data(data) != CONTINUE:
                return
        self.write_upstream(data)

    def write_upstream(self, data: bytes) -> None:
        tunnel = self.tunnel
        if tunnel is not None:
            tunnel.write(data)
            return
        opened = self.socket
        if opened is None:
            return
        stats = self.upstream_stats
        try:
            opened.send(data)
        except OSError:
            stats.sess_tx_errors.inc()
            return
        stats.sess_tx_datagrams.value += 1
        self.cluster.info.stats.upstream_cx_tx_bytes_total.value += len(data)

    # --- from upstream ---

    def on_datagram(self, data: bytes, peer: Peer) -> None:
        self.upstream_stats.sess_rx_datagrams.value += 1
        self.cluster.info.stats.upstream_cx_rx_bytes_total.value += len(data)
        self.on_upstream(data)

    def on_upstream(self, data: bytes) -> None:
        """A datagram of the host, or out of the tunnel."""
        self._last_ns = monotonic_ns()
        for session_filter in reversed(self.filters):
            if session_filter.on_write(data) != CONTINUE:
                return
        self.write_downstream(data)

    def inject_to_downstream(self, session_filter: UdpSessionFilter, data: bytes) -> None:
        """Hand a datagram on in front of a filter."""
        for index in range(session_filter.index - 1, -1, -1):
            if self.filters[index].on_write(data) != CONTINUE:
                return
        self.write_downstream(data)

    def write_downstream(self, data: bytes) -> None:
        stats = self.proxy.settings.stats
        if not self.proxy.listener.send(data, self.peer):
            stats.sess_tx_errors.inc()
            self.errors_sent += 1
            return
        size = len(data)
        stats.sess_tx_bytes.value += size
        stats.sess_tx_datagrams.value += 1
        self.info.bytes_sent += size
        self.datagrams_sent += 1

    def on_truncated(self) -> None:
        self.upstream_stats.sess_rx_datagrams_dropped.inc()

    def on_receive_error(self, error: OSError) -> None:
        self.upstream_stats.sess_rx_errors.inc()

    # --- time and the end ---

    def on_timer(self, kind: int) -> None:
        if self.closed:
            return
        settings = self.proxy.settings
        if kind == _TIMER_LOG:
            self.log(log_types.UDP_PERIODIC)
            if self._log_timer is not None:
                self._log_timer.arm(settings.log_flush_interval_ms)
            return
        left = settings.idle_timeout_ms - (monotonic_ns() - self._last_ns) // 1_000_000
        if left > 0:
            self._idle.arm(left)
            return
        settings.stats.idle_timeout.inc()
        if self.tunnel is not None:
            self.info.response_flags |= response_flag.STREAM_IDLE_TIMEOUT
        self.proxy.idle_timeouts += 1
        self.proxy.end_session(self)

    def close(self) -> None:
        """Called by the proxy, which forgets the session."""
        if self.closed:
            return
        self.closed = True
        self._idle.disarm()
        if self._log_timer is not None:
            self._log_timer.disarm()
        if self.tunnel is not None:
            self.tunnel.close()
        opened = self.socket
        if opened is not None:
            self.socket = None
            if self._reader is not None:
                self._reader.close()
            self.proxy.listener.dispatcher.loop.remove_reader(opened.fileno())
            opened.close()
        if self._counted_connection:
            self._counted_connection = False
            self.cluster.info.resource_manager(0).connections.dec()
            self.proxy.settings.stats.sess_active.dec()
        for session_filter in self.filters:
            session_filter.on_session_complete()
        self.info.end_ns = monotonic_ns()
        self.log(log_types.UDP_SESSION_END)

    def log(self, log_type: str) -> None:
        settings = self.proxy.settings
        if not settings.access_logs:
            return
        info = self.info
        if info.metadata is None:
            info.metadata = {}
        info.metadata["udp.proxy.session"] = {
            "cluster_name": self.cluster.info.name,
            "bytes_sent": info.bytes_sent,
            "bytes_received": info.bytes_received,
            "errors_sent": self.errors_sent,
            "datagrams_sent": self.datagrams_sent,
            "datagrams_received": self.datagrams_received,
        }
        context = FormatContext(info, None, None, None, b"", log_type)
        for log in settings.access_logs:
            log.log(context)


class _SessionTimers(TimerOwner):
    """Receives the timers of one session."""

    def __init__(self, session: UdpSession) -> None:
        self.session = session

    def on_timer(self, kind: int) -> None:
        self.session.on_timer(kind)


def peer_address(peer: Peer) -> Address:
    """What `recvfrom` gave, as an address."""
    host = str(peer[0])
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return Address(KIND_IP, host, int(peer[1]), "UDP")
