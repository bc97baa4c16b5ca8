"""envoy.resource_monitors.global_downstream_max_connections: downstream connections over all listeners and workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.overload.monitor import RESOURCE_MONITORS, ConnectionLimit, MonitorContext, ResourceMonitor

if TYPE_CHECKING:
    from outrider.config.view import View


@RESOURCE_MONITORS.register(
    "envoy.resource_monitors.global_downstream_max_connections",
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
)
def create(config: View, context: MonitorContext) -> ResourceMonitor:
    return ConnectionLimit(config.integer("max_active_downstream_connections"))
