"""envoy.stat_sinks.statsd: plain statsd over UDP. Over TCP (`tcp_cluster_name`) is not supported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.extensions.stat_sinks.udp_address import read_udp_address
from outrider.stats.flush import StatsSink
from outrider.stats.sink_registry import STATS_SINKS
from outrider.stats.statsd import StatsdFormatter, StatsdStyle, UdpStatsdSink

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


@STATS_SINKS.register("envoy.stat_sinks.statsd", "envoy.config.metrics.v3.StatsdSink", "envoy.statsd")
def create(config: View, context: FactoryContext) -> StatsSink:
    """Raises ConfigError."""
    host, port = read_udp_address(config)
    scale = config.flag("scale_histogram_units_to_milliseconds")
    formatter = StatsdFormatter(StatsdStyle.PLAIN, config.text("prefix"), scale)
    try:
        return UdpStatsdSink(formatter, host, port)
    except OSError as error:
        raise config.error(f"cannot send to {host}: {error.strerror}", "address") from None
