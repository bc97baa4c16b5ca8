"""envoy.stat_sinks.dog_statsd: DogStatsD over UDP, with tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.extensions.stat_sinks.udp_address import read_udp_address
from outrider.stats.flush import StatsSink
from outrider.stats.sink_registry import STATS_SINKS
from outrider.stats.statsd import StatsdFormatter, StatsdStyle, UdpStatsdSink

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


@STATS_SINKS.register("envoy.stat_sinks.dog_statsd", "envoy.config.metrics.v3.DogStatsdSink", "envoy.dog_statsd")
def create(config: View, context: FactoryContext) -> StatsSink:
    """Raises ConfigError."""
    host, port = read_udp_address(config)
    scale = config.flag("scale_histogram_units_to_milliseconds")
    formatter = StatsdFormatter(StatsdStyle.DOG, config.text("prefix"), scale)
    try:
        return UdpStatsdSink(formatter, host, port, config.integer("max_bytes_per_datagram"))
    except OSError as error:
        raise config.error(f"cannot send to {host}: {error.strerror}", "address") from None
