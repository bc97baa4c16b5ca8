"""envoy.filters.network.sni_cluster: the name that the TLS client asked for is the cluster for tcp_proxy.

Source: Envoy documentation, "Upstream Cluster from SNI".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import StringState
from outrider.network.filter import CONTINUE, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_CLUSTER_KEY: Final = "envoy.tcp_proxy.cluster"


class SniCluster(NetworkFilter):
    def on_new_connection(self) -> int:
        info = self.connection.info
        if info.requested_server_name:
            if info.filter_state is None:
                info.filter_state = {}
            info.filter_state[_CLUSTER_KEY] = StringState(info.requested_server_name)
        return CONTINUE


class SniClusterFactory(NetworkFilterFactory):
    def create(self) -> NetworkFilter:
        return SniCluster()


@NETWORK_FILTERS.register(
    "envoy.filters.network.sni_cluster", "envoy.extensions.filters.network.sni_cluster.v3.SniCluster"
)
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    return SniClusterFactory()
