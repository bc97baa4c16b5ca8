"""envoy.stat_sinks.statsd: plain statsd over UDP, or over TCP to a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.extensions.stat_sinks.tcp_connection import TcpStatsdConnection
from outrider.extensions.stat_sinks.udp_address import read_udp_address
from outrider.stats.flush import FlushSnapshot, StatsSink
from outrider.stats.sink_registry import STATS_SINKS
from outrider.stats.statsd import StatsdFormatter, StatsdStyle, TcpStatsdSink, UdpStatsdSink

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class ClusterStatsdSink(StatsSink):
    """Lines over a connection to a host of a cluster."""

    __slots__ = ("connection", "sink")

    def __init__(self, formatter: StatsdFormatter, connection: TcpStatsdConnection) -> None:
        self.connection = connection
        self.sink = TcpStatsdSink(formatter, connection.send)

    def flush(self, snapshot: FlushSnapshot) -> None:
        self.sink.flush(snapshot)

    def close(self) -> None:
        self.connection.close()


@STATS_SINKS.register("envoy.stat_sinks.statsd", "envoy.config.metrics.v3.StatsdSink", "envoy.statsd")
def create(config: View, context: FactoryContext) -> StatsSink:
    """Raises ConfigError."""
    scale = config.flag("scale_histogram_units_to_milliseconds")
    formatter = StatsdFormatter(StatsdStyle.PLAIN, config.text("prefix"), scale)
    if config.which("statsd_specifier") == "tcp_cluster_name":
        return ClusterStatsdSink(formatter, TcpStatsdConnection(context, _tcp_cluster(config, context)))
    host, port = read_udp_address(config)
    try:
        return UdpStatsdSink(formatter, host, port)
    except OSError as error:
        raise config.error(f"cannot send to {host}: {error.strerror}", "address") from None


def _tcp_cluster(config: View, context: FactoryContext) -> str:
    name = config.text("tcp_cluster_name")
    if not context.cluster_manager.has(name):
        raise config.error(f"tcp statsd: unknown cluster '{name}'", "tcp_cluster_name")
    if not context.server.node_id or not context.server.node_cluster:
        raise config.error(
            "tcp statsd: node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node "
            "and --service-cluster options.",
            "tcp_cluster_name",
        )
    return name
