"""envoy.clusters.dynamic_forward_proxy: a host for each name that requests, or the SNI of connections, ask for.

Source: Envoy documentation, "Dynamic forward proxy". The names are resolved by the DNS cache that the filters share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import FilterStateObject
from outrider.extensions.dns_cache.cache import CacheObserver, DnsCache, DnsEntry, entry_key, split_host
from outrider.extensions.dns_cache.config import read_cache
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

TYPE: Final = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
# Filter state that names the host and port to go to (Envoy's well-known keys).
HOST_KEY: Final = "envoy.upstream.dynamic_host"
PORT_KEY: Final = "envoy.upstream.dynamic_port"


def state_text(info: StreamInfo | None, key: str) -> str:
    """What filter state holds under `key`, on the stream or its connection; empty when nothing."""
    if info is None:
        return ""
    for state in (info.filter_state, info.connection.filter_state):
        value = None if state is None else state.get(key)
        if isinstance(value, FilterStateObject):
            return value.serialize() or ""
    return ""


def state_port(info: StreamInfo | None, default: int) -> int:
    text = state_text(info, PORT_KEY)
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= 65535 else default


class _Follower(CacheObserver):
    """Keeps a cluster's hosts where the cache says."""

    def __init__(self, cluster: DynamicForwardProxyCluster) -> None:
        self.cluster = cluster

    def on_host_changed(self, entry: DnsEntry) -> None:
        host = self.cluster.hosts.get(entry.key)
        if host is not None:
            # A logical host: connections that exist stay where they are, new ones go to the new address.
            host.address = entry.addresses[0]
            host.addresses = entry.addresses if len(entry.addresses) > 1 else []

    def on_host_removed(self, key: str) -> None:
        self.cluster.drop_host(key)


class DynamicForwardProxyCluster(DynamicCluster):
    """Hosts by name and port."""

    def __init__(self, info: ClusterInfo, context: FactoryContext, link: ControlLink, cache: DnsCache) -> None:
        super().__init__(info, context, link)
        self.cache = cache
        secure = info.transport_socket_matcher.default_factory.implements_secure_transport
        self.default_port: int = 443 if secure else 80
        self._follower = _Follower(self)
        cache.observers.append(self._follower)

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        if context is None:
            return None
        info = context.stream_info()
        name = state_text(info, HOST_KEY)
        port = self.default_port
        if not name:
            headers = context.request_headers()
            if headers is not None:
                name = headers.authority.decode("latin-1")
            else:
                connection = context.downstream_connection()
                name = "" if connection is None else connection.info.requested_server_name
        if not name:
            return None
        host_name, port = split_host(name, port)
        port = state_port(info, port)
        entry = self.cache.get(entry_key(host_name, port))
        if entry is None or not entry.addresses:
            return None
        host = self.hosts.get(entry.key)
        if host is None:
            host = self.add_host(entry.key, entry.addresses[0], entry.key)
            host.addresses = entry.addresses if len(entry.addresses) > 1 else []
        return host

    def drain(self) -> None:
        if self._follower in self.cache.observers:
            self.cache.observers.remove(self._follower)
        super().drain()


class DynamicForwardProxy(ClusterType):
    """Both halves of it."""

    name = "envoy.clusters.dynamic_forward_proxy"

    def __init__(self, config: View) -> None:
        self.config = config
        self.insecure: bool = config.flag("allow_insecure_cluster_options")
        self.cache: DnsCache | None = None

    def check(self, context: FactoryContext, view: View, info: ClusterInfo) -> None:
        cache_view = self.config.message("dns_cache_config")
        if cache_view is None:
            raise self.config.error("dns_cache_config is required", "dns_cache_config")
        self.cache = read_cache(cache_view, context)
        typed = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" in view.any_map(
            "typed_extension_protocol_options"
        )
        if not typed and not view.has("upstream_http_protocol_options"):
            # Whoever asks for any name must at least get the one it asked for.
            info.auto_sni = True
            info.auto_san_validation = True
        if not self.insecure and not (info.auto_sni and info.auto_san_validation):
            raise view.error(
                "dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless "
                "allow_insecure_cluster_options is set."
            )

    def make_discovery(self, control: ClusterControl) -> Discovery:
        return ReportedDiscovery(control)

    def make_cluster(
        self, info: ClusterInfo, context: FactoryContext, link: ControlLink, local: Cluster | None
    ) -> Cluster:
        assert self.cache is not None
        return DynamicForwardProxyCluster(info, context, link, self.cache)


@CLUSTER_TYPES.register("envoy.clusters.dynamic_forward_proxy", TYPE)
def create(config: View, context: ClusterTypeContext) -> ClusterType:
    return DynamicForwardProxy(config)
