"""ORIGINAL_DST: connections go where they were headed before they were redirected, or where filters say.

Source: Envoy documentation, "Original destination"; `Cluster.OriginalDstLbConfig`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from outrider.data.address import KIND_IP, Address
from outrider.data.filter_state import FilterStateObject
from outrider.event.timer import Timer, TimerOwner
from outrider.upstream.cluster_type import CLUSTER_TYPES, ClusterType, ClusterTypeContext
from outrider.upstream.control.reported_discovery import ReportedDiscovery
from outrider.upstream.dynamic_cluster import DynamicCluster

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.stream_info import StreamInfo
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.control.cluster_control import ClusterControl
    from outrider.upstream.control.discovery import Discovery
    from outrider.upstream.control_link import ControlLink
    from outrider.upstream.host import Host
    from outrider.upstream.load_balancer_context import LoadBalancerContext

# Filter state with an `ip:port` that wins over everything else (Envoy's well-known key).
FILTER_STATE_KEY: Final = "envoy.network.transport_socket.original_dst_address"
DEFAULT_HEADER: Final = "x-envoy-original-dst-host"
DEFAULT_CLEANUP_MS: Final = 5000


def parse_address(text: str) -> Address | None:
    """`1.2.3.4:80` or `[::1]:80`; None for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return None
    return Address(KIND_IP, str(parsed), int(port))


class OriginalDstSettings:
    """`original_dst_lb_config`, and how often unused hosts are looked for."""

    __slots__ = ("header", "port", "metadata_namespace", "metadata_path", "cleanup_ms")

    def __init__(self) -> None:
        # Lower case; empty: the header is not looked at.
        self.header: bytes = b""
        # Replaces the port, wherever the address comes from; 0 keeps it.
        self.port: int = 0
        self.metadata_namespace: str = ""
        self.metadata_path: list[str] = []
        self.cleanup_ms: int = DEFAULT_CLEANUP_MS


class OriginalDstCluster(DynamicCluster):
    """Hosts are made for the addresses that come up, and dropped when a clean-up finds them unused since the last."""

    def __init__(
        self, info: ClusterInfo, context: FactoryContext, link: ControlLink, settings: OriginalDstSettings
    ) -> None:
        super().__init__(info, context, link)
        self.settings = settings
        # Hosts chosen since the last clean-up.
        self._used: set[str] = set()
        self._timer: Timer = context.dispatcher.timer(_Cleaner(self), 0)

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        if context is None:
            return None
        address = self._destination(context)
        if address is None or address.kind != KIND_IP:
            return None
        port = self.settings.port
        if port and port != address.port:
            address = Address(KIND_IP, address.host, port)
        key = address.text
        host = self.hosts.get(key)
        if host is None:
            host = self.add_host(key, address, self.info.name + key)
            if not self._timer.armed:
                self._timer.arm(self.settings.cleanup_ms)
        self._used.add(key)
        return host

    def _destination(self, context: LoadBalancerContext) -> Address | None:
        """Filter state, then metadata, then the header, then the restored address of the connection."""
        info = context.stream_info()
        connection = context.downstream_connection()
        if info is not None:
            found = _from_state(info)
            if found is None and self.settings.metadata_path:
                found = self._from_metadata(info)
            if found is not None:
                return found
        if self.settings.header:
            headers = context.request_headers()
            value = None if headers is None else headers.get(self.settings.header)
            if value:
                found = parse_address(value.decode("latin-1"))
                if found is None:
                    self.info.stats.original_dst_host_invalid.inc()
                else:
                    return found
        if connection is None:
            return None
        facts = connection.info
        return facts.local_address if facts.local_address is not facts.direct_local_address else None

    def _from_metadata(self, info: StreamInfo) -> Address | None:
        settings = self.settings
        for source in (info.metadata, info.connection.metadata):
            value: object = None if source is None else source.get(settings.metadata_namespace)
            for name in settings.metadata_path:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, str):
                found = parse_address(value)
                if found is None:
                    self.info.stats.original_dst_host_invalid.inc()
                return found
        return None

    def clean_up(self) -> None:
        """Drop the hosts that nobody has chosen since the last time and that no connection is left to."""
        used = self._used
        self._used = set()
        for key, host in list(self.hosts.items()):
            if key not in used and not has_connections(host):
                self.drop_host(key)
        if self.hosts:
            self._timer.arm(self.settings.cleanup_ms)

    def drain(self) -> None:
        self._timer.disarm()
        super().drain()


def has_connections(host: Host) -> bool:
    """Whether any pool of the host has a connection or somebody waiting."""
    for http_pool in host.http_pools.values():
        if not http_pool.is_idle():
            return True
    for tcp_pool in host.tcp_pools.values():
        if not tcp_pool.is_idle():
            return True
    return False


def _from_state(info: StreamInfo) -> Address | None:
    for state in (info.connection.filter_state, info.filter_state):
        value = None if state is None else state.get(FILTER_STATE_KEY)
        if isinstance(value, FilterStateObject):
            return parse_address(value.serialize() or "")
    return None


class _Cleaner(TimerOwner):
    """Receives the timer of one cluster."""

    def __init__(self, cluster: OriginalDstCluster) -> None:
        self.cluster = cluster

    def on_timer(self, kind: int) -> None:
        self.cluster.clean_up()


class OriginalDst(ClusterType):
    """Both halves of it."""

    name = "ORIGINAL_DST"

    def __init__(self, settings: OriginalDstSettings) -> None:
        self.settings = settings

    def make_discovery(self, control: ClusterControl) -> Discovery:
        return ReportedDiscovery(control)

    def make_cluster(
        self, info: ClusterInfo, context: FactoryContext, link: ControlLink, local: Cluster | None
    ) -> Cluster:
        return OriginalDstCluster(info, context, link, self.settings)


def _read(view: View | None, cluster: View) -> OriginalDst:
    settings = OriginalDstSettings()
    interval = cluster.millis("cleanup_interval")
    if interval is not None:
        settings.cleanup_ms = interval
    if view is None:
        return OriginalDst(settings)
    name = view.text("http_header_name")
    if view.flag("use_http_header"):
        settings.header = (name or DEFAULT_HEADER).lower().encode()
    elif name:
        raise view.error(
            "ORIGINAL_DST cluster: invalid config http_header_name=" + name + " and use_http_header is false. Set "
            "use_http_header to true if http_header_name is desired.",
            "http_header_name",
        )
    settings.port = view.integer("upstream_port_override")
    key = view.message("metadata_key")
    if key is not None:
        settings.metadata_namespace = key.text("key")
        settings.metadata_path = [segment.text("key") for segment in key.messages("path")]
    return OriginalDst(settings)


@CLUSTER_TYPES.register("envoy.cluster.original_dst", None)
def create_from_cluster(config: View, context: ClusterTypeContext) -> ClusterType:
    """`type: ORIGINAL_DST`; `config` is the Cluster itself. Raises ConfigError."""
    return _read(config.message("original_dst_lb_config"), config)


@CLUSTER_TYPES.register(
    "envoy.clusters.original_dst", "envoy.extensions.clusters.original_dst.v3.OriginalDstCluster"
)
def create(config: View, context: ClusterTypeContext) -> ClusterType:
    """Raises ConfigError."""
    return _read(config, context.view)
